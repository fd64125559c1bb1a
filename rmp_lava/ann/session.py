"""What a training consists of: the settings that decide its outcome, the state that changes, and both on disk."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, UsageError
from .checkpoint import load_checkpoint, save_checkpoint
from .constraints import violations
from .models import ModelSpec


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: its number from 1, mean cross-entropy in nats, accuracies in [0, 1].

    `train_accuracy` is taken during the epoch, with dropout and changing weights; `validation_accuracy` after it.
    """

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float


@dataclass(frozen=True)
class Settings:
    """All that decides which weights come out; a training is only resumed with the same.

    Raises `UsageError` if a value is out of range. `fingerprint` is that of the data set; the rest is as in `train`.
    """

    model: str
    dataset: str
    fingerprint: int
    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    validation_fraction: float
    device: str

    def __post_init__(self) -> None:
        for name, lowest in (("seed", 0), ("epochs", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value < 2**63:
                raise UsageError(f"{name} is {value!r}; give an integer of at least {lowest}")
        rate = self.learning_rate
        if not isinstance(rate, (int, float)) or not math.isfinite(rate) or rate <= 0:
            raise UsageError(f"learning_rate is {rate!r}; give a positive number")
        _check_device(self.device)

    @property
    def on_cuda(self) -> bool:
        return torch.device(self.device).type == "cuda"


@dataclass
class State:
    """All that changes during a training."""

    model: nn.Sequential
    optimizer: torch.optim.Adam
    history: list[EpochRecord] = field(default_factory=list)
    seconds: float = 0.0


def start(spec: ModelSpec, settings: Settings) -> State:
    """A training before its first epoch; draws the weights from PyTorch's random state."""
    model = spec.build()
    departures = violations(model)
    if departures:
        raise UsageError(f"model {settings.model!r} breaks constraints: {'; '.join(map(str, departures))}")
    model.to(settings.device)
    return State(model, torch.optim.Adam(model.parameters(), lr=settings.learning_rate))


@contextmanager
def own_random_state(settings: Settings) -> Iterator[None]:
    """Seed PyTorch inside and put the caller's random state back afterwards: dropout takes no generator of its own."""
    with torch.random.fork_rng(devices=[settings.device] if settings.on_cuda else []):
        # Not torch.manual_seed, which would reseed all other devices of the caller as well.
        torch.default_generator.manual_seed(settings.seed)
        if settings.on_cuda:
            with torch.cuda.device(settings.device):
                torch.cuda.manual_seed(settings.seed)
        yield


def save(path: str | os.PathLike, state: State, settings: Settings, description: dict[str, Any]) -> None:
    """Write a checkpoint that `resume` can go on from; `description` joins the settings in its metadata."""
    metadata = {
        **asdict(settings),
        **description,
        "epochs_done": len(state.history),
        "validation_accuracy": state.history[-1].validation_accuracy,
        "seconds": state.seconds,
        "torch_version": str(torch.__version__),
    }
    training = {
        "settings": asdict(settings),
        # Without its parameter groups, which follow from the settings and whose keys change with PyTorch's versions.
        "optimizer": state.optimizer.state_dict()["state"],
        "random_states": _random_states(settings),
        "history": [list(astuple(record)) for record in state.history],
        "seconds": state.seconds,
    }
    save_checkpoint(path, model_name=settings.model, model=state.model, metadata=metadata, training=training)


def resume(path: str | os.PathLike, state: State, settings: Settings) -> None:
    """Set a fresh state, and PyTorch's random state, to what a checkpoint holds.

    Raises
    ------
    UsageError
        If the checkpoint was made with other settings.
    CheckpointError
        If it cannot be read or has no usable training state.
    """
    checkpoint = load_checkpoint(path)
    training = checkpoint.training
    if training is None:
        raise CheckpointError(f"checkpoint {path} holds weights only and cannot be resumed; train again")
    try:
        _compare(settings, training["settings"], path)
        state.model.load_state_dict(checkpoint.state_dict)
        _restore_optimizer(state.optimizer, training["optimizer"])
        state.history = [_record(values) for values in training["history"]]
        if not 1 <= len(state.history) <= settings.epochs:
            raise ValueError("history does not fit the epochs")
        state.seconds = float(training["seconds"])
        torch.set_rng_state(training["random_states"]["cpu"])
        if settings.on_cuda:
            torch.cuda.set_rng_state(training["random_states"]["cuda"], settings.device)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {path} has a damaged training state ({type(error).__name__}); train again"
        ) from error


def _check_device(device: str) -> None:
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"device {device!r} is unknown; use 'cpu' or 'cuda'") from error
    if parsed.type not in ("cpu", "cuda"):
        raise UsageError(f"device {device!r} is not supported for training; use 'cpu' or 'cuda'")
    if parsed.type == "cuda" and (parsed.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {device!r} is not there ({torch.cuda.device_count()} CUDA devices found); use 'cpu'")


def _random_states(settings: Settings) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if settings.on_cuda:
        states["cuda"] = torch.cuda.get_rng_state(settings.device)
    return states


def _compare(settings: Settings, saved: dict[str, Any], path: str | os.PathLike) -> None:
    for name, value in asdict(settings).items():
        if saved[name] != value:
            raise UsageError(
                f"checkpoint {path} was trained with {name} {saved[name]!r}, but {value!r} was given; resume with the "
                "same or train anew"
            )


def _restore_optimizer(optimizer: torch.optim.Adam, saved: dict[int, dict[str, Any]]) -> None:
    # Adam itself would take moments of any shape and fail, or broadcast, in its first step.
    for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
        for name in ("exp_avg", "exp_avg_sq"):
            if saved[index][name].shape != parameter.shape:
                raise ValueError(f"{name} of weight {index} does not fit")
    optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})


def _record(values: list[float]) -> EpochRecord:
    epoch, loss, train_accuracy, validation_accuracy = values
    return EpochRecord(int(epoch), float(loss), float(train_accuracy), float(validation_accuracy))
