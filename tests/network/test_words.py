"""Words: quantities with their units, labels that are short, and how sure a share is."""

from __future__ import annotations

import pytest

from rmp_lava import words


def test_wilson_interval():
    # Newcombe (Statistics in Medicine 17, 1998), table I, method 3.
    assert words.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert words.wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0 J"),
        (9.86e-6, "9.86 µJ"),
        (0.00099996, "1.00 mJ"),
        (0.00099951, "1.00 mJ"),
        (0.0009994, "999 µJ"),
        (1234.0, "1.23 kJ"),
        (5e-13, "0.500 pJ"),
        (4e-15, "0.00400 pJ"),
        (None, "unknown"),
        (float("inf"), "unknown J"),
    ],
)
def test_quantities(value, text):
    assert words.quantity(value, "J") == text


def test_labels_are_short_and_printable():
    assert words.label("abc") == "abc"
    assert words.label("a\nb\x00") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    long = words.label("features.0.block.convolution")
    assert len(long) == words.LONGEST_LABEL and long.startswith("features.0") and long.endswith("nvolution")
