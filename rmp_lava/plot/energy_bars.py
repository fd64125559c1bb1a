"""Bars of the estimated energy of an inference, by coefficient and by layer."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..hardware.costs import ACTIVITIES
from ..hardware.energy import COEFFICIENTS, Estimate
from ..words import percent, quantity
from .bars import ROW, name_bars, names_width
from .style import PAPER, TERMS, WIDE, drawing, figure_of, is_wide, note, panel, sheet, width_of

_COLOURS = dict(zip(COEFFICIENTS, TERMS, strict=False))
_LINE = 0.17
"""Inches per line of the legend."""


def energy(estimate: Estimate, *, ax: Axes | None = None, width: float = WIDE) -> Figure:
    """One bar of the whole estimated energy of an inference, and one bar per layer of the part that its activity causes.

    Parameters
    ----------
    estimate : Estimate
        As `rmp_lava.estimate` returns it; what its profile does not know is not in the picture.
    ax, width
        As all plots take them, see `rmp_lava.plot`.
    """
    width = width_of(ax, width)
    wide = is_wide(width)
    parts = {key: value for key, value in estimate.parts.items() if value > 0}
    layers = estimate.layers
    in_line = 3 if wide else 1
    legend = math.ceil(len(parts) / in_line) * _LINE
    top = 0.6 + legend + 0.42
    with drawing():
        on = sheet(ax, width, top + ROW * len(layers) + 0.08)
        on.text(0.02, 0.13, "energy of one inference, estimated", va="center")
        whole = panel(on, 0.02, 0.26, width - 0.04, 0.28)
        whole.set_axis_off()
        whole.set_xlim(0, 1)
        start, every = 0.0, sum(parts.values()) or 1.0
        for i, (key, value) in enumerate(parts.items()):
            text = f"{COEFFICIENTS[key]}  {quantity(value, 'J')}  ({percent(value / every)})"
            (bar,) = whole.barh(
                0, value / every, left=start, height=1, color=_COLOURS[key], edgecolor=PAPER, linewidth=0.6
            )
            note(bar, text)
            start += value / every
            x, y = 0.02 + i % in_line * width / in_line, 0.62 + (i // in_line + 0.5) * _LINE
            on.text(x, y, "■", color=_COLOURS[key], va="center")
            on.text(x + 0.16, y, text, va="center", fontsize=7.5)
        names = [layer.name for layer in layers]
        left = names_width(names)
        axes = panel(on, left, top + 0.02, width - left - 0.1, ROW * len(layers))
        on.text(0.02, top - 0.12, "of which by layer, without constant power", va="center")
        ends = np.zeros(len(layers))
        for key in ACTIVITIES:
            lengths = np.array([layer.parts.get(key, 0.0) for layer in layers])
            bars = axes.barh(range(len(layers)), lengths, left=ends, height=0.68, color=_COLOURS[key])
            for bar, layer, length in zip(bars, layers, lengths, strict=True):
                if key in layer.parts:
                    note(bar, f"{layer.name}: {COEFFICIENTS[key]} {quantity(float(length), 'J')}")
            ends += lengths
        axes.bar_label(bars, [quantity(float(end), "J") for end in ends], padding=3, fontsize=7)
        axes.set_xlim(0, (1.16 if wide else 1.3) * ends.max() or 1)
        name_bars(axes, names)
        return figure_of(axes)
