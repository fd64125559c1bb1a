"""Equality by value, and read-only arrays, for the frozen classes of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import NetworkError


class Value:
    """Equality by value for frozen dataclasses that hold numpy arrays."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self) if f.compare)

    __hash__ = None  # type: ignore[assignment]

    def replace(self, **changes: Any):
        """A copy with the given fields changed."""
        return dataclasses.replace(self, **changes)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return (
            isinstance(a, np.ndarray)
            and isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and np.array_equal(a, b)
        )
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(value, b[key]) for key, value in a.items())
    return a == b


def frozen_array(value: Any) -> np.ndarray:
    """A read-only copy: whole numbers as int16 (int64 where that is too narrow), real ones as float32."""
    array = np.array(value)
    if array.dtype.kind == "u" and array.size and array.max() >= 2**63:
        raise NetworkError(f"an array holds {array.max()}; whole numbers here are of at most 63 bits")
    if array.dtype.kind in "iu":
        fits = not array.size or (array.min() >= -(2**15) and array.max() < 2**15)
        array = array.astype(np.int16 if fits else np.int64)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    array.flags.writeable = False
    return array
