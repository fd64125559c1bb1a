"""Checks the heaps of a file before the HDF5 library (2.0) reads them, as the library trusts damaged ones.

Variable-length strings are stored in global heaps: chains of objects, each of which determines where the next one begins. An
object of size 0 leads back to itself; the library follows it forever and cannot be interrupted. It also allocates whatever size
a string declares. Names are stored in local heaps, whose free blocks are a chain too, which may also lead back to itself. Many
names may be stored in a fractal heap, which may be compressed: the library inflates the whole block.
(HDF5 File Format Specification 3.0, sections III.D, III.E, III.G and VIII.)
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import h5py

_SIGNATURE = b"GCOL\x01\0\0\0"
_HEADER = 16
_LOCAL = b"HEAP\0\0\0\0"
_FRACTAL = b"FRHP\0"
_NO_BLOCK = (1, 2**64 - 1)
"""End of a chain of free blocks: as the library writes it, and as the specification defines it (the undefined address)."""


def heaps_end(path: Path, file: h5py.File) -> bool:
    """Whether every chain in a global or local heap of a file ends, and no fractal heap is compressed.

    Heaps do not overlap, and their parts have at least 16 bytes. More parts than fit into the file are refused too, as following
    them would take time quadratic in the file's size.
    """
    if file.id.get_create_plist().get_sizes() != (8, 8):
        return False  # with other widths every field is elsewhere; HDF5 writes 8 bytes by default
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position = data.find(_FRACTAL)
        while position >= 0:
            if data[position + 7 : position + 9] != b"\0\0":  # length of the filters' description
                return False
            position = data.find(_FRACTAL, position + 1)
        for signature, parts_of in ((_SIGNATURE, _objects), (_LOCAL, _free_blocks)):
            left = len(data) // _HEADER
            position = data.find(signature)
            while position >= 0:
                parts = parts_of(data, position, left)
                if parts is None:
                    return False
                left -= parts
                position = data.find(signature, position + 1)
    return True


def variable_length(path: Path, dataset: h5py.Dataset) -> int:
    """Length in bytes that variable-length strings declare together; raises `ValueError` if they are stored in chunks."""
    offset = dataset.id.get_offset()
    if offset is None:
        raise ValueError("a string is stored in chunks")
    with path.open("rb") as raw:
        raw.seek(offset)
        # Each is its length, the address of a heap, and an index there.
        return sum(length for length, _ in struct.iter_unpack("<I12s", raw.read(16 * dataset.size)))


def _objects(data: mmap.mmap, start: int, most: int) -> int | None:
    """Number of objects in a global heap; None if their chain does not end, or has more than `most`."""
    if start + _HEADER > len(data):
        return None
    end = start + struct.unpack_from("<Q", data, start + 8)[0]
    if end > len(data):
        return None
    position, found = start + _HEADER, 0
    while end - position >= _HEADER:
        index, size = struct.unpack_from("<H6xQ", data, position)
        # The size of an object excludes its header; that of the free space at the end (index 0) includes it.
        size = size if index == 0 else _HEADER + (size + 7) // 8 * 8
        if not _HEADER <= size <= end - position or found == most:
            return None
        position += size
        found += 1
    return found


def _free_blocks(data: mmap.mmap, start: int, most: int) -> int | None:
    """Number of free blocks in a local heap; None if their chain does not end, or has more than `most`.

    A block outside the heap ends the chain: the library refuses it, unless the heap belongs to a deleted group.
    """
    if start + 32 > len(data):
        return 0
    size, block, address = struct.unpack_from("<3Q", data, start + 8)
    # A chain of more blocks than fit into the heap has visited one of them again.
    for found in range(min(size // _HEADER, most) + 1):
        if block in _NO_BLOCK or block + _HEADER > size or address + block + _HEADER > len(data):
            return found
        (block,) = struct.unpack_from("<Q", data, address + block)
    return None
