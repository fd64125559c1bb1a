"""What backend `fast` does beyond giving the reference's spikes: budgets, kernels, early exit, how it describes itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings, strategies as st
from profiles import examples
from strategies import assert_same_run, cases, seeds

import rmp_lava
from rmp_lava.backends import Fast, fast, run
from rmp_lava.backends.fast import synapses
from rmp_lava.backends.fast.batching import choose_batching
from rmp_lava.backends.fast.confidence import exit_probability
from rmp_lava.backends.fast.layers import LayerSimulation, Prepared
from rmp_lava.encoding import make_input
from rmp_lava.errors import BackendError, NetworkError, UsageError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.network.pooling import repeat_in_blocks
from rmp_lava.schedule import Schedule, schedule
from rmp_lava.training.data import load
from rmp_lava.training.train import train

REFERENCE = Path(__file__).resolve().parents[2] / "exports" / "reference"


def network_of(weight, source=None, **neurons):
    """One layer, dense or convolutional by its weight."""
    weight = np.array(weight)
    kind = Dense if weight.ndim == 2 else Conv
    shape = (weight.shape[1],) if weight.ndim == 2 else (weight.shape[1], 6, 6)
    source = source or make_input("poisson", shape)
    synapse = kind(INPUT, weight)
    layer = Layer("only", synapse.output_shape(source.shape), (synapse,), Neurons(**{"threshold": 90, **neurons}))
    return SpikingNetwork("small", source, (layer,), "integer" if weight.dtype.kind == "i" else "balanced", "count")


IMAGES = np.full((3, 2, 6, 6), 0.4, np.float32)


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (np.array([[[[100, -3]], [[-128, 200]]]]), "neither 8-bit numbers nor even ones"),
        (np.array([[[[255]], [[3]]]]), "neither 8-bit numbers nor even ones"),
    ],
)
def test_int8_is_refused_for_weights_that_it_cannot_represent(weight, reason):
    network = network_of(weight)
    with pytest.raises(BackendError, match=reason):
        run(network, IMAGES, 4, Fast(kernel="int8"))
    assert "float32 sums" in run(network, IMAGES, 4).execution


def test_int8_is_refused_for_graded_messages_and_real_weights():
    graded = network_of(np.array([[2, 4]]), make_input("current", (2,), 255))
    with pytest.raises(BackendError, match="graded"):
        run(graded, np.ones((1, 2)), 4, Fast(kernel="int8"))
    with pytest.raises(BackendError, match="quantise the network"):
        run(network_of(np.array([[0.5, 0.25]])), np.ones((1, 2)), 4, Fast(kernel="int8"))


def missing(*_):
    raise NotImplementedError("Could not run 'onednn::qlinear_prepack'")


def test_execution_names_the_kernel_of_each_layer(monkeypatch):
    even, odd = np.array([[2, -4], [6, 8]]), np.array([[255, 1], [0, 3]])
    source = make_input("poisson", (2,))
    layers = tuple(
        Layer(name, (2,), (Dense(before, weight),), Neurons(9))
        for name, before, weight in (("a", INPUT, even), ("b", "a", odd), ("c", "b", even))
    )
    network = SpikingNetwork("mixed", source, layers, "integer", "count")
    execution = run(network, np.ones((1, 2)), 4).execution
    assert "int8 sums (float32 in b)" in execution and "numba" in execution
    monkeypatch.setattr(fast.neurons, "fused", None)
    assert "pip install '.[fast]'" in run(network, np.ones((1, 2)), 4).execution
    monkeypatch.setattr(torch.ops.onednn, "qlinear_prepack", missing)
    assert "float32 sums" in run(network, np.ones((1, 2)), 4).execution
    with pytest.raises(BackendError, match="does not have it"):
        run(network_of(even), np.ones((1, 2)), 4, Fast(kernel="int8"))


def test_a_kernel_that_is_not_exact_here_is_not_used(monkeypatch):
    honest = synapses.ConvSums._int8
    monkeypatch.setattr(synapses.ConvSums, "_int8", lambda self, images: honest(self, images) + (images.max() > 0))
    network = network_of(np.array([[[[2]], [[-4]]]]))
    assert "float32 sums" in run(network, IMAGES, 4).execution
    with pytest.raises(BackendError, match="not exact"):
        run(network, IMAGES, 4, Fast(kernel="int8"))


@st.composite
def convolutions(draw):
    """(images, synapse) where padding may exceed the kernel and strides may skip pixels; some with a folded pooling."""
    pair = lambda low, high: draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    groups = draw(st.sampled_from([1, 1, 2]))
    channels, kernel, dilation = groups * draw(st.integers(1, 4)), pair(1, 3), pair(1, 2)
    padding, size = pair(0, 3), pair(1, 7)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(max(n, e - 2 * p) for n, e, p in zip(size, extent, padding, strict=True))
    rng = np.random.default_rng(draw(seeds))
    weight = 2 * rng.integers(-128, 128, (groups * draw(st.integers(1, 3)), channels // groups, *kernel))
    stride, block = pair(1, 3), draw(st.sampled_from([1, 1, 2, 3]))
    if block > 1:
        weight, dilation = repeat_in_blocks(weight, (block, block)), (1, 1)
        size, padding, stride = (tuple(block * n for n in each) for each in (size, padding, stride))
    images = rng.integers(0, 2, (draw(st.integers(1, 3)), *size, channels)).astype(np.uint8)
    return images, Conv(INPUT, weight, stride, padding, dilation, groups, pool=(block, block) if block > 1 else None)


# oneDNN crashes where a window sees padding only, and is wrong for some single windows (torch 2.3 to 2.13).
@settings(max_examples=examples(300))
@given(
    convolutions(),
    st.sampled_from(["auto", "float32", "int8-matmul"]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_sums_are_exact_for_every_shape(convolution, kernel, dtype):
    images, synapse = convolution
    shape = (images.shape[3], *images.shape[1:3])
    try:
        sums = synapses.make_sums(synapse, shape, synapses.Arithmetic(torch.device("cpu"), dtype, kernel, largest=1))
    except BackendError as error:  # float64, groups, PyTorch 2.3
        assert "kernel 'int8-matmul' cannot compute" in str(error)
        assume(False)
    found = sums(torch.from_numpy(images))
    # Pixel by pixel and in integers: independent of every convolution.
    (ph, pw), (sh, sw), (dh, dw) = synapse.padding, synapse.stride, synapse.dilation
    padded = np.pad(images.astype(np.int64), ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    c_out, height, width = synapse.output_shape(shape)
    c_group, kh, kw = synapse.weight.shape[1:]
    expected = np.zeros((len(images), height, width, c_out), np.int64)
    for y in range(height):
        for x in range(width):
            seen = padded[:, y * sh : y * sh + dh * (kh - 1) + 1 : dh, x * sw : x * sw + dw * (kw - 1) + 1 : dw]
            for c in range(c_out):
                group = c // (c_out // synapse.groups)
                part = seen[..., group * c_group : (group + 1) * c_group]
                expected[:, y, x, c] = np.einsum("nijc,cij->n", part, synapse.weight[c].astype(np.int64))
    np.testing.assert_array_equal(found.numpy(), expected.reshape(len(images), -1))


def test_plain_products_on_other_devices_equal_the_convolution():
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 6, 9, 7), generator=random).double()
    weight = torch.randint(-99, 99, (8, 3, 3, 2), generator=random).double()
    options = (None, (2, 1), (1, 2), (1, 2), 2)
    assert torch.equal(synapses._convolve_by_matmul(images, weight, *options), F.conv2d(images, weight, *options))


# Memory


def chain(sizes):
    layers, before = [], INPUT
    for i, size in enumerate(sizes[1:]):
        before_size = sizes[i]
        layers.append(Layer(f"l{i}", (size,), (Dense(before, np.ones((size, before_size), np.int16)),), Neurons(9)))
        before = f"l{i}"
    return SpikingNetwork("chain", make_input("poisson", (sizes[0],)), tuple(layers), "integer", "count")


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=4),
    st.integers(1, 5000),
    st.integers(1, 300),
    st.integers(1, 9),
    st.integers(18, 34),
)
def test_a_batch_never_exceeds_its_budget_or_is_refused(sizes, steps, samples, threads, bits):
    network = chain(sizes)
    try:
        batching = choose_batching(
            network, schedule(network, steps), samples, device="cpu", threads=threads, memory=2**bits
        )
    except UsageError as error:
        assert "too small" in str(error) and bits < 22
        return
    assert 1 <= batching.samples <= samples and 1 <= batching.workers <= threads and batching.steps >= 1
    streams = batching.samples * (batching.steps + 1) * sum(sizes)
    assert batching.workers * (streams + 8 * batching.samples * sum(sizes[1:])) <= 2**bits


def test_batching_does_not_depend_on_how_long_a_sample_is():
    network = chain([784, 4000, 10])
    options = {"device": "cpu", "threads": 2, "memory": 2**28}
    short, long = (choose_batching(network, Schedule(steps, 2), 100, **options) for steps in (64, 2048))
    assert short == long


def test_a_budget_that_is_too_small_is_refused_with_the_number_needed():
    network = network_of(np.ones((4, 2), np.int16))
    with pytest.raises(
        UsageError, match="memory budget of 100 bytes is too small: one step of one sample needs [0-9]+"
    ):
        run(network, np.ones((1, 2)), 4, Fast(memory=100))


PEAK = """
import resource, sys
import numpy as np
from rmp_lava.backends import run
from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork
source = make_input("poisson", (3, 32, 32))
weight = np.random.default_rng(0).integers(-60, 64, (32, 3, 3, 3)) * 2
conv = Conv(INPUT, weight, padding=(1, 1))
second = Conv("a", np.random.default_rng(1).integers(-60, 64, (32, 32, 3, 3)) * 2, padding=(1, 1))
last = Dense("b", np.random.default_rng(2).integers(-60, 64, (10, 32768)) * 2)
layers = (
    Layer("a", (32, 32, 32), (conv,), Neurons(600)),
    Layer("b", (32, 32, 32), (second,), Neurons(2000)),
    Layer("c", (10,), (last,), Neurons(9000)),
)
network = SpikingNetwork("wide", source, layers, "integer", "count")
run(network, np.full((int(sys.argv[2]), 3, 32, 32), 0.3, np.float32), int(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("samples", [1, 8])
def test_peak_memory_does_not_grow_with_t(samples):
    short, long = (
        int(subprocess.run([sys.executable, "-c", PEAK, str(t), str(samples)], capture_output=True, check=True).stdout)
        for t in (64, 2048)
    )
    assert long <= 1.1 * short


# Threads


def test_the_callers_number_of_threads_is_kept():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(network_of(np.ones((4, 2), np.int16)), np.ones((5, 2)), 4)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def fail():
    raise ZeroDivisionError


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("failure", "type_of_failure"), [(fail, ZeroDivisionError), (interrupt, KeyboardInterrupt)])
def test_a_failure_or_an_interrupt_ends_all_threads_soon(monkeypatch, failure, type_of_failure):
    # Shells start background jobs, this test among them, with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _fail_amid_threads(monkeypatch, failure, type_of_failure)
    finally:
        signal.signal(signal.SIGINT, before)


def _fail_amid_threads(monkeypatch, failure, type_of_failure):
    # Whole runs of 2^20 steps would take minutes.
    network = network_of(np.ones((4, 2), np.int16))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(fast, "usable_cores", lambda: 3)
    started = fast.BatchSimulation._advance

    def interrupted(self, start, stop):
        started(self, start, stop)
        if threading.current_thread().name.endswith("_1") and start < 2000 <= stop:
            failure()

    monkeypatch.setattr(fast.BatchSimulation, "_advance", interrupted)
    with pytest.raises(type_of_failure):
        run(network, np.ones((60, 2)), 2**20, Fast(memory=2**24))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fast")]


def test_a_sufficient_budget_is_enough_for_a_confidence_too():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run(classifier("count"), np.ones((2, 3)), 8, Fast(confidence=0.9, memory=2**22))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("last_weight", "kernel"), [(2, "int8"), (201, "float32"), (201, "float64")])
def test_messages_that_a_kernel_converts_count_as_a_block(last_weight, kernel):
    # A wide layer read by a narrow one: what is converted is much more than what results.
    levels = 65535 if kernel == "float64" else 1
    source = Input((1, 32, 32), "current", levels) if levels > 1 else make_input("poisson", (1, 32, 32))
    wide = Layer("wide", (16, 32, 32), (Conv(INPUT, np.full((16, 1, 3, 3), 2), padding=(1, 1)),), Neurons(900))
    weight = np.full((2, 16 * 32 * 32), last_weight, np.int16)
    synapses = (Dense("wide", weight), *([Dense(INPUT, np.full((2, 1024), 200))] if levels > 1 else []))
    network = SpikingNetwork("narrow", source, (wide, Layer("last", (2,), synapses, Neurons(900))), "integer", "count")
    prepared = Prepared(network, torch.device("cpu"), "auto")
    assert prepared.sums_of(network["last"])[0].kernel == kernel
    size = LayerSimulation(network["last"], prepared, 1).block_size
    assert size == {"int8": 2, "float32": 16 * 1024, "float64": 2 * 16 * 1024}[kernel]


