"""Few time steps with neurons that wait: accuracy and cost of an inference for each T and wait, untuned and tuned.

Untuned networks are converted for each T and wait; a tuned network runs as it is with all of them. With wait = T the simulator
computes whole windows, so these run on all test images; the others on the first ones, on which all are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import rmp_lava
from rmp_lava import Conversion, SpikingNetwork
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.fidelity import clipped
from rmp_lava.files import sha256_of
from rmp_lava.training.loop import evaluate

from .curves import BLOCK, simulate
from .dataset import Images, Trained, trained_accuracy
from .store import Store

WAITS = (0, 1, 2)
"""As well as T."""
UNTUNED = "untuned"
FORMS = ("clipped", "float", "integer")
"""Of an untuned network. Clipped: the trained network with activations that are cut off where a rate is 1, for wait = T only."""
PROFILE = "loihi2"


def measure_waiting(
    store: Store,
    trained: Trained,
    data: Images,
    steps: Sequence[int],
    *,
    waits: Sequence[int] = WAITS,
    some: int,
    tuned: Sequence[Path] = (),
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """One row for each network, T and wait; `some` is the number of test images where wait is not T, a multiple of `BLOCK`.

    Returns
    -------
    list of dict
        "conversion", "form", "steps", "wait", "images", "accuracy", "trained" (accuracy on the same images), and "lost"
        (the difference on the first `some` images). With spikes also "spikes" and "operations" per image, and of integers
        "latency" in time steps and "energy" in J per inference (low, value, high).
    """
    rows: list[dict[str, Any]] = []
    first = data.first(some)

    def add(name: str, form: str, cell: _Cell, found: dict[str, Any]) -> None:
        on = {"steps": cell.steps, "wait": cell.wait, "images": len(cell.images.test)}
        accuracies = {
            "trained": _trained(store, trained, cell.images),
            "lost": _trained(store, trained, first) - found.pop("first"),
        }
        rows.append({"conversion": name, "form": form, **on, **accuracies, **found})
        on_row(rows[-1])

    for count in sorted(steps):
        for wait in sorted({*(wait for wait in waits if wait < count), count}):
            cell = _Cell(store, trained, data if wait == count else first, first, count, wait)
            for form in FORMS:
                if form != "clipped" or wait == count:
                    add(UNTUNED, form, cell, cell.clipped() if form == "clipped" else cell.untuned(form))
            for path in tuned:
                network = rmp_lava.load(path)
                name, identity = f"tuned for {network.balanced_steps} steps", {"net": sha256_of(path), "wait": wait}
                network = network.replace(wait=wait, balanced_steps=count)
                add(name, "integer", cell, cell.simulated(path.stem, network, identity))
    return rows


def _trained(store: Store, trained: Trained, images: Images) -> float:
    accuracy: float = trained_accuracy(store, trained, images)["accuracy"]
    return accuracy


@dataclass(frozen=True, eq=False)
class _Cell:
    """One T and wait, the images to measure it on, and the first of these."""

    store: Store
    trained: Trained
    images: Images
    first: Images
    steps: int
    wait: int

    @property
    def key(self) -> str:
        return f"{self.trained.name}/waiting/{self.steps}-{self.wait}"

    @cached_property
    def conversion(self) -> Conversion:
        model, images = self.trained.model, self.images.calibration
        return rmp_lava.convert(model, images, steps=self.steps, wait=self.wait, name=self.trained.name, progress=True)

    def network(self, form: str) -> tuple[SpikingNetwork, dict[str, Any]]:
        settings = self.trained.identity | self.images.calibrated | {"steps": self.steps, "wait": self.wait}
        networks = {"float": lambda: self.conversion.floating, "integer": lambda: self.conversion.integer}
        return self.store.network(f"{self.key}/{form}/network", settings, networks[form])

    def untuned(self, form: str) -> dict[str, Any]:
        return self.simulated(form, *self.network(form))

    def clipped(self) -> dict[str, Any]:
        """Accuracy of the trained network with activations that are cut off where a rate is 1."""

        def measure() -> dict[str, Any]:
            network = AnalogNetwork(clipped(self.conversion.analog, self.conversion.floating))
            parts = {"accuracy": self.images, "first": self.first}
            return {name: evaluate(network, some.test, some.labels) for name, some in parts.items()}

        return self.store.once(
            f"{self.key}/clipped",
            self.network("float")[1] | self.images.identity | {"first": len(self.first.test)},
            measure,
        )

    def simulated(self, name: str, network: SpikingNetwork, identity: dict[str, Any]) -> dict[str, Any]:
        key, some = f"{self.key}/{name}", self.images.test[:BLOCK]
        curve, first = (
            simulate(self.store, key, network, images, self.steps, identity) for images in (self.images, self.first)
        )

        def measure() -> dict[str, Any]:
            found = rmp_lava.estimate(network, rmp_lava.run(network, some, self.steps), PROFILE)
            return {"energy": found.dynamic_between.summary(), "latency": found.latency}

        settings = identity | self.images.identity | {"steps": self.steps, "profile": PROFILE, "some": len(some)}
        cost = self.store.once(f"{key}/energy", settings, measure) if network.is_integer else {}
        accuracies = {"accuracy": curve.at(self.steps), "first": first.at(self.steps)}
        return accuracies | {"spikes": curve.spikes, "operations": curve.operations} | cost
