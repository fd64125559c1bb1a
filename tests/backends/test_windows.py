"""Neurons that wait: backend `fast` simulates whole windows, to the bit as the reference simulates steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from agreement import assert_fast_agrees, assert_same_report, batchings, dense_network, fast_is
from hypothesis import assume, given, settings, strategies as st
from profiles import examples
from strategies import EVERYTHING, Case, assert_same_run, cases, seeds

import rmp_lava
from rmp_lava.backends import Fast, run
from rmp_lava.backends.fast.batching import Batching
from rmp_lava.backends.fast.neurons import make_population
from rmp_lava.backends.fast.windows import WindowSimulation
from rmp_lava.encoding import make_input
from rmp_lava.errors import UsageError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork, delays
from rmp_lava.registers import MAX_STATE
from rmp_lava.schedule import Schedule

EXPORTS = Path(__file__).parents[2] / "exports"

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(max_examples=examples(200))
@given(
    cases(waiting=True),
    batchings(),
    st.sampled_from(["auto", "float32", "events"]),
    st.booleans(),
    st.sampled_from([EVERYTHING, (*EVERYTHING, "waiting"), ("counts",)]),
)
def test_fast_equals_reference_where_neurons_wait(case, batching, kernel, compiled, record):
    batching = replace(batching, steps=case.steps)
    with fast_is(batching, compiled=compiled):
        a, b = case.run(Fast(kernel=kernel), record=record), case.run("reference", record=record)
        assert_same_run(a, b)
        assert_same_report(a, b)


@settings(max_examples=examples(60))
@given(cases(integer=False, max_layers=3, waiting=True), batchings(), st.booleans())
def test_fast_equals_reference_in_float_where_neurons_wait(case, batching, compiled):
    with fast_is(replace(batching, steps=case.steps), compiled=compiled):
        assert_fast_agrees(case)


def test_neurons_wait_before_they_spike():
    """By hand: T = 3, wait = 2. 'b' gets 2 for each spike of 'a', and 10 for the input's message, which arrives as early."""
    one = np.array([[1]], dtype=np.int16)
    layers = (
        Layer("a", (1,), (Dense(INPUT, 3 * one),), Neurons(2, bias=np.array([-1]), bias_exponent=6)),
        Layer("b", (1,), (Dense("a", 2 * one), Dense(INPUT, 10 * one)), Neurons(5)),
        Layer("out", (1,), (Dense("b", one),), Neurons(1000, "none")),
    )
    network = SpikingNetwork("waits", Input((1,), "spikes"), layers, "integer", wait=2)
    spikes = np.array([[[1], [1], [0]]], dtype=np.uint8)
    for backend in ("reference", "fast"):
        result = run(network, spikes, 3, backend, record=(*EVERYTHING, "waiting"))
        # a: 2, 4 while it waits, then 3, from which 2 is taken once. b: 12, 22, then 22, 17, 12.
        assert result.spikes["a"].reshape(-1).tolist() == [1, 0, 0]
        assert result.spikes["b"].reshape(-1).tolist() == [1, 1, 1]
        assert result.potentials == {"a": 64, "b": 7 * 64, "out": 3 * 64}
        assert result.waiting_ranges == {"a": (2 * 64, 4 * 64), "b": (12 * 64, 22 * 64)}
        assert result.neuron_updates == {"a": 5, "b": 5, "out": 3}
        # a starts in step 2 and spikes from step 4 on; b starts in step 5 and spikes from 7 on; out starts in step 8.
        assert result.schedule == Schedule(3, depth=7, wait=2)
        assert (result.schedule.period, result.schedule.latency) == (5, 10)
    assert delays(network) == {"a": [0], "b": [0, 3], "out": [0]}


