"""Bars per layer: spikes and synaptic operations."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..network import SpikingNetwork
from ..results import Run
from ..words import digits, label, quantity
from .style import WIDE, drawing, figure_of, note, palette, panel, sheet, width_of

ROW = 0.2
"""Inches per bar of a layer."""


def activity(network: SpikingNetwork, result: Run, *, ax: Axes | None = None, width: float = WIDE) -> Figure:
    """Two bars per layer: spikes per neuron, and synaptic operations, per inference; means over the samples.

    Parameters
    ----------
    network : SpikingNetwork
        The network that ran.
    result : Run
        On any backend; what a board did not count has no bar.
    ax, width
        As all plots take them, see `rmp_lava.plot`.
    """
    width, names = width_of(ax, width), [layer.name for layer in network]
    with drawing():
        on = sheet(ax, width, 0.42 + ROW * len(names))
        left = names_width(names)
        each = (width - left - 0.05) / 2
        colours = palette(names).layers
        of = {
            "spikes per neuron": result.spikes_per_neuron(network),
            "synaptic operations": result.operations_per_sample,
        }
        for i, (what, values) in enumerate(of.items()):
            axes = panel(on, left + i * each, 0.3, each - 0.05, ROW * len(names))
            lengths = [values.get(name, 0.0) for name in names]
            written = [
                "–" if name not in values else quantity(value, "") if value >= 1000 else digits(value)
                for name, value in zip(names, lengths, strict=True)
            ]
            bars = axes.barh(range(len(names)), lengths, height=0.68, color=[colours[name] for name in names])
            for bar, name, text in zip(bars, names, written, strict=True):
                note(bar, f"{label(name, 80)}: {text.strip()} {what}")
            axes.bar_label(bars, written, padding=3, fontsize=7)
            axes.set_xlim(0, 1.28 * max(lengths) or 1)
            axes.set_title(what, loc="left")
            name_bars(axes, names if i == 0 else [""] * len(names))
        return figure_of(axes)


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
