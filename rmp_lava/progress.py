"""Progress bars on terminals; nothing is printed elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType


class Progress:
    """A progress bar on standard error, as a context manager.

    label : What is in progress.
    total : Number of units.
    shown : False: never show it. True: show it on a terminal.
    """

    def __init__(self, label: str, total: int, *, shown: bool = True) -> None:
        self._bar = None
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeRemainingColumn

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(label, total=total)

    def advance(self, units: int = 1) -> None:
        """Add units to those done."""
        if self._bar is not None:
            self._bar.advance(self._task, units)

    def update(self, done: int) -> None:
        """Set the number of units done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
