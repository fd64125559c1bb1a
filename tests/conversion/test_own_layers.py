"""Layers of users: what is registered for them is converted, and compared with what they compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import rmp_lava
from rmp_lava.conversion.tracing import own_layers


class Knee(nn.Module):
    """Slope 1 up to a knee and a quarter above it; branches on values, which no tracer follows."""

    def __init__(self, knee: float) -> None:
        super().__init__()
        self.knee = knee

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor(
            [[min(v, self.knee) + max(0.0, v - self.knee) / 4 if v > 0 else 0.0 for v in row] for row in x.tolist()]
        )


def knee(layer: Knee, x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) - 0.75 * torch.relu(x - layer.knee)


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    monkeypatch.setattr(own_layers, "_FORWARDS", {})


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), Knee(0.2), nn.Linear(5, 4), Knee(0.1), nn.Linear(4, 3)).eval()


IMAGES = np.random.default_rng(0).random((12, 6), dtype=np.float32)


def test_an_own_activation_is_converted_as_it_was_registered():
    model = network()
    rmp_lava.register_layer(Knee, knee)
    conversion = rmp_lava.convert(model, IMAGES, steps=64, wait=64)
    result = rmp_lava.run(conversion.integer, IMAGES, 64)
    expected = model(torch.from_numpy(IMAGES)).detach().numpy()
    np.testing.assert_allclose(result.in_trained_units(conversion.integer), expected, atol=0.05 * np.ptp(expected))


@pytest.mark.slow
def test_what_computes_something_else_is_refused():
    rmp_lava.register_layer(Knee, lambda layer, x: torch.relu(x))
    found = rmp_lava.check(network(), IMAGES)
    with pytest.raises(rmp_lava.RmpLavaError, match="does not compute what its layers compute.*register_layer"):
        found.raise_if_blocked()


def test_subclasses_keep_their_own_forward():
    class Sharp(Knee):
        def forward(self, x):
            return torch.relu(x)

    rmp_lava.register_layer(Knee, knee)
    rmp_lava.check(nn.Sequential(nn.Linear(6, 5), Sharp(0.2), nn.Linear(5, 2)), IMAGES).raise_if_blocked()


@pytest.mark.parametrize(("kind", "forward"), [("Knee", knee), (nn.ReLU(), knee), (int, knee), (Knee, None)])
def test_only_types_of_modules_and_functions_are_registered(kind, forward):
    with pytest.raises(rmp_lava.RmpLavaError, match="register_layer got"):
        rmp_lava.register_layer(kind, forward)
