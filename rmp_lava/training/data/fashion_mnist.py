"""Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017), read from its four idx files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...errors import DataError
from .idx import read_idx
from .reading import DATA_VARIABLE, Found, chosen_path

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


def read(directory: str | os.PathLike[str] | None) -> Found:
    """Images are float32 (N, 1, 28, 28) in [0, 1]. Raises `DataError` if files are missing or malformed."""
    files = _find(directory)
    train_images, train_labels, test_images, test_labels = files
    return Found(
        (_images(train_images), _labels(train_labels)),
        (_images(test_images), _labels(test_labels)),
        CLASSES,
        "Fashion-MNIST idx files",
        files[0].parent,
    )


def _find(directory: str | os.PathLike[str] | None) -> list[Path]:
    """The four files, in the order of `_FILES`, in the first folder that has any of them."""
    folders = _folders(directory)
    for folder in folders:
        files = {name: file for name in _FILES if (file := _existing(folder / name)) is not None}
        if len(files) == len(_FILES):
            return list(files.values())
        if files:
            missing = [name for name in _FILES if name not in files]
            raise DataError(f"Fashion-MNIST in {folder} lacks {', '.join(missing)} (plain or .gz); fetch it again")
    raise DataError(
        f"Fashion-MNIST was not found in {', '.join(map(str, folders))}; `apt install dataset-fashion-mnist`, or fetch "
        f"it with torchvision and name its folder with --data-dir or {DATA_VARIABLE}"
    )


def _folders(directory: str | os.PathLike[str] | None) -> list[Path]:
    path = chosen_path(directory)
    layouts = [] if path is None else [path / "FashionMNIST" / "raw", path]
    # Where the caller names a folder, no other one is tried.
    return layouts if directory is not None else [*layouts, _DEBIAN_FOLDER]


def _existing(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(path.name + ".gz")) if os.path.exists(file)), None)


def _images(file: Path) -> np.ndarray:
    images = read_idx(file, (28, 28))[:, None].astype(np.float32)  # (N, 1, 28, 28)
    images /= 255
    return images


def _labels(file: Path) -> np.ndarray:
    return read_idx(file, ()).astype(np.int64)
