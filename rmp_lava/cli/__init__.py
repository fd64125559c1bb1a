"""The command `rmp-lava`: parses, calls, prints. Everything heavy is imported inside the commands."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, TextIO

import typer

from ..errors import RmpLavaError, RmpLavaWarning
from . import conversion, hardware, networks, nir, report, selftest, training

app = typer.Typer(
    name="rmp-lava",
    help="From a PyTorch network to residual-membrane-potential (RMP) spikes on Lava and Loihi.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (
    training.demo,
    training.train,
    conversion.check,
    conversion.convert,
    conversion.tune,
    networks.info,
    networks.run,
    networks.upgrade,
    nir.nir,
    hardware.fit,
    hardware.estimate,
    hardware.profiles,
    report.report,
    networks.doctor,
    selftest.selftest,
):
    app.command()(_command)


def main() -> None:
    """Run the command line; user errors print one sentence and exit with code 2, without a traceback."""
    warnings.showwarning = _show_warning
    try:
        app()
    except RmpLavaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings as one sentence, others as Python shows them."""
    if issubclass(category, RmpLavaWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"rmp-lava {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
