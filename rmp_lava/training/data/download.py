"""Fetch data sets through torchvision, which verifies the checksums that it knows of them."""

from __future__ import annotations

from typing import Any

from ...errors import DataError, UsageError, first_line
from ...files import StrPath
from .dataset import Dataset
from .datasets import load
from .reading import DATA_VARIABLE, chosen_path

DOWNLOADS = {"fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
"""Data set -> torchvision's class."""


def download(name: str, directory: StrPath | None = None) -> Dataset:
    """Fetch a data set into a folder, unless it is there already, and read it.

    Parameters
    ----------
    name : str
        A key of `DOWNLOADS`.
    directory : path-like, optional
        Folder, made if missing; the one that the environment variable RMP_LAVA_DATA names if omitted.

    Raises
    ------
    UsageError
        If torchvision does not fetch this data set, or no folder is given.
    DataError
        If torchvision is missing, or the download fails or is not what it should be.
    """
    if name not in DOWNLOADS:
        raise UsageError(f"data set {name!r} cannot be fetched; choose one of {', '.join(DOWNLOADS)}")
    folder = chosen_path(directory)
    if folder is None:
        raise UsageError(f"no folder is given for data set {name!r}; pass --data-dir FOLDER, or set {DATA_VARIABLE}")
    kind = getattr(_torchvision(), DOWNLOADS[name])
    try:
        for train in (True, False):
            kind(str(folder), train=train, download=True)
    except Exception as error:  # torchvision, its archives and the network raise anything
        raise DataError(
            f"torchvision could not fetch {name} into {folder} ({first_line(error)}); check the connection and the folder, or "
            "copy the data set there from elsewhere"
        ) from error
    return load(name, folder)


def _torchvision() -> Any:
    try:
        from torchvision import datasets
    except Exception as error:  # of another PyTorch it raises RuntimeError
        raise DataError(
            f"data sets are fetched through torchvision, which cannot be imported ({first_line(error)}); "
            "pip install torchvision, or copy the data set from elsewhere and name its folder with --data-dir"
        ) from None
    return datasets
