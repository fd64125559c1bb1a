"""Neurons compiled by numba, one block of neurons at a time in cache: soft reset with its gradient, spike counts of both resets.

The float32 arithmetic is that of `spike_activations` with PyTorch, in the same order; only the threshold's gradient is summed in
another order. Arrays are (steps, neurons), with the steps contiguous in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np
from numpy import float32

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Result = TypeVar("_Result")

_BLOCK = 4096
"""Neurons at once: potentials, one step of input and one of output are 48 KiB."""
_LARGE_BLOCK = 65536
"""Neurons at once where each is read once."""
_SMALL_BLOCK = 1024
"""Neurons at once where several thresholds share the input."""


def _compiled(**options: Any) -> Callable[[_Function], _Function]:
    def compile_function(function: _Function) -> _Function:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder to cache the compiled code in
            return numba.njit(nogil=True, **options)(function)

    return compile_function


@_compiled()
def _step(
    potential: np.ndarray,
    sums: np.ndarray,
    threshold: np.float32,
    above: np.float32,
    compared: np.ndarray,
    spikes: np.ndarray,
) -> None:
    for j in range(len(potential)):
        x = potential[j] + sums[j]
        spike = threshold if x > above else float32(0)
        compared[j] = x
        spikes[j] = spike
        potential[j] = x - spike


@_compiled()
def _forward(
    sums: np.ndarray,
    threshold: np.float32,
    above: np.float32,
    compared: np.ndarray,
    spikes: np.ndarray,
    first: int,
    stop: int,
) -> None:
    potential = np.full(stop - first, threshold / float32(2), dtype=np.float32)
    for t in range(len(compared)):
        # A constant input has one step only.
        step = sums[t if len(sums) > 1 else 0][first:stop]
        _step(potential, step, threshold, above, compared[t][first:stop], spikes[t][first:stop])


@_compiled(fastmath={"reassoc"})
def _step_back(
    gradient: np.ndarray,
    compared: np.ndarray,
    before: np.ndarray,
    later: np.ndarray,
    threshold: np.float32,
    above: np.float32,
    to_sums: np.ndarray,
) -> np.floating:
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
def _backward(
    gradient: np.ndarray,
    compared: np.ndarray,
    threshold: np.float32,
    above: np.float32,
    to_sums: np.ndarray,
    first: int,
    stop: int,
) -> float:
    start = np.full(stop - first, threshold / float32(2), dtype=np.float32)
    later = np.zeros(stop - first, dtype=np.float32)
    total = 0.0
    for t in range(len(gradient) - 1, -1, -1):
        before = compared[t - 1][first:stop] if t else start
        out = to_sums[t][first:stop]
        total += float(
            _step_back(gradient[t][first:stop], compared[t][first:stop], before, later, threshold, above, out)
        )
        later = out
    return total


def forward(
    sums: np.ndarray, threshold: float, above: float, steps: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Potentials as compared with the threshold, and spikes times the threshold, both float32 (steps, neurons).

    `sums` are float32 (steps, neurons), or (1, neurons) for an input that is constant over time. A neuron spikes where its
    potential exceeds `above`; then `threshold` is subtracted.
    """
    compared, spikes = (np.empty((steps, sums.shape[1]), dtype=np.float32) for _ in range(2))
    limits = float32(threshold), float32(above)
    _in_parallel(lambda first, stop: _forward(sums, *limits, compared, spikes, first, stop), sums.shape[1], threads)
    return compared, spikes


def backward(
    gradient: np.ndarray, compared: np.ndarray, threshold: float, above: float, threads: int
) -> tuple[np.ndarray, float]:
    """Gradient of the sums, (steps, neurons), and of the threshold, the latter still to be divided by the threshold."""
    to_sums = np.empty_like(compared)
    limits = float32(threshold), float32(above)
    totals = _in_parallel(
        lambda first, stop: _backward(gradient, compared, *limits, to_sums, first, stop), compared.shape[1], threads
    )
    return to_sums, sum(totals)


