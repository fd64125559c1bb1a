"""Activation scales of layers, from the distributions of their activations, which take constant memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..errors import ConversionError
from ..network import SpikingNetwork
from .analog import AnalogNetwork, activations

_LOWEST, _HIGHEST = np.log(1e-9), np.log(1e9)
_FINE, _COARSE = 1000, 100
"""Bins per e-fold: 0.1 % wide for one distribution, 1 % where every channel has its own."""
_CANDIDATES = 128
_SMALLEST_SHARE = 0.01
"""Candidates of `least_error` lie between this share of the largest number and all of it."""


class Histogram:
    """How often which positive numbers occur, channel by channel, in logarithmic bins.

    Parameters
    ----------
    channels : int

    Attributes
    ----------
    largest : numpy.ndarray
        (channels,) float64, the largest number seen, or -inf.
    """

    def __init__(self, channels: int = 1) -> None:
        self.channels = channels
        self._per_e_fold = _FINE if channels == 1 else _COARSE
        self._bins = int((_HIGHEST - _LOWEST) * self._per_e_fold)
        self._counts = np.zeros((channels, self._bins), dtype=np.int64)
        self.largest = np.full(channels, -np.inf)

    def add(self, values: torch.Tensor, *, repeated: int = 1) -> None:
        """Count values (channels, n), each `repeated` times; those of 0 and less count as seen only in `largest`."""
        self.largest = np.maximum(self.largest, values.amax(dim=1).double().cpu().numpy())
        bins = (values.clamp(min=1e-30).log().sub_(_LOWEST).mul_(self._per_e_fold)).long().clamp_(0, self._bins - 1)
        bins += torch.arange(self.channels, device=values.device)[:, None] * self._bins
        found = torch.bincount(bins[values > 0], minlength=self.channels * self._bins)
        self._counts += found.cpu().numpy().reshape(self._counts.shape) * repeated

    def percentile(self, percentile: float) -> np.ndarray:
        """(channels,) the number that so many per cent of the positive ones do not exceed; 0 where there is none."""
        if percentile >= 100:
            return np.maximum(self.largest, 0.0)
        needed = percentile / 100 * self._counts.sum(axis=1)
        places = np.array([row.cumsum().searchsorted(n) for row, n in zip(self._counts, needed, strict=True)])
        upper = np.exp(_LOWEST + (places + 1) / self._per_e_fold)
        return np.where(needed > 0, np.minimum(upper, self.largest), 0.0)

    def least_error(self, steps: int) -> np.ndarray:
        """(channels,) the activation scale with the least squared error of rates over `steps`; 0 if no value is positive.

        A neuron that starts at half its threshold represents T + 1 values, 0 to its scale, as in Bu et al. (ICLR 2022).
        """
        return np.array([self._least_error(row, steps) for row in self._counts])

    def _least_error(self, counts: np.ndarray, steps: int) -> float:
        used = np.flatnonzero(counts)
        if not len(used):
            return 0.0
        values, weights = np.exp(_LOWEST + (used + 0.5) / self._per_e_fold), counts[used]
        candidates = values[-1] * np.geomspace(_SMALLEST_SHARE, 1, _CANDIDATES)
        represented = (
            np.clip(np.ceil(values / candidates[:, None] * steps + 0.5) - 1, 0, steps) * candidates[:, None] / steps
        )
        return float(candidates[(weights * (represented - values) ** 2).sum(axis=1).argmin()])


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
