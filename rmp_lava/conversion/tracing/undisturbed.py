"""A user's network, made ready to be read for a while, and put back exactly as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

_OBSERVING = {"FakeQuantizeBase", "ObserverBase"}
"""Base classes, in PyTorch's packages of several versions, of modules that observe ranges and simulate quantisation."""


def unwrapped(model: Any) -> Any:
    """The module inside wrappers that only distribute or compile it."""
    while isinstance(model, nn.Module):
        distributed = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        inner = model.module if distributed else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            break
        model = inner
    return model


def tensor_like(model: nn.Module | ExportedProgram) -> torch.Tensor:
    """A tensor of the device and the precision that a network computes in: the first floating-point one that it holds."""
    if isinstance(model, ExportedProgram):
        tensors = [*model.state_dict.values(), *model.constants.values()]
    else:
        tensors = [*model.parameters(), *model.buffers()]
    return next((t for t in tensors if isinstance(t, torch.Tensor) and t.is_floating_point()), torch.zeros(()))


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, without what compiles, distributes or simulates quantisation, at any depth."""
    copied: nn.Module = deepcopy(unwrapped(model))
    for module in list(copied.modules()):
        _prepare(module, {})
    return copied.eval()


def observers(model: nn.Module) -> list[str]:
    """Names of the modules that simulate quantisation or observe ranges for it."""
    return [name for name, module in model.named_modules() if _observes(module)]


@contextmanager
def undisturbed(model: nn.Module | ExportedProgram) -> Iterator[None]:
    """Evaluation mode without gradients, compilation, distribution and simulated quantisation, for the time of a reading.

    Modules, modes, parameters and buffers are put back afterwards: the very same objects with the same values.
    """
    if isinstance(model, ExportedProgram):
        stored = [*model.state_dict.values(), *model.constants.values()]
        with _restored([tensor for tensor in stored if isinstance(tensor, torch.Tensor)]), torch.no_grad():
            yield
        return
    modules = list(model.modules())
    before = [_state(module) for module in modules]
    try:
        with _restored(list(model.parameters())), torch.no_grad():
            copies: dict[int, torch.Tensor] = {}
            for module in modules:
                _prepare(module, copies)
            with suppress(NotImplementedError):  # an exported module has one mode only
                model.eval()
            yield
    finally:
        for module, state in zip(modules, before, strict=True):
            _put_back(module, *state)


def _observes(module: nn.Module) -> bool:
    return any(c.__name__ in _OBSERVING for c in type(module).__mro__)


_State = tuple[bool, dict[str, Any], dict[str, Any], dict[str, Any]]
_COMPILED = ("forward", "_compiled_call_impl")
"""Attributes in which a module keeps what `torch.compile` made of it."""


def _state(module: nn.Module) -> _State:
    compiled = {name: vars(module)[name] for name in _COMPILED if name in vars(module)}
    return module.training, dict(module._modules), dict(module._buffers), compiled


def _prepare(module: nn.Module, copies: dict[int, torch.Tensor]) -> None:
    for name, child in module._modules.items():
        if child is not None:
            module._modules[name] = nn.Identity() if _observes(child) else unwrapped(child)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = copies.setdefault(id(buffer), buffer.clone())
    if vars(module).get("_compiled_call_impl") is not None:
        vars(module)["_compiled_call_impl"] = None
    plain = getattr(vars(module).get("forward"), "_torchdynamo_orig_callable", None)
    if plain is not None:
        vars(module)["forward"] = plain


def _put_back(
    module: nn.Module, training: bool, children: dict[str, Any], buffers: dict[str, Any], compiled: dict[str, Any]
) -> None:
    module.training = training
    module._modules.clear()
    module._modules.update(children)
    module._buffers.clear()
    module._buffers.update(buffers)
    for name in _COMPILED:
        vars(module).pop(name, None)
    vars(module).update(compiled)


@contextmanager
def _restored(tensors: list[torch.Tensor]) -> Iterator[None]:
    """Put back the values of tensors that change."""
    saved = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, before in zip(tensors, saved, strict=True):
                if not torch.equal(tensor, before):
                    tensor.copy_(before)