# Early exit


def classifier(readout):
    """Three outputs that follow three inputs; the read-out is in units of 50 weight units per output."""
    source = make_input("poisson", (3,))
    hidden = Layer("hidden", (3,), (Dense(INPUT, 100 * np.eye(3, dtype=np.int16)),), Neurons(100))
    neurons = Neurons(50, "none") if readout == "potential" else Neurons(50)
    last = Layer("last", (3,), (Dense("hidden", 50 * np.eye(3, dtype=np.int16)),), neurons)
    scale = 4 / 50 if readout == "potential" else 4.0
    return SpikingNetwork("classifier", source, (hidden, last), "integer", readout, output_scale=scale)


@pytest.mark.parametrize("readout", ["potential", "count"])
def test_confident_samples_leave_early_and_the_others_stay(readout):
    network = classifier(readout)
    images = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0, 0.2, 1], [0, 0, 0]], np.float32)
    result = run(network, images, 40, Fast(confidence=0.9), record=("counts", "spikes", "potentials"))
    full = run(network, images, 40, record=("counts", "spikes", "potentials"))
    used = result.steps_used
    assert used[0] < 10 and used[2] < 40 and used[3] == 40
    assert result.samples == 4 and (result.predictions == full.predictions_at[np.arange(4), used - 1]).all()
    np.testing.assert_array_equal(result.predictions_at[0], [0] * 40)
    for i, steps in enumerate(used):
        # A sample that leaves has the counts of a run of so many steps.
        for name, spikes in full.spikes.items():
            np.testing.assert_array_equal(result.spikes[name][i, :steps], spikes[i, :steps])
            assert not result.spikes[name][i, steps:].any()
            assert result.message_counts[name][i] == (spikes[i, :steps] != 0).sum()
    assert result.neuron_updates["last"] == 3 * sum(used)
    # A pixel of 1 spikes in every step, each layer after it one step less: a potential must exceed the threshold.
    spikes = used[0] - (1 if readout == "potential" else 2)
    assert result.in_trained_units(network)[0, 0] == pytest.approx(4.0 * spikes / used[0])


