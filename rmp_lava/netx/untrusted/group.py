"""Checked access to the groups and values of an HDF5 file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from ...errors import NetFileError, first_line
from .budget import Budget
from .heap import heaps_end, variable_length

_LFS = b"version https://git-lfs"
MAX_TEXT = 2**24
"""Longest string that is read, in bytes."""

_Kind = TypeVar("_Kind", list, dict)


@contextmanager
def opened(path: Path, kind: str = ".net") -> Iterator[Group]:
    """The root group of a file of this kind, closed after the block.

    Raises
    ------
    NetFileError
        If the file is missing, is not HDF5 or is damaged, whether found here or while the block reads.
    """
    if not os.path.isfile(path):
        raise NetFileError(f"{path} does not exist or is not a file; pass the path of a {kind} file")
    try:
        if not h5py.is_hdf5(path):
            with open(path, "rb") as raw:
                if raw.read(len(_LFS)) == _LFS:
                    raise NetFileError(
                        f"{path} is a pointer of git LFS to the file, not the file; run git lfs pull there"
                    )
            writer = "rmp-lava or lava-dl" if kind == ".net" else "the package nir"
            raise NetFileError(f"{path} is not a {kind} file (not HDF5); pass one that {writer} has written")
        with h5py.File(path, "r") as file:
            if not heaps_end(path, file):
                raise NetFileError(
                    f"{path} is damaged (its strings or names cannot be followed); export the network again"
                )
            yield Group(path, file, Budget(os.path.getsize(path)))
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        # h5py raises any of these for a damaged file, sometimes only while reading.
        raise NetFileError(
            f"{path} is not a readable HDF5 file ({first_line(error)}); export the network again"
        ) from None


class Group:
    """One HDF5 group. Every method raises `NetFileError`, naming file and key, for what is missing or not as expected.

    In a `complete` file (ours) every key is present; defaults are for files that lava-dl wrote.
    """

    def __init__(self, path: Path, group: h5py.Group, budget: Budget, complete: bool = False) -> None:
        self.path, self.complete = path, complete
        self._group, self._budget = group, budget

    def fail(self, sentence: str) -> NetFileError:
        """The error to raise: the file's path and a sentence."""
        return NetFileError(f"{self.path}: {sentence}")

    def where(self, key: str = "") -> str:
        """The path of a key, or of this group, inside the file."""
        return f"{self._group.name.rstrip('/')}/{key}".rstrip("/")

    def is_group(self, key: str) -> bool:
        """Whether a key is a group rather than a dataset."""
        return isinstance(self._node(key), h5py.Group)

    def __contains__(self, key: str) -> bool:
        return key in self._group

    def __len__(self) -> int:
        return len(self._group)

    def has(self, key: str) -> bool:
        """Whether to read a key that lava-dl's files may leave out."""
        return self.complete or key in self

    def child(self, key: str) -> Group:
        node = self._node(key)
        if not isinstance(node, h5py.Group):
            raise self.fail(f"{self.where(key)} is a dataset; a group is expected there")
        return Group(self.path, node, self._budget, self.complete)

    def names(self) -> list[str]:
        """The keys of this group."""
        return list(self._group)

    def numbers(self, key: str, *, integers: bool = False, finite: bool = True) -> np.ndarray:
        """An array of numbers, without NaN, and without infinity if `finite`.

        `integers` refuses fractions and gives floats without any as int32.
        """
        dataset = self._dataset(key)
        if dataset.dtype.kind not in "iufb":
            raise self.fail(f"{self.where(key)} has type {dataset.dtype}; numbers are expected")
        array = np.asarray(dataset[()])
        if array.dtype.kind == "f" and not (np.isfinite(array) if finite else ~np.isnan(array)).all():
            raise self.fail(f"{self.where(key)} contains NaN or infinity; train or convert the network again")
        if array.dtype == np.uint64 and (array > np.iinfo(np.int64).max).any():
            raise self.fail(f"{self.where(key)} contains numbers beyond 63 bits; no network needs them")
        if integers and array.dtype.kind == "f":
            if (array != np.rint(array)).any() or (np.abs(array) >= 2**31).any():
                raise self.fail(f"{self.where(key)} contains fractions; integers are expected")
            array = array.astype(np.int32)
        return array

    def integer(self, key: str, default: int | None = None) -> int:
        if default is not None and not self.has(key):
            return default
        return int(self._single(key, self.numbers(key, integers=True)))

    def scalar(self, key: str) -> float | int:
        return self._single(key, self.numbers(key))

    def pair(self, key: str, default: int) -> tuple[int, int]:
        """Two integers; a single one counts for both, and `default` where the key is left out."""
        if not self.has(key):
            return (default, default)
        values = self.numbers(key, integers=True).reshape(-1)
        if values.size not in (1, 2):
            raise self.fail(f"{self.where(key)} has {values.size} values; one or two are expected")
        return (int(values[0]), int(values[-1]))

    def text(self, key: str) -> str:
        """A single string; in a `complete` file of fixed length, which HDF5 does not keep in a heap."""
        dataset = self._dataset(key)
        kind = h5py.check_string_dtype(dataset.dtype)
        if kind is None or dataset.size != 1 or (kind.length is None and self.complete):
            raise self.fail(f"{self.where(key)} is not a single string of fixed length")
        length = variable_length(self.path, dataset) if kind.length is None else kind.length
        if length > MAX_TEXT:
            raise self.fail(f"{self.where(key)} is a string of {length} bytes; at most {MAX_TEXT} are read")
        raw: bytes = np.asarray(dataset[()]).reshape(-1)[0]
        return raw.decode("utf-8")

    def is_text(self, key: str) -> bool:
        """Whether a key holds text."""
        node = self._node(key)
        return isinstance(node, h5py.Dataset) and h5py.check_string_dtype(node.dtype) is not None

    def texts(self, key: str) -> np.ndarray:
        """An array of strings, which together are at most as long as a string may be."""
        dataset = self._dataset(key)
        kind = h5py.check_string_dtype(dataset.dtype)
        if kind is None:
            raise self.fail(f"{self.where(key)} has type {dataset.dtype}; strings are expected")
        length = variable_length(self.path, dataset) if kind.length is None else kind.length * dataset.size
        if length > MAX_TEXT:
            raise self.fail(f"{self.where(key)} holds {length} bytes; at most {MAX_TEXT} are read")
        return np.vectorize(lambda raw: raw.decode("utf-8"), otypes=[object])(np.asarray(dataset[()]))

    def json(self, key: str, kind: type[_Kind]) -> _Kind:
        try:
            value = json.loads(self.text(key))
        except (json.JSONDecodeError, RecursionError) as error:
            raise self.fail(f"{self.where(key)} is not valid JSON ({first_line(error)})") from None
        if not isinstance(value, kind):
            raise self.fail(f"{self.where(key)} is JSON of another type; expected {kind.__name__}")
        return value

    def attribute(self, name: str) -> int | None:
        """An integer attribute; None if it is missing, 0 if it is something else."""
        attributes = self._group.attrs
        if name not in attributes:
            return None
        entry = attributes.get_id(name)
        return int(attributes[name]) if entry.dtype.kind in "iu" and entry.shape == () else 0

    def _single(self, key: str, values: np.ndarray) -> float | int:
        if values.size != 1:
            raise self.fail(f"{self.where(key)} has shape {values.shape}; one number is expected")
        number: float | int = values.reshape(-1)[0].item()
        return number

    def _node(self, key: str) -> h5py.Group | h5py.Dataset:
        link = self._group.get(key, getlink=True)
        if link is None:
            raise self.fail(f"{self.where(key)} is missing; the file is incomplete, export the network again")
        if not isinstance(link, h5py.HardLink):
            raise self.fail(f"{self.where(key)} is a link to somewhere else; only data inside the file is read")
        return self._group[key]

    def _dataset(self, key: str) -> h5py.Dataset:
        node = self._node(key)
        if not isinstance(node, h5py.Dataset):
            raise self.fail(f"{self.where(key)} is a group; a dataset is expected there")
        refusal = self._budget.refusal(node)
        if refusal is not None:
            raise self.fail(f"{self.where(key)} {refusal}")
        return node
