"""What this package saves runs in lava-dl's unmodified loader with identical spikes, or stops it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from profiles import examples
from strategies import WEIGHT_KINDS, integer_weights

import rmp_lava
from rmp_lava.conversion.quantize import quantize
from rmp_lava.encoding import make_input
from rmp_lava.errors import NetFileError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.netx.lava_dl_loader import _dense_survives, lava_dl_obstacles
from rmp_lava.netx.lava_dl_weights import effective_weights

pytestmark = pytest.mark.lava

# A process of its own: importing Lava changes the start method of multiprocessing, and torch hangs after a fork.
# Nothing of rmp_lava is imported there.
LOADER = """
import json
import sys
import numpy as np
from lava.lib.dl.netx.hdf5 import Network
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source


def job(path, messages, result, interval):
    net = Network(net_config=path, reset_interval=interval or None)
    assert all(type(layer).__module__.startswith("lava.lib.dl.netx.blocks") for layer in net.layers)
    messages = np.load(messages)                       # (steps, channels first)
    axes = messages.ndim
    source = Source(data=messages.transpose(range(axes)[::-1]).astype(np.int32))   # (x, y, channel, steps)
    # An input block leaves its own port unconnected; messages go straight to its neurons.
    source.s_out.connect(net.in_layer.neuron.a_in if type(net.in_layer).__name__ == "Input" else net.inp)
    sinks = []
    for layer in net.layers:
        sink = Sink(shape=layer.out.shape, buffer=len(messages))
        layer.out.connect(sink.a_in)
        sinks.append(sink)
    net.run(condition=RunSteps(num_steps=len(messages)), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    output = {f"spikes{i}": s.data.get() for i, s in enumerate(sinks)}
    output |= {f"v{i}": layer.neuron.v.get() for i, layer in enumerate(net.layers)}
    net.stop()
    np.savez(result, **{k: v.transpose(range(v.ndim)[::-1]) for k, v in output.items()})

for path, messages, result, interval in json.loads(sys.argv[1]):
    try:
        job(path, messages, result, interval)
    except Exception as error:
        print("STOPPED", path, type(error).__name__, flush=True)
"""


def lava_dl(folder, jobs):
    """For each (path, messages, reset interval): spikes (steps, channels first) and final voltages of each block.

    None where the loader stops with an exception. One process for all: the imports take longer than the runs.
    """
    arguments = []
    for i, (path, messages, interval) in enumerate(jobs):
        np.save(folder / f"messages{i}.npy", messages)
        arguments.append((str(path), str(folder / f"messages{i}.npy"), str(folder / f"result{i}.npz"), interval))
    done = subprocess.run(
        [sys.executable, "-c", LOADER, json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    results = []
    for path, _, result, _ in arguments:
        assert Path(result).exists() != (f"STOPPED {path}" in done.stdout), done.stdout + done.stderr
        results.append(dict(np.load(result)) if Path(result).exists() else None)
    return results


def weight(rng, *shape):
    return (2 * rng.integers(-50, 80, shape)).astype(np.int16)


def hard_network(rng, with_bias, readout, shape=(2, 6, 5)):
    def bias(n):
        return rng.integers(-9, 60, n).astype(np.int16) if with_bias else None

    conv1 = Conv(INPUT, weight(rng, 4, 2, 3, 2), stride=(2, 1), padding=(1, 0))
    conv2 = Conv("conv1", weight(rng, 6, 2, 2, 3), padding=(0, 2), dilation=(1, 2), groups=2)
    shape1 = conv1.output_shape(shape)
    shape2 = conv2.output_shape(shape1)
    last = Neurons(500, "hard", bias=bias(4)) if readout == "count" else Neurons(131071, "none")
    layers = (
        Layer("conv1", shape1, (conv1,), Neurons(180, "hard", bias=bias(4))),
        Layer("conv2", shape2, (conv2,), Neurons(300, "hard", bias=bias(6))),
        Layer(
            "dense", (7,), (Dense("conv2", weight(rng, 7, int(np.prod(shape2)))),), Neurons(400, "hard", bias=bias(7))
        ),
        Layer("read", (4,), (Dense("dense", weight(rng, 4, 7)),), last),
    )
    return SpikingNetwork("hard", Input(shape, "spikes"), layers, "integer", readout)


def soft_dense_network(rng):
    """Soft reset with thresholds that a dense_rec layer can represent; one matrix is of a single sign before the hstack."""
    layers = (
        Layer("a", (8,), (Dense(INPUT, weight(rng, 8, 6)),), Neurons(254)),
        Layer("b", (6,), (Dense("a", 2 * rng.integers(0, 127, (6, 8))),), Neurons(100)),
        Layer("c", (5,), (Dense("b", weight(rng, 5, 6)),), Neurons(2)),
        Layer("read", (4,), (Dense("c", weight(rng, 4, 5)),), Neurons(131071, "none")),
    )
    return SpikingNetwork("soft", Input((6,), "spikes"), layers, "integer", "potential")


def stream_for(network, messages, plan):
    """Samples one after the other, and as many steps more as the last layer's window is later than the input's."""
    samples, steps, *shape = messages.shape
    first = lead_in_for(network, plan)
    stream = np.zeros((first + (samples - 1) * plan.period + plan.latency, *shape), dtype=np.int32)
    for sample in messages:
        stream[first : first + steps] = sample
        first += plan.period
    return stream


def lead_in_for(network, plan):
    """The loader resets block k in steps 1 + k, 1 + k + period, ...; a message takes a step to reach the first block.

    Messages that go straight to input neurons take none, and may start at once.
    """
    return 0 if network.input.neurons is not None else plan.period - 1


def assert_same_spikes(network, result, found):
    assert found is not None, "the loader stopped"
    depths = ({INPUT: 0} if network.input.neurons is not None else {}) | network.depths
    blocks, plan = list(depths), result.schedule
    for i, (name, depth) in enumerate(depths.items()):
        first = lead_in_for(network, plan) + depth
        windows = [found[f"spikes{i}"][first + n * plan.period :][: plan.steps] for n in range(result.samples)]
        np.testing.assert_array_equal(np.array(windows), result.spikes[name], err_msg=name)
    if network.readout == "potential":
        np.testing.assert_array_equal(found[f"v{len(blocks) - 1}"], result.potentials[network.output.name][-1])
        assert found[f"v{len(blocks) - 1}"].any()


def assert_loader_agrees(folder, *jobs, blank=0, **save_options):
    """Save, run unmodified and compare (network, messages) jobs; samples are separated by the periodic reset."""
    prepared, results = [], []
    for i, (network, messages) in enumerate(jobs):
        path = rmp_lava.save(network, folder / f"network{i}.net", **save_options)
        assert rmp_lava.load(path) == network
        record = ("counts", "spikes", "potentials")
        result = rmp_lava.run(network, messages, messages.shape[1], "reference", blank=blank, record=record)
        prepared.append((path, stream_for(network, messages, result.schedule), result.schedule.period))
        results.append(result)
    for (network, _), result, found in zip(jobs, results, lava_dl(folder, prepared), strict=True):
        assert_same_spikes(network, result, found)
        spiking = [layer.name for layer in network if layer.neurons.reset != "none"]
        assert all(result.neuron_counts[name].reshape(result.samples, -1).any(axis=1).all() for name in spiking)
    return results


def messages_for(rng, network, samples, steps):
    return rng.integers(0, network.input.levels + 1, (samples, steps, *network.input.shape)).astype(np.int32)


@pytest.mark.slow
def test_hard_reset_networks_run_unmodified(tmp_path):
    rng = np.random.default_rng(5)
    networks = [hard_network(rng, *form) for form in [(True, "potential"), (True, "count"), (False, "count")]]
    # Messages that drive hard-reset input neurons, as lava-dl's own files have it.
    layers = (Layer("a", (3,), (Dense(INPUT, weight(rng, 3, 5)),), Neurons(90, "hard")),)
    source = Input((5,), "spikes", 200, Neurons(100, "hard"))
    networks.append(SpikingNetwork("driven", source, layers, "integer", "count"))
    assert_loader_agrees(tmp_path, *((network, messages_for(rng, network, 1, 12)) for network in networks))


@pytest.mark.slow
def test_periodic_reset_of_the_loader_gives_the_same_samples(tmp_path):
    rng = np.random.default_rng(6)
    network = hard_network(rng, True, "potential")
    network = network.map_layers(
        lambda layer: layer.replace(neurons=layer.neurons.replace(threshold=min(60, layer.neurons.threshold)))
    )
    assert_loader_agrees(tmp_path, (network, messages_for(rng, network, 3, 9)))


@pytest.mark.slow
def test_soft_reset_dense_networks_run_unmodified_as_dense_rec(tmp_path):
    rng = np.random.default_rng(7)
    layers = (
        Layer("a", (9,), (Dense(INPUT, rng.normal(0.1, 0.4, (9, 6))),), Neurons(1.3)),
        Layer("b", (4,), (Dense("a", rng.normal(0.1, 0.4, (4, 9))),), Neurons(0.9)),
    )
    floating = SpikingNetwork("q", make_input("spikes", (6,)), layers, readout="count")
    networks = [soft_dense_network(rng), quantize(floating, threshold_form="dense_rec")]
    results = assert_loader_agrees(
        tmp_path, *((network, messages_for(rng, network, 1, 10)) for network in networks), for_lava_dl=True
    )
    assert all(result.spike_counts[name] > 0 for result in results for name in "ab")


@pytest.mark.slow
def test_soft_reset_samples_are_separate_once_blank_steps_have_emptied_the_neurons(tmp_path):
    # The self-synapse of a spike in a period's last step would arrive after the reset.
    rng = np.random.default_rng(9)
    layers = (
        Layer("a", (9,), (Dense(INPUT, 2 * rng.integers(-20, 40, (9, 6))),), Neurons(100)),
        Layer("b", (4,), (Dense("a", 2 * rng.integers(-20, 40, (4, 9))),), Neurons(180)),
    )
    network = SpikingNetwork("soft", Input((6,), "spikes"), layers, "integer", "count")
    messages = messages_for(rng, network, 3, 10)
    (result,) = assert_loader_agrees(tmp_path, (network, messages), blank=12, for_lava_dl=True)
    # Without the blank steps there would be something to separate.
    assert all(result.spikes[name][:2, -1].any() for name in "ab")


def residual_network(reset):
    one = np.array([[2]], dtype=np.int16)
    layers = (
        Layer("a", (1,), (Dense(INPUT, one),), Neurons(1, reset)),
        Layer("b", (1,), (Dense("a", one), Dense(INPUT, one)), Neurons(1, reset)),
    )
    return SpikingNetwork("residual", Input((1,), "spikes"), layers, "integer", "count")


def soft_conv_network():
    conv = Conv(INPUT, np.full((1, 1, 2, 2), 2, np.int16))
    layers = (Layer("conv", (1, 2, 2), (conv,), Neurons(4)),)
    return SpikingNetwork("soft", Input((1, 3, 3), "spikes"), layers, "integer", "count")


def unsayable(**neurons):
    layers = (
        Layer(
            "a",
            (1,),
            (Dense(INPUT, np.array([[2]], np.int16)),),
            Neurons(**{"threshold": 4, "reset": "hard", **neurons}),
        ),
    )
    return SpikingNetwork("x", Input((1,), "spikes"), layers, "integer", "count")


REFUSED = {
    "soft-reset convolution": soft_conv_network(),
    "hard-reset residual": residual_network("hard"),
    "soft-reset residual": residual_network("soft"),
    "v_init": unsayable(v_init=3),
    "odd weights": SpikingNetwork(
        "odd",
        Input((2,), "spikes"),
        (Layer("a", (1,), (Dense(INPUT, np.array([[255, -1]])),), Neurons(4, "hard")),),
        "integer",
        "count",
    ),
    "bias exponent": unsayable(bias=np.array([1]), bias_exponent=3),
}


@pytest.mark.slow
def test_loader_stops_at_what_it_would_run_wrongly(tmp_path):
    jobs = []
    for i, network in enumerate(REFUSED.values()):
        path = tmp_path / f"{i}.net"
        with pytest.raises(NetFileError, match="cannot run in lava-dl's loader"):
            rmp_lava.save(network, path, for_lava_dl=True)
        assert not path.exists()
        jobs.append((rmp_lava.save(network, path), np.zeros((4, *network.input.shape), np.int32), 0))
    ran = [name for name, found in zip(REFUSED, lava_dl(tmp_path, jobs), strict=True) if found is not None]
    assert ran == []


class _Wire:
    """Stand-in for a port of a ProcessModel that is stepped without a runtime."""

    def __init__(self):
        self.value = None

    def recv(self):
        return self.value

    def send(self, value):
        self.value = value


def loader_matrices(*parts):
    """What the loader's Dense models really add for each single source, and for all sources together.

    As in netx/hdf5.py `create_dense`: the parts (weights, recurrent weights) are optimised together, then each gets a
    Dense of its own, whose sign mode Lava determines by itself.
    """
    from lava.lib.dl.netx.utils import optimize_weight_bits
    from lava.proc.dense.models import PyDenseModelBitAcc

    shifted, bits, exponent, _ = optimize_weight_bits(np.hstack(parts))
    sums = []
    for weight in np.split(shifted, np.cumsum([part.shape[1] for part in parts])[:-1], axis=1):
        model = PyDenseModelBitAcc({"weight_exp": exponent, "num_weight_bits": bits})
        model.weights, model.num_message_bits, model.a_buff = weight.astype(np.int32), np.array([0]), 0
        model.s_in, model.a_out = _Wire(), _Wire()
        patterns = np.vstack([np.eye(weight.shape[1], dtype=int), np.ones((1, weight.shape[1]), dtype=int)])
        for pattern in (*patterns, np.zeros_like(patterns[0])):
            model.s_in.value = pattern
            model.run_spk()
            sums.append(model.a_out.value)
        del sums[-len(patterns) - 1]  # what the model sent before the first pattern
    return np.array(sums).T


def exact_matrices(*parts):
    return np.hstack([np.column_stack([part, part.sum(axis=1)]) for part in parts])


def is_exact(*parts):
    parts = [np.asarray(part, dtype=np.int16) for part in parts]
    try:
        return np.array_equal(loader_matrices(*parts), exact_matrices(*parts))
    except (ValueError, OverflowError, FloatingPointError):
        return False  # a loader that stops runs nothing wrongly


ranges = st.sampled_from(
    [(-256, 255), (-256, 254), (-128, 127), (-255, 0), (-256, -1), (0, 255), (1, 255), (-4, 3), (-1, 1)]
)


@st.composite
def matrices(draw):
    low, high = draw(ranges)
    step = draw(st.sampled_from([1, 1, 2, 4, 32]))
    row = st.lists(st.integers(low, high).map(lambda n: n // step * step), min_size=3, max_size=3)
    return np.clip(np.array(draw(st.lists(row, min_size=1, max_size=3))), -256, 255)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@settings(max_examples=examples(400))
@given(matrices())
@example(np.array([[-128, 0]]))
@example(np.array([[-128, 127]]))
@example(np.array([[-128, 126]]))
@example(np.array([[-256, 254]]))
@example(np.array([[-256, 255]]))
@example(np.array([[-256, 0]]))
@example(np.array([[-256, -2]]))
@example(np.array([[-255, 0]]))
@example(np.array([[255, -1]]))
@example(np.array([[255, 0]]))
@example(np.array([[-64, 0]]))
@example(np.array([[-1, 0]]))
@example(np.array([[64, -64]]))
def test_dense_weights_reported_as_exact_are_exact(weight):
    if _dense_survives(weight):
        assert is_exact(weight)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@settings(max_examples=examples(300))
@given(matrices(), st.none() | matrices(), st.integers(-1, 2))
@example(np.array([[-255, 0]]), None, 0)
@example(np.array([[-3, 0]]), None, 0)
@example(np.array([[255, -3]]), None, 0)
def test_weights_that_the_loader_changes_are_what_its_dense_computes_with(weight, recurrent, shift):
    shifted = weight << shift if shift > 0 else weight >> -shift
    parts = [shifted] if recurrent is None else [shifted[:1], recurrent[:1]]
    try:
        held = effective_weights(parts)
    except ValueError:
        return
    if any(part.any() for part in parts):
        np.testing.assert_array_equal(loader_matrices(*parts), exact_matrices(*held))


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@settings(max_examples=examples(300))
@given(st.sampled_from(WEIGHT_KINDS), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_quantised_dense_weights_survive(kind, seed, smaller):
    # The forms that quantize gives: all bits used, odd ones only where there is one sign.
    weight = integer_weights(np.random.default_rng(seed), (3, 4), kind) >> smaller
    weight &= ~1 if weight.min() < 0 < weight.max() else -1
    if weight.any():
        assert is_exact(weight) or not _dense_survives(weight)
        # Inhibitory ones whose smallest is a power of two and which hold a zero are more than the loader can represent.
        assert _dense_survives(weight) or weight.max() <= 0


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@settings(max_examples=examples(400))
@given(matrices(), st.integers(1, 254))
@example(np.array([[126, -128]]), 128)
@example(np.array([[2, -2]]), 4)
@example(np.array([[8, 2]]), 64)
@example(np.array([[254, -256]]), 254)
def test_soft_reset_layer_without_obstacle_subtracts_exactly_its_threshold(weight, threshold):
    layer = Layer("a", (len(weight),), (Dense(INPUT, weight),), Neurons(threshold))
    network = SpikingNetwork("a", Input((weight.shape[1],), "spikes"), (layer,), "integer", "count")
    if not lava_dl_obstacles(network):
        assert is_exact(weight, -threshold * np.eye(len(weight), dtype=int))
