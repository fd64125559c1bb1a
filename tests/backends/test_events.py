"""Tests for backend fast's event-driven sums: exact for all messages, and chosen where few neurons spike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from profiles import examples
from strategies import seeds

from rmp_lava.backends import Fast, run
from rmp_lava.backends.fast import events
from rmp_lava.backends.fast.events import EventSums, Geometry
from rmp_lava.backends.fast.synapses import Arithmetic, make_sums
from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork

pytestmark = pytest.mark.skipif(events.kernel is None, reason="event-driven sums are compiled by numba")


def expected(messages, weight, geometry):
    images = torch.from_numpy(messages).permute(0, 3, 1, 2).double()
    sums = F.conv2d(images, torch.from_numpy(weight).double(), None, geometry.stride, geometry.padding)
    return sums.permute(0, 2, 3, 1).flatten(1)


@st.composite
def geometries(draw):
    pair = lambda low, high: draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    kernel, padding = pair(1, 4), pair(0, 5)
    size = tuple(draw(st.integers(max(1, k - 2 * p), 6)) for k, p in zip(kernel, padding, strict=True))
    return Geometry(size, draw(st.sampled_from([1, 3, 64, 70])), kernel, pair(1, 4), padding)


@settings(max_examples=examples(200))
@given(
    geometries(), st.sampled_from([1, 64, 65, 130]), st.sampled_from([0, 0.05, 0.5, 1]), st.sampled_from([1, 4]), seeds
)
def test_sums_are_those_of_a_convolution(geometry, outputs, density, largest, seed):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-128, 128, (outputs, geometry.channels, *geometry.kernel)).astype(np.int8)
    shape = (rng.integers(1, 4), *geometry.size, geometry.channels)
    messages = (rng.integers(1, largest + 1, shape) * (rng.random(shape) < density)).astype(np.uint8)
    found = EventSums(weight, geometry, 2, "int8")(torch.from_numpy(messages))
    assert torch.equal(found.double(), 2 * expected(messages, weight, geometry))


@pytest.mark.parametrize("extreme", [-128, 127])
@pytest.mark.parametrize("value", [1, 255])
def test_sums_beyond_16_bits(extreme, value):
    weight = np.full((64, 300, 1, 1), extreme, np.int8)
    messages = torch.full((2, 300), value, dtype=torch.uint8)
    found = EventSums(weight, Geometry((1, 1), 300), 1, "int8")(messages)
    assert (found == 300 * extreme * value).all()


def wide(weight):
    """A dense layer after one that spikes as often as its input says."""
    first = Layer("first", (weight.shape[1],), (Dense(INPUT, 4 * np.eye(weight.shape[1], dtype=np.int16)),), Neurons(3))
    second = Layer("second", weight.shape[:1], (Dense("first", weight),), Neurons(900))
    return SpikingNetwork("wide", make_input("poisson", first.shape), (first, second), "integer", "count")


def test_events_are_summed_where_they_are_few():
    weight = 2 * np.random.default_rng(0).integers(-60, 60, (256, 512)).astype(np.int16)
    network, results = wide(weight), {}
    for activity in (0.01, 0.9):
        images = np.full((2, 512), activity, np.float32)
        results[activity] = run(network, images, 8, record=("spikes",))
        dense = run(network, images, 8, Fast(kernel="float32"), record=("spikes",))
        np.testing.assert_array_equal(results[activity].spikes["second"], dense.spikes["second"])
    assert "event-driven where few neurons spike: 100% of first, 100% of second" in results[0.01].execution
    assert "event-driven" not in results[0.9].execution


def test_events_where_a_synapse_allows_them():
    source = make_input("poisson", (4, 5, 5))
    layers = (
        Layer("plain", (4, 5, 5), (Conv(INPUT, np.full((4, 4, 3, 3), 2), padding=(1, 1)),), Neurons(9)),
        Layer("grouped", (4, 5, 5), (Conv("plain", np.full((4, 2, 1, 1), 2), groups=2),), Neurons(9)),
        Layer("odd", (4, 5, 5), (Conv("grouped", np.full((4, 4, 1, 1), 255)),), Neurons(9)),
    )
    network = SpikingNetwork("mixed", source, layers, "integer", "count")
    execution = run(network, np.ones((1, 4, 5, 5)), 4, Fast(kernel="events")).execution
    assert "event-driven sums (int8 in grouped; float32 in odd)" in execution


@settings(max_examples=examples(30))
@given(st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0, 0.3, 1]), st.integers(1, 4), seeds)
def test_shortcuts_that_only_scale_are_added_as_their_convolution_is(
    depthwise, first, constant, density, exponent, seed
):
    rng = np.random.default_rng(seed)
    channels, steps = int(rng.integers(1, 5)), int(rng.integers(1, 7))
    each = rng.integers(-128, 128, channels).astype(np.int16)
    weight, groups = (each[:, None, None, None], channels) if depthwise else (np.diag(each)[..., None, None], 1)
    wide = rng.integers(-60, 60, (channels, channels, 3, 3)).astype(np.int16)
    shape = (channels, 4, 3)
    source = make_input("current", shape, 255) if constant else make_input("spikes", shape)
    neurons = Neurons(int(rng.integers(20, 200)), bias=rng.integers(-9, 9, channels))
    shortcut = Conv("a", weight, groups=groups, exponent=exponent)
    synapses = (shortcut, Conv("a", wide, padding=(1, 1)))
    layers = (
        Layer("a", shape, (Conv(INPUT, weight, groups=groups), Conv(INPUT, wide, padding=(1, 1))), neurons),
        Layer("b", shape, synapses if first else synapses[::-1], neurons),
        Layer("c", shape, (replace(shortcut, source="b"),), Neurons(5, "none")),
    )
    images = rng.random((3, *shape)) if constant else (rng.random((3, steps, *shape)) < density).astype(np.uint8)
    network = SpikingNetwork("shortcuts", source, layers, "integer", "potential")
    a, b = (run(network, images, steps, engine, record=("spikes", "potentials")) for engine in ("fast", "reference"))
    assert "elementwise and int8" in a.execution or "elementwise and float32" in a.execution
    for name in ("a", "b", "c"):
        np.testing.assert_array_equal(a.spikes[name], b.spikes[name])
        np.testing.assert_array_equal(a.potentials[name], b.potentials[name])


@settings(max_examples=examples(100))
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.booleans(),
    seeds,
)
def test_pooling_is_computed_channel_by_channel(kernel, size, single, seed):
    """Also where pixels at the border are left over, and where one window does not see all pixels whatever its stride is."""
    rng, channels = np.random.default_rng(seed), 3
    size = tuple(k if single else max(k, n) for k, n in zip(kernel, size, strict=True))
    stride = tuple(rng.integers(1, 5, 2)) if single else kernel
    weight = rng.integers(-255, 256, (channels, 1, *kernel)).astype(np.int16)
    pooling = Conv("a", weight, stride=stride, groups=channels, exponent=1)
    messages = torch.from_numpy(rng.integers(0, 256, (4, *size, channels)).astype(np.uint8))
    exact = [
        make_sums(pooling, (channels, *size), Arithmetic(torch.device("cpu"), torch.float32, kernel, largest=255))
        for kernel in ("auto", "float32")
    ]
    assert exact[0].kernel == "elementwise"
    assert torch.equal(exact[0](messages), exact[1](messages))
