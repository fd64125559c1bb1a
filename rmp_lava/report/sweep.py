"""What a study has measured: as a table, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ..study.sweep import Row, varied
from ..tables import Table, table
from ..words import count


def sweep_table(name: str, rows: Sequence[Row], at: Sequence[int] = ()) -> Table:
    """One row for each combination but seeds: mean accuracy ± standard deviation, its change from the trained network's, costs.

    `at` are the time steps at which accuracies are shown; empty: the last one of each.
    """
    axes = varied(rows)
    columns = [*axes, *(f"T = {t}" for t in at)] if at else [*axes, "accuracy"]
    columns += ["change", "seeds", "images", "spikes", "operations"]
    lines = []
    for row in rows:
        shown = [_accuracy(row, t) for t in at or (row.steps,)]
        last = [t for t in at if t <= row.steps][-1:] or [row.steps]
        lost = None if row.trained is None else 100 * (row.mean[last[0] - 1] - row.trained)
        lines.append(
            [row.value(axis) for axis in axes]
            + shown
            + ["–" if lost is None else f"{lost:+.2f}", len(row.accuracy), f"{row.images:,}"]
            + [count(row.spikes), count(row.operations)]
        )
    return table(
        f"Study {name}: accuracy in per cent, mean ± standard deviation over seeds, and costs per image",
        columns,
        lines,
        text_columns=len(axes),
    )


def sweep_csv(rows: Sequence[Row]) -> str:
    """A line for each combination and time step t = 1 .. T: mean, standard deviation (empty for one seed), costs of T steps."""
    axes = list(dict.fromkeys(axis for row in rows for axis in row.axes))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["network", *axes, "t", "accuracy", "spread", "seeds", "trained", "images", "spikes", "operations", "saturated"]
    )
    for row in rows:
        spread = row.spread
        for t in range(1, row.steps + 1):
            writer.writerow(
                [row.network, *(row.axes.get(axis, "") for axis in axes), t, row.mean[t - 1]]
                + [
                    "" if spread is None else spread[t - 1],
                    len(row.accuracy),
                    "" if row.trained is None else row.trained,
                ]
                + [row.images, row.spikes, row.operations, row.saturated]
            )
    return text.getvalue()


def _accuracy(row: Row, t: int) -> str:
    if t > row.steps:
        return "–"
    spread = row.spread
    return f"{100 * row.mean[t - 1]:.2f}" + ("" if spread is None else f" ± {100 * spread[t - 1]:.2f}")
