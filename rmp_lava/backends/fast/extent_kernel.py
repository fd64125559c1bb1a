"""Bounds of potentials while neurons wait (`extents`), compiled by numba in 32-bit floats."""

from __future__ import annotations

import numpy as np
from numpy import float32, int16, int32

from ...registers import REGISTER_LIMIT, STATE_SHIFT
from .event_kernel import WORD, bytes_from, count_bits
from .fused import compiled

_LIMIT, _LARGE = float32(REGISTER_LIMIT - 2), float32(REGISTER_LIMIT)
"""Weight units that bounds of potentials have to stay below in 32-bit floats, and inputs of a step."""
_SHIFT, _UNIT = int32(STATE_SHIFT), float32(1 << STATE_SHIFT)
_SQUARES = 2**15
"""Squares of 8-bit numbers whose sum fits 32 bits."""
_ROUNDING = 2.0**-22
"""Times T + 4, the share of sum(c^2) that rounding in 32 bits can take from a rest's square."""


@compiled
def _count(image: np.ndarray, first: int, last: int, found: np.ndarray) -> None:
    """Write how many messages first .. last - 1 of an image, (messages,) uint8, are at least 1, 2, .. as large."""
    found[:] = 0
    start = first
    while start < last and start + WORD <= len(image):
        rest = last - start
        seen = np.uint64(-1) if rest >= WORD else (np.uint64(1) << np.uint64(rest)) - np.uint64(1)
        address = image.ctypes.data + start
        for s in range(len(found)):
            word = bytes_from(address, np.uint8(s + 1)) & seen
            if word == 0:
                break
            found[s] += int32(count_bits(word))
        start += WORD
    for at in range(start, last):
        for s in range(min(len(found), image[at])):
            found[s] += int32(1)


@compiled
def _sum_of_squares(messages: np.ndarray) -> float32:
    if len(messages) > _SQUARES:
        large = 0.0
        for j in range(len(messages)):
            large += float(messages[j]) * float(messages[j])
        return float32(large)
    total = int32(0)
    for j in range(len(messages)):
        message = int32(int16(messages[j]))  # a product of 16-bit numbers is one instruction
        total = int32(total + int32(message * message))
    return float32(total)


@compiled
def sum_windows(
    messages: np.ndarray,
    size: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    of_squares: bool,
    sums: np.ndarray,
) -> None:
    """Add what each window sees: how many sources send at least so many messages, or the squares of their messages.

    Parameters
    ----------
    messages : (samples, height * width * channels) uint8
    size, window : heights and widths of the images and of windows
    sums : (samples, numbers, rows, columns) float32, incremented: sources with at least 1, 2, .. messages; or one number, the
        sum of squares
    """
    samples, numbers, rows, columns = sums.shape
    channels, width = messages.shape[1] // (size[0] * size[1]), size[1] + 2 * padding[1]
    # By row of the image with its padding: the numbers of a pixel are next to each other, so that a row is one long loop.
    pixels = np.zeros((size[0] + 2 * padding[0], width * numbers), dtype=np.float32)
    down, across = np.empty(width * numbers, dtype=np.float32), np.empty(width * numbers, dtype=np.float32)
    found = np.empty(numbers, dtype=np.int32)
    for sample in range(samples):
        image = messages[sample]
        for y in range(size[0]):
            for x in range(size[1]):
                first, place = (y * size[1] + x) * channels, (x + padding[1]) * numbers
                if of_squares:
                    pixels[y + padding[0], place] = _sum_of_squares(image[first : first + channels])
                else:
                    _count(image, first, first + channels, found)
                    pixel = pixels[y + padding[0], place : place + numbers]
                    for k in range(numbers):
                        pixel[k] = found[k]
        for row in range(rows):
            top = row * stride[0]
            down[:] = 0
            for i in range(window[0]):
                _add(pixels[top + i * dilation[0]], down)
            across[:] = 0
            for i in range(window[1]):
                _add(down[i * dilation[1] * numbers :], across)  # the ends of rows start no window
            for k in range(numbers):
                of_row, seen = sums[sample, k, row], across[k :: stride[1] * numbers]
                for column in range(columns):
                    of_row[column] += seen[column]


@compiled
def _add(values: np.ndarray, sums: np.ndarray) -> None:
    for j in range(len(values)):
        sums[j] += values[j]


@compiled
def farthest_ends(totals: np.ndarray, at_end: np.ndarray) -> np.ndarray:
    """(samples, windows) float32 largest |potential| of each window's neurons after T steps, in weight units.

    Parameters
    ----------
    totals : (samples, windows, channels) float32 integers in weight units, up to 2^24
    at_end : (windows * channels,) int32 potential after T steps without messages, in state units
    """
    samples, windows, channels = totals.shape
    ends = np.empty((samples, windows), dtype=np.float32)
    for sample in range(samples):
        for p in range(windows):
            low, high = int32(0), int32(0)
            some, silent = totals[sample, p], at_end[p * channels : (p + 1) * channels]
            for j in range(channels):
                y = int32(int32(int32(some[j]) << _SHIFT) + silent[j])
                low, high = int32(min(low, y)), int32(max(high, y))
            ends[sample, p] = float32(max(high, int32(-low))) / _UNIT
    return ends


