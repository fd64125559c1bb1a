"""The Lava simulator and the reference agree in every spike, potential and count, in both implementations."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from profiles import examples
from strategies import EVERYTHING, MAX_STOCK, MAX_THRESHOLD, Case, assert_same_run, cases, make_images

import rmp_lava
from rmp_lava.backends import Lava, Reference
from rmp_lava.backends.lava import simulator
from rmp_lava.encoding import make_input
from rmp_lava.errors import BackendError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.schedule import schedule

pytestmark = [pytest.mark.lava, pytest.mark.slow]

# A run costs seconds, mostly to start and to end a process per ProcessModel: few examples, and no search for smaller ones.
few = settings(max_examples=examples(5), phases=[Phase.explicit, Phase.reuse, Phase.generate])


def branches(source, *populations, readout="potential"):
    """Populations side by side, each driven by the input alone: many cases in one run of Lava."""
    layers = tuple(
        Layer(f"branch{i}", (len(weight),), (Dense(INPUT, np.array(weight, dtype=np.int16)),), neurons)
        for i, (weight, neurons) in enumerate(populations)
    )
    return SpikingNetwork("branches", source, layers, "integer", readout)


def assert_lava_agrees(case, implementation="native"):
    lava = case.run(Lava(implementation))
    reference = case.run(Reference(implementation))
    assert_same_run(lava, reference)
    return lava, reference


@few
@given(cases(max_layers=3, graded=True))
def test_native_equals_reference_on_random_networks(case):
    assert_lava_agrees(case)


@few
@given(cases(stock=True, max_layers=3))
def test_stock_equals_reference_on_random_networks(case):
    assert_lava_agrees(case, "stock")


@few
@given(cases(integer=False, max_layers=3))
def test_float_neurons_equal_reference_where_no_sum_is_rounded(case):
    assert_lava_agrees(case)


@few
@given(cases(waiting=True, max_layers=3, max_steps=5))
def test_native_neurons_wait_as_those_of_the_reference(case):
    assert_lava_agrees(case)


@few
@given(cases(waiting=True, stock=True, max_layers=3, max_steps=5))
def test_stock_neurons_wait_as_those_of_the_reference(case):
    neurons = case.network.input.neurons
    assume(neurons is None or neurons.reset == "soft" or not case.network.wait)
    assert_lava_agrees(case, "stock")


@few
@given(cases(waiting=True, integer=False, max_layers=3, max_steps=5))
def test_float_neurons_wait_as_those_of_the_reference(case):
    assert_lava_agrees(case)


def residual(wait, encoding="current"):
    """Biases of either sign, a skip path, and potentials that stay far from every limit; every layer spikes."""
    rng = np.random.default_rng(5)
    source = make_input(encoding, (2, 5, 5), 15 if encoding == "current" else None)

    def conv(name, channels, scale=1):
        return Conv(name, 2 * rng.integers(-20 * scale, 30 * scale, (3, channels, 3, 3)), padding=(1, 1))

    def neurons(scale=1):
        bias = rng.integers(-20, 40, 3).astype(np.int16)
        return Neurons(300 * scale, v_init=150 * scale, bias=bias, bias_exponent=6)

    layers = (
        Layer("a", (3, 5, 5), (conv(INPUT, 2),), neurons(4 if encoding == "current" else 1)),
        Layer("b", (3, 5, 5), (conv("a", 3),), neurons()),
        Layer("c", (3, 5, 5), (conv("b", 3), conv("a", 3)), neurons()),
        Layer("d", (4,), (Dense("c", 2 * rng.integers(-30, 40, (4, 75))),), Neurons(MAX_THRESHOLD, "none")),
    )
    return SpikingNetwork("residual", source, layers, "integer", wait=wait)


@pytest.mark.parametrize("encoding", ["current", "rate"])
@pytest.mark.parametrize("wait", [1, 2, 4])
def test_residual_networks_wait_alike_on_native_and_stock_neurons(wait, encoding):
    network = residual(wait, encoding)
    case = Case(network, make_images(network, 3, 4, 0), 4, blank=3)
    native, expected = assert_lava_agrees(case)
    stock, modelled = assert_lava_agrees(case, "stock")
    assert not any(modelled.boundary_spikes.values()) and not any(modelled.large_inputs.values())
    assert_same_run(stock, expected)
    assert min(expected.spike_counts[name] for name in ("a", "b", "c")) > 0
    assert_same_run(case.run("fast"), expected)
    adapted = simulator.run(
        network,
        case.images,
        schedule(network, 4, blank=1, power_of_two=True),
        Lava("stock", time_limit=120),
        record=EVERYTHING,
        adapters=True,
    )
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(adapted.spikes[name], spikes, err_msg=name)
    for name, potentials in expected.potentials.items():
        np.testing.assert_array_equal(adapted.potentials[name], potentials, err_msg=name)


def convolutions(*exponents: int):
    """Every geometry at once: not square, strided, padded, dilated, grouped, and a skip path. `exponents` of all synapses."""
    rng = np.random.default_rng(3)

    def weight(*shape):
        return (2 * rng.integers(-40, 60, shape)).astype(np.int16)

    conv1 = Conv(INPUT, weight(4, 2, 3, 2), stride=(2, 1), padding=(1, 0))
    conv2 = Conv("conv1", weight(6, 2, 2, 3), padding=(0, 2), dilation=(1, 2), groups=2)
    shape1 = conv1.output_shape((2, 7, 6))
    shape2 = conv2.output_shape(shape1)
    skip = Conv(INPUT, weight(6, 2, 1, 2), stride=(3, 1))
    assert skip.output_shape((2, 7, 6)) == shape2
    bias = rng.integers(-20, 80, shape2).astype(np.int16)
    layers = (
        Layer("conv1", shape1, (conv1,), Neurons(255, v_init=100, bias=np.array([30, -10, 5, 0], np.int16))),
        Layer("conv2", shape2, (conv2, skip), Neurons(400, bias=bias)),
        Layer("dense", (5,), (Dense("conv2", weight(5, int(np.prod(shape2)))),), Neurons(1000)),
        Layer(
            "read",
            (3,),
            (Dense("dense", weight(3, 5)), Dense("conv1", weight(3, int(np.prod(shape1))))),
            Neurons(1, "none"),
        ),
    )
    given = iter(exponents or [0] * 6)
    return tuple(
        layer.replace(synapses=tuple(s.replace(exponent=next(given)) for s in layer.synapses)) for layer in layers
    )


@pytest.mark.parametrize("implementation", ["native", "stock"])
@pytest.mark.parametrize("encoding", ["poisson", "rate"])
def test_convolutions_of_every_geometry_with_a_skip_path(encoding, implementation):
    network = SpikingNetwork("conv", make_input(encoding, (2, 7, 6)), convolutions(), "integer")
    case = Case(network, make_images(network, 3, 9, 1), 9)
    lava, _ = assert_lava_agrees(case, implementation)
    assert all(count > 0 for name, count in lava.spike_counts.items() if name != "read")


@pytest.mark.parametrize(
    ("implementation", "encoding", "odd"),
    [
        ("native", "current", 0),
        ("native", "rate", 1),
        ("stock", "rate", 1),
        ("stock", "poisson", 0),
        ("adapted", "current", 1),
    ],
)
def test_weight_exponents_of_every_geometry(implementation, encoding, odd):
    """Odd weights of mixed sign and -256 need more than one Sparse; `odd` is added to the weights of the skip path."""
    layers = convolutions(1, 2, 3, 4, 0, 7)
    skip = layers[1].synapses[1]
    weight = skip.weight + odd
    weight[0, 0], weight[1] = -256, np.where(odd, -256, -2)
    synapses = (layers[1].synapses[0], skip.replace(weight=weight))
    network = SpikingNetwork(
        "conv",
        make_input(encoding, (2, 7, 6), *([3] if encoding == "current" else [])),
        (layers[0], layers[1].replace(synapses=synapses), *layers[2:]),
        "integer",
    )
    case = Case(network, make_images(network, 2, 9, 1), 9, blank=1)
    if implementation == "adapted":
        plan = case.run(Reference("stock")).schedule
        options = Lava("stock", time_limit=120)
        found = simulator.run(network, case.images, plan, options, record=EVERYTHING, adapters=True)
    else:
        found = case.run(Lava(implementation))
    assert all(count > 0 for name, count in found.spike_counts.items() if name != "read")
    assert_same_run(found, case.run(Reference("native" if implementation == "native" else "stock")))


@pytest.mark.parametrize("implementation", ["native", "stock"])
def test_graded_messages_reach_convolution_and_dense(implementation):
    layers = convolutions()
    layers += (Layer("direct", (2,), (Dense(INPUT, np.arange(168).reshape(2, 84) * 2 - 168),), Neurons(255 << 7)),)
    layers = layers[:3] + layers[4:] + layers[3:4]
    network = SpikingNetwork("conv", make_input("current", (2, 7, 6), 255), layers, "integer")
    assert_lava_agrees(Case(network, make_images(network, 2, 6, 1), 6), implementation)


def coincidences(source, unit, stage="integer"):
    """Layers a..d, each driven by the input and by all layers before it, that spike where all of these spike at once.

    `unit` is the weight of a message of the input such that it adds 10, like every spike.
    """

    def one_to_one(name, weight):
        dtype = np.int16 if stage == "integer" else np.float32
        return Conv(name, np.array([[weight, 0], [0, weight]], dtype)[..., None, None])

    layers = []
    for i, name in enumerate("abcd"):
        synapses = (one_to_one(INPUT, unit), *(one_to_one(earlier, 10) for earlier in "abcd"[:i]))
        layers.append(Layer(name, (2, 2, 3), synapses, Neurons(10 * i + 9)))
    return SpikingNetwork("coincidences", source, tuple(layers), stage, "count")


SHAPE = (2, 2, 3)
# Relay neurons delay the messages of stock neurons, `Delay` delays all others.
SOURCES = {
    "neurons": (Input(SHAPE, "spikes", 200, Neurons(50)), 10, 51),
    "graded": (make_input("current", SHAPE, 255), 2, 5),
}


@pytest.mark.parametrize("implementation", ["native", "stock"])
@pytest.mark.parametrize("source", SOURCES)
def test_shorter_paths_wait_so_that_messages_arrive_together(source, implementation):
    source, unit, message = SOURCES[source]
    network = coincidences(source, unit)
    steps = 5
    rng = np.random.default_rng(0)
    if source.encoding == "current":  # each sample holds its message in every step of its window, and in no other
        on = np.repeat(rng.integers(0, 2, (4, 1, *SHAPE)), steps, axis=1)
        case = Case(network, (on[:, 0] * message / 255).astype(np.float32), steps)
    else:  # among the spikes, some of the first and the last step
        on = rng.integers(0, 2, (4, steps, *SHAPE))
        case = Case(network, on * message, steps)
    assert on[:, 0].any() and on[:, -1].any() and not on[:, 0].all()
    lava, _ = assert_lava_agrees(case, implementation)
    for name in "abcd":
        np.testing.assert_array_equal(lava.spikes[name], on, err_msg=name)


def test_shorter_paths_of_a_float_network_wait():
    network = coincidences(make_input("current", SHAPE), 20, "balanced")
    on = np.random.default_rng(0).integers(0, 2, (4, *SHAPE))
    lava, _ = assert_lava_agrees(Case(network, (on / 2).astype(np.float32), 3))
    for name in "abcd":
        np.testing.assert_array_equal(lava.spikes[name], np.repeat(on[:, None], 3, axis=1), err_msg=name)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Lava stops Processes that never started
@pytest.mark.parametrize("steps", [0, -1])
def test_a_delay_of_no_step_is_refused(steps):
    from rmp_lava.processes.io import Delay

    with pytest.raises(ValueError, match=f"steps are {steps}; a delay takes at least 1"):
        Delay(shape=(2,), steps=steps)


LARGEST = {"native": MAX_THRESHOLD, "stock": MAX_STOCK}


@pytest.mark.parametrize("implementation", ["native", "stock"])
def test_numbers_at_the_limits_of_their_registers(implementation):
    largest = LARGEST[implementation]
    mixed, excitatory, inhibitory = [[-256, 254, 0, 2]], [[255, 255, 1, 0]], [[-255, -1, 0, -255]]
    populations = [
        (mixed, Neurons(1)),
        (excitatory, Neurons(1)),
        (excitatory, Neurons(largest)),
        (excitatory, Neurons(largest, v_init=largest, bias=np.array([4095], np.int16), bias_exponent=7)),
        (inhibitory, Neurons(1, v_init=largest)),
        (inhibitory, Neurons(3, v_init=-largest, bias=np.array([4095], np.int16))),
        (mixed, Neurons(257, "hard", v_init=-5, bias=np.array([-4096], np.int16), bias_exponent=0)),
        (excitatory, Neurons(MAX_THRESHOLD, "hard", v_init=largest, bias=np.array([4095], np.int16), bias_exponent=7)),
        # Equal to the threshold is not above it.
        ([[100, 0, 0, 0]], Neurons(100)),
        ([[100, 0, 0, 0]], Neurons(100, "hard")),
        (excitatory, Neurons(largest, "none", v_init=largest)),
    ]
    case = Case(branches(Input((4,), "spikes"), *populations), np.ones((2, 8, 4), np.uint8), 8, blank=4)
    case.images[1, ::2] = 0
    lava, _ = assert_lava_agrees(case, implementation)
    # In the first sample v is 100, 200 - 100, ..., in the second one 0, 100, 100, 200 - 100, ...
    soft, hard = (lava.spikes[f"branch{i}"][:, :, 0].astype(int).tolist() for i in (8, 9))
    assert soft == [[0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 1, 0, 1]]
    assert hard == [[0, 1, 0, 1, 0, 1, 0, 1], [0, 0, 0, 1, 0, 0, 0, 1]]


def test_neuron_driven_to_the_negative_limit_recovers():
    source = Input((2,), "current", 255)
    down, up = [[-255, 255]], [[254, -256]]
    network = branches(
        source, (down, Neurons(50)), (down, Neurons(50, "hard")), (up, Neurons(131071)), (down, Neurons(9, "none"))
    )
    # Driven by spikes that depend on a first layer the sign would be fixed; a biased one changes sign on its own.
    climb = Neurons(200, v_init=-131071, bias=np.array([4095], np.int16), bias_exponent=7)
    layers = (*network.layers[:3], Layer("climb", (1,), (Dense(INPUT, np.array([[-2, 0]])),), climb), network.layers[3])
    case = Case(network.replace(layers=layers), np.array([[1, 0], [0, 1], [0.1, 1], [1, 0.9]], np.float32), 25, blank=5)
    _, reference = assert_lava_agrees(case)
    assert all(reference.saturations[f"branch{i}"] > 0 for i in range(4))
    assert case.run("reference").potentials["branch0"].min() == -(2**23) + 1
    assert reference.spike_counts["climb"] > 0


def backlog_network():
    """Layer a is driven so hard that its potential, or b's, is still above the pulse of the blank step."""
    one = np.array([[1]], dtype=np.int16)
    layers = (
        Layer("a", (1,), (Dense(INPUT, 250 * one),), Neurons(40)),
        Layer("b", (1,), (Dense("a", 30 * one),), Neurons(30, v_init=7)),
        Layer("c", (1,), (Dense("b", 10 * one), Dense("a", 3 * one)), Neurons(15, "hard", v_init=4)),
        Layer("d", (1,), (Dense("c", one), Dense("b", one)), Neurons(1, "none")),
    )
    return SpikingNetwork("backlog", Input((1,), "spikes", 255, Neurons(1)), layers, "integer")


