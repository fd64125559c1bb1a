"""What the page is made of: sections with text, pictures and tables, and the figures of its headline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from ...plot.style import NARROW, WIDE
from ...tables import Table, csv_of


@dataclass(frozen=True)
class Data:
    """What a picture shows, not rounded: names of columns, and rows of text and numbers; None for what is not known."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str | float | None]]

    def to_csv(self) -> str:
        """Comma-separated values."""
        return csv_of(self.columns, self.rows)

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON, which has no infinity."""
        finite = [[None if isinstance(x, float) and not math.isfinite(x) else x for x in row] for row in self.rows]
        return {"columns": list(self.columns), "rows": finite}


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
    data : Data
    """

    key: str
    title: str
    caption: str
    wide: Figure
    narrow: Figure
    data: Data

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"key": self.key, "title": self.title, "caption": self.caption} | self.data.summary()


def picture(key: str, title: str, caption: str, draw: Callable[[float], Figure], data: Data) -> Picture:
    """Draw a figure in both widths; `draw` takes inches."""
    return Picture(key, title, caption, draw(WIDE), draw(NARROW), data)


@dataclass(frozen=True)
class Sheet:
    """A table with its caption; `layers` are the layers of the first rows, which are marked with their colours."""

    caption: str
    table: Table
    layers: Sequence[str] = ()

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"caption": self.caption} | self.table.summary()


@dataclass(frozen=True)
class Section:
    """A part of the page; `missing` explains in a sentence what is left out."""

    key: str
    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    missing: str = ""

    def named_sheets(self) -> list[tuple[str, Sheet]]:
        """(name for files, table) of each table."""
        several = len(self.sheets) > 1
        return [(f"{self.key}-table{f'-{i}' if several else ''}", sheet) for i, sheet in enumerate(self.sheets, 1)]

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "key": self.key,
            "title": self.title,
            "text": list(self.text),
            "missing": self.missing,
            "figures": [each.summary() for each in self.pictures],
            "tables": [{"key": name} | each.summary() for name, each in self.named_sheets()],
        }


@dataclass(frozen=True)
class Fact:
    """A figure of the headline, with its explanation."""

    name: str
    value: str
    detail: str = ""
