"""What this package saves runs in lava-dl's unmodified loader with identical spikes, or stops it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rmp_lava
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import WEIGHT_KINDS, integer_weights

from rmp_lava.convert.quantize import quantize
from rmp_lava.encoding import make_input
from rmp_lava.errors import NetFileError
from rmp_lava.netx.stock import _dense_survives, lava_dl_obstacles
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork

pytestmark = pytest.mark.lava

# A process of its own: importing Lava changes the start method of multiprocessing, and torch hangs after a fork.
# Nothing of rmp_lava is imported there.
LOADER = """
import sys
import numpy as np
from lava.lib.dl.netx.hdf5 import Network
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source

path, messages, result, interval = sys.argv[1:]
net = Network(net_config=path, reset_interval=int(interval) or None)
assert all(type(layer).__module__.startswith("lava.lib.dl.netx.blocks") for layer in net.layers)
messages = np.load(messages)                       # (steps, channels first)
axes = messages.ndim
source = Source(data=messages.transpose(range(axes)[::-1]).astype(np.int32))   # (x, y, channel, steps)
source.s_out.connect(net.inp)
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
"""


def lava_dl(path, messages, folder, interval=0):
    """Spikes (steps, channels first) and final voltages of each block; or the loader's last words if it stops."""
    np.save(folder / "messages.npy", messages)
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(path), str(folder / "messages.npy"), str(folder / "result.npz"), str(interval)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        return done.stderr
    with np.load(folder / "result.npz") as result:
        return dict(result)


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
        Layer("dense", (7,), (Dense("conv2", weight(rng, 7, int(np.prod(shape2)))),), Neurons(400, "hard", bias=bias(7))),
        Layer("read", (4,), (Dense("dense", weight(rng, 4, 7)),), last),
    )
    return SpikingNetwork("hard", Input(shape, "spikes"), layers, "int", readout)


def soft_dense_network(rng):
    """Soft reset with thresholds that a dense_rec layer can say; one matrix is of a single sign before the hstack."""
    layers = (
        Layer("a", (8,), (Dense(INPUT, weight(rng, 8, 6)),), Neurons(254)),
        Layer("b", (6,), (Dense("a", 2 * rng.integers(0, 127, (6, 8))),), Neurons(100)),
        Layer("c", (5,), (Dense("b", weight(rng, 5, 6)),), Neurons(2)),
        Layer("read", (4,), (Dense("c", weight(rng, 4, 5)),), Neurons(131071, "none")),
    )
    return SpikingNetwork("soft", Input((6,), "spikes"), layers, "int", "potential")


def assert_loader_agrees(network, messages, folder, *, samples=1, periodic=False, **save_options):
    """Blank steps of the schedule are fed as blank steps: the loader knows neither lead-in nor drain."""
    path = rmp_lava.save(network, folder / "network.net", **save_options)
    result = rmp_lava.run(network, messages, messages.shape[1], "reference", record=("spikes", "potentials"))
    assert rmp_lava.load(path) == network
    period = result.schedule.period
    stream = np.zeros((samples, period, *network.input.shape), dtype=np.int32)
    stream[:, : messages.shape[1]] = messages
    found = lava_dl(path, stream.reshape(samples * period, *network.input.shape), folder, period if periodic else 0)
    assert isinstance(found, dict), found
    blocks = list(network) if network.input.neurons is None else [INPUT, *network]
    for i, block in enumerate(blocks):
        name = block if block == INPUT else block.name
        expected = result.spikes[name].reshape(samples * period, *result.spikes[name].shape[2:])
        np.testing.assert_array_equal(found[f"spikes{i}"], expected, err_msg=name)
    if network.readout == "potential" and not periodic:
        np.testing.assert_array_equal(found[f"v{len(blocks) - 1}"], result.potentials[network.output.name][0])
    return result


