"""Differentiable activations that compute what spiking neurons do within T time steps.

`ClipFloor` is the firing rate of a neuron with constant input (Bu et al., ICLR 2022, "Optimal ANN-SNN conversion for
high-accuracy and ultra-low-latency spiking neural networks"); `Integrate` is the neuron itself, step by step. Both have one
trained number per layer, the activation scale: the threshold in units of the activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

try:
    from . import fused_neurons
except ImportError:  # numba comes with an extra
    fused_neurons = None  # type: ignore[assignment]

_MARGIN = 1e-5
_HALF = 0.5 - _MARGIN
_ABOVE = 1 + _MARGIN
"""A neuron fires above its threshold times this factor. The margin is larger than float32's rounding, by which sums of equal
integers may differ, and smaller than one integer step (a threshold that one weight can represent is at most 32,640)."""


class ActivationScale(nn.Module):
    """A layer's trained activation scale; its parameter is the logarithm of its change, so it stays positive."""

    initial: torch.Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("initial", torch.tensor(value, dtype=torch.float32))
        self.log_change = nn.Parameter(torch.zeros(()))

    def forward(self) -> torch.Tensor:
        return self.initial * self.log_change.exp()


@dataclass(frozen=True)
class ClipFloor:
    """Activation scale times the firing rate of T steps of constant input x, from an initial potential of half a threshold.

    It is also the rate of a neuron that waits for T steps, of any input whose mean is x.

    scale * clip(ceil(T x / scale + 1/2) - 1, 0, T) / T: the rounding of QCFS, except that an input which only reaches the
    threshold does not fire. Gradients are those of clip(x, 0, scale).
    """

    scale: Callable[[], torch.Tensor]
    steps: int

    def __call__(self, sums: torch.Tensor) -> torch.Tensor:
        rates: torch.Tensor = _Rates.apply(sums.float(), self.scale(), self.steps)
        return rates


@dataclass(frozen=True)
class Integrate:
    """RMP neurons over T steps from an initial potential of half a threshold: `rmp_lava.neuron`, float, in local time.

    Maps sums (T * N, *shape), or (N, *shape) of an input that is `constant` over time, to spikes times the activation scale,
    (T * N, *shape); the steps are the slow axis: those in which messages arrive, and after `wait` of them those of spikes.
    """

    scale: Callable[[], torch.Tensor]
    steps: int
    constant: bool
    wait: int = 0

    def __call__(self, sums: torch.Tensor) -> torch.Tensor:
        sums = sums.float()
        sums = sums.expand(self.steps, *sums.shape) if self.constant else _steps_first(sums, self.steps)
        if self.wait:  # nothing is compared before, so it may as well arrive at once; nothing arrives in the last steps
            gathered = sums[: self.wait + 1].sum(0, keepdim=True)
            later = sums[self.wait + 1 :]
            silent = torch.zeros_like(sums[:1]).expand(self.steps - 1 - len(later), *sums.shape[1:])
            sums = torch.cat((gathered, later, silent))
        spikes: torch.Tensor = _Neurons.apply(sums, self.scale())  # (T, N, *shape)
        return spikes.flatten(0, 1)


@dataclass(frozen=True)
class MeanOverTime:
    """The potential of an integrating read-out after T steps, divided by T: sums (T * N, *shape) to (N, *shape)."""

    steps: int

    def __call__(self, sums: torch.Tensor) -> torch.Tensor:
        return _steps_first(sums.float(), self.steps).mean(0)


