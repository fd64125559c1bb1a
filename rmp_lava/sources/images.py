"""The images of a command: those of a data set, or the user's own arrays."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..conversion.calibration import THRESHOLD_IMAGES
from ..encoding import check_images, event_counts, make_input, shaped
from ..errors import DataError, RmpLavaWarning, UsageError, first_line
from ..network import SpikingNetwork
from ..scores import UNLABELLED, check_classes
from ..training.data import VALIDATION_FRACTION, Dataset, as_float, draw, load, split_validation
from ..training.data.lazy_images import Images

if TYPE_CHECKING:  # PyTorch is not imported where nothing is converted
    from .models import TrainedModel

MAX_IMAGE_BYTES = 2**33
VALIDATION_IMAGES = 1000
"""Images to measure stages on unless the user chooses a number: they are simulated, which takes long."""
_HELD_OUT = 0.1


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Training images to convert with, and validation images to measure with; no test images.

    Attributes
    ----------
    train_images, validation_images : numpy.ndarray or LazyImages
        (N, *shape), float32 in [0, 1], or uint8 that represents value / 255; images of a large data set stay on disk. Events are
        int8 (N, T, *shape).
    train_labels, validation_labels : numpy.ndarray or None
        Of any kind in `rmp_lava.scores`, int64 where there is one integer for each image; None if the user gave none.
    class_names : tuple of str
    what : str
        Describes the images in messages.
    provenance : dict
        JSON values.
    dataset : str or None
        Name of the data set that the images are from.
    validation_fraction : float or None
        Share of its training images that is held out for validation.
    """

    train_images: Images
    train_labels: np.ndarray | None
    validation_images: Images
    validation_labels: np.ndarray | None
    class_names: tuple[str, ...]
    what: str
    provenance: dict[str, Any]
    dataset: str | None = None
    validation_fraction: float | None = None

    @property
    def takes_events(self) -> bool:
        """Whether the images are events over time, int8."""
        return self.train_images.dtype == np.int8

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.train_images.shape[2 if self.takes_events else 1 :]

    @property
    def classes(self) -> int:
        """Number of classes, of the validation images too; 0 without labels, or for a regression."""
        known = [labels for labels in (self.train_labels, self.validation_labels) if labels is not None]
        return max(map(_count_classes, known), default=0)

    def names(self, network: TrainedModel) -> dict[str, Any]:
        """What a `.net` file says of a trained network and these images, as arguments of `convert` and `tune`."""
        return {
            "name": network.name,
            "class_names": self.class_names,
            "dataset": self.dataset,
            "validation_fraction": self.validation_fraction,
            "provenance": network.provenance | self.provenance,
        }

    def calibration(self, count: int | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Training images for thresholds and biases, float32 or events, and their labels if there are any.

        Drawn at random, because data sets may be sorted by class. Raises `UsageError` if there are not as many.
        """
        chosen = draw(len(self.train_images), count, THRESHOLD_IMAGES, seed, "calibration")
        labels = self.train_labels
        return as_float(self.train_images[chosen]), None if labels is None else labels[chosen]

    def validation(self, count: int | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Validation images, float32 or events, and their labels if there are any, drawn at random; raises as `calibration`."""
        chosen = draw(len(self.validation_images), count, VALIDATION_IMAGES, seed, "validation")
        labels = self.validation_labels
        return as_float(self.validation_images[chosen]), None if labels is None else labels[chosen]


def from_dataset(dataset: Dataset, validation_fraction: float = VALIDATION_FRACTION) -> ImageSplit:
    """The training part of a data set, split as `train` splits it with this fraction."""
    split = split_validation(dataset, validation_fraction)
    return ImageSplit(
        split.train_images,
        split.train_labels,
        split.validation_images,
        split.validation_labels,
        tuple(dataset.class_names),
        f"data set {dataset.name}",
        {"dataset": dataset.name, "data_source": dataset.source, "validation_fraction": validation_fraction},
        dataset.name,
        validation_fraction,
    )


def load_images(
    data: str | None,
    data_directory: Path | None,
    images: Path | None,
    labels: Path | None,
    shape: tuple[int, ...] | None,
    validation_fraction: float = VALIDATION_FRACTION,
    *,
    steps: int | None = None,
    takes_events: bool = False,
) -> ImageSplit:
    """Images to convert with, from a data set or from the user's .npy files.

    Parameters
    ----------
    data, data_directory, images, labels
        As the user gave them; one of `data` and `images`.
    shape : tuple of int or None
        Of the network's input, if known.
    validation_fraction : float
        Share of the data set that was held out in training, so that no weight depends on the validation images.
    steps : int, optional
        T, for data sets of events.
    takes_events : bool
        The user's own images are events, (N, T, *shape) numbers of events.

    Raises
    ------
    UsageError, DataError
        If they are invalid, missing, or do not fit the shape.
    """
    _refuse_both(data, data_directory, images, labels)
    if images is None:
        if data is None:
            raise UsageError("thresholds are set with training images, and none are given; pass --data or --images")
        found = from_dataset(load(data, data_directory, steps=steps), validation_fraction)
        if shape is not None and found.shape != shape:
            raise DataError(
                f"data set {data!r} has images of shape {found.shape}, but the network takes {shape}; choose the data "
                "set that it was trained on"
            )
        return found
    values = load_array(images)
    if takes_events:
        values = event_counts(shaped(values, make_input("spikes", shape or values.shape[2:])))
    else:
        values = check_images(values, make_input("current", shape or values.shape[1:]))
    return _own(values, None if labels is None else _labels(labels, len(values)), images.name)


def images_for(
    network: SpikingNetwork,
    data: str | None,
    data_directory: Path | None,
    images: Path | None,
    labels: Path | None,
    samples: int | None,
    steps: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """(images, labels or None, description): the first of the user's own images, or a data set's test images.

    A subset of the test images is drawn at random, but always the same, because data sets may be sorted by class. Events are
    counted in `steps`, or in as many time steps as the network was converted for.
    """
    if samples is not None and samples < 1:
        raise UsageError(f"samples are {samples}; run at least 1")
    _refuse_both(data, data_directory, images, labels)
    if images is not None:
        values = load_array(images)
        truth = None if labels is None else _labels(labels, len(values))[:samples]
        check_classes(network, truth, ())
        chosen = values[:samples]
        which = "all" if len(chosen) == len(values) else "the first"
        return chosen, truth, f"{which} {len(chosen):,} images of {images.name}"
    name = data or network.dataset
    if name is None:
        raise UsageError(f"network {network.name!r} does not record its data set; pass --data or --images")
    dataset = load(name, data_directory, steps=network.balanced_steps if steps is None else steps)
    check_classes(network, None, dataset.class_names)
    available = len(dataset.test_images)
    if samples is None or samples >= available:
        return as_float(dataset.test_images), dataset.test_labels, f"all {available:,} test images of {name}"
    chosen = draw(available, samples, samples, 0, "run")
    what = f"{samples:,} of {available:,} test images of {name}, drawn at random"
    return as_float(dataset.test_images[chosen]), dataset.test_labels[chosen], what


def load_array(path: Path) -> np.ndarray:
    """The array of a .npy file, mapped into memory and never unpickled; raises `DataError`."""
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file; pass a .npy file")
    with path.open("rb") as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start != np.lib.format.MAGIC_PREFIX:
        kind = "it is a .npz file of several arrays" if start[:2] == b"PK" else "it does not begin like one"
        raise DataError(f"{path} is not a readable .npy file ({kind}); save one array with numpy.save")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header fails in NumPy's parser of Python literals, in any way
        raise DataError(f"{path} is not a readable .npy file ({first_line(error)}); save it with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.nbytes > MAX_IMAGE_BYTES or not array.ndim:
        raise DataError(f"{path} is no array of at most {MAX_IMAGE_BYTES >> 30} GiB; save one array with numpy.save")
    return array


def _refuse_both(data: str | None, data_directory: Path | None, images: Path | None, labels: Path | None) -> None:
    if images is None and labels is not None:
        raise UsageError(
            "labels are given without images, but a data set has its own labels; pass --images as well, or neither"
        )
    if images is not None and data is not None:
        raise UsageError(f"both images and the data set {data!r} are given; pass one of them")
    if images is not None and data_directory is not None:
        raise UsageError(
            f"both images and the folder {data_directory} of a data set are given; leave --data-dir or --images out"
        )


def _labels(path: Path, count: int) -> np.ndarray:
    """Labels of any kind in `rmp_lava.scores`; whether they fit the network is not known yet."""
    labels = load_array(path)
    if len(labels) != count:
        raise DataError(
            f"{path} has shape {labels.shape}; expected one label per image, {count} in the first dimension"
        )
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise DataError(f"labels of {path} contain NaN or infinity; targets of a regression are finite numbers")
        if labels.ndim == 2 and labels.shape[1] > 1 and _are_one_hot(labels):
            warnings.warn(
                f"labels of {path} are targets of a regression, as floats are, but each row has a single 1; for classes, save "
                "labels.argmax(axis=1)",
                RmpLavaWarning,
                stacklevel=2,
            )
        return labels
    if labels.dtype.kind not in "iub":
        raise DataError(
            f"labels of {path} have dtype {labels.dtype}; give integers for classes, or floats for a regression"
        )
    if labels.ndim > 1:
        return labels  # of pixels, in the dtype of the file: as int64 they may not fit into memory
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < 2**63:
        raise DataError(f"labels of {path} are not all integers from 0; give each image the index of its class")
    return np.asarray(labels, dtype=np.int64)


def _are_one_hot(labels: np.ndarray) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())


def _count_classes(labels: np.ndarray) -> int:
    """One more than the largest class; 0 for a regression."""
    if labels.dtype.kind == "f":
        return 0
    if labels.ndim > 1:
        labels = labels[labels != UNLABELLED]
    return max(0, int(labels.max()) + 1) if labels.size else 0


def _own(images: np.ndarray, labels: np.ndarray | None, name: str) -> ImageSplit:
    """The user's own arrays; a tenth is held out for validation."""
    if len(images) < 2:
        raise DataError(f"{name} holds 1 image; give at least 2, of which one in ten is held out to measure on")
    # RandomState, because its stream is frozen for all versions of NumPy; that of default_rng is not.
    order = np.random.RandomState(0).permutation(len(images))
    held_out = max(1, round(_HELD_OUT * len(images)))
    kept, out = np.sort(order[held_out:]), np.sort(order[:held_out])
    return ImageSplit(
        images[kept],
        None if labels is None else labels[kept],
        images[out],
        None if labels is None else labels[out],
        (),
        f"images of {name}",
        {"images": name},
    )