@settings(max_examples=examples(25))
@given(cases(leaky=True), st.floats(0.34, 1.0))
def test_early_exit_gives_what_the_whole_run_gave_at_that_step(case, confidence):
    case.network = case.network.replace(output_scale=0.003)
    early, full = case.run(Fast(confidence=confidence)), case.run("fast")
    for i, used in enumerate(early.steps_used):
        expected = full.predictions[i] if used == case.steps else full.predictions_at[i, used - 1]
        assert early.predictions[i] == expected
        np.testing.assert_array_equal(early.predictions_at[i, :used], full.predictions_at[i, :used])
        assert (early.predictions_at[i, used:] == early.predictions_at[i, used - 1]).all()
        for name in full.spikes:
            assert early.message_counts[name][i] == np.count_nonzero(full.spikes[name][i, :used])


@pytest.mark.slow
def test_confidence_is_that_of_the_trained_network():
    digits = load("digits")
    model = train("digits-cnn", digits, epochs=8, progress=False).model.eval()
    network = rmp_lava.convert(model, digits.train_images[:128], steps=64, encoding="rate").floating
    images, labels = digits.test_images[:200], digits.test_labels[:200]
    with torch.no_grad():
        trained = torch.softmax(model(torch.from_numpy(images)), dim=1).max(dim=1).values.numpy()
    for each in (network, rmp_lava.quantize(network)):
        found = exit_probability(each, run(each, images, 256).output, 256)
        assert np.abs(found - trained).mean() < 0.02
    whole, early = (run(rmp_lava.quantize(network), images, 64, Fast(confidence=c)) for c in (None, 0.9))
    assert early.steps_used.mean() < 40
    assert early.accuracy(labels) > whole.accuracy(labels) - 0.02