def test_a_backlog_of_spikes_ends_with_its_sample_on_both_neurons():
    # Layer a is still above its threshold when the sample ends, and would go on spiking.
    messages = np.zeros((3, 4, 1), np.uint8)
    messages[0], messages[2] = 1, 1
    case = Case(backlog_network(), messages, 4)
    case.network = case.network.replace(input=Input((1,), "spikes"))
    stock, _ = assert_lava_agrees(case, "stock")
    native, _ = assert_lava_agrees(case, "native")
    for name in native.spikes:
        np.testing.assert_array_equal(native.spikes[name], stock.spikes[name])
        if name != INPUT:
            np.testing.assert_array_equal(native.potentials[name], stock.potentials[name])
    assert native.potentials["a"][0] > 40 * 64 and not native.message_counts["a"][1]
    assert not any(stock.boundary_spikes.values())


def test_a_potential_beyond_the_pulse_crosses_into_the_next_sample_on_stock_neurons_and_is_reported():
    neurons = Neurons(40, v_init=-3)
    source = Input((2,), "spikes", 65535, neurons)
    network = branches(source, ([[20, 30]], Neurons(25)), ([[20, 30]], Neurons(25, "none")))
    messages = np.zeros((3, 3, 2), np.int32)
    messages[0], messages[1, 0], messages[2] = 40_000, 60, 100
    case = Case(network, messages, 3)
    stock, _ = assert_lava_agrees(case, "stock")
    assert stock.boundary_spikes[INPUT] == 1
    native, _ = assert_lava_agrees(case, "native")
    assert (native.spikes[INPUT] != stock.spikes[INPUT]).any()


