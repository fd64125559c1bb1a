"""Runs of a case on `fast` and the reference, and how `fast` divides them."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import strategies as st
from strategies import assert_same_run

from rmp_lava.backends import Fast, fast
from rmp_lava.backends.fast import extents, layers
from rmp_lava.backends.fast.batching import Batching
from rmp_lava.network import INPUT, Dense, Layer, SpikingNetwork


def dense_network(source, *layers, readout="potential"):
    """A chain of dense layers from (weight, neurons)."""
    built, before = [], INPUT
    for i, (weight, neurons) in enumerate(layers):
        weight = np.array(weight, dtype=np.int16)
        built.append(Layer(f"layer{i}", (len(weight),), (Dense(before, weight),), neurons))
        before = f"layer{i}"
    return SpikingNetwork("dense", source, tuple(built), "integer", readout)


def assert_same_report(a, b):
    """What backends that compute in this process report in addition to spikes."""
    np.testing.assert_array_equal(a.predictions_at, b.predictions_at)
    for what in ("saturations", "large_inputs", "potential_ranges", "current_ranges", "waiting_ranges"):
        assert dict(getattr(a, what)) == dict(getattr(b, what)), what


def assert_fast_agrees(case, **options):
    a, b = case.run(Fast(**options)), case.run("reference")
    assert_same_run(a, b)
    assert_same_report(a, b)
    return a


@st.composite
def batchings(draw):
    """How to divide a run, down to one step of one sample at a time."""
    samples, steps, workers = (draw(st.integers(1, 3)) for _ in range(3))
    return Batching(samples, steps, workers, block_bytes=draw(st.sampled_from([1, 600, 2**21])))


@contextmanager
def fast_is(batching, *, compiled):
    """Divide runs as given, and let numba or PyTorch compute the neurons; small layers use what pays for large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "choose_batching", lambda *_, **__: batching)
        patch.setattr(fast.synapses.event_module, "_TILE_COST", 0)
        patch.setattr(fast.synapses.event_module, "_ROW_COST", 0.02)
        patch.setattr(fast.synapses.event_module, "_PRODUCT_COST", 0.02)
        patch.setattr(extents, "_SEVERAL", 2)
        patch.setattr(layers, "_FEW", 1)
        if not compiled:
            patch.setattr(fast.neurons, "fused", None)
            patch.setattr(extents, "kernel", None)
        yield