@_compiled(inline="always")
def _rate(ratio: np.float32, steps: np.float32, half: np.float32) -> np.float32:
    level = ratio * steps + half
    below = float32(np.int32(level))  # `ceil` is a call for each number
    return (below if below < level else below - float32(1)) / steps


@_compiled()
def _rates(sums: np.ndarray, scale: np.float32, steps: np.float32, half: np.float32, rates: np.ndarray) -> None:
    for j in range(len(sums)):
        ratio = sums[j] / scale
        limited = min(max(ratio, float32(0)), float32(1))
        # What is not a number stays so.
        rates[j] = scale * _rate(limited, steps, half) if ratio == ratio else ratio


@_compiled(fastmath={"reassoc"})
def _rates_back(
    gradient: np.ndarray,
    sums: np.ndarray,
    scale: np.float32,
    steps: np.float32,
    half: np.float32,
    to_sums: np.ndarray,
) -> np.floating:
    total = float32(0)
    for j in range(len(sums)):
        ratio = sums[j] / scale
        limited = min(max(ratio, float32(0)), float32(1))
        passed = gradient[j] if ratio == limited else float32(0)
        to_sums[j] = passed
        total += gradient[j] * _rate(limited, steps, half) - passed * limited
    return total


def rates(sums: np.ndarray, scale: float, steps: int, half: float, threads: int) -> np.ndarray:
    """Activation scale times the rates of constant sums, both float32 (neurons,), which round at `half`."""
    out = np.empty_like(sums)
    numbers = float32(scale), float32(steps), float32(half)

    def part(first: int, stop: int) -> None:
        _rates(sums[first:stop], *numbers, out[first:stop])

    _in_parallel(part, len(sums), threads, _LARGE_BLOCK)
    return out


def rates_backward(
    gradient: np.ndarray, sums: np.ndarray, scale: float, steps: int, half: float, threads: int
) -> tuple[np.ndarray, float]:
    """Gradients of the sums, (neurons,), and of the activation scale."""
    to_sums = np.empty_like(sums)
    numbers = float32(scale), float32(steps), float32(half)

    def part(first: int, stop: int) -> float:
        return float(_rates_back(gradient[first:stop], sums[first:stop], *numbers, to_sums[first:stop]))

    return to_sums, sum(_in_parallel(part, len(sums), threads, _LARGE_BLOCK))


@_compiled()
def _count_step(v: np.ndarray, sums: np.ndarray, threshold: np.ndarray, count: np.ndarray, hard: bool) -> None:
    for j in range(len(v)):
        x = v[j] + sums[j]
        spike = float32(x > threshold[j])
        count[j] += spike
        v[j] = x - spike * (x if hard else threshold[j])


@_compiled()
def _count(
    sums: np.ndarray,
    thresholds: np.ndarray,
    potentials: np.ndarray,
    counts: np.ndarray,
    steps: int,
    hard: bool,
    sample: int,
) -> None:
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
    """Count the spikes of one input at several thresholds, float32 (thresholds, neurons).

    `sums` are float32 (steps, samples, neurons), or (1, samples, neurons) for an input that is constant over time. `potentials`
    and `counts`, float32 (thresholds, samples, neurons), are updated in place. With `hard` a spike sets the membrane potential
    to zero instead of subtracting the threshold.
    """

    def of_sample(sample: int) -> None:
        _count(sums, thresholds, potentials, counts, steps, hard, sample)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(of_sample, range(sums.shape[1])))


@_compiled()
def _begin(v: np.ndarray, threshold: np.ndarray, share: np.float32, count: np.ndarray) -> None:
    for j in range(len(v)):
        v[j] = threshold[j] * share
        count[j] = float32(0)


@_compiled()
def _gather(v: np.ndarray, sums: np.ndarray, times: np.float32) -> None:
    for j in range(len(v)):
        v[j] += sums[j] * times


