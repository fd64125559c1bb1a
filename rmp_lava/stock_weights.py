"""Integers as weights of stock neurons: an 8-bit mantissa and an exponent."""

from __future__ import annotations

import numpy as np

from .registers import MAX_WEIGHT_EXPONENT

MAX_MANTISSA = 255
MAX_VALUE = MAX_MANTISSA << MAX_WEIGHT_EXPONENT


def is_one_weight(value: int) -> bool:
    """Whether one weight represents this value exactly: mantissa <= 255 times 2^exponent, exponent <= 7."""
    return 0 < value <= MAX_VALUE and len(terms(value)) == 1


def terms(value: int) -> list[tuple[int, int]]:
    """(mantissa, exponent) of one or two weights whose sum is exactly `value`, 1 .. `MAX_VALUE`."""
    exponent = min((value & -value).bit_length() - 1, MAX_WEIGHT_EXPONENT)
    if value >> exponent <= MAX_MANTISSA:
        # Use the smallest exponent that fits; larger ones would represent the same value.
        exponent = max(0, value.bit_length() - 8)
        return [(value >> exponent, exponent)]
    low = value & ((1 << MAX_WEIGHT_EXPONENT) - 1)
    return [(value >> MAX_WEIGHT_EXPONENT, MAX_WEIGHT_EXPONENT), (low, 0)]


def weights_for(values: np.ndarray) -> tuple[int, int]:
    """(weights that represent an array of integers, different pairs of sign and exponent among them).

    `backends.lava.pulses` has a bundle of synapses for each sign and exponent.
    """
    found = [
        (value > 0, exponent, int(count))
        for value, count in zip(*np.unique(values, return_counts=True), strict=True)
        for _, exponent in (terms(abs(int(value))) if value else ())
    ]
    return sum(count for *_, count in found), len({(sign, exponent) for sign, exponent, _ in found})
