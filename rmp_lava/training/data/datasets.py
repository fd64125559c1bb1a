"""Data sets: images, labels, and splits that keep test images out of training and calibration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DataError, UsageError
from ...tables import Table, Tabular, table
from . import cifar, fashion_mnist, imagenet
from .lazy_images import Images, LazyImages, checksum
from .reading import Found

DATASETS = ("digits", "fashion-mnist", "cifar10", "cifar100", "imagenet")
# Properties of the data set, not of a training: trainings with different seeds hold out the same images.
VALIDATION_FRACTION = 0.1
VALIDATION_SEED = 0

_TEST_FRACTION_OF_DIGITS = 0.25
_CIFAR = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Tabular):
    """A labelled image data set with a fixed test part.

    Attributes
    ----------
    name : str
        Name as `load` takes it.
    train_images, test_images : numpy.ndarray or LazyImages
        Shape (N, C, H, W): float32 in [0, 1], or uint8 that means value / 255, at a quarter of the memory. Images that do not
        fit into memory stay on disk (`lazy_images`) and are selected like an array. Networks and `rmp_lava.run` take float32
        only; `as_float` converts.
    train_labels, test_labels : numpy.ndarray
        int64, shape (N,), each an index of `class_names`.
    class_names : tuple of str
    source : str
        What the data is, for reports and checkpoints; without a folder, as these are passed on.
    place : Path or None
        The folder or file from which it was read.

    Raises
    ------
    DataError
        If an array is not as described.
    """

    name: str
    train_images: Images
    train_labels: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    place: Path | None = None

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            what = f"{part} part of data set {self.name!r} ({self.located})"
            _check_images(getattr(self, f"{part}_images"), what)
            _check_labels(getattr(self, f"{part}_labels"), len(getattr(self, f"{part}_images")), self.class_names, what)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"data set {self.name!r} has training images of shape {self.train_images.shape[1:]} but test images of "
                f"shape {self.test_images.shape[1:]}; they must agree"
            )

    def table(self) -> Table:
        """Its parts, with the number and kind of their images."""
        parts = (("train", self.train_images, self.train_labels), ("test", self.test_images, self.test_labels))
        rows = [
            (name, "x".join(map(str, images.shape[1:])), images.dtype, f"{len(images):,}", len(np.unique(labels)))
            for name, images, labels in parts
        ]
        title = f"Data set {self.name!r}: {len(self.class_names)} classes, {self.located}"
        return table(title, ("part", "shape", "dtype", "images", "classes"), rows, text_columns=3)

    @property
    def located(self) -> str:
        """What the data is and where it is stored, for messages on this machine."""
        return self.source if self.place is None else f"{self.source} in {self.place}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width

    @property
    def fingerprint(self) -> int:
        """CRC-32 of the training images (of images on disk: of their names) and labels, to recognise other data."""
        return checksum(self.train_labels, checksum(self.train_images))


@dataclass(frozen=True, eq=False)
class Split:
    """The training part of a data set, divided, without any test image; shapes, dtypes and ranges as in `Dataset`."""

    train_images: Images
    train_labels: np.ndarray
    validation_images: Images
    validation_labels: np.ndarray


def load(name: str, directory: str | os.PathLike[str] | None = None, seed: int = 0) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : str
        'digits': the 1,797 8x8 digits inside scikit-learn (E. Alpaydin, C. Kaynak, UCI 1998), a quarter of each class
        held out as test part. 'fashion-mnist': 28x28 images (Xiao, Rasul, Vollgraf, 2017) with their own test part.
        'cifar10', 'cifar100': 3x32x32 images (A. Krizhevsky, 2009) with their own test part, as uint8. 'imagenet': images
        in class folders (Russakovsky et al., IJCV 2015), 3x224x224 from their centre, decoded when they are needed.
    directory : path-like, optional
        Where the data are stored; the digits need none. Fashion-MNIST: a folder with the four idx files (gzip or not), or the
        folder given to torchvision. CIFAR-10 and CIFAR-100: that folder, one of the download's own (such as
        `cifar-10-batches-py`), or images in `train/<class>/` and `test/<class>/` of a folder or a .zip file. ImageNet: a
        folder of `train/<class>/` and `val/<class>/`. If omitted, the environment variable RMP_LAVA_DATA and, for
        Fashion-MNIST, Debian's package `dataset-fashion-mnist` are tried.
    seed : int
        Seed of the digits' test split, independent of a training's seed. Accuracies compare only at equal seeds.

    Returns
    -------
    Dataset

    Raises
    ------
    UsageError
        If the name is unknown, the seed is out of range, or a directory is given for the digits.
    DataError
        If files are missing or malformed.
    """
    if name == "digits":
        if directory is not None:
            raise UsageError(
                f"the digits come with scikit-learn, but directory {directory} was given; leave it out (--data-dir)"
            )
        return _load_digits(seed)
    if name == "fashion-mnist":
        return _dataset(name, fashion_mnist.read(directory))
    if name in _CIFAR:
        return _dataset(name, cifar.read(_CIFAR[name], directory))
    if name == "imagenet":
        return _dataset(name, imagenet.read(directory))
    raise UsageError(f"data set {name!r} is unknown; choose one of {', '.join(DATASETS)}")


