"""Colours and fonts of the pictures: light ones in files, and CSS variables for light and dark backgrounds on the page."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

WIDE, NARROW = 7.4, 3.7
"""Inches: the text column on a desktop, and on a phone."""
INK, MUTED, RULE, PAPER = "#1c1d1f", "#63676d", "#d3d5d9", "#ffffff"
TERMS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""For unordered categories (Okabe and Ito: distinguishable for colour-blind people)."""
_DARK = {INK: "#e4e5e7", MUTED: "#9da2a9", RULE: "#3b3f45", PAPER: "#17181a"}
_DARK_TERMS = ("#4aa3df", "#e8ac2c", "#1fb98d", "#d893b9", "#ea7a35", "#7cc6f0")
_NAMES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"}
_LIGHT_RANGE, _DARK_RANGE = (0.14, 0.80), (0.30, 0.90)
"""Parts of the colour map with enough contrast to white, and to black."""
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
    "figure.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "rmp-lava",
    "path.simplify": False,
}


@dataclass(frozen=True)
class Palette:
    """A colour per layer, by its place in the network; the same in all pictures.

    Attributes
    ----------
    layers : mapping
        Layer name -> colour on white.
    dark : mapping
        Colour on white -> colour on black, of all colours in pictures.
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


@dataclass(frozen=True)
class Picture:
    """One figure in two widths, with its description.

    Attributes
    ----------
    key : str
        Used in file names and ids.
    title, caption : str
        The caption describes the figure and the number of samples.
    wide, narrow : matplotlib.figure.Figure
    """

    key: str
    title: str
    caption: str
    wide: Figure
    narrow: Figure


def picture(key: str, title: str, caption: str, draw: Callable[[bool], Figure]) -> Picture:
    """Draw a figure in both widths; `draw(wide)` returns it."""
    with drawing():
        return Picture(key, title, caption, draw(True), draw(False))


def canvas(wide: bool, height: float) -> Figure:
    """An empty figure of the wide or narrow width; the height is in inches."""
    return Figure(figsize=(WIDE if wide else NARROW, height))


def ruled_canvas(wide: bool, height: float) -> tuple[Figure, Axes]:
    """An empty figure, and axes over all of it whose unit is an inch, from the upper left corner."""
    figure = canvas(wide, height)
    axes = panel(figure, 0, 0, figure.get_figwidth(), height)
    axes.set_axis_off()
    axes.set_xlim(0, figure.get_figwidth())
    axes.set_ylim(height, 0)
    return figure, axes


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes of this size in inches; their upper left corner is `left` and `top` inches from that of the figure."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top - height
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))
