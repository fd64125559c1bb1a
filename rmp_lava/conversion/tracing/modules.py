"""PyTorch's modules as the functions that they call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

Lowered = tuple[str, tuple, Mapping[str, Any]]
"""Name, arguments and keyword arguments of the function that a module calls."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def _conv(m: nn.Conv2d, x: Any) -> Lowered:
    if m.padding_mode != "zeros":
        return "Conv2d", (x,), {"padding_mode": m.padding_mode}
    return "conv2d", (x, m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups), {}


def _batch_norm(m: nn.modules.batchnorm._BatchNorm, x: Any) -> Lowered:
    by_batch = m.training or m.running_mean is None
    return "aten_batch_norm", (x, m.weight, m.bias, m.running_mean, m.running_var, by_batch, m.momentum, m.eps), {}


_LOWERED: dict[type[nn.Module], Callable[[Any, Any], Lowered]] = {
    nn.Conv2d: _conv,
    nn.Linear: lambda m, x: ("linear", (x, m.weight, m.bias), {}),
    nn.ReLU: lambda m, x: ("relu", (x,), {}),
    nn.ReLU6: lambda m, x: ("relu6", (x,), {}),
    nn.Hardtanh: lambda m, x: ("hardtanh", (x, m.min_val, m.max_val), {}),
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.SyncBatchNorm: _batch_norm,
    nn.Dropout: lambda m, x: ("dropout", (x, m.p, m.training), {}),
    nn.Dropout1d: lambda m, x: ("dropout", (x, m.p, m.training), {}),
    nn.Dropout2d: lambda m, x: ("dropout", (x, m.p, m.training), {}),
    nn.Dropout3d: lambda m, x: ("dropout", (x, m.p, m.training), {}),
    nn.AlphaDropout: lambda m, x: ("dropout", (x, m.p, m.training), {}),
    nn.FeatureAlphaDropout: lambda m, x: ("dropout", (x, m.p, m.training), {}),
    nn.AvgPool2d: lambda m, x: (
        "avg_pool2d",
        (x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override),
        {},
    ),
    nn.AdaptiveAvgPool2d: lambda m, x: ("adaptive_avg_pool2d", (x, m.output_size), {}),
    nn.Flatten: lambda m, x: ("flatten", (x,), {}),
    nn.Unflatten: lambda m, x: ("unflatten", (x,), {}),
    nn.ChannelShuffle: lambda m, x: ("channel_shuffle", (x,), {}),
    nn.Identity: lambda m, x: ("identity", (x,), {}),
    nn.ZeroPad2d: lambda m, x: ("pad", (x, m.padding), {}),
    nn.ConstantPad2d: lambda m, x: ("pad", (x, m.padding, "constant", m.value), {}),
    nn.Softmax: lambda m, x: ("softmax", (x, m.dim), {}),
    nn.LogSoftmax: lambda m, x: ("log_softmax", (x, m.dim), {}),
    nn.Softmax2d: lambda m, x: ("softmax", (x, 1), {}),
}


def is_leaf(module: nn.Module) -> bool:
    """Whether a module computes what its PyTorch class computes, so that its forward need not be traced."""
    if isinstance(module, _CONTAINERS):
        return False
    forward = type(module).forward
    if isinstance(module, _ConvNd) and _convolves(type(module)) is not _convolves(_home(module)):
        return False
    return getattr(forward, "__module__", "").startswith(("torch.nn.", "torch.ao.nn."))


def _convolves(kind: type) -> object:
    return getattr(kind, "_conv_forward", None)


def _home(module: nn.Module) -> type:
    """The PyTorch class that a module is an instance of, or its class derives from."""
    return next(c for c in type(module).__mro__ if c.__module__.startswith("torch.nn.modules"))


def lowered(module: nn.Module, args: tuple, kwargs: Mapping) -> Lowered | None:
    """The function that a module calls; None for modules not listed here."""
    inputs = (*args, *kwargs.values())
    if len(inputs) != 1:
        return None
    for kind, lower in _LOWERED.items():
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return lower(module, inputs[0])
    return None


def has_hooks(module: nn.Module) -> bool:
    """Whether something may change a module's input or output; PyTorch's own hooks only compute its weights."""
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return any(not type(hook).__module__.startswith("torch.nn.utils.") for hook in hooks)
