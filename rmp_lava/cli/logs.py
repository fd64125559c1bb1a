"""The log of a command: to standard error, and to a file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..choices import LogLevel
from ..errors import UsageError
from ..files import check_writable

ROOT = "rmp_lava"


if TYPE_CHECKING:
    _Handler = logging.StreamHandler[TextIO]
else:  # Python 3.10 does not take an index here
    _Handler = logging.StreamHandler


class _StandardError(_Handler):
    """Writes to what standard error is at the time; not what is there already."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # a progress bar puts itself in the place of standard error
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("standard error is what it is")

    def filter(self, record: logging.LogRecord) -> Any:
        return not getattr(record, "shown", False) and super().filter(record)

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {super().format(record)}"


def begin(level: LogLevel | None, path: Path | None) -> None:
    """Log what this process does from now on, and nothing of what it logged to before.

    Parameters
    ----------
    level : {"debug", "info", "warning", "error"}, optional
        Of both; "warning" on standard error and "info" in a file if omitted.
    path : Path, optional
        File to append to.

    Raises
    ------
    UsageError
        If the file cannot be written, or is none of text.
    """
    log = logging.getLogger(ROOT)
    for handler in [each for each in log.handlers if not isinstance(each, logging.NullHandler)]:
        log.removeHandler(handler)
        handler.close()
    shown = _StandardError()
    shown.setLevel((level or "warning").upper())
    log.addHandler(shown)
    if path is not None:
        check_writable(path, UsageError)
        if _is_binary(path):
            raise UsageError(f"{path} exists and is no text, so no log is appended to it; choose another path")
        path.parent.mkdir(parents=True, exist_ok=True)
        written = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
        written.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(written)
    log.setLevel((level or ("warning" if path is None else "info")).upper())
    log.propagate = False


def _is_binary(path: Path) -> bool:
    """Whether it is a network, a checkpoint, an array or the like: their first bytes have zeros."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"\0" in file.read(512)


def first(arguments: list[str]) -> list[str]:
    """The arguments with the options of the log in front of the command, wherever they were given."""
    front, rest = [], []
    remaining = iter(arguments)
    for argument in remaining:
        name, separate, _ = argument.partition("=")
        if name in ("--log-level", "--log-file"):
            front += [argument] if separate else [argument, *[value for value in [next(remaining, None)] if value]]
        elif argument == "--":
            rest += [argument, *remaining]
        else:
            rest.append(argument)
    return front + rest
