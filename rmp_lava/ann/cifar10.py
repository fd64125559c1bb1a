"""CIFAR-10 (A. Krizhevsky, 2009): where it lies, in which of its layouts, and what is in it.

Three layouts are read: the Python download (`cifar-10-batches-py`, as torchvision leaves it), the binary download
(`cifar-10-batches-bin`), and one image file per picture in `train/<class>/` and `test/<class>/` of a folder or of a
.zip file. The last is often JPEG; `Dataset.source` says so, because accuracies on re-encoded images do not compare to
the last tenth with those on the original.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import DataError
from .cifar_batches import read_binary_batches, read_pickled_batches
from .image_files import FolderImages, ZipImages, read_images
from .places import DATA_VARIABLE, named_place

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)

_PYTHON, _BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
_FOLDERS = ("", "cifar10", "CIFAR10", "cifar-10")
_ZIP_PATTERNS = ("cifar10*.zip", "cifar-10*.zip", "CIFAR10*.zip", "CIFAR-10*.zip")

Part = tuple[np.ndarray, np.ndarray]
Found = tuple[Part, Part, str, Path]


def read(directory: str | os.PathLike | None) -> Found:
    """Training part, test part, what they are and where they were read from.

    A part is images (uint8, (N, 3, 32, 32)) and labels (int64). Raises `DataError` if files are missing or malformed.
    """
    place = named_place(directory)
    if place is None:
        raise DataError(
            f"CIFAR-10 does not come with this package; fetch it with torchvision and name its folder with --data-dir "
            f"or {DATA_VARIABLE}"
        )
    if os.path.isfile(place):
        return _read_zip(place)
    for folder in (place / name for name in _FOLDERS):
        found = _read_folder(folder)
        if found is not None:
            return found
    archives = sorted({file for pattern in _ZIP_PATTERNS for file in place.glob(pattern)})
    if len(archives) > 1:
        names = ", ".join(file.name for file in archives)
        raise DataError(f"folder {place} holds several .zip files of CIFAR-10 ({names}); name the file that is meant")
    if archives:
        return _read_zip(archives[0])
    raise DataError(
        f"CIFAR-10 was not found in {place}; name a folder that holds {_PYTHON}, {_BINARY}, or train/<class>/ and "
        "test/<class>/, or a .zip file of the latter"
    )


def _read_folder(folder: Path) -> Found | None:
    """The data set in one of its layouts, the original before re-encoded images; None if the folder holds none."""
    for name, first, reader in (
        (_PYTHON, "data_batch_1", read_pickled_batches),
        (_BINARY, "data_batch_1.bin", read_binary_batches),
    ):
        for candidate in (folder / name, folder):
            if os.path.exists(candidate / first):
                train, test = reader(candidate)
                return train, test, "CIFAR-10", candidate
    if os.path.isdir(folder / "train") and os.path.isdir(folder / "test"):
        return _read_image_files(FolderImages(folder))
    return None


def _read_zip(path: Path) -> Found:
    with ZipImages(path) as source:
        return _read_image_files(source)


def _read_image_files(source: FolderImages | ZipImages) -> Found:
    parts = read_images(source, ("train", "test"), CLASSES, SHAPE, "reading CIFAR-10")
    kinds = "/".join(source.kinds)
    return parts[0], parts[1], f"CIFAR-10 ({kinds})", source.path
