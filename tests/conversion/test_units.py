"""No unit decides the scale of its layer: units of any size, or silent ones, take no bits from others."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from rmp_lava.backends import run
from rmp_lava.conversion.activation_scales import EqualisedNeurons, distributions
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import Balancing, candidates_for
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.restore import restore
from rmp_lava.conversion.scale import unscale
from rmp_lava.conversion.silent import clip_silent
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.training.data import load

DIGITS = load("digits")
IMAGES, LABELS = DIGITS.train_images[:400], DIGITS.train_labels[:400]
HELD_OUT, TRUTH = DIGITS.train_images[600:900], DIGITS.train_labels[600:900]


@functools.cache
def trained(build: Callable[[], nn.Sequential], epochs: int = 60) -> nn.Sequential:
    torch.manual_seed(1)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(epochs):
        for start in range(0, len(IMAGES), 200):
            some = slice(start, start + 200)
            optimizer.zero_grad()
            outputs = model(torch.from_numpy(IMAGES[some]))
            nn.functional.cross_entropy(outputs, torch.from_numpy(LABELS[some])).backward()
            optimizer.step()
    return model.eval()


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 10))


def convolutional() -> nn.Sequential:
    layers = (nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(192, 24), nn.ReLU(), nn.Linear(24, 10))


def separable() -> nn.Sequential:
    """A depthwise convolution with batch normalisation, as in MobileNet."""
    first = (nn.Conv2d(1, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
    depthwise = (nn.Conv2d(12, 12, 3, 2, 1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
    pointwise = (nn.Conv2d(12, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
    return nn.Sequential(*first, *depthwise, *pointwise, nn.Flatten(), nn.Linear(256, 10))


def untrained() -> nn.Sequential:
    torch.manual_seed(1)
    return convolutional().eval()


def rescaled(model: nn.Sequential, at: tuple[int, ...], factors: Callable[[int], np.ndarray]) -> nn.Sequential:
    """The same function: rows of the layers `at` times factors, columns of the layer two places later divided by them."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for i in at:
            factor = torch.tensor(factors(len(model[i].weight)), dtype=torch.float32)
            model[i].weight *= factor.reshape(-1, *[1] * (model[i].weight.ndim - 1))
            model[i].bias *= factor
            following = model[i + 2]
            following = model[i + 3] if isinstance(following, nn.Flatten) else following
            by_column = factor.repeat_interleave(following.weight.shape[1] // len(factor))
            following.weight /= by_column.reshape(1, -1, *[1] * (following.weight.ndim - 2))
    return model


def accuracies(model: nn.Module, steps: int, **options) -> tuple[float, float]:
    """Of the trained network and of the integer one."""
    with torch.no_grad():
        before = (model(torch.from_numpy(HELD_OUT)).argmax(1).numpy() == TRUTH).mean()
    integer = convert(model, IMAGES, steps=steps, **options).integer
    return float(before), run(integer, HELD_OUT, steps).accuracy(TRUTH)


# Units of different size


@pytest.mark.slow
@pytest.mark.parametrize("build", [dense, convolutional])
def test_units_rescaled_by_powers_of_two_give_the_same_integers(build):
    at = (1, 3) if build is dense else (0, 2, 5)
    rng = np.random.default_rng(0)
    other = rescaled(trained(build), at, lambda units: 2.0 ** rng.integers(-6, 7, units))
    how = Balancing("error", v_init="best", calibrate="bias", channelwise=True)
    integers = []
    for model in (trained(build), other):
        analog = trace(model, make_input("current", (1, 8, 8)), IMAGES[:8])
        integers.append(quantize(balance(analog, IMAGES[:150], 16, how)))
    for one, same in zip(*integers, strict=True):
        np.testing.assert_array_equal(one.synapses[0].weight, same.synapses[0].weight)
        np.testing.assert_array_equal(one.neurons.bias, same.neurons.bias)
        assert (one.neurons.threshold, one.neurons.v_init) == (same.neurons.threshold, same.neurons.v_init)


@pytest.mark.slow
@pytest.mark.parametrize("build", [dense, convolutional])
@pytest.mark.parametrize("steps", [16, 256])
@pytest.mark.parametrize("spread", [0, 3])
def test_integers_do_not_depend_on_the_size_of_units(build, steps, spread):
    rng = np.random.default_rng(spread)
    at = (1, 3) if build is dense else (0, 2, 5)
    model = rescaled(trained(build), at, lambda units: 10 ** rng.uniform(-spread / 2, spread / 2, units))
    before, integer = accuracies(model, steps)
    assert integer >= before - 0.0101  # three of 300 images


@pytest.mark.parametrize("images", [32, 128])
def test_few_images_suffice_for_a_scale_per_neuron(images):
    model = rescaled(trained(dense), (1, 3), lambda units: np.geomspace(0.1, 10, units))
    analog = trace(model, make_input("current", (1, 8, 8)), IMAGES[:8])
    integer = quantize(balance(analog, IMAGES[:images], 32, candidates_for("low-latency")[0]))
    with torch.no_grad():
        before = (model(torch.from_numpy(HELD_OUT)).argmax(1).numpy() == TRUTH).mean()
    assert run(integer, HELD_OUT, 32).accuracy(TRUTH) >= before - 0.02


def test_neurons_share_the_distribution_of_their_quotients():
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 1, (5, 300)).astype(np.float32)
    values[4] = 0
    sizes = np.array([1.0, 8.0, 0.25, 1024.0, 1.0], np.float32)
    one, other = EqualisedNeurons(5, 300), EqualisedNeurons(5, 300)
    one.add(torch.from_numpy(values))
    for start in range(0, 300, 70):
        other.add(torch.from_numpy(values[:, start : start + 70] * sizes[:, None]))
    for found, scaled in (
        (one.least_error(8), other.least_error(8)),
        (one.percentile(90), other.percentile(90)),
        (one.percentile(100), other.percentile(100)),
    ):
        np.testing.assert_allclose(found * sizes, scaled, rtol=1e-6)
        assert found[4] == 0 and (found[:4] > 0).all()
    np.testing.assert_array_equal(one.percentile(100), values.max(axis=1))


