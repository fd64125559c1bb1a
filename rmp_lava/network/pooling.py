"""Average pooling that was folded into the synapse after it, which made that synapse's weights equal in blocks.

A convolution of kernel p k, stride p s and padding p q whose weights are equal within blocks of p = (height, width) is one of
kernel k, stride s and padding q over the sums of such blocks of its source: the same sums with fewer products. `Synapse.pool`
keeps p; `folded_pool` finds it where a synapse is made.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .synapses import Conv, Dense, Synapse


def folded_pool(synapse: Synapse, source_shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The largest square blocks of source neurons within which a synapse's weights are equal, or None.

    Parameters
    ----------
    synapse : Synapse
    source_shape : tuple of int
        (channels, height, width) of its source; a flat source has no blocks.
    """
    conv = as_convolution(synapse, source_shape)
    if conv is None or conv.dilation != (1, 1):
        return None
    # The blocks have to divide the source and its padding.
    largest = math.gcd(*conv.weight.shape[2:], *conv.stride, *conv.padding, *source_shape[1:])
    sides = (p for p in range(largest, 1, -1) if largest % p == 0)
    side = next((p for p in sides if _is_equal_in_blocks(conv.weight, (p, p))), None)
    return None if side is None else (side, side)


def is_folded(synapse: Synapse, source_shape: tuple[int, ...]) -> bool:
    """Whether a synapse's weights are those of its `pool`."""
    conv, pool = as_convolution(synapse, source_shape), synapse.pool
    if conv is None or pool is None or conv.dilation != (1, 1) or len(pool) != 2 or min(pool) < 1:
        return False
    sizes = (conv.weight.shape[2:], conv.stride, conv.padding, source_shape[1:])
    cut = all(n % p == 0 for size in sizes for n, p in zip(size, pool, strict=True))
    return cut and _is_equal_in_blocks(conv.weight, pool)


def per_block(conv: Conv) -> Conv:
    """The convolution over sums of blocks that does the same as `conv`; itself where it has no `pool`."""
    if conv.pool is None:
        return conv
    (ph, pw), (sh, sw), (qh, qw) = conv.pool, conv.stride, conv.padding
    weight = np.ascontiguousarray(conv.weight[:, :, ::ph, ::pw])
    return replace(conv, weight=weight, stride=(sh // ph, sw // pw), padding=(qh // ph, qw // pw), pool=None)


def repeat_in_blocks(weight: np.ndarray, pool: tuple[int, int]) -> np.ndarray:
    """(..., height, width) weights over blocks as weights over single neurons."""
    return weight.repeat(pool[0], axis=-2).repeat(pool[1], axis=-1)


def as_convolution(synapse: Synapse, source_shape: tuple[int, ...]) -> Conv | None:
    """A synapse of a (channels, height, width) source as a convolution; a dense one has the whole image as kernel."""
    if len(source_shape) != 3:
        return None
    if isinstance(synapse, Dense):
        _, height, width = source_shape
        return Conv(synapse.source, synapse.weight.reshape(-1, *source_shape), stride=(height, width))
    return synapse if isinstance(synapse, Conv) else None


def _is_equal_in_blocks(weight: np.ndarray, pool: tuple[int, int]) -> bool:
    return np.array_equal(repeat_in_blocks(weight[:, :, :: pool[0], :: pool[1]], pool), weight)
