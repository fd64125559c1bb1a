"""Synthetic images that even untrained networks respond to, and untrained networks that respond."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rmp_lava.conversion.outputs import trained_outputs
from rmp_lava.study.arrays import ARRAYS
from rmp_lava.training.checkpoint import save_checkpoint
from rmp_lava.training.models import model_spec

_SETTLING_BATCH = 8


def write_untrained(
    name: str, options: dict[str, object], folder: Path, *, images: int, calibration: int, seed: int
) -> tuple[Path, Path]:
    """Write an untrained network of `rmp_lava.training.models.MODELS`, and synthetic images with its predictions as labels.

    Returns
    -------
    tuple of Path
        NAME.pt and NAME.npz in the folder, the latter as a study takes it. Accuracy is then the share of equal predictions.
    """
    torch.manual_seed(seed)
    model = model_spec(name).build(**options).eval()
    # Of the first part, a tenth of each class is held out.
    shown = synthetic_images(model_spec(name).input_shape, 2 * calibration + images, seed)
    settle(model, shown[:calibration])
    labels = trained_outputs(model, shown).argmax(axis=1)
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(place.with_suffix(".pt"), model_name=name, model=model, options=options, metadata={})
    train, test = shown[: 2 * calibration], shown[2 * calibration :]
    arrays = (train, labels[: len(train)], test, labels[len(train) :])
    np.savez(place.with_suffix(".npz"), **dict(zip(ARRAYS, arrays, strict=True)))
    return place.with_suffix(".pt"), place.with_suffix(".npz")


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
