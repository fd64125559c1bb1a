"""Few time steps: this package's low-latency conversion in each encoding, tuned networks, and the paper's recipe.

Each number of time steps gets its own conversion; calibration uses training images only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rmp_lava
from rmp_lava.study.sweep import Row

from .lab import Lab, Trained

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
    lab: Lab,
    trained: Trained,
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

    def add(name: str, found: list[Row]) -> None:
        for row in found:
            rows.append(_row(name, row))
            on_row(rows[-1])

    for path in tuned:
        own = rmp_lava.load(path).balanced_steps
        counts = sorted({own, *(count for count in steps if count > own)})
        name = f"tuned for {own} steps"
        add(name, lab.rows(trained, name, nets=[path], only_nets=True, steps=counts))
    for count in steps:
        for name in conversions:
            add(name, lab.rows(trained, name, steps=count, seed=SEEDS, **CONVERSIONS[name]))
    return rows


def _row(name: str, row: Row) -> dict[str, Any]:
    return {
        "conversion": name,
        "steps": row.steps,
        "accuracy": float(row.mean[-1]),
        "spread": None if row.spread is None else float(row.spread[-1]),
        "seeds": len(row.accuracy),
        "spikes": row.spikes,
        "operations": row.operations,
    }
