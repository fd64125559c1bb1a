"""Soft-reset neurons forward and backward, and counts of either reset, compiled by numba, a block of neurons at a time in cache.

The same float32 arithmetic, in the same order, as `spike_activations` does with PyTorch; only the sum that is the
threshold's gradient is added up in another order. Arrays are (steps, neurons), in memory step after step.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy import float32

_BLOCK = 4096
"""Neurons at once: the potential, one step of input and one of output are 48 KiB."""

_SMALL_BLOCK = 1024
"""The same where several thresholds share the steps of input."""


def _compiled(**options):
    def compile_function(function):
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # nowhere to keep the compiled code
            return numba.njit(nogil=True, **options)(function)

    return compile_function


@_compiled()
def _step(potential, sums, threshold, above, compared, spikes):
    for j in range(len(potential)):
        x = potential[j] + sums[j]
        spike = threshold if x > above else float32(0)
        compared[j] = x
        spikes[j] = spike
        potential[j] = x - spike


@_compiled()
def _forward(sums, threshold, above, compared, spikes, first, stop):
    potential = np.full(stop - first, threshold / float32(2), dtype=np.float32)
    for t in range(len(compared)):
        # One step that stands for all has length 1.
        step = sums[t if len(sums) > 1 else 0][first:stop]
        _step(potential, step, threshold, above, compared[t][first:stop], spikes[t][first:stop])


@_compiled(fastmath={"reassoc"})
def _step_back(gradient, compared, before, later, threshold, above, to_sums):
    total = float32(0)
    for j in range(len(gradient)):
        c = compared[j]
        slope = max(float32(0), float32(1) - abs(c / threshold - float32(1)))
        x = later[j] + slope * (gradient[j] - later[j])
        to_sums[j] = x
        spike = threshold if c > above else float32(0)
        spike_before = threshold if before[j] > above else float32(0)
        total += gradient[j] * spike - x * (c - (before[j] - spike_before))
    return total


@_compiled()
def _backward(gradient, compared, threshold, above, to_sums, first, stop):
    start = np.full(stop - first, threshold / float32(2), dtype=np.float32)
    later = np.zeros(stop - first, dtype=np.float32)
    total = 0.0
    for t in range(len(gradient) - 1, -1, -1):
        before = compared[t - 1][first:stop] if t else start
        out = to_sums[t][first:stop]
        total += _step_back(gradient[t][first:stop], compared[t][first:stop], before, later, threshold, above, out)
        later = out
    return total


def forward(
    sums: np.ndarray, threshold: float, above: float, steps: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """(what is compared with the threshold, spikes times the threshold), both float32 (steps, neurons).

    Parameters
    ----------
    sums : numpy.ndarray
        float32 (steps, neurons), or (1, neurons) that is the same in each step.
    threshold, above : float
        A neuron spikes where its potential exceeds `above`; then `threshold` is subtracted.
    """
    compared, spikes = (np.empty((steps, sums.shape[1]), dtype=np.float32) for _ in range(2))
    threshold, above = float32(threshold), float32(above)

    _in_parallel(lambda *block: _forward(sums, threshold, above, compared, spikes, *block), sums.shape[1], threads)
    return compared, spikes


def backward(
    gradient: np.ndarray, compared: np.ndarray, threshold: float, above: float, threads: int
) -> tuple[np.ndarray, float]:
    """(gradient of the sums, (steps, neurons); that of the threshold, not yet divided by it)."""
    to_sums = np.empty_like(compared)
    threshold, above = float32(threshold), float32(above)

    totals = _in_parallel(
        lambda *block: _backward(gradient, compared, threshold, above, to_sums, *block), compared.shape[1], threads
    )
    return to_sums, sum(totals)


@_compiled()
def _count_step(v, sums, threshold, count, hard):
    for j in range(len(v)):
        x = v[j] + sums[j]
        spike = float32(x > threshold[j])
        count[j] += spike
        v[j] = x - spike * (x if hard else threshold[j])


@_compiled()
def _count(sums, thresholds, potentials, counts, steps, hard, sample):
    size = thresholds.shape[1]
    for first in range(0, size, _SMALL_BLOCK):
        some = slice(first, min(size, first + _SMALL_BLOCK))
        for factor in range(len(thresholds)):
            v, count = potentials[factor, sample, some], counts[factor, sample, some]
            for t in range(steps):
                step = sums[t if len(sums) > 1 else 0, sample, some]
                _count_step(v, step, thresholds[factor, some], count, hard)


def count(
    sums: np.ndarray,
    thresholds: np.ndarray,
    potentials: np.ndarray,
    counts: np.ndarray,
    steps: int,
    threads: int,
    *,
    hard: bool,
) -> None:
    """Count the spikes that one input causes at several thresholds.

    Parameters
    ----------
    sums : numpy.ndarray
        float32 (steps or 1, samples, neurons); a single one is the input of every step.
    thresholds : numpy.ndarray
        float32 (thresholds, neurons).
    potentials, counts : numpy.ndarray
        float32 (thresholds, samples, neurons), changed in place.
    steps, threads : int
    hard : bool
        Whether a spike sets the potential to zero instead of subtracting the threshold.
    """

    def of_sample(sample: int) -> None:
        _count(sums, thresholds, potentials, counts, steps, hard, sample)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(of_sample, range(sums.shape[1])))


def _in_parallel(part: Callable, neurons: int, threads: int) -> list:
    """`part(first, stop)` of each block, the results in the order of the blocks."""
    firsts = range(0, neurons, _BLOCK)
    stops = [min(first + _BLOCK, neurons) for first in firsts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(part, firsts, stops))
