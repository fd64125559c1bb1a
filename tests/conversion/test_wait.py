"""Conversion for neurons that wait: what balancing simulates is what runs, and with wait = T nothing is lost but levels."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from profiles import examples
from strategies import cases, networks, seeds
from torch import nn

from rmp_lava.backends import run
from rmp_lava.backends.fast.layerwise import LayerBatch, Layerwise
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import Balancing, candidates_for
from rmp_lava.conversion.frontier import Frontier, frontier, usual_choices
from rmp_lava.conversion.headroom import board_ranges
from rmp_lava.conversion.pipeline import convert, tune
from rmp_lava.conversion.points import Point
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.scale import unscale
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import UsageError
from rmp_lava.network import Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.report.provenance import kept_frontier
from rmp_lava.schedule import schedule
from rmp_lava.scores import Score

IMAGES = np.random.default_rng(0).random((24, 2, 6, 6), dtype=np.float32)
REFINE = sys.modules["rmp_lava.conversion.refine"]


def model() -> nn.Sequential:
    torch.manual_seed(3)
    layers = nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)
    return nn.Sequential(*layers).eval()


@settings(max_examples=examples(40))
@given(cases(waiting=True, encodings=("poisson", "rate", "current")))
def test_balancing_simulates_the_neurons_that_run(case):
    result = run(case.network, case.images, case.steps, "reference", record=("counts",), seed=case.seed)
    layerwise = Layerwise(case.network, case.images, schedule(case.network, case.steps), seed=case.seed)
    for layer in case.network:
        found = layerwise.advance(layer)
        np.testing.assert_array_equal(found * len(case.images), result.neuron_counts[layer.name].sum(axis=0))
        layerwise.release(layer)


@settings(max_examples=examples(60))
@given(networks(max_layers=1, resets=("soft",), encodings=("current",)), st.integers(1, 6), seeds)
def test_after_waiting_for_everything_counts_are_those_of_a_quantised_activation(network, steps, seed):
    """clip(ceil((v_init + sum - threshold) / threshold), 0, T), in state units; QCFS is the same with v_init = threshold / 2."""
    layer = network.output.replace(
        neurons=network.output.neurons.replace(reset="soft", v_init=int(network.output.neurons.threshold) // 2)
    )
    last = Layer("last", (1,), (Dense("layer0", np.ones((1, layer.size), np.int16)),), Neurons(9))
    network = SpikingNetwork("one", network.input, (layer, last), "integer", "count", wait=steps)
    images = np.random.default_rng(seed).random((3, *network.input.shape), dtype=np.float32)
    alone = network.replace(
        layers=(layer.replace(neurons=layer.neurons.replace(reset="none")),), readout="potential", wait=0
    )
    potentials = run(alone, images, steps, "reference", record=("potentials",)).potentials[layer.name]
    threshold = 64 * layer.neurons.threshold
    expected = np.clip(-(-(potentials - threshold) // threshold), 0, steps)
    for backend in ("reference", "fast"):
        counts = run(network, images, steps, backend, record=("counts",)).neuron_counts[layer.name]
        np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("wait", [1, 3, 4])
@pytest.mark.parametrize("encoding", ["current", pytest.param("poisson", marks=pytest.mark.slow)])
def test_thresholds_for_neurons_that_wait_are_the_same_however_they_are_computed(wait, encoding, monkeypatch):
    how = Balancing(thresholds="error", v_init="best", calibrate="bias", wait=wait)
    network = trace(model(), make_input(encoding, (2, 6, 6)), IMAGES)
    found = [balance(network, IMAGES, 4, how)]
    monkeypatch.setattr(LayerBatch, "total", lambda *_: None)  # step by step, although wait = T
    found.append(balance(network, IMAGES, 4, how))
    monkeypatch.setattr(REFINE, "fused_neurons", None)
    found.append(balance(network, IMAGES, 4, how))
    for layers in zip(*found, strict=True):
        for other in layers[1:]:
            assert layers[0].neurons.threshold == pytest.approx(other.neurons.threshold, rel=1e-6)
            np.testing.assert_allclose(layers[0].neurons.bias, other.neurons.bias, rtol=1e-4, atol=1e-5)
    observed = run(found[0], IMAGES, 4, record=("counts", "waiting"))  # step by step, to see potentials while they wait
    layerwise = Layerwise(found[0], IMAGES, schedule(found[0], 4))
    for layer in found[0].layers[:-1]:
        np.testing.assert_array_equal(layerwise.advance(layer) * 24, observed.neuron_counts[layer.name].sum(axis=0))
    assert (found[0].wait, found[0].balanced_steps) == (wait, 4)
    assert unscale(found[0]).wait == 0


@pytest.mark.parametrize("wait", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in (0, 4))])
def test_a_network_is_converted_for_its_wait(wait):
    conversion = convert(model(), IMAGES, steps=4, wait=wait)
    for network in (conversion.floating, conversion.integer):
        assert network.wait == wait
        result = run(network, IMAGES, 4)
        # Two hidden layers wait; the read-out integrates.
        assert (result.schedule.period, result.schedule.latency) == (4 + wait, 4 + 3 + 2 * wait)
        assert not (wait and any(result.saturations.values()))
    assert conversion.analog.wait == 0


@pytest.mark.slow
def test_potentials_of_neurons_that_wait_keep_their_register():
    """They gather T times as much as spiking ones, above all from graded messages."""
    how = candidates_for("low-latency", wait=16)[1]
    balanced = balance(trace(model(), make_input("current", (2, 6, 6)), IMAGES), IMAGES, 16, how)
    assert any(run(quantize(balanced), IMAGES, 16).saturations.values())
    conversion = convert(model(), IMAGES, steps=16, wait=16)
    assert not any(run(conversion.integer, IMAGES, 16).saturations.values())
    stock = quantize(balanced, ranges=board_ranges(balanced, IMAGES, 16))
    found = run(stock, IMAGES, 16, "reference", record=("waiting",)).waiting_ranges
    assert max(limit for limits in found.values() for limit in limits) < 64 * 65280


def test_wait_is_refused_where_it_makes_no_sense():
    with pytest.raises(UsageError, match="wait is 2 with reset 'hard', which drops .*; choose reset 'soft', or wait 0"):
        Balancing(reset="hard", wait=2)
    with pytest.raises(UsageError, match="wait is -1; allowed are integers from 0"):
        Balancing(wait=-1)
    with pytest.raises(UsageError, match="wait for 5 steps, but messages arrive in 4"):
        convert(model(), IMAGES, steps=4, wait=5)


def point(steps: int, wait: int, accuracy: float, operations: float, latency: int) -> Point:
    return Point(steps, wait, Score("classification", accuracy), 1.0, operations, latency, steps + wait)


def test_the_frontier_leaves_out_what_another_conversion_beats():
    points = (point(4, 0, 0.80, 9, 6), point(4, 4, 0.84, 9, 14), point(8, 0, 0.83, 20, 10), point(8, 1, 0.8425, 20, 12))
    found = Frontier(points, ())
    assert [row[-1] for row in found.table().rows] == ["yes", "yes", "yes", "yes"]
    assert points[0].is_dominated(point(4, 0, 0.81, 9, 6)) and not points[0].is_dominated(points[0])
    assert (found.best("accuracy"), found.best("energy"), found.best("latency")) == (3, 1, 3)


def test_a_network_is_converted_for_several_steps_and_waits():
    assert usual_choices(4) == ((2, 0), (2, 1), (2, 2), (4, 0), (4, 1), (4, 2), (4, 4))
    assert usual_choices(1) == ((1, 0), (1, 1))
    conversion = convert(model(), IMAGES, steps=4, v_init="half", channelwise=False)
    found = frontier(conversion, IMAGES, choices=[(4, 0), (2, 1)])
    for each, made in zip(found.points, found.conversions, strict=True):
        assert (made.integer.balanced_steps, made.integer.wait) == (each.steps, each.wait)
        assert made.floating.provenance["balance"]["v_init"] == "half"
        assert each.score.kind == "agreement"
    assert found.conversions[0].integer == conversion.integer
    chosen = found.chosen("energy").integer
    assert chosen.layers == found.conversions[found.best("energy")].integer.layers
    assert kept_frontier(chosen.provenance) == found.points
    labels = np.arange(24) % 5
    assert frontier(conversion, IMAGES, labels, [(3, 1)]).points[0].score.kind == "classification"
    with pytest.raises(UsageError, match="tuned network was trained for its T"):
        frontier(replace(conversion, request=None), IMAGES)


@pytest.mark.parametrize("wait", [4, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_tuning_for_neurons_that_wait_trains_exactly_their_rates(wait):
    """The accuracy that training sees after its last epoch, with quantised weights, is that of the network that it returns."""
    labels = np.arange(24) % 5
    options = {"epochs": 1, "batch_size": 8, "validation": (IMAGES, labels), "learning_rate": 1e-3}
    tuned = tune(model(), IMAGES, labels, steps=4, wait=wait, **options)
    assert tuned.integer.wait == tuned.floating.wait == wait and tuned.analog.wait == 0
    measured = tuned.stages(IMAGES, labels)[-1].score.accuracy
    assert tuned.tuning[-1].validation_accuracy == pytest.approx(measured)
    with pytest.raises(UsageError, match="wait for 5 steps, but messages arrive in 4"):
        tune(model(), IMAGES, labels, steps=4, wait=5, **options)


@pytest.mark.slow
def test_of_several_waits_the_closest_to_the_trained_network_is_kept():
    found = convert(model(), IMAGES, steps=4, wait="auto", v_init="half", channelwise=False)
    tried = found.floating.provenance["balance"]["tried"]
    assert [each["wait"] for each in tried] == [0, 1, 2, 4]
    assert found.integer.wait == min(tried, key=lambda each: each["divergence"])["wait"]
