"""Firing rates against the trained activations that they represent: a histogram per layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from ..errors import UsageError
from ..words import label, percent
from .core_map import boxes
from .style import MUTED, WIDE, drawing, dressed, figure_of, is_wide, note_on, palette, panel, sheet, width_of

if TYPE_CHECKING:
    from ..conversion.rates import LayerRates, Rates

_CELLS = 32
_SHADES = (0.25, 0.5, 0.75, 1.0)


def rates(found: Rates, layer: str | None = None, *, ax: Axes | None = None, width: float = WIDE) -> Figure:
    """Spikes per step against the activations that they represent, and their correlation over all neurons.

    Stronger cells hold more pairs of neuron and image, on a logarithmic scale. Activations above 1, which no rate represents, are
    at the right edge.

    Parameters
    ----------
    found : Rates
        As `rmp_lava.compare_rates` returns it.
    layer : str, optional
        Only this layer; a panel for each if omitted.
    ax, width
        As all plots take them, see `rmp_lava.plot`.

    Raises
    ------
    UsageError
        If nothing was compared, or there is no such layer.
    """
    if found.missing:
        raise UsageError(f"there are no rates to draw: {found.missing}")
    names = [each.layer.name for each in found.layers]
    if layer is not None and layer not in names:
        raise UsageError(f"layer is {layer!r}; choose one of {', '.join(names)}")
    shown = [each for each in found.layers if layer is None or each.layer.name == layer]
    colours, width = palette(names).layers, width_of(ax, width)
    most, fewest = (5, 4) if is_wide(width) else (2, 2)
    columns = min(len(shown), most)
    rows = math.ceil(len(shown) / columns)
    side = (width - 0.35) / max(columns, fewest)
    height = rows * (side + 0.14) + 0.2
    with drawing():
        if layer is not None and ax is not None:
            _cloud(dressed(ax), shown[0], colours[layer])
            ax.set_xlabel("activation")
            ax.set_ylabel("rate")
            return figure_of(ax)
        on = sheet(ax, width, height)
        for i, each in enumerate(shown):
            row, column = divmod(i, columns)
            axes = panel(on, 0.42 + column * side, 0.22 + row * (side + 0.14), side - 0.25, side - 0.25)
            _cloud(axes, each, colours[each.layer.name])
            if column:
                axes.tick_params(labelleft=each.integrates)
        on.text(0.42, height - 0.02, "activation", va="bottom")
        on.text(0, 0.2, "rate", va="top", rotation=90)
        return figure_of(on)


def histogram(each: LayerRates) -> tuple[np.ndarray, np.ndarray]:
    """(cells, cells) pairs of neuron and image, activations along the first axis, and the (cells + 1,) edges of both axes."""
    pairs, activations = each.rates.ravel(), each.activations.ravel()
    if each.integrates:
        low, high = min(pairs.min(), activations.min(), 0), max(pairs.max(), activations.max(), 1e-9)
        margin = 0.04 * (high - low)
        limits = (low - margin, high + margin)
    else:
        limits = (-0.04, 1.08)
        activations = np.minimum(activations, 1.06)
    edges = np.linspace(*limits, _CELLS + 1)
    return np.histogram2d(activations, pairs, bins=(edges, edges))[0].astype(int), edges


def _cloud(axes: Axes, each: LayerRates, colour: str) -> None:
    cells, edges = histogram(each)
    shade = np.zeros(cells.shape, int)
    filled = cells > 0
    if filled.any():
        levels = np.log(cells[filled]) / max(np.log(cells.max()), 1e-9)
        shade[filled] = 1 + np.minimum((levels * len(_SHADES)).astype(int), len(_SHADES) - 1)
    step, limits = edges[1] - edges[0], (edges[0], edges[-1])
    for level, opacity in enumerate(_SHADES, 1):
        x, y = np.nonzero(shade == level)
        if len(x):
            corners = np.stack([edges[x], edges[y]], axis=1)
            axes.add_patch(PathPatch(boxes(corners, step, step), color=colour, alpha=opacity, lw=0))
    axes.plot(limits, limits, color=MUTED, linewidth=0.6)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    found = each.fidelity
    known = "–" if found.correlation is None else f"{found.correlation:.3f}"
    axes.set_title(label(each.layer.name, 13), loc="left", pad=3, fontsize=7.5)
    axes.set_title(known, loc="right", pad=3, fontsize=7.5, color=MUTED)
    text = f"{label(each.layer.name, 80)}: correlation {known}, error {percent(found.error)}"
    text += "" if found.silent is None else f", silent {percent(found.silent)}"
    note_on(axes, text, across=limits)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3) if each.integrates else FixedLocator((0, 0.5, 1)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.tick_params(labelsize=6.5, pad=1.5, length=2)
