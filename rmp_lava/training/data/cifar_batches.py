"""Read the untrusted downloads of CIFAR-10 and CIFAR-100: Python pickles and binary records.

A pickle is a program. These are unpickled with stand-ins for numpy's classes that only store what they are given. So nothing
in a file is executed, numpy restores nothing from it, and what was stored is checked afterwards.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from .reading import Part, read_file

PIXELS = 3 * 32 * 32

# The largest original, the training images of CIFAR-100, has 155 MB; reading takes a small multiple of that in memory.
_MAX_BYTES = 2**28
# That file has some 200,000 instructions.
_MAX_OPCODES = _MAX_MEMO = 2**19
_OPCODES = frozenset(
    "PROTO STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE APPEND APPENDS SETITEM SETITEMS TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES BINUNICODE "
    "BININT BININT1 BININT2 NONE NEWTRUE NEWFALSE GLOBAL REDUCE BUILD".split()
)


@dataclass(frozen=True)
class Download:
    """One of the data sets, as its author packed it."""

    name: str
    title: str  # for messages
    classes: tuple[str, ...]
    pickled: str  # folders of the two downloads
    binary: str
    train: tuple[str, ...]  # files of the two parts; binary ones have the suffix .bin
    test: str
    labels: str  # key of the labels in a pickled file
    labels_before: int = 0  # bytes of other labels that precede a binary record's label
    names: tuple[str, str] | None = None  # pickled file of class names, which must be `classes`, and its key


def read_batches(download: Download, folder: Path, suffix: str) -> tuple[Part, Part]:
    """Training and test part of the Python download (suffix "") or the binary one (".bin"): images, uint8 (N, 3, 32, 32), labels.

    Raises `DataError` if a file is missing, too large, damaged, or contains anything but the arrays and plain values of the
    original; a binary one consists of records of label bytes and 3,072 pixels.
    """
    read = _read_binary if suffix else _read_pickle
    if download.names is not None and not suffix:
        _check_names(download, folder, *download.names)
    parts = [read(download, folder / f"{name}{suffix}") for name in download.train]
    images, labels = zip(*parts, strict=True)
    train = parts[0] if len(parts) == 1 else (np.concatenate(images), np.concatenate(labels))
    return train, read(download, folder / f"{download.test}{suffix}")


def _read_bytes(download: Download, path: Path) -> bytes:
    return read_file(path, _MAX_BYTES, f"fetch {download.title} again")


def _read_binary(download: Download, path: Path) -> Part:
    content = np.frombuffer(_read_bytes(download, path), dtype=np.uint8)
    size = download.labels_before + 1 + PIXELS
    if not len(content) or len(content) % size:
        raise DataError(
            f"{download.title} file {path} has {len(content):,} bytes, which is not a multiple of {size:,}; fetch it again"
        )
    records = content.reshape(-1, size)
    return _part(download, path, records[:, -PIXELS:], records[:, download.labels_before])


def _check_names(download: Download, folder: Path, file: str, key: str) -> None:
    """Labels are indices of these names: in another order they would mean other classes."""
    (names,) = _read_dictionary(download, folder / file, (key,))
    found = names if isinstance(names, list) else []
    found = [name.decode("ascii", "replace") if isinstance(name, bytes) else name for name in found]
    if found != list(download.classes):
        raise DataError(
            f"{download.title} file {folder / file} does not name the {len(download.classes)} classes of the original in "
            "their order; fetch the data set again"
        )


def _read_dictionary(download: Download, path: Path, keys: tuple[str, ...]) -> tuple[Any, ...]:
    content = _unpickle(download, path, _read_bytes(download, path))
    if not isinstance(content, dict):
        raise DataError(
            f"{download.title} file {path} contains a {type(content).__name__} instead of a dictionary; fetch it again"
        )
    return tuple(content.get(key.encode(), content.get(key)) for key in keys)


def _read_pickle(download: Download, path: Path) -> Part:
    data, labels = _read_dictionary(download, path, ("data", download.labels))
    pixels = data.array() if isinstance(data, _Array) else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise DataError(f"{download.title} file {path} has no pixels of uint8 (N, {PIXELS:,}); fetch it again")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise DataError(f"{download.title} file {path} has no list of labels; fetch it again")
    return _part(download, path, pixels, np.array(labels, dtype=np.uint8))


def _part(download: Download, path: Path, pixels: np.ndarray, labels: np.ndarray) -> Part:
    if not len(pixels) or len(pixels) != len(labels) or labels.max() >= len(download.classes):
        largest = labels.max() if len(labels) else "none"
        raise DataError(
            f"{download.title} file {path} has {len(pixels):,} images and {len(labels):,} labels up to {largest}; allowed are "
            f"equally many, at least one, with labels up to {len(download.classes) - 1}, so fetch it again"
        )
    return pixels.reshape(-1, 3, 32, 32).copy(), labels.astype(np.int64)


def _unpickle(download: Download, path: Path, content: bytes) -> Any:
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            # A large memo index would make the unpickler allocate memory for all smaller ones.
            far = "BINPUT" in opcode.name and isinstance(argument, int) and argument > _MAX_MEMO
            if opcode.name not in _OPCODES or far or count > _MAX_OPCODES:
                raise pickle.UnpicklingError(f"{opcode.name} is not used like this in the original")
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:
        # On crafted bytes the unpickler may raise anything; all of it means the same here.
        raise DataError(
            f"{download.title} file {path} is damaged or not the original: it contains more than arrays and plain values, which "
            f"could run code, so it was not loaded ({type(error).__name__}); fetch it again"
        ) from error


class _Array:
    """A stand-in for a numpy array: stores the state that a pickle gives it."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray | None:
        """The array that the state describes; None unless it is uint8 in C or Fortran order with all its bytes."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            return None
        _, shape, kind, is_fortran, content = self.state
        if not isinstance(kind, _Type) or not isinstance(content, bytes) or not isinstance(shape, tuple):
            return None
        if kind.name not in ("u1", b"u1") or len(shape) != 2 or not all(type(size) is int for size in shape):
            return None
        if min(shape) < 0 or shape[0] * shape[1] != len(content):
            return None
        return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _Type:
    """A stand-in for a numpy dtype: stores its name."""

    def __init__(self, name: Any = None, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError("a class or function that the original does not use")
        return _STAND_INS[module, name]
