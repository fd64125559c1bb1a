"""How well outputs match the truth: a class for each image or pixel, targets of a regression, or a network's own outputs.

    truth                                  outputs                          score
    integers (N,)                          (K,)                             classification: share of images
    integers (N, height, width)            (K, height, width)               segmentation: share of pixels, mean IoU
    floats (N,), (N, outputs), (N, *shape) any                              regression: error, correlation
    outputs of the trained network         any                              agreement

Several outputs predict the class of the largest one. A single output, or a map of one channel, tells two classes apart by its
sign. Pixels whose class is negative, or 255 where the network has no class 255, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .choices import ScoreKind
from .errors import DataError
from .network import SpikingNetwork

UNLABELLED = 255
"""Class of pixels to leave out, as in PASCAL VOC and Cityscapes."""
_CONSTANT = 1e-12
"""Values whose variance is below this share of their mean square are constant up to rounding."""
_TITLES = {
    "classification": "Accuracy",
    "segmentation": "Segmentation",
    "regression": "Regression",
    "agreement": "Agreement with the trained network",
}


@dataclass(frozen=True)
class Score:
    """What outputs reach on some images; figures that do not apply to the kind are None.

    Parameters
    ----------
    kind : {"classification", "segmentation", "regression", "agreement"}
    accuracy : float or None
        Share of images, or of pixels, whose class is right, 0..1. Agreement: whose class is that of the trained network.
    mean_iou : float or None
        Pixels of a class that are predicted as such, over those that are one or the other; the mean over the classes that
        occur, 0..1.
    error : float or None
        Root mean square of the difference over that of the targets' deviation from their mean; each output has its own mean.
        Without unit: 1 is what the mean would reach. None if no target varies.
    correlation : float or None
        Pearson's, -1..1, of the same deviations; 0 if only the targets vary, None if they do not.
    """

    kind: ScoreKind
    accuracy: float | None = None
    mean_iou: float | None = None
    error: float | None = None
    correlation: float | None = None

    def __str__(self) -> str:
        shares = (("pixels " if self.kind == "segmentation" else "", self.accuracy, 2), ("mean IoU ", self.mean_iou, 2))
        known = [f"{name}{100 * each:.{places}f} %" for name, each, places in shares if each is not None]
        known += [] if self.error is None else [f"error {100 * self.error:.1f} %"]
        known += [] if self.correlation is None else [f"correlation {self.correlation:.4f}"]
        return ", ".join(known) or "unknown, as no target varies"

    @property
    def title(self) -> str:
        """What the figures are, in words."""
        return _TITLES[self.kind]

    @property
    def figures(self) -> dict[str, float]:
        """The figures that are known, by name."""
        return {name: each for name, each in vars(self).items() if name != "kind" and each is not None}

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": self.kind} | self.figures

    def lost_to(self, later: Score) -> float:
        """What a later form of the network is worse by, as a share: the largest loss of accuracy or mean IoU, else of error."""
        pairs = ((self.accuracy, later.accuracy), (self.mean_iou, later.mean_iou))
        lost = [before - after for before, after in pairs if before is not None and after is not None]
        if not lost and self.error is not None and later.error is not None:
            lost = [later.error - self.error]
        return max(lost, default=0.0)


def score(outputs: np.ndarray, shape: tuple[int, ...], truth: np.ndarray) -> Score:
    """Compare outputs with the truth on the same images.

    Parameters
    ----------
    outputs : numpy.ndarray
        (N, outputs) or (N, *shape), in the truth's units where that is real; classes take any unit, as a larger output stays
        larger.
    shape : tuple of int
        Of one image's outputs: (outputs,) or (channels, height, width).
    truth : numpy.ndarray
        As `check_truth` takes it.

    Raises
    ------
    DataError
        If the truth does not fit the outputs.
    """
    if truth.ndim and len(truth) != len(outputs):
        raise DataError(f"there are {len(truth)} labels for {len(outputs)} images; give each image its own")
    kind, shape = check_truth(truth, shape), _with_pixels(shape, truth)
    if kind == "regression":
        return Score(kind, None, None, *_deviation(outputs, truth))
    found = classes(outputs, shape)
    if kind == "classification":
        return Score(kind, float(np.mean(found == truth)))
    known = _labelled(truth, shape)
    return Score(kind, *_overlap(found[known], truth[known].astype(np.int64)))


def agreement(outputs: np.ndarray, shape: tuple[int, ...], trained: np.ndarray, *, same_unit: bool = True) -> Score:
    """Compare outputs with those of the trained network, (N, outputs) or (N, *shape) as well.

    The accuracy is that of classes, of several outputs only. Error and correlation are left out if the two have not the
    `same_unit`.
    """
    accuracy = None
    if shape[0] > 1:
        accuracy = float(np.mean(classes(outputs, shape) == classes(trained, shape)))
    return Score("agreement", accuracy, None, *(_deviation(outputs, trained) if same_unit else (None, None)))


def classes(outputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The class that outputs predict: integers (N,), or (N, height, width) for outputs of several pixels."""
    values = outputs.reshape(len(outputs), *shape)
    found = values[:, 0] > 0 if shape[0] == 1 else values.argmax(axis=1)
    return found.astype(np.int64) if has_pixels(shape) else found.reshape(len(outputs)).astype(np.int64)


def has_pixels(shape: tuple[int, ...]) -> bool:
    """Whether outputs are maps of several pixels."""
    return int(np.prod(shape[1:])) > 1


