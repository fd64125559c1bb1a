"""Curves: accuracy against T, and what conversions reach against what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from ..choices import Cost, check_choice
from ..errors import UsageError
from ..results import Run
from ..scores import Score
from ..words import label, percent, quantity, wilson
from .style import INK, LINES, MUTED, RULE, TERMS, WIDE, drawing, figure_of, note, note_on, plain, width_of

if TYPE_CHECKING:
    from ..conversion.frontier import Frontier
    from ..conversion.points import Point
    from ..hardware import Estimate

_LOG_FROM = 32
_MOST_NOTES = 128
_MARKERS = ("o", "s", "^", "D", "v", "P")


def accuracy(
    result: Run | Mapping[str, Run],
    labels: np.ndarray | None = None,
    *,
    trained: Score | float | None = None,
    ax: Axes | None = None,
    width: float = WIDE,
) -> Figure:
    """Accuracy against T, with its 95 % interval (Wilson, 1927).

    Parameters
    ----------
    result : Run, or mapping of str to Run
        On backend `fast`; several runs on the same images get a curve each.
    labels : numpy.ndarray or None
        (samples,). Without them: how many predictions equal those after the last step.
    trained : Score, float or None
        Accuracy of the trained network, drawn as a line.
    ax, width
        As all plots take them, see `rmp_lava.plot`.

    Raises
    ------
    DataError
        If a run has no predictions over time, or the labels do not fit.
    """
    runs = {"": result} if isinstance(result, Run) else dict(result)
    known = trained.accuracy if isinstance(trained, Score) else trained
    shares = {
        name: each.accuracy_at(each.predictions if labels is None else np.asarray(labels))
        for name, each in runs.items()
    }
    longest = max(map(len, shares.values()))
    with drawing():
        right = 0.55 if len(runs) == 1 else 0.65 + 0.07 * max(len(label(name, 14)) for name in runs)
        axes = plain(ax, width_of(ax, width), 2.6, (0.5, right, 0.42, 0.12))
        lowest, top, ends = 1.0, 0.0, []
        for i, (name, share) in enumerate(shares.items()):
            low, high = np.array([wilson(value, runs[name].samples) for value in share]).T
            steps, colour = np.arange(1, len(share) + 1), TERMS[i % len(TERMS)]
            axes.fill_between(steps, 100 * low, 100 * high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(
                steps,
                100 * share,
                color=colour,
                linewidth=1.5,
                linestyle=LINES[i % len(LINES)],
                marker=_MARKERS[i % len(_MARKERS)] if len(share) <= _LOG_FROM else None,
                markersize=3,
            )
            lowest, top = min(lowest, low.min()), max(top, high.max())
            ends.append((len(share), 100 * share[-1], f"{label(name, 14)} {percent(share[-1])}".strip(), colour))
        top = max(top, known or 0.0)
        bottom = 10 * max(0, math.floor(10 * lowest - 0.5))
        axes.set_ylim(bottom, 100 * top + 0.06 * (100 * top - bottom))
        _name_ends(axes, ends, single=len(runs) == 1)
        over_time(axes, longest, "agreement (%)" if labels is None else "accuracy (%)", known)
        _note_steps(axes, shares, known, "agree" if labels is None else "correct")
        return figure_of(axes)


def _name_ends(axes: Axes, ends: list[tuple[int, float, str, str]], *, single: bool) -> None:
    """What each curve reaches, right of all of them; moved apart where they meet."""
    low, high = axes.get_ylim()
    apart = 0.07 * (high - low)
    place, last = math.inf, max(step for step, *_ in ends)
    for _, value, text, colour in sorted(ends, key=lambda end: -end[1]):
        place = min(value, place - apart)
        axes.annotate(
            text,
            (last, value),
            xytext=(5, 0) if single else (5, 150 * (place - value) / (high - low)),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            color=INK if single else colour,
        )


def _note_steps(axes: Axes, shares: Mapping[str, np.ndarray], trained: float | None, what: str) -> None:
    """Columns that cannot be seen, with the values of a step."""
    longest = max(map(len, shares.values()))
    for step in np.unique(np.linspace(1, longest, min(longest, _MOST_NOTES)).round().astype(int)):
        texts = [
            f"{label(name, 40)} {percent(share[step - 1], 2)} {what}".strip()
            for name, share in shares.items()
            if step <= len(share)
        ]
        texts += [] if trained is None else [f"trained network {percent(trained, 2)}"]
        note_on(axes, f"T = {step}: {', '.join(texts)}", across=(step - 0.5, step + 0.5))


def over_time(axes: Axes, steps: int, what: str, trained: float | None) -> None:
    """Axes of time steps from 1, logarithmic if they are many, and of per cent; a line at the trained network's share."""
    if trained is not None:
        axes.axhline(100 * trained, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlabel("T, time steps")
    _levels(axes, what)
    if steps > _LOG_FROM:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{t:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(1, steps)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlim(min(0.7, steps - 1), steps + 0.15)


def _levels(axes: Axes, title: str) -> None:
    axes.set_ylabel(title)
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)


def frontier(
    found: Frontier | Sequence[Point],
    cost: Cost = "energy",
    *,
    estimates: Sequence[Estimate] | None = None,
    ax: Axes | None = None,
    width: float = WIDE,
) -> Figure:
    """What conversions for several (T, wait) reach, against their energy or latency.

    Filled marks are those that no other one beats in both; the line joins them.

    Parameters
    ----------
    found : Frontier or sequence of Point
        As `rmp_lava.conversion.frontier.frontier` returns it, or as a file of a network keeps it.
    cost : {"energy", "latency"}
        Without estimates, energy is synaptic operations per image, and latency is time steps.
    estimates : sequence of Estimate, optional
        Of each point: then estimated J and s, with their bounds.
    ax, width
        As all plots take them, see `rmp_lava.plot`.

    Raises
    ------
    UsageError
        If the cost is another, or there is not one estimate per point.
    """
    check_choice("cost", cost, Cost)
    points = found if isinstance(found, Sequence) else found.points
    if estimates is not None and len(estimates) != len(points):
        raise UsageError(
            f"there are {len(estimates)} estimates for {len(points)} points; give one for each, in their order"
        )
    costs, title, unit = _costs(points, cost, estimates)
    cheapest, middle, dearest = costs.T
    shown = _reached(points[0].score)
    heights = np.array([_height(p.score, shown) for p in points])
    best = _unbeaten(middle, -heights if shown == "error" else heights)
    with drawing():
        axes = plain(ax, width_of(ax, width), 3.0, (0.55, 0.25, 0.45, 0.2))
        if estimates is not None:
            axes.hlines(heights, cheapest, dearest, color=MUTED, linewidth=0.8, alpha=0.6)
        joined = sorted(zip(middle[best], heights[best], strict=True))
        axes.plot(*zip(*joined, strict=True), color=TERMS[2], linewidth=1, zorder=1)
        waits = sorted({p.wait for p in points})
        styles = {wait: (TERMS[i % len(TERMS)], _MARKERS[i % len(_MARKERS)]) for i, wait in enumerate(waits)}
        for point, x, y, filled in zip(points, middle, heights, best, strict=True):
            colour, marker = styles[point.wait]
            face = colour if filled else "none"
            (mark,) = axes.plot(x, y, marker, color=colour, markerfacecolor=face, markersize=6)
            value = quantity(x, unit) if estimates is not None else f"{x:,.0f}{unit}"
            note(mark, f"T = {point.steps}, wait = {point.wait}: {point.score}; {value}")
            axes.annotate(f"{point.steps}", (x, y), xytext=(0, 5), textcoords="offset points", ha="center")
        for wait, (colour, marker) in styles.items():
            axes.plot([], [], marker, color=colour, markersize=5, label=f"wait = {wait}")
        axes.legend(fontsize=7.5, title="number: T", title_fontsize=7.5)
        low, high = costs.min(), costs.max()
        if low > 0 and high / low > 4:
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _tick(x, unit if estimates is not None else "")))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        axes.margins(0.08, 0.15)
        axes.set_xlabel(title)
        _levels(axes, {"error": "error (%)", "mean_iou": "mean IoU (%)"}.get(shown, "accuracy (%)"))
        return figure_of(axes)


