"""Save the trained network next to the `.net` made from it: its weights, and ONNX for users without its code."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import io
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from .. import netx
from ..conversion.tracing.export_front import batch_of
from ..conversion.tracing.prepared import Prepared
from ..conversion.tracing.reading import Model
from ..conversion.tracing.undisturbed import tensor_like
from ..errors import CheckpointError, NetFileError, UsageError, first_line
from ..files import check_writable, prepared
from ..network import Companion, SpikingNetwork
from ..training.checkpoint import save_checkpoint
from .kept import UNCHANGED, state_of
from .models import TrainedModel
from .onnx.file import whole

_LONGEST_REASON = 160
_SUFFIXES = (".ann.pt", ".ann.pt2", ".ann.onnx", ".onnx")
"""Suffixes of the files next to NAME.net."""


@dataclass(frozen=True)
class Kept:
    """Where a network was written, the files next to it, and what was left out and why."""

    net: Path
    files: dict[str, Path]
    left_out: tuple[str, ...]


def check_places(path: Path, source: Path | None = None) -> None:
    """Make sure, before anything is computed, that writing NAME.net and its companions replaces no file of the user's.

    What an earlier conversion has written may be replaced: NAME.net itself, and the files that it names with their SHA-256. An
    ONNX file `source`, which the network comes from, may be NAME.onnx, and stays as it is.

    Raises
    ------
    UsageError
        If the path does not end in .net, or a file is in the way.
    NetFileError
        If nothing can be written there.
    """
    if path.suffix != ".net":
        raise UsageError(f"output is {path}; name a file that ends in .net")
    check_writable(path, NetFileError)
    earlier = _earlier_files(path)
    for file in _places(path):
        if file.exists() and file not in earlier and not _is_source(file, source):
            raise UsageError(
                f"{file} exists and is not what an earlier conversion has written to keep with {path.name}, so it is not "
                "replaced; move it, or choose another --output"
            )


def _is_source(file: Path, source: Path | None) -> bool:
    return source is not None and source.suffix == ".onnx" and file.exists() and file.samefile(source)


def _places(path: Path) -> list[Path]:
    return [path.with_suffix(suffix) for suffix in _SUFFIXES]


def _earlier_files(path: Path) -> set[Path]:
    """Files next to a `.net` that an earlier conversion has written with it, and that have not changed since.

    Only those of the same NAME: a copied or foreign NAME.net names files that belong to another one, or to the user.
    """
    try:
        companions = netx.load(path).companions
    except NetFileError:
        return set()
    named = {path.with_name(each.file) for each in companions if state_of(path, each) == UNCHANGED}
    return named & set(_places(path))


def save_with_ann(network: SpikingNetwork, path: Path, target: TrainedModel, *, for_lava_dl: bool = False) -> Kept:
    """Write NAME.net, and next to it the trained network and NAME.onnx, each whole or not at all.

    The trained network is NAME.ann.pt; a program NAME.ann.pt2; an ONNX file NAME.ann.onnx, in place of both. The network's
    `companions` name them with their SHA-256, so that it can be told whether they belong together.

    Raises
    ------
    NetFileError, CheckpointError
        If a file cannot be written, or as `rmp_lava.save` does.
    """
    contents, left_out = {}, []
    makers = {"ann": lambda: _ann(target), "onnx": lambda: _onnx(target.model, network.input.shape)}
    if target.kind == "onnx" or importlib.util.find_spec("onnx") is None:  # optional: `doctor` says how to get it
        del makers["onnx"]
    for key, make in makers.items():
        try:
            suffix, content = make()
            contents[key] = (path.with_suffix(suffix), content)
        except _LeftOutError as error:
            left_out.append(str(error))
    companions = tuple(
        Companion(
            key,
            file.name,
            hashlib.sha256(content).hexdigest(),
            target.builder if key == "ann" and file.suffix == ".pt" else None,
        )
        for key, (file, content) in contents.items()
    )
    files = {key: file for key, (file, _) in contents.items()}
    kept = network.replace(companions=companions)
    superseded = _earlier_files(path) - set(files.values())
    with ExitStack() as files_on_disk:  # nothing has its name before everything is on disk
        for file, content in contents.values():
            files_on_disk.enter_context(prepared(file, content, CheckpointError))
        netx.save(kept, path, for_lava_dl=for_lava_dl)
    for file in superseded:  # they belong to the network that was replaced
        if not _is_source(file, target.path):
            file.unlink(missing_ok=True)
    return Kept(path, files, tuple(left_out))


class _LeftOutError(Exception):
    """A file cannot be made here; the message tells why and what to do."""


def _ann(target: TrainedModel) -> tuple[str, bytes]:
    """Suffix and content of the trained network's file, such that `rmp-lava convert` takes it again."""
    buffer, model = io.BytesIO(), target.model
    if isinstance(model, Prepared):
        if model.scale is not None:
            raise _LeftOutError(
                "The trained network is not kept: its file could not say what pixels are normalised with; keep it, and what you "
                "passed for input range, mean and std"
            )
        model = model.trained
    if target.kind in ("program", "onnx") and target.path is not None:
        try:
            content = target.path.read_bytes()
            if hashlib.sha256(content).hexdigest() != target.provenance[f"{target.kind}_sha256"]:
                raise OSError
            return (".ann.pt2", content) if target.kind == "program" else (".ann.onnx", whole(target.path))
        except (OSError, CheckpointError):
            raise _LeftOutError(
                f"The trained network is not kept: {target.path} has changed since it was read; keep it yourself"
            ) from None
    if target.kind == "net" and target.path is not None:
        raise _LeftOutError(f"The trained network is not kept: it was restored from {target.path.name}; keep that file")
    if isinstance(model, ExportedProgram):
        torch.export.save(model, buffer)
        return ".ann.pt2", buffer.getvalue()
    state = model.state_dict()
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise _LeftOutError(
            "The trained network is not kept: its state dict holds more than tensors; keep it yourself with torch.save"
        )
    if target.kind == "checkpoint":
        return ".ann.pt", _checkpoint(model, target.checkpoint)
    torch.save({name: value.detach().cpu().contiguous() for name, value in state.items()}, buffer)
    return ".ann.pt", buffer.getvalue()


