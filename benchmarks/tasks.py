"""Networks of several tasks, trained in a minute and converted without training them again.

    python -m benchmarks.conversion --tasks [--only vgg,u_net]

Classification of digits with maximum pooling, with leaky ReLUs, and of their rows by one-dimensional convolutions; segmentation
of shapes by a U-Net with a skip connection and a transposed convolution; reconstruction of digits by an autoencoder; classes of
digits as an event camera sees them that moves along a triangle.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import rmp_lava
from rmp_lava.choices import TrainedEncoding
from rmp_lava.training.data import bin_events, frames, load

_WAYS = ((16, 0), (16, 16), (32, 0))
"""T and wait."""
_CALIBRATION = 256
HEAD = (
    "| network | task | trained | "
    + " | ".join(f"T = {steps}" + (f", wait {wait}" if wait else "") for steps, wait in _WAYS)
    + " | time |\n|---|---|---|---|---|---|---|"
)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Task:
    """Images and what a network learns of them; `targets` as `rmp_lava.scores` takes labels."""

    name: str
    images: np.ndarray
    targets: np.ndarray
    test_images: np.ndarray
    test_targets: np.ndarray
    loss: Loss
    events: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None
    """Training and test events, int8 (N, T, *shape), for T steps; images are their means."""


@functools.cache
def digits() -> Task:
    data = load("digits")
    labels = (each.astype(np.int64) for each in (data.train_labels, data.test_labels))
    train, test = labels
    return Task("classes of digits", data.train_images, train, data.test_images, test, functional.cross_entropy)


@functools.cache
def reconstruction() -> Task:
    task = digits()
    images, others = (each.reshape(len(each), -1) for each in (task.images, task.test_images))
    return Task("pixels of digits", task.images, images, task.test_images, others, functional.mse_loss)


@functools.cache
def event_digits() -> Task:
    task = digits()
    train, test = (_recordings(each[:, 0], labels) for each, labels in
                   ((task.images, task.targets), (task.test_images, task.test_targets)))  # fmt: skip

    def events(steps: int) -> tuple[np.ndarray, np.ndarray]:
        return bin_events(train, steps, shape=(2, 8, 8))[0], bin_events(test, steps, shape=(2, 8, 8))[0]

    means = (frames(each) for each in events(_WAYS[0][0]))
    return Task(
        "classes of digits from events", next(means), task.targets, next(means), task.test_targets, task.loss, events
    )


_MOMENTS, _CHANGE = 48, 0.15
"""Points of the camera's way, and the change of brightness that makes an event."""


def _recordings(images: np.ndarray, labels: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """(events, label) of a camera that moves by a pixel along three sides, as N-MNIST's does; images (N, 8, 8) in [0, 1]."""
    x, y = (
        np.interp(np.arange(_MOMENTS), np.linspace(0, _MOMENTS - 1, 4), ends) for ends in ([0, 1, -1, 0], [0, 1, 1, 0])
    )
    seen, made = images, [[] for _ in images]  # type: tuple[np.ndarray, list[list[np.ndarray]]]
    for t in range(_MOMENTS):
        moved = _shifted(_shifted(images, y[t], 1), x[t], 2)
        count = np.trunc((moved - seen) / _CHANGE)
        seen = seen + _CHANGE * count
        for n, row, column in np.argwhere(count):
            number = int(abs(count[n, row, column]))
            event = np.array([(t, column, row, count[n, row, column] > 0)], _EVENT)
            made[n].append(np.repeat(event, number))
    return [(np.concatenate(each), int(label)) for each, label in zip(made, labels, strict=True)]


def _shifted(images: np.ndarray, way: float, axis: int) -> np.ndarray:
    """Images moved by up to a pixel along an axis, between pixels by a mean of both."""
    moved = np.roll(images, int(np.sign(way)), axis)  # the border of digits is nearly empty
    return abs(way) * moved + (1 - abs(way)) * images


_EVENT = [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "?")]


@functools.cache
def shapes() -> Task:
    """Squares and discs on a noisy background, 16 x 16; the class of each pixel is background, square or disc."""
    images, targets = _shapes(600, 1)
    return Task("pixels of shapes", images, targets, *_shapes(200, 2), functional.cross_entropy)


def _shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:16, :16]
    images, targets = rng.uniform(0, 0.4, (count, 1, 16, 16)), np.zeros((count, 16, 16), np.int64)
    for i in range(count):
        for kind in (1, 2):
            y, x, radius = rng.integers(3, 13), rng.integers(3, 13), rng.integers(2, 5)
            far = np.maximum(abs(rows - y), abs(columns - x)) if kind == 1 else np.hypot(rows - y, columns - x)
            images[i, 0][far <= radius] = rng.uniform(0.5, 0.9)
            targets[i][far <= radius] = kind
    return images.astype(np.float32), targets