def _costs(points: Sequence[Point], cost: Cost, estimates: Sequence[Estimate] | None) -> tuple[np.ndarray, str, str]:
    """(points, 3) costs with their bounds: low, value, high; what they are, and their unit."""
    is_energy = cost == "energy"
    if estimates is None:
        costs = np.array([[p.synaptic_operations if is_energy else p.latency] * 3 for p in points], float)
        return (costs, "synaptic operations per image", "") if is_energy else (costs, "latency, time steps", " steps")
    between = [e.dynamic_between if is_energy else e.step * e.latency for e in estimates]
    costs = np.array([[each.low, each.value, each.high] for each in between])
    return (costs, "dynamic energy per image, estimated", "J") if is_energy else (costs, "latency, estimated", "s")


def _unbeaten(costs: np.ndarray, merits: np.ndarray) -> np.ndarray:
    """Whether no other point is as good in both, and better in one (the Pareto front); bool (points,)."""
    as_good = (costs[:, None] <= costs) & (merits[:, None] >= merits)
    better = (costs[:, None] < costs) | (merits[:, None] > merits)
    return np.asarray(~(as_good & better).any(axis=0))


def _tick(value: float, unit: str) -> str:
    number, _, rest = quantity(value, unit).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {rest}".strip()


def _reached(score: Score) -> str:
    """The figure of a score that stands for it."""
    return next((name for name in ("mean_iou", "accuracy", "error") if getattr(score, name) is not None), "accuracy")


def _height(score: Score, shown: str) -> float:
    value = getattr(score, shown)
    return math.nan if value is None else 100 * value
