"""Shared by the two commands: validated choices, and errors as one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import typer

from rmp_lava.errors import RmpLavaError, UsageError


def called(main: Callable[..., None]) -> None:
    """Run a command with the arguments of the process; user errors exit with code 2."""
    try:
        typer.run(main)
    except RmpLavaError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def chosen(given: Sequence[str] | None, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The given names, or all known ones; raises `UsageError` for an unknown name."""
    for name in given or ():
        if name not in known:
            raise UsageError(f"{what} {name!r} is unknown; choose from {', '.join(known)}")
    return tuple(given or known)