@pytest.mark.slow
@pytest.mark.parametrize(("with_bias", "readout"), [(True, "potential"), (True, "count"), (False, "count")])
def test_hard_reset_network_runs_unmodified(tmp_path, with_bias, readout):
    rng = np.random.default_rng(5)
    network = hard_network(rng, with_bias, readout)
    assert lava_dl_obstacles(network) == []
    messages = rng.integers(0, 2, (1, 12, *network.input.shape)).astype(np.uint8)
    result = assert_loader_agrees(network, messages, tmp_path)
    assert all(result.spike_counts[layer.name] > 0 for layer in network if layer.neurons.reset != "none")
    if readout == "potential":
        assert result.potentials["read"].any()


@pytest.mark.slow
def test_periodic_reset_of_the_loader_gives_the_same_samples(tmp_path):
    # Without a bias the network is at rest when the loader resets one layer after the other.
    rng = np.random.default_rng(6)
    network = hard_network(rng, False, "count")
    messages = rng.integers(0, 2, (3, 8, *network.input.shape)).astype(np.uint8)
    result = assert_loader_agrees(network, messages, tmp_path, samples=3, periodic=True)
    assert (result.neuron_counts["read"] > 0).any(axis=1).all()


@pytest.mark.slow
def test_graded_input_population_runs_unmodified(tmp_path):
    # Messages that drive hard-reset input neurons, as lava-dl's own files have it.
    rng = np.random.default_rng(1)
    layers = (Layer("a", (3,), (Dense(INPUT, weight(rng, 3, 5)),), Neurons(90, "hard")),)
    source = Input((5,), "spikes", 200, Neurons(100, "hard"))
    network = SpikingNetwork("driven", source, layers, "int", "count")
    result = assert_loader_agrees(network, rng.integers(0, 201, (1, 10, 5)).astype(np.uint8), tmp_path)
    assert 0 < result.spike_counts["a"] < 30


@pytest.mark.slow
def test_soft_reset_dense_network_runs_unmodified_as_dense_rec(tmp_path):
    rng = np.random.default_rng(7)
    network = soft_dense_network(rng)
    messages = rng.integers(0, 2, (1, 10, 6)).astype(np.uint8)
    result = assert_loader_agrees(network, messages, tmp_path, for_lava_dl=True)
    assert all(result.spike_counts[name] > 10 for name in "abc")


@pytest.mark.slow
def test_network_quantised_as_dense_rec_runs_unmodified(tmp_path):
    rng = np.random.default_rng(8)
    layers = (
        Layer("a", (9,), (Dense(INPUT, rng.normal(0.1, 0.4, (9, 6))),), Neurons(1.3)),
        Layer("b", (4,), (Dense("a", rng.normal(0.1, 0.4, (4, 9))),), Neurons(0.9)),
    )
    network = quantize(SpikingNetwork("q", make_input("spikes", (6,)), layers, readout="count"), threshold_form="dense_rec")
    messages = rng.integers(0, 2, (1, 12, 6)).astype(np.uint8)
    result = assert_loader_agrees(network, messages, tmp_path, for_lava_dl=True)
    assert result.spike_counts["b"] > 5


def residual_network(reset):
    one = np.array([[2]], dtype=np.int16)
    layers = (
        Layer("a", (1,), (Dense(INPUT, one),), Neurons(1, reset)),
        Layer("b", (1,), (Dense("a", one), Dense(INPUT, one)), Neurons(1, reset)),
    )
    return SpikingNetwork("residual", Input((1,), "spikes"), layers, "int", "count")


def soft_conv_network():
    conv = Conv(INPUT, np.full((1, 1, 2, 2), 2, np.int16))
    layers = (Layer("conv", (1, 2, 2), (conv,), Neurons(4)),)
    return SpikingNetwork("soft", Input((1, 3, 3), "spikes"), layers, "int", "count")


def unsayable(**neurons):
    layers = (Layer("a", (1,), (Dense(INPUT, np.array([[2]], np.int16)),), Neurons(**{"threshold": 4, "reset": "hard", **neurons})),)
    return SpikingNetwork("x", Input((1,), "spikes"), layers, "int", "count")


