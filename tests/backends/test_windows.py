"""Neurons that wait: backend `fast` simulates whole windows, to the bit as the reference simulates steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from agreement import assert_fast_agrees, assert_same_report, batchings, dense_network, fast_is
from hypothesis import assume, given, settings, strategies as st
from profiles import examples
from strategies import EVERYTHING, Case, assert_same_run, cases, networks, seeds

from rmp_lava.backends import Fast, run
from rmp_lava.backends.fast import extents
from rmp_lava.backends.fast.batching import Batching
from rmp_lava.backends.fast.courses import Courses
from rmp_lava.backends.fast.synapses import Arithmetic, to_memory
from rmp_lava.backends.synapses import apply, apply_all
from rmp_lava.encoding import make_input
from rmp_lava.errors import UsageError
from rmp_lava.network import INPUT, Dense, Input, Layer, Neurons, SpikingNetwork, delays
from rmp_lava.schedule import Schedule

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


@settings(max_examples=examples(100))
@given(networks(max_layers=2, resets=("soft",)), seeds, st.booleans(), st.booleans())
def test_extents_bound_every_order_of_arrival(network, seed, coarse, compiled):
    rng, samples, layer = np.random.default_rng(seed), 5, network.output
    messages, arithmetics, partial = [], [], np.zeros((2, samples, 1, layer.size))
    for synapse in layer.synapses:
        shape = network.source_shape(synapse.source)
        sent = rng.integers(0, 9, (samples, *shape)) * (rng.random((samples, *shape)) < 0.4)
        messages.append(torch.from_numpy(np.ascontiguousarray(to_memory(sent.astype(np.uint8), 1))))
        arithmetics.append(Arithmetic(torch.device("cpu"), torch.float32, "auto", largest=20))
        for sums, limits in zip(partial, ((0, None), (None, 0)), strict=True):
            some = synapse.replace(weight=np.clip(synapse.weight, *limits))
            sums += apply(some, sent[:, None]).reshape(samples, 1, -1)
    positive, negative = partial[:, :, 0]
    total = torch.from_numpy(
        to_memory((positive + negative).reshape(samples, *layer.shape), 1).reshape(samples, -1).copy()
    )
    shapes = [network.source_shape(s.source) for s in layer.synapses]
    farthest = np.maximum(positive, -negative).max(axis=1)
    with fast_is(None, compiled=compiled):
        bounds = extents.Extents(layer, shapes, arithmetics, coarse=coarse, inputs_may_be_large=False)
        for room in (*farthest, *(farthest + 1), *(4 * farthest), np.inf):
            within = bounds.are_within(float(room), messages, [1] * len(messages), total.float())
            assert not within[farthest >= room].any()
    assert within.all()


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
    result = assert_fast_agrees(Case(network, np.ones((2, 16, 166), np.uint8), 16))
    assert result.neuron_counts["layer0"][0].tolist() == [2] * 160 + [16] * 6
    assert result.saturations["layer1"] == 2


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


@settings(max_examples=examples(150))
@given(networks(max_layers=2, resets=("soft",)), st.integers(1, 20), st.booleans(), st.data(), seeds)
def test_courses_are_those_of_the_reference(network, steps, spiking, data, seed):
    """Of every neuron of a layer whose sources spike in consecutive steps, or which gets a constant input besides."""
    rng, samples = np.random.default_rng(seed), 3
    layer = network.output
    shapes = [network.source_shape(s.source) for s in layer.synapses]
    constant = [not spiking and s.source == INPUT for s in layer.synapses]
    counts = {
        s.source: rng.integers(0, steps + 1, (samples, *shape)) for s, shape in zip(layer.synapses, shapes, strict=True)
    }
    streams = {
        name: (np.arange(steps).reshape(-1, *[1] * (each.ndim - 1)) < each[:, None]) for name, each in counts.items()
    }
    if not spiking:
        counts[INPUT] = rng.integers(0, 256, (samples, *network.input.shape))
        streams[INPUT] = np.repeat(counts[INPUT][:, None], steps, axis=1)
    currents = apply_all(layer.synapses, streams).reshape(samples, steps, *layer.shape).astype(np.int64)
    bias = layer.neurons.bias_per_neuron(layer.shape)
    each = 0 if bias is None else bias.astype(np.int64) << layer.neurons.bias_exponent
    course = layer.neurons.v_init * 64 + (currents * 64 + each).cumsum(axis=1)
    # Large weights, so that some potentials leave their register and others do not.
    expected = (np.abs(course) < 2**23).all(axis=1) & (np.abs(currents) < 2**17).all(axis=1)
    expected = to_memory(expected, 1).reshape(-1)
    where = np.indices((samples, layer.size)).reshape(2, -1)
    chosen = np.sort(rng.permutation(len(expected))[: data.draw(st.integers(1, len(expected)))])
    messages = [torch.from_numpy(np.ascontiguousarray(to_memory(counts[s.source], 1))) for s in layer.synapses]
    found = Courses(layer, shapes, constant, steps).are_within(*where[:, chosen], messages)
    np.testing.assert_array_equal(found, expected[chosen])
