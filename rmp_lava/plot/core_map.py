"""Map of the cores: which layer uses which core, and how full the cores are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from ..hardware import LayerMapping, Mapping
from ..hardware.placement import RESOURCES
from ..words import label, percent, plural
from .style import INK, MUTED, PAPER, RULE, WIDE, drawing, figure_of, is_wide, note, palette, sheet, width_of

_MOST_SQUARES = 2400
_LEGEND_ROW = 0.17
_TITLE, _GAP = 0.2, 0.14
"""Inches above a chip, and between chips."""


@dataclass(frozen=True)
class Squares:
    """The squares of the map, chip after chip.

    Attributes
    ----------
    layers : list of int
        Index into the mapping's layers, for each square.
    each : int
        Cores per square; more than 1 only for large networks.
    per_chip : int
        Squares per chip.
    chips : int
    """

    layers: list[int]
    each: int
    per_chip: int
    chips: int


def squares(mapping: Mapping) -> Squares:
    """Squares in the order of the layers; each layer starts on a new core."""
    # A layer that does not fit on cores, however many, has no squares.
    cores = [layer.cores if layer.fits else 0 for layer in mapping.layers]
    each = max(1, math.ceil(sum(cores) / _MOST_SQUARES))
    layers = [i for i, number in enumerate(cores) for _ in range(math.ceil(number / each))]
    if each == 1:
        per_chip = mapping.profile["cores.usable_per_chip"]
        return Squares(layers, 1, per_chip, max(1, math.ceil(len(layers) / per_chip)))
    return Squares(layers, each, len(layers), 1)


def load(layer: LayerMapping) -> float:
    """Share of the scarcest resource that is used, mean over the layer's cores; at most 1."""
    usage = layer.usage[layer.binding]
    return 0.0 if usage.limit is None else min(1.0, usage.mean / usage.limit)


def cores(mapping: Mapping, *, ax: Axes | None = None, width: float = WIDE) -> Figure:
    """A square for each core, coloured by its layer and filled by the share of its scarcest resource that is used.

    Cores are in the order of the layers, chip after chip; the compiler's placement is not known. Estimated.

    Parameters
    ----------
    mapping : Mapping
        As `rmp_lava.map_network` returns it.
    ax, width
        As all plots take them, see `rmp_lava.plot`.
    """
    found, width = squares(mapping), width_of(ax, width)
    wide = is_wide(width)
    legend_right = wide and found.chips == 1  # otherwise the legend is below
    per_row = _per_row(found.chips, wide)
    columns = min(found.per_chip, max(8, round(math.sqrt(2.2 * found.per_chip))))
    rows = math.ceil(found.per_chip / columns)
    area = width * 0.68 if legend_right else width
    side = min((area - _GAP * (per_row - 1)) / per_row / columns, 0.3)
    grid_rows = math.ceil(found.chips / per_row)
    body = grid_rows * (rows * side + _TITLE) + (grid_rows - 1) * _GAP
    in_line = 1 if legend_right else (4 if wide else 2)
    legend = math.ceil(len(mapping.layers) / in_line) * _LEGEND_ROW
    height = max(body, legend + _TITLE) if legend_right else body + legend + 0.12
    colours = _colours(mapping)
    with drawing():
        axes = sheet(ax, width, height + 0.04)
        corners = _corners(found, per_row, columns, rows, side)
        _draw(axes, mapping, colours, found, corners, side)
        if found.each == 1:
            _titles(axes, mapping, found, corners[:: found.per_chip])
        left, top = (columns * side + 0.3, _TITLE) if legend_right else (0.02, body + 0.12)
        _legend(axes, mapping, colours, left, top, in_line, (width - left) / in_line)
        return figure_of(axes)


def _colours(mapping: Mapping) -> list[str]:
    """Of each population; a relay has that of the layer whose spikes it repeats."""
    layers = palette([layer.name for layer in mapping.layers if layer.demand.role == "layer"]).layers
    return [layers.get(layer.demand.origin or layer.name, INK) for layer in mapping.layers]


def _per_row(chips: int, wide: bool) -> int:
    if not wide:
        return 1 if chips <= 2 else 2
    return min(chips, 3 if chips <= 9 else 4 if chips <= 16 else 5)


