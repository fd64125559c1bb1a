"""What the page is made of: sections with text, pictures and tables, and the figures of its headline."""

from __future__ import annotations

from dataclasses import dataclass

from ...tables import Table
from .style import Picture


@dataclass(frozen=True)
class Sheet:
    """A table with its caption; `marks` are the CSS variables of the rows' colours, empty for none."""

    caption: str
    table: Table
    marks: tuple[str, ...] = ()


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
