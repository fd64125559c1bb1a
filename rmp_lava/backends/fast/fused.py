"""Neuron updates compiled by numba: all steps of a block of neurons in one pass, while they are in the nearest cache.

The arithmetic is `rmp_lava.neuron.step` in 32-bit integers. They hold every intermediate value for inputs up to 2^24 weight
units, or up to 2^18 if the current has memory, which wraps only once per step. The loops are simple so that the compiler
vectorises them. Numba types the sum of two 32-bit numbers as 64 bits, which halves the vector width; the casts prevent that.
Float networks have their own loops, in the order of PyTorch's operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy import float32, float64, int32, uint8

from ...registers import MAX_STATE, STATE_SHIFT

VERSION = numba.__version__
BLOCK = 2048
"""Neurons at once: v, u, bias, counts, inputs and spikes of a block take some 40 KiB."""
SOFT, HARD, NONE = 0, 1, 2

_Function = TypeVar("_Function", bound=Callable[..., object])
_Limits = tuple[int32, int32]
_Fired = tuple[int32, int32, int32, int32]
"""Lowest and highest v that was compared with the threshold, saturated updates, messages."""

_HIGHEST, _LOWEST = int32(MAX_STATE), int32(-MAX_STATE)
_SHIFT, _UNIT = int32(STATE_SHIFT), float32(1 << STATE_SHIFT)
EXACT_PRODUCT = 2**22
"""Spikes times threshold below which 1 / threshold in 32 bits tells spikes exactly."""
_WRAP = int32(2**24)
_WRAPS_ABOVE, _WRAPS_FROM = int32(MAX_STATE + 1), int32(-MAX_STATE - 1)


def compiled(function: _Function) -> _Function:
    try:
        return cast(_Function, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # no place to cache the compiled code
        return cast(_Function, numba.njit(nogil=True)(function))


@compiled
def _add_current(v: np.ndarray, a: np.ndarray) -> None:
    for j in range(len(v)):
        v[j] = int32(v[j] + int32(int32(a[j]) << _SHIFT))


@compiled
def _add(v: np.ndarray, more: np.ndarray) -> None:
    for j in range(len(v)):
        v[j] = int32(v[j] + more[j])


@compiled
def _decay(x: np.ndarray, keep: float) -> None:
    # A 24-bit number times 12 bits is exact in float64, and casting it rounds towards zero as Loihi does.
    for j in range(len(x)):
        x[j] = int32(float64(x[j]) * keep)


@compiled
def _wrap(u: np.ndarray) -> _Limits:
    low, high = _WRAP, int32(-_WRAP)
    for j in range(len(u)):
        x = u[j]
        x = int32(x - _WRAP) if x > _WRAPS_ABOVE else x
        x = int32(x + _WRAP) if x <= _WRAPS_FROM else x
        low, high = int32(min(low, x)), int32(max(high, x))
        u[j] = x
    return low, high


@compiled
def _fire_soft(
    v: np.ndarray, a: np.ndarray, bias: np.ndarray, threshold: int32, counts: np.ndarray, out: np.ndarray
) -> _Fired:
    low, high, saturations, messages = _HIGHEST, _LOWEST, int32(0), int32(0)
    for j in range(len(v)):
        y = int32(int32(v[j] + int32(int32(a[j]) << _SHIFT)) + bias[j])
        x = int32(min(_HIGHEST, max(_LOWEST, y)))
        saturations = int32(saturations + int32(x != y))
        low, high = int32(min(low, x)), int32(max(high, x))
        spike = int32(x > threshold)
        out[j] = uint8(spike)
        v[j] = int32(x - int32(spike * threshold))
        counts[j] = int32(counts[j] + spike)
        messages = int32(messages + spike)
    return low, high, saturations, messages


@compiled
def _fire_graded(
    v: np.ndarray,
    a: np.ndarray,
    bias: np.ndarray,
    threshold: int32,
    largest: int32,
    counts: np.ndarray,
    out: np.ndarray,
) -> _Fired:
    low, high, saturations, messages = _HIGHEST, _LOWEST, int32(0), int32(0)
    for j in range(len(v)):
        y = int32(int32(v[j] + int32(int32(a[j]) << _SHIFT)) + bias[j])
        x = int32(min(_HIGHEST, max(_LOWEST, y)))
        saturations = int32(saturations + int32(x != y))
        low, high = int32(min(low, x)), int32(max(high, x))
        # Below 2^24, a quotient that is no integer is never rounded up to one.
        spikes = int32(float32(int32(x - int32(1))) / float32(threshold))
        spikes = int32(min(largest, max(int32(0), spikes)))
        out[j] = uint8(spikes)
        v[j] = int32(x - int32(spikes * threshold))
        sent = int32(spikes != 0)
        counts[j] = int32(counts[j] + sent)
        messages = int32(messages + sent)
    return low, high, saturations, messages


@compiled
def _fire_hard(
    v: np.ndarray, a: np.ndarray, bias: np.ndarray, threshold: int32, counts: np.ndarray, out: np.ndarray
) -> _Fired:
    low, high, saturations, messages = _HIGHEST, _LOWEST, int32(0), int32(0)
    for j in range(len(v)):
        y = int32(int32(v[j] + int32(int32(a[j]) << _SHIFT)) + bias[j])
        x = int32(min(_HIGHEST, max(_LOWEST, y)))
        saturations = int32(saturations + int32(x != y))
        low, high = int32(min(low, x)), int32(max(high, x))
        spike = int32(x > threshold)
        out[j] = uint8(spike)
        v[j] = int32(x * int32(int32(1) - spike))
        counts[j] = int32(counts[j] + spike)
        messages = int32(messages + spike)
    return low, high, saturations, messages


@compiled
def advance(
    a: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    bias: np.ndarray,
    counts: np.ndarray,
    out: np.ndarray,
    strides: tuple[tuple[int, int], tuple[int, int]],
    messages: np.ndarray,
    threshold: int32,
    reset: int,
    keep_voltage: float,
    keep_current: float,
    largest_spike: int32,
    potentials: np.ndarray,
) -> tuple[np.int64, int32, int32, int32, int32]:
    """Advance samples of a population by some steps, in place. Arrays are contiguous.

    Parameters
    ----------
    a : memory of (samples, steps, neurons) float32 integers in weight units
    v : (samples, neurons) int32 state units
    u : the same, or (samples, 0) for a current without memory that cannot wrap, which equals the input
    bias : (neurons,) int32 state units
    counts : (samples, neurons) int32, incremented by messages
    out : memory of (samples, steps, neurons) uint8 spikes
    strides : of `a` and `out`, from sample to sample and from step to step; 0 where one step is the input of all
    messages : (steps,) int64 messages of each step, incremented
    threshold : state units
    reset : SOFT, HARD or NONE
    keep_voltage, keep_current : share that a decay leaves, a multiple of 1/4096
    largest_spike : most spikes that a message stands for; above 1 with SOFT only
    potentials : (steps, samples, neurons) like v, written: v after each step; or no steps

    Returns
    -------
    tuple of int
        Saturated updates, lowest and highest v compared with the threshold, lowest and highest u.
    """
    steps, size = len(messages), v.shape[1]
    saturations = np.int64(0)
    low, high, u_low, u_high = _HIGHEST, _LOWEST, _WRAP, int32(-_WRAP)
    nothing = np.zeros(BLOCK, dtype=np.float32)
    (a_row, a_step), (out_row, out_step) = strides
    for b in range(len(v)):
        for first in range(0, size, BLOCK):
            last = min(size, first + BLOCK)
            block, some, sent = v[b, first:last], bias[first:last], counts[b, first:last]
            for t in range(steps):
                a_start, out_start = b * a_row + t * a_step, b * out_row + t * out_step
                current = a[a_start + first : a_start + last]
                spikes = out[out_start + first : out_start + last]
                if u.shape[1]:
                    memory = u[b, first:last]
                    _decay(memory, keep_current)
                    _add_current(memory, current)
                    least, most = _wrap(memory)
                    u_low, u_high = int32(min(u_low, least)), int32(max(u_high, most))
                    _decay(block, keep_voltage)
                    _add(block, memory)
                    current = nothing[: last - first]
                elif keep_voltage < 1:
                    _decay(block, keep_voltage)
                if reset == SOFT and largest_spike > 1:
                    least, most, saturated, fired = _fire_graded(
                        block, current, some, threshold, largest_spike, sent, spikes
                    )
                elif reset == SOFT:
                    least, most, saturated, fired = _fire_soft(block, current, some, threshold, sent, spikes)
                else:  # no potential exceeds the highest one
                    limit = threshold if reset == HARD else _HIGHEST
                    least, most, saturated, fired = _fire_hard(block, current, some, limit, sent, spikes)
                if len(potentials):
                    potentials[t, b, first:last] = block
                low, high = int32(min(low, least)), int32(max(high, most))
                saturations += saturated
                messages[t] += fired
    return saturations, low, high, u_low, u_high


@compiled
def _before_spikes(total: np.floating, silent: int32) -> int32:
    return int32(int32(int32(total) << _SHIFT) + silent)


@compiled
def _burst(total: np.ndarray, silent: np.ndarray, threshold: int32, steps: int32, out: np.ndarray) -> _Limits:
    low, high = _HIGHEST, _LOWEST
    for j in range(len(total)):
        x = int32(min(_HIGHEST, max(_LOWEST, _before_spikes(total[j], silent[j]))))
        # Below 2^24, a quotient that is no integer is never rounded up to one.
        fired = int32(float32(int32(x - int32(1))) / float32(threshold))
        out[j] = uint8(int32(min(steps, max(int32(0), fired))))
        low, high = int32(min(low, x)), int32(max(high, x))
    return low, high


@compiled
def _burst_of_floats(
    total: np.ndarray, silent: np.ndarray, threshold: float32, steps: float32, out: np.ndarray
) -> _Limits:
    """As `_burst`, where floats are exact: fewer instructions, and products are faster than quotients."""
    low, high, inverse = _HIGHEST, _LOWEST, float32(1) / threshold
    for j in range(len(total)):
        x = total[j] * _UNIT + silent[j]
        y = int32(x)
        low, high = int32(min(low, y)), int32(max(high, y))
        # Half a unit less, the quotient is farther from an integer than two roundings can take it.
        fired = (x - float32(0.5)) * inverse
        fired = fired if fired > float32(0) else float32(0)
        out[j] = uint8(int32(fired if fired < steps else steps))
    return int32(max(low, _LOWEST)), int32(min(high, _HIGHEST))


@compiled
def burst(
    total: np.ndarray,
    silent: np.ndarray,
    floats: np.ndarray,
    threshold: int32,
    steps: int32,
    out: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Whole windows of soft-reset neurons that wait for all messages.

    Parameters
    ----------
    total : (rows, neurons) float32 or float64 integers in weight units, of all steps, up to 2^24
    silent : (neurons,) int32 potential after all steps without messages, state units
    floats : the same as float32 where that is exact and (steps + 1) * threshold below `EXACT_PRODUCT`; or (0,)
    threshold : state units
    steps : steps in which neurons may spike
    out : (rows, neurons) uint8, written: spikes of the window
    ends : (rows, 2) int32, written: lowest and highest potential before the first spike, at most at the register's ends
    """
    for b in range(len(total)):
        if len(floats):
            low, high = _burst_of_floats(total[b], floats, float32(threshold), float32(steps), out[b])
        else:
            low, high = _burst(total[b], silent, threshold, steps, out[b])
        ends[b, 0], ends[b, 1] = low, high