def _corners(found: Squares, per_row: int, columns: int, rows: int, side: float) -> np.ndarray:
    """Upper left corners in inches, (chips * squares per chip, 2)."""
    chip, square = np.divmod(np.arange(found.chips * found.per_chip), found.per_chip)
    chip_row, chip_column = np.divmod(chip, per_row)
    row, column = np.divmod(square, columns)
    x = chip_column * (columns * side + _GAP) + column * side
    y = chip_row * (rows * side + _TITLE + _GAP) + _TITLE + row * side
    return np.stack([x, y], axis=1)


def _draw(axes: Axes, mapping: Mapping, colours: list[str], found: Squares, corners: np.ndarray, side: float) -> None:
    inner, taken = side * 0.86, np.array(found.layers)
    axes.add_patch(PathPatch(boxes(corners, inner, inner), facecolor="none", edgecolor=RULE, lw=0.5))
    for i, (layer, colour) in enumerate(zip(mapping.layers, colours, strict=True)):
        own = corners[: len(taken)][taken == i]
        frame = boxes(own, inner, inner)
        axes.add_patch(PathPatch(frame, facecolor=colour, edgecolor=colour, lw=0.5, alpha=0.28))
        if len(own) and found.each == 1:
            _number(axes, i + 1, own[0], inner, load(layer))
        level = inner * max(load(layer), 0.03)
        axes.add_patch(PathPatch(boxes(own + (0, inner - level), inner, level), facecolor=colour, lw=0))
        above = axes.add_patch(PathPatch(frame, color="none", zorder=10))
        scarcest = f"{percent(load(layer))} of {RESOURCES[layer.binding]} on average"
        note(above, f"{label(layer.name, 80)}: {plural(layer.cores, 'core')}, {scarcest}")


def _number(axes: Axes, number: int, corner: np.ndarray, side: float, filled: float) -> None:
    """The layer's number in its first square; on a tag if that is filled, as layer colours may be dark or bright."""
    full = filled >= 0.5
    y = corner[1] + side * (0.5 if full else (1 - filled) / 2)
    size = min(6.5, 72 * side * 0.48)
    tag = {"boxstyle": "round,pad=0.12", "facecolor": PAPER, "edgecolor": "none"} if full else None
    axes.text(corner[0] + side / 2, y, str(number), color=INK, ha="center", va="center", fontsize=size, bbox=tag)


def boxes(corners: np.ndarray, width: float, height: float) -> Outline:
    """One outline of many boxes; `corners` (n, 2) are the upper left ones, with y pointing down."""
    frame = np.array([(0, 0), (width, 0), (width, height), (0, height), (0, 0)])
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    return Outline((corners[:, None] + frame).reshape(-1, 2), np.tile(codes, len(corners)))


def _titles(axes: Axes, mapping: Mapping, found: Squares, corners: np.ndarray) -> None:
    for chip, (x, y) in enumerate(corners):
        used = min(found.per_chip, len(found.layers) - chip * found.per_chip)
        missing = chip >= (mapping.profile.chips or 0)
        text = f"chip {chip + 1}" + (", not on the board" if missing else f": {used} of {found.per_chip} cores")
        axes.text(x, y - 0.05, text, fontsize=7.5, color=MUTED, va="baseline")


def _legend(
    axes: Axes, mapping: Mapping, colours: list[str], left: float, top: float, in_line: int, pitch: float
) -> None:
    """Numbers, names and cores of the layers, column by column."""
    lines = math.ceil(len(mapping.layers) / in_line)
    for i, layer in enumerate(mapping.layers):
        x, y = left + i // lines * pitch, top + (i % lines + 0.5) * _LEGEND_ROW
        axes.add_patch(PathPatch(boxes(np.array([(x, y - 0.045)]), 0.09, 0.09), color=colours[i], lw=0))
        axes.text(x + 0.15, y, f"{i + 1}", fontsize=7.5, va="center_baseline", color=MUTED)
        axes.text(x + 0.34, y, label(layer.name, 14), fontsize=7.5, va="center_baseline")
        number = min(pitch, 1.85) - 0.12
        cores = f"{layer.cores:,}" if layer.fits else "–"
        axes.text(x + number, y, cores, fontsize=7.5, va="center_baseline", ha="right", color=MUTED)
