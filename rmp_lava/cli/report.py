"""The command that writes one page on a network: `report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..files import check_writable
from .common import DataDirectory, Profile, Samples, SpikeSeed, Steps, TestData, TestImages, TestLabels

_PACKAGES = ("matplotlib", "jinja2")


def report(
    net: Annotated[Path, typer.Argument(help="A .net file.")],
    output: Annotated[Path | None, typer.Option(help="The page; NAME.html beside the .net file if omitted.")] = None,
    data: TestData = None,
    images: TestImages = None,
    labels: TestLabels = None,
    data_dir: DataDirectory = None,
    samples: Samples = None,
    steps: Steps = None,
    profile: Profile = "oheo_gulch",
    figures: Annotated[Path | None, typer.Option(help="Folder for the figures as SVG and PNG too.")] = None,
    seed: SpikeSeed = 0,
) -> None:
    """Write one HTML page on a network.

    What it is, what it does on images, what it loses, and what it would cost on a chip. The page needs nothing else: no
    network access, no other file.
    """
    output = output or net.with_suffix(".html")
    _check(output, figures)
    from .. import netx
    from ..report.page.page import make_page, write_page
    from ..report.runs import steps_for
    from ..report.tables import console
    from ..sources.images import images_for

    network = netx.load(net)
    values, truth, what = images_for(network, data, data_dir, images, labels, samples)
    page = make_page(
        network,
        net,
        values,
        truth,
        what,
        steps_for(network, steps),
        profile=profile,
        seed=seed,
        arguments=("rmp-lava", *sys.argv[1:]),
    )
    written = write_page(page, output, figures)
    console().print(f"Report: {written[0]}")
    if figures is not None:
        console().print(f"Figures: {len(written) - 1} files in {figures}")


def _check(output: Path, figures: Path | None) -> None:
    """Make sure, before anything is computed, that all can be written and the page replaces nothing but a page."""
    from importlib.util import find_spec

    if output.suffix not in (".html", ".htm"):
        raise UsageError(f"output is {output}; name a file that ends in .html")
    check_writable(output, UsageError)
    if figures is not None:
        check_writable(figures / "network.svg", UsageError)
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the report needs {' and '.join(missing)}, which this Python does not have; install the extra: "
            'pip install ".[report]"'
        )
