"""Equality by value, and read-only arrays, for the frozen classes of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import NetworkError

if TYPE_CHECKING:
    from typing_extensions import Self


class Value:
    """Equality by value, copies and a short `repr` for frozen dataclasses that hold numpy arrays and mappings."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, each.name), getattr(other, each.name)) for each in _fields(self) if each.compare)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        # Read-only mappings do not pickle; what is made anew is checked and frozen again.
        values = {each.name: getattr(self, each.name) for each in _fields(self)}
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
        return _made_again, (type(self), plain)

    def __repr__(self) -> str:
        shown = [
            _shown(getattr(self, each.name)) if each.default is dataclasses.MISSING else f"{each.name}={_shown(value)}"
            for each in _fields(self)
            if not _is_default(each, value := getattr(self, each.name))
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def replace(self, **changes: Any) -> Self:
        """A copy with the given fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


def _fields(value: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(value)


def _made_again(cls: type[Value], values: dict[str, Any]) -> Value:
    return cls(**values)


def _is_default(each: dataclasses.Field[Any], value: Any) -> bool:
    if each.default_factory is not dataclasses.MISSING:
        return not value
    return each.default is not dataclasses.MISSING and _same(value, each.default)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return f"<{len(value)} entries>" if isinstance(value, Mapping) else repr(value)


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


def frozen_scale(value: Any) -> np.ndarray:
    """A read-only copy of positive factors as float64, shape () or (channels,).

    Raises
    ------
    NetworkError
        If it has another shape, or a factor is not a positive finite number.
    """
    return _frozen_by_unit(value, "a scale", "positive finite number", lambda scale: np.isfinite(scale) & (scale > 0))


def frozen_rates(value: Any) -> np.ndarray:
    """Likewise of spikes per time step, 0..1."""
    return _frozen_by_unit(value, "a mean rate", "number of 0..1", lambda rates: (rates >= 0) & (rates <= 1))


def _frozen_by_unit(value: Any, what: str, allowed: str, fits: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    try:
        found = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise NetworkError(f"{what} is {str(value)[:40]!r}; expected one number, or one per channel") from None
    if found.ndim > 1 or not found.size or not fits(found).all():
        raise NetworkError(
            f"{what} has shape {found.shape} and values from {found.min(initial=np.inf):g}; expected one {allowed}, or one per "
            "channel"
        )
    found.flags.writeable = False
    return found


def per_neuron(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One value, one per channel or one per neuron, broadcast to a population's shape."""
    value = np.asarray(value)
    if value.ndim == 1 and len(shape) == 3 and value.shape[0] == shape[0]:
        value = value[:, None, None]
    return np.broadcast_to(value, shape)


def per_row(values: Any, ndim: int) -> Any:
    """One value per row, (rows,) or one number, in a shape that broadcasts against arrays or tensors of `ndim` axes."""
    return values.reshape(-1, *[1] * (ndim - 1)) if values.ndim else values


def extent(value: float | np.ndarray) -> str:
    """A number, or the smallest and the largest of several, in words."""
    low, high = np.min(value), np.max(value)
    return f"{low:g}" if low == high else f"{low:g} … {high:g}"


def frozen_array(value: Any) -> np.ndarray:
    """A read-only copy: integers as int16 (int64 where that is too narrow), real numbers as float32."""
    array = np.array(value)
    if array.dtype.kind == "u" and array.size and array.max() >= 2**63:
        raise NetworkError(f"an array holds {array.max()}; integers of at most 63 bits are allowed")
    if array.dtype.kind in "iu":
        fits = not array.size or (array.min() >= -(2**15) and array.max() < 2**15)
        array = array.astype(np.int16 if fits else np.int64)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    array.flags.writeable = False
    return array
