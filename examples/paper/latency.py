"""Few time steps: this package's low-latency conversion and tuned networks, in each encoding, beside the paper's recipe.

Each number of steps gets a conversion of its own; calibration sees training images only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rmp_lava
from rmp_lava.files import sha256_of

from .curves import Curve, simulate
from .material import Material, Trained
from .store import Store

WAYS = {
    "current": {"encoding": "current"},
    "current-searched": {"encoding": "current", "search": "outputs"},
    "rate": {"encoding": "rate"},
    "poisson": {"encoding": "poisson"},
    "paper's recipe": {"method": "paper"},
}
"""By name; low latency but for the last."""
SEEDS = (0, 1, 2)
"""Of Poisson spikes, over which mean and spread are taken."""


def measure_latency(
    store: Store,
    trained: Trained,
    material: Material,
    steps: Sequence[int],
    *,
    ways: Sequence[str] = tuple(WAYS),
    tuned: Sequence[Path] = (),
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """One row for each way and number of steps: accuracy, its spread over seeds where there are any, spikes.

    `tuned` are .net files that `rmp-lava tune` has written, run at their own T and at those of `steps` beyond it; `on_row`
    sees each row as soon as it is there.

    Returns
    -------
    list of dict
        "way", "steps", "accuracy", "spread" (standard deviation over seeds, None for one), "seeds", "spikes", "operations".
    """
    rows: list[dict[str, Any]] = []

    def add(way: str, count: int, curves: list[Curve]) -> None:
        rows.append(_row(way, count, curves))
        on_row(rows[-1])

    for path in tuned:
        network = rmp_lava.load(path)
        own = network.balanced_steps
        for count in sorted({own, *(count for count in steps if count > own)}):
            key = f"{trained.name}/latency/{path.stem}-{count}"
            curve = simulate(store, key, network, material, count, {"net": sha256_of(path)})
            add(f"tuned for {own} steps", count, [curve])
    for count in steps:
        for way in ways:
            key = f"{trained.name}/latency/{way.replace(' ', '-').replace(',', '')}-{count}"
            network, identity = store.network(
                f"{key}/network",
                trained.identity | material.calibrated | {"options": WAYS[way], "steps": count},
                lambda way=way, count=count: _convert(trained, material, WAYS[way], count),
            )
            seeds = SEEDS if network.input.encoding == "poisson" else SEEDS[:1]
            curves = [
                simulate(store, f"{key}/seed-{seed}", network, material, count, identity, seed=seed) for seed in seeds
            ]
            add(way, count, curves)
    return rows


def _convert(trained: Trained, material: Material, options: dict[str, Any], steps: int) -> rmp_lava.SpikingNetwork:
    return rmp_lava.convert(
        trained.model, material.calibration, steps=steps, name=trained.name, progress=True, **options
    ).integer


def _row(way: str, steps: int, curves: list[Curve]) -> dict[str, Any]:
    accuracies = [curve.at(steps) for curve in curves]
    return {
        "way": way,
        "steps": steps,
        "accuracy": float(np.mean(accuracies)),
        "spread": float(np.std(accuracies, ddof=1)) if len(curves) > 1 else None,
        "seeds": len(curves),
        "spikes": float(np.mean([curve.spikes for curve in curves])),
        "operations": float(np.mean([curve.operations for curve in curves])),
    }
