"""Activation scales of layers, from the distributions of their activations, which take constant memory."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import ConversionError
from ..network import Layer, SpikingNetwork
from .analog import AnalogNetwork, activations

_LOWEST, _HIGHEST = -30, 30
"""Powers of two between which numbers are told apart."""
_FINE, _COARSE = 700, 70
"""Bins per power of two: 0.1 % wide for one distribution, 1 % where every channel has its own."""
_CANDIDATES = 128
_SMALLEST_SHARE = 0.01
"""Candidates of `least_error` lie between this share of the largest number and all of it."""
_KEPT_BYTES = 2**26
"""Limit on the activations that are kept for dense layers with an activation scale per neuron."""


class Histogram:
    """How often which positive numbers occur, channel by channel, in logarithmic bins.

    Bins divide powers of two, so that a channel whose numbers are all multiplied by one has exactly the same bins, shifted.

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
        self._per_octave = _FINE if channels == 1 else _COARSE
        self._bins = (_HIGHEST - _LOWEST) * self._per_octave
        self._counts = np.zeros((channels, self._bins), dtype=np.int64)
        self.largest = np.full(channels, -np.inf)

    def add(self, values: torch.Tensor, *, repeated: int = 1) -> None:
        """Count values (channels, n), each `repeated` times; those of 0 and less count as seen only in `largest`."""
        self.largest = np.maximum(self.largest, values.amax(dim=1).double().cpu().numpy())
        mantissa, exponent = torch.frexp(values.clamp(min=1e-30))
        within = mantissa.log2_().add_(1).mul_(self._per_octave).long().clamp_(0, self._per_octave - 1)
        bins = within.add_((exponent - (_LOWEST + 1)).long(), alpha=self._per_octave).clamp_(0, self._bins - 1)
        bins += torch.arange(self.channels, device=values.device)[:, None] * self._bins
        found = torch.bincount(bins[values > 0], minlength=self.channels * self._bins)
        self._counts += found.cpu().numpy().reshape(self._counts.shape) * repeated

    def percentile(self, percentile: float) -> np.ndarray:
        """(channels,) the number that so many per cent of the positive ones do not exceed; 0 where there is none."""
        if percentile >= 100:
            return np.maximum(self.largest, 0.0)
        needed = percentile / 100 * self._counts.sum(axis=1)
        places = np.array([row.cumsum().searchsorted(n) for row, n in zip(self._counts, needed, strict=True)])
        return np.where(needed > 0, np.minimum(self._number(places, 1.0), self.largest), 0.0)

    def least_error(self, steps: int) -> np.ndarray:
        """(channels,) the activation scale with the least squared error of rates over `steps`; 0 if no value is positive."""
        found = np.zeros(self.channels)
        for channel, counts in enumerate(self._counts):
            used = np.flatnonzero(counts)
            if len(used):
                found[channel] = _least_error(self._number(used, 0.5), counts[used], steps)
        return found

    def _number(self, bins: np.ndarray, place: float) -> np.ndarray:
        """The number at a place within each bin, 0 its lower and 1 its upper limit."""
        octave, within = np.divmod(bins, self._per_octave)
        return np.ldexp(np.exp2((within + place) / self._per_octave), octave + _LOWEST)


def _least_error(values: np.ndarray, weights: np.ndarray, steps: int) -> float:
    """The activation scale with the least squared error of the rates of positive, weighted values.

    A neuron that starts at half its threshold represents T + 1 values, 0 to its scale, as in Bu et al. (ICLR 2022).
    """
    candidates = values.max() * np.geomspace(_SMALLEST_SHARE, 1, _CANDIDATES)
    represented = (
        np.clip(np.ceil(values / candidates[:, None] * steps + 0.5) - 1, 0, steps) * candidates[:, None] / steps
    )
    return float(candidates[(weights * (represented - values) ** 2).sum(axis=1).argmin()])


