"""Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017): where its four idx files lie, and what is in them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...errors import DataError
from .idx import read_idx
from .places import DATA_VARIABLE, named_place

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

Part = tuple[np.ndarray, np.ndarray]


def read(directory: str | os.PathLike | None) -> tuple[Part, Part, Path]:
    """Training part, test part and their folder; a part is images (uint8, (N, 1, 28, 28)) and labels (int64).

    Raises `DataError` if files are missing or malformed.
    """
    files = _find(directory)
    train_images, train_labels, test_images, test_labels = files
    return (
        (_images(train_images), _labels(train_labels)),
        (_images(test_images), _labels(test_labels)),
        files[0].parent,
    )


def _find(directory: str | os.PathLike | None) -> list[Path]:
    """The four files, in the order of `_FILES`, in the first folder that has any of them."""
    folders = _folders(directory)
    for folder in folders:
        files = [_existing(folder / name) for name in _FILES]
        missing = [name for name, file in zip(_FILES, files, strict=True) if file is None]
        if not missing:
            return files
        if len(missing) < len(_FILES):
            raise DataError(f"Fashion-MNIST in {folder} lacks {', '.join(missing)} (plain or .gz); fetch it again")
    raise DataError(
        f"Fashion-MNIST was not found in {', '.join(map(str, folders))}; `apt install dataset-fashion-mnist`, or fetch "
        f"it with torchvision and name its folder with --data-dir or {DATA_VARIABLE}"
    )


def _folders(directory: str | os.PathLike | None) -> list[Path]:
    place = named_place(directory)
    layouts = [] if place is None else [place / "FashionMNIST" / "raw", place]
    # A folder that the caller names is meant: another one is never taken instead.
    return layouts if directory is not None else [*layouts, _DEBIAN_FOLDER]


def _existing(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(path.name + ".gz")) if os.path.exists(file)), None)


def _images(file: Path) -> np.ndarray:
    return read_idx(file, (28, 28))[:, None]


def _labels(file: Path) -> np.ndarray:
    return read_idx(file, ()).astype(np.int64)