@pytest.mark.parametrize("implementation", ["native", "stock"])
def test_bias_alone_makes_neurons_spike_before_the_first_sample(implementation):
    # The simulator runs a step before the first sample; its spikes must not reach any sample, unless they are modelled.
    strong = np.array([4000], np.int16)
    one = np.array([[1]], dtype=np.int16)
    layers = (
        Layer("hard", (1,), (Dense(INPUT, one),), Neurons(10, "hard", bias=strong)),
        Layer("soft", (1,), (Dense(INPUT, one),), Neurons(10, "soft", bias=strong)),
        Layer("after", (1,), (Dense("hard", 100 * one), Dense("soft", 10 * one)), Neurons(3, "none")),
    )
    network = SpikingNetwork("bias", Input((1,), "spikes"), layers, "integer")
    assert_lava_agrees(Case(network, np.ones((2, 3, 1), np.uint8), 3), implementation)


def test_weights_that_lavas_dense_would_round_or_clip_are_not_rounded():
    # Lava's Dense truncates odd weights of mixed sign, and clips weights of one sign at 255.
    populations = [
        ([[3, -5, 255]], Neurons(2)),
        ([[-256, -256, 0]], Neurons(2, "none")),
        ([[-1, 255, 7]], Neurons(1, "none")),
    ]
    case = Case(branches(Input((3,), "spikes"), *populations), np.eye(3, dtype=np.uint8)[None], 3)
    assert_lava_agrees(case)


