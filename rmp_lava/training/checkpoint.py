"""Training checkpoints.

A checkpoint is a PyTorch zip file with one dictionary of tensors and plain Python values:

    format          "rmp-lava-checkpoint"
    format_version  2 (version 1 had no options; they are taken as the defaults)
    model           name in `rmp_lava.training.models.MODELS`
    options         of the model: width, batch_norm, ...; plain values
    state_dict      weights, float32, and the counters of batch normalisation
    metadata        data set and its source, seed, epochs, accuracies, torch version
    training        optimizer, random states and history to resume from, or None
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, UsageError, abridged
from ..files import StrPath
from .models import MODELS, Option, model_spec
from .torch_file import read_torch_file, write_torch_file

FORMAT = "rmp-lava-checkpoint"
FORMAT_VERSION = 2


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The checked content of a checkpoint file.

    `options` are all options of the model `MODELS[model_name]`, `state_dict` its tensors: on the CPU, finite, with the model's
    names, types (float32; int64 for counters) and shapes. Of `training`, see `rmp_lava.training.session`, only the type is
    checked here.
    """

    model_name: str
    options: dict[str, Option]
    state_dict: dict[str, torch.Tensor]
    metadata: dict[str, Any]
    training: dict[str, Any] | None


def save_checkpoint(
    path: StrPath,
    *,
    model_name: str,
    model: nn.Module,
    metadata: Mapping[str, Any],
    options: Mapping[str, Option] | None = None,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint; the path is always either the old file or the complete new one.

    `model` is a network of `MODELS[model_name]` with these `options`, those left out at their defaults. `metadata` are plain
    Python values: str, int, float, bool, None, lists and dictionaries of these; `training`, the state for resuming, may contain
    tensors too.

    Raises
    ------
    CheckpointError
        If the file cannot be written.
    UsageError
        If the model or an option is unknown, or an option is out of range.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": model_name,
        "options": model_spec(model_name).settle(options),
        "state_dict": {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()},
        "metadata": dict(metadata),
        "training": None if training is None else dict(training),
    }
    write_torch_file(path, content)


def load_model(path: StrPath) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network of a checkpoint, on the CPU and in evaluation mode, and the checkpoint's metadata.

    The metadata include "model" and "options". Raises `CheckpointError` as `load_checkpoint` does.
    """
    checkpoint = load_checkpoint(path)
    model = _blank(checkpoint.model_name, checkpoint.options)
    # Copied, because tensors of a file may share memory, which further training would overwrite.
    weights = {
        name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in checkpoint.state_dict.items()
    }
    model.load_state_dict(weights, assign=True)
    identity = {"model": checkpoint.model_name, "options": checkpoint.options}
    return model.eval(), checkpoint.metadata | identity


def load_checkpoint(path: StrPath) -> Checkpoint:
    """Read and check a checkpoint. Nothing in the file is executed, and everything in it is checked.

    Raises
    ------
    CheckpointError
        If the file is missing, empty, truncated, damaged, not a checkpoint, of a newer format or of an unknown model, or if it
        contains objects that could run code, or weights that do not fit the model or are not finite.
    """
    content = read_torch_file(path)
    _check_header(path, content)
    options = _checked_options(path, content)
    _check_weights(path, content["model"], options, content.get("state_dict"))
    metadata, training = content.get("metadata"), content.get("training")
    if not isinstance(metadata, dict) or not _is_plain(metadata):
        raise CheckpointError(f"checkpoint {path} has no metadata dictionary of plain values; train again")
    if not isinstance(training, (dict, type(None))):
        raise CheckpointError(f"checkpoint {path} has a {type(training).__name__} as training state; train again")
    return Checkpoint(content["model"], options, content["state_dict"], metadata, training)


def _check_header(path: StrPath, content: Any) -> None:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"file {path} is a PyTorch file but not a checkpoint of rmp-lava; name one from `train`")
    version = content.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointError(f"checkpoint {path} has format version {version!r}; 1 to {FORMAT_VERSION} is allowed")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {version}, but at most {FORMAT_VERSION} is known; upgrade rmp-lava"
        )
    model_name = content.get("model")
    if not isinstance(model_name, str) or model_name not in MODELS:
        raise CheckpointError(
            f"checkpoint {path} is of unknown model {model_name!r}; known are {', '.join(MODELS)}; upgrade rmp-lava or "
            "name another checkpoint"
        )


def _checked_options(path: StrPath, content: dict[str, Any]) -> dict[str, Option]:
    options = {} if content["format_version"] == 1 else content.get("options")
    if not isinstance(options, dict):
        raise CheckpointError(f"checkpoint {path} has a {type(options).__name__} as options; train again")
    try:
        return MODELS[content["model"]].settle(options)
    except UsageError as error:
        reason = str(error).partition(";")[0]
        raise CheckpointError(
            f"checkpoint {path} cannot be built ({reason}); train again or upgrade rmp-lava"
        ) from None


def _blank(model_name: str, options: Mapping[str, Option]) -> nn.Module:
    """The network without memory for its weights, and without random numbers drawn for them."""
    with torch.device("meta"):
        return MODELS[model_name].build(**options)


def _check_weights(path: StrPath, model_name: str, options: Mapping[str, Option], state_dict: Any) -> None:
    expected = _blank(model_name, options).state_dict()
    if not isinstance(state_dict, dict) or set(state_dict) != set(expected):
        found = abridged(state_dict) if isinstance(state_dict, dict) else type(state_dict).__name__
        raise CheckpointError(
            f"checkpoint {path} has weights {found}, but model {model_name!r} has {abridged(expected)}; train again"
        )
    for name, tensor in expected.items():
        _check_tensor(path, name, tensor, state_dict[name])


def _check_tensor(path: StrPath, name: str, expected: torch.Tensor, tensor: Any) -> None:
    allowed = _described(expected)
    if not isinstance(tensor, torch.Tensor) or tensor.device.type != "cpu":
        raise CheckpointError(f"checkpoint {path} has no tensor {name} of {allowed}; train again")
    if tensor.dtype != expected.dtype or tensor.shape != expected.shape:
        raise CheckpointError(
            f"checkpoint {path} has {name} as {_described(tensor)}, but {allowed} is allowed; train again"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"checkpoint {path} has weights in {name} that are NaN or infinite; train again")


def _described(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _is_plain(value: Any, depth: int = 4, seen: set[tuple[int, int]] | None = None) -> bool:
    """Whether a value consists of plain Python values only; the limit on depth also ends cycles.

    A list that occurs in many places is visited once per depth; otherwise a small file could cost hours.
    """
    if not isinstance(value, (dict, list)):
        return value is None or isinstance(value, (str, int, float))
    seen = set() if seen is None else seen
    if (id(value), depth) in seen:
        return True
    seen.add((id(value), depth))
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return False
    items = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_plain(item, depth - 1, seen) for item in items)
