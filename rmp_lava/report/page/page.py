"""One HTML file from sections: no scripts, nothing loaded from elsewhere, everything from outside escaped."""

from __future__ import annotations

import base64
import itertools
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from ...conversion.tracing.reading import Model
from ...errors import UsageError
from ...files import write_atomically
from ...hardware import Profile, estimate, map_network
from ...network import SpikingNetwork
from ...plot.style import Palette, palette
from ...tables import Table, printable
from ...words import plural
from ..costs import Costs, check_comparable, measured_costs
from . import layers, sections
from .comparison import comparison_sections
from .hardware import cores_section, energy_section, hardware_facts
from .measure import measure
from .parts import Fact, Picture, Section, Sheet
from .provenance import provenance_section
from .svg import inline, to_pdf, to_png, to_svg

_TEMPLATES = Path(__file__).parent / "templates"


_MOST_EMBEDDED = 2**18
"""Bytes of a picture's data that the page carries; what is larger is in the files only."""


@dataclass(frozen=True)
class Page:
    """The finished page.

    Attributes
    ----------
    title, kind, what : str
        Its heading, what it is about, and the images, in words.
    facts : tuple of Fact
        The figures of its head.
    sections : tuple of Section
    layers : tuple of str
        Layers that have colours of their own.
    """

    title: str
    kind: str
    what: str
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    layers: tuple[str, ...] = ()

    @cached_property
    def html(self) -> str:
        """The page as text."""
        return render(self)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, in the order of the page."""
        return tuple(picture for section in self.sections for picture in section.pictures)

    @property
    def figures(self) -> dict[str, Figure]:
        """Name -> matplotlib figure in the wide form: network, accuracy, raster, rates, activity, cores, energy."""
        return {picture.key: picture.wide for picture in self.pictures}

    def summary(self) -> dict[str, Any]:
        """Everything that it shows as plain values for JSON: figures as columns and rows of numbers, tables as text."""
        return {
            "title": printable(self.title),
            "kind": self.kind,
            "what": self.what,
            "facts": [vars(fact) for fact in self.facts],
            "sections": [section.summary() for section in self.sections],
        }


def make_page(
    network: SpikingNetwork,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    steps: int,
    trained: Model | str = "no trained network was passed",
    what: str = "",
    profile: str | Profile = "oheo_gulch",
    compare: Sequence[SpikingNetwork] = (),
    nets: Sequence[Path] = (),
    seed: int = 0,
    arguments: Sequence[str] = (),
) -> Page:
    """Run a network on images and show everything about it on one page.

    Parameters
    ----------
    network : SpikingNetwork
    images : numpy.ndarray
        (samples, *input shape) in [0, 1].
    labels : numpy.ndarray or None
        (samples,); without them the page shows no accuracy.
    steps : int
        T.
    trained : torch.nn.Module, torch.export.ExportedProgram or str
        What the network was converted from, to compare firing rates with its activations; or a sentence why it is missing.
    what : str
        The images in words.
    profile : str or Profile
        Hardware profile of the core map and the energy estimate.
    compare : sequence of SpikingNetwork
        Other networks for the same images, such as a form of this one with sigma-delta neurons: each runs for its own T (for
        `steps` if it records none), and the page shows what it reaches and costs, and where it differs.
    nets : sequence of Path
        The `.net` files that the network and those to compare were read from; their names and SHA-256 are shown.
    seed : int
        Of the Poisson encoding.
    arguments : sequence of str
        Of the command that makes the page.

    Raises
    ------
    UsageError, DataError, ProfileError
        If a network takes inputs of another shape, or as running and mapping do.
    """
    check_comparable(network, compare)
    mapping = map_network(network, profile)  # an error in the profile shows before anything runs
    what = what or plural(len(images), "image")
    measured = measure(network, images, labels, what, steps, trained, seed=seed)
    hardware = estimate(network, measured.result, mapping.profile, mapping)
    forms = [Costs(network, measured.result, hardware, labels)]
    forms += [measured_costs(each, images, labels, mapping.profile, steps=steps, seed=seed) for each in compare]
    found = [
        sections.network_section(measured),
        sections.accuracy_section(measured),
        sections.stage_section(measured),
        sections.raster_section(measured),
        layers.rates_section(measured),
        layers.activity_section(measured),
        layers.quantisation_section(measured),
        cores_section(mapping),
        energy_section(hardware),
        *(comparison_sections(forms, images, what, seed) if compare else ()),
        provenance_section(measured, nets, shlex.join(arguments)),
    ]
    facts = sections.facts(measured) + hardware_facts(hardware)
    names = tuple(layer.name for layer in network)
    return Page(network.name, "Report on a spiking network", what, tuple(facts), tuple(found), names)


def render(page: Page) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = printable
    style = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    colours = palette(page.layers)
    return environment.get_template("page.html").render(
        page=page,
        sections=list(_numbered(page.sections, colours)),
        light=colours.variables(dark=False),
        dark=colours.variables(dark=True),
        style=Markup(style),
    )


@dataclass(frozen=True)
class _Download:
    """A file inside the page."""

    label: str
    name: str
    link: str


def _downloads(name: str, **contents: str) -> list[_Download]:
    """One for each kind of file (csv, tex) -> content; none of what is large."""
    found = []
    for suffix, text in contents.items():
        content = text.encode("utf-8", "replace")
        if len(content) <= _MOST_EMBEDDED:
            kind = {"csv": "text/csv", "tex": "text/x-tex"}[suffix]
            link = f"data:{kind};base64,{base64.b64encode(content).decode()}"
            found.append(_Download({"csv": "CSV", "tex": "LaTeX"}[suffix], f"{name}.{suffix}", link))
    return found


@dataclass(frozen=True)
class _Shown:
    """A picture or a table as it is on the page: its number, caption and elements, and files with its data."""

    number: int
    caption: str
    elements: tuple[Markup, ...]
    downloads: list[_Download]


def _numbered(found: Sequence[Section], colours: Palette) -> Iterator[tuple[Section, list[_Shown], list[_Shown]]]:
    """(section, its pictures in both widths, its tables), each numbered through the page."""
    figures, tables = itertools.count(1), itertools.count(1)
    for section in found:
        pictures = [
            _Shown(
                next(figures),
                picture.caption,
                (
                    inline(picture.wide, colours, f"{picture.key}-wide-", picture.title),
                    inline(picture.narrow, colours, f"{picture.key}-narrow-", picture.title),
                ),
                _downloads(picture.key, csv=picture.data.to_csv()),
            )
            for picture in section.pictures
        ]
        sheets = [
            _Shown(
                next(tables),
                sheet.caption,
                # `to_html` escapes the cells.
                (Markup(replace(sheet.table, title="").to_html(colours.marks(sheet.layers))),),
                _downloads(name, csv=sheet.table.to_csv(), tex=_titled(sheet).to_latex()),
            )
            for name, sheet in section.named_sheets()
        ]
        yield section, pictures, sheets


def _titled(sheet: Sheet) -> Table:
    return replace(sheet.table, title=sheet.caption)


def write_page(page: Page, output: Path, figures: Path | None = None) -> list[Path]:
    """Write the page; and into a folder each picture as SVG, PDF and PNG, its data as CSV, and each table as CSV and LaTeX.

    Each file is written whole or not at all.

    Raises
    ------
    UsageError
        If a file cannot be written.
    """
    written = [write_atomically(output, page.html.encode("utf-8", "replace"), UsageError)]
    if figures is not None:
        for name, content in _files(page):
            written.append(write_atomically(figures / name, content, UsageError))
    return written


def _files(page: Page) -> Iterator[tuple[str, bytes]]:
    for picture in page.pictures:
        yield f"{picture.key}.svg", to_svg(picture.wide)
        yield f"{picture.key}.pdf", to_pdf(picture.wide)
        yield f"{picture.key}.png", to_png(picture.wide)
        yield f"{picture.key}.csv", picture.data.to_csv().encode("utf-8", "replace")
    for section in page.sections:
        for name, sheet in section.named_sheets():
            yield f"{name}.csv", sheet.table.to_csv().encode("utf-8", "replace")
            yield f"{name}.tex", _titled(sheet).to_latex().encode("utf-8", "replace")
