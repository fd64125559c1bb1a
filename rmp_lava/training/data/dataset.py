"""A data set in memory or on disk, and its division into training and validation images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...encoding import mean_frames, pixel_values
from ...errors import DataError, UsageError
from ...tables import Table, Tabular, table
from .lazy_images import Images, LazyImages, checksum

# Properties of the data set, not of a training: trainings with different seeds hold out the same images.
VALIDATION_FRACTION = 0.1
VALIDATION_SEED = 0


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Tabular):
    """A labelled image data set with a fixed test part.

    Attributes
    ----------
    name : str
        Name as `load` takes it.
    train_images, test_images : numpy.ndarray or LazyImages
        Shape (N, C, H, W): float32 in [0, 1], or uint8 that means value / 255, at a quarter of the memory. Images that do not
        fit into memory stay on disk (`lazy_images`) and are selected like an array. PyTorch networks take float32
        only; `as_float` converts. Or events, int8 (N, T, *image shape), of which networks take the mean over time (`frames`).
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
        if self.takes_events != (self.test_images.dtype == np.int8):
            found = ("events", "images") if self.takes_events else ("images", "events")
            raise DataError(
                f"data set {self.name!r} has {found[0]} for training, but {found[1]} for testing; both are the same, events int8"
            )
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
    def takes_events(self) -> bool:
        """Whether images are events over time."""
        return self.train_images.dtype == np.int8

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image, such as (C, H, W)."""
        return self.train_images.shape[2 if self.takes_events else 1 :]

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


def draw(available: int, count: int | None, usual: int, seed: int, what: str) -> np.ndarray:
    """Indices of images drawn at random, because data sets may be sorted by class: `count`, or up to `usual` where it is None.

    Raises
    ------
    UsageError
        If there are fewer images.
    """
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be 0 or more")
    if count is not None and not 1 <= count <= available:
        raise UsageError(f"{what} takes {count} images; allowed are 1..{available}")
    count = min(usual, available) if count is None else count
    return np.random.default_rng(seed).permutation(available)[:count]


def as_float(images: Images) -> np.ndarray:
    """Images of a `Dataset` as float32 values in [0, 1], shape as given; float32 images are not copied, events stay int8.

    Images on disk are decoded; raises `DataError` if that fails, or if they do not fit into memory.
    """
    images = np.asarray(images)
    return images if images.dtype == np.int8 else pixel_values(images)


def frames(images: Images) -> Images:
    """Images of a `Dataset` as networks are trained on them: as they are, or the means of events over time, float32."""
    return mean_frames(images) if isinstance(images, np.ndarray) and images.dtype == np.int8 else images


def split_validation(dataset: Dataset, fraction: float = VALIDATION_FRACTION, seed: int = VALIDATION_SEED) -> Split:
    """Divide the training part of a data set, each class in proportion; the test part is never touched.

    With the default fraction and seed this is the split of `train`: no weight was trained on its validation images, so they
    may be used to choose thresholds and time steps. Raises `UsageError` unless the fraction is between 0 and 1, the seed is 0 to
    2^32 - 1, and both sides get an image.
    """
    if not 0.0 < fraction < 1.0:
        raise UsageError(f"validation fraction is {fraction}; give one between 0 and 1, both excluded")
    kept, held_out = stratified_holdout(dataset.train_labels, fraction, seed)
    if not len(kept) or not len(held_out):
        raise UsageError(
            f"validation fraction {fraction} leaves {len(kept)} training and {len(held_out)} validation images of data "
            f"set {dataset.name!r}; both need at least one, so choose another fraction"
        )
    images, labels = dataset.train_images, dataset.train_labels
    return Split(images[kept], labels[kept], images[held_out], labels[held_out])


def stratified_holdout(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
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


def _check_images(images: Images, what: str) -> None:
    if isinstance(images, LazyImages) and len(images):
        return  # their pixels are uint8, and each file is checked when it is read
    if isinstance(images, np.ndarray) and images.dtype == np.int8 and images.ndim > 2 and images.size:
        if images.min() < 0:
            raise DataError(f"{what} has {images.min()} events in a step; numbers of events are 0 or more")
        return
    allowed = (np.float32, np.uint8)
    if not isinstance(images, np.ndarray) or images.dtype not in allowed or images.ndim != 4 or images.size == 0:
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(
            f"{what} has images {found}; give a non-empty float32 or uint8 array (N, C, H, W), or events, int8 (N, T, C, H, W)"
        )
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
