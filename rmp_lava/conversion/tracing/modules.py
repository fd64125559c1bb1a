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


def _calls(op: str, *names: str) -> Callable[[Any, Any], Lowered]:
    """A call of a function with the input and the module's attributes of these names."""
    return lambda m, x: (op, (x, *(getattr(m, name) for name in names)))


def _batch_norm(m: _Norm, x: Any) -> Lowered:
    by_batch = m.training or m.running_mean is None
    return "aten_batch_norm", (x, m.weight, m.bias, m.running_mean, m.running_var, by_batch, m.momentum, m.eps)


def _instance_norm(m: _Norm, x: Any) -> Lowered | None:
    return None if m.training or m.running_mean is None else _batch_norm(m, x)


CONV = ("weight", "bias", "stride", "padding", "dilation", "groups")
AVERAGE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
LARGEST = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
"""Arguments of convolutions, average and maximum pooling after the input, in PyTorch's order."""
_dropout = _calls("dropout", "p", "training")
_LOWERED: dict[type[nn.Module], Callable[[Any, Any], Lowered | None]] = {
    nn.Conv2d: _calls("conv2d", *CONV),
    nn.Conv1d: _calls("conv1d", *CONV),
    nn.Conv3d: _calls("conv3d", *CONV),
    nn.Linear: _calls("linear", "weight", "bias"),
    nn.ReLU: _calls("relu"),
    nn.ReLU6: _calls("relu6"),
    nn.Hardtanh: _calls("hardtanh", "min_val", "max_val"),
    nn.LeakyReLU: _calls("leaky_relu", "negative_slope"),
    nn.PReLU: _calls("prelu", "weight"),
    nn.RReLU: _calls("rrelu", "lower", "upper", "training"),
    nn.Hardsigmoid: _calls("hardsigmoid"),
    nn.Softshrink: _calls("softshrink", "lambd"),
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
    nn.Threshold: _calls("threshold", "threshold", "value"),
    nn.PixelUnshuffle: _calls("pixel_unshuffle", "downscale_factor"),
    nn.Sigmoid: _calls("sigmoid"),
    nn.Tanh: _calls("tanh"),
    nn.LogSigmoid: _calls("log_sigmoid"),
    nn.AvgPool1d: _calls("avg_pool1d", *AVERAGE),
    nn.AvgPool2d: _calls("avg_pool2d", *AVERAGE, "divisor_override"),
    nn.AvgPool3d: _calls("avg_pool3d", *AVERAGE, "divisor_override"),
    nn.AdaptiveAvgPool1d: _calls("adaptive_avg_pool1d", "output_size"),
    nn.AdaptiveAvgPool2d: _calls("adaptive_avg_pool2d", "output_size"),
    nn.AdaptiveAvgPool3d: _calls("adaptive_avg_pool3d", "output_size"),
    nn.MaxPool1d: _calls("max_pool1d", *LARGEST),
    nn.MaxPool2d: _calls("max_pool2d", *LARGEST),
    nn.MaxPool3d: _calls("max_pool3d", *LARGEST),
    nn.AdaptiveMaxPool1d: _calls("adaptive_max_pool1d", "output_size", "return_indices"),
    nn.AdaptiveMaxPool2d: _calls("adaptive_max_pool2d", "output_size", "return_indices"),
    nn.AdaptiveMaxPool3d: _calls("adaptive_max_pool3d", "output_size", "return_indices"),
    nn.Flatten: _calls("flatten"),
    nn.Unflatten: _calls("unflatten"),
    nn.ChannelShuffle: _calls("channel_shuffle"),
    nn.Identity: _calls("identity"),
    nn.ConstantPad1d: lambda m, x: ("pad", (x, m.padding, "constant", m.value)),
    nn.ConstantPad2d: lambda m, x: ("pad", (x, m.padding, "constant", m.value)),
    nn.ZeroPad1d: _calls("pad", "padding"),
    nn.ZeroPad2d: _calls("pad", "padding"),
    nn.Softmax: _calls("softmax", "dim"),
    nn.LogSoftmax: _calls("log_softmax", "dim"),
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
