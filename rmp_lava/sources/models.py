"""Load a trained network from a checkpoint, an exported program, a function with a state dict, or a `.net`."""

from __future__ import annotations

import difflib
import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.export import ExportedProgram

from .. import netx
from ..conversion.analog import AnalogNetwork
from ..conversion.restore import restore
from ..conversion.tracing.export_front import shape_of
from ..conversion.tracing.reading import Model
from ..errors import CheckpointError, RmpLavaError, UsageError
from ..files import sha256_of
from ..network import SpikingNetwork
from ..training.checkpoint import load_model
from ..training.data import DATASETS, VALIDATION_FRACTION
from ..training.models import model_spec
from ..training.torch_file import read_torch_file
from .kept import UNCHANGED, state_of
from .onnx.network import read_network
from .program_file import read_program
from .state_dict import is_state, load_weights, read_weights
from .targets import check_target, modules_of_folder, names_function

log = logging.getLogger(__name__)

EXPORTS = Path("exports")


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained network that a command was given.

    Attributes
    ----------
    name : str
        Of the spiking network to be made.
    model : torch.nn.Module or torch.export.ExportedProgram
    kind : {"checkpoint", "program", "onnx", "function", "net"}
    place : Path
        Default path of results, without suffix: next to the file, or in `exports`.
    shape : tuple of int or None
        Of one input, where it is known.
    dataset : str or None
        That it was trained on, where it is known.
    provenance : dict
        Where it comes from; JSON values.
    path : Path or None
        Of the file that it comes from.
    checkpoint : mapping
        Of a checkpoint its metadata, with the model's name and options.
    held_out : float or None
        Share of the data set's training images that was held out when the network was trained, where it is known.
    builder : str or None
        "package.module:function" that returned the network, where a function did.
    """

    name: str
    model: Model
    kind: str
    place: Path
    shape: tuple[int, ...] | None
    dataset: str | None
    provenance: dict[str, Any]
    path: Path | None = None
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    held_out: float | None = None
    builder: str | None = None

    @property
    def validation_fraction(self) -> float:
        """Share of its data set that was held out when it was trained; the usual one where it is unknown."""
        return VALIDATION_FRACTION if self.held_out is None else self.held_out


def load_trained(target: str, weights: Path | None = None, shape: tuple[int, ...] | None = None) -> TrainedModel:
    """A network from a checkpoint of `train`, a `.pt2` file of `torch.export.save`, ONNX, `package.module:function`, or a `.net`.

    A `.net` in analog form (`Conversion.analog`, saved) is the trained network; else the one that its integers represent is
    restored, see `rmp_lava.conversion.restore`.

    Parameters
    ----------
    target : str
    weights : Path, optional
        State dict for the network that the function returns.
    shape : tuple of int, optional
        Of one input; ONNX files need it where they leave it open.

    Raises
    ------
    UsageError, CheckpointError, NetFileError
        If the target is invalid or unreadable, or the weights do not fit it.
    """
    check_target(target)
    log.info("reading the trained network %s", target)
    if names_function(target):
        return _from_function(target, weights)
    if weights is not None:
        raise UsageError(
            f"weights are given for {target}, which has its own; pass package.module:function with them, or leave them out"
        )
    path = Path(target)
    if path.suffix == ".onnx":
        return _from_onnx(path, shape)
    readers = {".pt2": _from_program, ".net": _from_net}
    return readers.get(path.suffix, _from_checkpoint)(path)


def load_kept(net: Path, network: SpikingNetwork) -> TrainedModel:
    """The trained network that was saved next to the `.net` file of a network, if it is still the same file.

    Raises
    ------
    CheckpointError
        If the file is missing, changed or unreadable, or is a state dict: code that a file names is not run.
    """
    companion = next((each for each in network.companions if each.kind == "ann"), None)
    if companion is None:
        raise CheckpointError(
            "the file names no trained network that is saved next to it; convert it with this version"
        )
    name, state = companion.file, state_of(net, companion)
    if state != UNCHANGED:
        raise CheckpointError(f"the trained network, {name!r} next to the file, {state}")
    if companion.builder is not None:
        raise CheckpointError(
            f"{name!r} holds weights whose network is built by a function; code that a file names is not run for a report"
        )
    try:
        return load_trained(str(net.parent / name))
    except RmpLavaError as error:
        raise CheckpointError(f"the trained network, {name!r}, cannot be read: {error}") from None


def parse_shape(text: str) -> tuple[int, ...]:
    """The shape of one input as a user writes it, such as 3,32,32; raises `UsageError`."""
    try:
        sizes = tuple(int(n) for n in text.split(","))
        torch.empty((1, *sizes), device="meta")
        if min(sizes) < 1 or torch.Size(sizes).numel() > 2**28:
            raise ValueError
    except (ValueError, RuntimeError, OverflowError, TypeError):
        raise UsageError(f"shape {text!r} is not valid or too large; write integers, such as 3,32,32") from None
    return sizes


def shape_for(target: TrainedModel, given: str | None) -> tuple[int, ...]:
    """The shape of one input: as the user gave it, or the target's own; raises `UsageError` if neither does."""
    if given is not None:
        return parse_shape(given)
    if target.shape is None:
        raise UsageError(f"network {target.name!r} needs the shape of one input; pass it, for example --shape 3,32,32")
    return target.shape


