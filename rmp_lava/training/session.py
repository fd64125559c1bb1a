"""The settings that determine a training's outcome, the state that changes, and both on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, UsageError
from ..files import StrPath
from .checkpoint import load_checkpoint, save_checkpoint
from .loop import EpochRecord
from .models import ModelSpec, Option, model_spec
from .models.layers import is_normalised
from .muon import Muon
from .recipe import Recipe
from .resume import (
    check_settings,
    plain_history,
    reporting_damage,
    require_same_settings,
    restore_history,
    restore_optimizer,
)

_MOMENTUM = 0.9
_MOMENTS = {"adam": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",), "muon": ("momentum_buffer",)}


@dataclass(frozen=True)
class Settings:
    """Everything that determines the trained weights; a training is resumed only with equal settings.

    Raises `UsageError` if a value is out of range. `fingerprint` is that of the data set, `options` are all options of
    the model, `start` is the SHA-256 of the checkpoint that it starts from; the rest is as in `train`.
    """

    model: str
    options: dict[str, Option]
    recipe: Recipe
    dataset: str
    fingerprint: int
    seed: int
    validation_fraction: float
    device: str
    processes: int = 1
    start: str | None = None

    def __post_init__(self) -> None:
        check_settings(**vars(self))

    @property
    def on_cuda(self) -> bool:
        return torch.device(self.device).type == "cuda"

    def plain(self) -> dict[str, Any]:
        """Plain values, those of the recipe included."""
        return {name: value for name, value in vars(self).items() if name != "recipe"} | asdict(self.recipe)


@dataclass
class State:
    """Everything that changes during a training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    history: list[EpochRecord] = field(default_factory=list)
    seconds: float = 0.0


def start(spec: ModelSpec, settings: Settings, weights: Mapping[str, torch.Tensor] | None = None) -> State:
    """A training before its first epoch; the weights are drawn from PyTorch's random state, or taken from a state dict.

    Raises `UsageError` if optimizer or weights do not fit the model.
    """
    model = spec.build(**settings.options)
    if settings.recipe.optimizer == "muon" and not is_normalised(model):
        raise UsageError(
            f"optimizer 'muon' keeps the norm of each kernel, which needs normalisation after it, but model "
            f"{settings.model!r} has none; give batch_norm=True or scale_norm=True too, or optimizer 'adam'"
        )
    if weights is not None:
        _copy_weights(weights, model, settings.model)
    model.to(settings.device)
    if settings.recipe.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in PyTorch's stubs
    return State(model, _optimizer(model, settings.recipe))


def _copy_weights(weights: Mapping[str, torch.Tensor], model: nn.Module, name: str) -> None:
    own = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    for key in (*own, *given):
        if own.get(key) != given.get(key):
            raise UsageError(
                f"tensor {key!r} is {given.get(key, 'missing')} in the checkpoint to start from, but {own.get(key, 'missing')} "
                f"in model {name!r} with the given options; give those that the checkpoint was trained with"
            )
    model.load_state_dict(weights)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    kernels = [weight for weight in model.parameters() if weight.ndim > 2] if recipe.optimizer == "muon" else []
    decaying = [weight for weight in model.parameters() if weight.ndim > 1 and not any(weight is k for k in kernels)]
    steady = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": decay}
        for weights, decay in ((decaying, recipe.weight_decay), (steady, 0.0))
        if weights
    ]
    if recipe.optimizer == "muon":
        return Muon([{"params": kernels, "orthogonal": True}] * bool(kernels) + groups, recipe.learning_rate)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=_MOMENTUM, nesterov=True)


@contextmanager
def own_random_state(settings: Settings) -> Iterator[None]:
    """Seed PyTorch inside and restore the caller's random state afterwards: dropout takes no generator of its own."""
    with torch.random.fork_rng(devices=[settings.device] if settings.on_cuda else []):
        # Not torch.manual_seed, which would reseed all other devices of the caller as well.
        torch.default_generator.manual_seed(settings.seed)
        if settings.on_cuda:
            with torch.cuda.device(settings.device):
                torch.cuda.manual_seed(settings.seed)
        yield


def save(path: StrPath, state: State, settings: Settings, description: dict[str, Any]) -> None:
    """Write a checkpoint for `resume`; `description` is added to the settings in its metadata."""
    metadata = {
        **settings.plain(),
        **description,
        "epochs_done": len(state.history),
        "validation_accuracy": state.history[-1].validation_accuracy,
        "seconds": state.seconds,
        "torch_version": str(torch.__version__),
    }
    random_states = {"cpu": torch.get_rng_state()}
    if settings.on_cuda:
        random_states["cuda"] = torch.cuda.get_rng_state(settings.device)
    training = {
        "settings": settings.plain(),
        # Without its parameter groups, see `restore_optimizer`.
        "optimizer": state.optimizer.state_dict()["state"],
        "random_states": random_states,
        "history": plain_history(state.history),
        "seconds": state.seconds,
    }
    save_checkpoint(
        path,
        model_name=settings.model,
        options=settings.options,
        model=state.model,
        metadata=metadata,
        training=training,
    )


def resume(path: StrPath, state: State, settings: Settings) -> None:
    """Set a fresh state, and PyTorch's random state, to those of a checkpoint.

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
        raise CheckpointError(f"checkpoint {path} has weights only and cannot be resumed; train again")
    with reporting_damage(path):
        require_same_settings(path, settings.plain(), _completed(training["settings"], settings.model))
        state.model.load_state_dict(checkpoint.state_dict)
        restore_optimizer(state.optimizer, training["optimizer"], _MOMENTS[settings.recipe.optimizer])
        state.history = restore_history(training["history"], settings.recipe.epochs)
        state.seconds = float(training["seconds"])
        torch.set_rng_state(training["random_states"]["cpu"])
        if settings.on_cuda:
            torch.cuda.set_rng_state(training["random_states"]["cuda"], settings.device)


def _completed(saved: dict[str, Any], model: str) -> dict[str, Any]:
    """Saved settings; those that an older checkpoint does not have were at the defaults of today."""
    known = {e.name: e.default for e in (*fields(Recipe), *fields(Settings)) if e.default is not MISSING}
    return known | saved | {"options": model_spec(model).settle(saved.get("options"))}
