"""PyTorch's modules as the functions that they call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd


class OneOperation(nn.Module):
    """A module whose forward calls one function, or two that belong together, so that its name is that of the call."""


Lowered = tuple[str, tuple]
"""Name and arguments of the function that a module calls."""
_Norm = nn.modules.batchnorm._NormBase


def _conv(op: str) -> Callable[[Any, Any], Lowered]:
    return lambda m, x: (op, (x, m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups))


def _batch_norm(m: nn.modules.batchnorm._BatchNorm, x: Any) -> Lowered:
    by_batch = m.training or m.running_mean is None
    return "aten_batch_norm", (x, m.weight, m.bias, m.running_mean, m.running_var, by_batch, m.momentum, m.eps)


def _instance_norm(m: _Norm, x: Any) -> Lowered | None:
    if m.training or m.running_mean is None:
        return None
    return "aten_batch_norm", (x, m.weight, m.bias, m.running_mean, m.running_var, False, m.momentum, m.eps)


def _dropout(m: Any, x: Any) -> Lowered:
    return "dropout", (x, m.p, m.training)


_LOWERED: dict[type[nn.Module], Callable[[Any, Any], Lowered | None]] = {
    nn.Conv2d: _conv("conv2d"),
    nn.Conv1d: _conv("conv1d"),
    nn.Conv3d: _conv("conv3d"),
    nn.Linear: lambda m, x: ("linear", (x, m.weight, m.bias)),
    nn.ReLU: lambda m, x: ("relu", (x,)),
    nn.ReLU6: lambda m, x: ("relu6", (x,)),
    nn.Hardtanh: lambda m, x: ("hardtanh", (x, m.min_val, m.max_val)),
    nn.LeakyReLU: lambda m, x: ("leaky_relu", (x, m.negative_slope)),
    nn.PReLU: lambda m, x: ("prelu", (x, m.weight)),
    nn.RReLU: lambda m, x: ("rrelu", (x, m.lower, m.upper, m.training)),
    nn.Hardsigmoid: lambda m, x: ("hardsigmoid", (x,)),
    nn.Softshrink: lambda m, x: ("softshrink", (x, m.lambd)),
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.SyncBatchNorm: _batch_norm,
    nn.InstanceNorm1d: _instance_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.Dropout: _dropout,
    nn.Dropout1d: _dropout,
    nn.Dropout2d: _dropout,
    nn.Dropout3d: _dropout,
    nn.AlphaDropout: _dropout,
    nn.FeatureAlphaDropout: _dropout,
    nn.Threshold: lambda m, x: ("threshold", (x, m.threshold, m.value)),
    nn.PixelUnshuffle: lambda m, x: ("pixel_unshuffle", (x, m.downscale_factor)),
    nn.Sigmoid: lambda m, x: ("sigmoid", (x,)),
    nn.Tanh: lambda m, x: ("tanh", (x,)),
    nn.LogSigmoid: lambda m, x: ("log_sigmoid", (x,)),
    nn.AvgPool2d: lambda m, x: (
        "avg_pool2d",
        (x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override),
    ),
    nn.AvgPool1d: lambda m, x: (
        "avg_pool1d",
        (x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad),
    ),
    nn.AvgPool3d: lambda m, x: (
        "avg_pool3d",
        (x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override),
    ),
    nn.AdaptiveAvgPool3d: lambda m, x: ("adaptive_avg_pool3d", (x, m.output_size)),
    nn.MaxPool3d: lambda m, x: (
        "max_pool3d",
        (x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices),
    ),
    nn.MaxPool1d: lambda m, x: (
        "max_pool1d",
        (x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices),
    ),
    nn.AdaptiveAvgPool1d: lambda m, x: ("adaptive_avg_pool1d", (x, m.output_size)),
    nn.AdaptiveMaxPool1d: lambda m, x: ("adaptive_max_pool1d", (x, m.output_size, m.return_indices)),
    nn.AdaptiveAvgPool2d: lambda m, x: ("adaptive_avg_pool2d", (x, m.output_size)),
    nn.MaxPool2d: lambda m, x: (
        "max_pool2d",
        (x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices),
    ),
    nn.AdaptiveMaxPool3d: lambda m, x: ("adaptive_max_pool3d", (x, m.output_size, m.return_indices)),
    nn.AdaptiveMaxPool2d: lambda m, x: ("adaptive_max_pool2d", (x, m.output_size, m.return_indices)),
    nn.Flatten: lambda m, x: ("flatten", (x,)),
    nn.Unflatten: lambda m, x: ("unflatten", (x,)),
    nn.ChannelShuffle: lambda m, x: ("channel_shuffle", (x,)),
    nn.Identity: lambda m, x: ("identity", (x,)),
    nn.ConstantPad1d: lambda m, x: ("pad", (x, m.padding, "constant", m.value)),
    nn.ConstantPad2d: lambda m, x: ("pad", (x, m.padding, "constant", m.value)),
    nn.ZeroPad1d: lambda m, x: ("pad", (x, m.padding)),
    nn.ZeroPad2d: lambda m, x: ("pad", (x, m.padding)),
    nn.Softmax: lambda m, x: ("softmax", (x, m.dim)),
    nn.LogSoftmax: lambda m, x: ("log_softmax", (x, m.dim)),
    nn.Softmax2d: lambda m, x: ("softmax", (x, 1)),
}


_TRAINED_FOR_INTEGERS = ("torch.ao.nn.qat.", "torch.ao.nn.intrinsic.qat.")
"""Modules of quantisation-aware training compute in floating point, with functions that can be followed."""


def _is_torchvision_normalize(module: nn.Module) -> bool:
    """Whether a module is torchvision's (either version), whose forward looks at types and values and cannot be traced."""
    kind = type(module)
    return kind.__name__ == "Normalize" and kind.__module__.startswith("torchvision.transforms.")


def is_leaf(module: nn.Module) -> bool:
    """Whether a module computes what its PyTorch class computes, so that its forward need not be traced."""
    if isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
        return False
    if _is_torchvision_normalize(module):
        return True
    forward = type(module).forward
    if isinstance(module, _ConvNd):
        if module.padding_mode != "zeros":  # it calls a padding first
            return False
        home = next(c for c in type(module).__mro__ if c.__module__.startswith("torch.nn.modules"))
        if getattr(type(module), "_conv_forward", None) is not getattr(home, "_conv_forward", None):
            return False
    written_in = getattr(forward, "__module__", "")
    return written_in.startswith(("torch.nn.", "torch.ao.nn.")) and not written_in.startswith(_TRAINED_FOR_INTEGERS)


def lowered(module: nn.Module, args: tuple, kwargs: Mapping) -> Lowered | None:
    """The function that a module calls; None for modules not listed here."""
    inputs = (*args, *kwargs.values())
    if len(inputs) != 1:
        return None
    if _is_torchvision_normalize(module):
        return "channel_normalisation", (inputs[0], torch.tensor(module.mean), torch.tensor(module.std))
    for kind, lower in _LOWERED.items():
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return lower(module, inputs[0])
    return None


def has_hooks(module: nn.Module) -> bool:
    """Whether something may change a module's input or output; PyTorch's own hooks only compute its weights."""
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return any(not type(hook).__module__.startswith("torch.nn.utils.") for hook in hooks)
