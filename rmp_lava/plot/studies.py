"""What a study has measured: accuracy against T, with mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import UsageError
from ..study.sweep import Row, varied
from ..words import label
from .curves import over_time
from .style import LINES, TERMS, WIDE, drawing, figure_of, plain, width_of

_MOST_LINES = 12


def study(rows: Sequence[Row], *, ax: Axes | None = None, width: float = WIDE) -> Figure:
    """Accuracy of one network's rows: over time or, where networks were converted for several T, at each T.

    Mean and standard deviation over seeds. The dashed line is the trained network's accuracy. At most twelve lines are drawn.

    Parameters
    ----------
    rows : sequence of Row
    ax, width
        As all plots take them, see `rmp_lava.plot`.

    Raises
    ------
    UsageError
        If there are no rows, or rows of several networks.
    """
    names = sorted({row.network for row in rows})
    if len(names) != 1:
        raise UsageError(f"a plot of a study shows the rows of one network, not of {names}; pass those of one")
    several = len({row.steps for row in rows}) > 1
    axes_of_rows = [axis for axis in varied(rows)[1:] if not (several and axis == "steps")]
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(", ".join(f"{axis} {row.value(axis)}" for axis in axes_of_rows) or names[0], []).append(row)
    with drawing():
        axes = plain(ax, width_of(ax, width), 3.4, (0.5, 0.12, 0.42, 0.3))
        for number, (text, own) in enumerate(list(lines.items())[:_MOST_LINES]):
            colour, line = TERMS[number % len(TERMS)], LINES[number // len(TERMS)]
            _line(axes, own, several, color=colour, linestyle=line, label=label(text, 60), linewidth=1.2)
        trained = next((row.trained for row in rows if row.trained is not None), None)
        over_time(axes, max(row.steps for row in rows), "accuracy (%)", trained)
        more = len(lines) - _MOST_LINES
        axes.set_title(names[0] + (f"; {more} more lines are not drawn" if more > 0 else ""), loc="left")
        axes.legend(fontsize=6.5)
        return figure_of(axes)


def _line(axes: Axes, rows: Sequence[Row], several: bool, **style: Any) -> None:
    if several:
        spreads = [0.0 if row.spread is None else 100 * row.spread[-1] for row in rows]
        last = [100 * row.mean[-1] for row in rows]
        axes.errorbar([row.steps for row in rows], last, yerr=spreads, marker="o", markersize=3, capsize=2, **style)
        return
    for row in rows:
        steps, mean, spread = range(1, row.steps + 1), 100 * row.mean, row.spread
        axes.plot(steps, mean, **style)
        if spread is not None:
            low, high = mean - 100 * spread, mean + 100 * spread
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.18, linewidth=0)
