"""A function with a linear read-out as a network, and a check that it is traced exactly."""

from __future__ import annotations

import torch
from torch import nn

from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.check import check
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.network import SpikingNetwork


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


class Both(nn.Module):
    """Two branches, concatenated."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x):
        return torch.cat([self.a(x), self.b(x)], 1)


class Head(nn.Module):
    """A function of features of an image, and a linear read-out."""

    def __init__(self, body, shape: tuple[int, ...], before: nn.Module | None = None) -> None:
        super().__init__()
        self.before, self.body = before or nn.Identity(), body
        with torch.no_grad():
            size = self._features(torch.rand(2, *shape)).flatten(1).shape[1]
        self.out = nn.Linear(size, 3)

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self.before(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self._features(x).flatten(1))


def traced(model: nn.Module, shape: tuple[int, ...]) -> SpikingNetwork:
    """Traced, with outputs equal to the module's on images that trace itself does not see."""
    model.eval()
    generator = torch.Generator().manual_seed(1)
    images, others = torch.rand(2, *shape, generator=generator), torch.rand(3, *shape, generator=generator)
    network = trace(model, make_input("current", shape), images)
    with torch.no_grad():
        expected = model(others)
        found = AnalogNetwork(network)(others)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * max(1.0, float(expected.abs().max())))
    return network


def random_images(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    """Images other than those that trace itself compares on."""
    return torch.rand(3, *shape, generator=torch.Generator().manual_seed(seed))


def assert_traced_exactly(
    model: nn.Module, shape: tuple[int, ...], pooling: str = "fold", expected: torch.Tensor | None = None
) -> SpikingNetwork:
    images = random_images(shape)
    report = check(model, images)
    assert report.convertible, report.obstacles
    network = trace(model, make_input("current", shape), images, pooling=pooling)
    with torch.no_grad():
        expected = model.eval()(random_images(shape, 2)) if expected is None else expected
        found = AnalogNetwork(network)(random_images(shape, 2))
    torch.testing.assert_close(found, expected.flatten(1).float(), rtol=0, atol=1e-4 * float(expected.abs().max()))
    return network


def assert_program_traced(model: nn.Module, shape: tuple[int, ...]) -> None:
    """The same of the program that torch.export makes of a module."""
    model.eval()
    program = torch.export.export(model, (torch.rand(2, *shape),), strict=False)
    network = trace(program, make_input("current", shape), random_images(shape))
    with torch.no_grad():
        found, expected = AnalogNetwork(network)(random_images(shape, 2)), model(random_images(shape, 2)).flatten(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
