"""Run a network on an example without changing it, and record its calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from ...findings import Finding
from . import export_front, fx_front
from .calls import Calls, Ref, UntraceableError
from .remedies import is_known, obstacle

Model = nn.Module | ExportedProgram


@dataclass(frozen=True, eq=False)
class Reading:
    """The calls of a network (None if it cannot be run or followed) and findings.

    `images` are the ones it ran on, float32 on the CPU; `precision` is the dtype it computes in; `agrees` tells whether
    the recorded calls reproduce the network's output.
    """

    calls: Calls | None
    findings: tuple[Finding, ...]
    images: np.ndarray
    precision: torch.dtype
    agrees: bool = True


def read(model: Model, example: np.ndarray) -> Reading:
    """Run a network on two images and record its calls.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
        Its modes, parameters and buffers are restored.
    example : numpy.ndarray
        (N, ...) inputs, of which the first two are used.
    """
    model = _unwrapped(model)
    images = np.concatenate([example[:2]] * 2)[:2]
    if isinstance(model, ExportedProgram):
        return _read_program(model, images)
    findings = _invalid_weights({**dict(model.named_parameters()), **dict(model.named_buffers())})
    findings += _number_of_inputs(fx_front.inputs_of(model))
    precision, device = _computes_in(list(model.parameters()))
    findings += _precision(precision)
    if any(f.where == "model" and f.severity == "obstacle" for f in findings):
        return Reading(None, tuple(findings + _unsuitable_modules(model)), images, precision)
    with _undisturbed(model):
        try:
            tensor = _runs_on(model, images, precision, device)
        except _DoesNotRunError as error:
            remedy = "pass an example of the shape it was trained on, channels first"
            findings.append(Finding("obstacle", "input", f"does not fit the network ({error})", remedy))
            return Reading(None, tuple(findings + _unsuitable_modules(model)), images, precision)
        expected = model(tensor.clone())
        images = images[: len(tensor)].astype(np.float32)
        try:
            calls = _recorded(model, tensor, expected)
        except UntraceableError as error:
            remedy = "write forward with tensor operations only, without branches on the values of a tensor"
            findings.append(Finding("obstacle", "model", f"cannot be followed ({error})", remedy))
            return Reading(None, tuple(findings + _unsuitable_modules(model)), images, precision)
    return Reading(calls, tuple(findings), images, precision, _agrees(calls, expected))


class _DoesNotRunError(Exception):
    pass


def _unwrapped(model: Model) -> Model:
    """The model inside wrappers that only distribute or compile it."""
    while isinstance(model, nn.Module):
        distributed = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        inner = model.module if distributed else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            break
        model = inner
    return model


def _read_program(program: ExportedProgram, images: np.ndarray) -> Reading:
    state = {**program.state_dict, **program.constants}
    findings = _invalid_weights(state) + _number_of_inputs(list(export_front.inputs_of(program)))
    parameters = [p for p in program.state_dict.values() if isinstance(p, torch.Tensor)]
    precision, device = _computes_in(parameters)
    findings += _precision(precision)
    if any(f.where == "model" and f.severity == "obstacle" for f in findings):
        return Reading(None, tuple(findings), images, precision)
    batch = export_front.batch_of(program) or len(images)
    images = np.resize(images, (batch, *images.shape[1:])).astype(np.float32)
    saved = {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}
    try:
        with torch.no_grad():
            calls = export_front.read(program, torch.from_numpy(images.copy()).to(device, precision))
    except UntraceableError as error:
        remedy = "pass an example of the shape that the program was exported for"
        findings.append(Finding("obstacle", "input", f"does not fit the network ({error})", remedy))
        return Reading(None, tuple(findings), images, precision)
    finally:
        _put_back((state[name], value) for name, value in saved.items())
    return Reading(calls, tuple(findings), images, precision)


def _recorded(model: nn.Module, tensor: torch.Tensor, expected: Any) -> Calls:
    """By `torch.fx`; by `torch.export` where that fails, or misses an in-place change through a view."""
    calls = by_fx = None
    try:
        calls = fx_front.read(model, tensor.clone())
        if _agrees(calls, expected):
            return calls
    except UntraceableError as error:
        by_fx = error
    try:
        exported = export_front.read(export_front.export(model, tensor.clone()), tensor.clone())
        return exported if calls is None or _agrees(exported, expected) else calls
    except UntraceableError as by_export:
        if calls is not None:
            return calls
        raise UntraceableError(f"{by_fx}; {by_export}") from by_export


def _runs_on(model: nn.Module, images: np.ndarray, precision: torch.dtype, device: torch.device) -> torch.Tensor:
    """The images as the network accepts them: two or one, in its precision or as the integers that they are."""
    tensor = torch.from_numpy(images)
    tries = [tensor.to(device, precision), tensor[:1].to(device, precision)]
    if images.dtype.kind in "iu":
        tries.append(tensor.to(device))
    reason = ""
    for candidate in tries:
        try:
            model(candidate.clone())
            return candidate
        except Exception as error:  # any error of the network's own code
            reason = reason or next(iter(str(error).strip().splitlines()), type(error).__name__)
    raise _DoesNotRunError(reason)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; modes and buffers are restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        _put_back(buffers)


def _put_back(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    with torch.no_grad():
        for tensor, saved in pairs:
            if not torch.equal(tensor, saved):
                tensor.copy_(saved)


def _computes_in(tensors: list[torch.Tensor]) -> tuple[torch.dtype, torch.device]:
    for tensor in tensors:
        if tensor.is_floating_point():
            return tensor.dtype, tensor.device
    return torch.float32, torch.device("cpu")


def _precision(precision: torch.dtype) -> list[Finding]:
    if precision in (torch.float32, torch.float64):
        return []
    found = f"has weights in {str(precision).removeprefix('torch.')}"
    return [Finding("information", "model", found, "converted to float32, in which all later steps compute")]


def _invalid_weights(tensors: Mapping[str, Any]) -> list[Finding]:
    layers: dict[str, None] = {}
    for name, value in tensors.items():
        if is_lazy(value):
            return [Finding("obstacle", "model", "has lazy layers without weights", "run it once, then train it")]
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            layers[name.rpartition(".")[0] or "model"] = None
    remedy = "train it again, or load another checkpoint"
    return [Finding("obstacle", layer, "has NaN or infinite weights", remedy) for layer in layers]


def _number_of_inputs(names: list[str]) -> list[Finding]:
    if len(names) <= 1:
        return []
    found = f"takes {len(names)} inputs ({', '.join(names)})"
    return [Finding("obstacle", "model", found, "pass a wrapper whose forward takes the image only")]


def _unsuitable_modules(model: nn.Module) -> list[Finding]:
    """Obstacles that the modules alone show, where forward cannot be followed."""
    found = []
    for name, module in model.named_modules():
        if is_known(type(module).__name__):
            error = obstacle(type(module).__name__)
            found.append(Finding("obstacle", name or "model", error.found, error.remedy))
    return found


def _agrees(calls: Calls, expected: Any) -> bool:
    if not isinstance(calls.output, Ref) or not isinstance(expected, torch.Tensor):
        return True  # reported as an obstacle of its own
    found = calls.values[calls.output.number]
    return found.shape == expected.shape and torch.allclose(
        found.float(), expected.float(), rtol=1e-3, atol=1e-4, equal_nan=True
    )


def unsuitable_example(values: np.ndarray) -> list[Finding]:
    """Obstacles in an example, whatever the network."""
    if values.dtype.kind not in "fiub":
        return [Finding("obstacle", "input", f"has dtype {values.dtype}", "pass numbers in [0, 1]")]
    found = []
    if values.ndim not in (2, 4) or not values.size:
        remedy = "pass images as (N, C, H, W) or features as (N, F)"
        found.append(Finding("obstacle", "input", f"has shape {values.shape}", remedy))
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        text = f"has values in [{values.min():g}, {values.max():g}]"
        remedy = (
            "pass values in [0, 1], because they become firing rates; put a normalisation such as (x - mean) / std "
            "into the network's forward, where it is folded into the first layer"
        )
        found.append(Finding("obstacle", "input", text, remedy))
    return found