def _steps_first(values: torch.Tensor, steps: int) -> torch.Tensor:
    return values.unflatten(0, (steps, len(values) // steps))


def _spiking(compared: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    return compared > threshold * _ABOVE


class _Rates(torch.autograd.Function):
    """Activation scale times rates; their steps pass gradients on as the clipped ReLU does that they approximate."""

    @staticmethod
    def forward(ctx: Any, sums: torch.Tensor, scale: torch.Tensor, steps: int) -> torch.Tensor:
        sums = _without_gaps(sums[None])[0]
        ctx.save_for_backward(sums, scale)
        ctx.steps = steps
        return (_round_fused if _is_fused(sums) else _round)(sums, scale, steps)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        sums, scale = ctx.saved_tensors
        differentiate = _differentiate_rounded_fused if _is_fused(sums) else _differentiate_rounded
        return *differentiate(gradient, sums, scale, ctx.steps), None


class _Neurons(torch.autograd.Function):
    """Spikes times the threshold of soft-reset neurons, with a surrogate gradient through time.

    The derivative of a spike is taken as the triangle max(0, 1 - |v / threshold - 1|) of the potential v before the reset
    (Bellec et al., NeurIPS 2018), in the reset too.
    """

    @staticmethod
    def forward(ctx: Any, sums: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
        compared, spikes = (_integrate_fused if _is_fused(sums) else _integrate)(sums, threshold)
        ctx.save_for_backward(compared, threshold)
        return spikes

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        compared, threshold = ctx.saved_tensors
        return (_differentiate_fused if _is_fused(compared) else _differentiate)(gradient, compared, threshold)


def _is_fused(values: torch.Tensor) -> bool:
    return fused_neurons is not None and values.device.type == "cpu" and values.dtype == torch.float32


def _rate(ratio: torch.Tensor, steps: int) -> torch.Tensor:
    return (torch.ceil(ratio.clamp(0, 1) * steps + _HALF) - 1) / steps


def _round(sums: torch.Tensor, scale: torch.Tensor, steps: int) -> torch.Tensor:
    """Activation scale times the rates of these sums."""
    return scale * _rate(sums / scale, steps)


def _differentiate_rounded(
    gradient: torch.Tensor, sums: torch.Tensor, scale: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the sums and of the scale."""
    ratio = sums / scale
    passed = torch.where((ratio >= 0) & (ratio <= 1), gradient, 0)
    return passed, (gradient * _rate(ratio, steps) - passed * ratio.clamp(0, 1)).sum()


def _round_fused(sums: torch.Tensor, scale: torch.Tensor, steps: int) -> torch.Tensor:
    found = fused_neurons.rates(_rows(sums[None])[0], scale.item(), steps, _HALF, torch.get_num_threads())
    return torch.from_numpy(found).as_strided(sums.shape, sums.stride())


def _differentiate_rounded_fused(
    gradient: torch.Tensor, sums: torch.Tensor, scale: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    found, to_scale = fused_neurons.rates_backward(
        _rows(_strided_like(gradient, sums)[None])[0],
        _rows(sums[None])[0],
        scale.item(),
        steps,
        _HALF,
        torch.get_num_threads(),
    )
    return torch.from_numpy(found).as_strided(sums.shape, sums.stride()), torch.full_like(scale, to_scale)


def _integrate(sums: torch.Tensor, threshold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Potentials as compared with the threshold, and spikes times the threshold, each (T, N, *shape)."""
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
        # Spikes depend on sums / threshold only, and each contributes the threshold itself.
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
    found, to_threshold = fused_neurons.backward(
        _rows(_strided_like(gradient, compared)),
        _rows(compared),
        threshold.item(),
        (threshold * _ABOVE).item(),
        torch.get_num_threads(),
    )
    to_sums = torch.from_numpy(found).as_strided(compared.shape, compared.stride())
    return to_sums, torch.full_like(threshold, to_threshold / threshold.item())


def _without_gaps(values: torch.Tensor) -> torch.Tensor:
    """The values with contiguous steps, each of them dense in any order of its axes."""
    # empty_like keeps the order of dense axes only.
    dense = torch.empty_like(values[0]).stride() == values[0].stride()
    return values if dense and values.stride(0) == values[0].numel() else values.contiguous()


def _strided_like(values: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    if values.stride() == other.stride():
        return values
    return torch.empty_strided(other.shape, other.stride()).copy_(values)


def _rows(values: torch.Tensor) -> np.ndarray:
    """(T, N, *shape) without gaps as (T, neurons of all samples), in memory order."""
    return values.detach().as_strided((len(values), values[0].numel()), (values[0].numel(), 1)).numpy()