def test_large_graded_sums_are_refused_before_they_wrap_inside_lavas_convolution():
    # Lava's fixed-point Conv wraps its sums at 24 bits.
    layer = Layer("conv", (1, 1, 1), (Conv(INPUT, np.full((1, 3, 1, 1), 255, np.int16)),), Neurons(131071))
    network = SpikingNetwork("wide", Input((3, 1, 1), "current", 65535), (layer,), "integer")
    case = Case(network, np.ones((1, 3, 1, 1), np.float32), 2)
    with pytest.raises(BackendError, match="wraps at 8388608"):
        case.run("lava")


@pytest.mark.parametrize(
    "values, level, neurons",
    [
        # The current wraps; it comes back within 24 bits, or not; the shift by six bits leaves 32 bits.
        (4, 100, Neurons(100_000, "hard", v_init=MAX_STOCK)),
        (4, 100, Neurons(100_000, "none", v_init=-MAX_STOCK, bias=np.array([4095], np.int16), bias_exponent=7)),
        (600, 255, Neurons(1000)),
        (600, 255, Neurons(1000, "hard", current_decay=7, voltage_decay=3)),
        (100, 65535, Neurons(1000)),
        (100, 65535, Neurons(1000, "none", current_decay=0)),
    ],
)
def test_stock_neurons_wrap_as_the_reference_says(values, level, neurons):
    network = branches(Input((values,), "current", level), ([[255] * values], neurons), ([[-255] * values], neurons))
    case = Case(network, np.ones((2, values), np.float32), 6, blank=2)
    case.images[1] = 0.3
    _, reference = assert_lava_agrees(case, "stock")
    assert reference.large_inputs["branch0"] + reference.large_inputs["branch1"]


