"""Weighted sums by events, compiled by numba: one row of 8-bit weights is added per spike and window that sees it.

Rows are added in 16-bit integers that stay in vector registers, at most `_CHUNK` times their values, before they are added to
32-bit ones. LLVM does not keep an array in registers over a loop of unknown length, so the innermost loop is written in its own
language.
The weights of `LANES` outputs lie together, as a row that starts at a cache line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .fused import compiled

LANES = 64
"""Outputs of a row. More save no time, and fewer are slower than dense sums."""
_CHUNK = 2**15 // 128 - 1
"""Rows, or their values, of which no sum exceeds 16 bits."""
WORD = 64
"""Bytes of a vector, and bits of what compares them."""

_Code = tuple[Any, Callable[..., Any]]
_intrinsic = cast(Callable[[Callable[..., _Code]], Callable[..., Any]], intrinsic)
"""Numba passes the types of arguments; the compiled function takes their values, and one argument less."""


@_intrinsic
def bytes_from(_: Any, address: Any, least: Any) -> _Code:
    """uint64 whose bit i tells whether byte i from an address on is at least so large."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        vector = ir.VectorType(ir.IntType(8), WORD)
        values = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()), align=1)
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, arguments[1], ir.Constant(ir.IntType(32), 0))
        least = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WORD), None))
        return builder.bitcast(builder.icmp_unsigned(">=", values, least), ir.IntType(WORD))

    return types.uint64(types.intp, types.uint8), generate


@_intrinsic
def count_bits(_: Any, word: Any) -> _Code:
    """int64 number of ones in a word."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@_intrinsic
def _trailing_zeros(_: Any, word: Any) -> _Code:
    """int64 number of zeros below the lowest bit of a word that is not 0."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@_intrinsic
