"""Compose two linear maps of images into one convolution."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .maps import Convolution, Map, NotComposableError, as_convolution, regrouped


def then_convolution(first: Map, second: Convolution) -> Convolution:
    """The one convolution that computes `second(first(x))`.

    Raises
    ------
    NotComposableError
        If `second` pads with zeros where `first`, continued beyond its border, would not be zero.
    """
    a, b = as_convolution(first), second
    if not all(_zeros_agree(a, b, axis) for axis in (0, 1)):
        raise NotComposableError
    height, row_dilation, rows = _common_kernel(a, b, 0)
    width, column_dilation, columns = _common_kernel(a, b, 1)
    product, groups, inputs = _channel_product(a, b)
    weight = np.zeros((b.weight.shape[0], inputs, height, width))
    for u in range(b.kernel[0]):
        for v in range(b.kernel[1]):
            weight[:, :, rows(u)[:, None], columns(v)[None, :]] += product(u, v)
    return Convolution(
        weight,
        a.source_shape,
        b.size,
        (a.stride[0] * b.stride[0], a.stride[1] * b.stride[1]),
        (a.start[0] + a.stride[0] * b.start[0], a.start[1] + a.stride[1] * b.start[1]),
        (row_dilation, column_dilation),
        groups,
    )


def _zeros_agree(a: Convolution, b: Convolution, axis: int) -> bool:
    """Whether `a`, continued beyond its output as far as `b` reads there, reads zeros only."""
    if b.start[axis] > 0 and (a.kernel[axis] - 1) * a.dilation[axis] >= a.stride[axis] + a.start[axis]:
        return False
    last = (b.size[axis] - 1) * b.stride[axis] - b.start[axis] + (b.kernel[axis] - 1) * b.dilation[axis]
    beyond = a.size[axis] * a.stride[axis] - a.start[axis]
    return last < a.size[axis] or beyond >= a.source_shape[1 + axis]


def _common_kernel(a: Convolution, b: Convolution, axis: int) -> tuple[int, int, Callable[[int], np.ndarray]]:
    """Size and dilation of the common kernel, and the places of the weights of `a` for position u of `b`."""
    k, d, m = a.kernel[axis], a.dilation[axis], b.kernel[axis]
    step = a.stride[axis] * b.dilation[axis]
    if k == 1:
        return m, step, lambda u: np.array([u])
    if m == 1:
        return k, d, lambda u: np.arange(k)
    return (k - 1) * d + step * (m - 1) + 1, 1, lambda u: u * step + np.arange(k) * d


def _channel_product(a: Convolution, b: Convolution) -> tuple[Callable[[int, int], np.ndarray], int, int]:
    """The weights of `a` after position (u, v) of `b`, their groups, and their input channels per group."""
    middle, groups = a.weight.shape[0], math.gcd(a.groups, b.groups)
    if a.groups == middle == a.source_shape[0]:  # depthwise: the groups of b remain
        single = a.weight.reshape(b.groups, 1, -1, *a.kernel)

        def depthwise(u: int, v: int) -> np.ndarray:
            grouped = b.weight[:, :, u, v].reshape(b.groups, -1, b.weight.shape[1], 1, 1)
            return (grouped * single).reshape(*b.weight.shape[:2], *a.kernel)

        return depthwise, b.groups, b.weight.shape[1]
    if b.groups == middle == b.weight.shape[0]:
        return lambda u, v: b.weight[:, :, u, v, None, None] * a.weight, a.groups, a.weight.shape[1]
    right, left = regrouped(a, groups).weight, regrouped(b, groups).weight
    grouped = right.reshape(groups, middle // groups, -1)

    def product(u: int, v: int) -> np.ndarray:
        rows = left[:, :, u, v].reshape(groups, -1, middle // groups)
        return (rows @ grouped).reshape(-1, *right.shape[1:])

    return product, groups, right.shape[1]