def test_graded_sums_of_32_bits_are_refused():
    network = branches(Input((129,), "current", 65535), ([[255] * 129], Neurons(1000)))
    for implementation in ("native", "stock"):
        with pytest.raises(BackendError, match="branch0: sums can reach 2155773825, which Lava wraps at 2147483648"):
            Case(network, np.ones((1, 129), np.float32), 2).run(Lava(implementation))


def test_leaky_neurons_are_stock_only():
    network = branches(
        Input((1,), "spikes"), ([[9]], Neurons(5, "hard", current_decay=1000, voltage_decay=100)), readout="count"
    )
    with pytest.raises(BackendError, match="implementation 'stock'"):
        Case(network, np.ones((1, 2, 1)), 2).run("lava")


def test_leaky_neurons_with_v_init_are_refused():
    # v_init comes through a synapse, which a leaky neuron would keep in its current.
    neurons = Neurons(50, "hard", v_init=40, current_decay=1000, voltage_decay=100)
    case = Case(branches(Input((1,), "spikes"), ([[9]], neurons), readout="count"), np.ones((1, 6, 1), np.uint8), 6)
    for backend in (Lava("stock"), Reference("stock")):
        with pytest.raises(BackendError, match="v_init"):
            case.run(backend)


def test_random_leaky_populations_in_stock_neurons():
    rng = np.random.default_rng(0)
    populations = []
    for reset in ("hard", "none"):
        for decays in [(0, 4096), (0, 0), (4096, 128), (1, 4095), (2048, 512), (700, 3)]:
            bias = rng.integers(-300, 600, 4).astype(np.int16)
            neurons = Neurons(300, reset, bias=bias, bias_exponent=4, current_decay=decays[0], voltage_decay=decays[1])
            populations.append((2 * rng.integers(-60, 120, (4, 3)), neurons))
    network = branches(Input((3,), "spikes"), *populations)
    case = Case(network, rng.integers(0, 2, (3, 12, 3)).astype(np.uint8), 12)
    lava, _ = assert_lava_agrees(case, "stock")
    assert sum(lava.spike_counts[f"branch{i}"] > 0 for i in range(6)) == 6


@pytest.mark.parametrize(("name", "steps", "largest"), [("tiny", 8, 80), ("mnist", 8, 255)])
def test_networks_of_lava_dl(name, steps, largest):
    site = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
    network = rmp_lava.load(site / "tests/lava/lib/dl/netx" / f"{name}.net")
    rng = np.random.default_rng(2)
    messages = rng.integers(0, largest, (2, steps, *network.input.shape)).astype(np.int32)
    lava, _ = assert_lava_agrees(Case(network, messages, steps), "stock")
    assert all(
        count > 0
        for layer, count in lava.spike_counts.items()
        if network.output.neurons.reset != "none" or layer != network.output.name
    )


def test_real_valued_messages_are_recorded_as_they_are():
    layer = Layer("a", (1,), (Dense(INPUT, np.array([[1.0]], np.float32)),), Neurons(1.5, "none"))
    network = SpikingNetwork("real", make_input("current", (1,)), (layer,))
    lava, _ = assert_lava_agrees(Case(network, np.array([[0.5]], np.float32), 3))
    assert lava.spikes[INPUT].reshape(-1).tolist() == [0.5, 0.5, 0.5]
