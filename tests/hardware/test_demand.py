"""Bits of weights: those that hold them, as few as can be, and lava-dl's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from rmp_lava.hardware.demand import weight_bits


@given(
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.integers(0, 5),
)
def test_weight_bits_hold_the_weights_and_no_fewer_do(a, b, shift):
    array = np.array([a, b], dtype=np.int16) << shift
    bits = weight_bits(array, 99)
    if not array.any():
        assert bits == 99
        return
    step = int(np.gcd.reduce(array))
    step &= -step
    low, high = int(array.min()) // step, int(array.max()) // step

    def held(n: int) -> bool:
        if low < 0 < high:
            return -(2 ** (n - 1)) <= low and high < 2 ** (n - 1)
        return max(abs(low), abs(high)) < 2**n

    assert held(bits) and not held(bits - 1)


@pytest.mark.lava
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 9, 30, 127]))
def test_weight_bits_are_lava_dls_for_mixed_weights(seed, largest):
    from lava.lib.dl.netx.utils import optimize_weight_bits

    rng = np.random.default_rng(seed)
    array = (2 * rng.integers(-largest, largest + 1, 40)).astype(np.int16)
    if array.min() < 0 < array.max():
        assert weight_bits(array, 8) == optimize_weight_bits(array.copy())[1]


def test_real_weights_take_all_bits():
    assert weight_bits(np.array([0.5, -0.25], dtype=np.float32), 8) == 8
