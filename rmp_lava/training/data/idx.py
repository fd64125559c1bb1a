"""Read untrusted idx files, the format of MNIST and similar sets (Y. LeCun, yann.lecun.com/exdb/mnist).

An idx file of unsigned bytes is: two zero bytes, 0x08, the number of dimensions, each dimension as a big-endian 32-bit
integer, then the elements in C order.
"""

from __future__ import annotations

import gzip
import math
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...errors import DataError
from ...files import StrPath
from .reading import readable

# Five times the largest file of Fashion-MNIST (47 MB): enough for larger sets of the kind, too little for a gzip bomb.
MAX_ELEMENTS = 2**28
_CHUNK = 2**20
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: StrPath, tail: tuple[int, ...]) -> np.ndarray:
    """Read an idx file of unsigned bytes, gzip-compressed or not (decided by its content, not by its name).

    Returns uint8 (N, *tail), N >= 1, writable; `tail` is () for labels, (H, W) for images. Raises `DataError` if the file is
    missing, unreadable, not an idx file, of other dimensions, truncated or longer than its header declares. The header is
    compared with the bytes in the file before memory is allocated for them.
    """
    path = Path(path)
    with readable(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"idx file {path} is not a regular file; name a file")
        with path.open("rb") as raw:
            compressed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if not compressed:
                return _read_stream(raw, path, tail, size=os.fstat(raw.fileno()).st_size)
            try:
                with gzip.GzipFile(fileobj=raw) as stream:
                    return _read_stream(stream, path, tail, size=None)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise DataError(f"idx file {path} is damaged gzip data ({error}); fetch it again") from error


def _read_stream(stream: BinaryIO | gzip.GzipFile, path: Path, tail: tuple[int, ...], size: int | None) -> np.ndarray:
    shape = _read_header(stream, path, tail)
    elements = math.prod(shape)
    if size is not None:
        _check_length(path, elements, size - 4 - 4 * len(shape))
    # One byte more than needed shows whether anything follows; the size of a gzip stream is known only after reading it.
    content = _read_at_most(stream, elements + 1)
    _check_length(path, elements, len(content))
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_header(stream: BinaryIO | gzip.GzipFile, path: Path, tail: tuple[int, ...]) -> tuple[int, ...]:
    rank = 1 + len(tail)
    header = _read_at_most(stream, 4 + 4 * rank)
    magic = bytes((0, 0, 8, rank))
    if header[:4] != magic:
        raise DataError(
            f"idx file {path} starts with {header[:4].hex() or 'nothing'} where {magic.hex()} "
            f"(unsigned bytes, {rank} dimensions) is allowed; fetch the file again"
        )
    if len(header) < 4 + 4 * rank:
        raise DataError(f"idx file {path} is truncated inside its header; fetch it again")
    shape = struct.unpack(f">{rank}I", header[4:])
    if shape[0] == 0 or shape[1:] != tail:
        allowed = " x ".join(("N >= 1", *map(str, tail)))
        raise DataError(f"idx file {path} declares {' x '.join(map(str, shape))} elements; allowed are {allowed}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise DataError(
            f"idx file {path} declares {math.prod(shape):,} elements; at most {MAX_ELEMENTS:,} are allowed, "
            "so fetch the file again"
        )
    return shape


def _read_at_most(stream: BinaryIO | gzip.GzipFile, limit: int) -> bytearray:
    """Read up to `limit` bytes in chunks: `read(limit)` would allocate what a header declares before any of it is read."""
    content = bytearray()
    while len(content) < limit:
        chunk = stream.read(min(_CHUNK, limit - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def _check_length(path: Path, elements: int, found: int) -> None:
    if found < elements:
        raise DataError(f"idx file {path} is truncated: {found:,} of {elements:,} elements are in it; fetch it again")
    if found > elements:
        raise DataError(f"idx file {path} continues after the {elements:,} elements of its header; fetch it again")
