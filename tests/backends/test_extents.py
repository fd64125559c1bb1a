"""Bounds and courses of potentials while neurons wait, in backend `fast`: against the definition and formulas of one neuron."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agreement import fast_is
from hypothesis import assume, given, settings, strategies as st
from profiles import examples
from strategies import networks, seeds

from rmp_lava.backends.fast import extents
from rmp_lava.backends.fast.courses import Courses
from rmp_lava.backends.fast.extents import Extents
from rmp_lava.backends.fast.synapses import to_memory
from rmp_lava.backends.synapses import apply, apply_all
from rmp_lava.network import Conv, Dense, Layer, Neurons

pytestmark = pytest.mark.usefixtures("one_thread")


def spikes_of_sources(network, samples, steps, rng):
    """Of each source of the last layer, (samples, *shape) how often it spikes in a window; some at random, some always."""
    sources = {s.source for s in network.output.synapses}
    shapes = {name: (samples, *network.source_shape(name)) for name in sources}
    return {
        name: rng.choice([0, 0, 1, steps, rng.integers(0, steps + 1)], shape)
        if rng.random() < 0.5
        else rng.integers(0, steps + 1, shape)
        for name, shape in shapes.items()
    }


def courses_of(layer, counts, steps):
    """Potentials in state units and inputs of every step, (samples, steps, neurons in memory order) int64, step by step."""
    streams = {
        name: (np.arange(steps).reshape(-1, *[1] * (each.ndim - 1)) < each[:, None]) for name, each in counts.items()
    }
    samples = len(next(iter(counts.values())))
    currents = apply_all(layer.synapses, streams).reshape(samples, steps, *layer.shape).astype(np.int64)
    bias = layer.neurons.bias_per_neuron(layer.shape)
    each = 0 if bias is None else bias.astype(np.int64) << layer.neurons.bias_exponent
    course = layer.neurons.v_init * 64 + (currents * 64 + each).cumsum(axis=1)
    return tuple(to_memory(values, 2).reshape(samples, steps, -1) for values in (course, currents))


def of_window(layer, counts, course, currents):
    """Messages of each synapse, the sum of their weights, and the farthest potential at the end, as `Extents` takes them."""
    messages = [
        torch.from_numpy(np.ascontiguousarray(to_memory(counts[s.source].astype(np.uint8), 1))) for s in layer.synapses
    ]
    return messages, torch.from_numpy(currents.sum(axis=1)).double(), np.abs(course[:, -1]).max(axis=1) / 64


@settings(max_examples=examples(150))
@given(networks(max_layers=2, resets=("soft",)), st.integers(1, 20), st.booleans(), st.booleans(), seeds)
def test_extents_find_every_potential_that_leaves_its_register(network, steps, compiled, may_be_large, seed):
    layer = network.output
    counts = spikes_of_sources(network, 3, steps, np.random.default_rng(seed))
    course, currents = courses_of(layer, counts, steps)
    shapes = [network.source_shape(s.source) for s in layer.synapses]
    leaves = (np.abs(course) >= 2**23).any(axis=1)
    if may_be_large:
        leaves |= (np.abs(currents) >= 2**17).any(axis=1)
    with fast_is(None, compiled=compiled):
        bounds = Extents(layer, shapes, steps, largest=1, inputs_may_be_large=may_be_large)
        messages, total, farthest = of_window(layer, counts, course, currents)
        found = np.zeros_like(leaves)
        found[bounds.beyond(messages, total, farthest)] = True
        assert not (leaves & ~found).any()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(extents, "_LEVEL_BYTES", 1)  # sample by sample
            one_by_one = np.zeros_like(leaves)
            one_by_one[bounds.beyond(messages, total, farthest)] = True
        np.testing.assert_array_equal(found, one_by_one)
        # In the worst order, all messages of one sign arrive before those of the other.
        sums = [np.zeros_like(total.numpy()) for _ in range(2)]
        for synapse in layer.synapses:
            for each, limits in zip(sums, ((0, None), (None, 0)), strict=True):
                some = synapse.replace(weight=np.clip(synapse.weight, *limits))
                sent = apply(some, counts[synapse.source][:, None]).reshape(3, *layer.shape)
                each += to_memory(sent, 1).reshape(3, -1)
        start = layer.neurons.v_init
        beyond = (start + sums[0] >= 2**17) | (start + sums[1] <= -(2**17))
        if may_be_large:
            beyond |= np.maximum(sums[0], -sums[1]) >= 2**17
        assert not bounds.are_within(messages, farthest)[beyond.any(axis=1)].any()


@settings(max_examples=examples(300))
@given(st.sampled_from([1, 2, 40]), st.integers(2, 60), st.integers(1, 20), st.booleans(), seeds)
def test_extents_are_as_close_as_the_inequality_of_cauchy_and_schwarz(size, sources, steps, compiled, seed):
    """A dense layer, neuron by neuron: the norm of many weights, the sum of few, and the bias, all large enough to matter."""
    rng = np.random.default_rng(seed)
    many = rng.integers(-255, 256, (size, sources)).astype(np.int16)
    few = np.diag(rng.integers(-255, 256, size)).astype(np.int16)
    counts = {"many": rng.integers(0, steps + 1, (1, sources)), "few": rng.integers(0, steps + 1, (1, size))}
    exponents = [int(rng.integers(0, min(7, np.log2(1 + 2**17 / (each * steps))) + 1)) for each in (255 * sources, 255)]
    bias = rng.integers(-min(4095, 2**17 // steps), min(4095, 2**17 // steps), size).astype(np.int16)
    synapses = (Dense("many", many, exponent=exponents[0]), Dense("few", few, exponent=exponents[1]))
    layer = Layer("layer", (size,), synapses, Neurons(100, bias=bias, bias_exponent=6))
    _, currents = courses_of(layer, counts, steps)

    alone = np.abs(np.diag(few)) * 2.0 ** exponents[1]
    norm, drive = np.linalg.norm(many.astype(float), axis=1) * 2.0 ** exponents[0], bias.astype(float)

    def farthest_of(v_init, c, total):
        far = np.abs(v_init + steps * drive + total)
        for t in range(1, steps):
            sent = np.minimum(c, t)
            share = sent @ c / (c @ c) if c.any() else t / steps
            reach = norm * np.linalg.norm(sent - share * c) + alone * max((1 - share) * t, share * steps - t)
            far = np.maximum(far, np.abs(v_init + t * drive + share * total) + reach)
        return far

    # Initial potentials from one end of the register to the other, of which the one is chosen whose bound is close to the limit.
    starts = np.linspace(-131071, 131071, 1001).round()[:, None]
    c, total = counts["many"][0].astype(float), currents[0].sum(axis=0)
    chosen = np.abs(farthest_of(starts, c, total).max(axis=1) - 2**17 * rng.uniform(0.99, 1.01)).argmin()
    v_init = int(starts[chosen, 0])
    layer = layer.replace(neurons=layer.neurons.replace(v_init=v_init))
    far = np.stack([farthest_of(v_init, 0 * c, 0), farthest_of(v_init, c, total)])
    counts = {name: np.concatenate([np.zeros_like(each), each]) for name, each in counts.items()}  # the first is silent
    course, currents = courses_of(layer, counts, steps)
    with fast_is(None, compiled=compiled):
        bounds = Extents(layer, [(sources,), (size,)], steps, largest=1, inputs_may_be_large=False)
        found = np.zeros((2, size), dtype=bool)
        found[bounds.beyond(*of_window(layer, counts, course, currents))] = True
    if np.count_nonzero(many, axis=1).max() >= 2:  # otherwise, these are few as well
        assert found[far >= 2**17].all()
        assert not found[far * 1.003 < 2**17 - 2].any()


@settings(max_examples=examples(150))
@given(st.data(), st.sampled_from([1, 3, 63, 64, 65, 130]), st.integers(1, 20), st.booleans(), seeds)
def test_what_windows_see_is_that_of_a_plain_convolution(data, channels, steps, of_squares, seed):
    """Compiled by numba as in PyTorch; also of more channels than a vector has bytes, and of two synapses together."""
    rng = np.random.default_rng(seed)
    synapses, messages, output = [], [], None
    for name in ("a", "b"):
        size, kernel = (data.draw(st.tuples(*[st.integers(1, n)] * 2)) for n in (6, 3))
        stride, padding, dilation = (
            tuple(data.draw(st.tuples(*[st.integers(low, n)] * 2))) for low, n in ((1, 3), (0, 2), (1, 2))
        )
        reached = [n + 2 * p - d * (k - 1) for n, p, d, k in zip(size, padding, dilation, kernel, strict=True)]
        assume(min(reached) >= 1)
        shape = (3, *((n - 1) // s + 1 for n, s in zip(reached, stride, strict=True)))
        if output not in (None, shape):
            continue
        output = shape
        weight = rng.integers(-9, 10, (3, channels, *kernel)).astype(np.int16)
        synapses.append((Conv(name, weight, stride=stride, padding=padding, dilation=dilation), (channels, *size)))
        messages.append(torch.from_numpy(rng.integers(0, steps + 1, (2, *size, channels)).astype(np.uint8)))
    layer = Layer("layer", output, tuple(synapse for synapse, _ in synapses), Neurons(5))
    found = []
    for compiled in (True, False):
        with fast_is(None, compiled=compiled):
            bounds = Extents(layer, [shape for _, shape in synapses], steps, largest=1, inputs_may_be_large=False)
            found.append(bounds._seen(messages, of_squares=of_squares))
    np.testing.assert_array_equal(*found)


def test_squares_of_very_many_messages_do_not_overflow():
    sources = 140_000  # times 127^2 is more than 2^31
    layer = Layer("layer", (1,), (Dense("source", np.ones((1, sources), dtype=np.int16)),), Neurons(5))
    bounds = Extents(layer, [(sources,)], 127, largest=1, inputs_may_be_large=False)
    sent = torch.full((1, sources), 127, dtype=torch.uint8)
    assert bounds._seen([sent], of_squares=True) == pytest.approx(sources * 127**2)


@settings(max_examples=examples(200))
@given(st.integers(1, 40), st.integers(1, 4), st.booleans(), st.booleans(), seeds)
def test_bounds_of_any_order_and_of_the_input_of_a_step(sources, steps, compiled, may_be_large, seed):
    """By their formulas, for spikes of one neuron's sources; weights are so large that either can be beyond its limit."""
    rng = np.random.default_rng(seed)
    many, few = (rng.integers(-255, 256, (1, n)).astype(np.int16) for n in (sources, 1))
    counts = {"many": rng.integers(0, steps + 1, (1, sources)), "few": rng.integers(0, steps + 1, (1, 1))}
    exponents = rng.integers(3, 8, 2)
    bias, v_init = rng.integers(-4095, 4096, 1).astype(np.int16), int(rng.integers(-60000, 60000))
    synapses = tuple(Dense(name, w, exponent=int(e)) for name, w, e in zip(counts, (many, few), exponents, strict=True))
    layer = Layer("layer", (1,), synapses, Neurons(100, v_init=v_init, bias=bias, bias_exponent=6))
    assume(np.count_nonzero(many) >= 2)
    course, currents = courses_of(layer, counts, steps)
    messages, total, end = of_window(layer, counts, course, currents)
    norm, alone = np.linalg.norm(many.astype(float)) * 2.0 ** exponents[0], abs(float(few[0, 0])) * 2.0 ** exponents[1]
    spread = norm * np.linalg.norm(counts["many"]) + alone * steps
    far = max(end[0], (end[0] + abs(v_init) + steps * abs(float(bias[0])) + spread) / 2)
    at_once = norm * np.sqrt((counts["many"] > 0).sum()) + alone
    with fast_is(None, compiled=compiled):
        bounds = Extents(layer, [(sources,), (1,)], steps, largest=1, inputs_may_be_large=may_be_large)
        within, found = bounds.are_within(messages, end)[0], len(bounds.beyond(messages, total, end)[0]) > 0
    farthest = max(far, spread) if may_be_large else far
    if abs(farthest / 2**17 - 1) > 1e-4:
        assert within == (farthest < 2**17)
    if may_be_large and at_once > 2**17 + 1:
        assert found
    if steps == 1 and abs(max(end[0], at_once * may_be_large) / 2**17 - 1) > 1e-4:
        assert found == (max(end[0], at_once * may_be_large) >= 2**17)


@settings(max_examples=examples(150))
@given(networks(max_layers=2, resets=("soft",)), st.integers(1, 20), st.data(), seeds)
def test_courses_are_those_of_the_reference(network, steps, data, seed):
    """Of every neuron of a layer whose sources spike in consecutive steps."""
    rng, samples = np.random.default_rng(seed), 3
    layer = network.output
    counts = spikes_of_sources(network, samples, steps, rng)
    course, currents = courses_of(layer, counts, steps)
    # Large weights, so that some potentials leave their register and others do not.
    expected = ((np.abs(course) < 2**23).all(axis=1) & (np.abs(currents) < 2**17).all(axis=1)).reshape(-1)
    where = np.indices((samples, layer.size)).reshape(2, -1)
    chosen = np.sort(rng.permutation(len(expected))[: data.draw(st.integers(1, len(expected)))])
    shapes = [network.source_shape(s.source) for s in layer.synapses]
    messages = [torch.from_numpy(np.ascontiguousarray(to_memory(counts[s.source], 1))) for s in layer.synapses]
    found = Courses(layer, shapes, steps).are_within(*where[:, chosen], messages)
    np.testing.assert_array_equal(found, expected[chosen])