def check_classes(
    network: SpikingNetwork, labels: np.ndarray | None, class_names: tuple[str, ...], classes: int = 0
) -> None:
    """Raise `DataError` if labels do not fit the network's outputs, see `rmp_lava.scores`, or it has other classes than they."""
    shape, outputs = network.output.shape, network.output.size
    if labels is not None:
        check_truth(np.asarray(labels), shape, f"network {network.name!r}")
    found = len(class_names) or classes
    if (class_names and found != outputs) or found > max(2, shape[0]):
        raise DataError(
            f"the images are of {found} classes, but network {network.name!r} has {shape[0]} outputs; choose the data that it "
            "was trained on"
        )


def check_truth(truth: np.ndarray, shape: tuple[int, ...], name: str = "the network") -> ScoreKind:
    """What a truth is for outputs of a shape.

    Parameters
    ----------
    truth : numpy.ndarray
        Integers (N,) or (N, height, width): classes from 0. Floats (N, outputs) or (N, *shape), without the channel too where
        there is only one: targets of a regression.
    shape : tuple of int
        Of one image's outputs.
    name : str
        Of the network, in messages.

    Returns
    -------
    {"classification", "segmentation", "regression"}

    Raises
    ------
    DataError
        If the truth does not fit the outputs.
    """
    shape = _with_pixels(shape, truth)
    one = shape[1:] if shape[0] == 1 else shape
    size = int(np.prod(shape))
    if truth.dtype.kind == "f" and truth.shape[1:] in {shape, one, (size,)} | ({()} if size == 1 else set()):
        if not np.isfinite(truth).all():
            raise DataError("labels contain NaN or infinity; targets of a regression are finite numbers")
        return "regression"
    if truth.dtype.kind in "iub":
        if truth.ndim == 1 and not has_pixels(shape):
            _check_classes(truth, shape, name)
            return "classification"
        if truth.ndim == 3 and truth.shape[1:] == shape[1:]:
            _check_pixels(truth, shape, name)
            return "segmentation"
    raise DataError(
        f"labels are {_words(truth.dtype)} of shape {truth.shape}, but {name} has outputs of shape {shape}: give "
        f"{_allowed(len(truth) if truth.ndim else 0, shape)}"
    )


def _with_pixels(shape: tuple[int, ...], truth: np.ndarray) -> tuple[int, ...]:
    """The shape of outputs that are the flattened scores (classes, height, width) of the pixels of a truth (N, height, width).

    A read-out behind an upsampling is a dense layer, which has no pixels.
    """
    pixels = int(np.prod(truth.shape[1:]))
    flat = len(shape) == 1 and truth.ndim == 3 and truth.dtype.kind in "iub"
    return (shape[0] // pixels, *truth.shape[1:]) if flat and pixels > 1 and shape[0] % pixels == 0 else shape


def _words(dtype: np.dtype) -> str:
    return {"f": "floats", "i": "integers", "u": "integers", "b": "booleans"}.get(dtype.kind, f"of dtype {dtype},")


def _allowed(count: int, shape: tuple[int, ...]) -> str:
    size, each = ((count, *shape[1:]), "pixel") if has_pixels(shape) else ((count,), "image")
    of_classes = f"integers of shape {size} for the class of each {each}"
    return f"{of_classes}, or floats of shape {(count, *shape)} for a regression"


def _check_classes(truth: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    outputs = shape[0]
    low, high = (int(truth.min()), int(truth.max())) if truth.size else (0, 0)
    if low == 1 and high == max(2, outputs):
        raise DataError(f"labels run from 1 to {high}; count classes from 0, so subtract 1")
    if low < 0:
        raise DataError(f"labels run from {low}; give each the index of its class, counted from 0")
    if outputs == 1 and high > 1:
        raise DataError(
            f"labels are integers up to {high}, but {name} has 1 output, whose sign tells class 0 from class 1; give "
            "targets of a regression as floats"
        )
    if high >= max(2, outputs):
        raise DataError(
            f"the images are of {high + 1} classes, but {name} has {outputs} outputs; choose the data that it was trained on"
        )


def _check_pixels(truth: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    known = truth[_labelled(truth, shape)]
    if not known.size:
        raise DataError(
            "no pixel of the labels has a class: all are negative or 255; give pixels their class, counted from 0"
        )
    if shape[0] <= 2 and not known.any() and (truth == UNLABELLED).any():
        raise DataError(f"labels hold only 0 and {UNLABELLED}, which leaves a pixel out; give the second class as 1")
    _check_classes(known, shape, name)


def _labelled(truth: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N, height, width) bool: pixels that have a class."""
    if truth.dtype.kind == "b":
        return np.ones(truth.shape, bool)
    known = truth >= 0
    return known if shape[0] > UNLABELLED else known & (truth != UNLABELLED)


def _overlap(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Share of equal classes, and mean intersection over union, of two flat arrays."""
    right = np.bincount(truth[found == truth])
    most = 1 + int(max(found.max(), truth.max()))
    right, of_found, of_truth = (
        np.pad(each, (0, most - len(each))) for each in (right, np.bincount(found), np.bincount(truth))
    )
    union = of_found + of_truth - right
    occurs = union > 0
    return float(right.sum() / len(truth)), float(np.mean(right[occurs] / union[occurs]))


def _deviation(outputs: np.ndarray, targets: np.ndarray) -> tuple[float | None, float | None]:
    """`Score.error` and `Score.correlation`."""
    found, wanted = (each.reshape(len(each), -1).astype(np.float64) for each in (outputs, targets))
    missed = float(np.square(found - wanted).sum())
    noise = _CONSTANT * np.square(wanted).sum(), _CONSTANT * np.square(found).sum()
    wanted -= wanted.mean(axis=0)
    found -= found.mean(axis=0)
    varied, followed = float(np.square(wanted).sum()), float(np.square(found).sum())
    if varied <= noise[0]:
        return None, None
    correlation = float((found * wanted).sum() / np.sqrt(varied * followed)) if followed > noise[1] else 0.0
    return float(np.sqrt(missed / varied)), correlation
