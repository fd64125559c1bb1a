"""What the page is made of: sections with text, pictures and tables, and the figures of its headline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ...plot.style import NARROW, WIDE
from ...tables import Table


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


def picture(key: str, title: str, caption: str, draw: Callable[[float], Figure]) -> Picture:
    """Draw a figure in both widths; `draw` takes inches."""
    return Picture(key, title, caption, draw(WIDE), draw(NARROW))


@dataclass(frozen=True)
class Sheet:
    """A table with its caption; `layers` are the layers of the first rows, which are marked with their colours."""

    caption: str
    table: Table
    layers: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page; `missing` explains in a sentence what is left out."""

    key: str
    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Fact:
    """A figure of the headline, with its explanation."""

    name: str
    value: str
    detail: str = ""
