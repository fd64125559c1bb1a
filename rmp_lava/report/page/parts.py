"""What the page is made of: sections with text, pictures and tables, and the figures of its headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...tables import Table
from .style import Picture


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
