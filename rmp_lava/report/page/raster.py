"""Raster plot: spikes of some neurons of each layer, for a few samples next to each other."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from ...network import INPUT, SpikingNetwork
from ..words import label
from .measure import Measured, Raster
from .rates import spread
from .style import INK, MUTED, RULE, Palette, panel, ruled_canvas

_ROWS = 260
_MOST_SPIKES = 30_000
_FEWEST, _MOST = 4, 24
"""Neurons drawn of a layer."""
_PICTURE = 0.62
"""Inches per side of an image."""


def neurons_shown(network: SpikingNetwork, raster: Raster) -> dict[str, np.ndarray]:
    """Layer name -> indices of the neurons that are drawn, evenly spread, few enough for a small, readable picture.

    Inputs of constant messages and integrating populations, which do not spike, are left out.
    """
    silent = {layer.name for layer in network if layer.neurons.reset == "none"}
    silent |= {INPUT} if network.input.encoding == "current" and not network.is_sigma_delta else set()
    sizes = {name: int(np.prod(spikes.shape[2:])) for name, spikes in raster.spikes.items() if name not in silent}
    each = max(_FEWEST, min(_MOST, _ROWS // max(1, len(sizes))))
    while True:
        chosen = {name: spread(size, each) for name, size in sizes.items()}
        if (
            each == _FEWEST
            or sum(int(_of(raster, name, which).sum()) for name, which in chosen.items()) <= _MOST_SPIKES
        ):
            return chosen
        each = max(_FEWEST, each // 2)


def _of(raster: Raster, name: str, which: np.ndarray) -> np.ndarray:
    """(samples, steps, neurons) bool: whether there was a message."""
    spikes = raster.spikes[name]
    return spikes.reshape(*spikes.shape[:2], -1)[:, :, which] != 0


def raster_plot(measured: Measured, palette: Palette, wide: bool) -> Figure:
    """Samples as columns, layers as bands; above each column the image and the prediction."""
    raster, network = measured.raster, measured.network
    shown = neurons_shown(network, raster)
    rows = sum(len(which) for which in shown.values())
    gap = 1.5 if rows > 100 else 2.5
    body = min(6.4, 0.045 * rows + 0.06 * len(shown))
    head = (_PICTURE if _has_pictures(network) else 0) + 0.2
    height = body + head + 0.42
    figure, sheet = ruled_canvas(wide, height)
    left = 0.15 + 0.07 * max((len(label(name, 14)) for name in shown), default=0)
    column = (figure.get_figwidth() - left - 0.08) / raster.samples
    # Points across of a mark: less than a step.
    mark = float(np.clip(0.4 * 72 * (column - 0.1) / raster.steps, 0.6, 2.0))
    for sample in range(raster.samples):
        x = left + sample * column
        axes = panel(figure, x, height - 0.4 - body, column - 0.1, body)
        _bands(axes, raster, shown, sample, palette, gap, mark, named=sample == 0)
        _head(figure, sheet, measured, sample, x, column)
    sheet.text(left, height - 0.02, f"time steps, each layer in its own window of T = {measured.steps}", va="bottom")
    return figure


def _bands(
    axes: Axes,
    raster: Raster,
    shown: dict[str, np.ndarray],
    sample: int,
    palette: Palette,
    gap: float,
    mark: float,
    *,
    named: bool,
) -> None:
    y, middles = 0.0, []
    for name, which in shown.items():
        step, neuron = np.nonzero(_of(raster, name, which)[sample])
        if len(step):
            ends = np.array([step + 1.0, y + neuron + 0.08, step + 1.0, y + neuron + 0.92]).T.reshape(-1, 2)
            lines = Outline(ends, np.tile([Outline.MOVETO, Outline.LINETO], len(step)))
            colour = palette.layers.get(name, INK)
            axes.add_patch(PathPatch(lines, edgecolor=colour, facecolor="none", lw=mark, capstyle="butt"))
        middles.append(y + len(which) / 2)
        y += len(which) + gap
        axes.axhline(y - gap / 2, color=RULE, linewidth=0.4)
    axes.set_xlim(0.4, raster.steps + 0.6)
    axes.set_ylim(y - gap / 2, -gap / 2)
    axes.spines["left"].set_visible(False)
    axes.set_yticks(middles, [label(name, 14) for name in shown] if named else [])
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([1, raster.steps] if raster.steps > 1 else [1])
    first, *others = axes.get_xticklabels()  # aligned inwards, so that the labels of two columns do not meet
    first.set_horizontalalignment("left")
    for last in others:
        last.set_horizontalalignment("right")


def _has_pictures(network: SpikingNetwork) -> bool:
    shape = network.input.shape
    return network.input.encoding not in ("spikes", "frames") and len(shape) == 3 and shape[0] in (1, 3)


def _head(figure: Figure, sheet: Axes, measured: Measured, sample: int, x: float, column: float) -> None:
    top = 0.02
    if _has_pictures(measured.network):
        side = min(_PICTURE, column - 0.2)
        axes = panel(figure, x, top, side, side)
        image = np.clip(measured.raster.images[sample].transpose(1, 2, 0), 0, 1)  # (height, width, 1 or 3)
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()
        top += side + 0.03
    if not measured.classifies:
        return
    names = measured.network.class_names

    def named(index: int) -> str:
        return label(names[index], 12) if index < len(names) else str(index)

    predicted = int(measured.result.predictions[sample])
    text = f"→ {named(predicted)}"
    if measured.labels is not None and measured.labels[sample] != predicted:
        text += f", not {named(int(measured.labels[sample]))}"
    sheet.text(x, top, text, va="top", color=INK if measured.labels is not None else MUTED)
