"""Where results go: tables to the terminal, JSON to a file or standard output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ..training.loop import EpochRecord


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write a result as JSON to a file or standard output; nothing for None."""
    if path is None:
        return
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        print(text, end="")
        return
    from ..files import write_atomically

    write_atomically(path, text.encode("utf-8"), UsageError)


def epoch_reporter(console: Console, epochs: int) -> Callable[[EpochRecord], None]:
    """A function that prints the record of each epoch of a training."""
    from ..words import percent

    def report(record: EpochRecord) -> None:
        accuracies = (
            f"training {percent(record.train_accuracy, 2)}, validation {percent(record.validation_accuracy, 2)}"
        )
        console.print(f"Epoch {record.epoch} of {epochs}: loss {record.loss:.4f}, {accuracies}")

    return report


def console_for(json_path: Path | None) -> Console:
    """The console for tables: standard error if JSON goes to standard output."""
    from ..report.tables import console

    return console(stderr=str(json_path) == "-")
