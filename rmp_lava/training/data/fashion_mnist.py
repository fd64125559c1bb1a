"""Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017), read from its four idx files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...files import StrPath
from .dataset import Dataset, as_float
from .idx import read_idx
from .reading import DATA_VARIABLE, chosen_path

CLASSES = tuple("T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(","))

_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


def read(directory: StrPath | None) -> Dataset:
    """Images are float32 (N, 1, 28, 28) in [0, 1]. Raises `DataError` if files are missing or malformed."""
    files = _find(directory)
    arrays = (read_idx(file, tail) for file, tail in zip(files, ((28, 28), ()) * 2, strict=True))
    train, train_labels, test, test_labels = arrays
    return Dataset(
        "fashion-mnist",
        as_float(train[:, None]),
        train_labels.astype(np.int64),
        as_float(test[:, None]),
        test_labels.astype(np.int64),
        CLASSES,
        "Fashion-MNIST idx files",
        files[0].parent,
    )


def _find(directory: StrPath | None) -> list[Path]:
    """The four files, in the order of `_FILES`, in the first folder that has any of them."""
    path = chosen_path(directory)
    folders = [] if path is None else [path / "FashionMNIST" / "raw", path]
    if directory is None:  # where the caller names a folder, no other one is tried
        folders.append(_DEBIAN_FOLDER)
    for folder in folders:
        files = {name: file for name in _FILES if (file := _existing(folder / name)) is not None}
        if len(files) == len(_FILES):
            return list(files.values())
        if files:
            missing = [name for name in _FILES if name not in files]
            raise DataError(f"Fashion-MNIST in {folder} lacks {', '.join(missing)} (plain or .gz); fetch it again")
    raise DataError(
        f"Fashion-MNIST was not found in {', '.join(map(str, folders))}; name its folder with --data-dir or {DATA_VARIABLE}, "
        "`apt install dataset-fashion-mnist`, or fetch it through torchvision with `rmp-lava zoo --download fashion-mnist "
        "--data-dir FOLDER`"
    )


def _existing(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(path.name + ".gz")) if os.path.exists(file)), None)
