"""Average pooling whose windows are divided by different numbers of pixels.

At the border, `count_include_pad=False` and `ceil_mode` divide by fewer pixels. What the windows there lack is held by
populations of the border's size and added. Windows of adaptive pooling whose sizes differ have weights of their own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import expressions
from .axis import Axis, adaptive_windows
from .builder import Builder
from .calls import Call
from .expressions import Expression
from .maps import Convolution, Pair


def averaged(
    builder: Builder,
    call: Call,
    x: Expression,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    size: Pair,
    counts_padding: bool,
) -> Expression:
    """Average pooling by the number of pixels that each window counts, rows first."""
    before = len(builder.layers)
    y = x
    for axis in (1, 2):
        k, s, p, n = (values[axis - 1] for values in (kernel, stride, padding, size))
        y = _along(builder, call, y, axis, k, s, p, n, counts_padding)
    made = builder.layers[before:]
    if made:
        neurons = sum(layer.size for layer in made)
        text = f"what windows at the border lack is added by {neurons:,} neurons; count_include_pad=True needs none"
        builder.inform(call.layer, "is average pooling that divides by fewer pixels at the border", text)
    return y


def _along(
    builder: Builder, call: Call, x: Expression, axis: int, k: int, s: int, p: int, n: int, counts_padding: bool
) -> Expression:
    length = x.shape[axis]
    y = Axis(axis, size=n, stride=s, start=p, weight=np.full((1, k), 1 / k)).along(builder, call, x)
    for i in range(n):
        first = i * s - p
        inside = range(max(first, 0), min(first + k, length))
        count = min(first + k, length + p) - first if counts_padding else len(inside)
        if count == k:
            continue
        lacking = np.full((1, len(inside)), 1 / count - 1 / k)
        window = Axis(axis, size=1, start=-inside.start, weight=lacking).along(builder, call, x)
        held = builder.held(call, window)
        y = expressions.added(y, expressions.convolved(held, Axis(axis, size=n, start=i).of(held.shape)))
    return y


def unevenly_averaged(builder: Builder, call: Call, x: Expression, size: Pair) -> Expression:
    """Adaptive average pooling whose windows differ in size: each pixel of the result is a channel, in the same order."""
    channels, height, width = x.shape
    rows, columns = (_means(n, m) for n, m in zip((height, width), size, strict=True))
    weight = np.einsum("ih,jw->ijhw", rows, columns).reshape(-1, 1, height, width)
    conv = Convolution(np.tile(weight, (channels, 1, 1, 1)), x.shape, (1, 1), groups=channels)
    y = builder.composed(call, x, lambda x: expressions.convolved(x, conv))
    return replace(y, view=(channels, *size))


def _means(length: int, windows: int) -> np.ndarray:
    """(windows, length): the mean of each window."""
    weight = np.zeros((windows, length))
    for row, (first, last) in zip(weight, adaptive_windows(length, windows), strict=True):
        row[first:last] = 1 / (last - first)
    return weight
