"""Numbers that are known between bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A value that is not negative, between the lowest and the highest that published figures allow."""

    low: float
    value: float
    high: float

    def __add__(self, other: Interval) -> Interval:
        """The sum, as if both were lowest or highest at the same time."""
        return Interval(self.low + other.low, self.value + other.value, self.high + other.high)

    def __mul__(self, other: Interval | float) -> Interval:
        """The product, bound by bound."""
        if isinstance(other, Interval):
            return Interval(self.low * other.low, self.value * other.value, self.high * other.high)
        return Interval(self.low * other, self.value * other, self.high * other)

    def __contains__(self, value: float) -> bool:
        """Whether a value lies between the bounds; values are rounded to 12 digits, as products of bounds are."""
        return self.low * (1 - 1e-12) <= value <= self.high * (1 + 1e-12)

    @property
    def is_exact(self) -> bool:
        """Whether the bounds are the value."""
        return self.low == self.value == self.high

    def summary(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {"low": self.low, "value": self.value, "high": self.high}


NOTHING = Interval(0.0, 0.0, 0.0)


def exactly(value: float) -> Interval:
    """An interval without width."""
    return Interval(value, value, value)


def total(*parts: Interval) -> Interval:
    """The sum of any number of intervals."""
    return sum(parts, NOTHING)


def largest(*parts: Interval) -> Interval:
    """The maximum, bound by bound."""
    return Interval(max(p.low for p in parts), max(p.value for p in parts), max(p.high for p in parts))
