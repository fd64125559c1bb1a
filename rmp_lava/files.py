"""Atomic writes: a file is written completely or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import RmpLavaError

StrPath = str | os.PathLike[str]


def check_writable(path: StrPath, error: type[RmpLavaError] = RmpLavaError) -> None:
    """Check before long work that `write_atomically` can write to a path; leaves no file.

    Raises
    ------
    error
        If the path is a folder or a device, or the system refuses.
    """
    target = Path(os.path.realpath(path))
    try:
        with tempfile.TemporaryFile(prefix=f".{target.name}.", dir=_check_place(target)):
            pass
    except (OSError, ValueError) as problem:
        raise error(
            f"{path} cannot be written ({getattr(problem, 'strerror', None) or problem}); choose another path"
        ) from None


def write_atomically(
    path: StrPath,
    content: bytes | memoryview,
    error: type[RmpLavaError] = RmpLavaError,
    verify: Callable[[Path], None] | None = None,
) -> Path:
    """Write a temporary file in the same folder, and rename it once it is complete and on disk.

    Parameters
    ----------
    path : path
        Missing folders are created. A full disk, a kill or a failed verification leaves an existing file unchanged.
    content : bytes
    error : type
        Raised if the system refuses.
    verify : callable, optional
        Called with the temporary file's path; raises if the content is wrong.
    """
    with prepared(path, content, error, verify):
        return Path(path)


@contextmanager
def prepared(
    path: StrPath,
    content: bytes | memoryview,
    error: type[RmpLavaError] = RmpLavaError,
    verify: Callable[[Path], None] | None = None,
) -> Iterator[None]:
    """As `write_atomically`, but renamed when the block ends without an error, for files that belong together.

    A full disk then fails before any of them has changed.
    """
    target = Path(os.path.realpath(path))  # follow a link instead of replacing it
    temporary = None
    try:
        with _explained(path, error):
            _check_place(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if verify is not None:
                verify(Path(temporary))
            # mkstemp's files are readable by their owner only; use the permissions of any new file.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
        yield
        with _explained(path, error):
            os.replace(temporary, target)
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


@contextmanager
def _explained(path: StrPath, error: type[RmpLavaError]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{path} cannot be written ({reason}); an existing file of that name is unchanged") from None


def _check_place(target: Path) -> Path:
    """The nearest existing folder above the target; raises `OSError` if something else is in the way."""
    if target.is_dir():
        raise IsADirectoryError(None, "it is a folder")
    if target.exists() and not target.is_file():
        raise OSError(None, "it is not a regular file")
    existing = next(folder for folder in target.parents if os.path.lexists(folder))
    if not existing.is_dir():
        raise NotADirectoryError(None, f"{existing.name} is a file, not a folder")
    return existing


def sha256_of(path: StrPath) -> str:
    """SHA-256 of a file, in hexadecimal; raises `OSError`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
