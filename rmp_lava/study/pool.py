"""What executes jobs, in any order, and returns them as they finish; here this process, one job after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from .job import Job, Outcome
from .jobs import execute


class Pool(Protocol):
    """Jobs may be submitted while others are awaited."""

    @property
    def workers(self) -> int:
        """How many jobs are executed at once, at present; at least 1, for estimates."""

    def submit(self, job: Job) -> None:
        """Execute a job at some time."""

    def finished(self) -> Iterator[tuple[Job, Outcome]]:
        """Each job that was submitted, as it finishes; ends when none is left."""


class InProcess:
    """This process.

    Parameters
    ----------
    folder : Path
        Of the store.
    threads : int
        Of PyTorch.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.folder, self.threads, self.workers = folder, threads, 1
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Append a job."""
        self._waiting.append(job)

    def finished(self) -> Iterator[tuple[Job, Outcome]]:
        """Execute the jobs in the order of their submission."""
        while self._waiting:
            job = self._waiting.popleft()
            yield job, execute(job, str(self.folder), self.threads)
