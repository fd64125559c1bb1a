"""Accuracy after every time step from one simulation, stored per block of images so that an interruption loses little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import rmp_lava
from rmp_lava.network import INPUT, SpikingNetwork
from rmp_lava.progress import Progress

from .dataset import Images
from .store import Store, checksum

BLOCK = 250
"""Images per measurement."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Accuracy and activity of a spiking network over T time steps.

    accuracy : (T,) share of correct predictions after t = 1 .. T steps.
    images : int
    rates : layer name -> spikes per neuron and step.
    spikes : of all layers without the input, mean per image over T steps.
    operations : synaptic operations likewise, including those caused by the input.
    saturated : neuron updates that reached the limits of their register.
    """

    accuracy: np.ndarray
    images: int
    rates: dict[str, float]
    spikes: float
    operations: float
    saturated: int

    @property
    def steps(self) -> int:
        return len(self.accuracy)

    def at(self, steps: int) -> float:
        """Accuracy after `steps` time steps."""
        return float(self.accuracy[steps - 1])

    def plain(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {**vars(self), "accuracy": self.accuracy.tolist()}

    def first_reaching(self, accuracy: float) -> int | None:
        """The first time step with at least this accuracy, None if there is none."""
        reached = np.flatnonzero(self.accuracy >= accuracy)
        return int(reached[0]) + 1 if len(reached) else None


def simulate(
    store: Store,
    key: str,
    network: SpikingNetwork,
    data: Images,
    steps: int,
    settings: dict[str, Any],
    *,
    seed: int = 0,
) -> Curve:
    """Simulate the test images on backend fast; `settings` describe how the network was made."""
    blocks = range(0, len(data.test), BLOCK)
    settings = settings | data.calibrated | {"steps": steps, "seed": seed, "block": BLOCK}
    parts = []
    with Progress(key, len(blocks), shown=True) as bar:
        for number, first in enumerate(blocks):
            some = slice(first, first + BLOCK)
            # Each block gets its own seed; otherwise all would have the same Poisson noise.
            measure = _Block(network, data.test[some], data.labels[some], steps, 100_000 * seed + number)
            # More images only add blocks; existing measurements stay valid.
            own = settings | {"images": len(data.test[some])}
            own |= {"test": checksum(data.test[some], data.labels[some])}
            parts.append(store.once(f"{key}/{number:03}", own, measure))
            bar.advance()
    images = sum(part["images"] for part in parts)
    neurons = {layer.name: layer.size for layer in network}
    spikes = {name: sum(part["messages"][name] for part in parts) / images for name in neurons}
    return Curve(
        accuracy=np.sum([part["correct"] for part in parts], axis=0) / images,
        images=images,
        rates={name: spikes[name] / neurons[name] / steps for name in neurons if network[name].neurons.reset != "none"},
        spikes=sum(spikes.values()),
        operations=sum(part["operations"] for part in parts) / images,
        saturated=sum(part["saturated"] for part in parts),
    )


@dataclass(frozen=True, eq=False)
class _Block:
    network: SpikingNetwork
    images: np.ndarray
    labels: np.ndarray
    steps: int
    seed: int

    def __call__(self) -> dict[str, Any]:
        result = rmp_lava.run(self.network, self.images, self.steps, seed=self.seed)
        return {
            "images": len(self.images),
            "correct": (result.predictions_at == self.labels[:, None]).sum(axis=0).tolist(),
            "messages": {name: count for name, count in result.spike_counts.items() if name != INPUT},
            "operations": int(sum(operations.sum() for operations in result.synaptic_operations.values())),
            "saturated": int(sum(result.saturations.values())),
            "execution": result.execution,
        }
