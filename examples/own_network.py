"""Check, convert, measure, save and run your own network.

python examples/own_network.py
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import rmp_lava
from rmp_lava.report.tables import console
from rmp_lava.training.data import load


class Block(nn.Module):
    """A residual block with batch normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.norm(self.first(x)))) + x)


class Network(nn.Module):
    """A residual network with maximum pooling that normalises its own input, with a choice of the activation."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), activation)
        self.block, self.pooling = Block(12), nn.MaxPool2d(2)
        self.classes = nn.Linear(12 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem((x - 0.3) / 0.38)
        return self.classes(self.pooling(self.block(x)).flatten(1))


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Your own training loop."""
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


def main() -> None:
    """Check a network with an obstacle (the activation SiLU), then convert one with ReLU, as the check advises."""
    torch.manual_seed(0)
    digits = load("digits")
    out = console()
    out.print(rmp_lava.check(Network(nn.SiLU()), digits.train_images))

    model = Network(nn.ReLU())
    train(model, torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels))
    model.eval()
    rmp_lava.check(model, digits.train_images).raise_if_blocked()
    conversion = rmp_lava.convert(model, digits.train_images[:500], steps=16, name="own")
    out.print(str(conversion.stages(digits.train_images[500:], digits.train_labels[500:])))
    for layer in conversion.integer:
        out.print(f"{layer.name}: threshold {layer.neurons.threshold}, rounding error {layer.weight_error.rms:.2%}")
    with tempfile.TemporaryDirectory() as folder:
        path = rmp_lava.save(conversion.integer, Path(folder) / "own.net")
        result = rmp_lava.run(rmp_lava.load(path), digits.test_images, steps=16)
    out.print(f"{result.accuracy(digits.test_labels):.2%} of {result.samples} test images, {result.execution}")


if __name__ == "__main__":
    main()
