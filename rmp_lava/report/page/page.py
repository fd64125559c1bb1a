"""One HTML file from sections: no scripts, nothing loaded from elsewhere, everything from outside escaped."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from ...tables import printable
from ...words import plural
from ..costs import Costs, measured_costs
from . import layers, sections
from .hardware import comparison_section, cores_section, energy_section, hardware_facts
from .measure import measure
from .parts import Fact, Picture, Section, Sheet
from .provenance import provenance_section
from .svg import inline, to_png, to_svg

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Page:
    """The finished page, and the sections that it shows."""

    html: str
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, in the order of the page."""
        return tuple(picture for section in self.sections for picture in section.pictures)

    @property
    def figures(self) -> dict[str, Figure]:
        """Name -> matplotlib figure in the wide form: network, accuracy, raster, rates, activity, cores, energy."""
        return {picture.key: picture.wide for picture in self.pictures}


def make_page(
    network: SpikingNetwork,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    steps: int,
    trained: Model | str = "no trained network was passed",
    what: str = "",
    net: Path | None = None,
    profile: str | Profile = "oheo_gulch",
    compare: Sequence[SpikingNetwork] = (),
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
    net : Path or None
        The `.net` file that the network was read from; its name and SHA-256 are shown.
    profile : str or Profile
        Hardware profile of the core map and the energy estimate.
    compare : sequence of SpikingNetwork
        Other forms of the network, such as one of sigma-delta neurons, to run on the same images for their own T.
    seed : int
        Of the Poisson encoding.
    arguments : sequence of str
        Of the command that makes the page.

    Raises
    ------
    UsageError, DataError, ProfileError
        As running and mapping do.
    """
    mapping = map_network(network, profile)  # an error in the profile shows before anything runs
    what = what or plural(len(images), "image")
    measured = measure(network, images, labels, what, steps, trained, seed=seed)
    hardware = estimate(network, measured.result, mapping.profile, mapping)
    colours = palette([layer.name for layer in network])
    others = [measured_costs(each, images, labels, mapping.profile, seed=seed) for each in compare]
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
        *([comparison_section(Costs(network, measured.result, hardware, labels), others)] if others else ()),
        provenance_section(measured, net, shlex.join(arguments)),
    ]
    facts = sections.facts(measured) + hardware_facts(hardware)
    return Page(render(network, facts, found, colours, what), tuple(found))


def render(
    network: SpikingNetwork, facts: Sequence[Fact], found: Sequence[Section], colours: Palette, what: str
) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = printable
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


def _numbered(
    found: Sequence[Section], colours: Palette
) -> Iterator[tuple[Section, list[tuple[int, Picture, Markup, Markup]], list[tuple[int, Sheet, Markup]]]]:
    """(section, its pictures in both widths, its tables), each numbered through the page."""
    figures, tables = itertools.count(1), itertools.count(1)
    for section in found:
        pictures = [
            (
                next(figures),
                picture,
                inline(picture.wide, colours, f"{picture.key}-wide-", picture.title),
                inline(picture.narrow, colours, f"{picture.key}-narrow-", picture.title),
            )
            for picture in section.pictures
        ]
        sheets = [
            # `to_html` escapes the cells.
            (next(tables), sheet, Markup(replace(sheet.table, title="").to_html(colours.marks(sheet.layers))))
            for sheet in section.sheets
        ]
        yield section, pictures, sheets


def write_page(page: Page, output: Path, figures: Path | None = None) -> list[Path]:
    """Write the page, and each picture as SVG and PNG into a folder; each file whole or not at all.

    Raises
    ------
    UsageError
        If a file cannot be written.
    """
    written = [write_atomically(output, page.html.encode("utf-8"), UsageError)]
    if figures is not None:
        for picture in page.pictures:
            for suffix, content in ((".svg", to_svg(picture.wide)), (".png", to_png(picture.wide))):
                written.append(write_atomically(figures / f"{picture.key}{suffix}", content, UsageError))
    return written