@settings(max_examples=examples(60))
@given(
    st.integers(1, 20),
    st.integers(-131071, 131071),
    st.integers(1, 131071),
    st.one_of(st.none(), st.tuples(st.integers(-4096, 4095), st.integers(0, 7))),
    st.integers(1, 127),
    st.integers(0, 7),
    st.booleans(),
    seeds,
)
def test_a_constant_input_saturates_equally_in_whole_windows(
    size, v_init, threshold, bias, steps, exponent, compiled, seed
):
    rng = np.random.default_rng(seed)
    weight = rng.choice([-255, -254, -3, -1, 0, 1, 2, 254, 255], (size, 3)).astype(np.int16)
    mantissa, bias_exponent = (None, 6) if bias is None else (np.array(bias[0], dtype=np.int16), bias[1])
    neurons = Neurons(threshold, v_init=v_init, bias=mantissa, bias_exponent=bias_exponent)
    layer = Layer("layer", (size,), (Dense(INPUT, weight, exponent=exponent),), neurons)
    out = Layer("out", (1,), (Dense("layer", np.ones((1, size), dtype=np.int16)),), Neurons(131071, "none"))
    network = SpikingNetwork("constant", Input((3,), "current", 127), (layer, out), "integer", wait=steps)
    images = rng.choice([0, 1 / 127, 0.5, 1], (4, 3)).astype(np.float32)
    case = Case(network, images, steps)
    with fast_is(Batching(3, steps, 1, block_bytes=2**21), compiled=compiled):
        assert_fast_agrees(case)
        assert_same_report(case.run("fast", record=()), case.run("reference", record=()))


def test_a_potential_that_saturates_on_its_way_does_so_in_windows_too():
    """The sum fits the register: 160 neurons that spike twice, and 6 that inhibit in all 16 steps. The first two steps do not."""
    inputs = np.diag([3] * 160 + [200] * 6)
    weight = np.array([[254] * 160 + [-254] * 6])
    network = dense_network(Input((166,), "spikes"), (inputs, Neurons(20)), (weight, Neurons(100)), readout="count")
    read_out = network.output.replace(synapses=(Dense("layer0", weight, exponent=1),))
    last = Layer("last", (1,), (Dense("layer1", np.array([[2]])),), Neurons(9))
    network = network.replace(layers=(network["layer0"], read_out, last), wait=16)
    spikes = np.ones((4, 16, 166), np.uint8)
    spikes[[0, 2]] = 0  # these samples need no single steps
    result = assert_fast_agrees(Case(network, spikes, 16))
    assert result.neuron_counts["layer0"][1].tolist() == [2] * 160 + [16] * 6
    assert result.saturations["layer1"] == 2


def test_an_order_of_arrival_that_saturates_does_so_in_windows_too():
    """Spikes of an input come in any order: here, those that excite before those that inhibit, of as many neurons."""
    network = dense_network(Input((200,), "spikes"), ([[254] * 100 + [-254] * 100], Neurons(100)), ([[2]], Neurons(9)))
    first = network["layer0"]
    first = first.replace(synapses=(first.synapses[0].replace(exponent=1),))
    network = network.replace(layers=(first, network["layer1"]), wait=8)
    spikes = np.zeros((2, 8, 200), np.uint8)
    spikes[0, :4, :100] = spikes[0, 4:, 100:] = 1
    spikes[1, :, :] = 1
    assert assert_fast_agrees(Case(network, spikes, 8)).saturations["layer0"] == 2


def test_a_shortcut_that_scales_is_added_to_the_sums_of_a_window():
    rng = np.random.default_rng(0)
    layers, before = [], INPUT
    for name in ("a", "b", "c"):
        synapses = [Conv(before, rng.integers(-50, 99, (4, 4, 3, 3)).astype(np.int16), padding=(1, 1))]
        if before != INPUT:
            synapses.append(Conv(before, np.diag([9, 99, 7, 200]).astype(np.int16).reshape(4, 4, 1, 1)))
        layers.append(Layer(name, (4, 5, 5), tuple(synapses), Neurons(60)))
        before = name
    read_out = Layer(
        "out", (2,), (Dense("c", rng.integers(-9, 9, (2, 100)).astype(np.int16)),), Neurons(131071, "none")
    )
    network = SpikingNetwork(
        "residual", Input((4, 5, 5), "current", 9), (*layers, read_out), "integer", "potential", wait=3
    )
    result = assert_fast_agrees(Case(network, rng.random((5, 4, 5, 5), dtype=np.float32), 3))
    assert "elementwise" in result.execution