def _checkpoint(model: nn.Module, content: Mapping[str, Any]) -> bytes:
    """The checkpoint without the state that only training needs."""
    metadata = {key: value for key, value in content.items() if key not in ("model", "options")}
    name, options = content["model"], content["options"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ann.pt"
        save_checkpoint(path, model_name=name, model=model, options=options, metadata=metadata)
        return path.read_bytes()


class _Plain(nn.Module):
    """An exported program as a module; setting its mode does nothing, as programs raise an error then."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self.program = program.module()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.program(image)
        return outputs

    def train(self, mode: bool = True) -> _Plain:
        return self


def _onnx(model: Model, shape: tuple[int, ...]) -> tuple[str, bytes]:
    """Suffix and content of the ONNX file: input "image", output "logits", any number of images where possible."""
    like = tensor_like(model)
    batch = batch_of(model) if isinstance(model, ExportedProgram) else None
    example = torch.zeros((batch or 2, *shape), dtype=like.dtype, device=like.device)
    axes = {"image": {0: "images"}, "logits": {0: "images"}} if batch is None else None
    # The TorchScript exporter needs only the package onnx; newer versions of PyTorch use it on request.
    options: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"], "dynamic_axes": axes}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            call = _Plain(model) if isinstance(model, ExportedProgram) else model.eval()
            export: Callable[..., object] = torch.onnx.export  # its annotation lacks the file objects that it accepts
            export(call, (example,), buffer, **options)
            import onnx

            onnx.checker.check_model(onnx.load_from_string(buffer.getvalue()))
    except Exception as error:  # PyTorch and ONNX raise errors of many kinds
        reason = first_line(error)[:_LONGEST_REASON]
        raise _LeftOutError(f"ONNX is left out, because the network could not be exported ({reason})") from None
    return ".onnx", buffer.getvalue()
