"""A study's own images: four arrays in a folder of .npy files, or in one .npz file."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ..choices import StudyArray, options
from ..encoding import event_counts, unsuitable_values
from ..errors import DataError, first_line
from ..sources.images import MAX_IMAGE_BYTES, ImageSplit, load_array
from ..training.data.dataset import VALIDATION_SEED, stratified_holdout
from ..training.data.lazy_images import checksum

ARRAYS = options(StudyArray)
_FREE_AXES = 5
"""Images have at most four; with five they are events over time."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Images of a user; as `rmp_lava.training.data.Dataset` where both have a field, but of any shape.

    train_images, test_images : (N, *shape), float32 in [0, 1] or uint8 pixels; or events, int8 (N, T, *shape).
    train_labels, test_labels : int64 (N,).
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str

    @property
    def located(self) -> str:
        """Where they are, for messages."""
        return self.source

    @property
    def takes_events(self) -> bool:
        """Whether the images are events over time."""
        return self.train_images.dtype == np.int8

    @property
    def fingerprint(self) -> int:
        """CRC-32 of the training images and labels."""
        return checksum(self.train_labels, checksum(self.train_images))

    def split(self, validation_fraction: float) -> ImageSplit:
        """The training images, of which a share is held out, as of a data set."""
        kept, out = stratified_holdout(self.train_labels, validation_fraction, VALIDATION_SEED)
        images, labels = self.train_images, self.train_labels
        what = f"images of {self.source}"
        return ImageSplit(images[kept], labels[kept], images[out], labels[out], (), what, {"images": self.source})


def read_arrays(path: Path) -> Arrays:
    """The arrays of `ARRAYS`; .npy files are mapped into memory, and nothing is unpickled.

    Raises
    ------
    DataError
        If one is missing, damaged, too large, or not what it has to be.
    """
    if path.is_dir():
        found = {name: load_array(path / f"{name}.npy") for name in ARRAYS}
    else:
        found = {name: _of_archive(path, name) for name in ARRAYS}
    images = {name: _images(found[name], f"{name} of {path}") for name in ("train_images", "test_images")}
    train, test = images.values()
    if (train.shape[1:], train.dtype == np.int8) != (test.shape[1:], test.dtype == np.int8):
        raise DataError(
            f"{path} has train_images {train.dtype} {train.shape}, but test_images {test.dtype} {test.shape}; give both the "
            "same shape, and events as int8"
        )
    train_labels, test_labels = (
        _labels(found[f"{part}_labels"], len(images[f"{part}_images"]), f"{part}_labels of {path}")
        for part in ("train", "test")
    )
    return Arrays(train, train_labels, test, test_labels, path.name)


def _of_archive(path: Path, name: str) -> np.ndarray:
    """An array of a .npz file, whose size is known before memory is allocated for it."""
    limit = f"at most {MAX_IMAGE_BYTES >> 30} GiB"
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(f"{name}.npy").file_size
            with archive.open(f"{name}.npy") as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(member)
            if dtype.hasobject or not 0 < prod(shape) * dtype.itemsize <= min(size, MAX_IMAGE_BYTES):
                raise ValueError(f"{dtype} {shape} in {size:,} bytes; an array of numbers, {limit}, is expected")
            with archive.open(f"{name}.npy") as member:
                return np.lib.format.read_array(member, allow_pickle=False)
    except KeyError:
        raise DataError(f"{path} has no array {name}; save {', '.join(ARRAYS)} with numpy.savez") from None
    except Exception as error:  # a damaged archive or header fails in any way
        raise DataError(f"{name} of {path} cannot be read ({first_line(error)}); save it with numpy.savez") from None


def _images(values: np.ndarray, what: str) -> np.ndarray:
    if values.dtype.kind not in "fiub" or values.ndim < 2 or not values.size:
        raise DataError(
            f"{what} is {values.dtype} {values.shape}; give numbers (N, C, H, W), (N, H, W) or (N, features)"
        )
    if values.dtype == np.int8 or values.ndim == _FREE_AXES:
        return event_counts(values)
    unsuitable = unsuitable_values(values)
    if unsuitable is not None:
        raise DataError(f"{what} contains {unsuitable[0]}; {unsuitable[1]}")
    return values if values.dtype == np.uint8 else values.astype(np.float32, copy=False)


def _labels(labels: np.ndarray, count: int, what: str) -> np.ndarray:
    if (
        labels.shape != (count,)
        or labels.dtype.kind not in "iu"
        or not 0 <= int(labels.min()) <= int(labels.max()) < 2**31
    ):
        raise DataError(
            f"{what} is {labels.dtype} {labels.shape}; give each of the {count:,} images the index of its class"
        )
    return np.asarray(labels, dtype=np.int64)
