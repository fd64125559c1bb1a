"""What the passes share that compare spikes with activations on calibration images."""

from __future__ import annotations

import numpy as np

from ..network import SpikingNetwork

THRESHOLD_IMAGES = 512
"""Training images for thresholds and biases unless the caller chooses a number."""
CALIBRATION_IMAGES = 128
"""Images whose spikes are compared with activations; the distributions of activations use all images."""
CURRENTS_BYTES = 2**30
"""Memory for a layer's input currents, which are computed again where they do not fit."""
_CALIBRATION_BYTES = 2**28


def calibration_images(network: SpikingNetwork) -> int:
    """Number of images whose spikes are compared with activations, fewer where a layer is very large."""
    largest = max(layer.size for layer in network)
    return int(np.clip(_CALIBRATION_BYTES // (4 * largest), 8, CALIBRATION_IMAGES))


def channel_means(values: np.ndarray) -> np.ndarray:
    """(channels,) means of (channels, height, width), or the values of a flat population."""
    means: np.ndarray = values.reshape(len(values), -1).mean(axis=1)
    return means
