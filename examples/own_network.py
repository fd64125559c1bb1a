"""Bring a network of your own: check it, convert it, quantise it, save it, run it.

python examples/own_network.py
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import rmp_lava
from rmp_lava.ann.data import load
from rmp_lava.report.tables import console, findings_table


def unsuitable() -> nn.Sequential:
    """A network as one finds them: batch normalisation, bias, maximum pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    )


def suitable() -> nn.Sequential:
    """The same under the paper's constraints."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10, bias=False),
    )


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Any training of yours."""
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


def main() -> None:
    """Show the check of an unsuitable network, then take a suitable one the whole way."""
    torch.manual_seed(0)
    digits = load("digits")
    out = console()
    out.print(findings_table(rmp_lava.check(unsuitable(), digits.train_images)))

    model = suitable()
    train(model, torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels))
    rmp_lava.check(model, digits.train_images).raise_if_blocked()
    network = rmp_lava.convert(model, digits.train_images[:200], steps=32, encoding="current", name="own")
    integers = rmp_lava.quantize(network)
    for layer in integers:
        out.print(
            f"{layer.name}: threshold {layer.neurons.threshold}, rounding error {layer.record['weight_error']:.2%}"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = rmp_lava.save(integers, Path(folder) / "own.net")
        result = rmp_lava.run(rmp_lava.load(path), digits.test_images, steps=32)
    out.print(f"{result.accuracy(digits.test_labels):.2%} of {result.samples} test images, {result.execution}")


if __name__ == "__main__":
    main()