@_compiled()
def _missing(
    count: np.ndarray, threshold: np.ndarray, per_step: np.float32, wanted: np.ndarray, out: np.ndarray
) -> None:
    for j in range(len(count)):
        out[j] = wanted[j] - count[j] * (threshold[j] * per_step)


@_compiled(fastmath={"reassoc"})
def _add_errors(missing: np.ndarray, squares: np.ndarray, sums: np.ndarray) -> None:
    groups = len(sums)
    if groups == 1:
        square, total = 0.0, 0.0
        for j in range(len(missing)):
            square += missing[j] * missing[j]
            total += missing[j]
        squares[0] += square
        sums[0] += total
        return
    for first in range(0, len(missing), groups):
        for group in range(groups):
            squares[group] += missing[first + group] * missing[first + group]
        for group in range(groups):
            sums[group] += missing[first + group]


@_compiled()
def _rate_errors(
    sums: np.ndarray,
    steps: int,
    wait: int,
    times: np.float32,
    thresholds: np.ndarray,
    shares: np.ndarray,
    wanted: np.ndarray,
    hard: bool,
    squares: np.ndarray,
    totals: np.ndarray,
    sample: int,
) -> None:
    size, groups = thresholds.shape[1], squares.shape[-1]
    constant = len(sums) == 1
    block = max(1, _SMALL_BLOCK // groups) * groups
    scratch = np.zeros((4, block), dtype=np.float32)
    for first in range(0, size, block):
        some = slice(first, min(size, first + block))
        n = some.stop - some.start
        v, count, missing, nothing = scratch[0][:n], scratch[1][:n], scratch[2][:n], scratch[3][:n]
        activation = wanted[sample][some]
        for i in range(len(shares)):
            for factor in range(len(thresholds)):
                threshold = thresholds[factor][some]
                _begin(v, threshold, shares[i], count)
                if constant and wait:
                    _gather(v, sums[0][sample][some], times)
                elif wait:
                    for t in range(wait):
                        _gather(v, sums[t][sample][some], float32(1))
                for t in range(wait, steps):
                    _count_step(v, sums[0 if constant else t][sample][some], threshold, count, hard)
                for _ in range(wait):
                    _count_step(v, nothing, threshold, count, hard)
                _missing(count, threshold, float32(1) / float32(steps), activation, missing)
                _add_errors(missing, squares[sample, i, factor], totals[sample, i, factor])


def rate_errors(
    sums: np.ndarray,
    steps: int,
    wait: int,
    thresholds: np.ndarray,
    shares: tuple[float, ...],
    wanted: np.ndarray,
    groups: int,
    threads: int,
    *,
    hard: bool,
    whole: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of squares, and of what rates miss of activations, float64 (shares, thresholds, groups).

    `sums`, `thresholds` and `hard` are those of `count`, for all `steps` of a window; while the first `wait` of them arrive,
    neurons only integrate. With `whole`, for wait = T, `sums` are (1, samples, neurons) of the whole window. `shares` are initial
    potentials over thresholds. `wanted`, float32 (samples, neurons), are the activations; neuron i belongs to group i % `groups`.
    """
    size = (sums.shape[1], len(shares), len(thresholds), groups)
    squares, totals = np.zeros(size), np.zeros(size)
    times = float32(1 if whole else wait)

    def of_sample(sample: int) -> None:
        start = np.array(shares, dtype=np.float32)
        _rate_errors(sums, steps, wait, times, thresholds, start, wanted, hard, squares, totals, sample)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(of_sample, range(sums.shape[1])))
    return squares.sum(axis=0), totals.sum(axis=0)


def _in_parallel(part: Callable[[int, int], _Result], neurons: int, threads: int, block: int = _BLOCK) -> list[_Result]:
    """The results of `part(first, stop)` for each block, in the order of the blocks."""
    firsts = range(0, neurons, block)
    stops = [min(first + block, neurons) for first in firsts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(part, firsts, stops))
