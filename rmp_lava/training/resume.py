"""What training and fine-tuning share to be reproducible and resumable: checked settings, and state from a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from types import MappingProxyType
from typing import Any

import torch

from ..choices import Augmentation, Dynamics, Mixing, Optimizer, Precision, ThresholdForm, listed, options
from ..errors import CheckpointError, UsageError
from ..files import StrPath, check_writable
from .loop import EpochRecord


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _at_least(lowest: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: type(value) is int and lowest <= value < 2**63, f"give an integer of at least {lowest}"


def _one_of(choice: Any) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in options(choice), f"choose one of {listed(choice)}"


_FRACTION = (lambda value: is_number(value) and 0 <= value < 1), "give a number from 0 to less than 1"
_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": _at_least(1),
    "batch_size": _at_least(1),
    "steps": _at_least(1),
    "seed": _at_least(0),
    "optimizer": _one_of(Optimizer),
    "augmentation": _one_of(Augmentation),
    "mixing": _one_of(Mixing),
    "precision": _one_of(Precision),
    "dynamics": _one_of(Dynamics),
    "threshold_form": _one_of(ThresholdForm),
    "learning_rate": (lambda value: is_number(value) and value > 0, "give a positive number"),
    "weight_decay": (lambda value: is_number(value) and value >= 0, "give a number of at least 0"),
    "label_smoothing": _FRACTION,
    "warmup": _FRACTION,
    "channels_last": (lambda value: isinstance(value, bool), "give True or False"),
}
"""Whether a value is allowed, and what to do if it is not."""


def check_settings(**settings: Any) -> None:
    """Raise `UsageError` for a setting of a training or tuning that is out of range; other names are ignored."""
    for name, value in settings.items():
        if name == "device":
            _check_device(value)
        elif name in _ALLOWED and not _ALLOWED[name][0](value):
            raise UsageError(f"{name} is {value!r}; {_ALLOWED[name][1]}")


def _check_device(device: str) -> None:
    """Raise `UsageError` unless a device is the CPU or a CUDA device of this machine."""
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"device {device!r} is unknown; use 'cpu' or 'cuda'") from error
    if parsed.type not in ("cpu", "cuda"):
        raise UsageError(f"device {device!r} is not supported for training; use 'cpu' or 'cuda'")
    if parsed.type == "cuda" and (parsed.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {device!r} is not available ({torch.cuda.device_count()} CUDA devices found); use 'cpu'"
        )


def check_checkpoint_path(path: StrPath | None, resume: bool) -> None:
    """Before any work: raise `UsageError` if there is nothing to resume from, `CheckpointError` if it cannot be written."""
    if path is not None:
        check_writable(path, CheckpointError)
    elif resume:
        raise UsageError("resume needs a checkpoint, but no path was given; give checkpoint_path, or leave resume out")


def require_same_settings(
    path: StrPath,
    given: Mapping[str, Any],
    saved: Mapping[str, Any],
    described: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Raise `UsageError` where a checkpoint was made with other settings than are given now.

    `described` names what differs where the values themselves (checksums) mean nothing to a reader.
    """
    for name, value in given.items():
        if saved[name] == value:
            continue
        found = f"{name} {saved[name]!r}, but {value!r} was given"
        raise UsageError(
            f"checkpoint {path} was made with {described.get(name, found)}; resume with the same or start again"
        )


@contextmanager
def reporting_damage(path: StrPath) -> Iterator[None]:
    """Raise `CheckpointError` for whatever error the state of a damaged checkpoint causes in the block."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {path} has a damaged training state ({type(error).__name__}); start again"
        ) from error


def restore_optimizer(
    optimizer: torch.optim.Optimizer, saved: Mapping[int, Mapping[str, torch.Tensor]], moments: Sequence[str]
) -> None:
    """Set the moments of an optimizer; raises `ValueError` or `KeyError` if they do not fit.

    The optimizer itself would take moments of any shape and fail, or broadcast, in its first step. Parameter groups are not
    taken from the file: they follow from the settings, and their keys change with PyTorch's versions.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, weight in enumerate(weights):
        for name in moments:
            if saved[index][name].shape != weight.shape:
                raise ValueError(f"{name} of weight {index} does not fit")
    optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})


def plain_history(history: Sequence[EpochRecord]) -> list[list[float | None]]:
    """The records as a checkpoint stores them."""
    return [list(astuple(record)) for record in history]


def restore_history(saved: Sequence[Sequence[Any]], epochs: int) -> list[EpochRecord]:
    """The records that `plain_history` made; raises `ValueError` or `TypeError` if they do not fit so many epochs."""
    history = []
    for epoch, loss, train_accuracy, validation_accuracy in saved:
        validated = None if validation_accuracy is None else float(validation_accuracy)
        history.append(EpochRecord(int(epoch), float(loss), float(train_accuracy), validated))
    if not 1 <= len(history) <= epochs:
        raise ValueError("history does not fit the epochs")
    return history
