"""What the readers of data sets share: where they look, and how they read files that may be anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...files import StrPath

DATA_VARIABLE = "RMP_LAVA_DATA"

Part = tuple[np.ndarray, np.ndarray]
"""Images (N, C, H, W) as in `Dataset`, and labels, int64 (N,)."""


def chosen_path(directory: StrPath | None) -> Path | None:
    """The folder or file from the argument, or else from the environment variable; None if neither is given."""
    chosen = os.environ.get(DATA_VARIABLE) if directory is None else directory
    return Path(chosen) if chosen else None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise `DataError` where the system refuses to read a file or folder in the block."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); check path and permissions") from error


def read_file(path: Path, most: int, remedy: str) -> bytes:
    """The content of a regular file of at most `most` bytes; raises `DataError`, with a remedy, for anything else."""
    with readable(path):
        if not os.path.isfile(path):
            raise DataError(f"{path} is missing or not a regular file; {remedy}")
        size = path.stat().st_size
        if size > most:
            raise DataError(f"{path} has {size:,} bytes; at most {most:,} are allowed, so {remedy}")
        return path.read_bytes()


def entries(folder: Path) -> list[tuple[str, bool]]:
    """Name of everything in a folder, and whether it is a folder."""
    with readable(folder), os.scandir(folder) as found:
        return [(entry.name, entry.is_dir()) for entry in found]
