"""Run a network on an example without changing it, and record its calls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...errors import first_line
from ...findings import Finding, of_severity
from . import export_front, fx_front
from .calls import Calls, Ref, UntraceableError
from .prepared import Prepared
from .remedies import is_known, obstacle
from .undisturbed import observers, undisturbed, unwrapped

Model = nn.Module | ExportedProgram
TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Of networks in reduced precision, as a share of their largest output."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The calls of a network (None if it cannot be run or followed) and findings.

    `images` are the ones it ran on, float32 on the CPU, before what they were prepared by; `precision` is the dtype it computes
    in; `agrees` tells whether the recorded calls reproduce the network's output; `macs` are multiply-accumulates of an image.
    """

    calls: Calls | None
    findings: tuple[Finding, ...]
    images: np.ndarray
    precision: torch.dtype
    agrees: bool = True
    macs: int = 0
    prepared: Prepared | None = None


def read(model: Model, example: np.ndarray) -> Reading:
    """Run a network on two images and record its calls.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
        Its modes, parameters and buffers are restored.
    example : numpy.ndarray
        (N, ...) inputs, of which the first two are used.
    """
    if isinstance(model, Prepared):
        pixels = np.concatenate([example[:2]] * 2)[:2]
        reading = read(model.trained, model.prepare(pixels))
        pixels = np.resize(pixels, (len(reading.images), *pixels.shape[1:])).astype(np.float32)
        return replace(reading, images=pixels, prepared=model)
    model = unwrapped(model)
    images = np.concatenate([example[:2]] * 2)[:2]
    tensors: dict[str, Any]
    inputs: Sequence[str]
    if isinstance(model, ExportedProgram):
        tensors, inputs = {**model.state_dict, **model.constants}, export_front.inputs_of(model)
    else:
        observing = tuple(f"{name}." for name in observers(model))
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        tensors = {name: value for name, value in tensors.items() if not name.startswith(observing)}
        inputs = [] if _is_script(model) else fx_front.inputs_of(model)
    floating = (t for t in tensors.values() if isinstance(t, torch.Tensor) and t.is_floating_point())
    sample = next(floating, torch.empty(0, dtype=torch.float32))
    precision, device = sample.dtype, sample.device
    findings = (*_unsuitable_forms(model, tensors), *_unsuitable_model(tensors, inputs, precision))
    if not any(f.where == "model" for f in of_severity(findings, "obstacle")):
        with undisturbed(model):
            if isinstance(model, ExportedProgram):
                run = _run_program(model, images, precision, device)
            else:
                run = _run_module(model, images, precision, device)
        if not isinstance(run, Finding):
            calls, images, agrees, macs = run
            return Reading(calls, findings, images, precision, agrees, macs)
        findings = (*findings, run)
    return Reading(None, (*findings, *_unsuitable_modules(model)), images, precision)


_Run = tuple[Calls, np.ndarray, bool, int]
"""Calls, the images they ran on (float32), whether the calls reproduce the network's output, and its products for one image."""


def _run_program(
    program: ExportedProgram, images: np.ndarray, precision: torch.dtype, device: torch.device
) -> _Run | Finding:
    batch = export_front.batch_of(program) or len(images)
    images = np.resize(images, (batch, *images.shape[1:])).astype(np.float32)
    try:
        with _Products() as products:
            calls = export_front.read(program, torch.from_numpy(images.copy()).to(device, precision))
        return calls, images, True, products.count // batch
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
        if images.ndim == 5:
            remedy += "; events over time are taken by encoding 'spikes'"
        return Finding("obstacle", "input", f"does not fit the network ({reason})", remedy)
    with _Products() as products:
        expected = model(tensor.clone())
    macs = products.count // len(tensor)
    images = images[: len(tensor)].astype(np.float32)
    calls, reasons, reduced = None, [], TOLERANCE.get(precision, 0.0)
    for front in (fx_front.read, _by_export):
        try:
            found = front(model, tensor.clone())
        except UntraceableError as error:
            reasons.append(str(error))
            continue
        if _agrees(found, expected):
            return found, images, True, macs
        reduced = reduced or _reduced_precision(model, tensor)
        if reduced and _agrees(found, expected, reduced):  # calls are recorded without autocast
            return found, images, True, macs
        calls = calls or found
    if calls is None:
        remedy = "write forward with tensor operations only, without branches on the values of a tensor"
        return Finding("obstacle", "model", f"cannot be followed ({'; '.join(reasons)})", remedy)
    return calls, images, False, macs