def test_activations_of_wide_layers_take_bounded_memory(monkeypatch):
    monkeypatch.setattr("rmp_lava.conversion.activation_scales._KEPT_BYTES", 4 * 20 * 7)
    layers = (
        Layer("wide", (20,), (Dense(INPUT, np.ones((20, 3), np.float32)),), Neurons(1.0)),
        Layer("last", (2,), (Dense("wide", np.ones((2, 20), np.float32)),), Neurons(1.0, "none")),
    )
    network = SpikingNetwork("wide", make_input("current", (3,)), layers, "analog", "potential")
    images = np.random.default_rng(0).random((50, 3), dtype=np.float32)
    seen = distributions(network, images, channelwise=True, neuronwise=True)["wide"]
    assert sum(kept.shape[1] for kept in seen.distribution._kept) == 7
    assert seen.largest.max() == pytest.approx(images.sum(axis=1).max())


# Silent units


def silenced(model: nn.Sequential, at: int, factor: float, *, row: bool = True) -> nn.Sequential:
    """A unit that never fires, its weights or those that leave it larger by a factor."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model[at].weight[3] = -model[at].weight[3].abs() * (factor if row else 1)
        model[at].bias[3] = -factor if row else -1.0
        if not row:
            following = model[at + 2]
            following = model[at + 3] if isinstance(following, nn.Flatten) else following
            per_unit = following.weight.shape[1] // len(model[at].weight)
            following.weight[:, 3 * per_unit : 4 * per_unit] *= factor
    return model


@pytest.mark.slow
@pytest.mark.parametrize("row", [True, False], ids=["row", "column"])
@pytest.mark.parametrize("at", [2, 5], ids=["convolution", "dense"])
@pytest.mark.parametrize("factor", [1, 1e3, 1e5])
def test_a_silent_unit_costs_no_accuracy(at, factor, row):
    before, integer = accuracies(silenced(trained(convolutional), at, factor, row=row), 16)
    assert integer >= before - 0.0101


@pytest.mark.parametrize("at", [2, 5], ids=["convolution", "dense"])
@pytest.mark.parametrize("how", [*candidates_for("low-latency"), *candidates_for("paper")])
def test_weights_of_a_silent_unit_take_no_bits_from_others(at, how):
    errors = []
    for factor in (1.0, 1e6):
        model = silenced(silenced(untrained(), at, factor), at, factor, row=False)
        balanced = balance(trace(model, make_input("current", (1, 8, 8)), IMAGES[:8]), IMAGES[:32], 16, how)
        integer = quantize(balanced)
        errors.append([np.count_nonzero(layer.synapses[0].weight == 0) for layer in integer])
        assert balanced.layers[1 if at == 2 else 2].record["silent_units"] >= 1
    few, many = np.array(errors)
    assert (many <= 1.3 * few + 30).all()


@pytest.mark.parametrize("method", ["low-latency", "paper"])
def test_a_branch_that_is_silent_on_the_calibration_images_is_kept_without_harm(method):
    """A residual branch whose neurons could fire, but for no image that was seen."""
    rng = np.random.default_rng(0)
    first, last = rng.normal(size=(6, 4)), rng.normal(size=(3, 6))
    rare, after = 1e4 * rng.random((5, 6)), 1e5 * rng.normal(size=(3, 5))
    layers = (
        Layer("first", (6,), (Dense(INPUT, first),), Neurons(1.0)),
        Layer("rare", (5,), (Dense("first", rare),), Neurons(1.0, bias=np.full(5, -1e6))),
        Layer("last", (3,), (Dense("first", last), Dense("rare", after)), Neurons(1.0, "none")),
    )
    network = SpikingNetwork("branch", make_input("current", (4,)), layers, "analog", "potential")
    images = rng.random((60, 4), dtype=np.float32)
    (how,) = candidates_for(method, channelwise=False)
    integer = quantize(balance(network, images, 64, how))
    result = run(integer, images, 64, record=("counts",))
    assert integer["rare"].record["silent_units"] == 5 and not result.neuron_counts["rare"].any()
    expected = np.maximum(images @ first.T, 0) @ last.T
    assert np.sqrt(np.mean((result.in_trained_units(integer) - expected) ** 2)) < 0.05 * expected.std()


def test_the_user_is_told_how_many_units_are_silent():
    conversion = convert(silenced(untrained(), 2, 1e3), IMAGES[:32], steps=4)
    assert re.search(r"decide no scale: .*\d of 12 channels of '2'", conversion.silent_units)
    assert "silent" in str(conversion.table())


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"channelwise": False}, {"method": "paper", "encoding": "rate"}])
def test_a_channel_that_is_dead_before_batch_normalisation_costs_no_accuracy(options):
    def with_dead_channels() -> nn.Sequential:
        model = separable()
        with torch.no_grad():
            model[1].bias[:2] = -8.0
        return model

    model = trained(with_dead_channels, 40)
    model[4].running_var[:2] = 1e-11  # what remains after a long training; their inputs are 0
    trained_accuracy, integer = accuracies(model, 64, **options)
    assert integer >= trained_accuracy - 0.0101


def test_weights_from_silent_units_are_clipped_to_those_of_live_ones():
    weight = np.array([[1.0, 50.0, -2.0], [-0.5, -7.0, 0.25]], np.float32)
    layer = Layer("a", (2,), (Dense("b", weight),), Neurons(1.0))
    silent = {"b": np.array([False, True, False])}
    np.testing.assert_array_equal(
        clip_silent(layer, silent, np.ones(())).synapses[0].weight, [[1, 2, -2], [-0.5, -2, 0.25]]
    )
    by_row = clip_silent(layer, silent, np.array([1.0, 0.5])).synapses[0].weight
    np.testing.assert_array_equal(by_row, [[1, 2, -2], [-0.5, -1, 0.25]])
    assert clip_silent(layer, {"b": np.zeros(3, bool)}, np.ones(())) is layer
    alone = clip_silent(layer, {"b": np.ones(3, bool)}, np.asarray(4.0)).synapses[0].weight
    np.testing.assert_array_equal(alone, np.clip(weight, -4, 4))


def test_weights_from_silent_channels_are_found_in_groups():
    weight = np.arange(1.0, 17).reshape(4, 2, 1, 2).astype(np.float32)  # two groups of two channels
    layer = Layer("a", (4, 1, 1), (Conv("b", weight, groups=2),), Neurons(1.0))
    clipped = clip_silent(layer, {"b": np.array([False, False, True, True])}, np.ones(())).synapses[0].weight
    np.testing.assert_array_equal(clipped[:2], weight[:2])
    assert (clipped[2:] == 8).all()


# What follows


@pytest.mark.slow
def test_restored_and_tuned_networks_keep_the_function_of_neurons_with_scales_of_their_own():
    model = rescaled(trained(dense), (1, 3), lambda units: np.geomspace(0.03, 30, units))
    conversion = convert(model, IMAGES[:128], steps=64)
    assert conversion.floating.layers[0].activation_scale.shape == (40,)
    restored, again = restore(conversion.integer), unscale(conversion.floating)
    with torch.no_grad():
        expected = model(torch.from_numpy(HELD_OUT)).argmax(1).numpy()
    for network in (restored, again):
        found = convert_again(network)
        assert (run(found, HELD_OUT, 64).predictions == expected).mean() >= 0.97


def convert_again(network: SpikingNetwork) -> SpikingNetwork:
    return quantize(balance(network, IMAGES[:128], 64, candidates_for("low-latency")[0]))