@compiled
def _settle(
    total: np.ndarray, silent: np.ndarray, threshold: int32, steps: int32, out: np.ndarray, v: np.ndarray
) -> int32:
    low = _HIGHEST
    for j in range(len(total)):
        x = int32(min(_HIGHEST, max(_LOWEST, _before_spikes(total[j], silent[j]))))
        x = int32(x - int32(int32(out[j]) * threshold))
        last = int32(x + threshold) if out[j] == steps else x  # after the last spike nothing is compared
        low = int32(min(low, last))
        if len(v):
            v[j] = x
    return low


@compiled
def settle(
    total: np.ndarray, silent: np.ndarray, threshold: int32, steps: int32, out: np.ndarray, v: np.ndarray
) -> int32:
    """Lowest v that was compared with the threshold; parameters as for `burst`, which wrote `out`.

    v : (rows, neurons) int32 state units, written: potentials at the end; or (rows, 0)
    """
    low = _HIGHEST
    for b in range(len(total)):
        low = int32(min(low, _settle(total[b], silent, threshold, steps, out[b], v[b])))
    return low


@compiled
def _product(counts: np.ndarray, weights: np.ndarray) -> int32:
    total = int32(0)
    for j in range(len(counts)):
        total = int32(total + int32(int32(counts[j]) * int32(weights[j])))
    return total