def _by_export(model: nn.Module, images: torch.Tensor) -> Calls:
    return export_front.read(export_front.export(model, images.clone()), images)


def _is_script(model: Model) -> bool:
    return isinstance(model, nn.Module) and any(isinstance(m, torch.jit.ScriptModule) for m in model.modules())


def _unsuitable_forms(model: Model, tensors: Mapping[str, Any]) -> Iterator[Finding]:
    """What the form of a network shows, whatever it computes."""
    if _is_script(model):
        remedy = (
            "pass the torch.nn.Module that it was made from, which load_state_dict() gives the state_dict() of this one, or "
            "a program of torch.export"
        )
        yield Finding("obstacle", "model", "holds TorchScript, whose operations cannot be followed", remedy)
    if any(isinstance(value, torch.Tensor) and value.is_meta for value in tensors.values()):
        remedy = "give it memory with model.to_empty(device='cpu'), then load its weights with load_state_dict()"
        yield Finding("obstacle", "model", "has weights on device 'meta', which have no values", remedy)
    left_out = observers(model) if isinstance(model, nn.Module) else []
    if left_out:
        count = f"{len(left_out)} module{'s' if len(left_out) > 1 else ''}"
        remedy = "left out with its rounding: weights and thresholds are quantised after the conversion"
        yield Finding("information", "model", f"simulates quantisation in {count}, such as {left_out[0]!r}", remedy)


def _unsuitable_model(tensors: Mapping[str, Any], inputs: Sequence[str], precision: torch.dtype) -> tuple[Finding, ...]:
    """What the weights and the inputs of a network show before it runs."""
    found = []
    if any(is_lazy(value) for value in tensors.values()):
        found.append(Finding("obstacle", "model", "has lazy layers without weights", "run it once, then train it"))
    else:
        layers: dict[str, None] = {}
        for name, value in tensors.items():
            held = isinstance(value, torch.Tensor) and value.is_floating_point() and not value.is_meta
            if held and not bool(value.isfinite().all()):
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
        if type(module).__module__.startswith("torch.nn.") and is_known(type(module).__name__):
            error = obstacle(type(module).__name__)
            yield Finding("obstacle", name or "model", error.found, error.remedy)


class _Precisions(TorchDispatchMode):
    """Collects the types of all results."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.seen |= {leaf.dtype for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)}
        return result


_MATRIX_PRODUCTS = tuple(getattr(torch.ops.aten, name) for name in ("mm", "addmm", "bmm", "baddbmm"))


class _Products(TorchDispatchMode):
    """Counts the multiply-accumulates of convolutions and matrix products, as if images had no borders."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in _MATRIX_PRODUCTS:
            self.count += args[-2].numel() * args[-1].shape[-1]
        elif func.overloadpacket is torch.ops.aten.convolution:
            places = args[0] if args[6] else result  # of a transposed convolution the images that it takes
            self.count += args[1].numel() * len(places) * math.prod(places.shape[2:])
        return result


def _reduced_precision(model: nn.Module, images: torch.Tensor) -> float:
    """The tolerance of the lowest precision in which a network computes, by autocast for example; 0 if none is reduced."""
    with _Precisions() as precisions:
        model(images.clone())
    return max((TOLERANCE[dtype] for dtype in precisions.seen & TOLERANCE.keys()), default=0.0)


def _agrees(calls: Calls, expected: Any, reduced: float = 0.0) -> bool:
    """Whether calls give the expected outputs; with reduced precision up to that share of the largest output."""
    if not isinstance(calls.output, Ref) or not isinstance(expected, torch.Tensor):
        return True  # reported as an obstacle of its own
    found = calls.values[calls.output.number]
    if found.shape != expected.shape:
        return False
    atol = reduced * float(expected.abs().max()) if reduced and expected.is_floating_point() else 1e-4
    return torch.allclose(found.float(), expected.float(), rtol=1e-3, atol=atol, equal_nan=True)
