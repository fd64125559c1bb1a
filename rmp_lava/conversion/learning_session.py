"""The state of a tuning, or of a training after a replacement, in memory and on disk.

A checkpoint is a PyTorch zip file with one dictionary of tensors and plain Python values:

    format          "rmp-lava-tuning" or "rmp-lava-replacement"
    format_version  4 or 1
    settings        all that determines the trained weights, with checksums of networks, data and validation images
    state_dict      weights, biases, activation scales and buffers
    optimizer       moments of Adam, in the order of the parameters
    history         a list of [epoch, loss, train_accuracy, validation_accuracy]
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError
from ..files import StrPath
from ..network import SpikingNetwork
from ..training.data.lazy_images import Images, checksum as content_checksum
from ..training.loop import EpochRecord
from ..training.resume import (
    plain_history,
    reporting_damage,
    require_same_settings,
    restore_history,
    restore_optimizer,
)
from ..training.torch_file import read_torch_file, write_torch_file

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class State:
    """Everything that changes during a training, and its teacher; no random state, as each epoch has a seed of its own."""

    model: nn.Module
    optimizer: torch.optim.Adam
    teacher: nn.Module | None
    history: list[EpochRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Session:
    """Checkpoints of one kind of training.

    Parameters
    ----------
    name, version
        Format and format version.
    of : str
        What writes them, for messages.
    remedy : str
        What to do about a file that is none of them, or of another version.
    described : mapping
        What differs if a checksum among the settings differs.
    """

    name: str
    version: int
    of: str
    remedy: str
    described: Mapping[str, str]

    def save(self, path: StrPath, state: State, settings: Mapping[str, Any]) -> None:
        """Write a checkpoint for `resume`, atomically."""
        moments = {}
        for i, weight in enumerate(state.model.parameters()):
            # Weights that the outputs do not depend on have none.
            none = {"step": torch.zeros(()), **{name: torch.zeros_like(weight) for name in _MOMENTS}}
            found = state.optimizer.state.get(weight) or none
            moments[i] = {name: value.detach().cpu() for name, value in found.items()}
        content = {
            "format": self.name,
            "format_version": self.version,
            "settings": dict(settings),
            "state_dict": {name: tensor.detach().cpu() for name, tensor in state.model.state_dict().items()},
            "optimizer": moments,
            "history": plain_history(state.history),
        }
        write_torch_file(path, content)

    def resume(self, path: StrPath, state: State, settings: Mapping[str, Any]) -> None:
        """Set a fresh state to that of a checkpoint.

        Raises
        ------
        UsageError
            If the checkpoint was made with other settings, another network or other images.
        CheckpointError
            If it cannot be read, is none of this kind and version, or is damaged.
        """
        content = read_torch_file(path)
        if not isinstance(content, dict) or content.get("format") != self.name:
            raise CheckpointError(f"file {path} is a PyTorch file but not a checkpoint of {self.of}; {self.remedy}")
        version = content.get("format_version")
        if version != self.version:
            raise CheckpointError(
                f"checkpoint {path} has format version {version!r}, but {self.version} is known; upgrade rmp-lava, or "
                f"{self.remedy}"
            )
        with reporting_damage(path):
            require_same_settings(path, settings, content["settings"], self.described)
            own = state.model.state_dict()
            for name, tensor in content["state_dict"].items():
                if tensor.dtype != own[name].dtype or not bool(torch.isfinite(tensor).all()):
                    raise ValueError(f"{name} is not {own[name].dtype} or not finite")
            state.model.load_state_dict(content["state_dict"])
            restore_optimizer(state.optimizer, content["optimizer"], _MOMENTS)
            state.history = restore_history(content["history"], settings["epochs"])


TUNING = Session(
    "rmp-lava-tuning",
    4,
    "`tune`",
    "name one that it has written",
    {
        "network": "another network, or one that was balanced otherwise (other calibration images, seed or pooling)",
        "data": "other images or labels",
        "validation": "other validation images",
        "teachers": "other teachers, or none",
    },
)
REPLACEMENT = Session(
    "rmp-lava-replacement",
    1,
    "a training after a replacement",
    "remove it, which repeats that training",
    {
        "network": "another network",
        "data": "other images or labels",
        "validation": "other validation images",
        "changes": "other replacements",
    },
)


def checksum(*arrays: Images) -> int:
    """CRC-32 of arrays with their dtypes and shapes; for images on disk, of their names."""
    value = 0
    for array in arrays:
        value = zlib.crc32(f"{array.dtype.str}{array.shape}".encode(), value)
        value = content_checksum(array, value)
    return value


def weights_checksum(model: nn.Module) -> int:
    """CRC-32 of a module's parameters and buffers."""
    return checksum(*(tensor.detach().cpu().float().numpy() for tensor in model.state_dict().values()))


def network_checksum(network: SpikingNetwork) -> int:
    """CRC-32 of a network's names, weights, biases and activation scales."""
    scales = ((layer.name, layer.activation_scale) for layer in network)
    value = zlib.crc32(repr([(name, None if scale is None else scale.tolist()) for name, scale in scales]).encode())
    for layer in network:
        arrays = [synapse.weight for synapse in layer.synapses]
        arrays += [] if layer.neurons.bias is None else [layer.neurons.bias]
        value = zlib.crc32(str(checksum(*arrays)).encode(), value)
    return value
