"""What the page is made of: sections with text, pictures and tables, and the numbers of the headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .style import Picture


@dataclass(frozen=True)
class Sheet:
    """A table; the first `text_columns` columns are text, the others numbers. The last row is a sum where `total`.

    `colours` are the CSS variables of the rows' marks, where they have some; empty: none in this row.
    """

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text_columns: int = 1
    total: bool = False
    colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page; `missing` says in a sentence why something is not there."""

    key: str
    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Fact:
    """A number of the headline, and what is to be known about it."""

    name: str
    value: str
    detail: str = ""
