"""Integer neurons on a GPU: one Triton kernel advances a block of them through all steps of a block of time.

The arithmetic is `rmp_lava.neuron.step` in 32-bit integers, as in `fused`. The membrane potential stays in a register from the
first step to the last; nothing comes back to the host before the population is reported. **Never run on a GPU**: Triton's
interpreter runs it on a CPU, where the tests compare it with the reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...network import NO_MEMORY
from ...registers import MAX_STATE, STATE_SHIFT

VERSION = triton.__version__
if int(VERSION.partition(".")[0]) < 3:
    raise ImportError(f"Triton {VERSION} is older than 3.0, and its interpreter does not run this kernel")

BLOCK = 1024
"""Neurons of a program."""
NO_LEAK, LEAK, LEAKY_CURRENT = 0, 1, 2


@triton.jit
def _decayed(x, keep, whole: tl.constexpr):  # type: ignore[no-untyped-def]
    # Rounded towards zero, as Loihi does.
    kept = (tl.abs(x).to(tl.int64) * keep // whole).to(tl.int32)
    return tl.where(x < 0, -kept, kept)


@triton.jit
def _advance(  # type: ignore[no-untyped-def]
    a,
    v,
    u,
    bias,
    thresholds,
    keeps_current,
    keeps_voltage,
    counts,
    out,
    limits,
    neurons,
    size,
    steps,
    a_row,
    a_step,
    out_row,
    out_step,
    largest,
    largest_spike,
    has_input: tl.constexpr,
    has_bias: tl.constexpr,
    leak: tl.constexpr,
    reset: tl.constexpr,
    graded: tl.constexpr,
    shift: tl.constexpr,
    whole: tl.constexpr,
    block: tl.constexpr,
):
    program = tl.program_id(0)
    j = program * block + tl.arange(0, block)
    exists = j < neurons
    row, column = (j // size).to(tl.int64), j % size
    threshold = tl.load(thresholds + column, mask=exists, other=1)
    x = tl.load(v + j, mask=exists, other=0)
    if leak > 0:
        keep_voltage = tl.load(keeps_voltage + column, mask=exists, other=0)
    if leak > 1:
        memory = tl.load(u + j, mask=exists, other=0)
        keep_current = tl.load(keeps_current + column, mask=exists, other=0)
    count = tl.zeros((block,), dtype=tl.int32)
    saturated = tl.zeros((block,), dtype=tl.int32)
    low = tl.zeros((block,), dtype=tl.int32) + largest
    high = tl.zeros((block,), dtype=tl.int32) - largest
    u_low = tl.zeros((block,), dtype=tl.int32) + 2 * largest
    u_high = tl.zeros((block,), dtype=tl.int32) - 2 * largest
    for t in range(steps):
        if has_input:
            current = tl.load(a + row * a_row + t * a_step + column, mask=exists, other=0).to(tl.int32) * (1 << shift)
            if leak > 1:
                memory = _decayed(memory, keep_current, whole) + current
                memory = tl.where(memory > largest + 1, memory - 2 * (largest + 1), memory)
                memory = tl.where(memory <= -largest - 1, memory + 2 * (largest + 1), memory)
                u_low = tl.minimum(u_low, memory)
                u_high = tl.maximum(u_high, memory)
                current = memory
            if leak > 0:
                x = _decayed(x, keep_voltage, whole)
            x += current
            if has_bias:
                x += tl.load(bias + column, mask=exists, other=0)
        y = tl.minimum(tl.maximum(x, -largest), largest)
        saturated += (y != x).to(tl.int32)
        low = tl.minimum(low, y)
        high = tl.maximum(high, y)
        if reset == 2:
            spike = tl.zeros((block,), dtype=tl.int32)
        elif graded:
            spike = tl.minimum(tl.maximum((y - 1) // threshold, 0), largest_spike)
        else:
            spike = (y > threshold).to(tl.int32)
        if reset == 1:
            x = y * (1 - spike)
        else:
            x = y - spike * threshold
        count += (spike != 0).to(tl.int32)
        tl.store(out + row * out_row + t * out_step + column, spike.to(tl.uint8), mask=exists)
    tl.store(v + j, x, mask=exists)
    if leak > 1:
        tl.store(u + j, memory, mask=exists)
    tl.store(counts + j, tl.load(counts + j, mask=exists, other=0) + count, mask=exists)
    tl.store(limits + 5 * program, tl.min(tl.where(exists, low, largest), axis=0))
    tl.store(limits + 5 * program + 1, tl.max(tl.where(exists, high, -largest), axis=0))
    tl.store(limits + 5 * program + 2, tl.sum(tl.where(exists, saturated, 0), axis=0))
    tl.store(limits + 5 * program + 3, tl.min(tl.where(exists, u_low, 2 * largest), axis=0))
    tl.store(limits + 5 * program + 4, tl.max(tl.where(exists, u_high, -2 * largest), axis=0))


def advance(
    a: torch.Tensor | None,
    v: torch.Tensor,
    u: torch.Tensor,
    bias: torch.Tensor,
    thresholds: torch.Tensor,
    keeps: tuple[torch.Tensor, torch.Tensor] | None,
    counts: torch.Tensor,
    out: torch.Tensor,
    reset: int,
    largest_spike: int,
) -> torch.Tensor:
    """Advance some samples of a population by some steps, in place; the host does not wait.

    Parameters
    ----------
    a : (rows, steps or 1, neurons) float32 integers in weight units, at most 2^24, contiguous; a single step is the input of
        every step. None: neither messages nor bias.
    v : (rows, neurons) int32 state units, contiguous
    u : the same, or (rows, 0) for a current without memory
    bias : (neurons,) int32 state units, or (0,)
    thresholds : (neurons,) int32 state units
    keeps : (neurons,) int32 shares that the decays of current and voltage leave, in units of 1/4096; None without leak
    counts : (rows, neurons) int32, contiguous, incremented by messages
    out : (rows, steps, neurons) uint8 spikes; neurons are contiguous
    reset, largest_spike : as for `fused.advance`

    Returns
    -------
    torch.Tensor
        (5,) int32 on the device: lowest and highest v compared with the threshold, saturated updates, lowest and highest u.
    """
    programs = triton.cdiv(v.numel(), BLOCK)
    limits = torch.empty((programs, 5), dtype=torch.int32, device=v.device)
    leak = NO_LEAK if keeps is None else LEAKY_CURRENT if u.shape[1] else LEAK
    keep_current, keep_voltage = (thresholds, thresholds) if keeps is None else keeps
    given = v if a is None else a
    _advance[(programs,)](
        given,
        v,
        u,
        bias,
        thresholds,
        keep_current,
        keep_voltage,
        counts,
        out,
        limits,
        v.numel(),
        v.shape[1],
        out.shape[1],
        given.stride(0),
        v.shape[1] if a is not None and a.shape[1] > 1 else 0,
        out.stride(0),
        out.stride(1),
        MAX_STATE,
        largest_spike,
        has_input=a is not None,
        has_bias=len(bias) > 0,
        leak=leak,
        reset=reset,
        graded=largest_spike > 1,
        shift=STATE_SHIFT,
        whole=NO_MEMORY,
        block=BLOCK,
    )
    low, high, saturated, u_low, u_high = limits.unbind(dim=1)
    return torch.stack([low.min(), high.max(), saturated.sum(dtype=torch.int32), u_low.min(), u_high.max()])
