"""Limits on what a dataset may declare, checked before anything is allocated.

A file of a few bytes can declare datasets of terabytes, and many names can refer to the same data. So no dataset may declare more
than its stored bytes can expand to, and all datasets that are read together no more than the file's size can hold.
"""

from __future__ import annotations

import h5py
import numpy as np

from .chunks import are_understood, are_whole, filters_of

MAX_ELEMENTS = 2**28
"""Largest dataset that is read; VGG-16 for ImageNet has 1.4e8 weights."""
MAX_EXPANSION = 1100
"""Most bytes that one stored byte can expand to; gzip, which `save` uses, reaches 1032."""
_FREE_BYTES = 2**20
"""Bytes that a file may declare beyond its size times `MAX_EXPANSION`: small values, and partly filled chunks."""
_FREE_BYTES_OF_DATASET = 2**12
_PRICE = 2**16
"""Bytes charged for each dataset on top of its own, as reading takes time; a dataset takes at least 100 bytes of a file."""
_PRICE_OF_CHUNK = 2**12


class Budget:
    """Bytes that may still be read from a file of `file_size` bytes."""

    def __init__(self, file_size: int) -> None:
        self.left = MAX_EXPANSION * file_size + _FREE_BYTES

    def refusal(self, dataset: h5py.Dataset) -> str | None:
        """Why a dataset must not be read, as the end of a sentence; None, and its bytes are charged, if it may."""
        if dataset.is_virtual or dataset.external:
            return "is stored outside the file; only data inside the file is read"
        if dataset.size is None:
            return "is empty"
        if dataset.size > MAX_ELEMENTS:
            return f"declares {dataset.size} values; at most {MAX_ELEMENTS} are read"
        if dataset.nbytes > MAX_EXPANSION * dataset.id.get_storage_size() + _FREE_BYTES_OF_DATASET:
            return f"declares {dataset.nbytes} bytes, but few or none are in the file; export it again"
        # As floats: the product of declared sizes can exceed 64 bits.
        chunk_bytes = 0.0 if dataset.chunks is None else np.prod(dataset.chunks, dtype=float) * dataset.dtype.itemsize
        if chunk_bytes > dataset.nbytes + _FREE_BYTES:
            return f"declares chunks of {dataset.chunks}, larger than itself; export it again"
        filters = filters_of(dataset)
        if not are_understood(filters):
            return (
                f"has filters {filters}; only shuffle (2), gzip (1) after it and a checksum (3) are read; "
                "rewrite it with those"
            )
        chunks = 0 if dataset.chunks is None else dataset.id.get_num_chunks()
        self.left -= dataset.nbytes + _PRICE + _PRICE_OF_CHUNK * chunks
        if self.left < 0:
            return "and what was read before it declare more bytes than a file of this size can hold; export the network again"
        if not are_whole(dataset, filters):
            return "stores more or fewer bytes than it declares; the file is damaged, export it again"
        return None
