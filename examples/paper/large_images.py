"""Images for the paper's large networks: real ones, or synthetic ones that even untrained networks respond to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rmp_lava.errors import UsageError
from rmp_lava.sources.images import from_dataset
from rmp_lava.training.data import as_float, load
from rmp_lava.training.data.lazy_images import Images
from rmp_lava.training.models import model_spec

UNTRAINED = "synthetic, untrained: no accuracy"
_BLOCK_BYTES = 2**28
"""Memory for images that are decoded and run together."""
_SETTLING_BATCH = 8


@dataclass(frozen=True, eq=False)
class Shown:
    """Float32 training images for calibration; test images (M, C, H, W), possibly on disk; int64 labels or None."""

    calibration: np.ndarray
    test: Images
    labels: np.ndarray | None
    what: str


def blocks(images: Images) -> Iterator[tuple[slice, np.ndarray]]:
    """(slice, float32 images) for blocks of images that fit into bounded memory."""
    size = max(1, _BLOCK_BYTES // (4 * int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), size):
        some = slice(start, min(start + size, len(images)))
        yield some, as_float(images[some])


def load_images(settings: dict[str, Any], directory: str | None) -> Shown:
    """The images of a job; raises `DataError` or `UsageError` if the data set is not the paper's."""
    seed, shape = settings["seed"], model_spec(settings["model"]).input_shape
    if directory is None:
        images = synthetic_images(shape, settings["calibration"] + settings["images"], seed)
        calibration, test = np.split(images, [settings["calibration"]])
        return Shown(calibration, test, None, UNTRAINED if settings["checkpoint"] is None else "synthetic: no accuracy")
    dataset, classes = load(settings["data_set"], directory), settings["options"]["classes"]
    if len(dataset.class_names) != classes:
        raise UsageError(
            f"data set {dataset.name!r} in {dataset.place} has {len(dataset.class_names)} classes, but {classes} are required; "
            "give a folder with all of them"
        )
    images = from_dataset(dataset)
    calibration, _ = images.calibration(min(settings["calibration"], len(images.train_images)), seed)
    count = len(dataset.test_images)
    chosen = np.random.default_rng(seed).permutation(count)[: settings["images"]]
    what = f"{dataset.source}, {len(chosen):,} of {count:,} test images"
    what += "" if settings["checkpoint"] is not None else "; untrained: no accuracy"
    return Shown(calibration, dataset.test_images[chosen], dataset.test_labels[chosen], what)


def synthetic_images(shape: tuple[int, int, int], count: int, seed: int) -> np.ndarray:
    """Noise at every scale, from four blobs per side to single pixels, float32 (count, *shape) in [0, 1].

    A deep network would average out pure pixel noise.
    """
    random = np.random.default_rng(seed)
    channels, height, width = shape
    total = np.zeros((count, *shape), dtype=np.float32)
    side, share = 4, 0.5
    while True:
        rows, columns = (np.arange(n) * side // n for n in (height, width))
        noise = random.random((count, channels, side, side), dtype=np.float32)
        total += share * noise[:, :, rows[:, None], columns[None, :]]
        if side >= max(height, width):
            return total / total.max()
        side, share = min(2 * side, max(height, width)), share / 2


def settle(model: nn.Module, images: np.ndarray) -> None:
    """Set the statistics of batch normalisation from these images; with the initial ones, untrained layers are silent."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with torch.no_grad():
        for start in range(0, len(images) - 1 if norms else 0, _SETTLING_BATCH):
            model(torch.from_numpy(images[start : start + _SETTLING_BATCH]))
    model.eval()
