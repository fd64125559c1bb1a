"""The command `rmp-lava`: parses, calls, prints. Everything heavy is imported inside the commands."""

from __future__ import annotations

import logging
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ..choices import LogLevel
from ..errors import RmpLavaError, RmpLavaWarning
from ..progress import SHOWN, running
from . import conversion, hardware, logs, networks, nir, options, report, selftest, study, training, zoo

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
    zoo.zoo,
    hardware.fit,
    hardware.estimate,
    hardware.profiles,
    report.report,
    study.sweep,
    networks.doctor,
    selftest.selftest,
):
    app.command()(_command)

log = logging.getLogger(logs.ROOT)


def main() -> None:
    """Run the command line; user errors print one sentence and exit with code 2, without a traceback."""
    warnings.showwarning = _show_warning
    if isinstance(sys.stdout, TextIOWrapper):  # where its encoding lacks a character of a table or of a file's name
        sys.stdout.reconfigure(errors="replace")
    try:
        app(logs.first(sys.argv[1:]))
    except RmpLavaError as error:
        print(f"error: {error}", file=sys.stderr)
        log.error("%s", error, extra=SHOWN)
        sys.exit(2)
    except Exception:
        log.exception("this is a defect of rmp-lava, please report it", extra=SHOWN)
        raise


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
        log.warning("%s", message)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"rmp-lava {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(envvar="RMP_LAVA_LOG", help="What to log.", show_default="warning; in a file info"),
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option(help="Append the log to this file, too.", callback=options.claim)
    ] = None,
) -> None:
    logs.begin(log_level, log_file)
    name = f"rmp-lava {context.invoked_subcommand}"
    log.info("rmp-lava %s", " ".join(sys.argv[1:]), extra=SHOWN)
    context.with_resource(running(name))
