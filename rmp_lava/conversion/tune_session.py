"""What a fine-tuning consists of: the settings that decide its outcome, the state that changes, and both on disk.

A checkpoint is a PyTorch zip file that holds one dictionary of tensors and plain Python values:

    format          "rmp-lava-tuning"
    format_version  2
    settings        all of `TuneSettings`
    state_dict      weights, biases and spike values, float32
    optimizer       moments of Adam, by the parameters' order
    history         a list of [epoch, loss, train_accuracy, validation_accuracy]
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import torch

from ..errors import CheckpointError, UsageError
from ..network import SpikingNetwork
from ..training.data.augment import AUGMENTATIONS
from ..training.data.lazy_images import Images
from ..training.data.lazy_images import checksum as content_checksum
from ..training.torch_file import read_torch_file, write_torch_file
from .analog import AnalogNetwork
from .tunable import DYNAMICS, TunableNetwork

FORMAT = "rmp-lava-tuning"
FORMAT_VERSION = 2
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TuneRecord:
    """One epoch: its number from 1, mean loss in nats, accuracies in [0, 1].

    `train_accuracy` is taken during the epoch with changing weights; `validation_accuracy` after it, of the spiking
    network with rounded weights, or None without validation images.
    """

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float | None


@dataclass(frozen=True)
class TuneSettings:
    """All that decides which weights come out; a fine-tuning is only resumed with the same.

    Raises `UsageError` if a value is out of range. `network`, `data`, `validation` and `teacher` are checksums; the rest is as in
    `tune`.
    """

    network: int
    data: int
    validation: int | None
    steps: int
    dynamics: str
    epochs: int
    learning_rate: float
    batch_size: int
    profile: str
    threshold_form: str
    augmentation: str
    precision: str
    seed: int
    device: str
    teacher: int | None

    def __post_init__(self) -> None:
        check_values(vars(self))


def check_values(values: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a setting that is out of range; those that are not given are not looked at."""
    for name, lowest in (("steps", 1), ("epochs", 1), ("batch_size", 1), ("seed", 0)):
        value = values.get(name, lowest)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value < 2**63:
            raise UsageError(f"{name} is {value!r}; give an integer of at least {lowest}")
    rate = values.get("learning_rate", 1.0)
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not math.isfinite(rate) or rate <= 0:
        raise UsageError(f"learning_rate is {rate!r}; give a positive number")
    for name, allowed in (("dynamics", DYNAMICS), ("augmentation", AUGMENTATIONS), ("precision", PRECISIONS)):
        if values.get(name, allowed[0]) not in allowed:
            raise UsageError(f"{name} is {values[name]!r}; choose one of {', '.join(allowed)}")
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    devices = {"cpu", *(["cuda"] * torch.cuda.is_available()), *cuda}
    if values.get("device", "cpu") not in devices:
        raise UsageError(f"device {values['device']!r} is not there; choose one of {', '.join(sorted(devices))}")


@dataclass
class TuneState:
    """What a fine-tuning works on; no random state, because each epoch draws from a seed of its own."""

    model: TunableNetwork
    optimizer: torch.optim.Adam
    teacher: AnalogNetwork | None = None
    history: list[TuneRecord] = field(default_factory=list)


def checksum(*arrays: Images) -> int:
    """CRC-32 of arrays, their types and shapes; of images on disk the names count."""
    value = 0
    for array in arrays:
        value = zlib.crc32(f"{array.dtype.str}{array.shape}".encode(), value)
        value = content_checksum(array, value)
    return value


def network_checksum(network: SpikingNetwork) -> int:
    """CRC-32 of a network's names, weights, biases and chosen thresholds."""
    value = zlib.crc32(repr([(layer.name, layer.record.get("threshold")) for layer in network]).encode())
    for layer in network:
        arrays = [synapse.weight for synapse in layer.synapses]
        arrays += [] if layer.neurons.bias is None else [layer.neurons.bias]
        value = zlib.crc32(str(checksum(*arrays)).encode(), value)
    return value


def save(path: str | os.PathLike, state: TuneState, settings: TuneSettings) -> None:
    """Write a checkpoint that `resume` can go on from; at every moment the path holds a whole file."""
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": asdict(settings),
        "state_dict": {name: tensor.detach().cpu() for name, tensor in state.model.state_dict().items()},
        "optimizer": state.optimizer.state_dict()["state"],
        "history": [list(astuple(record)) for record in state.history],
    }
    write_torch_file(path, content)


def resume(path: str | os.PathLike, state: TuneState, settings: TuneSettings) -> None:
    """Set a fresh state to what a checkpoint holds.

    Raises
    ------
    UsageError
        If the checkpoint was made with other settings, another network or other images.
    CheckpointError
        If it cannot be read, is no checkpoint of `tune`, or is damaged.
    """
    content = read_torch_file(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"file {path} is a PyTorch file but no checkpoint of `tune`; name one that it has written"
        )
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {version!r}, but {FORMAT_VERSION} is known; tune again or upgrade "
            "rmp-lava"
        )
    try:
        _compare(settings, content["settings"], path)
        _check_finite(content["state_dict"])
        state.model.load_state_dict(content["state_dict"])
        _restore_optimizer(state.optimizer, content["optimizer"])
        state.history = [_record(values) for values in content["history"]]
        if not 1 <= len(state.history) <= settings.epochs:
            raise ValueError("history does not fit the epochs")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({type(error).__name__}); tune again") from error


def _compare(settings: TuneSettings, saved: Mapping[str, Any], path: str | os.PathLike) -> None:
    what = {
        "network": "another network, or one that was balanced otherwise (other calibration images, seed or pooling)",
        "data": "other images or labels",
        "validation": "other validation images",
        "teacher": "another teacher, or without one",
    }
    for name, value in asdict(settings).items():
        if saved[name] != value and name in what:
            raise UsageError(f"checkpoint {path} was made with {what[name]}; resume with the same or tune anew")
        if saved[name] != value:
            raise UsageError(
                f"checkpoint {path} was made with {name} {saved[name]!r}, but {value!r} was given; resume with the same "
                "or tune anew"
            )


def _check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} is not float32 or not finite")


def _restore_optimizer(optimizer: torch.optim.Adam, saved: dict[int, dict[str, Any]]) -> None:
    # Adam itself would take moments of any shape and fail, or broadcast, in its first step.
    for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
        for name in ("exp_avg", "exp_avg_sq"):
            if saved[index][name].shape != parameter.shape:
                raise ValueError(f"{name} of parameter {index} does not fit")
    optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})


def _record(values: list[Any]) -> TuneRecord:
    epoch, loss, train_accuracy, validation_accuracy = values
    known = None if validation_accuracy is None else float(validation_accuracy)
    return TuneRecord(int(epoch), float(loss), float(train_accuracy), known)
