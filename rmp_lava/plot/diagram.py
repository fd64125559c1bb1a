"""Drawing of the network: one row per layer, a line per synapse, arcs for synapses that skip layers."""

from __future__ import annotations

from math import prod

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from ..network import INPUT, SpikingNetwork
from ..words import label, shape, synapses
from .style import INK, MUTED, PAPER, RULE, WIDE, drawing, figure_of, is_wide, note_on, palette, sheet, width_of

_ENCODINGS = {
    "poisson": "Poisson spikes",
    "rate": "rate code",
    "current": "pixels as currents",
    "spikes": "given messages",
    "frames": "given frames",
}
_ROW_WIDE, _ROW_NARROW = 0.27, 0.4
_LANE, _LANES_WIDTH = 0.13, 0.85
"""Inches between two lanes of arcs, and at most for all lanes together."""


def lanes(network: SpikingNetwork) -> dict[tuple[int, int], int]:
    """(row of the source, row of the target) -> lane, from 1, of each synapse that skips rows. Row 0 is the input.

    Arcs in one lane do not overlap. Short arcs get the inner lanes.
    """
    rows = {INPUT: 0} | {layer.name: i for i, layer in enumerate(network, 1)}
    arcs = {(rows[s.source], rows[layer.name]) for layer in network for s in layer.synapses}
    taken: list[list[tuple[int, int]]] = []
    result = {}
    for start, end in sorted((arc for arc in arcs if arc[1] - arc[0] > 1), key=lambda arc: (arc[1] - arc[0], arc)):
        lane = next((i for i, others in enumerate(taken) if all(end <= a or start >= b for a, b in others)), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((start, end))
        result[start, end] = lane + 1
    return result


def network(network: SpikingNetwork, *, ax: Axes | None = None, width: float = WIDE) -> Figure:
    """Layers from the input to the read-out, with shapes, synapses, and numbers of neurons and weights.

    Parameters
    ----------
    network : SpikingNetwork
        At any stage.
    ax, width
        As all plots take them, see `rmp_lava.plot`.
    """
    width = width_of(ax, width)
    wide, count = is_wide(width), len(network.layers) + 1
    row, top = (_ROW_WIDE, 0.3) if wide else (_ROW_NARROW, 0.04)
    with drawing():
        axes = sheet(ax, width, row * count + top + (0 if wide else 0.04))
        ys = [top + row * (i + 0.5) for i in range(count)]
        arcs = lanes(network)
        most = max(arcs.values(), default=0)
        pitch = min(_LANE, _LANES_WIDTH / most) if most else 0.0
        x = 0.12 + pitch * most
        _edges(axes, network, ys, x, pitch, arcs)
        colours = palette([layer.name for layer in network])
        for y, colour in zip(ys, [INK, *colours.layers.values()], strict=True):
            axes.plot(x, y, "o", markersize=6.5, color=colour, markeredgecolor=PAPER, markeredgewidth=0.8, zorder=3)
        _words(axes, network, ys, x + 0.17, width, wide)
        return figure_of(axes)


def _edges(
    axes: Axes, network: SpikingNetwork, ys: list[float], x: float, pitch: float, arcs: dict[tuple[int, int], int]
) -> None:
    rows = {INPUT: 0} | {layer.name: i for i, layer in enumerate(network, 1)}
    for layer in network:
        end = rows[layer.name]
        for start in {rows[s.source] for s in layer.synapses}:
            if end - start == 1:
                axes.plot([x, x], [ys[start], ys[end]], color=MUTED, linewidth=1.1, zorder=1)
                continue
            out, bend = x - pitch * arcs[start, end], min(0.09, (ys[end] - ys[start]) / 4)
            top, bottom = ys[start], ys[end]
            points = [(x, top), (out, top), (out, top + bend), (out, bottom - bend), (out, bottom), (x, bottom)]
            codes = [Outline.MOVETO, Outline.CURVE3, Outline.CURVE3, Outline.LINETO, Outline.CURVE3, Outline.CURVE3]
            axes.add_patch(PathPatch(Outline(points, codes), edgecolor=MUTED, facecolor="none", lw=1.1, zorder=1))


def _words(axes: Axes, network: SpikingNetwork, ys: list[float], x: float, width: float, wide: bool) -> None:
    source = network.input
    rows = [(INPUT, _ENCODINGS[source.encoding], shape(source.shape), f"{prod(source.shape):,}", "")]
    for layer in network:
        stored = sum(synapse.weight.size for synapse in layer.synapses)
        rows.append((label(layer.name), synapses(layer), shape(layer.shape), f"{layer.size:,}", f"{stored:,}"))
    for y, layer in zip(ys[1:], network, strict=True):
        half = (ys[1] - ys[0]) / 2
        sources = ", ".join(label(s.source, 40) for s in layer.synapses)
        note_on(
            axes,
            f"{label(layer.name, 80)}: {synapses(layer)} from {sources}; {layer.neurons.kind}",
            down=(y - half, y + half),
        )
    if not wide:
        for y, (name, kind, form, size, weights) in zip(ys, rows, strict=True):
            axes.text(x, y - 0.005, f"{name}  ", va="bottom", fontsize=8.5)
            axes.text(width - 0.05, y - 0.005, form, va="bottom", ha="right", fontsize=8.5)
            axes.text(x, y + 0.02, kind, va="top", fontsize=7.5, color=MUTED)
            more = f"{size} neurons, {weights} weights" if weights else f"{size} values"
            axes.text(width - 0.05, y + 0.02, more, va="top", ha="right", fontsize=7.5, color=MUTED)
        return
    spare = width - x - 0.05
    places = (x, x + 0.32 * spare, x + 0.66 * spare, x + 0.82 * spare, x + spare)
    sides = ("left", "left", "right", "right", "right")
    top = ys[0] - _ROW_WIDE
    for place, side, title in zip(places, sides, ("layer", "synapses", "shape", "neurons", "weights"), strict=True):
        axes.text(place, top, title, ha=side, va="center", color=MUTED, fontsize=7.5)
    axes.plot([x, x + spare], [top + 0.12, top + 0.12], color=RULE, linewidth=0.6)
    for y, cells in zip(ys, rows, strict=True):
        for place, side, text in zip(places, sides, cells, strict=True):
            axes.text(place, y, text, ha=side, va="center", fontsize=8)
