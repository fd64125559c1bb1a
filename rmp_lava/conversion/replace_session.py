"""The state of a training after a replacement on disk, so that an interrupted tuning does not repeat it.

A checkpoint is a PyTorch zip file with one dictionary of tensors and plain Python values:

    format          "rmp-lava-replacement"
    format_version  1
    settings        of `ReplaceSettings`, with checksums of the original network, data and validation images, and the changes
    state_dict      of the network whose operations were replaced
    optimizer       moments of Adam, in the order of the parameters
    history         a list of [epoch, loss, train_accuracy, validation_accuracy]
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError
from ..files import StrPath
from ..training.loop import EpochRecord
from ..training.resume import plain_history, reporting_damage, require_same_settings, restore_history, restore_optimizer
from ..training.torch_file import read_torch_file, write_torch_file
from .tune_session import checksum

FORMAT = "rmp-lava-replacement"
FORMAT_VERSION = 1
_MOMENTS = ("exp_avg", "exp_avg_sq")
_DESCRIBED = {
    "network": "another network",
    "data": "other images or labels",
    "validation": "other validation images",
    "changes": "other replacements",
}


def weights_checksum(model: nn.Module) -> int:
    """CRC-32 of a module's parameters and buffers."""
    return checksum(*(tensor.detach().cpu().float().numpy() for tensor in model.state_dict().values()))


def save(
    path: StrPath, student: nn.Module, optimizer: torch.optim.Adam, history: list[EpochRecord], settings: dict[str, Any]
) -> None:
    """Write a checkpoint for `resume`, atomically."""
    moments = {}
    for i, weight in enumerate(student.parameters()):
        # Weights that the outputs do not depend on have none.
        none = {"step": torch.zeros(()), **{name: torch.zeros_like(weight) for name in _MOMENTS}}
        moments[i] = {name: value.detach().cpu() for name, value in (optimizer.state.get(weight) or none).items()}
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": settings,
        "state_dict": {name: tensor.detach().cpu() for name, tensor in student.state_dict().items()},
        "optimizer": moments,
        "history": plain_history(history),
    }
    write_torch_file(path, content)


def resume(
    path: StrPath, student: nn.Module, optimizer: torch.optim.Adam, settings: dict[str, Any]
) -> list[EpochRecord]:
    """Set a network and its optimizer to the state of a checkpoint, and return the history.

    Raises
    ------
    UsageError
        If the checkpoint was made with other settings, another network or other images.
    CheckpointError
        If it cannot be read, is none of these, or is damaged.
    """
    content = read_torch_file(path)
    if not isinstance(content, dict) or (content.get("format"), content.get("format_version")) != (
        FORMAT,
        FORMAT_VERSION,
    ):
        raise CheckpointError(
            f"file {path} is no checkpoint of a training after a replacement; remove it, which repeats that training"
        )
    with reporting_damage(path):
        require_same_settings(path, settings, content["settings"], _DESCRIBED)
        student.load_state_dict(content["state_dict"])
        restore_optimizer(optimizer, content["optimizer"], _MOMENTS)
        return restore_history(content["history"], settings["epochs"])
