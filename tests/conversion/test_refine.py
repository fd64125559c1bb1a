"""Thresholds compared in simulated spikes: the same however they are computed, and the best of those that were tried."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rmp_lava.backends.fast.batching import Batching
from rmp_lava.conversion import refine
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import Balancing
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input

IMAGES = np.random.default_rng(0).random((10, 2, 6, 6), dtype=np.float32)
BY_CHANNEL = Balancing(thresholds="error", v_init="best", calibrate="bias", channelwise=True)
BY_LAYER = replace(BY_CHANNEL, channelwise=False)
STEPS = 7
# The package exports functions of the same names as these modules.
BALANCE, REFINE = (sys.modules[f"rmp_lava.conversion.{name}"] for name in ("balance", "refine"))


def network(encoding: str = "current"):
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)
    )
    return trace(model.eval(), make_input(encoding, (2, 6, 6)), IMAGES)


@pytest.fixture(params=["numba", "torch"])
def compiled(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(REFINE, "fused_neurons", None)
    elif REFINE.fused_neurons is None:
        pytest.skip("needs numba")


@functools.cache
def in_one_batch(how: Balancing, encoding: str):
    """As whichever implementation comes first computes it: that of the other has to agree."""
    return balance(network(encoding), IMAGES, STEPS, how, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["current", "poisson"])
@pytest.mark.parametrize("how", [BY_CHANNEL, BY_LAYER], ids=["channel", "layer"])
@pytest.mark.parametrize("kept", [0, 3 * 10 * 72 * STEPS * 4, 2**30])
def test_currents_that_were_kept_are_those_computed_again(how, encoding, kept, compiled, monkeypatch):
    """`kept`: none, those of the smaller layers, all; in 5 batches, each of 3 chunks."""
    expected = in_one_batch(how, encoding)
    monkeypatch.setattr(BALANCE, "CURRENTS_BYTES", kept)
    monkeypatch.setattr(
        "rmp_lava.backends.fast.layerwise.choose_batching",
        lambda *_, **__: Batching(2, 3, 1, block_bytes=4 * 2 * 72 * 2),
    )
    assert_nearly_equal(balance(network(encoding), IMAGES, STEPS, how, seed=1), expected)


def assert_nearly_equal(found, expected):
    """Sums over samples are added up in another order where batches differ."""
    for a, b in zip(found, expected, strict=True):
        assert a.neurons.threshold == pytest.approx(b.neurons.threshold, rel=1e-6)
        assert a.neurons.v_init == pytest.approx(b.neurons.v_init, rel=1e-6)
        np.testing.assert_allclose(a.synapses[0].weight, b.synapses[0].weight, rtol=1e-5)
        np.testing.assert_allclose(a.neurons.bias, b.neurons.bias, rtol=1e-4, atol=1e-5)


def test_currents_of_other_weights_are_not_taken_for_these(monkeypatch):
    """By channel the weights change once the thresholds are known, so that what was kept is void."""
    chosen = balance(network(), IMAGES, STEPS, BY_CHANNEL)
    monkeypatch.setattr(BALANCE, "CURRENTS_BYTES", 0)
    assert balance(network(), IMAGES, STEPS, BY_CHANNEL) == chosen


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_compiled_counts_are_those_of_pytorch(reset, monkeypatch):
    if REFINE.fused_neurons is None:
        pytest.skip("needs numba")
    rng = np.random.default_rng(0)
    thresholds = torch.from_numpy(rng.uniform(0.5, 2, (3, 2500)).astype(np.float32))
    for steps_given in (5, 1):
        currents = torch.from_numpy(rng.normal(0.4, 1, (steps_given, 4, 2500)).astype(np.float32))
        found = []
        for fused, threads in ((REFINE.fused_neurons, 1), (REFINE.fused_neurons, 3), (None, 1)):
            monkeypatch.setattr(REFINE, "fused_neurons", fused)
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            v, counts = (thresholds / 3)[:, None].repeat(1, 4, 1), torch.zeros(3, 4, 2500)
            REFINE._advance(currents, 5, thresholds, v, counts, reset)
            found.append((v, counts))
        assert found[0][1].sum() > 1000
        for one, *others in zip(*found, strict=True):
            assert all(torch.equal(one, other) for other in others)
        monkeypatch.undo()


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_the_share_and_the_factor_with_the_least_error_are_chosen(reset, compiled, monkeypatch):
    """Against one layer simulated by hand, by the definition, with each share and each factor."""
    seen = []
    real = BALANCE.refine

    def watched(layer, batches, activation, suggested, **options):
        found = real(layer, batches, activation, suggested, **options)
        seen.append((layer, activation.numpy(), suggested, found))
        return found

    monkeypatch.setattr(BALANCE, "refine", watched)
    balance(network(), IMAGES, STEPS, replace(BY_LAYER, calibrate="none", reset=reset))
    layer, activation, suggested, found = seen[0]
    sums = nn.functional.conv2d(torch.tensor(IMAGES), torch.tensor(layer.synapses[0].weight), padding=1)
    sums = (sums + torch.from_numpy(layer.neurons.bias).reshape(1, -1, 1, 1)).detach().numpy()
    errors = {}
    for share in refine.SHARES:
        for factor in refine.FACTORS:
            threshold = float(suggested) * factor
            v, counts = np.full(sums.shape, share * threshold), np.zeros(sums.shape)
            for _ in range(STEPS):
                v = v + sums
                after = v - threshold if reset == "soft" else 0
                counts, v = counts + (v > threshold), np.where(v > threshold, after, v)
            errors[share, factor] = ((activation - threshold * counts / STEPS) ** 2).sum()
    share, factor = min(errors, key=errors.get)
    assert found.share == share
    assert float(found.values) == pytest.approx(float(suggested) * factor)