def _dataset(name: str, found: Found) -> Dataset:
    return Dataset(
        name=name,
        train_images=found.train[0],
        train_labels=found.train[1],
        test_images=found.test[0],
        test_labels=found.test[1],
        class_names=found.class_names,
        source=found.source,
        place=found.path,
    )


def as_float(images: Images) -> np.ndarray:
    """Images of a `Dataset` as float32 values in [0, 1], shape as given; float32 images are not copied.

    Images on disk are decoded; raises `DataError` if that fails, or if they do not fit into memory.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        images = images.astype(np.float32)
        images /= 255
    return images


def split_validation(dataset: Dataset, fraction: float = VALIDATION_FRACTION, seed: int = VALIDATION_SEED) -> Split:
    """Divide the training part of a data set, each class in proportion; the test part is never touched.

    With the default fraction and seed this is the split of `train`: no weight was trained on its validation images, so they
    may be used to choose thresholds and time steps.

    Parameters
    ----------
    dataset : Dataset
    fraction : float
        Fraction of each class that becomes validation images, between 0 and 1, both excluded.
    seed : int
        Seed of the choice, 0 to 2^32 - 1.

    Raises
    ------
    UsageError
        If the fraction or the seed is out of range, or one side is left empty.
    """
    if not 0.0 < fraction < 1.0:
        raise UsageError(f"validation fraction is {fraction}; give one between 0 and 1, both excluded")
    kept, held_out = _stratified_holdout(dataset.train_labels, fraction, seed)
    if not len(kept) or not len(held_out):
        raise UsageError(
            f"validation fraction {fraction} leaves {len(kept)} training and {len(held_out)} validation images of data "
            f"set {dataset.name!r}; both need at least one, so choose another fraction"
        )
    images, labels = dataset.train_images, dataset.train_labels
    return Split(images[kept], labels[kept], images[held_out], labels[held_out])


def _stratified_holdout(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to keep and indices to hold out, each ascending; of each class the rounded fraction is held out."""
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UsageError(f"split seed is {seed!r}; give an integer from 0 to {2**32 - 1:,}")
    # RandomState, because its stream is frozen for all versions of NumPy; that of default_rng is not.
    random = np.random.RandomState(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held_out[random.permutation(members)[: round(fraction * len(members))]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _load_digits(seed: int) -> Dataset:
    # Imported here: scikit-learn takes a second to import, and only this data set needs it.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    train, test = _stratified_holdout(labels, _TEST_FRACTION_OF_DIGITS, seed)
    return Dataset(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=tuple(str(name) for name in bunch.target_names),
        source=f"scikit-learn load_digits(), a quarter held out with seed {seed}",
    )


def _check_images(images: Images, what: str) -> None:
    if isinstance(images, LazyImages) and len(images):
        return  # their pixels are uint8, and each file is checked when it is read
    allowed = (np.float32, np.uint8)
    if not isinstance(images, np.ndarray) or images.dtype not in allowed or images.ndim != 4 or images.size == 0:
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"{what} has images {found}; give a non-empty float32 or uint8 array (N, C, H, W)")
    if images.dtype == np.uint8:
        return
    low, high = images.min(), images.max()
    # Written so that NaN fails too.
    if not (low >= 0 and high <= 1):
        raise DataError(f"{what} has pixels from {low} to {high}; allowed are 0 to 1, so scale the images")


def _check_labels(labels: np.ndarray, count: int, class_names: tuple[str, ...], what: str) -> None:
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.ndim != 1:
        found = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise DataError(f"{what} has labels {found}; give an int64 array (N,)")
    if len(labels) != count:
        raise DataError(f"{what} has {count} images but {len(labels)} labels; each image needs one")
    low, high = labels.min(), labels.max()
    if low < 0 or high >= len(class_names):
        raise DataError(f"{what} has labels from {low} to {high}; allowed are 0 to {len(class_names) - 1}")
