"""The settings that determine a fine-tuning's outcome, the state that changes, and both on disk.

A checkpoint is a PyTorch zip file with one dictionary of tensors and plain Python values:

    format          "rmp-lava-tuning"
    format_version  3
    settings        all of `TuneSettings`
    state_dict      weights, biases and activation scales, float32
    optimizer       moments of Adam, in the order of the parameters
    history         a list of [epoch, loss, train_accuracy, validation_accuracy]
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, field

import torch

from ..choices import Augmentation, Dynamics, Precision, ThresholdForm
from ..errors import CheckpointError
from ..files import StrPath
from ..network import SpikingNetwork
from ..training.data.lazy_images import Images, checksum as content_checksum
from ..training.loop import EpochRecord
from ..training.resume import (
    check_settings,
    plain_history,
    reporting_damage,
    require_same_settings,
    restore_history,
    restore_optimizer,
)
from ..training.torch_file import read_torch_file, write_torch_file
from .analog import AnalogNetwork
from .tunable import TunableNetwork

FORMAT = "rmp-lava-tuning"
FORMAT_VERSION = 3
_CHECKSUMS = {
    "network": "another network, or one that was balanced otherwise (other calibration images, seed or pooling)",
    "data": "other images or labels",
    "validation": "other validation images",
    "teacher": "another teacher, or without one",
}
"""What differs if a checksum differs."""


@dataclass(frozen=True)
class TuneSettings:
    """Everything that determines the tuned weights; a fine-tuning is resumed only with equal settings.

    Raises `UsageError` if a value is out of range. `network`, `data`, `validation` and `teacher` are checksums; the rest is as in
    `tune`.
    """

    network: int
    data: int
    validation: int | None
    steps: int
    dynamics: Dynamics
    wait: int
    epochs: int
    learning_rate: float
    batch_size: int
    profile: str
    threshold_form: ThresholdForm
    augmentation: Augmentation
    precision: Precision
    seed: int
    device: str
    teacher: int | None

    def __post_init__(self) -> None:
        check_settings(**vars(self))


@dataclass
class TuneState:
    """Everything that changes during a fine-tuning; no random state, as each epoch has a seed of its own."""

    model: TunableNetwork
    optimizer: torch.optim.Adam
    teacher: AnalogNetwork | None = None
    history: list[EpochRecord] = field(default_factory=list)


def checksum(*arrays: Images) -> int:
    """CRC-32 of arrays with their dtypes and shapes; for images on disk, of their names."""
    value = 0
    for array in arrays:
        value = zlib.crc32(f"{array.dtype.str}{array.shape}".encode(), value)
        value = content_checksum(array, value)
    return value


def network_checksum(network: SpikingNetwork) -> int:
    """CRC-32 of a network's names, weights, biases and activation scales."""
    scales = ((layer.name, layer.activation_scale) for layer in network)
    value = zlib.crc32(repr([(name, None if scale is None else scale.tolist()) for name, scale in scales]).encode())
    for layer in network:
        arrays = [synapse.weight for synapse in layer.synapses]
        arrays += [] if layer.neurons.bias is None else [layer.neurons.bias]
        value = zlib.crc32(str(checksum(*arrays)).encode(), value)
    return value


def save(path: StrPath, state: TuneState, settings: TuneSettings) -> None:
    """Write a checkpoint for `resume`, atomically."""
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": asdict(settings),
        "state_dict": {name: tensor.detach().cpu() for name, tensor in state.model.state_dict().items()},
        "optimizer": state.optimizer.state_dict()["state"],
        "history": plain_history(state.history),
    }
    write_torch_file(path, content)


def resume(path: StrPath, state: TuneState, settings: TuneSettings) -> None:
    """Set a fresh state to that of a checkpoint.

    Raises
    ------
    UsageError
        If the checkpoint was made with other settings, another network or other images.
    CheckpointError
        If it cannot be read, is not a checkpoint of `tune`, or is damaged.
    """
    content = read_torch_file(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"file {path} is a PyTorch file but not a checkpoint of `tune`; name one that it has written"
        )
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {version!r}, but {FORMAT_VERSION} is known; tune again or upgrade "
            "rmp-lava"
        )
    with reporting_damage(path):
        require_same_settings(path, asdict(settings), content["settings"], _CHECKSUMS)
        for name, tensor in content["state_dict"].items():
            if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} is not float32 or not finite")
        state.model.load_state_dict(content["state_dict"])
        restore_optimizer(state.optimizer, content["optimizer"], ("exp_avg", "exp_avg_sq"))
        state.history = restore_history(content["history"], settings.epochs)
