"""Bars of the estimated energy of an inference, by coefficient and by layer."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from ...hardware import Estimate
from ..words import label, percent, quantity
from .style import TERMS, canvas

NAMES = {
    "synaptic_operation": "synaptic operations",
    "neuron_update": "neuron updates",
    "message": "messages",
    "active_power": "active power",
    "static_power": "static power",
}
_COLOURS = dict(zip(NAMES, TERMS, strict=False))
_ROW, _LINE = 0.2, 0.17
"""Inches per layer, and per line of the legend."""


def energy_bars(estimate: Estimate, wide: bool) -> Figure:
    """One bar of the whole energy, and one bar per layer of the energy that depends on its activity."""
    parts = {key: value for key, value in estimate.parts.items() if value > 0}
    layers = estimate.layers
    in_line = 3 if wide else 1
    legend = math.ceil(len(parts) / in_line) * _LINE
    height = 0.24 + 0.3 + 0.06 + legend + 0.42 + _ROW * len(layers) + 0.08
    figure = canvas(wide, height)
    width = figure.get_figwidth()
    figure.text(0.02 / width, 1 - 0.13 / height, "energy of one inference, estimated", va="center")
    whole = figure.add_axes((0.02 / width, 1 - 0.54 / height, 1 - 0.04 / width, 0.28 / height))
    whole.set_axis_off()
    start, every = 0.0, sum(parts.values()) or 1.0
    for i, (key, value) in enumerate(parts.items()):
        whole.barh(0, value / every, left=start, height=1, color=_COLOURS[key])
        start += value / every
        x, y = (0.02 + i % in_line * width / in_line) / width, 0.62 + (i // in_line + 0.5) * _LINE
        figure.text(x, 1 - y / height, "■", color=_COLOURS[key], va="center", fontsize=8)
        text = f"{NAMES[key]}  {quantity(value, 'J')}  ({percent(value / every)})"
        figure.text(x + 0.16 / width, 1 - y / height, text, va="center", fontsize=7.5)
    whole.set_xlim(0, 1)
    names = [label(layer.name, 16) for layer in layers]
    left = 0.12 + 0.075 * max(len(name) for name in names)
    top = 0.6 + legend + 0.42
    axes = figure.add_axes((left / width, 0.06 / height, 1 - (left + 0.1) / width, _ROW * len(layers) / height))
    figure.text(
        0.02 / width, 1 - (top - 0.12) / height, "of which by layer, without power that is always drawn", va="center"
    )
    rows, ends = np.arange(len(layers)), np.zeros(len(layers))
    for key in ("synaptic_operation", "neuron_update", "message"):
        lengths = np.array([layer.parts.get(key, 0.0) for layer in layers])
        axes.barh(rows, lengths, left=ends, height=0.68, color=_COLOURS[key])
        ends += lengths
    for row, end in zip(rows, ends, strict=True):
        axes.annotate(
            quantity(float(end), "J"), (end, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7
        )
    axes.set_xlim(0, 1.16 * ends.max() if wide else 1.3 * ends.max())
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_yticks(rows, names)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0)
    return figure
