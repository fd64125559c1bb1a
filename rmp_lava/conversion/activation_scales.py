"""Activation scales of layers, from the distributions of their activations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import ConversionError
from ..network import SpikingNetwork
from .analog import AnalogNetwork, activations
from .histogram import Histogram


def distributions(
    network: SpikingNetwork | AnalogNetwork, images: np.ndarray, channels: Mapping[str, int]
) -> dict[str, Histogram]:
    """Distributions of the activations of some layers.

    Parameters
    ----------
    network : SpikingNetwork or AnalogNetwork
        Float, in analog form.
    images : numpy.ndarray
        float32 (N, *input shape) in [0, 1], training images.
    channels : mapping of str to int
        Layer name -> number of channels with a distribution each; 1 for a joint distribution.
    """
    found = {name: Histogram(count) for name, count in channels.items()}
    for _, name, values in activations(network, images):
        if name in found:
            found[name].add(values.movedim(1, 0).reshape(found[name].channels, -1))
    return found


def least_error_scales(analog: AnalogNetwork, images: np.ndarray, steps: int) -> dict[str, float]:
    """For each spiking layer the activation scale with the least squared error of its rates over T = `steps`.

    Raises
    ------
    ConversionError
        If a layer has no positive activation.
    """
    spiking = {layer.name: 1 for layer in analog.network if layer.neurons.reset != "none"}
    values = {name: float(each.least_error(steps)[0]) for name, each in distributions(analog, images, spiking).items()}
    for name, value in values.items():
        if value <= 0:
            raise ConversionError(
                f"layer {name!r} has no positive activation on the calibration images, so it would never spike; use more "
                "images, or train the network again"
            )
    return values
