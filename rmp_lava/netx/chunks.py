"""Looks at compressed data before the HDF5 library (2.0) does, which inflates all that is there, whatever it declares.

A chunk of one byte may hold a gzip stream of gigabytes, and a dataset may ask for several decompressions in a row.
(HDF5 File Format Specification 3.0, section IV.A.2.l; zlib, RFC 1950.)
"""

from __future__ import annotations

import zlib

import h5py
import numpy as np

_HARMLESS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
_CHECKSUM_BYTES = 4


def filters_of(dataset: h5py.Dataset) -> list[int]:
    """Numbers of the filters that a dataset has gone through, in that order."""
    plist = dataset.id.get_create_plist()
    return [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]


def are_understood(filters: list[int]) -> bool:
    """Whether they are those of `save`, or fewer: shuffle, gzip at most once, and checksums."""
    return all(number in (*_HARMLESS, h5py.h5z.FILTER_DEFLATE) for number in filters) and len(set(filters)) == len(
        filters
    )


def keep_their_size(dataset: h5py.Dataset, filters: list[int]) -> bool:
    """Whether no stored chunk is more than a chunk, neither as it is stored nor inflated.

    Inflates each chunk once more than reading does, into no more memory than a chunk takes; `ValueError` for a damaged one.
    """
    if h5py.h5z.FILTER_DEFLATE not in filters:
        return True
    bit = 1 << filters.index(h5py.h5z.FILTER_DEFLATE)
    most = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize + _CHECKSUM_BYTES
    offsets: list[tuple[int, ...]] = []
    dataset.id.chunk_iter(lambda stored: offsets.append(stored.chunk_offset))
    for offset in offsets:
        mask, content = dataset.id.read_direct_chunk(offset)
        try:
            inflated = content if mask & bit else zlib.decompressobj().decompress(content, most + 1)
        except zlib.error as error:
            raise ValueError(f"a chunk of {dataset.name} cannot be inflated: {error}") from None
        if len(inflated) > most:
            return False
    return True
