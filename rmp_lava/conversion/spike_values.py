"""Spike values (thresholds in units of the activation) at which T steps say a layer's activations best."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import ConversionError
from .analog import AnalogNetwork, activations

# Logarithmic bins, 1 % wide: a distribution of any number of activations in constant memory.
_BINS_PER_E_FOLD = 100
_LOWEST, _HIGHEST = np.log(1e-9), np.log(1e9)
_BIN_COUNT = int((_HIGHEST - _LOWEST) * _BINS_PER_E_FOLD)
_CENTRES = np.exp(_LOWEST + (np.arange(_BIN_COUNT) + 0.5) / _BINS_PER_E_FOLD)
_CANDIDATES = 128
_SMALLEST_SHARE = 0.01
"""Candidates lie between this share of the largest activation and all of it."""


def least_error_spike_values(
    analog: AnalogNetwork, images: np.ndarray, steps: int, *, batch: int = 32
) -> dict[str, float]:
    """For each spiking layer the spike value with the least squared error of its rates over `steps`.

    Parameters
    ----------
    analog : AnalogNetwork
    images : numpy.ndarray
        float32 (N, *input shape) in [0, 1], training images.
    steps : int
        T. A neuron from half a threshold says T + 1 values, 0 to the spike value.
    batch : int
        Images that are computed together.

    Returns
    -------
    dict of str to float
        By layer name, in units of the layer's activation.

    Raises
    ------
    ConversionError
        If a layer has no positive activation.
    """
    counts = {m.layer.name: np.zeros(_BIN_COUNT, np.int64) for m in analog.layers if m.layer.neurons.reset != "none"}
    for _, name, values in activations(analog, images, batch=batch):
        if name in counts:
            positive = values[values > 0]
            bins = ((positive.log() - _LOWEST) * _BINS_PER_E_FOLD).long().clamp(0, _BIN_COUNT - 1)
            counts[name] += torch.bincount(bins, minlength=_BIN_COUNT).cpu().numpy()
    return {name: _least_error(name, count, steps) for name, count in counts.items()}


def _least_error(name: str, count: np.ndarray, steps: int) -> float:
    used = np.flatnonzero(count)
    if not len(used):
        raise ConversionError(
            f"layer {name!r} has no positive activation on the calibration images, so it would never spike; use more "
            "images, or train the network again"
        )
    values, weights = _CENTRES[used], count[used]
    candidates = values[-1] * np.geomspace(_SMALLEST_SHARE, 1, _CANDIDATES)
    said = np.clip(np.ceil(values / candidates[:, None] * steps + 0.5) - 1, 0, steps) * candidates[:, None] / steps
    return float(candidates[(weights * (said - values) ** 2).sum(axis=1).argmin()])
