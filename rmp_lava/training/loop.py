"""The loop that training and fine-tuning share: epochs, learning rate, precision, accuracy."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..choices import Precision
from ..errors import DataError, UsageError
from ..progress import Progress
from .data.lazy_images import Images, LazyImages

log = logging.getLogger(__name__)

EVALUATION_BATCH = 500
_IMAGE_VALUES = 3 * 32 * 32
"""A batch has fewer images where they are larger than this: their activations have to fit into memory."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: its number from 1, mean loss in nats, accuracies in [0, 1].

    `train_accuracy` is measured during the epoch, with dropout and changing weights; a mixed image counts with the label of
    the image that a part of another was put into. `validation_accuracy` is measured after the epoch; None without
    validation images.
    """

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float | None


def run_epochs(
    history: list[EpochRecord],
    epochs: int,
    batches: int,
    run_epoch: Callable[[Progress], EpochRecord],
    *,
    label: str,
    shown: bool,
    save: Callable[[], None] | None,
    on_epoch: Callable[[EpochRecord], None] | None,
) -> None:
    """Run the epochs that `history` lacks, and append their records.

    After each epoch `save` writes the checkpoint, then `on_epoch` is called. An interruption (Ctrl-C) passes through, so the
    checkpoint of the last complete epoch stays valid. The progress bar counts `batches` per epoch.
    """
    with Progress(label, epochs * batches, shown=shown, done=len(history) * batches) as bar:
        while len(history) < epochs:
            history.append(run_epoch(bar))
            log.info("%s, epoch %d of %d: %s", label, len(history), epochs, vars(history[-1]))
            if save is not None:
                save()
            if on_epoch is not None:
                on_epoch(history[-1])


def check_finite(finite: bool, what: str, history: list[EpochRecord], rate: float) -> None:
    """Raise `UsageError` before a diverged training overwrites the last good checkpoint."""
    if not finite:
        raise UsageError(
            f"{what} diverged in epoch {len(history) + 1} with learning rate {rate}; give a smaller learning rate"
        )


def set_learning_rate(
    optimizer: torch.optim.Optimizer, highest: float, step: int, steps: int, warmup: float = 0.0
) -> None:
    """Set the learning rate of step number `step`, from 0, of a training of `steps` steps; see `learning_rate`."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(highest, step, steps, warmup)


def learning_rate(highest: float, step: int, steps: int, warmup: float = 0.0) -> float:
    """A learning rate that rises linearly in a fraction `warmup` of the steps, then falls to zero along half a cosine.

    A formula and not a scheduler object, so that there is no scheduler state to save and restore.
    """
    progress = step / steps
    if progress < warmup:
        return highest * min(1.0, (step + 1) / (warmup * steps))
    fallen = (progress - warmup) / (1 - warmup)
    return highest * (1 + math.cos(math.pi * fallen)) / 2


def mixed_precision(device: str, precision: Precision) -> torch.autocast:
    """The context in which layers compute in bfloat16 where PyTorch's autocast does so; nothing changes for 'float32'."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16")


@torch.no_grad()
def evaluate(
    model: nn.Module,
    images: Images | torch.Tensor,
    labels: np.ndarray | torch.Tensor,
    batch_size: int | None = None,
) -> float:
    """Accuracy of a network in [0, 1], in evaluation mode; the mode is restored afterwards.

    `model` maps images (N, C, H, W), as in `Dataset`, to logits (N, K); `labels` are int64 (N,). `batch_size` is the number of
    images of up to 3 x 32 x 32 at once, `EVALUATION_BATCH` if omitted. Raises `DataError` if there are no images, or not as
    many labels.
    """
    if not len(images) or len(images) != len(labels):
        raise DataError(f"{len(images)} images and {len(labels)} labels were given; give equally many, at least one")
    labels = torch.as_tensor(labels)
    most = EVALUATION_BATCH if batch_size is None else batch_size
    size = max(1, min(most, most * _IMAGE_VALUES // math.prod(images.shape[1:])))
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    was_training = model.training
    model.eval()
    try:
        correct = 0
        for start in range(0, len(images), size):
            batch = in_memory(images[start : start + size]).to(device)
            predicted = model(pixel_values(batch)).argmax(dim=1)
            correct += int((predicted == labels[start : start + size].to(device)).sum())
    finally:
        model.train(was_training)
    return correct / len(images)


def in_memory(images: Images | torch.Tensor) -> torch.Tensor:
    """Images as a tensor, decoded if they are on disk."""
    return torch.as_tensor(np.asarray(images) if isinstance(images, LazyImages) else images)


def pixel_values(images: torch.Tensor) -> torch.Tensor:
    """`rmp_lava.training.data.as_float` for tensors."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