def test_windows_that_need_no_single_steps_have_none(monkeypatch):
    """A ResNet-20 with 8-bit weights; and excitation and inhibition that are as large and come at the same time."""
    monkeypatch.setattr(WindowSimulation, "_step_by_step", lambda *_: pytest.fail("steps were computed one by one"))
    trained = rmp_lava.load(EXPORTS / "reference" / "resnet20-cifar.net")
    assert trained.wait == 4
    run(trained, np.random.default_rng(0).random((4, 3, 32, 32), dtype=np.float32), 4)
    balanced = dense_network(
        make_input("rate", (1,)),
        ([[2]] * 400, Neurons(1)),
        ([[254] * 200 + [-254] * 200], Neurons(100)),
        ([[2]], Neurons(9)),
    ).replace(wait=16)
    result = assert_fast_agrees(Case(balanced, np.ones((1, 1), np.float32), 16))
    assert result.message_counts["layer0"] == 400 * 16


@settings(max_examples=examples(200))
@given(
    st.one_of(st.integers(1, 131071), st.integers(1, 127).map(lambda steps: 2**16 // (steps + 1))),
    st.integers(1, 127),
    st.integers(-131071, 131071),
    st.tuples(st.integers(-4096, 4095), st.integers(0, 7)),
    st.booleans(),
    st.booleans(),
)
def test_spikes_of_a_window_are_exact_next_to_every_threshold(threshold, steps, v_init, bias, wide, compiled):
    mantissa, exponent = bias
    neurons = Neurons(threshold, v_init=v_init, bias=np.array(mantissa, dtype=np.int16), bias_exponent=exponent)
    start = v_init * 64 + steps * (mantissa << exponent)
    levels = np.arange(min(steps + 3, 131072 // threshold + 2))[:, None] * threshold
    total = ((levels * 64 - start) // 64 + np.arange(-2, 3)).clip(-(2**24), 2**24).reshape(1, -1)
    expected = (total * 64 + start).clip(-MAX_STATE, MAX_STATE)
    with fast_is(None, compiled=compiled):
        population = make_population(
            neurons, (total.size,), 1, integer=True, device=torch.device("cpu"), largest_input=2.0**24
        )
        out = torch.zeros(total.shape, dtype=torch.uint8)
        ends = population.burst(torch.from_numpy(total).to(torch.float64 if wide else torch.float32), out, steps)
    np.testing.assert_array_equal(out.numpy(), ((expected - 1) // (threshold * 64)).clip(0, steps))
    assert ends.tolist() == [[expected.min(), expected.max()]]


@pytest.mark.parametrize("compiled", [True, False])
def test_the_lowest_potential_is_that_before_the_last_spike(compiled):
    """Where no neuron is ever silent, by hand: 20 before the first of two spikes, and 18 before the second."""
    network = dense_network(Input((1,), "spikes"), ([[10]], Neurons(2)), ([[1]], Neurons(5))).replace(wait=2)
    case = Case(network, np.ones((1, 2, 1), np.uint8), 2)
    with fast_is(Batching(1, 2, 1, block_bytes=2**21), compiled=compiled):
        result = case.run("fast", record=())
    assert result.potential_ranges["layer0"] == case.run("reference").potential_ranges["layer0"] == (18 * 64, 20 * 64)


def test_fewer_steps_than_neurons_wait_are_refused():
    network = dense_network(make_input("rate", (2,)), (np.ones((1, 2)), Neurons(5))).replace(wait=4)
    with pytest.raises(
        UsageError, match="wait for 4 steps, but messages arrive in 3; run at least 4 steps, or convert"
    ):
        run(network, np.ones((1, 2), np.float32), 3)
    assert run(network, np.ones((1, 2), np.float32), 4).schedule.wait == 4
    assert run(network.replace(wait=0), np.ones((1, 2), np.float32), 3).schedule.period == 3


@settings(max_examples=examples(60))
@given(cases(waiting=True, max_layers=3), st.sampled_from([0.4, 0.7, 1.0]))
def test_early_exit_ends_the_read_out_of_neurons_that_wait(case, confidence):
    assume(case.network.wait)
    network = case.network = case.network.replace(output_scale=0.01)
    whole = case.run("fast")
    early = case.run(Fast(confidence=confidence), record=("spikes",))
    np.testing.assert_array_equal(early.spikes[INPUT], whole.spikes[INPUT])
    for sample, used in enumerate(early.steps_used):
        np.testing.assert_array_equal(early.predictions_at[sample, :used], whole.predictions_at[sample, :used])
        assert (early.predictions_at[sample, used:] == early.predictions_at[sample, used - 1]).all()
        for layer in network:
            seen = used if layer is network.output else case.steps
            found, expected = (r.spikes[layer.name][sample, :seen] for r in (early, whole))
            np.testing.assert_array_equal(found, expected)
