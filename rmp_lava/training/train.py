"""Train the networks of the registry: reproducible, resumable, and safe to interrupt."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import DataError, UsageError
from ..files import StrPath, sha256_of
from ..progress import Progress
from . import session
from .checkpoint import load_checkpoint
from .data import VALIDATION_FRACTION, VALIDATION_SEED, Dataset, frames, split_validation
from .data.augment import augment, cut_mix
from .data.lazy_images import LazyImages
from .distributed import Processes, joined, process_count
from .loop import (
    EpochRecord,
    check_finite,
    evaluate,
    in_memory,
    mixed_precision,
    pixel_values,
    run_epochs,
    set_learning_rate,
)
from .models import ModelSpec, Option, model_spec
from .recipe import Recipe
from .resume import check_checkpoint_path
from .session import Settings, State

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A finished training: the network in evaluation mode, on the training's device, and a record of each epoch.

    Accuracies, in [0, 1], are those of the final weights without dropout; test images are used once, after the last epoch.
    `seconds` were spent in epochs, including those before an interruption.
    """

    model: nn.Module
    history: tuple[EpochRecord, ...]
    train_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    seconds: float


def train(
    model_name: str,
    dataset: Dataset,
    *,
    options: Mapping[str, Option] | None = None,
    seed: int = 0,
    checkpoint_path: StrPath | None = None,
    resume: bool = False,
    progress: bool = True,
    device: str = "cpu",
    validation_fraction: float = VALIDATION_FRACTION,
    start_from: StrPath | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    **hyperparameters: Any,
) -> TrainResult:
    """Train a network of `MODELS`.

    Equal arguments on the same machine with as many threads give the same weights, bit for bit, even if the training was
    interrupted and resumed. The caller's random state is not changed. After an interruption (Ctrl-C) the checkpoint of the
    last complete epoch is valid.

    If `torchrun` has started several processes, each takes an equal share of every batch, with its own random numbers and
    batch statistics; the first one writes the checkpoint and calls `on_epoch`.

    Parameters
    ----------
    model_name : str
        A key of `MODELS`.
    dataset : Dataset
        Its training part is divided by `split_validation(dataset, validation_fraction)`. Of events the network learns the means.
    options : mapping, optional
        Options of the model (`ModelSpec.options`), such as `{"width": 0.5, "batch_norm": True}`.
    seed : int
        Seed of weights, order of images, augmentation and dropout; 0 or more.
    checkpoint_path : path-like, optional
        Written after each epoch; an existing file is replaced. If omitted, nothing is written.
    resume : bool
        Continue from the checkpoint, which must come from a training with the same arguments.
    progress : bool
        Show on standard error how far it is, see `rmp_lava.progress`.
    device : str
        'cpu' or 'cuda', with or without an index.
    validation_fraction : float
        Fraction of the training images that is held out.
    start_from : path-like, optional
        Checkpoint of a network with the same tensors, whose weights this training starts with. Options without weights, such
        as `levels`, may differ. Nothing else of that training is used.
    on_epoch : callable, optional
        Called with the record of each epoch after its checkpoint is written.
    **hyperparameters
        Fields of `Recipe`, such as `epochs` or `learning_rate`; taken from the model's recipe if omitted.

    Returns
    -------
    TrainResult

    Raises
    ------
    UsageError
        If an argument is out of range, the device is missing, the checkpoint comes from other arguments, or the training
        diverges.
    DataError
        If the data set does not fit the model.
    CheckpointError
        If the checkpoint cannot be read or written.
    """
    spec = model_spec(model_name)
    chosen = spec.settle(options)
    _check_dataset(spec, chosen, dataset)
    weights = None if start_from is None else load_checkpoint(start_from).state_dict
    settings = Settings(
        model=model_name,
        options=chosen,
        recipe=_recipe(spec, chosen, hyperparameters),
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        seed=seed,
        validation_fraction=validation_fraction,
        device=device,
        processes=process_count(),
        start=None if start_from is None else sha256_of(start_from),
    )
    check_checkpoint_path(checkpoint_path, resume)
    with joined(device) as processes, session.own_random_state(settings):
        state = session.start(spec, settings, weights)
        if resume and checkpoint_path is not None:
            session.resume(checkpoint_path, state, settings)
        if not processes.leads:
            checkpoint_path, progress, on_epoch = None, False, None
        log.info("training on %s: %s", dataset.name, settings)
        return _run(dataset, state, settings, processes, checkpoint_path, progress, on_epoch)


