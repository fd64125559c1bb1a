"""Everything in a network that breaks the constraints under which the RMP-SNN paper trains.

Han, Srinivasan and Roy (CVPR 2020, arXiv:2003.01811) convert networks without batch normalisation and bias, with ReLU,
dropout and average pooling. Networks trained elsewhere may use more: `rmp_lava.conversion.check` lists what can be converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.pooling import _AdaptiveMaxPoolNd, _MaxPoolNd

from ..findings import Finding

_WEIGHTED = (nn.Conv2d, nn.Linear)
_IDLE = (nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity)
_ALLOWED = (*_WEIGHTED, nn.ReLU, nn.AvgPool2d, *_IDLE)
_MAX_POOLING = (_MaxPoolNd, _AdaptiveMaxPoolNd, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
_ALLOWED_NAMES = "Conv2d, Linear, ReLU, AvgPool2d, Dropout, Flatten and Identity inside Sequential"


_violation = partial(Finding, "obstacle")


def violations(model: nn.Module) -> list[Finding]:
    """List every violation of the paper's constraints: of single layers first, then of their order.

    Only the modules are inspected, nothing is run. `Finding.where` is the dotted name of a module as in `named_modules()`,
    "model" for the network itself.
    """
    found = [finding for name, module in model.named_modules() for finding in _check_module(name or "model", module)]
    return found + list(_check_order(list(_sequence("", model))))


def _sequence(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of everything that is not a plain Sequential, in the order in which it runs.

    Other containers are not entered: what their `forward` does with its children is unknown.
    """
    if not _is_plain(module, (nn.Sequential,)):
        yield name, module
        return
    # `_modules` and not `named_modules()`: a module that is used twice has to appear twice.
    for child_name, child in module._modules.items():
        if child is not None:
            yield from _sequence(f"{name}.{child_name}" if name else child_name, child)


def _is_plain(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module computes what one of these classes computes: a subclass with its own `forward` may not."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def _check_module(name: str, module: nn.Module) -> Iterator[Finding]:
    kind = type(module).__name__
    if _is_plain(module, _WEIGHTED) and module.bias is not None:
        yield _violation(name, f"{kind} has a bias", "build it with bias=False")
    if isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
        padding = module.padding if isinstance(module.padding, str) else module.padding_mode
        yield _violation(name, f"{kind} pads with {padding!r}", "use zeros and a number of pixels")
    if isinstance(module, nn.AvgPool2d) and (
        module.padding not in (0, (0, 0)) or module.ceil_mode or module.divisor_override
    ):
        yield _violation(name, f"{kind} pools with padding, ceil_mode or a divisor", "use plain average pooling")
    if _is_plain(module, (*_ALLOWED, nn.Sequential)):
        return
    if isinstance(module, _BatchNorm):
        remedy = "remove it and train without (initial weights of variance 2 / fan-in replace it)"
        yield _violation(name, f"{kind} is batch normalisation", remedy)
    elif isinstance(module, _MAX_POOLING):
        yield _violation(name, f"{kind} is maximum pooling", "use AvgPool2d")
    elif type(module).__module__ == nn.ReLU.__module__ and not list(module.children()):
        yield _violation(name, f"{kind} is an activation other than ReLU", "use ReLU, or nothing after the last layer")
    else:
        yield _violation(name, f"{kind} is not supported", f"build the network from {_ALLOWED_NAMES}")


def _check_order(modules: list[tuple[str, nn.Module]]) -> Iterator[Finding]:
    """Each layer with weights becomes a population of neurons, so it needs a ReLU, except for the last."""
    pending = pooled = None
    for name, module in modules:
        if isinstance(module, _WEIGHTED):
            if pending is not None:
                yield _violation(pending, f"has no ReLU between it and {name!r}", "put a ReLU after it")
            pending = name
            pooled = None
        elif isinstance(module, nn.AvgPool2d) and pending is not None:
            pooled = name
        elif not _is_plain(module, _ALLOWED) or isinstance(module, nn.ReLU):
            # An activation of another kind has been reported already.
            if pending is not None and pooled is not None:
                yield _violation(
                    pooled, f"pools the output of {pending!r} before its ReLU", "put the ReLU before the pooling"
                )
            pending = pooled = None
    computing = [(name, module) for name, module in modules if not isinstance(module, _IDLE)]
    if computing and isinstance(computing[-1][1], nn.ReLU):
        name = computing[-1][0] or "model"
        yield _violation(name, "ends the network with a ReLU", "end with a Linear layer that outputs the logits")
    elif computing and isinstance(computing[-1][1], nn.AvgPool2d):
        yield _violation(
            computing[-1][0], "ends the network with a pooling", "end with a Linear layer that outputs the logits"
        )
