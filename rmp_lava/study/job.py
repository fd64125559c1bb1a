"""A job as a value, and what became of it; importing them needs no PyTorch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Values = Mapping[str, Any]
"""JSON values."""


@dataclass(frozen=True)
class Job:
    """One measurement.

    Parameters
    ----------
    function : callable
        Of settings, places and the path, without suffix, at which it may store a file; returns JSON values. Its module has to be
        importable wherever it is executed.
    settings : mapping
        JSON values that determine the outcome.
    places : mapping
        JSON values that do not: paths.
    about : mapping
        What people want to know of it, and estimates compare.
    units : int
        Its size, in which durations of similar jobs compare.
    """

    function: Callable[[Values, Values, Path], dict[str, Any]]
    settings: Values
    places: Values = field(default_factory=dict)
    about: Values = field(default_factory=dict)
    units: int = 1

    @property
    def kind(self) -> str:
        """The function's name."""
        return self.function.__name__

    @property
    def key(self) -> str:
        """Kind and hash of the settings: a path in a store."""
        text = json.dumps(dict(self.settings), sort_keys=True)
        return f"{self.kind}/{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def __str__(self) -> str:
        return f"{self.kind} of " + ", ".join(f"{name} {value}" for name, value in self.about.items())


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the whole measurement, or an error of one sentence, and its traceback if it is a defect."""

    content: dict[str, Any] | None
    error: str = ""
    trace: str = ""