def _recipe(spec: ModelSpec, options: Mapping[str, Option], changes: Mapping[str, Any]) -> Recipe:
    """The model's recipe with these options and the caller's changes; None changes nothing."""
    known = [entry.name for entry in fields(Recipe)]
    for name in changes:
        if name not in known:
            raise UsageError(f"hyperparameter {name!r} is unknown; choose from {', '.join(known)}")
    return replace(spec.recipe_for(options), **{name: value for name, value in changes.items() if value is not None})


def _check_dataset(spec: ModelSpec, options: Mapping[str, Option], dataset: Dataset) -> None:
    other = f"use data set {spec.dataset!r} or another model" if spec.dataset else "use another data set or model"
    if dataset.input_shape != spec.input_shape:
        raise DataError(
            f"data set {dataset.name!r} has images of shape {dataset.input_shape}, but model {spec.name!r} takes "
            f"{spec.input_shape}; {other}"
        )
    if len(dataset.class_names) != spec.outputs(options):
        classes = f"give its option classes={len(dataset.class_names)}, or " if "classes" in options else ""
        raise DataError(
            f"data set {dataset.name!r} has {len(dataset.class_names)} classes, but model {spec.name!r} has "
            f"{spec.outputs(options)} outputs; {classes}{other}"
        )


def _run(
    dataset: Dataset,
    state: State,
    settings: Settings,
    processes: Processes,
    path: StrPath | None,
    progress: bool,
    on_epoch: Callable[[EpochRecord], None] | None,
) -> TrainResult:
    """Run the remaining epochs and measure the final accuracies."""
    split = split_validation(dataset, settings.validation_fraction)
    train_images, validation_images = frames(split.train_images), frames(split.validation_images)
    images: torch.Tensor | LazyImages = (
        train_images if isinstance(train_images, LazyImages) else torch.from_numpy(train_images).to(settings.device)
    )
    labels = torch.from_numpy(split.train_labels).to(settings.device)
    _check_batches(state, settings, len(images))
    epochs, steps = settings.recipe.epochs, len(_batches(torch.arange(len(images)), settings))
    model = processes.wrapped(state.model)

    def run_epoch(bar: Progress) -> EpochRecord:
        started = time.perf_counter()
        loss, train_accuracy = _run_epoch(state, model, settings, processes, images, labels, bar)
        validation_accuracy = evaluate(state.model, validation_images, split.validation_labels)
        state.seconds += time.perf_counter() - started
        return EpochRecord(len(state.history) + 1, loss, train_accuracy, validation_accuracy)

    run_epochs(
        state.history,
        epochs,
        steps,
        run_epoch,
        label=f"training {settings.model}, batches",
        shown=progress,
        save=None if path is None else lambda: session.save(path, state, settings, _description(dataset)),
        on_epoch=on_epoch,
    )
    accuracies = {
        "train_accuracy": evaluate(state.model, images, labels),
        "validation_accuracy": evaluate(state.model, validation_images, split.validation_labels),
        "test_accuracy": evaluate(state.model, frames(dataset.test_images), dataset.test_labels),
    }
    if path is not None:
        session.save(path, state, settings, {**_description(dataset), **accuracies})
    return TrainResult(model=state.model.eval(), history=tuple(state.history), seconds=state.seconds, **accuracies)


