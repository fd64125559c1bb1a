"""Train a network whose operations were replaced, with the original as the teacher, before it is converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..files import StrPath
from ..tables import Table, Tabular, table
from ..training.loop import EpochRecord
from ..training.resume import check_checkpoint_path, plain_history
from .distillation import Labelled, Learning, accuracy, learn
from .learning_session import REPLACEMENT, State, checksum, weights_checksum
from .replacement import Change
from .tracing.undisturbed import plain_copy


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
    learning: Learning,
    *,
    distill: bool = True,
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
    learning : Learning
    distill : bool
        Learn the original's outputs as well as the labels.
    validation : tuple of (images, labels), optional
        To measure accuracies on; else the training images are.
    checkpoint_path, resume, on_epoch, progress
        As `rmp_lava.training.train.train` takes them.

    Raises
    ------
    UsageError
        If the training diverges, or the checkpoint comes from other arguments.
    CheckpointError
        If the checkpoint cannot be read or written.
    """
    settings = asdict(learning) | {
        "distill": distill,
        "network": weights_checksum(model),
        "data": checksum(*data),
        "validation": None if validation is None else checksum(*validation),
        "changes": [list(vars(change).values()) for change in changes],
    }
    check_checkpoint_path(checkpoint_path, resume)
    original = plain_copy(model).to(learning.device)
    student.to(learning.device)
    measured = data if validation is None else validation
    before = accuracy(original, *measured), accuracy(student, *measured)
    optimizer = torch.optim.Adam(student.parameters(), lr=learning.learning_rate)
    state = State(student, optimizer, original if distill else None)
    if resume and checkpoint_path is not None:
        REPLACEMENT.resume(checkpoint_path, state, settings)

    def is_finite() -> bool:
        return all(bool(parameter.isfinite().all()) for parameter in student.parameters())

    learn(
        state,
        learning,
        data,
        validation,
        what="training after the replacement",
        is_finite=is_finite,
        save=None if checkpoint_path is None else lambda: REPLACEMENT.save(checkpoint_path, state, settings),
        on_epoch=on_epoch,
        progress=progress,
    )
    where = "training images" if validation is None else "held-out images"
    after = state.history[-1].validation_accuracy
    after = accuracy(student, *measured) if after is None else after
    return Replacement(student.cpu(), changes, where, *before, after, tuple(state.history))
