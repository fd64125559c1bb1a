"""Train a network whose operations were replaced, with the original as the teacher, before it is converted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..choices import Augmentation, Precision
from ..files import StrPath
from ..progress import Progress
from ..tables import Table, Tabular, table
from ..training.loop import EpochRecord, evaluate, run_epochs
from ..training.resume import check_checkpoint_path, check_settings, plain_history
from . import replace_session as session
from .distillation import Labelled, run_epoch
from .replacement import Change
from .tracing.undisturbed import plain_copy
from .tune_session import checksum

_SMALL_BATCHES = 100


@dataclass(frozen=True)
class ReplaceSettings:
    """Everything but data and network that determines the trained weights; raises `UsageError` for values out of range.

    `learning_rate` is that of the first step of Adam; for the rest see `rmp_lava.conversion.tune.tune`.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    augmentation: Augmentation
    precision: Precision
    seed: int
    device: str
    distill: bool

    def __post_init__(self) -> None:
        check_settings(**vars(self))


@dataclass(frozen=True, eq=False, repr=False)
class Replacement(Tabular):
    """A network with other operations, trained, and what that did to its accuracy.

    Parameters
    ----------
    model : torch.nn.Module
        Trained, in evaluation mode on the CPU.
    changes : tuple of Change
    measured_on : str
        "held-out images" or "training images".
    original_accuracy, replaced_accuracy, trained_accuracy : float
        In [0, 1], on these images: of the original network, right after the replacement, and after the training.
    history : tuple of EpochRecord
        One record per epoch.
    """

    model: nn.Module
    changes: tuple[Change, ...]
    measured_on: str
    original_accuracy: float
    replaced_accuracy: float
    trained_accuracy: float
    history: tuple[EpochRecord, ...]

    def table(self) -> Table:
        """What was replaced, by how many times, and the accuracies."""
        counts: dict[tuple[str, str], list[str]] = {}
        for change in self.changes:
            counts.setdefault((change.was, change.now), []).append(change.layer)
        rows = [(was, now, f"{len(layers)}", layers[0]) for (was, now), layers in counts.items()]
        accuracies = (self.original_accuracy, self.replaced_accuracy, self.trained_accuracy)
        before, after, trained = (f"{100 * each:.2f} %" for each in accuracies)
        title = (
            f"Replaced, then trained for {len(self.history)} epochs: accuracy {before} of the original, {after} right after the "
            f"replacement, {trained} after training ({self.measured_on})"
        )
        return table(title, ("was", "is", "times", "first layer"), rows, text_columns=2)

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "changes": [vars(change) for change in self.changes],
            "measured_on": self.measured_on,
            "original_accuracy": self.original_accuracy,
            "replaced_accuracy": self.replaced_accuracy,
            "trained_accuracy": self.trained_accuracy,
            "history": plain_history(self.history),
        }


def train_replaced(
    model: nn.Module,
    student: nn.Module,
    changes: tuple[Change, ...],
    data: Labelled,
    settings: ReplaceSettings,
    *,
    validation: Labelled | None = None,
    checkpoint_path: StrPath | None = None,
    resume: bool = False,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    progress: bool = False,
) -> Replacement:
    """Train a network whose operations were replaced to give the labels and the original's outputs.

    Parameters
    ----------
    model : torch.nn.Module
        The original; not changed.
    student, changes
        As `rmp_lava.conversion.replacement.replaced` returns them; the student is trained in place.
    data : tuple of (images, labels)
        To train with, as `rmp_lava.conversion.tune.tune` takes them.
    settings : ReplaceSettings
    validation : tuple of (images, labels), optional
        To measure accuracies on; else the training images are.
    checkpoint_path : str or Path, optional
        Written after each epoch.
    resume : bool
        Continue from the checkpoint.
    on_epoch : callable, optional
        Called after each epoch, once the checkpoint is written.
    progress : bool
        Show on standard error how far it is, see `rmp_lava.progress`.

    Raises
    ------
    UsageError
        If the training diverges, or the checkpoint comes from other arguments.
    CheckpointError
        If the checkpoint cannot be read or written.
    """
    made_with = asdict(settings) | {
        "network": session.weights_checksum(model),
        "data": checksum(*data),
        "validation": None if validation is None else checksum(*validation),
        "changes": [list(vars(change).values()) for change in changes],
    }
    check_checkpoint_path(checkpoint_path, resume)
    teacher = plain_copy(model).to(settings.device)
    student.to(settings.device)
    measured = data if validation is None else validation

    def accuracy(network: nn.Module) -> float:
        return evaluate(network, measured[0], measured[1].astype(np.int64), _SMALL_BATCHES)

    original, before = accuracy(teacher), accuracy(student)
    optimizer = torch.optim.Adam(student.parameters(), lr=settings.learning_rate)
    history: list[EpochRecord] = []
    if resume and checkpoint_path is not None:
        history = session.resume(checkpoint_path, student, optimizer, made_with)
        student.eval()

    def is_finite() -> bool:
        return all(bool(parameter.isfinite().all()) for parameter in student.parameters())

    def epoch(bar: Progress) -> EpochRecord:
        student.train()
        trained = (student, teacher if settings.distill else None, optimizer)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed + len(history))  # of dropout, so that a resumed training draws the same
            loss, training = run_epoch(
                *trained, settings, data, history, bar, is_finite, "training after the replacement"
            )
        student.eval()
        return EpochRecord(len(history) + 1, loss, training, None if validation is None else accuracy(student))

    run_epochs(
        history,
        settings.epochs,
        math.ceil(len(data[0]) / settings.batch_size),
        epoch,
        label="training after the replacement, batches",
        shown=progress,
        save=None
        if checkpoint_path is None
        else lambda: session.save(checkpoint_path, student, optimizer, history, made_with),
        on_epoch=on_epoch,
    )
    where = "training images" if validation is None else "held-out images"
    after = history[-1].validation_accuracy
    trained_accuracy = accuracy(student) if after is None else after
    return Replacement(student.cpu(), changes, where, original, before, trained_accuracy, tuple(history))
