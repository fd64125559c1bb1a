"""What the readers of data sets share: where they look, and what they return."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .lazy_images import Images

DATA_VARIABLE = "RMP_LAVA_DATA"

Part = tuple[Images, np.ndarray]
"""Images (N, C, H, W) as in `Dataset`, and labels, int64 (N,)."""


@dataclass(frozen=True, eq=False)
class Found:
    """A data set that was read: its two parts, the classes, what it is (without a folder), and the file or folder."""

    train: Part
    test: Part
    class_names: tuple[str, ...]
    source: str
    path: Path


def chosen_path(directory: str | os.PathLike[str] | None) -> Path | None:
    """The folder or file from the argument, or else from the environment variable; None if neither is given."""
    chosen = os.environ.get(DATA_VARIABLE) if directory is None else directory
    return Path(chosen) if chosen else None
