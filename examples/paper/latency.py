"""Few time steps: this package's low-latency conversion in each encoding, tuned networks, and the paper's recipe.

Each number of time steps gets its own conversion; calibration uses training images only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rmp_lava
from rmp_lava.files import sha256_of

from .curves import Curve, simulate
from .dataset import Images, Trained
from .store import Store

CONVERSIONS = {
    "current": {"encoding": "current"},
    "current-searched": {"encoding": "current", "search": "outputs"},
    "rate": {"encoding": "rate"},
    "poisson": {"encoding": "poisson"},
    "paper's recipe": {"method": "paper"},
}
"""Name -> options of `convert`; all but the last use the low-latency method."""
SEEDS = (0, 1, 2)
"""Seeds of the Poisson spikes over which mean and spread are computed."""


def measure_latency(
    store: Store,
    trained: Trained,
    data: Images,
    steps: Sequence[int],
    *,
    conversions: Sequence[str] = tuple(CONVERSIONS),
    tuned: Sequence[Path] = (),
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """One row for each conversion and number of time steps.

    `tuned` are .net files of `rmp-lava tune`, which run with their own T and with each larger one of `steps`; `on_row` is
    called with each row as soon as it is measured.

    Returns
    -------
    list of dict
        "conversion", "steps", "accuracy", "spread" (standard deviation over seeds, None for one), "seeds", "spikes",
        "operations".
    """
    rows: list[dict[str, Any]] = []

    def add(name: str, count: int, curves: list[Curve]) -> None:
        rows.append(_row(name, count, curves))
        on_row(rows[-1])

    for path in tuned:
        network = rmp_lava.load(path)
        own = network.balanced_steps
        for count in sorted({own, *(count for count in steps if count > own)}):
            key = f"{trained.name}/latency/{path.stem}-{count}"
            curve = simulate(store, key, network, data, count, {"net": sha256_of(path)})
            add(f"tuned for {own} steps", count, [curve])
    for count in steps:
        for name in conversions:
            key = f"{trained.name}/latency/{name.replace(' ', '-').replace(',', '')}-{count}"
            network, identity = store.network(
                f"{key}/network",
                trained.identity | data.calibrated | {"options": CONVERSIONS[name], "steps": count},
                lambda name=name, count=count: _convert(trained, data, CONVERSIONS[name], count),
            )
            seeds = SEEDS if network.input.encoding == "poisson" else SEEDS[:1]
            curves = [
                simulate(store, f"{key}/seed-{seed}", network, data, count, identity, seed=seed) for seed in seeds
            ]
            add(name, count, curves)
    return rows


def _convert(trained: Trained, data: Images, options: dict[str, Any], steps: int) -> rmp_lava.SpikingNetwork:
    return rmp_lava.convert(
        trained.model, data.calibration, steps=steps, name=trained.name, progress=True, **options
    ).integer


def _row(name: str, steps: int, curves: list[Curve]) -> dict[str, Any]:
    accuracies = [curve.at(steps) for curve in curves]
    return {
        "conversion": name,
        "steps": steps,
        "accuracy": float(np.mean(accuracies)),
        "spread": float(np.std(accuracies, ddof=1)) if len(curves) > 1 else None,
        "seeds": len(curves),
        "spikes": float(np.mean([curve.spikes for curve in curves])),
        "operations": float(np.mean([curve.operations for curve in curves])),
    }
