"""Tests for rmp_lava.prepare: a prepared network runs as often as wanted, exactly as `run` does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from profiles import examples
from strategies import assert_same_run, cases, make_images, seeds

import rmp_lava
from rmp_lava.backends import Fast
from rmp_lava.encoding import make_input
from rmp_lava.errors import RangeOverflowError, UsageError
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork

EVERYTHING = ("counts", "spikes", "potentials")


@pytest.fixture(scope="module")
def network():
    source, weight = make_input("rate", (4,)), np.array([[60, -20, 8, 2], [2, 4, 100, -6]], np.int16)
    hidden = Layer("hidden", (2,), (Dense(INPUT, weight),), Neurons(50))
    last = Layer("last", (2,), (Dense("hidden", 254 * np.eye(2, dtype=np.int16)),), Neurons(1, "none"))
    return SpikingNetwork("small", source, (hidden, last), "integer", "potential")


@settings(max_examples=examples(40))
@given(cases(waiting=True, max_layers=2), st.integers(1, 4), seeds)
def test_every_run_equals_a_run_of_its_own(case, steps, seed):
    network = case.network.replace(wait=min(case.network.wait, steps))
    prepared = rmp_lava.prepare(network)
    for t in (steps, steps + 1, steps):  # where neurons wait, what is prepared depends on T
        images = make_images(network, 2, t, seed)
        found = prepared.run(images, t, seed=3, blank=1, record=EVERYTHING)
        assert_same_run(found, rmp_lava.run(network, images, t, seed=3, blank=1, record=EVERYTHING))


def test_threads_share_a_prepared_network(network):
    images, prepared = np.random.default_rng(0).random((8, 4)), rmp_lava.prepare(network)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: prepared.run(images[i : i + 1], 8).output, range(8)))
    np.testing.assert_array_equal(np.concatenate(found), rmp_lava.run(network, images, 8).output)


def test_options_and_arguments_are_those_of_run(network):
    prepared = rmp_lava.prepare(network, Fast(kernel="float32"))
    images = np.ones((1, 4))
    assert "float32 sums" in prepared.run(images, 2).execution
    with pytest.raises(UsageError, match="'everything' cannot be recorded"):
        prepared.run(images, 2, record=("everything",))
    with pytest.raises(RangeOverflowError, match="saturated"):
        prepared.run(images, 600, strict=True)
    with pytest.raises(UsageError, match="is another than the one that was prepared"):
        rmp_lava.run(network.replace(name="other"), images, 2, prepared)


@pytest.mark.parametrize("backend", ["reference", "lava", "loihi2"])
def test_other_backends_start_anew(network, backend):
    with pytest.raises(UsageError, match=f"backend '{backend}' starts anew for each run"):
        rmp_lava.prepare(network, backend)
