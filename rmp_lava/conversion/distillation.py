"""One epoch of a training that learns the labels, and the outputs of a teacher: tuning and replacing share it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..choices import Augmentation, Precision
from ..progress import Progress
from ..training.data.augment import augment
from ..training.data.lazy_images import Images
from ..training.loop import EpochRecord, check_finite, in_memory, mixed_precision, pixel_values, set_learning_rate

TEMPERATURE = 2.0
Labelled = tuple[Images, np.ndarray]
"""Images and their classes."""


class Settings(Protocol):
    """What an epoch needs of the settings of a training, see `rmp_lava.training.recipe.Recipe`."""

    @property
    def epochs(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def augmentation(self) -> Augmentation: ...
    @property
    def precision(self) -> Precision: ...
    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> str: ...


def run_epoch(
    model: nn.Module,
    teacher: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    data: Labelled,
    history: Sequence[EpochRecord],
    bar: Progress,
    is_finite: Callable[[], bool],
    what: str,
) -> tuple[float, float]:
    """Mean loss in nats and accuracy in [0, 1] of one pass over training images, in an order that the seed determines.

    The loss is the cross-entropy with the labels; with a teacher the mean of it and of `TEMPERATURE`**2 times the divergence of
    the outputs divided by `TEMPERATURE` (Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015).
    `is_finite` tells whether the parameters still are; if not, or if the loss is not, `UsageError` is raised.
    """
    images, labels = data
    total_loss, correct = 0.0, 0
    # A generator of its own for each epoch, so that a resumed training draws the same numbers.
    seed = int(np.random.SeedSequence([settings.seed, len(history)]).generate_state(1)[0])
    generator = torch.Generator().manual_seed(seed)
    order = [each.numpy() for each in torch.randperm(len(images), generator=generator).split(settings.batch_size)]
    for step, chosen in enumerate(order, start=len(history) * len(order)):
        set_learning_rate(optimizer, settings.learning_rate, step, settings.epochs * len(order))
        batch = augment(image_batch(images, chosen, settings.device), settings.augmentation, generator)
        target = torch.from_numpy(labels[chosen].astype(np.int64)).to(settings.device)
        with mixed_precision(settings.device, settings.precision):
            outputs = model(batch)
        loss = functional.cross_entropy(outputs.float(), target)
        if teacher is not None:
            loss = (loss + _divergence(teacher, settings, batch, outputs.float())) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        check_finite(math.isfinite(loss.item()) and is_finite(), what, list(history), settings.learning_rate)
        total_loss += loss.item() * len(chosen)
        correct += int((outputs.detach().argmax(dim=1) == target).sum())
        bar.advance()
    return total_loss / len(images), correct / len(images)


def _divergence(teacher: nn.Module, settings: Settings, batch: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence from the teacher's softened outputs, with gradients as large as the cross-entropy's."""
    with torch.no_grad(), mixed_precision(settings.device, settings.precision):
        wanted = teacher(batch).float()
    wanted, found = ((each / TEMPERATURE).log_softmax(dim=1) for each in (wanted, outputs))
    return TEMPERATURE**2 * functional.kl_div(found, wanted, reduction="batchmean", log_target=True)


def image_batch(images: Images, chosen: np.ndarray, device: str) -> torch.Tensor:
    """Some images as float32 pixel values."""
    return pixel_values(in_memory(images[chosen]).to(device))
