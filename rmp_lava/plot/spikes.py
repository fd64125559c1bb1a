"""Raster plot: spikes of some neurons of each layer, for a few samples next to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from ..errors import DataError
from ..network import INPUT, SpikingNetwork
from ..network.populations import spread
from ..results import Run
from ..scores import has_pixels
from ..words import label, plural
from .style import INK, RULE, WIDE, drawing, figure_of, note_on, palette, panel, sheet, width_of

SAMPLES = 3
_ROWS = 260
_MOST_SPIKES = 30_000
_FEWEST, _MOST = 4, 24
"""Neurons drawn of a layer."""
_PICTURE = 0.62
"""Inches per side of an image."""
_LETTER = 0.065
"""Inches across of a letter above a column."""


def neurons_shown(network: SpikingNetwork, spikes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Layer name -> indices of the neurons that are drawn, evenly spread, few enough for a small, readable picture.

    Inputs of constant messages and integrating populations, which do not spike, are left out. `spikes` are those of a run, of the
    samples that are drawn.
    """
    silent = {layer.name for layer in network if layer.neurons.reset == "none"}
    silent |= {INPUT} if network.input.encoding == "current" and not network.is_sigma_delta else set()
    names = (INPUT, *(layer.name for layer in network))
    sizes = {name: int(np.prod(spikes[name].shape[2:])) for name in names if name not in silent and name in spikes}
    each = max(_FEWEST, min(_MOST, _ROWS // max(1, len(sizes))))
    while True:
        chosen = {name: spread(size, each) for name, size in sizes.items()}
        if each == _FEWEST or sum(int(sent(spikes, *one).sum()) for one in chosen.items()) <= _MOST_SPIKES:
            return chosen
        each = max(_FEWEST, each // 2)


def sent(spikes: Mapping[str, np.ndarray], name: str, which: np.ndarray) -> np.ndarray:
    """(samples, steps, neurons) bool: whether there was a message."""
    found = spikes[name]
    return found.reshape(*found.shape[:2], -1)[:, :, which] != 0


def raster(
    network: SpikingNetwork,
    result: Run,
    *,
    samples: Sequence[int] | None = None,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    titles: Sequence[str] | None = None,
    ax: Axes | None = None,
    width: float = WIDE,
) -> Figure:
    """Spikes of up to 24 neurons of each layer, evenly spread over it: samples as columns, layers as bands.

    Parameters
    ----------
    network : SpikingNetwork
        The network that ran.
    result : Run
        With recorded spikes.
    samples : sequence of int
        Indices of samples; the first three if omitted.
    images : numpy.ndarray, optional
        (N, *input shape) in [0, 1]: the images of the run, drawn above the columns where they have one channel or three.
    labels : numpy.ndarray, optional
        (N,) classes, to name the label where the prediction differs.
    titles : sequence of str, optional
        Above each column; the prediction if omitted.
    ax, width
        As all plots take them, see `rmp_lava.plot`.

    Raises
    ------
    DataError
        If the run has no spikes, or not these samples.
    """
    if not result.spikes:
        raise DataError('the run recorded no spikes; run the network with record={"spikes"}')
    chosen = list(range(min(SAMPLES, result.samples)) if samples is None else samples)
    if not chosen or not all(0 <= i < result.samples for i in chosen):
        raise DataError(f"samples are {chosen}; choose some of 0 .. {result.samples - 1}")
    spikes = {name: found[chosen] for name, found in result.spikes.items()}
    if titles is None:
        known = None if labels is None else np.asarray(labels)
        titles = [prediction_of(network, result, i, known) for i in chosen]
    pictures = [] if images is None or not _has_pictures(network) else [np.asarray(images)[i] for i in chosen]
    shown = neurons_shown(network, spikes)
    rows = sum(len(which) for which in shown.values())
    gap = 1.5 if rows > 100 else 2.5
    body = min(6.4, 0.045 * rows + 0.06 * len(shown))
    width = width_of(ax, width)
    left = 0.15 + 0.07 * max((len(label(name, 14)) for name in shown), default=0)
    column = (width - left - 0.08) / len(chosen)
    if _LETTER * max(map(len, titles), default=0) > column - 0.1:
        titles = [title.replace(", ", ",\n") for title in titles]
    lines = max((title.count("\n") + 1 for title in titles if title), default=0)
    head = (_PICTURE if pictures else 0) + 0.04 + 0.15 * lines
    steps = max((len(found[0]) for found in spikes.values()), default=1)
    with drawing():
        on = sheet(ax, width, body + head + 0.42)
        for place, sample in enumerate(chosen):
            x = left + place * column
            axes = panel(on, x, head + 0.02, column - 0.1, body)
            _bands(axes, network, spikes, shown, place, steps, gap, 72 * (column - 0.1), number=sample)
            _name_bands(axes, shown, gap, steps, named=place == 0)
            _head(on, pictures[place] if pictures else None, titles[place], x, column)
        on.text(left, body + head + 0.4, "time steps, each layer in its own window", va="bottom")
        return figure_of(on)


def _bands(
    axes: Axes,
    network: SpikingNetwork,
    spikes: Mapping[str, np.ndarray],
    shown: Mapping[str, np.ndarray],
    place: int,
    steps: int,
    gap: float,
    points: float,
    *,
    number: int,
) -> None:
    """A mark for each spike, less wide than a step of the `points` of the column."""
    colours = palette([layer.name for layer in network]).layers
    mark, y = float(np.clip(0.4 * points / steps, 0.6, 2.0)), 0.0
    for name, which in shown.items():
        step, neuron = np.nonzero(sent(spikes, name, which)[place])
        whole = int(np.count_nonzero(spikes[name][place]))
        what = plural(whole, "message" if network.is_sigma_delta else "spike")
        of = plural(spikes[name][place][0].size, "neuron")
        note_on(axes, f"{label(name, 80)}, sample {number + 1}: {what} of {of}", down=(y, y + len(which)))
        if len(step):
            ends = np.array([step + 1.0, y + neuron + 0.08, step + 1.0, y + neuron + 0.92]).T.reshape(-1, 2)
            lines = Outline(ends, np.tile([Outline.MOVETO, Outline.LINETO], len(step)))
            colour = colours.get(name, INK)
            axes.add_patch(PathPatch(lines, edgecolor=colour, facecolor="none", lw=mark, capstyle="butt"))
        y += len(which) + gap
        axes.axhline(y - gap / 2, color=RULE, linewidth=0.4)
    axes.set_ylim(y - gap / 2, -gap / 2)


def _name_bands(axes: Axes, shown: Mapping[str, np.ndarray], gap: float, steps: int, *, named: bool) -> None:
    sizes = np.array([len(which) for which in shown.values()])
    middles = np.cumsum(sizes + gap) - gap - sizes / 2
    axes.set_xlim(0.4, steps + 0.6)
    axes.spines["left"].set_visible(False)
    axes.set_yticks(middles if named else [], [label(name, 14) for name in shown] if named else [])
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([1, steps] if steps > 1 else [1])
    first, *others = axes.get_xticklabels()  # aligned inwards, so that the labels of two columns do not meet
    first.set_horizontalalignment("left")
    for last in others:
        last.set_horizontalalignment("right")


def _has_pictures(network: SpikingNetwork) -> bool:
    shape = network.input.shape
    return network.input.encoding not in ("spikes", "frames") and len(shape) == 3 and shape[0] in (1, 3)


def _head(on: Axes, image: np.ndarray | None, title: str, x: float, column: float) -> None:
    top = 0.02
    if image is not None:
        side = min(_PICTURE, column - 0.2)
        axes = panel(on, x, top, side, side)
        pixels = np.clip(image.transpose(1, 2, 0), 0, 1)  # (height, width, 1 or 3)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        top += side + 0.03
    on.text(x, top, title, va="top", fontsize=6.5 if "\n" in title else None)


def prediction_of(network: SpikingNetwork, result: Run, sample: int, labels: np.ndarray | None) -> str:
    """The predicted class of a sample, and its label where that differs; empty if outputs are no classes."""
    names, shape = network.class_names, network.output.shape
    if shape[0] == 1 or has_pixels(shape):
        return ""

    def named(index: int) -> str:
        return label(names[index], 12) if index < len(names) else str(index)

    predicted = int(result.predictions[sample])
    if labels is None or labels[sample] == predicted:
        return f"→ {named(predicted)}"
    return f"→ {named(predicted)}, not {named(int(labels[sample]))}"
