"""Plots of accuracy against T, activity per layer, and rates against activations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from ...network import SpikingNetwork
from ..words import digits, label, percent, quantity, wilson
from .cores import boxes
from .rates import LayerRates, Rates
from .style import MUTED, NARROW, TERMS, WIDE, Palette, canvas, panel, ruled_canvas

_LOG_FROM = 32
_CELLS = 32
_SHADES = (0.25, 0.5, 0.75, 1.0)
ROW = 0.2
"""Inches per bar of a layer."""


def accuracy_curve(share: np.ndarray, samples: int, trained: float | None, what: str, wide: bool) -> Figure:
    """Share of samples against T, with its 95 % interval.

    Parameters
    ----------
    share : numpy.ndarray
        (T,).
    trained : float or None
        Accuracy of the trained network, drawn as a line.
    """
    figure = canvas(wide, 2.6)
    axes = figure.subplots()
    steps = np.arange(1, len(share) + 1)
    low, high = np.array([wilson(value, samples) for value in share]).T
    axes.fill_between(steps, 100 * low, 100 * high, color=TERMS[0], alpha=0.18, linewidth=0)
    marker = "o" if len(share) <= _LOG_FROM else None
    axes.plot(steps, 100 * share, color=TERMS[0], linewidth=1.5, marker=marker, markersize=3)
    top = high.max()
    if trained is not None:
        axes.axhline(100 * trained, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        top = max(top, trained)
    last = (steps[-1], 100 * share[-1])
    axes.annotate(percent(share[-1]), last, (5, 0), textcoords="offset points", va="center", annotation_clip=False)
    bottom = 10 * max(0, math.floor(10 * low.min() - 0.5))
    axes.set_ylim(bottom, 100 * top + 0.06 * (100 * top - bottom))
    _time_axis(axes, len(share))
    axes.set_xlabel("T, time steps")
    axes.set_ylabel(f"{what} (%)")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    width = figure.get_figwidth()
    figure.subplots_adjust(left=0.5 / width, right=1 - 0.55 / width, bottom=0.17, top=0.97)
    return figure


def _time_axis(axes: Axes, steps: int) -> None:
    if steps > _LOG_FROM:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{t:g}"))
        axes.xaxis.set_minor_locator(MaxNLocator(1))
        axes.minorticks_off()
        axes.set_xlim(1, steps)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlim(min(0.7, steps - 1), steps + 0.15)


def activity_bars(
    network: SpikingNetwork, spikes: dict[str, float], operations: dict[str, float], palette: Palette, wide: bool
) -> Figure:
    """Two bars per layer: spikes per neuron, and synaptic operations, mean over the samples."""
    names = [layer.name for layer in network]
    height = 0.62 + ROW * len(names)
    figure = canvas(wide, height)
    panels = figure.subplots(1, 2, sharey=True)
    colours = [palette.layers[name] for name in names]
    for axes, values, what in zip(
        panels, (spikes, operations), ("spikes per neuron", "synaptic operations"), strict=True
    ):
        lengths = [values.get(name, 0.0) for name in names]
        written = [quantity(value, "") if value >= 1000 else digits(value) for value in lengths]
        bars = axes.barh(range(len(names)), lengths, height=0.68, color=colours)
        axes.bar_label(bars, written, padding=3, fontsize=7)
        axes.set_xlim(0, 1.28 * max(lengths) or 1)
        axes.set_title(what, loc="left")
        name_bars(axes, names)
    left = names_width(names) / figure.get_figwidth()
    figure.subplots_adjust(left=left, right=0.99, bottom=0.12 / height, top=1 - 0.3 / height, wspace=0.06)
    return figure


def name_bars(axes: Axes, names: Sequence[str]) -> None:
    """Names of layers at horizontal bars, the first at the top, without other marks on the axes."""
    axes.set_yticks(range(len(names)), [label(name, 16) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0)


def names_width(names: Sequence[str]) -> float:
    """Inches that the names at bars take."""
    return 0.12 + 0.075 * max(len(label(name, 16)) for name in names)


def rate_clouds(rates: Rates, palette: Palette, wide: bool) -> Figure:
    """One panel per layer: a histogram of rate against activation, and their correlation."""
    most, fewest = (5, 4) if wide else (2, 2)
    columns = min(len(rates.layers), most)
    rows = math.ceil(len(rates.layers) / columns)
    side = ((WIDE if wide else NARROW) - 0.35) / max(columns, fewest)
    height = rows * (side + 0.14) + 0.2
    figure, sheet = ruled_canvas(wide, height)
    for i, each in enumerate(rates.layers):
        row, column = divmod(i, columns)
        axes = panel(figure, 0.42 + column * side, 0.22 + row * (side + 0.14), side - 0.25, side - 0.25)
        _cloud(axes, each, palette.layers[each.layer.name])
        if column:
            axes.tick_params(labelleft=each.integrates)
    sheet.text(0.42, height - 0.02, "activation", va="bottom")
    sheet.text(0, 0.2, "rate", va="top", rotation=90)
    return figure


def _cloud(axes: Axes, each: LayerRates, colour: str) -> None:
    rates, activations = each.rates.ravel(), each.activations.ravel()
    if each.integrates:
        low, high = min(rates.min(), activations.min(), 0), max(rates.max(), activations.max(), 1e-9)
        margin = 0.04 * (high - low)
        limits = (low - margin, high + margin)
    else:
        limits = (-0.04, 1.08)
        activations = np.minimum(activations, 1.06)
    edges = np.linspace(*limits, _CELLS + 1)
    cells = np.histogram2d(activations, rates, bins=(edges, edges))[0]
    shade = np.zeros(cells.shape, int)
    filled = cells > 0
    if filled.any():
        levels = np.log(cells[filled]) / max(np.log(cells.max()), 1e-9)
        shade[filled] = 1 + np.minimum((levels * len(_SHADES)).astype(int), len(_SHADES) - 1)
    step = edges[1] - edges[0]
    for level, opacity in enumerate(_SHADES, 1):
        x, y = np.nonzero(shade == level)
        if len(x):
            axes.add_patch(
                PathPatch(boxes(np.stack([edges[x], edges[y]], axis=1), step, step), color=colour, alpha=opacity, lw=0)
            )
    axes.plot(limits, limits, color=MUTED, linewidth=0.6)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_title(label(each.layer.name, 13), loc="left", pad=3, fontsize=7.5)
    known = each.fidelity.correlation
    axes.set_title("–" if known is None else f"{known:.3f}", loc="right", pad=3, fontsize=7.5, color=MUTED)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3) if each.integrates else FixedLocator((0, 0.5, 1)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.tick_params(labelsize=6.5, pad=1.5, length=2)
