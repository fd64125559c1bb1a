"""Activations that say what spiking neurons do within T steps, and can be trained through.

`ClipFloor` is the rate of a neuron with constant input (Bu et al., ICLR 2022, "Optimal ANN-SNN conversion for
high-accuracy and ultra-low-latency spiking neural networks"); `Integrate` is the neuron itself, step by step. Both have
one trained number for each layer, the spike value: the threshold in units of the activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .fake_quantize import round_through

try:
    from . import fused_neurons
except ImportError:  # numba comes with an extra
    fused_neurons = None

_ABOVE = 1 + 1e-5
"""A potential exceeds the threshold by this factor or not at all: integers that are equal are so in float32 up to its
rounding, and the smallest step of integers is larger (thresholds that one weight can say are at most 32,640)."""


class SpikeValue(nn.Module):
    """A layer's spike value as a trained number; what is trained is the logarithm of its change, so it stays positive."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("initial", torch.tensor(value, dtype=torch.float32))
        self.log_change = nn.Parameter(torch.zeros(()))

    def forward(self) -> torch.Tensor:
        return self.initial * self.log_change.exp()


@dataclass(frozen=True)
class ClipFloor:
    """Spike value times the rate that T steps of constant input x cause from a potential of half a threshold.

    value clip(ceil(T x / value + 1/2) - 1, 0, T) / T; that is QCFS's rounding but for inputs on the very edge, which do
    not exceed the threshold. Gradients pass as through clip(x, 0, value).
    """

    value: Callable[[], torch.Tensor]
    steps: int

    def __call__(self, sums: torch.Tensor) -> torch.Tensor:
        value = self.value()
        share = (sums.float() / value).clamp(0, 1)
        rate = (torch.ceil(share * self.steps + 0.5) - 1) / self.steps
        return value * round_through(share, rate)


@dataclass(frozen=True)
class Integrate:
    """RMP neurons over T steps from a potential of half a threshold: `rmp_lava.neuron`, float, in local time.

    Maps sums (T N, *shape), step by step (or (N, *shape) that are the same in each step, if `constant`), to spikes times
    the spike value, (T N, *shape).
    """

    value: Callable[[], torch.Tensor]
    steps: int
    constant: bool

    def __call__(self, sums: torch.Tensor) -> torch.Tensor:
        sums = sums.float()
        sums = sums.expand(self.steps, *sums.shape) if self.constant else _steps_first(sums, self.steps)
        return _Neurons.apply(sums, self.value()).flatten(0, 1)


@dataclass(frozen=True)
class MeanOverTime:
    """What an integrating read-out holds after T steps, divided by T; sums (T N, *shape) to (N, *shape)."""

    steps: int

    def __call__(self, sums: torch.Tensor) -> torch.Tensor:
        return _steps_first(sums.float(), self.steps).mean(0)


def _steps_first(values: torch.Tensor, steps: int) -> torch.Tensor:
    return values.unflatten(0, (steps, len(values) // steps))


def _spiking(compared: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    return compared > threshold * _ABOVE


class _Neurons(torch.autograd.Function):
    """Spikes times the threshold of soft-reset neurons, and their surrogate gradient through time.

    Backwards, a spike counts as the triangle max(0, 1 - |v / threshold - 1|) of the potential v that is compared with
    the threshold (Bellec et al., NeurIPS 2018), in the reset too.
    """

    @staticmethod
    def forward(ctx, sums: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
        compared, spikes = (_integrate_fused if _is_fused(sums) else _integrate)(sums, threshold)
        ctx.save_for_backward(compared, threshold)
        return spikes

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        compared, threshold = ctx.saved_tensors
        return (_differentiate_fused if _is_fused(compared) else _differentiate)(gradient, compared, threshold)


def _is_fused(values: torch.Tensor) -> bool:
    return fused_neurons is not None and values.device.type == "cpu" and values.dtype == torch.float32


def _integrate(sums: torch.Tensor, threshold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is compared with the threshold, and spikes times the threshold, each (T, N, *shape)."""
    potential = (threshold / 2).expand_as(sums[0])
    compared, spikes = torch.empty_like(sums), torch.empty_like(sums)
    for t in range(len(sums)):
        torch.add(potential, sums[t], out=compared[t])
        torch.mul(_spiking(compared[t], threshold), threshold, out=spikes[t])
        potential = compared[t] - spikes[t]
    return compared, spikes


def _differentiate(
    gradient: torch.Tensor, compared: torch.Tensor, threshold: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the sums and of the threshold."""
    to_sums, to_threshold = torch.empty_like(gradient), torch.zeros_like(threshold)
    later = torch.zeros_like(gradient[0])
    for t in reversed(range(len(gradient))):
        slope = (1 - (compared[t] / threshold - 1).abs()).clamp_(min=0)
        later = later + slope * (gradient[t] - later)
        to_sums[t] = later
        # Only sums / threshold decides who spikes, and what a spike is worth is the threshold itself.
        spikes = threshold * _spiking(compared[t], threshold)
        before = compared[t - 1] - threshold * _spiking(compared[t - 1], threshold) if t else threshold / 2
        to_threshold += ((gradient[t] * spikes).sum() - (later * (compared[t] - before)).sum()) / threshold
    return to_sums, to_threshold


def _integrate_fused(sums: torch.Tensor, threshold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    steps, constant = len(sums), sums.stride(0) == 0
    sums = _without_gaps(sums[:1] if constant else sums)
    found = fused_neurons.forward(
        _rows(sums), threshold.item(), (threshold * _ABOVE).item(), steps, torch.get_num_threads()
    )
    shape, strides = (steps, *sums.shape[1:]), (sums[0].numel(), *sums.stride()[1:])
    compared, spikes = (torch.from_numpy(each).as_strided(shape, strides) for each in found)
    return compared, spikes


def _differentiate_fused(
    gradient: torch.Tensor, compared: torch.Tensor, threshold: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    if gradient.stride() != compared.stride():
        gradient = torch.empty_strided(compared.shape, compared.stride()).copy_(gradient)
    to_sums, to_threshold = fused_neurons.backward(
        _rows(gradient), _rows(compared), threshold.item(), (threshold * _ABOVE).item(), torch.get_num_threads()
    )
    to_sums = torch.from_numpy(to_sums).as_strided(compared.shape, compared.stride())
    return to_sums, torch.full_like(threshold, to_threshold / threshold.item())


def _without_gaps(values: torch.Tensor) -> torch.Tensor:
    """The values step after step in memory, each step dense in whatever order of its axes."""
    # empty_like keeps the order of dense axes only.
    dense = torch.empty_like(values[0]).stride() == values[0].stride()
    return values if dense and values.stride(0) == values[0].numel() else values.contiguous()


def _rows(values: torch.Tensor) -> np.ndarray:
    """(T, N, *shape) without gaps as (T, neurons of all samples), in the order of memory."""
    return values.detach().as_strided((len(values), values[0].numel()), (values[0].numel(), 1)).numpy()
