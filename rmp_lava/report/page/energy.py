"""Bars of the estimated energy of an inference, by coefficient and by layer."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from ...hardware.costs import ACTIVITIES
from ...hardware.energy import COEFFICIENTS, Estimate
from ..words import percent, quantity
from .plots import ROW, name_bars, names_width
from .style import TERMS, panel, ruled_canvas

_COLOURS = dict(zip(COEFFICIENTS, TERMS, strict=False))
_LINE = 0.17
"""Inches per line of the legend."""


def energy_bars(estimate: Estimate, wide: bool) -> Figure:
    """One bar of the whole energy, and one bar per layer of the energy that depends on its activity."""
    parts = {key: value for key, value in estimate.parts.items() if value > 0}
    layers = estimate.layers
    in_line = 3 if wide else 1
    legend = math.ceil(len(parts) / in_line) * _LINE
    height = 0.24 + 0.3 + 0.06 + legend + 0.42 + ROW * len(layers) + 0.08
    figure, sheet = ruled_canvas(wide, height)
    width = figure.get_figwidth()
    sheet.text(0.02, 0.13, "energy of one inference, estimated", va="center")
    whole = panel(figure, 0.02, 0.26, width - 0.04, 0.28)
    whole.set_axis_off()
    whole.set_xlim(0, 1)
    start, every = 0.0, sum(parts.values()) or 1.0
    for i, (key, value) in enumerate(parts.items()):
        whole.barh(0, value / every, left=start, height=1, color=_COLOURS[key])
        start += value / every
        x, y = 0.02 + i % in_line * width / in_line, 0.62 + (i // in_line + 0.5) * _LINE
        sheet.text(x, y, "■", color=_COLOURS[key], va="center")
        text = f"{COEFFICIENTS[key]}  {quantity(value, 'J')}  ({percent(value / every)})"
        sheet.text(x + 0.16, y, text, va="center", fontsize=7.5)
    names, top = [layer.name for layer in layers], 0.6 + legend + 0.42
    left = names_width(names)
    axes = panel(figure, left, top + 0.02, width - left - 0.1, ROW * len(layers))
    sheet.text(0.02, top - 0.12, "of which by layer, without constant power", va="center")
    ends = np.zeros(len(layers))
    for key in ACTIVITIES:
        lengths = np.array([layer.parts.get(key, 0.0) for layer in layers])
        bars = axes.barh(range(len(layers)), lengths, left=ends, height=0.68, color=_COLOURS[key])
        ends += lengths
    axes.bar_label(bars, [quantity(float(end), "J") for end in ends], padding=3, fontsize=7)
    axes.set_xlim(0, 1.16 * ends.max() if wide else 1.3 * ends.max())
    name_bars(axes, names)
    return figure