@compiled
def _shares(levels: np.ndarray, shares: np.ndarray, rests: np.ndarray) -> None:
    """What the sources of windows have sent after 1 .. T - 1 steps, as a share of the whole and a rest.

    Parameters
    ----------
    levels : (T, windows) float32
    shares, rests : (T - 1, windows) float32, written: share, and norm of what differs from it
    """
    steps, windows = levels.shape
    squares, above = np.zeros(windows, dtype=np.float32), np.zeros(windows, dtype=np.float32)
    for s in range(steps):
        odd, level = float32(2 * s + 1), levels[s]
        for p in range(windows):
            squares[p] += odd * level[p]
            above[p] += level[p]
    # A division of single numbers might raise, so it is not vectorised.
    inverse = np.divide(float32(1), np.maximum(squares, float32(1)))
    sent, slack = np.zeros(windows, dtype=np.float32), float32((steps + 4) * _ROUNDING)
    for t in range(1, steps):
        odd, now, level, share, rest = float32(2 * t - 1), float32(t), levels[t - 1], shares[t - 1], rests[t - 1]
        silent = float32(t / steps)
        for p in range(windows):
            sent[p] += odd * level[p]  # sum of min(c, t)^2
            above[p] -= level[p]
            both = sent[p] + now * above[p]  # of c min(c, t)
            a = both * inverse[p] if squares[p] > float32(0) else silent
            share[p] = a
            rest[p] = np.sqrt(max(float32(0), sent[p] - a * both) + slack * squares[p])


@compiled
def windows_beyond(
    levels: np.ndarray,
    ends: np.ndarray,
    v_init: float32,
    bias: np.ndarray,
    norm: np.ndarray,
    few: np.ndarray,
    may_be_large: bool,
) -> np.ndarray:
    """Which windows may have a neuron whose potential leaves its register: (samples, windows) bool.

    Parameters
    ----------
    levels : (samples, T, windows) float32, from `sum_windows`
    ends : from `farthest_ends`
    v_init, bias : (windows * channels,) float32, in weight units
    norm, few : (channels,) float32 norm of each neuron's weights, and sum of the |weights| that the norm does not include
    may_be_large : whether the input of a step may reach 2^17
    """
    samples, steps, windows = levels.shape
    shares, rests = np.empty((steps - 1, windows), dtype=np.float32), np.empty((steps - 1, windows), dtype=np.float32)
    found, farthest = np.zeros((samples, windows), dtype=np.bool_), np.empty(windows, dtype=np.float32)
    largest_norm, largest_few, largest_bias = norm.max(), few.max(), np.abs(bias).max()
    for sample in range(samples):
        end = ends[sample]
        farthest[:] = end
        _shares(levels[sample], shares, rests)
        for k in range(steps - 1):
            t, share, rest = float32(k + 1), shares[k], rests[k]
            for p in range(windows):
                a = share[p]
                early = a * float32(steps) - t  # how much more has arrived than at a constant rate
                far = a * end[p] + (float32(1) - a) * abs(v_init) + abs(early) * largest_bias
                far += largest_norm * rest[p] + largest_few * max((float32(1) - a) * t, early)
                farthest[p] = max(farthest[p], far)
        for p in range(windows):
            at_once = largest_norm * np.sqrt(levels[sample, 0, p]) + largest_few
            found[sample, p] = farthest[p] >= _LIMIT or (may_be_large and at_once >= _LARGE)
    return found


@compiled
def neurons_beyond(
    places: np.ndarray,
    levels: np.ndarray,
    totals: np.ndarray,
    v_init: float32,
    bias: np.ndarray,
    norm: np.ndarray,
    few: np.ndarray,
    may_be_large: bool,
) -> np.ndarray:
    """Which neurons of some windows, `places` (windows, 2) int64 samples and windows: (windows, channels) bool.

    totals : (samples, windows, channels) float32. Other parameters as for `windows_beyond`.
    """
    steps, channels = levels.shape[1], len(norm)
    shares, rests = np.empty((steps - 1, 1), dtype=np.float32), np.empty((steps - 1, 1), dtype=np.float32)
    found, farthest = np.zeros((len(places), channels), dtype=np.bool_), np.empty(channels, dtype=np.float32)
    for i in range(len(places)):
        sample, p = places[i]
        total, drive, beyond = totals[sample, p], bias[p * channels : (p + 1) * channels], found[i]
        for c in range(channels):
            farthest[c] = abs(v_init + float32(steps) * drive[c] + total[c])
        _shares(levels[sample, :, p : p + 1], shares, rests)
        for k in range(steps - 1):
            t, a, rest = float32(k + 1), shares[k, 0], rests[k, 0]
            lone = max((float32(1) - a) * t, a * float32(steps) - t)
            for c in range(channels):
                middle = abs(v_init + t * drive[c] + a * total[c])
                farthest[c] = max(farthest[c], middle + rest * norm[c] + lone * few[c])
        once = np.sqrt(levels[sample, 0, p])
        for c in range(channels):
            beyond[c] = farthest[c] >= _LIMIT or (may_be_large and norm[c] * once + few[c] >= _LARGE)
    return found
