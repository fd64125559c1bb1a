"""Average pooling that was folded into the convolution behind it, found again in the weights: it made them equal in blocks.

A convolution of kernel p k, stride p s and padding p q whose weights are equal within blocks of p x p is one of kernel k,
stride s and padding q over the sums of such blocks of its source: the same sums with 1 / p^2 of the products.
"""

from __future__ import annotations

import math

import numpy as np

from .network import Conv, Synapse


def shared_block(synapse: Synapse, source_shape: tuple[int, ...]) -> int:
    """Side p of the largest blocks of source neurons that share their weights; 1 if there are none.

    Parameters
    ----------
    synapse : Synapse
        Any; only convolutions share weights in this way.
    source_shape : tuple of int
        (channels, height, width) of its source.
    """
    if not isinstance(synapse, Conv) or synapse.dilation != (1, 1):
        return 1
    # Blocks that a source is cut into have to end where it ends, and where its padding does.
    largest = math.gcd(*synapse.weight.shape[2:], *synapse.stride, *synapse.padding, *source_shape[1:])
    return next(
        (p for p in range(largest, 1, -1) if largest % p == 0 and _is_equal_in_blocks(synapse.weight, p)),
        1,
    )


def per_block(conv: Conv, block: int) -> Conv:
    """The convolution over sums of blocks that does the same as `conv`, whose weights are equal within such blocks."""
    return conv.replace(
        weight=np.ascontiguousarray(conv.weight[:, :, ::block, ::block]),
        stride=tuple(s // block for s in conv.stride),
        padding=tuple(p // block for p in conv.padding),
    )


def repeat_in_blocks(weight: np.ndarray, block: int) -> np.ndarray:
    """(..., height, width) weights over blocks as weights over single neurons."""
    return weight.repeat(block, axis=-2).repeat(block, axis=-1)


def _is_equal_in_blocks(weight: np.ndarray, block: int) -> bool:
    return np.array_equal(repeat_in_blocks(weight[:, :, ::block, ::block], block), weight)
