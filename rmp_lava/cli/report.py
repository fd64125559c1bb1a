"""The command `report`: one HTML page on a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import CheckpointError, UsageError
from ..files import check_writable
from . import options
from .output import console_for, write_json

if TYPE_CHECKING:
    from ..conversion.tracing.reading import Model

_PACKAGES = ("matplotlib", "jinja2")


def report(
    net: options.Net,
    others: options.OtherNets = None,
    output: Annotated[
        Path | None, typer.Option(help="The page; NAME.html next to the .net file if omitted.", callback=options.claim)
    ] = None,
    data: options.TestData = None,
    images: options.TestImages = None,
    labels: options.Labels = None,
    data_dir: options.DataDirectory = None,
    samples: options.Samples = None,
    steps: options.Steps = None,
    profile: options.Profile = "oheo_gulch",
    figures: Annotated[
        Path | None, typer.Option(help="Folder for figures (SVG, PDF, PNG, CSV) and tables (CSV, LaTeX).")
    ] = None,
    seed: options.SpikeSeed = 0,
    json_path: options.Json = None,
) -> None:
    """Write one HTML page on a network.

    The page shows the network, its activity and accuracy on images, conversion losses, and estimated cores, energy and time
    on a chip, and where other networks differ. It is self-contained: it needs no network access and no other file.
    """
    output = output or net.with_suffix(".html")
    _check(output, figures)
    from ..report.page.page import make_page, write_page
    from ..report.runs import steps_for
    from ..sources.images import images_for
    from ..sources.models import load_kept

    network, *compared = options.to_compare(net, others)
    values, truth, what = images_for(network, data, data_dir, images, labels, samples, steps)
    trained: Model | str
    try:
        trained = load_kept(net, network).model
    except CheckpointError as error:
        trained = str(error)
    page = make_page(
        network,
        values,
        truth,
        steps=steps_for(network, steps),
        trained=trained,
        what=what,
        profile=profile,
        compare=compared,
        nets=(net, *(others or ())),
        seed=seed,
        arguments=("rmp-lava", *sys.argv[1:]),
    )
    written = write_page(page, output, figures)
    console = console_for(json_path)
    console.print(f"Report: {written[0]}")
    if figures is not None:
        console.print(f"Figures and tables: {len(written) - 1} files in {figures}")
    write_json(json_path, page.summary())


def _check(output: Path, figures: Path | None) -> None:
    """Check before anything is computed that all files can be written, and that only a page can be replaced."""
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