class EqualisedNeurons:
    """Activations of a dense layer's neurons, for an activation scale for each.

    A few hundred images hold too few positive activations of one neuron for a distribution of its own. So each neuron's
    activations are divided by its size, and the quotients of all neurons share a distribution.

    Parameters
    ----------
    neurons : int
    kept : int
        Images whose activations are kept; all count for `largest`.

    Attributes
    ----------
    largest : numpy.ndarray
        (neurons,) float64, the largest number seen, or -inf.
    """

    def __init__(self, neurons: int, kept: int) -> None:
        self.channels = neurons
        self.largest = np.full(neurons, -np.inf)
        self._left, self._kept = kept, [np.zeros((neurons, 0), np.float32)]

    def add(self, values: torch.Tensor) -> None:
        """Take activations (neurons, images)."""
        self.largest = np.maximum(self.largest, values.amax(dim=1).double().cpu().numpy())
        self._kept.append(values[:, : self._left].cpu().numpy())
        self._left = max(0, self._left - values.shape[1])

    def percentile(self, percentile: float) -> np.ndarray:
        """(neurons,) shares of the largest activations that so many per cent of the layer's positive ones do not exceed."""
        size = np.maximum(self.largest, 0.0)
        return size if percentile >= 100 else size * self._quotients(size).percentile(percentile)

    def least_error(self, steps: int) -> np.ndarray:
        """(neurons,) multiples of the neurons' sizes with the least squared error of rates; 0 without a positive activation.

        The size is the root mean square of the positive activations.
        """
        positive = np.maximum(np.concatenate(self._kept, axis=1), 0.0).astype(np.float64)
        size = np.sqrt((positive**2).sum(axis=1) / np.maximum((positive > 0).sum(axis=1), 1))
        return size * self._quotients(size).least_error(steps)

    def _quotients(self, size: np.ndarray) -> Histogram:
        """Distribution of the activations over their neuron's size."""
        found = Histogram()
        for values in self._kept:
            if values.size:
                quotients = values / np.where(size > 0, size, np.inf)[:, None]
                found.add(torch.from_numpy(quotients.astype(np.float32)).reshape(1, -1))
        return found


class LayerActivations:
    """What is known of a spiking layer's activations.

    Parameters
    ----------
    layer : Layer
    by_unit : bool
        Whether each channel or neuron gets an activation scale of its own.
    kept : int
        See `EqualisedNeurons`.

    Attributes
    ----------
    distribution : Histogram or EqualisedNeurons
    largest : numpy.ndarray
        (channels,) or (neurons,) float64, the largest activation.
    """

    def __init__(self, layer: Layer, by_unit: bool, kept: int) -> None:
        self.distribution: Histogram | EqualisedNeurons
        if by_unit and len(layer.shape) == 1:
            self.distribution = EqualisedNeurons(layer.size, kept)
        else:
            self.distribution = Histogram(layer.shape[0] if by_unit else 1)
        self.largest = np.full(layer.shape[0], -np.inf)

    def add(self, values: torch.Tensor) -> None:
        """Take activations (images, *layer shape)."""
        by_channel = values.movedim(1, 0).reshape(values.shape[1], -1)
        self.largest = np.maximum(self.largest, by_channel.amax(dim=1).double().cpu().numpy())
        self.distribution.add(by_channel.reshape(self.distribution.channels, -1))


def distributions(
    network: SpikingNetwork | AnalogNetwork, images: np.ndarray, *, channelwise: bool, neuronwise: bool
) -> dict[str, LayerActivations]:
    """Activations of the spiking layers by name.

    Parameters
    ----------
    network : SpikingNetwork or AnalogNetwork
        Float, in analog form.
    images : numpy.ndarray
        float32 (N, *input shape) in [0, 1], training images.
    channelwise, neuronwise : bool
        One activation scale for each channel of a convolution, for each neuron of a dense layer. A read-out has a single one, as
        its outputs are compared.
    """
    layers = network.network if isinstance(network, AnalogNetwork) else network
    spiking = [layer for layer in layers if layer.neurons.reset != "none"]
    kept = _KEPT_BYTES // (4 * sum(layer.size for layer in spiking if len(layer.shape) == 1) or 1)
    found = {
        layer.name: LayerActivations(
            layer, (channelwise if len(layer.shape) == 3 else neuronwise) and layer is not layers.output, max(kept, 1)
        )
        for layer in spiking
    }
    for _, name, values in activations(network, images):
        if name in found:
            found[name].add(values)
    return found


def least_error_scales(analog: AnalogNetwork, images: np.ndarray, steps: int) -> dict[str, float]:
    """For each spiking layer the activation scale with the least squared error of its rates over T = `steps`.

    Raises
    ------
    ConversionError
        If a layer has no positive activation.
    """
    found = distributions(analog, images, channelwise=False, neuronwise=False)
    values = {name: float(each.distribution.least_error(steps)[0]) for name, each in found.items()}
    for name, value in values.items():
        if value <= 0:
            raise ConversionError(
                f"layer {name!r} has no positive activation on the calibration images, so it would never spike; use more "
                "images, or train the network again"
            )
    return values
