"""Run a network on an example without changing it, and record its calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from ...errors import first_line
from ...findings import Finding, of_severity
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
    tensors: dict[str, Any]
    inputs: Sequence[str]
    if isinstance(model, ExportedProgram):
        tensors, inputs = {**model.state_dict, **model.constants}, export_front.inputs_of(model)
    else:
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        inputs = fx_front.inputs_of(model)
    floating = (t for t in tensors.values() if isinstance(t, torch.Tensor) and t.is_floating_point())
    sample = next(floating, torch.empty(0, dtype=torch.float32))
    precision, device = sample.dtype, sample.device
    findings = _unsuitable_model(tensors, inputs, precision)
    if not any(f.where == "model" for f in of_severity(findings, "obstacle")):
        with _undisturbed(model):
            if isinstance(model, ExportedProgram):
                run = _run_program(model, images, precision, device)
            else:
                run = _run_module(model, images, precision, device)
        if not isinstance(run, Finding):
            calls, images, agrees = run
            return Reading(calls, findings, images, precision, agrees)
        findings = (*findings, run)
    return Reading(None, (*findings, *_unsuitable_modules(model)), images, precision)


def _unwrapped(model: Model) -> Model:
    """The model inside wrappers that only distribute or compile it."""
    while isinstance(model, nn.Module):
        distributed = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        inner = model.module if distributed else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            break
        model = inner
    return model


_Run = tuple[Calls, np.ndarray, bool]
"""Calls, the images they ran on (float32), and whether the calls reproduce the network's output."""


def _run_program(
    program: ExportedProgram, images: np.ndarray, precision: torch.dtype, device: torch.device
) -> _Run | Finding:
    batch = export_front.batch_of(program) or len(images)
    images = np.resize(images, (batch, *images.shape[1:])).astype(np.float32)
    try:
        return export_front.read(program, torch.from_numpy(images.copy()).to(device, precision)), images, True
    except UntraceableError as error:
        remedy = "pass an example of the shape that the program was exported for"
        return Finding("obstacle", "input", f"does not fit the network ({error})", remedy)


def _run_module(model: nn.Module, images: np.ndarray, precision: torch.dtype, device: torch.device) -> _Run | Finding:
    """By `torch.fx`; by `torch.export` where that fails, or misses an in-place change through a view."""
    tensor = torch.from_numpy(images)
    tries = [tensor.to(device, precision), tensor[:1].to(device, precision)]
    if images.dtype.kind in "iu":
        tries.append(tensor.to(device))
    reason = ""
    for tensor in tries:
        try:
            model(tensor.clone())
            break
        except Exception as error:  # any error of the network's own code
            reason = reason or first_line(error)
    else:
        remedy = "pass an example of the shape it was trained on, channels first"
        return Finding("obstacle", "input", f"does not fit the network ({reason})", remedy)
    expected = model(tensor.clone())
    images = images[: len(tensor)].astype(np.float32)
    calls, reasons = None, []
    for front in (fx_front.read, _by_export):
        try:
            found = front(model, tensor.clone())
        except UntraceableError as error:
            reasons.append(str(error))
            continue
        if _agrees(found, expected):
            return found, images, True
        calls = calls or found
    if calls is None:
        remedy = "write forward with tensor operations only, without branches on the values of a tensor"
        return Finding("obstacle", "model", f"cannot be followed ({'; '.join(reasons)})", remedy)
    return calls, images, False


def _by_export(model: nn.Module, images: torch.Tensor) -> Calls:
    return export_front.read(export_front.export(model, images.clone()), images)


@contextmanager
def _undisturbed(model: Model) -> Iterator[None]:
    """Evaluation mode without gradients; modes, buffers and a program's tensors are restored afterwards."""
    modules, tensors = [], []
    if isinstance(model, ExportedProgram):
        stored = [*model.state_dict.values(), *model.constants.values()]
        tensors = [tensor for tensor in stored if isinstance(tensor, torch.Tensor)]
    else:
        modules, tensors = list(model.modules()), list(model.buffers())
    modes = [module.training for module in modules]
    saved = [tensor.clone() for tensor in tensors]
    try:
        with torch.no_grad():
            if isinstance(model, nn.Module):
                model.eval()
            yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.training = training
        with torch.no_grad():
            for tensor, before in zip(tensors, saved, strict=True):
                if not torch.equal(tensor, before):
                    tensor.copy_(before)


def _unsuitable_model(tensors: Mapping[str, Any], inputs: Sequence[str], precision: torch.dtype) -> tuple[Finding, ...]:
    """What the weights and the inputs of a network show before it runs."""
    found = []
    if any(is_lazy(value) for value in tensors.values()):
        found.append(Finding("obstacle", "model", "has lazy layers without weights", "run it once, then train it"))
    else:
        layers: dict[str, None] = {}
        for name, value in tensors.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(value.isfinite().all()):
                layers[name.rpartition(".")[0] or "model"] = None
        remedy = "train it again, or load another checkpoint"
        found += [Finding("obstacle", layer, "has NaN or infinite weights", remedy) for layer in layers]
    if len(inputs) > 1:
        text = f"takes {len(inputs)} inputs ({', '.join(inputs)})"
        found.append(Finding("obstacle", "model", text, "pass a wrapper whose forward takes the image only"))
    if precision not in (torch.float32, torch.float64):
        text = f"has weights in {str(precision).removeprefix('torch.')}"
        remedy = "converted to float32, in which all later steps compute"
        found.append(Finding("information", "model", text, remedy))
    return tuple(found)


def _unsuitable_modules(model: Model) -> Iterator[Finding]:
    """Obstacles that the modules alone show, where forward cannot be followed."""
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        if is_known(type(module).__name__):
            error = obstacle(type(module).__name__)
            yield Finding("obstacle", name or "model", error.found, error.remedy)


def _agrees(calls: Calls, expected: Any) -> bool:
    if not isinstance(calls.output, Ref) or not isinstance(expected, torch.Tensor):
        return True  # reported as an obstacle of its own
    found = calls.values[calls.output.number]
    return found.shape == expected.shape and torch.allclose(
        found.float(), expected.float(), rtol=1e-3, atol=1e-4, equal_nan=True
    )
