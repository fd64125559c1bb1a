"""Activations that are rounded to levels convert without the rounding, and rates of as many steps round like them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from traced import Function

import rmp_lava
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input

LEVELS = 8
IMAGES = np.random.default_rng(0).random((40, 1, 8, 8), dtype=np.float32)


class Straight(torch.autograd.Function):
    """Rounds forward, and lets gradients pass."""

    @staticmethod
    def forward(ctx, x, how):
        return how(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class Levels(nn.Module):
    """An activation as users write it, with a trained upper end."""

    def __init__(self, function) -> None:
        super().__init__()
        self.top, self.function = nn.Parameter(torch.tensor([0.8])), function

    def forward(self, x):
        return self.function(x, self.top)


def straight_through(x, top):
    clipped = torch.clamp(x, min=0) / top
    clipped = clipped.clamp(max=1)
    rounded = torch.round(clipped * LEVELS) / LEVELS
    return (clipped + (rounded - clipped).detach()) * top


def to_nearest(x, top):
    return torch.floor(torch.clamp(x / top, 0, 1) * LEVELS + 0.5) / LEVELS * top


def down(x, top):
    return torch.floor(torch.clamp(x / top, 0, 1) * LEVELS) / LEVELS * top


NEAREST = {
    "floor with a half": to_nearest,
    "a function of autograd": lambda x, top: (
        Straight.apply(torch.clamp(x / top, 0, 1) * LEVELS + 0.5, torch.floor) / LEVELS * top
    ),
    "round": lambda x, top: torch.round(functional.relu6(x * 6 / top) / 6 * LEVELS) / LEVELS * top,
    "rounded first": lambda x, top: torch.clamp(torch.floor(x / top * LEVELS + 0.5), 0, LEVELS) / LEVELS * top,
    "rounded first, with round": lambda x, top: (
        torch.minimum(torch.round(functional.relu(x) / top * LEVELS), torch.tensor(float(LEVELS))) / LEVELS * top
    ),
    "ceil of a half less": lambda x, top: torch.ceil(torch.clamp(x / top, 0, 1) * LEVELS - 0.5) / LEVELS * top,
    "straight through": straight_through,
    "in place": lambda x, top: (x / top).clamp_(0, 1).mul_(LEVELS).add_(0.5).floor_().div_(LEVELS) * top,
    "fake quantisation": lambda x, top: torch.fake_quantize_per_tensor_affine(
        functional.relu(x), float(top) / LEVELS, 0, 0, LEVELS
    ),
}
DOWN = {
    "floor": down,
    "truncation": lambda x, top: torch.trunc(torch.clamp(x / top, 0, 1) * LEVELS) / LEVELS * top,
    "integers": lambda x, top: (torch.clamp(x / top, 0, 1) * LEVELS).int().float() / LEVELS * top,
    "integer quotient": lambda x, top: (torch.clamp(x / top, 0, 1) * LEVELS) // 1 / LEVELS * top,
    "rounded down first": lambda x, top: torch.clamp(torch.floor(x / top * LEVELS), 0, LEVELS) / LEVELS * top,
}


def network(function) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), Levels(function), nn.Conv2d(6, 6, 3, 2, 1), Levels(function),
        nn.Flatten(), nn.Linear(96, 4),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("form", [*NEAREST, *DOWN])
def test_what_is_traced_is_the_clip_without_the_rounding(form):
    model = network({**NEAREST, **DOWN}[form])
    assert check(model, IMAGES).convertible
    traced = trace(model, make_input("current", (1, 8, 8)), IMAGES)
    half = 0.5 / LEVELS if form in DOWN else 0.0
    unrounded = network(lambda x, top: torch.clamp(x / top - half, 0, 1) * top)
    with torch.no_grad():
        expected, found = unrounded(torch.from_numpy(IMAGES)), AnalogNetwork(traced)(torch.from_numpy(IMAGES))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert len(traced.layers) == 3 and all(layer.clip is not None for layer in traced.layers[:2])


@pytest.mark.parametrize("form", [*NEAREST, *DOWN])
def test_the_advice_names_the_levels(form):
    found = [f for f in check(network({**NEAREST, **DOWN}[form]), IMAGES).information if "rounds" in f.found]
    assert len(found) == 2
    for finding in found:
        assert finding.found == f"rounds to {LEVELS} levels above zero"
        assert f"convert for {LEVELS} steps, or a multiple, with v_init 'half'" in finding.remedy


@pytest.mark.parametrize("function", [to_nearest, down])
def test_rates_of_as_many_steps_as_levels_are_the_rounded_activations(function):
    model = network(function)
    model[0].weight.data *= 4  # so that the clip is reached
    how = dict(thresholds="activation", v_init="half", calibrate="none", channelwise=False)
    floating = convert(model, IMAGES, steps=LEVELS, shuffle=False, **how).floating
    first = floating.layers[0]
    assert np.isclose(float(first.activation_scale), 1)  # the trained clip, in units of the trained upper end
    counts = rmp_lava.run(floating, IMAGES, LEVELS, record=["counts"]).neuron_counts[first.name]
    with torch.no_grad():
        activations = model[:2](torch.from_numpy(IMAGES)).numpy()
    assert (np.abs(counts / LEVELS * 0.8 - activations) < 1e-4).mean() > 0.999


def test_rounding_of_other_kinds():
    (obstacle,) = check(
        nn.Sequential(nn.Conv2d(1, 2, 3), Function(lambda x: torch.trunc(x)), nn.Flatten(), nn.Linear(72, 2)), IMAGES
    ).obstacles
    assert "rounds towards zero" in obstacle.found
    model = nn.Sequential(Function(lambda x: torch.round(x * 15) / 15), network(down))
    found = {f.where: f.remedy for f in check(model, IMAGES).information if "rounds" in f.found}
    assert "pixels are encoded as they are" in found["0.round_1"]
    outputs = nn.Sequential(
        network(down), Function(lambda x: torch.fake_quantize_per_tensor_affine(x, 0.01, 128, 0, 255))
    )
    found = {f.where: f.remedy for f in check(outputs, IMAGES).information if "rounds" in f.found}
    assert "firing rates round more coarsely" in found["1.fake_quantize_per_tensor_affine"]