def _conv(inputs: int, outputs: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), activation)


def vgg() -> nn.Module:
    relu = nn.ReLU()
    body = [_conv(1, 16, relu), _conv(16, 16, relu), nn.MaxPool2d(2), _conv(16, 32, relu), nn.MaxPool2d(2)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(128, 64), relu, nn.Linear(64, 10))


def leaky() -> nn.Module:
    act = nn.LeakyReLU(0.1)
    body = [_conv(1, 16, act), _conv(16, 16, act), nn.AvgPool2d(2), _conv(16, 32, act), nn.AvgPool2d(2)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(128, 64), act, nn.Linear(64, 10))


def events() -> nn.Module:
    relu = nn.ReLU()
    body = [_conv(2, 16, relu), _conv(16, 16, relu), nn.AvgPool2d(2), _conv(16, 32, relu), nn.AvgPool2d(2)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(128, 10))


def rows() -> nn.Module:
    """Eight channels of length 8, as of a keyword-spotting network."""
    body = [
        nn.Conv1d(8, 32, 3, padding=1),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(32, 32, 3),
        nn.ReLU(),
    ]
    return nn.Sequential(nn.Flatten(1, 2), *body, nn.Flatten(), nn.Linear(64, 10))


class UNet(nn.Module):
    """Two scales, maximum pooling, a transposed convolution, and skip connections that are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        relu = nn.ReLU()
        self.first, self.pool, self.inner = _conv(1, 8, relu), nn.MaxPool2d(2), _conv(8, 16, relu)
        self.up, self.last, self.out = nn.ConvTranspose2d(16, 8, 2, 2), _conv(16, 8, relu), nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.first(x)
        merged = torch.cat([self.up(self.inner(self.pool(skip))), skip], dim=1)
        outputs: torch.Tensor = self.out(self.last(merged))
        return outputs


def autoencoder() -> nn.Module:
    layers = [nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 64))


_TASKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Task], int]] = {
    "vgg": (vgg, digits, 10),
    "leaky": (leaky, digits, 10),
    "rows": (rows, digits, 20),
    "u_net": (UNet, shapes, 15),
    "autoencoder": (autoencoder, reconstruction, 60),
    "events": (events, event_digits, 15),
}
"""Networks with their tasks and epochs of training."""
NAMES = tuple(_TASKS)


def trained(name: str, seed: int = 0) -> tuple[nn.Module, Task]:
    """A trained network, and its task."""
    build, make_task, epochs = _TASKS[name]
    torch.manual_seed(seed)
    model, task = build(), make_task()
    images, targets = torch.from_numpy(np.ascontiguousarray(task.images)), torch.from_numpy(task.targets)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for some in torch.randperm(len(images)).split(64):
            loss = task.loss(model(images[some]), targets[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return model.eval(), task


def scores(model: nn.Module, task: Task, steps: int = 16, wait: int = 0) -> tuple[rmp_lava.Conversion, list[float]]:
    """The conversion, and the scores of the trained and the integer network on test images.

    These are shares of images or pixels that are classified correctly, or the error of a reconstruction as a share of the pixels'
    standard deviation.
    """
    images, test = (task.images, task.test_images) if task.events is None else task.events(steps)
    encoding: TrainedEncoding | None = None if task.events is None else "spikes"
    targets = task.targets[:_CALIBRATION]
    conversion = rmp_lava.convert(
        model, images[:_CALIBRATION], steps=steps, wait=wait, encoding=encoding, labels=targets
    )
    stages = conversion.stages(test, task.test_targets)
    found = [stage.score for stage in (stages[0], stages[-1])]
    return conversion, [float(s.error if s.accuracy is None else s.accuracy) for s in found]  # type: ignore[arg-type]


def row(name: str) -> str:
    """A row of the table."""
    started = time.perf_counter()
    model, task = trained(name)
    # A network that was trained on the means of events keeps their number of steps.
    ways = [way for way in _WAYS if task.events is None or way[0] == _WAYS[0][0]]
    found = [scores(model, task, *way)[1] for way in ways]
    seconds = time.perf_counter() - started
    measured = (found[0][0], *(integer for _, integer in found))
    shares = " | ".join([f"{100 * each:.2f} %" for each in measured] + ["-"] * (len(_WAYS) - len(ways)))
    return f"| {name} | {task.name} | {shares} | {seconds:.0f} s |"
