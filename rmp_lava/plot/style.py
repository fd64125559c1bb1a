"""Colours, fonts and areas of all plots.

Nothing here touches pyplot or keeps a changed setting: plots are drawn with matplotlib's defaults and `RC`, whatever the user's
settings are.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

WIDE, NARROW = 7.4, 3.7
"""Inches: the text column on a desktop, and on a phone."""
_NARROW_BELOW = 5.5
INK, MUTED, RULE, PAPER = "#1c1d1f", "#63676d", "#d3d5d9", "#ffffff"
TERMS = ("#10305f", "#8f2752", "#00699f", "#c0500c", "#3a9a63", "#d39b26")
"""For unordered categories: told apart by their lightness alone, and with any colour blindness."""
_DARK = {INK: "#e4e5e7", MUTED: "#9da2a9", RULE: "#3b3f45", PAPER: "#17181a"}
_DARK_TERMS = ("#4c70c9", "#cc5f8f", "#3fa3d9", "#f0985a", "#66cf98", "#f8de8c")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), "-.")
"""Dashes of curves in the order of `TERMS`."""
_NAMES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"}
_LIGHT_RANGE, _DARK_RANGE = (0.14, 0.80), (0.30, 0.90)
"""Parts of the colour map with enough contrast to white, and to black."""
_SCREEN_DPI = 110
RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.color": INK,
    "text.parse_math": False,  # names may contain dollar signs
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "figure.facecolor": PAPER,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "rmp-lava",
    "pdf.fonttype": 42,
    "path.simplify": False,
}


class Drawing(Figure):
    """A figure that no pyplot knows; notebooks show it as it is.

    Attributes
    ----------
    notes : dict
        Id of an artist in SVG -> what the pointer over it shows in the report.
    """

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height))
        self.notes: dict[str, str] = {}

    def draw(self, renderer: Any) -> None:
        """Draw with the settings of all plots, as ticks that appear while drawing take the settings of that time."""
        with drawing():
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=_SCREEN_DPI)
        return content.getvalue()


def note(artist: Artist, text: str) -> None:
    """What the pointer over an artist shows; lost in a figure that is not a `Drawing`."""
    figure = artist.get_figure()
    if isinstance(figure, Drawing):
        key = f"note{len(figure.notes)}"
        artist.set_gid(key)
        figure.notes[key] = " ".join(text.split())


def note_on(
    axes: Axes, text: str, *, across: tuple[float, float] | None = None, down: tuple[float, float] | None = None
) -> None:
    """The same for a part of axes, from the top to the bottom or from the left to the right, on which nothing is drawn."""
    how: dict[str, Any] = {"color": "none", "zorder": 10}
    if across is not None:
        note(axes.axvspan(*across, **how), text)
    if down is not None:
        note(axes.axhspan(*down, **how), text)


@dataclass(frozen=True)
class Palette:
    """A colour per layer, by its place in the network; the same in all plots.

    Attributes
    ----------
    layers : mapping
        Layer name -> colour on white.
    dark : mapping
        Colour on white -> colour on black, of all colours in plots.
    names : mapping
        Colour on white -> name of the CSS variable, without dashes.
    """

    layers: Mapping[str, str]
    dark: Mapping[str, str]
    names: Mapping[str, str]

    def marks(self, layers: Sequence[str]) -> tuple[str, ...]:
        """The CSS variables of the layers' colours; the text colour for other names."""
        return tuple(self.names[self.layers.get(name, INK)] for name in layers)

    def variables(self, *, dark: bool) -> list[tuple[str, str]]:
        """(name, colour) of each CSS variable."""
        return [(name, self.dark[light] if dark else light) for light, name in self.names.items()]


def palette(names: Sequence[str]) -> Palette:
    """The palette of a network with layers of these names."""
    light, dark = _ramp(len(names), *_LIGHT_RANGE), _ramp(len(names), *_DARK_RANGE)
    return Palette(
        dict(zip(names, light, strict=True)),
        _DARK | dict(zip(TERMS, _DARK_TERMS, strict=True)) | dict(zip(light, dark, strict=True)),
        _NAMES | {c: f"term{i}" for i, c in enumerate(TERMS)} | {c: f"layer{i}" for i, c in enumerate(light)},
    )


def _ramp(number: int, low: float, high: float) -> list[str]:
    colours = matplotlib.colormaps["viridis"]
    return [to_hex(colours(low + (high - low) * i / max(1, number - 1))) for i in range(number)]


@contextmanager
def drawing() -> Iterator[None]:
    """Context for all drawing and saving, in which the user's matplotlib settings have no effect."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # names may be in any script
        yield


def is_wide(width: float) -> bool:
    """Whether so many inches are a desktop's, not a phone's."""
    return width >= _NARROW_BELOW


def width_of(ax: Axes | None, width: float) -> float:
    """Inches that a plot may take: those of the given axes, or else `width`."""
    return width if ax is None else _inches(ax).width


def sheet(ax: Axes | None, width: float, height: float) -> Axes:
    """Axes without marks whose unit is an inch, from the upper left corner: a figure's, or the given ones.

    Given axes that are less high are shrunk, which leaves the size of letters.
    """
    axes = Drawing(width, height).add_axes((0, 0, 1, 1)) if ax is None else ax
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    if ax is not None:
        axes.set_aspect("equal", adjustable="box", anchor="NW")
    return axes


def panel(on: Axes, left: float, top: float, width: float, height: float) -> Axes:
    """Axes on a sheet, of this size in inches."""
    across, down = on.get_xlim()[1], on.get_ylim()[0]
    return dressed(on.inset_axes((left / across, 1 - (top + height) / down, width / across, height / down)))


def plain(ax: Axes | None, width: float, height: float, margins: tuple[float, float, float, float]) -> Axes:
    """The given axes, or the ones of a new figure, with (left, right, bottom, top) inches around them."""
    if ax is not None:
        return dressed(ax)
    left, right, bottom, top = margins
    figure = Drawing(width, height)
    area = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    return dressed(figure.add_axes(area))


def dressed(axes: Axes) -> Axes:
    """Axes of any origin, with the lines and letters of all plots."""
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set(color=MUTED, linewidth=RC["axes.linewidth"])
    axes.tick_params(color=MUTED, labelcolor=INK, labelsize=7.5, width=0.6, length=2.5)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=RC["font.size"])
    return axes


def figure_of(axes: Axes) -> Figure:
    """The figure that axes lie on, not a part of it."""
    part: Any = axes.figure
    root: Figure = part.figure
    return root


def _inches(ax: Axes) -> Bbox:
    scale = figure_of(ax).dpi_scale_trans.inverted()
    return ax.get_window_extent().transformed(scale)
