"""Few time steps with neurons that wait: accuracy and cost of an inference for each T and wait, untuned and tuned.

Untuned networks are converted for each T and wait; a tuned network runs as it is with all of them. With wait = T the simulator
computes whole windows, so these run on all test images; the others on the first ones, on which all are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import rmp_lava
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.fidelity import clipped as with_clipping
from rmp_lava.conversion.outputs import trained_outputs
from rmp_lava.study.job import Job
from rmp_lava.study.jobs import conversion, shown, with_wait
from rmp_lava.study.store import NET
from rmp_lava.study.study import WHOLE
from rmp_lava.study.sweep import Row

from .lab import BLOCK, Lab, Trained

WAITS = (0, 1, 2)
"""As well as T."""
UNTUNED = "untuned"
FORMS = ("clipped", "float", "integer")
"""Of an untuned network. Clipped: the trained network with activations that are cut off where a rate is 1, for wait = T only."""
PROFILE = "loihi2"
_RANGE = ("first", "images", "test", "preparation")


def measure_waiting(
    lab: Lab,
    trained: Trained,
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
    names = {path.name: f"tuned for {rmp_lava.load(path).balanced_steps} steps" for path in tuned}
    common = {"form": ("float", "integer"), "nets": tuned}
    whole = lab.rows(trained, "waiting for T", steps=sorted(steps), wait=WHOLE, **common)
    first = []
    for count in sorted(steps):
        some_waits = [*(wait for wait in sorted(waits) if wait < count), count]
        first += lab.rows(trained, f"waiting, T = {count}", images=some, steps=count, wait=some_waits, **common)
    of_first, of_all = lab.accuracy(trained, some), lab.accuracy(trained)
    rows: list[dict[str, Any]] = []

    def add(name: str, form: str, row: Row, before: float, **found: Any) -> None:
        on = {"steps": row.steps, "wait": row.axes["wait"], "images": row.images}
        trained_on_them = of_all if row.axes["wait"] == row.steps else of_first
        rows.append(
            {"conversion": name, "form": form, **on, "trained": trained_on_them, "lost": of_first - before} | found
        )
        on_row(rows[-1])

    for early in first:
        count, wait = early.steps, early.axes["wait"]
        row = next(each for each in whole if _same(each, early)) if wait == count else early
        form = row.axes.get("form", "integer")
        if wait == count and form == "float":
            accuracies = _clipped(lab, trained, count, some)
            add(UNTUNED, "clipped", row, accuracies.pop("first"), **accuracies)
        found = {"accuracy": float(row.mean[-1]), "spikes": row.spikes, "operations": row.operations}
        found |= _cost(lab, trained, row, tuned) if form == "integer" else {}
        add(names.get(row.network, UNTUNED), form, row, float(early.mean[-1]), **found)
    return rows


def _same(one: Row, other: Row) -> bool:
    return (one.network, one.axes) == (other.network, other.axes)


def _clipped(lab: Lab, trained: Trained, steps: int, some: int) -> dict[str, float]:
    """Accuracy of the trained network with activations cut off where a rate is 1, on all images and on the first ones."""
    plan = lab.plan(trained, steps=steps, wait=WHOLE, form="float")
    made = plan.network(plan.points[0])
    parts = plan.trained(trained.name)
    jobs = [Job(clipped, made.settings | part.settings, part.places, part.about, part.units) for part in parts]
    right = [result["correct"] for result in lab.each(jobs)]
    counts = [part.settings["images"] for part in parts]
    first = sum(part.settings["first"] < some for part in parts)
    return {"accuracy": sum(right) / sum(counts), "first": sum(right[:first]) / sum(counts[:first])}


def clipped(settings: Mapping[str, Any], places: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A job: images of a range that the clipped network classifies correctly."""
    made = conversion({name: value for name, value in settings.items() if name not in _RANGE}, places)
    images, labels = shown(settings, places)
    outputs = trained_outputs(AnalogNetwork(with_clipping(made.analog, made.floating)), images)
    return {"correct": int((outputs.argmax(axis=1) == labels).sum())}


def _cost(lab: Lab, trained: Trained, row: Row, tuned: Sequence[Path]) -> dict[str, Any]:
    """Energy and latency of an inference of integers, estimated from the first images."""
    nets = [path for path in tuned if path.name == row.network]
    plan = lab.plan(trained, images=BLOCK, nets=nets, only_nets=bool(nets), steps=row.steps, wait=row.axes["wait"])
    (point,) = plan.points
    made, net = plan.net(point) or lab.made(plan.network(point))
    (simulation,) = plan.simulations(point, made, net)
    job = replace(simulation, function=energy, settings=simulation.settings | {"profile": PROFILE})
    return lab.each([job])[0]


def energy(settings: Mapping[str, Any], places: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A job: "energy" in J per inference (low, value, high), and "latency" in time steps."""
    network = with_wait(rmp_lava.load(places[NET]), settings.get("wait"))
    images, _ = shown(settings, places)
    found = rmp_lava.estimate(network, rmp_lava.run(network, images, settings["steps"]), settings["profile"])
    return {"energy": found.dynamic_between.summary(), "latency": found.latency}
