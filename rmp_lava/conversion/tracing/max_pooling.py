"""Rules of maximum pooling: a tree of comparisons over each window, first along its rows, then along its columns.

A window of k pixels takes ceil(log2(k)) layers of neurons. Windows that overlap share the comparisons that they have in
common wherever the stride allows. Of tensors that are no images, as behind an upsampling, the pixels of each window are picked
one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from . import expressions, rewriting
from .axis import Axis, adaptive_windows
from .builder import Builder, NotAnImageError
from .calls import Call
from .expressions import Expression
from .maps import NotComposableError, Pair
from .remedies import ObstacleError
from .rules import RULES, pair, rule
from .shapes import combined, reduced_axes, structural_axes

CHEAPER = "`tune --replace max-pooling` needs none"
NOTHING = ("is maximum pooling with windows of nothing but padding", "use less padding")


@rule("max_pool2d")
def maximum_pooling(builder: Builder, call: Call) -> Expression:
    """max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)."""
    try:
        x = builder.image(call)
    except NotAnImageError:
        return over_windows(builder, call)
    kernel = pair(call.argument(1, "kernel_size"))
    stride = pair(call.argument(2, "stride") or kernel)
    padding, dilation = pair(call.argument(3, "padding", 0)), pair(call.argument(4, "dilation", 1))
    result = call.first_result
    if not bool(result.isfinite().all()):
        raise ObstacleError(*NOTHING)
    size = pair(result.shape[2:])

    def pool() -> Expression:
        return pooled(builder, call, x, kernel, stride, padding, dilation, size)

    return rewriting.reported(builder, call, x, "is maximum pooling", CHEAPER, pool)


def over_windows(builder: Builder, call: Call) -> Expression:
    """Maximum pooling, adaptive or not, of a tensor that is no image: one axis after the other, pixel by pixel."""
    x = builder.take(call, call.argument(0, "input"))
    builder.give_up_silently(x)
    result = call.first_result
    count = int(call.op[-2])
    axes = range(len(x.view) - count, len(x.view))
    windows = [windows_along(call, axis - axes[0], x.view[axis], result.shape[1 + axis]) for axis in axes]
    if not all(window for along in windows for window in along):
        raise ObstacleError(*NOTHING)

    def pool() -> Expression:
        y = x
        try:
            for axis, along in zip(axes, windows, strict=True):
                y = _picked(builder, call, y, axis, along)
        except NotComposableError:
            elements = math.prod(x.view)
            raise ObstacleError(
                f"({call.op}) compares {elements:,} elements that are no image one by one, which makes matrices too large",
                "use fewer channels or smaller images there, or put the pooling before what rearranges them",
            ) from None
        return y

    return rewriting.reported(builder, call, x, "is maximum pooling", CHEAPER, pool)


def windows_along(call: Call, place: int, length: int, count: int) -> list[list[int]]:
    """The pixels of each window along the axis `place` of those that are pooled, without padding."""
    if call.op.startswith("adaptive"):
        return [list(range(*ends)) for ends in adaptive_windows(length, count)]

    def along(value: Any) -> int:
        return int(value if isinstance(value, int) else value[min(place, len(value) - 1)])

    k = along(call.argument(1, "kernel_size"))
    s, p = along(call.argument(2, "stride") or k), along(call.argument(3, "padding", 0))
    d = along(call.argument(4, "dilation", 1))
    all_places = ([i * s - p + u * d for u in range(k)] for i in range(count))
    return [[place for place in places if 0 <= place < length] for places in all_places]


def _picked(builder: Builder, call: Call, x: Expression, axis: int, windows: list[list[int]]) -> Expression:
    """Maxima of windows along an axis of the view; raises `NotComposableError` where the tensor is too large."""
    numbers = np.arange(math.prod(x.view)).reshape(x.view)
    parts: dict[bytes, Expression] = {}
    for i in range(max(map(len, windows))):
        places = [window[min(i, len(window) - 1)] for window in windows]
        index = numbers.take(places, axis)
        part = expressions.rearranged(x, index.reshape(-1), index.shape)
        # Pixels that an upsampling has repeated need no comparison.
        parts[b"" if part.order is None else part.order.tobytes()] = part
    if len(parts) == 1:
        return next(iter(parts.values()))
    return rewriting.largest(builder, call, [expressions.ordered(part) for part in parts.values()])


def pooled(
    builder: Builder, call: Call, x: Expression, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, size: Pair
) -> Expression:
    """The maximum over the windows of an image."""
    return _by_part(x, lambda x: _pooled(builder, call, x, kernel, stride, padding, dilation, size))


@rule("adaptive_max_pool2d")
def adaptive_maximum_pooling(builder: Builder, call: Call) -> Expression:
    """adaptive_max_pool2d(input, output_size)."""
    try:
        x = builder.image(call)
    except NotAnImageError:
        return over_windows(builder, call)
    result = call.first_result
    size = pair(result.shape[2:])
    even = all(n % m == 0 for n, m in zip(x.shape[1:], size, strict=True))
    kernel = (x.shape[1] // size[0], x.shape[2] // size[1])

    def pool() -> Expression:
        if even:
            return _by_part(x, lambda x: _pooled(builder, call, x, kernel, kernel, (0, 0), (1, 1), size))
        return _by_part(x, lambda x: _unevenly_pooled(builder, call, x, size))

    return rewriting.reported(builder, call, x, "is maximum pooling", CHEAPER, pool)


@rule("amax", "amin", "min")
def largest(builder: Builder, call: Call) -> Expression:
    """amax(input, dim, keepdim), amin, and the values of max(input, dim) and min."""
    if call.op == "min" and not isinstance(call.result, tuple):
        return RULES["minimum"](builder, call)
    parts, ref = combined(builder, call), call.argument(0, "input")
    result = call.first_result
    sign = np.array(-1.0 if call.op in ("amin", "min") else 1.0)
    x = builder.straight(call, ref) if parts is None else parts[0]

    def reduce() -> Expression:
        if parts is not None:
            y = rewriting.largest(builder, call, [expressions.scaled(part, sign) for part in parts])
        else:
            y = _over_axes(builder, call, expressions.scaled(x, sign))
        return replace(expressions.scaled(y, sign), view=tuple(result.shape[1:]))

    return rewriting.reported(builder, call, x, "is a maximum over axes", "averages need none", reduce)


def _over_axes(builder: Builder, call: Call, x: Expression) -> Expression:
    axes = reduced_axes(call, 1 + len(x.view))
    structure = structural_axes(x) if len(x.shape) in (1, 3) else None
    if structure is None:
        try:
            for axis in axes:
                x = _picked(builder, call, x, axis, [list(range(x.view[axis]))])
        except NotComposableError:
            raise ObstacleError("is the maximum over parts of axes", "take the maximum over axes of an image") from None
        return x
    over = {structure[axis] for axis in axes}
    for axis in (1, 2):
        if axis in over:
            x = _along(builder, call, x, axis, k=x.shape[axis], s=1, d=1, n=1)
    return _over_channels(builder, call, x) if 0 in over else x


def _over_channels(builder: Builder, call: Call, x: Expression) -> Expression:
    """The largest of all channels, as an image of one channel; a tree of halves."""
    while x.shape[0] > 1:
        half, odd = x.shape[0] // 2, x.shape[0] % 2
        first, second, rest = (
            expressions.chosen(x, np.arange(*ends)) for ends in ((0, half), (half, 2 * half), (2 * half, x.shape[0]))
        )
        y = rewriting.larger(builder, call, first, second)
        x = expressions.concatenated([y, rest], (half + odd, *x.shape[1:])) if odd else y
    return x


def _by_part(x: Expression, pool: Callable[[Expression], Expression]) -> Expression:
    """`pool` of each concatenated part of x by itself: its synapses stay one channel to one channel."""
    pieces = expressions.split(x)
    if len(pieces) == 1:
        return pool(x)
    pooled = [pool(piece) for piece in pieces]
    shape = (x.shape[0], *pooled[0].shape[1:])
    whole = expressions.concatenated(pooled, shape)
    return replace(whole, labels=x.labels)


def _pooled(
    builder: Builder, call: Call, x: Expression, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, size: Pair
) -> Expression:
    for axis in (1, 2):
        k, s, p, d, n = (values[axis - 1] for values in (kernel, stride, padding, dilation, size))
        after = max(0, (n - 1) * s + (k - 1) * d + 1 - x.shape[axis] - p)
        x = _padded(builder, call, x, axis, p, after, d)
        x = _along(builder, call, x, axis, k, s, d, n)
    return x


def _padded(
    builder: Builder, call: Call, x: Expression, axis: int, before: int, after: int, dilation: int
) -> Expression:
    """x with more pixels before and after, which never are the only largest of their window.

    Zeros where x is never negative; else copies of the border's pixels, which populations of their own hold.
    """
    if not before and not after:
        return x
    length = x.shape[axis]
    window = Axis(axis, start=before, size=length + before + after)
    y = window.along(builder, call, x)
    if expressions.is_nonnegative(x):
        return y
    # A pixel outside reads the next pixel inside at a multiple of the dilation, which the same window contains.
    copied = min(dilation, length)
    if before:
        count = -(-before // dilation)
        copy = Axis(axis, count, 1, before - dilation, dilation, length + before + after)
        y = expressions.added(y, _copies(builder, call, x, 0, copied, copy))
    if after:
        count = -(-after // dilation)
        copy = Axis(axis, count, 1, before + length - copied + count * dilation, dilation, length + before + after)
        y = expressions.added(y, _copies(builder, call, x, length - copied, copied, copy))
    return y


def _copies(builder: Builder, call: Call, x: Expression, first: int, count: int, copy: Axis) -> Expression:
    """The pixels `first`, ..., `first + count - 1` along an axis, held by populations and repeated beyond the border."""
    crop = Axis(copy.axis, size=count, start=-first)
    border = crop.along(builder, call, x)
    border = builder.held(call, border)
    return expressions.convolved(border, copy.of(border.shape))


def _along(builder: Builder, call: Call, x: Expression, axis: int, k: int, s: int, d: int, n: int) -> Expression:
    """Maxima of n windows of k pixels at distance d, one window every s pixels, along an axis without padding."""
    plan = _plan(k, s, d, n)
    found: dict[tuple[int, int], Expression] = {}

    def part(size: int, place: int, first: int, last: int) -> Expression:
        """Maxima of the windows `first`, ..., `last - 1` that begin `place` pixels after a multiple of s."""
        residue, shift = place % s, place // s
        if size == 1:
            pick = Axis(axis, size=last - first, stride=s, start=-(place + first * s))
            return pick.along(builder, call, x)
        whole, (low, high) = found[size, residue], plan[size, residue]
        if (first + shift, last + shift) == (low, high):
            return whole
        crop = Axis(axis, size=last - first, start=low - first - shift)
        return expressions.convolved(whole, crop.of(whole.shape))

    for (size, residue), (low, high) in sorted(plan.items()):
        if size > 1:
            (left, a), (right, b) = _halves(size, s, d)
            first, second = part(left, residue + a, low, high), part(right, residue + b, low, high)
            found[size, residue] = rewriting.larger(builder, call, first, second)
    return part(k, 0, 0, n)


def _plan(k: int, s: int, d: int, n: int) -> dict[tuple[int, int], tuple[int, int]]:
    """For each size of a window and place modulo s: the first window that is needed, and the one after the last."""
    needed = {(k, 0): (0, n)}
    for size in range(k, 1, -1):
        for residue in range(s):
            if (size, residue) not in needed:
                continue
            low, high = needed[size, residue]
            for part, place in _halves(size, s, d):
                shift, key = (residue + place) // s, (part, (residue + place) % s)
                ends = needed.get(key, (low + shift, high + shift))
                needed[key] = (min(ends[0], low + shift), max(ends[1], high + shift))
    return needed


def _halves(size: int, s: int, d: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two windows that make up a larger one: the number of pixels of each, and its distance in pixels from the first.

    They overlap where that makes the second one equal to the first one of another window.
    """
    a = 1 << (size - 1).bit_length() - 1
    b = size - a
    is_in_tree = b & (b - 1) == 0 and a * d % s == 0
    if b > 1 and not is_in_tree and b * d % s == 0:
        return (a, 0), (a, b * d)
    return (a, 0), (b, a * d)


def _unevenly_pooled(builder: Builder, call: Call, x: Expression, size: Pair) -> Expression:
    """Adaptive pooling whose windows differ in size: each window's pixels are picked one by one, as channels."""
    channels, view = x.shape[0], (x.shape[0], *size)
    for axis in (1, 2):
        length, windows = x.shape[axis], size[axis - 1]
        ends = adaptive_windows(length, windows)
        picked = []
        for i in range(max(last - first for first, last in ends)):
            places = [min(first + i, last - 1) for first, last in ends]
            pick = Axis(axis, size=1, weight=np.eye(length)[places])
            picked.append(pick.along(builder, call, x))
        x = rewriting.largest(builder, call, picked)
    assert x.shape == (channels * size[0] * size[1], 1, 1)
    return replace(x, view=view)
