"""Backend `fast` and the reference agree to the bit; what both report is checked against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from agreement import assert_fast_agrees, assert_same_report, batchings, dense_network, fast_is
from hypothesis import assume, example, given, seed, settings, strategies as st
from profiles import examples
from strategies import (
    ENCODINGS,
    EVERYTHING,
    MAX_STOCK,
    Case,
    assert_same_run,
    cases,
    make_images,
    networks,
    seeds,
)

from rmp_lava.backends import Lava, Reference, reference, run
from rmp_lava.backends.fast.batching import Batching
from rmp_lava.backends.fast.neurons import fused, make_population
from rmp_lava.backends.synapses import apply
from rmp_lava.encoding import encode, make_input
from rmp_lava.errors import DataError, RangeOverflowError, UsageError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(max_examples=examples(300))
@given(
    cases(leaky=True, late=True, graded=True),
    batchings(),
    st.sampled_from(["auto", "float32", "events"]),
    st.booleans(),
)
def test_fast_equals_reference(case, batching, kernel, compiled):
    with fast_is(batching, compiled=compiled):
        assert_fast_agrees(case, kernel=kernel)


@settings(max_examples=examples(80))
@given(cases(integer=False, max_layers=3), batchings(), st.booleans())
def test_fast_equals_reference_in_float_where_no_sum_is_rounded(case, batching, compiled):
    with fast_is(batching, compiled=compiled):
        assert_fast_agrees(case)


@settings(max_examples=examples(60))
@given(st.sampled_from(["soft", "hard", "none"]), st.sampled_from([(), (3,), (3, 4, 5)]), st.booleans(), seeds)
def test_compiled_float_neurons_round_as_pytorch_does(reset, bias_shape, constant, seed):
    """Of sums that are rounded, where the order of operations shows."""
    rng = np.random.default_rng(seed)
    bias = None if bias_shape == () else rng.normal(size=bias_shape).astype(np.float32) / 3
    model = Neurons(float(rng.uniform(0.3, 2)), reset, v_init=0.0 if reset == "none" else 0.1, bias=bias)
    currents = torch.from_numpy(rng.normal(0.2, 1, (1 if constant else 6, 2, 60)).astype(np.float32))
    found = []
    for compiled in (True, False):
        with fast_is(Batching(2, 6, 1, 2**20), compiled=compiled):
            population = make_population(
                model, (3, 4, 5), 3, integer=False, device=torch.device("cpu"), largest_input=0
            )
            out = torch.zeros((8, 3, 60), dtype=torch.uint8)
            messages = population.advance(currents, out, slice(1, 7), slice(1, 3))
        limits = [np.float32(limit) for limit in population.v_range]
        found.append(
            (type(population), [population.v.numpy(), population.counts.numpy(), out.numpy(), messages, limits])
        )
    assert found[0][0] is not found[1][0] or fused is None
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_random_networks_are_not_silent():
    # The comparisons above prove nothing about silent networks.
    busy = []

    def collect(case):
        result = case.run("reference")
        rates = [n / case.network[k].size for k, n in result.spike_counts.items() if k != INPUT]
        busy.append(all(rate > 0 for rate in rates[:-1]) and (rates[-1] > 0 or case.network.readout != "count"))

    # Examples of one seed resemble each other: 100 of them have a share of 0.2 to 0.8, those of six seeds one of 0.44 to 0.57.
    for number in range(6):
        seed(number)(settings(max_examples=60, database=None)(given(cases())(collect)))()
    assert np.mean(busy) > 0.3


@given(cases(chain=True, max_layers=3))
def test_prediction_at_t_is_that_of_a_run_of_t_steps(case):
    full = case.run("fast")
    for steps in range(1, case.steps + 1):
        images = case.images[:, :steps] if case.network.input.encoding == "spikes" else case.images
        part = case.run("reference", images=images, steps=steps, blank=0, power_of_two=False)
        np.testing.assert_array_equal(full.predictions_at[:, steps - 1], part.predictions)


@settings(max_examples=examples(40))
@given(cases(leaky=True), st.sampled_from(["native", "stock"]))
def test_result_of_the_reference_does_not_depend_on_the_batch_size(case, implementation):
    if implementation == "stock":
        neurons = [each.neurons for each in (case.network.input, *case.network) if each.neurons is not None]
        assume(not any(each.is_leaky and each.v_init for each in neurons))
    together = case.run(Reference(implementation))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "BATCH_BYTES", 1)
        one_by_one = case.run(Reference(implementation))
    assert_same_run(one_by_one, together)
    if implementation == "native":
        assert_same_report(one_by_one, together)


@settings(max_examples=examples(40))
@given(cases(encodings=tuple(set(ENCODINGS) - {"poisson"})), st.sampled_from(["fast", "reference"]))
def test_samples_do_not_influence_each_other(case, backend):
    together = case.run(backend)
    for i in range(len(case.images)):
        alone = case.run(backend, images=case.images[i : i + 1])
        for name in together.spikes:
            np.testing.assert_array_equal(alone.spikes[name][0], together.spikes[name][i])
        np.testing.assert_array_equal(alone.output[0], together.output[i])


def test_poisson_spikes_of_a_sample_depend_on_its_index_and_the_seed_only():
    network = dense_network(make_input("poisson", (20,)), (np.ones((1, 20)), Neurons(5)))
    images = np.full((5, 20), 0.5, np.float32)
    all_five = run(network, images, 8, "fast", seed=1, record=EVERYTHING).spikes[INPUT]
    first_two = run(network, images[:2], 8, "reference", seed=1, record=EVERYTHING).spikes[INPUT]
    np.testing.assert_array_equal(all_five[:2], first_two)
    assert (all_five[0] != all_five[1]).any()
    assert (run(network, images, 8, "fast", seed=2, record=EVERYTHING).spikes[INPUT] != all_five).any()


# Stock neurons differ in two places only, and both are reported.
@settings(max_examples=examples(100))
@given(cases(stock=True))
def test_stock_equals_native_unless_a_difference_is_reported(case):
    case.blank = max(1, case.blank)
    native, stock = case.run("reference"), case.run(Reference("stock"))
    reported = [*stock.boundary_spikes.values(), *stock.large_inputs.values(), *native.saturations.values()]
    # Input neurons are a population too, whose saturation only the stock run counts.
    reported += [stock.saturations.get(INPUT, 0)]
    assume(not any(reported))
    assert_same_run(stock, native)


@settings(max_examples=examples(150))
@given(cases(stock=True, waiting=True))
def test_stock_neurons_wait_as_native_ones_unless_a_difference_is_reported(case):
    neurons = case.network.input.neurons
    assume(neurons is None or neurons.reset == "soft" or not case.network.wait)
    case.blank = max(1, case.blank)
    record = (*EVERYTHING, "waiting")
    native, stock = case.run("reference", record=record), case.run(Reference("stock"), record=record)
    reported = [*stock.boundary_spikes.values(), *stock.large_inputs.values(), *native.saturations.values()]
    reported += [stock.saturations.get(INPUT, 0)]
    assume(not any(reported))
    assert_same_run(stock, native)
    assert dict(stock.waiting_ranges) == dict(native.waiting_ranges)


@pytest.mark.parametrize("sign", [1, -1])
def test_stock_membrane_at_the_limit_is_reported(sign):
    # 1024 times 128 is 2^17 weight units: one more than the native register holds, but u can hold it.
    network = dense_network(Input((1,), "current", 1024), ([[sign * 128]], Neurons(MAX_STOCK)))
    case = Case(network, np.ones((1, 1), np.float32), 1)
    native, stock = case.run("reference"), case.run(Reference("stock"))
    assert native.potentials["layer0"] != stock.potentials["layer0"]
    assert native.saturations["layer0"] == 1
    assert stock.saturations["layer0"] + stock.large_inputs["layer0"] > 0


def test_strict_refuses_what_wraps_in_stock_neurons_only():
    # 134,620 weight units with a bias of -8,190: more than a stock neuron's current holds, but less than a potential holds.
    neurons = Neurons(MAX_STOCK, "hard", bias=np.array([-4095], np.int16), bias_exponent=7)
    network = dense_network(Input((1,), "current", 530), ([[254]], neurons))
    images = np.ones((1, 1), np.float32)
    result = run(network, images, 1, "reference", strict=True)
    assert result.large_inputs["layer0"] == 1 and not result.saturations["layer0"]
    with pytest.raises(RangeOverflowError, match="stock neurons of layer 'layer0' wrapped 1 times"):
        run(network, images, 1, Reference("stock"), strict=True)


def test_largest_weights_thresholds_and_states_agree():
    weight = np.array([[-256, 254] * 30, [254] * 60, [-256] + [0] * 59, [254, -256] * 30])
    network = dense_network(
        make_input("current", (60,), 255),
        (weight, Neurons(131071, v_init=131071)),
        ([[254, -256, 2, 0], [255, 255, 255, 255]], Neurons(1, v_init=-131071)),
        readout="count",
    )
    result = assert_fast_agrees(Case(network, make_images(network, 3, 12, 0), 12, blank=3))
    assert result.saturations["layer0"] > 0 and result.large_inputs["layer0"] > 0


def test_graded_messages_of_16_bits_agree():
    network = dense_network(Input((3,), "current", 65535), ([[1, 2, -255], [0, 1, 1]], Neurons(70000)))
    assert_fast_agrees(Case(network, np.array([[0.3, 0.9, 0.01], [1, 1, 1]], np.float32), 5))


# 2^24 + 1 is the first integer that float32 cannot represent.
@pytest.mark.parametrize(("inputs", "word"), [(3, "float64"), (1, "float32")])
def test_sums_beyond_float32_are_computed_in_float64(inputs, word):
    network = dense_network(
        Input((inputs,), "current", 65535),
        ([[255] * inputs, [-255] * (inputs - 1) + [254]], Neurons(1, "soft")),
        # 255 * 65535 - 254 * 65535 must come out exactly where the two large terms cancel.
        ([[254, -256]], Neurons(131071, "none")),
    )
    result = assert_fast_agrees(Case(network, np.ones((2, inputs), np.float32), 3))
    assert word in result.execution


def test_cancelling_large_sums_lose_no_unit():
    # Sums of 2^24 and more, whose difference decides by one unit.
    inputs = 400
    weight = np.zeros((1, inputs), dtype=np.int16)
    weight[0, :200], weight[0, 200:399], weight[0, 399] = 254, -254, -252
    network = dense_network(Input((inputs,), "current", 65535), (weight, Neurons(131070, "soft")))
    images = np.ones((1, inputs), np.float32)
    images[0, 0] = 65534 / 65535
    result = assert_fast_agrees(Case(network, images, 1))
    assert "float64" in result.execution
    assert result.potentials["layer0"][0, 0] == (65535 * 2 - 254 - 0) * 64


def test_leaky_neurons_with_sums_beyond_32_bits_wrap_as_the_definition_says():
    # The current wraps once only, so that sums of 2^24 and more must not be clipped before.
    neurons = Neurons(131071, "hard", current_decay=100, voltage_decay=50)
    network = dense_network(Input((3,), "current", 65535), ([[255] * 3, [-255] * 3], neurons), ([[2, 4]], Neurons(9)))
    result = assert_fast_agrees(Case(network, np.array([[1, 1, 0.7], [0.1, 0.2, 1]], np.float32), 9))
    assert "float64" in result.execution


@pytest.mark.parametrize(
    ("inputs", "levels", "weight", "steps"), [(16, 255, 200, 200), (1, 65535, 200, 8), (16, 255, 100, 999)]
)
@pytest.mark.parametrize("compiled", [True, False])
def test_a_current_that_outgrows_32_bits_is_the_references(inputs, levels, weight, steps, compiled):
    # It wraps once a step, by 2^24, so inputs beyond 2^18 take it ever further.
    neurons = Neurons(100, "hard", current_decay=1)
    source = make_input("current", (inputs,), levels)
    network = dense_network(source, ([[weight] * inputs], neurons), readout="count")
    with fast_is(Batching(1, 16, 1, 2**21), compiled=compiled):
        result = assert_fast_agrees(Case(network, np.ones((1, inputs), np.float32), steps))
    assert result.current_ranges["layer0"][1] > 2**26


def test_predictions_beyond_16_bits_are_kept():
    outputs = 40_000
    weight = np.ones((outputs, 1), np.int16)
    weight[-1] = 9
    network = dense_network(make_input("poisson", (1,)), (weight, Neurons(5)), readout="count")
    result = assert_fast_agrees(Case(network, np.ones((1, 1), np.float32), 4))
    assert result.predictions_at[0, -1] == result.predictions[0] == outputs - 1


def brute_force_operations(synapse, stream):
    """Non-zero weights that the messages of a stream (n, *source shape) meet, counted by PyTorch."""
    active = torch.tensor((stream != 0).astype(np.float64))
    exists = torch.tensor((synapse.weight != 0).astype(np.float64))
    if isinstance(synapse, Dense):
        return F.linear(active.flatten(1), exists).flatten(1).sum(1).numpy()
    out = F.conv2d(active, exists, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
    return out.flatten(1).sum(1).numpy()


@settings(max_examples=examples(80))
@given(networks(max_layers=2))
def test_fan_out_is_the_number_of_synapses_of_each_neuron(network):
    for layer in network:
        for synapse in layer.synapses:
            shape = network.source_shape(synapse.source)
            size = int(np.prod(shape))
            each = brute_force_operations(synapse, np.eye(size).reshape(size, *shape))
            fan_out = synapse.fan_out(shape)
            assert fan_out.shape == shape
            np.testing.assert_array_equal(fan_out.reshape(-1), each)


@settings(max_examples=examples(60))
@given(cases())
def test_synaptic_operations_are_messages_times_weights(case):
    result = case.run("fast")
    for layer in case.network:
        streams = [
            (s, result.spikes[s.source].reshape(-1, *case.network.source_shape(s.source))) for s in layer.synapses
        ]
        expected = sum(brute_force_operations(s, stream).sum() for s, stream in streams) / len(case.images)
        assert result.operations_per_sample[layer.name] == pytest.approx(expected)


def conv_shapes():
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    return st.tuples(pairs, pairs, st.tuples(st.integers(0, 2), st.integers(0, 2)), pairs, st.sampled_from([1, 2]))


@given(conv_shapes(), seeds)
@example(((3, 1), (2, 3), (2, 0), (1, 2), 2), 0)
def test_reference_convolution_is_that_of_pytorch(parameters, seed):
    kernel, stride, padding, dilation, groups = parameters
    rng = np.random.default_rng(seed)
    weight = rng.integers(-9, 9, (4, 2 // groups, *kernel))
    synapse = Conv(INPUT, weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
    stream = rng.integers(0, 3, (1, 2, 2, 7, 8))
    expected = F.conv2d(
        torch.tensor(stream[0].astype(float)),
        torch.tensor(weight.astype(float)),
        None,
        stride,
        padding,
        dilation,
        groups,
    )
    np.testing.assert_array_equal(apply(synapse, stream)[0], expected.numpy())


def test_a_message_reaches_every_layer_in_the_same_step_of_its_window():
    # One message at step 2 of 5; a short and a long path meet in the last layer.
    one = np.array([[1]], dtype=np.int16)
    layers = (
        Layer("a", (1,), (Dense(INPUT, 3 * one),), Neurons(1)),
        Layer("b", (1,), (Dense("a", 2 * one),), Neurons(1)),
        Layer("c", (1,), (Dense("b", one), Dense(INPUT, 10 * one)), Neurons(1000, "none")),
    )
    network = SpikingNetwork("skip", Input((1,), "spikes"), layers, "integer")
    spikes = np.zeros((1, 5, 1), dtype=np.uint8)
    spikes[0, 2] = 1
    for backend in ("reference", "fast"):
        result = run(network, spikes, 5, backend, record=EVERYTHING)
        times = {name: np.flatnonzero(stream[0]).tolist() for name, stream in result.spikes.items()}
        assert times == {INPUT: [2], "a": [2, 3], "b": [2, 3, 4], "c": []}
        assert result.potentials["c"].item() == (10 + 3) * 64
        assert (result.schedule.period, result.schedule.latency) == (5, 8)


def test_rate_code_gives_the_nearest_count():
    source = make_input("rate", (256,))
    network = dense_network(source, (np.ones((1, 256)), Neurons(1)))
    images = (np.arange(256, dtype=np.float32) / 255)[None]
    assert encode(source, images, 1).reshape(-1).tolist() == list(range(256))
    for backend in ("reference", "fast"):
        for steps in (1, 7, 64):
            counts = run(network, images, steps, backend, record=("counts",)).neuron_counts[INPUT][0]
            exact = steps * np.arange(256) / 255
            assert (np.abs(counts - exact) <= 0.5 + 1 / 255).all()


@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_saturated_input_neurons_are_counted_and_strict_refuses_them(backend):
    source = Input((1,), "spikes", 65535, Neurons(100))
    layer = Layer("a", (1,), (Dense(INPUT, np.array([[9]])),), Neurons(5))
    network = SpikingNetwork("loud", source, (layer,), "integer")
    messages = np.full((1, 200, 1), 65535)
    assert run(network, messages, 200, backend).saturations[INPUT] > 0
    with pytest.raises(RangeOverflowError, match="'input'"):
        run(network, messages, 200, backend, strict=True)


def test_fractions_of_messages_and_options_of_other_backends_are_refused():
    layer = Layer("a", (2,), (Dense(INPUT, np.array([[9], [8]])),), Neurons(5))
    network = SpikingNetwork("plain", Input((1,), "spikes"), (layer,), "integer")
    with pytest.raises(DataError, match="fractions"):
        run(network, np.full((1, 4, 1), 0.9), 4)
    spikes = np.ones((1, 4, 1))
    with pytest.raises(UsageError, match="seed is -1"):
        run(network, spikes, 4, seed=-1)
    with pytest.raises(UsageError, match="time limit is -1.0; it must be a positive number"):
        run(network, spikes, 4, Lava(time_limit=-1.0))
    with pytest.raises(TypeError, match="kernel"):
        run(network, spikes, 4, kernel="int8")
    result = run(network, spikes, 4)
    with pytest.raises(DataError, match="one per sample"):
        result.accuracy(np.zeros((1, 1)))


@pytest.mark.parametrize(
    "arguments, found",
    [
        ({"steps": 4.0}, "steps are 4.0; allowed are integers 1.."),
        ({"blank": 1.5}, "blank steps are 1.5"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"record": "spikes"}, "record is the string 'spikes'; pass a collection such as .'spikes',."),
    ],
)
def test_arguments_of_other_types_are_refused(arguments, found):
    network = dense_network(Input((1,), "spikes"), ([[1]], Neurons(1)))
    with pytest.raises(UsageError, match=found):
        run(network, np.ones((1, 4, 1)), **{"steps": 4, "backend": "reference"} | arguments)
