"""A training that learns the labels, and the outputs of a teacher: tuning and training after a replacement share it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..choices import Augmentation, Precision
from ..progress import Progress
from ..training.data.augment import augment
from ..training.data.lazy_images import Images
from ..training.loop import (
    EpochRecord,
    check_finite,
    evaluate,
    in_memory,
    mixed_precision,
    pixel_values,
    run_epochs,
    set_learning_rate,
)
from ..training.resume import check_settings
from .learning_session import State

TEMPERATURE = 2.0
BATCH = 100
"""Images that accuracy is measured on at once: their spikes have to fit into memory."""
Labelled = tuple[Images, np.ndarray]
"""Images and their classes."""


@dataclass(frozen=True)
class Learning:
    """How a training learns: with Adam, and a learning rate that falls to zero along half a cosine.

    Raises `UsageError` for a value out of range. `learning_rate` is that of the first step, `seed` that of the order of images,
    of augmentation and of dropout; `device` is as `rmp_lava.training.train.train` takes it, the rest as
    `rmp_lava.training.recipe.Recipe` does.
    """

    epochs: int = 5
    learning_rate: float = 1e-4
    batch_size: int = 128
    augmentation: Augmentation = "none"
    precision: Precision = "float32"
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_settings(**vars(self))


class MeanOutput(nn.Module):
    """Several networks as one teacher: the mean of their outputs."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([network(images) for network in self.networks]).mean(0)


def accuracy(model: nn.Module, images: Images, labels: np.ndarray) -> float:
    """Accuracy of a network on labelled images, in [0, 1]."""
    return evaluate(model, images, labels.astype(np.int64), BATCH)


def learn(
    state: State,
    learning: Learning,
    data: Labelled,
    validation: Labelled | None,
    *,
    what: str,
    is_finite: Callable[[], bool],
    follow: Callable[[], None] = lambda: None,
    save: Callable[[], None] | None,
    on_epoch: Callable[[EpochRecord], None] | None,
    progress: bool,
) -> None:
    """Run the epochs that the history lacks, each with random numbers of its own, so that a resumed training draws the same.

    Parameters
    ----------
    what : str
        Names the training in messages and on the progress bar.
    is_finite : callable
        Whether the parameters still are; if not, or if the loss is not, `UsageError` is raised.
    follow : callable
        Called before and after each epoch: updates what follows from the parameters in jumps.
    save, on_epoch
        As `rmp_lava.training.loop.run_epochs` takes them.
    """

    def epoch(bar: Progress) -> EpochRecord:
        follow()
        state.model.train()
        with torch.random.fork_rng():
            torch.manual_seed(learning.seed + len(state.history))  # of dropout
            loss, trained = _run_epoch(state, learning, data, bar, is_finite, what)
        state.model.eval()
        follow()
        validated = None if validation is None else accuracy(state.model, *validation)
        return EpochRecord(len(state.history) + 1, loss, trained, validated)

    batches = math.ceil(len(data[0]) / learning.batch_size)
    label = f"{what}, batches"
    run_epochs(
        state.history, learning.epochs, batches, epoch, label=label, shown=progress, save=save, on_epoch=on_epoch
    )


def _run_epoch(
    state: State, learning: Learning, data: Labelled, bar: Progress, is_finite: Callable[[], bool], what: str
) -> tuple[float, float]:
    """Mean loss in nats and accuracy in [0, 1] of one pass over training images, in an order that the seed determines.

    The loss is the cross-entropy with the labels; with a teacher the mean of it and of `TEMPERATURE`**2 times the divergence of
    the outputs divided by `TEMPERATURE` (Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015).
    """
    images, labels = data
    total_loss, correct = 0.0, 0
    seed = int(np.random.SeedSequence([learning.seed, len(state.history)]).generate_state(1)[0])
    generator = torch.Generator().manual_seed(seed)
    order = [each.numpy() for each in torch.randperm(len(images), generator=generator).split(learning.batch_size)]
    for step, chosen in enumerate(order, start=len(state.history) * len(order)):
        set_learning_rate(state.optimizer, learning.learning_rate, step, learning.epochs * len(order))
        batch = augment(image_batch(images, chosen, learning.device), learning.augmentation, generator)
        target = torch.from_numpy(labels[chosen].astype(np.int64)).to(learning.device)
        with mixed_precision(learning.device, learning.precision):
            outputs = state.model(batch)
        loss = functional.cross_entropy(outputs.float(), target)
        if state.teacher is not None:
            loss = (loss + _divergence(state.teacher, learning, batch, outputs.float())) / 2
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        check_finite(math.isfinite(loss.item()) and is_finite(), what, state.history, learning.learning_rate)
        total_loss += loss.item() * len(chosen)
        correct += int((outputs.detach().argmax(dim=1) == target).sum())
        bar.advance()
    return total_loss / len(images), correct / len(images)


def _divergence(teacher: nn.Module, learning: Learning, batch: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence from the teacher's softened outputs, with gradients as large as the cross-entropy's."""
    with torch.no_grad(), mixed_precision(learning.device, learning.precision):
        wanted = teacher(batch).float()
    wanted, found = ((each / TEMPERATURE).log_softmax(dim=1) for each in (wanted, outputs))
    return TEMPERATURE**2 * functional.kl_div(found, wanted, reduction="batchmean", log_target=True)


def image_batch(images: Images, chosen: np.ndarray, device: str) -> torch.Tensor:
    """Some images as float32 pixel values."""
    return pixel_values(in_memory(images[chosen]).to(device))