REFUSED = {
    "soft-reset convolution": soft_conv_network(),
    "hard-reset residual": residual_network("hard"),
    "soft-reset residual": residual_network("soft"),
    "v_init": unsayable(v_init=3),
    "odd weights": SpikingNetwork(
        "odd", Input((2,), "spikes"), (Layer("a", (1,), (Dense(INPUT, np.array([[255, -1]])),), Neurons(4, "hard")),), "int", "count"
    ),
    "bias exponent": unsayable(bias=np.array([1]), bias_exponent=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_loader_stops_at_what_it_would_run_wrongly(tmp_path, name):
    network = REFUSED[name]
    with pytest.raises(NetFileError, match="cannot run in lava-dl's loader"):
        rmp_lava.save(network, tmp_path / "a.net", for_lava_dl=True)
    assert not (tmp_path / "a.net").exists()
    rmp_lava.save(network, tmp_path / "a.net")
    message = lava_dl(tmp_path / "a.net", np.zeros((4, *network.input.shape), np.int32), tmp_path)
    assert isinstance(message, str) and "Traceback" in message and "Error" in message
    assert not (tmp_path / "result.npz").exists()


class _Wire:
    """Stands for a port of a ProcessModel that is stepped without a runtime."""

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


ranges = st.sampled_from([(-256, 255), (-256, 254), (-128, 127), (-255, 0), (-256, -1), (0, 255), (1, 255), (-4, 3), (-1, 1)])


@st.composite
def matrices(draw):
    low, high = draw(ranges)
    step = draw(st.sampled_from([1, 1, 2, 4, 32]))
    row = st.lists(st.integers(low, high).map(lambda n: n // step * step), min_size=3, max_size=3)
    return np.clip(np.array(draw(st.lists(row, min_size=1, max_size=3))), -256, 255)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@settings(max_examples=400)
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
def test_dense_weights_said_to_survive_do(weight):
    if _dense_survives(weight):
        assert is_exact(weight)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@settings(max_examples=300)
@given(st.sampled_from(WEIGHT_KINDS), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_quantised_dense_weights_survive(kind, seed, smaller):
    # The forms that quantize gives: all bits used, odd ones only where there is one sign.
    weight = integer_weights(np.random.default_rng(seed), (3, 4), kind) >> smaller
    weight &= ~1 if weight.min() < 0 < weight.max() else -1
    if weight.any():
        assert is_exact(weight) and _dense_survives(weight)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@settings(max_examples=400)
@given(matrices(), st.integers(1, 254))
@example(np.array([[126, -128]]), 128)
@example(np.array([[2, -2]]), 4)
@example(np.array([[8, 2]]), 64)
@example(np.array([[254, -256]]), 254)
def test_soft_reset_layer_said_to_be_sayable_subtracts_exactly_its_threshold(weight, threshold):
    layer = Layer("a", (len(weight),), (Dense(INPUT, weight),), Neurons(threshold))
    network = SpikingNetwork("a", Input((weight.shape[1],), "spikes"), (layer,), "int", "count")
    if not lava_dl_obstacles(network):
        assert is_exact(weight, -threshold * np.eye(len(weight), dtype=int))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps", "largest"), [("tiny", 8, 80), ("mnist", 6, 255)])
def test_foreign_network_gives_the_loaders_spikes(tmp_path, name, steps, largest):
    site = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
    path = site / "tests/lava/lib/dl/netx" / f"{name}.net"
    network = rmp_lava.load(path)
    rng = np.random.default_rng(0)
    messages = rng.integers(0, largest, (1, steps, *network.input.shape)).astype(np.int32)
    result = rmp_lava.run(network, messages, steps, "reference", record=("spikes", "potentials"))
    stream = np.zeros((result.schedule.period, *network.input.shape), np.int32)
    stream[:steps] = messages[0]
    found = lava_dl(path, stream, tmp_path)
    assert isinstance(found, dict), found
    for i, block in enumerate([INPUT, *(layer.name for layer in network)]):
        np.testing.assert_array_equal(found[f"spikes{i}"], result.spikes[block][0], err_msg=block)
        assert result.spikes[block].any() or (block == network.output.name and network.readout == "potential")
    if network.readout == "potential":
        np.testing.assert_array_equal(found[f"v{len(network.layers)}"], result.potentials[network.output.name][0])
        assert found[f"v{len(network.layers)}"].any()
