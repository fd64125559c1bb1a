"""How many examples Hypothesis draws for a test that asks for another number than the profile's; see `conftest.py`."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> int:
    """`count` in the profiles of full depth, which draw 100 by default, and the same share of it in others."""
    return max(1, count * settings().max_examples // 100)
