"""Layers of users whose forward cannot be followed, written once more in operations that convert."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from ...errors import UsageError

Forward = Callable[[Any, torch.Tensor], torch.Tensor]
"""Takes the module and its input."""
_FORWARDS: dict[type[nn.Module], Forward] = {}


def register_layer(kind: type[nn.Module], forward: Forward) -> None:
    """Say what a type of layer computes, in operations that convert: the network is converted as if this were its forward.

    For layers that branch on values, call compiled code, or use an operation without a rule, but can be written with ReLUs (own
    activations) or as a matrix (own linear maps). The outputs of both are compared on the images of each check and conversion,
    which refuses them where they differ. Training and running the network still use its own forward. A program of `torch.export`
    has no layers left: pass the network itself.

    Parameters
    ----------
    kind : type of torch.nn.Module
        Subclasses are not included. A second registration takes the place of the first.
    forward : callable
        forward(layer, x) -> tensor, from torch operations; `layer` is the module, whose parameters it may use.

    Raises
    ------
    UsageError
        If `kind` is no type of module, or `forward` cannot be called.
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise UsageError(f"register_layer got {kind!r}; pass the class of a torch.nn.Module")
    if not callable(forward):
        raise UsageError(f"register_layer got {forward!r} for {kind.__name__}; pass a function forward(layer, x)")
    _FORWARDS[kind] = forward


def own_forward(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What was registered for the type of a module."""
    forward = _FORWARDS.get(type(module))
    return None if forward is None else partial(forward, module)