def _from_checkpoint(path: Path) -> TrainedModel:
    try:
        model, metadata = load_model(path)
    except CheckpointError:
        _explain_state_dict(path)
        raise
    spec, dataset = model_spec(metadata["model"]), metadata.get("dataset")
    return TrainedModel(
        name=metadata["model"],
        model=model,
        kind="checkpoint",
        place=path.with_suffix(""),
        shape=spec.input_shape,
        dataset=dataset if dataset in DATASETS else spec.dataset,
        provenance={
            "checkpoint": path.name,
            "checkpoint_sha256": sha256_of(path),
            "model_options": metadata["options"],
        },
        path=path,
        checkpoint=metadata,
        held_out=_share(metadata.get("validation_fraction")),
    )


def _share(value: object) -> float | None:
    return value if isinstance(value, float) and 0 < value < 1 else None


def _explain_state_dict(path: Path) -> None:
    """Raise `UsageError` for weights without their network, which many users have: tell them what else is needed."""
    try:
        content = read_torch_file(path) if path.suffix != ".safetensors" else read_weights(path)
    except CheckpointError:
        return
    if (
        is_state(content)
        or isinstance(content, dict)
        and any(map(is_state, content.values()))
        and "format" not in content
    ):
        raise UsageError(
            f"{path} is a state dict, weights without their network; pass package.module:function that builds it, with "
            f"--weights {path}"
        )


def _from_program(path: Path) -> TrainedModel:
    program = read_program(path)
    return _of_file(path, "program", program, shape_of(program))


def _from_onnx(path: Path, shape: tuple[int, ...] | None) -> TrainedModel:
    network = read_network(path, shape)
    return _of_file(path, "onnx", network, network.shape)


def _of_file(path: Path, kind: str, model: Model, shape: tuple[int, ...] | None) -> TrainedModel:
    """A network that is named after its file, which says nothing of its training."""
    provenance = {kind: path.name, f"{kind}_sha256": sha256_of(path)}
    return TrainedModel(path.stem, model, kind, path.with_suffix(""), shape, None, provenance, path)


def _from_net(path: Path) -> TrainedModel:
    network = netx.load(path)
    for companion in network.companions:
        if companion.kind != "ann" or state_of(path, companion) != UNCHANGED:
            continue
        better, function = path.with_name(companion.file), companion.builder
        how = f"take that, {better}"
        if function is not None:  # the file holds weights alone
            how = f"take that, {function} --weights {better}, or move {better} away where that function is lost"
        raise UsageError(f"the trained network of {path} is stored next to it, without rounding errors; {how}")
    analog = network if network.stage == "analog" else restore(network)  # the former holds trained weights as they are
    return TrainedModel(
        name=network.name,
        model=AnalogNetwork(analog),
        kind="net",
        place=path.with_name(f"{path.stem}-again"),  # not over the file that it comes from
        shape=network.input.shape,
        dataset=analog.dataset if analog.dataset in DATASETS else None,
        provenance={**analog.provenance, "restored_from": path.name, "restored_sha256": sha256_of(path)},
        path=path,
        held_out=analog.validation_fraction,
    )


def _from_function(target: str, weights: Path | None) -> TrainedModel:
    model = _call(target)
    name = target.partition(":")[2]
    provenance = {"function": target}
    if weights is not None:
        load_weights(target, model, weights)
        provenance |= {"weights": weights.name, "weights_sha256": sha256_of(weights)}
    return TrainedModel(name, model, "function", EXPORTS / name, None, None, provenance, builder=target)


def _call(target: str) -> Model:
    function = _function(target)
    name = target.partition(":")[2]
    if isinstance(function, (nn.Module, ExportedProgram)):
        raise UsageError(
            f"{target} is a network, not a function; add one that returns it, such as: def trained(): return {name}"
        )
    try:
        model = function()
    except Exception as error:  # the function is the user's, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"{target}() failed ({reason}); it is called without arguments, so add a function that passes what it needs"
        ) from error
    if isinstance(model, (nn.Module, ExportedProgram)):
        return model
    found = type(model).__name__
    remedy = "it must return a torch.nn.Module"
    if isinstance(model, (tuple, list, dict)):
        entries = model.items() if isinstance(model, dict) else enumerate(model)
        where = [key for key, value in entries if isinstance(value, nn.Module)]
        found += f" of {len(model)} entries"
        remedy += f" alone, which is entry {where[0]!r} here, so add a function that returns it" if where else " alone"
    raise UsageError(f"{target} returns {found}; {remedy}")


def _function(target: str) -> Callable[[], Any]:
    """What package.module:function names; its module is imported."""
    module_name, _, function_name = target.partition(":")
    try:
        with modules_of_folder():
            found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise UsageError(f"{target} cannot be found ({error}); correct the name of the module") from None
        raise UsageError(
            f"{target} cannot be imported, because {missing!r}, which it imports, is not installed; install the package that "
            "has it into this environment"
        ) from None
    except Exception as error:  # it is the user's module, which may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{target} cannot be imported ({reason}); correct that module") from None
    for name in function_name.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, dir(found), 1)
            hint = f"write {module_name}:{near[0]}" if near else "name a function of that module"
            raise UsageError(f"{target} cannot be found, as {module_name} has no {name!r}; {hint}")
        found = getattr(found, name)
    if not callable(found):
        raise UsageError(f"{target} is a {type(found).__name__}; name a function that returns a torch.nn.Module")
    return cast("Callable[[], Any]", found)
