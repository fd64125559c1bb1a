"""Layers that the networks share: convolutions without bias, normalisation, activations, scaled channels, initialisation."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

_Network = TypeVar("_Network", bound=nn.Module)

CEILING = 2.0
"""Upper bound of clipped activations: two standard deviations of the input at the initial state of batch normalisation."""

_backward_of = torch.ops.aten  # type: ignore[attr-defined] # the stubs of PyTorch 2.3 do not export it


class RoundedReLU(nn.Hardtanh):
    """ReLU clipped at `CEILING`; during training also rounded to `levels` equal levels above zero.

    The network learns to tolerate the rounding of an activation to a firing rate over as many time steps, and loses little
    accuracy when it is converted (Bu et al., ICLR 2022, "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency
    spiking neural networks"). Gradients are those of the clipped ReLU. In evaluation mode there is no rounding, as in the
    network that is converted.
    """

    def __init__(self, levels: int) -> None:
        super().__init__(0.0, CEILING)
        self.levels = levels

    def forward(self, sums: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return functional.hardtanh(sums, 0.0, CEILING)
        return _Round.apply(sums, self.levels)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: torch.Tensor, levels: int) -> torch.Tensor:
        ctx.save_for_backward(sums)
        return functional.hardtanh(sums, 0.0, CEILING).mul_(levels / CEILING).round_().mul_(CEILING / levels)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (sums,) = ctx.saved_tensors
        return _backward_of.hardtanh_backward(gradient, sums, 0.0, CEILING), None


class ScaleNorm(nn.Module):
    """Divides each channel by its root mean square and multiplies it by a weight; nothing is added or subtracted.

    Batch normalisation (Ioffe, Szegedy, ICML 2015) without mean and bias, as RMSNorm (Zhang, Sennrich, NeurIPS 2019) is layer
    normalisation without them. In evaluation mode it is one factor per channel, which folds into the preceding weights: the
    network trains with normalisation, but converts without normalisation and bias, as the RMP-SNN paper requires.

    Parameters
    ----------
    channels : int
        Of inputs (N, C, H, W) or (N, C).
    """

    momentum, eps = 0.1, 1e-5
    running_square: torch.Tensor
    zeros: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_square", torch.ones(channels))
        self.register_buffer("zeros", torch.zeros(channels), persistent=False)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        # A network that was built on the meta device gets memory from the checkpoint, which does not contain `zeros`.
        self.zeros = torch.zeros_like(self.running_square)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return functional.batch_norm(x, self.zeros, self.running_square, self.weight, None, False, 0.0, self.eps)
        scaled, square = _ScaleByBatch.apply(x, self.weight, self.eps)
        with torch.no_grad():
            self.running_square.lerp_(square, self.momentum)
        return scaled


class _ScaleByBatch(torch.autograd.Function):
    """`ScaleNorm` by the mean squares of this batch, which are the second result.

    Uses PyTorch's kernels of batch normalisation with a mean of 0; single operations take several times as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
        mean, variance = (of.float() for of in torch.batch_norm_update_stats(x, None, None, 0.0))
        square = variance + mean.square()
        ctx.save_for_backward(x, weight, (square + eps).rsqrt())
        ctx.mark_non_differentiable(square)
        return functional.batch_norm(x, torch.zeros_like(mean), square, weight, None, False, 0.0, eps), square

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, of_square: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, weight, factor = ctx.saved_tensors
        zeros, ones = torch.zeros_like(factor), torch.ones_like(factor)
        of_x, of_weight, total = _backward_of.native_batch_norm_backward(
            gradient, x, weight, None, None, zeros, factor, True, 0.0, [True, True, True]
        )
        # The kernel also subtracts the gradient's mean, as batch normalisation requires; add it again.
        mean = weight * factor * total.float() / (x.numel() / x.shape[1])
        return functional.batch_norm(of_x, zeros, ones, ones, mean, False, 0.0, 0.0), of_weight, None


def which_norm(batch_norm: bool, scale_norm: bool) -> str | None:
    """'batch', 'scale' or None, from two mutually exclusive options."""
    return "scale" if scale_norm else "batch" if batch_norm else None


def normalisation(channels: int, norm: str | None, *, flat: bool = False) -> nn.Module:
    """The normalisation after a convolution, or with `flat` after a dense layer; the identity for None."""
    if norm == "scale":
        return ScaleNorm(channels)
    if norm == "batch":
        return nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)
    return nn.Identity()


def is_normalised(network: nn.Module) -> bool:
    """Whether a network contains normalisation."""
    return any(isinstance(module, (_BatchNorm, ScaleNorm)) for module in network.modules())


def activation(levels: int) -> nn.Module:
    """A ReLU, or with `levels` above 0 a `RoundedReLU`."""
    return RoundedReLU(levels) if levels else nn.ReLU()


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps height and width at stride 1."""
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False)


def scaled(channels: int, width: float) -> int:
    """Channels at a width factor, at least one."""
    return max(1, round(channels * width))


def initialise(network: _Network) -> _Network:
    """Draw weights from a normal distribution with variance 2 / fan-in (He et al., ICCV 2015).

    Without normalisation nothing else keeps the scale of activations from layer to layer; the RMP-SNN paper initialises its
    bias-free networks in the same way.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network
