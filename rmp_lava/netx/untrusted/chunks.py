"""Checks filtered data before the HDF5 library (2.0) reads it, as the library inflates everything whatever size is declared.

A chunk of one byte may contain a gzip stream of gigabytes, and a dataset may declare several decompressions in a row. If a chunk
inflates to too few bytes, the library copies the memory that follows it.
(HDF5 File Format Specification 3.0, section IV.A.2.l; zlib, RFC 1950.)
"""

from __future__ import annotations

import zlib

import h5py
import numpy as np

_SHUFFLE, _GZIP, _CHECKSUM = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32
_CHECKSUM_BYTES = 4


def filters_of(dataset: h5py.Dataset) -> list[int]:
    """Numbers of a dataset's filters, in the order in which they were applied."""
    plist = dataset.id.get_create_plist()
    return [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]


def are_understood(filters: list[int]) -> bool:
    """Whether the filters are at most those of `save`: shuffle before gzip, each at most once, and a checksum anywhere."""
    once = len(set(filters)) == len(filters) and set(filters) <= {_SHUFFLE, _GZIP, _CHECKSUM}
    # Data that was shuffled after compression is a different stream when it is read.
    return once and (not {_SHUFFLE, _GZIP} <= set(filters) or filters.index(_SHUFFLE) < filters.index(_GZIP))


def are_whole(dataset: h5py.Dataset, filters: list[int]) -> bool:
    """Whether every stored chunk inflates to exactly the size of a chunk.

    Inflates each chunk once, in addition to the library, into no more memory than a chunk takes; raises `ValueError` for a
    damaged one.
    """
    if not filters:
        return True  # the library checks the size of unfiltered data
    size = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
    offsets: list[tuple[int, ...]] = []
    dataset.id.chunk_iter(lambda stored: offsets.append(stored.chunk_offset))
    for offset in offsets:
        skipped, content = dataset.id.read_direct_chunk(offset)
        applied = [number for i, number in enumerate(filters) if not skipped & 1 << i]
        expected = size + _CHECKSUM_BYTES * (_CHECKSUM in applied)
        if _GZIP in applied:
            if _CHECKSUM in applied and applied.index(_CHECKSUM) > applied.index(_GZIP):
                expected = size  # the checksum is of the compressed bytes, and follows them
            content = _inflated(content, expected + 1, dataset.name)
        if len(content) != expected:
            return False
    return True


def _inflated(content: bytes, most: int, name: str) -> bytes:
    try:
        return zlib.decompressobj().decompress(content, most)
    except zlib.error as error:
        raise ValueError(f"a chunk of {name} cannot be inflated: {error}") from None
