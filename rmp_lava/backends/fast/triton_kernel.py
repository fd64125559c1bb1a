"""Integer neurons without leak on a GPU: one Triton kernel advances a block of them through all steps of a block of time.

The arithmetic is `rmp_lava.neuron.step` in 32-bit integers, as in `fused`. The membrane potential stays in a register from the
first step to the last; nothing comes back to the host before the population is reported. **Never run on a GPU**: Triton's
interpreter runs it on a CPU, where the tests compare it with the reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...registers import MAX_STATE, STATE_SHIFT

VERSION = triton.__version__
if int(VERSION.partition(".")[0]) < 3:
    raise ImportError(f"Triton {VERSION} is older than 3.0, and its interpreter does not run this kernel")

BLOCK = 1024
"""Neurons of a program."""


@triton.jit
def _advance(  # type: ignore[no-untyped-def]
    a,
    v,
    bias,
    counts,
    out,
    limits,
    neurons,
    size,
    steps,
    a_stride,
    out_stride,
    threshold,
    largest,
    has_input: tl.constexpr,
    has_bias: tl.constexpr,
    reset: tl.constexpr,
    shift: tl.constexpr,
    block: tl.constexpr,
):
    program = tl.program_id(0)
    j = program * block + tl.arange(0, block)
    exists = j < neurons
    x = tl.load(v + j, mask=exists, other=0)
    count = tl.zeros((block,), dtype=tl.int32)
    saturated = tl.zeros((block,), dtype=tl.int32)
    low = tl.zeros((block,), dtype=tl.int32) + largest
    high = tl.zeros((block,), dtype=tl.int32) - largest
    for t in range(steps):
        if has_input:
            current = tl.load(a + t * a_stride + j, mask=exists, other=0).to(tl.int32)
            x += current * (1 << shift)
            if has_bias:
                x += tl.load(bias + j % size, mask=exists, other=0)
        y = tl.minimum(tl.maximum(x, -largest), largest)
        saturated += (y != x).to(tl.int32)
        low = tl.minimum(low, y)
        high = tl.maximum(high, y)
        if reset == 2:
            spike = tl.zeros((block,), dtype=tl.int32)
        else:
            spike = (y > threshold).to(tl.int32)
        if reset == 1:
            x = y * (1 - spike)
        else:
            x = y - spike * threshold
        count += spike
        tl.store(out + t * out_stride + j, spike.to(tl.uint8), mask=exists)
    tl.store(v + j, x, mask=exists)
    tl.store(counts + j, tl.load(counts + j, mask=exists, other=0) + count, mask=exists)
    tl.store(limits + 3 * program, tl.min(tl.where(exists, low, largest), axis=0))
    tl.store(limits + 3 * program + 1, tl.max(tl.where(exists, high, -largest), axis=0))
    tl.store(limits + 3 * program + 2, tl.sum(tl.where(exists, saturated, 0), axis=0))


def advance(
    a: torch.Tensor | None,
    v: torch.Tensor,
    bias: torch.Tensor,
    counts: torch.Tensor,
    out: torch.Tensor,
    threshold: int,
    reset: int,
) -> torch.Tensor:
    """Advance some samples of a population by some steps, in place; the host does not wait.

    Parameters
    ----------
    a : (steps or 1, rows, neurons) float32 integers in weight units, at most 2^24, contiguous; a single step is the input of
        every step. None: neither messages nor bias.
    v : (rows, neurons) int32 state units, contiguous
    bias : (neurons,) int32 state units, or (0,)
    counts : (rows, neurons) int32, contiguous, incremented
    out : (steps, rows, neurons) uint8 spikes; rows and neurons are contiguous
    threshold : state units
    reset : as for `fused.advance`

    Returns
    -------
    torch.Tensor
        (3,) int32 on the device: lowest and highest v compared with the threshold, saturated updates.
    """
    programs = triton.cdiv(v.numel(), BLOCK)
    limits = torch.empty((programs, 3), dtype=torch.int32, device=v.device)
    _advance[(programs,)](
        v if a is None else a,
        v,
        bias,
        counts,
        out,
        limits,
        v.numel(),
        v.shape[1],
        len(out),
        v.numel() if a is not None and len(a) > 1 else 0,
        out.stride(0),
        threshold,
        MAX_STATE,
        has_input=a is not None,
        has_bias=len(bias) > 0,
        reset=reset,
        shift=STATE_SHIFT,
        block=BLOCK,
    )
    low, high, saturated = limits.unbind(dim=1)
    return torch.stack([low.min(), high.max(), saturated.sum(dtype=torch.int32)])
