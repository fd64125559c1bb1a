"""Training of the constrained networks: reproducible, resumable, and safe to interrupt."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import CheckpointError, DataError, UsageError
from ..progress import Progress
from .checkpoint import check_writable, load_checkpoint, save_checkpoint
from .constraints import violations
from .data import VALIDATION_FRACTION, VALIDATION_SEED, Dataset, split_validation
from .models import ModelSpec, model_spec

_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: its number from 1, mean cross-entropy in nats, accuracies in [0, 1].

    `train_accuracy` is taken during the epoch, with dropout and changing weights; `validation_accuracy` after it.
    """

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A finished training.

    Attributes
    ----------
    model : nn.Sequential
        The trained network in evaluation mode, on the device of the training.
    history : tuple of EpochRecord
    train_accuracy, validation_accuracy, test_accuracy : float
        Of the final weights without dropout, in [0, 1]. Test images are looked at once, after the last epoch.
    seconds : float
        Time spent training, that before an interruption included.
    """

    model: nn.Sequential
    history: tuple[EpochRecord, ...]
    train_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class _Settings:
    """All that decides which weights come out; a training is only resumed with the same."""

    model: str
    dataset: str
    fingerprint: int
    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    validation_fraction: float
    device: str


@dataclass
class _State:
    """All that changes during a training."""

    model: nn.Sequential
    optimizer: torch.optim.Adam
    history: list[EpochRecord]
    seconds: float


def train(
    model_name: str,
    dataset: Dataset,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    checkpoint_path: str | os.PathLike | None = None,
    resume: bool = False,
    progress: bool = True,
    device: str = "cpu",
    validation_fraction: float = VALIDATION_FRACTION,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainResult:
    """Train a network of `MODELS` with Adam and a learning rate that falls to zero along half a cosine.

    Same arguments on the same machine give the same weights, bit for bit, also if the training was interrupted and
    resumed. The caller's random state is left as it was. If interrupted (Ctrl-C), the checkpoint of the last complete
    epoch stays valid.

    Parameters
    ----------
    model_name : str
        A key of `MODELS`.
    dataset : Dataset
        Its training part is divided by `split_validation(dataset, validation_fraction)`.
    epochs, batch_size, learning_rate : optional
        Taken from the model's recipe if omitted.
    seed : int
        Seed of weights, order of images and dropout; 0 or more.
    checkpoint_path : path-like, optional
        Written after each epoch; an existing file is replaced. If omitted, nothing is written.
    resume : bool
        Go on from the checkpoint, which must come from a training with the same arguments.
    progress : bool
        Show a bar on a terminal.
    device : str
        'cpu' or 'cuda', with or without an index.
    validation_fraction : float
        Part of the training images that is held out.
    on_epoch : callable, optional
        Called with the record of each epoch once its checkpoint is written.

    Raises
    ------
    UsageError
        If an argument is out of range, the device is missing, the checkpoint comes from other arguments, or the
        training diverges.
    DataError
        If the data set does not fit the model.
    CheckpointError
        If the checkpoint cannot be read or written.
    """
    spec = model_spec(model_name)
    settings = _Settings(
        model=model_name,
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        seed=seed,
        epochs=spec.recipe.epochs if epochs is None else epochs,
        batch_size=spec.recipe.batch_size if batch_size is None else batch_size,
        learning_rate=spec.recipe.learning_rate if learning_rate is None else learning_rate,
        validation_fraction=validation_fraction,
        device=_check_device(device),
    )
    _check_settings(settings)
    _check_dataset(model_name, spec, dataset)
    if resume and checkpoint_path is None:
        raise UsageError("resuming needs a checkpoint, but no checkpoint path was given; give one or do not resume")
    if checkpoint_path is not None:
        check_writable(checkpoint_path)
    with _own_random_state(settings):
        return _train(spec, dataset, settings, checkpoint_path, resume, progress, on_epoch)


@torch.no_grad()
def evaluate(model: nn.Module, images: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor) -> float:
    """Accuracy of a network in [0, 1], in evaluation mode; the mode is put back afterwards.

    Parameters
    ----------
    model : nn.Module
        From images (N, C, H, W) to logits (N, K).
    images : float32 (N, C, H, W) in [0, 1], N >= 1
    labels : int64 (N,)

    Raises
    ------
    DataError
        If there are no images, or not as many labels.
    """
    if not len(images) or len(images) != len(labels):
        raise DataError(f"{len(images)} images and {len(labels)} labels were given; give equally many, at least one")
    images, labels = torch.as_tensor(images), torch.as_tensor(labels)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    was_training = model.training
    model.eval()
    try:
        correct = 0
        batches = zip(images.split(_EVALUATION_BATCH), labels.split(_EVALUATION_BATCH), strict=True)
        for batch_images, batch_labels in batches:
            predicted = model(batch_images.to(device)).argmax(dim=1)
            correct += int((predicted == batch_labels.to(device)).sum())
    finally:
        model.train(was_training)
    return correct / len(images)


def _check_device(device: str) -> str:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UsageError(f"device {device!r} is unknown; use 'cpu' or 'cuda'") from error
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"device {device!r} is not supported for training; use 'cpu' or 'cuda'")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {device!r} is not there ({torch.cuda.device_count()} CUDA devices found); use 'cpu'")
    return device


def _check_settings(settings: _Settings) -> None:
    for name, lowest in (("seed", 0), ("epochs", 1), ("batch_size", 1)):
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value < 2**63:
            raise UsageError(f"{name} is {value!r}; give an integer of at least {lowest}")
    if not (math.isfinite(settings.learning_rate) and settings.learning_rate > 0):
        raise UsageError(f"learning_rate is {settings.learning_rate!r}; give a positive number")


def _check_dataset(model_name: str, spec: ModelSpec, dataset: Dataset) -> None:
    if dataset.input_shape != spec.input_shape:
        raise DataError(
            f"data set {dataset.name!r} has images of shape {dataset.input_shape}, but model {model_name!r} takes "
            f"{spec.input_shape}; use data set {spec.dataset!r} or another model"
        )
    if len(dataset.class_names) != spec.classes:
        raise DataError(
            f"data set {dataset.name!r} has {len(dataset.class_names)} classes, but model {model_name!r} has "
            f"{spec.classes} outputs; use data set {spec.dataset!r} or another model"
        )


@contextmanager
def _own_random_state(settings: _Settings) -> Iterator[None]:
    """Seed PyTorch inside and put the caller's random state back afterwards: dropout takes no generator of its own."""
    devices = [settings.device] if torch.device(settings.device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(settings.seed)
        yield


def _train(
    spec: ModelSpec,
    dataset: Dataset,
    settings: _Settings,
    path: str | os.PathLike | None,
    resume: bool,
    progress: bool,
    on_epoch: Callable[[EpochRecord], None] | None,
) -> TrainResult:
    split = split_validation(dataset, settings.validation_fraction)
    images = torch.from_numpy(split.train_images).to(settings.device)
    labels = torch.from_numpy(split.train_labels).to(settings.device)
    state = _start(spec, settings)
    if resume:
        _resume(state, settings, path)
    steps = math.ceil(len(images) / settings.batch_size)
    with Progress(f"training {settings.model}", settings.epochs * steps, shown=progress) as bar:
        bar.update(len(state.history) * steps)
        while len(state.history) < settings.epochs:
            started = time.perf_counter()
            loss, train_accuracy = _run_epoch(state, settings, images, labels, bar)
            validation_accuracy = evaluate(state.model, split.validation_images, split.validation_labels)
            state.history.append(EpochRecord(len(state.history) + 1, loss, train_accuracy, validation_accuracy))
            state.seconds += time.perf_counter() - started
            if path is not None:
                _save(path, state, settings, dataset)
            if on_epoch is not None:
                on_epoch(state.history[-1])
    result = TrainResult(
        model=state.model.eval(),
        history=tuple(state.history),
        train_accuracy=evaluate(state.model, images, labels),
        validation_accuracy=state.history[-1].validation_accuracy,
        test_accuracy=evaluate(state.model, dataset.test_images, dataset.test_labels),
        seconds=state.seconds,
    )
    if path is not None:
        _save(path, state, settings, dataset, result)
    return result


def _start(spec: ModelSpec, settings: _Settings) -> _State:
    model = spec.build()
    departures = violations(model)
    if departures:
        raise UsageError(f"model {settings.model!r} departs from the constraints: {'; '.join(map(str, departures))}")
    model.to(settings.device)
    return _State(model, torch.optim.Adam(model.parameters(), lr=settings.learning_rate), [], 0.0)


def _run_epoch(
    state: _State, settings: _Settings, images: torch.Tensor, labels: torch.Tensor, bar: Progress
) -> tuple[float, float]:
    """Mean loss and accuracy of one pass over the training images."""
    state.model.train()
    order = torch.randperm(len(images)).to(settings.device).split(settings.batch_size)
    epoch = len(state.history)
    total_loss = torch.zeros((), dtype=torch.float64, device=settings.device)
    correct = torch.zeros((), dtype=torch.int64, device=settings.device)
    for step, chosen in enumerate(order):
        # From the formula and not from a scheduler object, so that there is no scheduler state to save and restore.
        done = (epoch * len(order) + step) / (settings.epochs * len(order))
        for group in state.optimizer.param_groups:
            group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
        logits = state.model(images[chosen])
        loss = functional.cross_entropy(logits, labels[chosen])
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        total_loss += loss.detach() * len(chosen)
        correct += (logits.detach().argmax(dim=1) == labels[chosen]).sum()
        bar.advance()
    _check_finite(state, settings, float(total_loss))
    return float(total_loss) / len(images), int(correct) / len(images)


def _check_finite(state: _State, settings: _Settings, loss: float) -> None:
    """Stop before a diverged training overwrites the last good checkpoint."""
    if not math.isfinite(loss) or not all(bool(torch.isfinite(weight).all()) for weight in state.model.parameters()):
        raise UsageError(
            f"training of {settings.model!r} diverged in epoch {len(state.history) + 1} with learning rate "
            f"{settings.learning_rate}; give a smaller one"
        )


def _save(
    path: str | os.PathLike,
    state: _State,
    settings: _Settings,
    dataset: Dataset,
    result: TrainResult | None = None,
) -> None:
    metadata = {
        **asdict(settings),
        "source": dataset.source,
        "class_names": list(dataset.class_names),
        "validation_seed": VALIDATION_SEED,
        "epochs_done": len(state.history),
        "train_accuracy": None if result is None else result.train_accuracy,
        "validation_accuracy": state.history[-1].validation_accuracy,
        "test_accuracy": None if result is None else result.test_accuracy,
        "seconds": state.seconds,
        "torch_version": str(torch.__version__),
    }
    training = {
        "settings": asdict(settings),
        "optimizer": state.optimizer.state_dict(),
        "random_states": _random_states(settings),
        "history": [list(astuple(record)) for record in state.history],
        "seconds": state.seconds,
    }
    save_checkpoint(path, model_name=settings.model, model=state.model, metadata=metadata, training=training)


def _random_states(settings: _Settings) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.device(settings.device).type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(settings.device)
    return states


def _resume(state: _State, settings: _Settings, path: str | os.PathLike) -> None:
    """Set a fresh state to what the checkpoint holds."""
    checkpoint = load_checkpoint(path)
    if checkpoint.training is None:
        raise CheckpointError(f"checkpoint {path} holds weights only and cannot be resumed; train again")
    try:
        _compare_settings(settings, checkpoint.training["settings"], path)
        state.model.load_state_dict(checkpoint.state_dict)
        _restore_optimizer(state.optimizer, checkpoint.training["optimizer"])
        random_states = checkpoint.training["random_states"]
        torch.set_rng_state(random_states["cpu"])
        if torch.device(settings.device).type == "cuda":
            torch.cuda.set_rng_state(random_states["cuda"], settings.device)
        state.history.extend(EpochRecord(*record) for record in checkpoint.training["history"])
        state.seconds = float(checkpoint.training["seconds"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path} has a damaged training state ({error}); train again") from error


def _compare_settings(settings: _Settings, saved: dict[str, Any], path: str | os.PathLike) -> None:
    for name, value in asdict(settings).items():
        if saved[name] != value:
            raise UsageError(
                f"checkpoint {path} was trained with {name} {saved[name]!r}, but {value!r} was given; resume with the "
                "same or train anew"
            )


def _restore_optimizer(optimizer: torch.optim.Adam, saved: dict[str, Any]) -> None:
    # Adam itself would take moments of any shape and fail, or broadcast, in the first step.
    for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
        for name in ("exp_avg", "exp_avg_sq"):
            if saved["state"][index][name].shape != parameter.shape:
                raise ValueError(f"{name} of weight {index} does not fit")
    optimizer.load_state_dict(saved)