@compiled
def weighted_bytes(counts: np.ndarray, weights: np.ndarray, chunk: int) -> np.ndarray:
    """(samples, sums) int64 sums of uint8 counts (samples, neurons) times int16 weights (sums, neurons).

    chunk : products whose sum fits 32 bits
    """
    found = np.zeros((len(counts), len(weights)), dtype=np.int64)
    for first in range(0, counts.shape[1], chunk):
        for row in range(len(counts)):
            for k in range(len(weights)):
                found[row, k] += _product(counts[row, first : first + chunk], weights[k, first : first + chunk])
    return found


@compiled
def weighted(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(samples, sums) int64 sums of counts (samples, neurons) times int64 weights (sums, neurons)."""
    found = np.zeros((len(counts), len(weights)), dtype=np.int64)
    for row in range(len(counts)):
        for k in range(len(weights)):
            total = np.int64(0)
            for j in range(counts.shape[1]):
                total += np.int64(counts[row, j]) * weights[k, j]
            found[row, k] = total
    return found


@compiled
def _fire_float(
    v: np.ndarray,
    a: np.ndarray,
    bias: np.ndarray,
    threshold: float32,
    reset: int,
    counts: np.ndarray,
    out: np.ndarray,
) -> tuple[float32, float32, int32]:
    low, high, messages = float32(np.inf), float32(-np.inf), int32(0)
    for j in range(len(v)):
        x = v[j] + a[j]
        if len(bias):
            x = x + bias[j]
        low, high = min(low, x), max(high, x)
        spike = x > threshold and reset != NONE
        out[j] = uint8(spike)
        v[j] = x if not spike else (x - threshold if reset == SOFT else float32(0))
        counts[j] = int32(counts[j] + int32(spike))
        messages = int32(messages + int32(spike))
    return low, high, messages


@compiled
def advance_float(
    a: np.ndarray,
    v: np.ndarray,
    bias: np.ndarray,
    counts: np.ndarray,
    out: np.ndarray,
    strides: tuple[tuple[int, int], tuple[int, int]],
    messages: np.ndarray,
    threshold: float32,
    reset: int,
    potentials: np.ndarray,
) -> tuple[float32, float32]:
    """Advance samples of a float population without leak by some steps, in place.

    Parameters
    ----------
    a, v : as for `advance`, but float32 weight units
    bias : (neurons,) float32, or (0,)
    counts, out, strides, messages, reset, potentials : as for `advance`
    threshold : float32

    Returns
    -------
    tuple of float32
        Lowest and highest v compared with the threshold.
    """
    steps, size = len(messages), v.shape[1]
    low, high = float32(np.inf), float32(-np.inf)
    (a_row, a_step), (out_row, out_step) = strides
    for b in range(len(v)):
        for first in range(0, size, BLOCK):
            last = min(size, first + BLOCK)
            some_bias = bias[first:last] if len(bias) else bias
            for t in range(steps):
                a_start, out_start = b * a_row + t * a_step, b * out_row + t * out_step
                current, spikes = a[a_start + first : a_start + last], out[out_start + first : out_start + last]
                least, most, fired = _fire_float(
                    v[b, first:last], current, some_bias, threshold, reset, counts[b, first:last], spikes
                )
                if len(potentials):
                    potentials[t, b, first:last] = v[b, first:last]
                low, high = min(low, least), max(high, most)
                messages[t] += fired
    return low, high
