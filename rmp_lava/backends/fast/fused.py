"""Neuron updates compiled by numba: all steps of a block of neurons in one pass, while they are in the nearest cache.

The arithmetic is `rmp_lava.neuron.step` in 32-bit integers, which hold every intermediate value as long as inputs are at
most 2^24 weight units. Each loop is so plain that the compiler makes vector instructions of it.
"""

from __future__ import annotations

import numba
import numpy as np

from ...neuron import MAX_STATE, STATE_SHIFT

VERSION = numba.__version__
BLOCK = 2048
"""Neurons at once: v, u, bias, counts, inputs and spikes of a block take some 40 KiB."""
SOFT, HARD, NONE = 0, 1, 2

_LIMIT = np.int32(MAX_STATE)
_SHIFT = np.int32(STATE_SHIFT)
_WRAP = np.int32(2**24)
_LOW_BITS = np.int32(12)
_LOW_MASK = np.int32(2**12 - 1)


def _compiled(function):
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # nowhere to keep the compiled code
        return numba.njit(nogil=True)(function)


@_compiled
def _add_current(v, a):
    for j in range(len(v)):
        v[j] += np.int32(a[j]) << _SHIFT


@_compiled
def _add(v, more):
    for j in range(len(v)):
        v[j] += more[j]


@_compiled
def _decay(x, keep):
    # |x| keep >> 12 without 64 bits: the upper and the lower 12 bits of |x| separately.
    for j in range(len(x)):
        size = abs(x[j])
        left = (size >> _LOW_BITS) * keep + (((size & _LOW_MASK) * keep) >> _LOW_BITS)
        x[j] = left if x[j] >= 0 else -left


@_compiled
def _wrap(u):
    low, high = u[0], u[0]
    for j in range(len(u)):
        x = u[j]
        x = x - _WRAP if x > _LIMIT + 1 else x
        x = x + _WRAP if x <= -_LIMIT - 1 else x
        low, high = min(low, x), max(high, x)
        u[j] = x
    return low, high


@_compiled
def _saturate(v):
    low, high, saturations = _LIMIT, -_LIMIT, 0
    for j in range(len(v)):
        x = min(_LIMIT, max(-_LIMIT, v[j]))
        saturations += np.int32(x != v[j])
        low, high = min(low, x), max(high, x)
        v[j] = x
    return low, high, saturations


@_compiled
def _fire_soft(v, threshold, out):
    for j in range(len(v)):
        spike = np.int32(v[j] > threshold)
        out[j] = np.uint8(spike)
        v[j] -= spike * threshold


@_compiled
def _fire_hard(v, threshold, out):
    for j in range(len(v)):
        spike = np.int32(v[j] > threshold)
        out[j] = np.uint8(spike)
        v[j] *= np.int32(1) - spike


@_compiled
def _count(out, counts):
    messages = 0
    for j in range(len(out)):
        counts[j] += out[j]
        messages += np.int32(out[j])
    return messages


@_compiled
def advance(a, v, u, bias, counts, out, threshold, reset, leaky, keep_current, keep_voltage):
    """Advance a population by the steps of `out`, in place.

    Parameters
    ----------
    a : (steps or 1, samples, neurons) float32 whole numbers of weight units; a single one is the input of every step
    v, u : (samples, neurons) int32 state units; u is not used unless `leaky`
    bias : (neurons,) int32 state units, or (0,)
    counts : (samples, neurons) int32, counted up
    out : (steps, samples, neurons) uint8 spikes
    threshold : int32 state units
    reset : SOFT, HARD or NONE
    keep_current, keep_voltage : int32, what a decay leaves, in 1/4096

    Returns
    -------
    tuple of int
        Spikes, saturated updates, lowest and highest v compared with the threshold, lowest and highest u.
    """
    steps, samples, size = out.shape
    messages, saturations = np.int64(0), np.int64(0)
    low, high, u_low, u_high = _LIMIT, -_LIMIT, _LIMIT, -_LIMIT
    for b in range(samples):
        for first in range(0, size, BLOCK):
            last = min(size, first + BLOCK)
            block = v[b, first:last]
            for t in range(steps):
                current = a[t if len(a) > 1 else 0, b, first:last]
                spikes = out[t, b, first:last]
                if leaky:
                    memory = u[b, first:last]
                    if keep_current:
                        _decay(memory, keep_current)
                    else:
                        memory[:] = 0
                    _add_current(memory, current)
                    least, most = _wrap(memory)
                    u_low, u_high = min(u_low, least), max(u_high, most)
                    _decay(block, keep_voltage)
                    _add(block, memory)
                else:
                    _add_current(block, current)
                if len(bias):
                    _add(block, bias[first:last])
                least, most, saturated = _saturate(block)
                low, high = min(low, least), max(high, most)
                saturations += saturated
                if reset == SOFT:
                    _fire_soft(block, threshold, spikes)
                elif reset == HARD:
                    _fire_hard(block, threshold, spikes)
                else:
                    spikes[:] = 0
                if reset != NONE:
                    messages += _count(spikes, counts[b, first:last])
    return messages, saturations, low, high, u_low, u_high
