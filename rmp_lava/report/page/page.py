"""One HTML file from sections: no scripts, nothing from outside, everything that is not ours escaped."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from ...errors import UsageError
from ...files import write_atomically
from ...hardware import map_network
from ...network import SpikingNetwork
from . import layers, sections
from .hardware import cores_section, energy_section, hardware_facts, on_board
from .measure import measure
from .parts import Fact, Section, Sheet
from .provenance import provenance_section
from .style import Palette, Picture, palette
from .svg import inline, to_png, to_svg

_TEMPLATES = Path(__file__).parent / "templates"
_HARDLY_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Page:
    """The finished page, and its pictures for files of their own."""

    html: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class _Shown:
    """A picture or table with its number."""

    number: int
    caption: str
    key: str = ""
    wide: Markup = Markup()
    narrow: Markup = Markup()
    sheet: Sheet | None = None


def make_page(
    network: SpikingNetwork,
    net: Path,
    images: np.ndarray,
    labels: np.ndarray | None,
    what: str,
    steps: int,
    *,
    profile: str = "oheo_gulch",
    seed: int = 0,
    arguments: Sequence[str] = (),
) -> Page:
    """Run a network on images and say everything about it on one page.

    Parameters
    ----------
    network, net
        The network and the `.net` file that it was read from.
    images, labels, what
        As `workflow.samples.images_for` returns them.
    steps : int
        T.
    profile : str
        Hardware profile of the core map and the energy estimate, by name or path.
    seed : int
        Of the Poisson encoding.
    arguments : sequence of str
        Of the command that makes the page, if one does.

    Raises
    ------
    UsageError, DataError, ProfileError
        As running and mapping do.
    """
    mapping = map_network(network, profile)  # a mistake in the profile shows before anything runs
    measured = measure(network, net, images, labels, what, steps, seed=seed)
    hardware = on_board(measured, mapping)
    colours = palette([layer.name for layer in network])
    found = [
        sections.network_section(measured, colours),
        sections.accuracy_section(measured, colours),
        sections.stage_section(measured),
        sections.raster_section(measured, colours),
        layers.rates_section(measured, colours),
        layers.activity_section(measured, colours),
        layers.quantisation_section(measured, colours),
        cores_section(hardware, colours),
        energy_section(hardware, colours),
        provenance_section(measured, net, shlex.join(arguments)),
    ]
    facts = sections.facts(measured) + hardware_facts(hardware)
    html = render(network, facts, found, colours, measured.what)
    return Page(html, tuple(picture for section in found for picture in section.pictures))


def render(
    network: SpikingNetwork, facts: Sequence[Fact], found: Sequence[Section], colours: Palette, what: str
) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = _plain
    style = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        network=network,
        facts=facts,
        what=what,
        sections=list(_numbered(found, colours)),
        light=colours.variables(dark=False),
        dark=colours.variables(dark=True),
        style=Markup(style),
    )


def _numbered(found: Sequence[Section], colours: Palette):
    """(section, its pictures, its tables), each numbered through the page."""
    figures, tables = itertools.count(1), itertools.count(1)
    for section in found:
        shown = [
            _Shown(
                next(figures),
                picture.caption,
                picture.key,
                inline(picture.wide, colours, f"{picture.key}-wide-", picture.title),
                inline(picture.narrow, colours, f"{picture.key}-narrow-", picture.title),
            )
            for picture in section.pictures
        ]
        yield section, shown, [_Shown(next(tables), sheet.caption, sheet=sheet) for sheet in section.sheets]


def _plain(text: object) -> str:
    """Text without what neither HTML nor UTF-8 can hold."""
    return _HARDLY_TEXT.sub("\N{REPLACEMENT CHARACTER}", str(text)).encode("utf-8", "replace").decode("utf-8")


def write_page(page: Page, output: Path, figures: Path | None = None) -> list[Path]:
    """Write the page, and each picture as SVG and PNG into a folder; each file whole or not at all.

    Raises
    ------
    UsageError
        If a file cannot be written.
    """
    written = []
    for picture in page.pictures if figures is not None else ():
        for suffix, content in ((".svg", to_svg(picture.wide)), (".png", to_png(picture.wide))):
            written.append(write_atomically(figures / f"{picture.key}{suffix}", content, UsageError))
    return [write_atomically(output, page.html.encode("utf-8"), UsageError), *written]