def _run_epoch(
    state: State,
    model: nn.Module,
    settings: Settings,
    processes: Processes,
    images: torch.Tensor | LazyImages,
    labels: torch.Tensor,
    bar: Progress,
) -> tuple[float, float]:
    """Mean loss and accuracy of one pass over the training images; `model` is the state's, wrapped for the processes."""
    recipe = settings.recipe
    model.train()
    order = _batches(processes.from_first(torch.randperm(len(images))), settings)
    processes.seed_apart(settings.seed, len(state.history))
    total_loss = torch.zeros((), dtype=torch.float64, device=settings.device)
    correct = torch.zeros((), dtype=torch.int64, device=settings.device)
    for step, chosen in enumerate(order, start=len(state.history) * len(order)):
        set_learning_rate(state.optimizer, recipe.learning_rate, step, recipe.epochs * len(order), recipe.warmup)
        of_all, chosen = len(chosen), processes.share_of(chosen.to(settings.device))
        batch_images, kept = _prepare(_batch_of(images, chosen), recipe)
        batch_labels = labels[chosen]
        with mixed_precision(settings.device, recipe.precision):
            logits = model(batch_images)
        loss = _loss(logits.float(), batch_labels, kept, recipe.label_smoothing)
        state.optimizer.zero_grad()
        # Shares may differ by an image; with these weights the mean over the processes is the mean over the batch.
        (loss * (len(chosen) * processes.count / of_all)).backward()
        state.optimizer.step()
        total_loss += loss.detach() * len(chosen)
        correct += (logits.detach().argmax(dim=1) == batch_labels).sum()
        bar.advance()
    processes.agree(state.model)
    total_loss, correct = processes.total(total_loss), processes.total(correct)
    tensors = state.model.state_dict().values()
    finite = math.isfinite(float(total_loss)) and all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
    check_finite(finite, f"training of {settings.model!r}", state.history, recipe.learning_rate)
    return float(total_loss) / len(images), int(correct) / len(images)


def _batches(order: torch.Tensor, settings: Settings) -> list[torch.Tensor]:
    """Parts of the batch size; a last part that is too short joins the one before, as one image alone cannot be normalised."""
    size = settings.recipe.batch_size
    parts = list(order.split(size))
    if size > 1 and len(parts) > 1 and len(parts[-1]) < 2 * settings.processes:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _check_batches(state: State, settings: Settings, images: int) -> None:
    smallest = min(settings.recipe.batch_size, images)
    if settings.processes > 1 and smallest < 2 * settings.processes:
        raise UsageError(
            f"a batch of model {settings.model!r} would have {smallest} images for {settings.processes} processes; give a "
            f"batch_size of at least {2 * settings.processes}"
        )
    if smallest == 1 and any(isinstance(module, _BatchNorm) for module in state.model.modules()):
        raise UsageError(
            f"a batch of model {settings.model!r} would have 1 image, but batch normalisation needs at least 2; give a "
            "larger batch_size"
        )


def _batch_of(images: torch.Tensor | LazyImages, chosen: torch.Tensor) -> torch.Tensor:
    """Images of these indices, on the device of the indices."""
    if isinstance(images, torch.Tensor):
        return images[chosen]
    return in_memory(images[chosen.cpu().numpy()]).to(chosen.device)


def _prepare(images: torch.Tensor, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Augmented images as the network takes them, in the recipe's memory order, and the fraction that `cut_mix` kept of each."""
    images, kept = augment(images, recipe.augmentation, torch.default_generator), None
    if recipe.mixing == "cutmix":
        images, kept = cut_mix(images, torch.default_generator)
    order = torch.channels_last if recipe.channels_last else torch.contiguous_format
    return pixel_values(images).contiguous(memory_format=order), kept


def _loss(logits: torch.Tensor, labels: torch.Tensor, kept: torch.Tensor | None, smoothing: float) -> torch.Tensor:
    """Mean cross-entropy; of mixed images with both labels."""
    if kept is None:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    own, other = (
        functional.cross_entropy(logits, of, label_smoothing=smoothing, reduction="none")
        for of in (labels, labels.flip(0))
    )
    return (kept * own + (1 - kept) * other).mean()


def _description(dataset: Dataset) -> dict[str, Any]:
    return {
        "source": dataset.source,
        "class_names": list(dataset.class_names),
        "validation_seed": VALIDATION_SEED,
        "train_accuracy": None,
        "test_accuracy": None,
    }
