"""Volumes (channels, depth, height, width) are images of all their planes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from foreign_models import settle
from torch import nn

from rmp_lava.backends import run
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.tracing.export_front import export

VOLUMES = np.random.default_rng(0).random((6, 2, 4, 5, 6), dtype=np.float32)
FIRST = (nn.Conv3d, 2, 4, 3, 1, 1)
LAYERS = {
    "convolutions": (partial(*FIRST), partial(nn.BatchNorm3d, 4), nn.ReLU, partial(nn.Conv3d, 4, 4, 3, 2, 1), nn.ReLU),
    "groups": (partial(nn.Conv3d, 2, 4, (2, 3, 3), groups=2, dilation=(2, 1, 1)), nn.ReLU),
    "same": (partial(nn.Conv3d, 2, 3, (2, 3, 1), padding="same"), nn.ReLU),
    "average pooling": (partial(*FIRST), nn.ReLU, partial(nn.AvgPool3d, (2, 1, 2)), partial(nn.AdaptiveAvgPool3d, 1)),
    "maximum pooling": (partial(*FIRST), nn.ReLU, partial(nn.MaxPool3d, (3, 2, 2), 2, 1)),
    "maximum of signed values": (partial(*FIRST), partial(nn.MaxPool3d, 2)),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(*(make() for make in LAYERS[name]), nn.Flatten())
    with torch.no_grad():
        features = layers(torch.from_numpy(VOLUMES)).shape[1]
    return settle(nn.Sequential(*layers, nn.Linear(features, 3)))


@pytest.mark.parametrize("name", LAYERS)
def test_networks_of_volumes(name):
    model = network(name)
    conversion = convert(model, VOLUMES, steps=3, method="paper", mean=(0.5, 0.4), std=0.25)
    assert conversion.integer.input.shape == (8, 5, 6)
    assert conversion.stages(VOLUMES)[1].score.error < 1e-5  # folded, against the trained network
    found, expected = (run(conversion.integer, VOLUMES, 3, backend).output for backend in ("fast", "reference"))
    assert (found == expected).all()


@pytest.mark.slow
def test_programs_of_volumes():
    program = export(network("convolutions"), torch.from_numpy(VOLUMES[:2]))
    assert check(program, VOLUMES).convertible


def test_what_volumes_cannot_be():
    layers = (nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.AvgPool3d(3, 2, 1, count_include_pad=False), nn.Flatten())
    (finding,) = check(nn.Sequential(*layers, nn.Linear(72, 2)), VOLUMES).obstacles
    assert finding.found == "(avg_pool3d) divides windows by different numbers of voxels"
    layers = (nn.Conv3d(2, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.Flatten(), nn.Linear(480, 2))
    (finding,) = check(nn.Sequential(*layers), VOLUMES).obstacles
    assert "use the padding of nn.Conv3d, with zeros" in finding.remedy