def _add_rows(_: Any, out: Any, events: Any, values: Any, chunk: Any, parts: Any, count: Any, scale: Any) -> _Code:
    """Write `LANES` float32 sums, times a scale: of one window.

    out, events, values, parts : addresses of the sums, of the int32 offsets of rows, of their int16 values, and of int64 (first
    event, last event, address of weights) of each of `count` parts of the window. chunk : rows that are added in 16 bits;
    `_CHUNK` where all values are 1, which are not read then.
    """
    byte, short, word, long, real = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
    row, shorts, words, reals = (ir.VectorType(each, LANES) for each in (byte, short, word, real))

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        out, events, values, chunk_size, parts, count, scale = arguments

        def fetch(base: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
            return builder.load(builder.gep(builder.inttoptr(base, kind.as_pointer()), [index]))

        # LLVM turns these variables into registers.
        total, chunk_sum = cgutils.alloca_once(builder, words), cgutils.alloca_once(builder, shorts)
        builder.store(ir.Constant(words, None), total)

        def spread(value: ir.Value, kind: ir.VectorType) -> ir.Value:
            undefined = ir.Constant(kind, ir.Undefined)
            first = builder.insert_element(undefined, value, ir.Constant(word, 0))
            return builder.shuffle_vector(first, undefined, ir.Constant(words, None))

        def add(start: ir.Value, size: ir.Value, weights: ir.Value, *, of_one: bool) -> None:
            with cgutils.for_range(builder, size) as event:
                index = builder.add(start, event.index)
                address = builder.inttoptr(
                    builder.add(weights, builder.sext(fetch(events, index, word), long)), row.as_pointer()
                )
                widened = builder.sext(builder.load(address, align=LANES), shorts)
                if not of_one:
                    widened = builder.mul(widened, spread(fetch(values, index, short), shorts))
                builder.store(builder.add(builder.load(chunk_sum), widened), chunk_sum)

        with cgutils.for_range(builder, count) as part:
            place = builder.mul(part.index, ir.Constant(long, 3))
            first, last, weights = (fetch(parts, builder.add(place, ir.Constant(long, i)), long) for i in range(3))
            with cgutils.for_range_slice(builder, first, last, chunk_size) as (start, _):
                rest = builder.sub(last, start)
                size = builder.select(builder.icmp_signed("<", rest, chunk_size), rest, chunk_size)
                builder.store(ir.Constant(shorts, None), chunk_sum)
                with builder.if_else(builder.icmp_signed("==", chunk_size, ir.Constant(long, _CHUNK))) as (
                    ones,
                    others,
                ):
                    with ones:
                        add(start, size, weights, of_one=True)
                    with others:
                        add(start, size, weights, of_one=False)
                builder.store(builder.add(builder.load(total), builder.sext(builder.load(chunk_sum), words)), total)
        scales = spread(scale, reals)
        result = builder.fmul(builder.sitofp(builder.load(total), reals), scales)
        builder.store(result, builder.inttoptr(out, reals.as_pointer()), align=4)
        return context.get_dummy_value()

    addresses = (types.intp,) * 6  # `chunk` and `count` are as wide
    return types.none(*addresses, types.float32), generate


@compiled
def survey(messages: np.ndarray) -> tuple[np.int64, np.uint8]:
    """Number of uint8 messages that are not 0, and the largest."""
    found, largest = np.int64(0), np.uint8(0)
    for i in range(len(messages)):
        found += np.int64(messages[i] != 0)
        largest = max(largest, messages[i])
    return found, largest


@compiled
def add_products(total: np.ndarray, messages: np.ndarray, weights: np.ndarray, is_first: bool) -> None:
    """Add products of windows that do not overlap, each channel by itself.

    Parameters
    ----------
    total : (images, rows, columns, channels) float32
    messages : (images, height, width, channels) uint8
    weights : (kernel height, kernel width, channels) float32
    is_first : whether they are written over `total`
    """
    kernel_rows, kernel_columns, channels = weights.shape
    images, rows, columns, _ = total.shape
    for image in range(images):
        for row in range(rows):
            for column in range(columns):
                sums = total[image, row, column]
                if is_first:
                    sums[:] = 0
                for i in range(kernel_rows):
                    for j in range(kernel_columns):
                        some = messages[image, row * kernel_rows + i, column * kernel_columns + j]
                        each = weights[i, j]
                        for channel in range(channels):
                            sums[channel] += np.float32(some[channel]) * each[channel]


@compiled
def sum_blocks(messages: np.ndarray, sums: np.ndarray) -> None:
    """Sums of blocks of pixels that do not overlap, each channel by itself.

    Parameters
    ----------
    messages : (images, height, width, channels) uint8
    sums : (images, rows, columns, channels) uint8, written; blocks are of (height / rows, width / columns) pixels
    """
    images, rows, columns, channels = sums.shape
    down, across = messages.shape[1] // rows, messages.shape[2] // columns
    for image in range(images):
        for row in range(rows):
            for column in range(columns):
                total = sums[image, row, column]
                total[:] = 0
                for i in range(down):
                    for j in range(across):
                        some = messages[image, row * down + i, column * across + j]
                        for channel in range(channels):
                            total[channel] += some[channel]


@compiled
def list_events(
    messages: np.ndarray, width: int, channels: int, events: np.ndarray, values: np.ndarray, starts: np.ndarray
) -> None:
    """List the messages of each pixel.

    Parameters
    ----------
    messages : (images, height * width * channels) uint8
    events : (messages that are not 0,) int32, written: where the row of the channel is, from that of channel 0 in column 0
    values : the same, int16, written: the messages; (0,) if all are 1
    starts : (images, height * width + 1) int64, written: first event of each pixel, and the end of the image's events
    """
    k = 0
    for i in range(len(messages)):
        image = messages[i]
        for pixel in range(len(image) // channels):
            starts[i, pixel] = k
            first = pixel * channels
            shift = (pixel % width) * channels - first
            for j in range(first, first + channels, WORD):
                rest = first + channels - j
                if j + WORD <= len(image):
                    word = bytes_from(image.ctypes.data + j, np.uint8(1))
                    if rest < WORD:
                        word &= (np.uint64(1) << np.uint64(rest)) - np.uint64(1)
                    while word:
                        at = j + _trailing_zeros(word)
                        word &= word - np.uint64(1)
                        events[k] = (at + shift) * LANES
                        if len(values):
                            values[k] = image[at]
                        k += 1
                else:
                    for at in range(j, first + channels):
                        if image[at]:
                            events[k] = (at + shift) * LANES
                            if len(values):
                                values[k] = image[at]
                            k += 1
        starts[i, len(image) // channels] = k


@compiled
def convolve(
    events: np.ndarray,
    values: np.ndarray,
    largest: int,
    starts: np.ndarray,
    weights: np.ndarray,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    scale: np.float32,
    out: np.ndarray,
) -> None:
    """Sums of every window of every image.

    Parameters
    ----------
    events, values, starts : from `list_events`
    largest : message, at most 255
    weights : (tiles, kernel height, kernel width, channels, LANES) int8, at a multiple of LANES bytes
    size : height and width of the images
    out : (images, rows, columns, outputs) float32, written
    """
    tiles, kernel_rows, kernel_columns, channels, _ = weights.shape
    images, rows, columns, outputs = out.shape
    height, width = size
    chunk = _CHUNK // largest if len(values) else _CHUNK
    parts = np.empty((kernel_rows, 3), np.int64)
    some = np.empty(LANES, np.float32)
    for tile in range(tiles):
        of_tile = weights[tile].ctypes.data
        first_output = tile * LANES
        whole = first_output + LANES <= outputs
        for i in range(images):
            for y in range(rows):
                top = y * stride[0] - padding[0]
                for x in range(columns):
                    # Pixels of a row of the window are neighbours, so their events are too.
                    left = x * stride[1] - padding[1]
                    begin, end = max(left, 0), min(left + kernel_columns, width)
                    count = 0
                    if begin < end:
                        for k in range(max(0, -top), min(kernel_rows, height - top)):
                            pixel = (top + k) * width
                            parts[count, 0] = starts[i, pixel + begin]
                            parts[count, 1] = starts[i, pixel + end]
                            parts[count, 2] = of_tile + (k * kernel_columns - left) * channels * LANES
                            count += 1
                    place = ((i * rows + y) * columns + x) * outputs + first_output
                    sums = out.ctypes.data + 4 * place if whole else some.ctypes.data
                    _add_rows(sums, events.ctypes.data, values.ctypes.data, chunk, parts.ctypes.data, count, scale)
                    if not whole:
                        out[i, y, x, first_output:] = some[: outputs - first_output]


@compiled
def collect(
    levels: np.ndarray,
    places: np.ndarray,
    messages: np.ndarray,
    weights: np.ndarray,
    geometry: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    outputs_of_group: int,
) -> None:
    """Add what single outputs of a convolution receive, by the number of steps in which it arrives.

    Parameters
    ----------
    levels : (outputs, T + 1) int64, incremented: weights by how often their source spikes
    places : (outputs, 4) int64: image, row, column, channel
    messages : (images, height, width, channels) int32
    weights : (channels of the result, kernel height, kernel width, channels of a group) int32
    geometry : stride, padding and dilation
    outputs_of_group : channels of the result in a group
    """
    _, height, width, _ = messages.shape
    _, kernel_rows, kernel_columns, channels = weights.shape
    stride, padding, dilation = geometry
    for k in range(len(places)):
        image, row, column, output = places[k]
        first = output // outputs_of_group * channels
        for i in range(kernel_rows):
            y = row * stride[0] - padding[0] + i * dilation[0]
            if y < 0 or y >= height:
                continue
            for j in range(kernel_columns):
                x = column * stride[1] - padding[1] + j * dilation[1]
                if x < 0 or x >= width:
                    continue
                for channel in range(channels):
                    message = messages[image, y, x, first + channel]
                    if message:
                        levels[k, message] += np.int64(weights[output, i, j, channel])
