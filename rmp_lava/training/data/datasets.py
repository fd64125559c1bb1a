"""The data sets that are known by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...choices import DatasetName, options
from ...errors import UsageError
from ...files import StrPath
from . import cifar, events, fashion_mnist, imagenet
from .dataset import Dataset, stratified_holdout
from .events import EVENT_DATASETS

DATASETS = options(DatasetName)

_TEST_FRACTION_OF_DIGITS = 0.25


def load(name: str, directory: StrPath | None = None, seed: int = 0, *, steps: int | None = None) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : str
        'digits': 1,797 digits of 8x8 pixels that this package has (E. Alpaydin, C. Kaynak, UCI 1998), a quarter of each class
        held out as test part. 'fashion-mnist': 28x28 images (Xiao, Rasul, Vollgraf, 2017) with their own test part.
        'cifar10', 'cifar100': 3x32x32 images (A. Krizhevsky, 2009) with their own test part, as uint8. 'imagenet': images
        in class folders (Russakovsky et al., IJCV 2015), 3x224x224 from their centre, decoded when they are needed.
        'nmnist' (Orchard et al., 2015), 'dvs-gesture' (Amir et al., CVPR 2017), 'shd' (Cramer et al., 2020): events, read by
        Tonic and counted in `steps` time steps, 2x34x34, 2x128x128 and 700.
    directory : path-like, optional
        Where the data are stored; the digits need none. Fashion-MNIST: a folder with the four idx files (gzip or not), or the
        folder given to torchvision. CIFAR-10 and CIFAR-100: that folder, one of the download's own (such as
        `cifar-10-batches-py`), or images in `train/<class>/` and `test/<class>/` of a folder or a .zip file. ImageNet: a
        folder of `train/<class>/` and `val/<class>/`. Events: what Tonic calls `save_to`. If omitted, the environment variable
        RMP_LAVA_DATA and, for Fashion-MNIST, Debian's package `dataset-fashion-mnist` are tried.
    seed : int
        Seed of the digits' test split, independent of a training's seed. Accuracies compare only at equal seeds.
    steps : int, optional
        Time steps of events, 16 if omitted; other data sets have none.

    Returns
    -------
    Dataset

    Raises
    ------
    UsageError
        If the name is unknown, the seed is out of range, a directory is given for the digits, or Tonic is missing.
    DataError
        If files are missing or malformed.
    """
    if name == "digits":
        if directory is not None:
            raise UsageError(
                f"the digits are part of this package, but directory {directory} was given; leave it out (--data-dir)"
            )
        return _load_digits(seed)
    if name == "fashion-mnist":
        return fashion_mnist.read(directory)
    if name in ("cifar10", "cifar100"):
        return cifar.read(cifar.CIFAR10 if name == "cifar10" else cifar.CIFAR100, directory)
    if name == "imagenet":
        return imagenet.read(directory)
    if name in EVENT_DATASETS:
        return events.read(name, directory, events.STEPS if steps is None else steps)
    raise UsageError(f"data set {name!r} is unknown; choose one of {', '.join(DATASETS)}")


def _load_digits(seed: int) -> Dataset:
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        images = (file["images"] / 16).astype(np.float32)[:, None]
        labels = file["labels"].astype(np.int64)
    train, test = stratified_holdout(labels, _TEST_FRACTION_OF_DIGITS, seed)
    return Dataset(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=tuple(map(str, range(10))),
        source=f"the 1,797 digits of UCI's test part, a quarter held out with seed {seed}",
    )