@pytest.mark.parametrize("scale", [-1.0, 0, True, "a", [1], 10**400])
def test_a_scale_that_no_network_has_is_refused(scale):
    with pytest.raises(NetworkError, match="output scale is"):
        classifier("count").replace(output_scale=scale)


def test_confidence_needs_a_scale_and_a_probability():
    network = network_of(np.ones((4, 2), np.int16))
    with pytest.raises(UsageError, match="has no output_scale"):
        run(network, np.ones((1, 2)), 4, Fast(confidence=0.9))
    with pytest.raises(UsageError, match="confidence is 1.5"):
        run(classifier("count"), np.ones((1, 3)), 4, Fast(confidence=1.5))


def test_graded_16_bit_messages_are_recorded_as_they_were_sent():
    network = network_of(np.array([[2, 4]]), Input((2,), "spikes", 65535, Neurons(60000)), threshold=3)
    driven = np.full((1, 4, 2), 65535)
    assert run(network, driven, 4, record=("spikes",)).spikes[INPUT].dtype == np.uint8
    network = network_of(np.array([[2, 4]]), make_input("current", (2,), 65535), threshold=3)
    result = run(network, np.array([[1, 0.5]]), 4, record=("spikes",))
    assert result.spikes[INPUT][0, 0].tolist() == [65535, 32768] and result.spikes[INPUT].dtype == np.uint16


def test_threads_change_nothing(monkeypatch):
    """However many threads the machine and the environment allow, batches in several threads give the same spikes."""
    network, before = rmp_lava.load(REFERENCE / "digits-deep.net"), torch.get_num_threads()
    images, found = load("digits").test_images[:40], []
    monkeypatch.setattr(fast, "usable_cores", lambda: 3)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(run(network, images, 6, record=("spikes", "potentials")))
    finally:
        torch.set_num_threads(before)
    assert_same_run(*found)


def test_a_missing_numba_is_warned_of_once(monkeypatch):
    monkeypatch.setattr(fast.neurons, "fused", None)
    monkeypatch.setattr(fast.neurons, "WHY_NOT_COMPILED", "No module named 'numba'")
    fast.neurons.warn_of_slow_neurons.cache_clear()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(2):
            fast.neurons.warn_of_slow_neurons()
    (warning,) = found
    assert "(No module named 'numba')" in str(warning.message) and "pip install numba" in str(warning.message)
