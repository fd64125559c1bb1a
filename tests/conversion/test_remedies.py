"""A remedy that `check` gives leads to a network that converts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from traced import Function as Fn

from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert

IMAGES = np.random.default_rng(0).random((16, 3, 8, 8), dtype=np.float32)


class Softened(nn.Module):
    """Multiplies by a mask that is computed from the image, or adds it."""

    def __init__(self, gates: bool) -> None:
        super().__init__()
        self.mask, self.gates = nn.Conv2d(4, 4, 1), gates

    def forward(self, x):
        mask = functional.relu(self.mask(x))
        return x * mask if self.gates else x + mask


class First(nn.Module):
    """The first of the results of a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)[0]


class Attention(nn.Module):
    """Self-attention of the pixels of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        pixels = x.flatten(2).transpose(1, 2)
        return x + self.attention(pixels, pixels, pixels)[0].transpose(1, 2).reshape(x.shape)


REMEDIES = {
    "another activation": (nn.SiLU(), "use ReLU, ReLU6 or LeakyReLU there", nn.ReLU6()),
    "attention": (Attention(), "use convolutions instead", nn.Conv2d(4, 4, 3, padding=1)),
    "recurrence": (
        nn.Sequential(nn.Flatten(2), Fn(lambda x: x.transpose(1, 2)), First(nn.GRU(4, 4, batch_first=True))),
        "use a feed-forward network of Conv2d",
        nn.Conv2d(4, 4, 3, padding=1),
    ),
    "statistics of the pixel": (nn.LayerNorm([4, 8, 8]), "use BatchNorm2d", nn.BatchNorm2d(4)),
    "statistics of the image": (nn.GroupNorm(2, 4), "use BatchNorm2d", nn.BatchNorm2d(4)),
    "statistics of the batch": (
        nn.BatchNorm2d(4, track_running_stats=False),
        "use track_running_stats=True",
        nn.BatchNorm2d(4),
    ),
    "softmax inside": (nn.Softmax(1), "remove it", nn.Identity()),
    "product of activations": (Softened(True), "use a residual addition", Softened(False)),
    "noise": (
        Fn(lambda x: x + torch.randn_like(x)),
        "if self.training",
        Fn(lambda x, training=False: x + torch.randn_like(x) if training else x),
    ),
    "steps": (
        Fn(lambda x: torch.heaviside(x - 0.5, torch.ones(()))),
        "use ReLU, LeakyReLU, clamp",
        Fn(lambda x: torch.clamp(x, 0, 0.5)),
    ),
    "always dropping": (
        Fn(functional.dropout),
        "training=self.training",
        Fn(lambda x: functional.dropout(x, training=False)),
    ),
    "integers": (
        Fn(lambda x: (x * 4).to(torch.int32) / 4),
        "round with torch.floor or torch.round",
        Fn(lambda x: torch.floor(x * 4) / 4),
    ),
    "rounding to decimals": (Fn(lambda x: torch.round(x, decimals=1)), "remove the rounding", nn.Identity()),
    "stacked and reshaped": (
        Fn(lambda x: torch.stack([x, x]).mean(2)[0]),
        "sum or average over the stacked axis only",
        Fn(lambda x: torch.stack([x, x]).mean(0)),
    ),
}


def network(middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), middle, nn.Conv2d(4, 4, 1), nn.ReLU())
    with torch.no_grad():
        try:
            model(torch.from_numpy(IMAGES))
        except RuntimeError:  # what is in the middle gives other channels, or no image
            model = model[:3]
        model = nn.Sequential(*model, nn.Flatten(), nn.LazyLinear(3)).eval()
        model(torch.from_numpy(IMAGES))
    return model


@pytest.mark.parametrize("what", REMEDIES)
def test_a_remedy_works(what):
    wrong, remedy, right = REMEDIES[what]
    obstacles = check(network(wrong), IMAGES).obstacles
    assert len(obstacles) == 1 and remedy in obstacles[0].remedy, obstacles
    assert check(network(right), IMAGES).obstacles == ()


@pytest.mark.slow
def test_what_remedies_lead_to_is_converted():
    for what in ("product of activations", "integers", "stacked and reshaped"):
        assert convert(network(REMEDIES[what][2]), IMAGES, steps=4).integer.is_integer
