"""Events and sounds that are made here: digits seen by an event camera that moves, and tones of a few shapes."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

CONTRAST = 0.25
"""Change of brightness that is one event."""
_MARGIN = 2


def saccades(images: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """uint8 (N, steps, 2, H, W): events of brighter and darker pixels while a camera moves around images (N, 1, H, W).

    It moves in a triangle. Each pixel sends an event whenever its brightness has changed by `CONTRAST` since its last one;
    noise adds some.
    """
    n, _, height, width = images.shape
    wide = np.pad(images[:, 0], ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    corners = np.array([(0, 0), (2, 2), (4, 0), (0, 0)], dtype=float)
    along = np.linspace(0, 3, steps + 1)
    places = np.stack([np.interp(along, range(4), corners[:, axis]) for axis in (0, 1)], axis=1)
    random, owed, before = np.random.default_rng(seed), np.zeros((n, height, width)), None
    events = np.zeros((n, steps, 2, height, width), np.uint8)
    for step, (y, x) in enumerate(places):
        seen = _shifted(wide, y, x, height, width)
        if before is not None:
            owed += 2 * (seen - before) + random.normal(0, 0.05, seen.shape)
            sent = np.trunc(owed / CONTRAST)
            owed -= sent * CONTRAST
            events[:, step - 1, 0], events[:, step - 1, 1] = np.maximum(sent, 0), np.maximum(-sent, 0)
        before = seen
    return events


def _shifted(wide: np.ndarray, y: float, x: float, height: int, width: int) -> np.ndarray:
    """A part of the images that starts between pixels."""
    (row, dy), (column, dx) = divmod(y, 1), divmod(x, 1)
    total = np.zeros((len(wide), height, width))
    for i, by in ((0, 1 - dy), (1, dy)):
        for j, bx in ((0, 1 - dx), (1, dx)):
            if by * bx:
                first, left = int(row) + i, int(column) + j
                total += by * bx * wide[:, first : first + height, left : left + width]
    return total


def recordings(events: np.ndarray, labels: np.ndarray, seed: int = 0) -> list[tuple[np.ndarray, int]]:
    """The same events as Tonic has them: (structured array with x, y, p, t, label), in time steps of 1000 us from 0 on."""
    random, found = np.random.default_rng(seed), []
    for sample, label in zip(events, labels, strict=True):
        step, p, y, x = np.nonzero(sample)
        repeats = sample[step, p, y, x]
        columns = [np.repeat(each, repeats) for each in (x, y, p, step)]
        array = np.zeros(len(columns[0]), dtype=[("x", "<i2"), ("y", "<i2"), ("p", "?"), ("t", "<i8")])
        array["x"], array["y"], array["p"] = columns[:3]
        array["t"] = columns[3] * 1000 + random.integers(1, 999, len(array))
        found.append((np.sort(array, order="t"), int(label)))
    return found


def sounds(count: int, seed: int, length: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Signals in [-1, 1], float32 (N, 1, length), of six classes: a low, middle, high, rising or falling tone; two tones."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 6, count)
    time = np.linspace(0, 1, length)
    signals = np.zeros((count, 1, length), np.float32)
    for i, label in enumerate(labels):
        low, high, phase, second = random.uniform(3, 5), random.uniform(11, 14), *random.uniform(0, 2 * np.pi, 2)
        sweep = low * time + (high - low) / 2 * time**2
        turns = (low * time, 8 * time * random.uniform(0.9, 1.1), high * time, sweep, sweep[::-1], low * time)[label]
        wave = np.sin(2 * np.pi * turns + phase)
        if label == 5:
            wave = 0.6 * wave + 0.4 * np.sin(2 * np.pi * high * time + second)
        start, stop = random.uniform(0, 0.2), random.uniform(0.8, 1)
        wave = wave * ((time >= start) & (time <= stop)) * random.uniform(0.5, 0.9)
        signals[i, 0] = np.clip(wave + random.normal(0, 0.05, length), -1, 1)
    return signals, labels


def trained(network: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int, rate: float = 3e-3) -> nn.Module:
    """The network after some epochs of Adam on float32 images."""
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
    return network.eval()
