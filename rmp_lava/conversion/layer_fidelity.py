"""One layer's firing rates against its trained activations, accumulated image by image in constant memory; where a loss begins.

Imports no PyTorch, so that tables of what was measured are shown quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..network import Layer, SpikingNetwork
from ..network.values import per_row
from ..readout import output_unit

LOWEST_CORRELATION = 0.9
LARGEST_DROP = 0.05
LARGEST_ERROR = 0.5
"""Limits of `begins_at`."""
_MAJORITY = 0.5
"""Share of the squared error from which on something is the reason."""
_CONSTANT = 1e-12
"""Values whose variance is below this share of their mean square are constant up to rounding."""


@dataclass(frozen=True)
class LayerFidelity:
    """How closely one layer's firing rates match its trained activations, over all neurons and images.

    A spiking layer represents the rate times its activation scale, one number or (channels,); an integrating read-out represents
    its membrane potential per step, in units of the trained network's outputs.

    Parameters
    ----------
    layer : str
    correlation : float or None
        Pearson's, -1..1, between the represented values and the activations; 0 if only the activations vary, None if they do not.
    image_correlation : float or None
        The same after subtracting each neuron's mean over the images; what this loses cannot distinguish images. None for a
        single image.
    error : float or None
        Root mean square of the difference over that of the activations; None if these are all 0.
    silent : float or None
        Share of neurons that never spike although their activation is positive for some image. None for an integrating read-out,
        like `saturated`.
    saturated : float or None
        Share of (neuron, image) pairs with a spike in every step.
    weight_error : float or None
        Root mean square rounding error of the weights, see `WeightError`; None for a float network.
    silent_error, saturated_error, rounding_error : float
        Shares of the squared error: of silent neurons, of saturated pairs, and of rounding, which is the excess over the same
        network in float.
    """

    layer: str
    correlation: float | None
    image_correlation: float | None
    error: float | None
    silent: float | None
    saturated: float | None
    weight_error: float | None = None
    silent_error: float = 0.0
    saturated_error: float = 0.0
    rounding_error: float = 0.0


def begins_at(layers: Sequence[LayerFidelity]) -> LayerFidelity | None:
    """The first layer with a loss, or None.

    A loss is a correlation over images below 0.9, or more than 0.05 below that of the layer before (1 for the input), or an
    error of more than half of the activation.
    """
    before = 1.0
    for layer in layers:
        correlation = before if layer.image_correlation is None else layer.image_correlation
        if correlation < max(LOWEST_CORRELATION, before - LARGEST_DROP) or (layer.error or 0.0) > LARGEST_ERROR:
            return layer
        before = correlation
    return None


def first_loss(layers: Sequence[LayerFidelity]) -> str | None:
    """A sentence on the layer where the loss begins (see `begins_at`), and the likely reason.

    The reason is what causes at least half of the layer's squared error: rounding, or else saturated or silent neurons.
    Otherwise the rates are too coarse.
    """
    layer = begins_at(layers)
    if layer is None:
        return None
    found = []
    if layer.image_correlation is not None:
        found.append(f"correlate by {layer.image_correlation:.2f} over the images")
    if layer.error is not None:
        found.append(f"differ by {layer.error:.0%}")
    return f"The loss begins at layer {layer.layer!r}, where rates and activations {' and '.join(found)}: {_reason(layer)}."


def _reason(layer: LayerFidelity) -> str:
    if layer.rounding_error >= _MAJORITY:  # first, because rounding can silence or saturate neurons
        return f"{layer.rounding_error:.0%} of the squared error comes from rounding to integers"
    if layer.saturated_error >= max(_MAJORITY, layer.silent_error):
        return (
            f"neurons that spike in every step (low threshold) cause {layer.saturated_error:.0%} of the squared error"
        )
    if layer.silent_error >= _MAJORITY:
        return f"neurons that never spike (high threshold) cause {layer.silent_error:.0%} of the squared error"
    return "rates over so few time steps are coarse"


class LayerComparison:
    """Sums over the images so far, from which a layer's fidelity follows.

    Parameters
    ----------
    layer : Layer
        A layer of `network`.
    balanced : SpikingNetwork
        Its layers have the activation scales.
    network : SpikingNetwork
        The network that is run.
    steps : int
        T.
    """

    def __init__(self, layer: Layer, balanced: SpikingNetwork, network: SpikingNetwork, steps: int) -> None:
        self.layer, self.steps = layer, steps
        self.integrates = layer is network.output and network.integrates
        if self.integrates:
            value = None if network.output_scale is None else np.asarray(output_unit(network))
        else:
            value = balanced[layer.name].activation_scale
        if value is None:
            raise UsageError(
                f"layer {layer.name!r} has no scale in units of the trained network; convert it with this version"
            )
        self.per_count = per_row(value, len(layer.shape)) / steps
        self.images, self.means, self.within = 0, np.zeros((2, *layer.shape)), np.zeros((2, 2))
        self.power = self.saturated_error = 0.0
        self.saturated = 0
        self.error = np.zeros(layer.shape)
        self.spikes = np.zeros(layer.shape, np.int64)
        self.positive = np.zeros(layer.shape, bool)

    def add(self, activation: np.ndarray, counts: np.ndarray, output: np.ndarray) -> None:
        """Add images: activations and spike counts (images, *shape), and the network's output."""
        represented = (output.reshape(activation.shape) if self.integrates else counts) * self.per_count
        self._correlate(represented, activation)
        squared = (represented - activation) ** 2
        self.error += squared.sum(axis=0)
        self.power += float((activation**2).sum())
        if not self.integrates:
            always = counts == self.steps
            self.saturated += int(always.sum())
            self.saturated_error += float(squared[always].sum())
            self.spikes += counts.sum(axis=0)
            self.positive |= (activation > 0).any(axis=0)

    def _correlate(self, *values: np.ndarray) -> None:
        """Update each neuron's means, and the products of deviations from them (Chan, Golub and LeVeque, 1979)."""
        found = np.stack(values)  # (2, images, *shape)
        count = found.shape[1]
        means = found.mean(axis=1)
        found -= means[:, None]
        apart, total = means - self.means, self.images + count
        self.within += _products(found) + _products(apart) * (self.images * count / total)
        self.means += apart * (count / total)
        self.images = total

    @property
    def squared_error(self) -> float:
        """Summed over neurons and images."""
        return float(self.error.sum())

    def result(self, rounding_error: float) -> LayerFidelity:
        """The result so far."""
        error, silent = self.squared_error, self.positive & (self.spikes == 0)
        return LayerFidelity(
            self.layer.name,
            *self._correlations(),
            float(np.sqrt(error / self.power)) if self.power else None,
            None if self.integrates else float(silent.mean()),
            None if self.integrates else self.saturated / (self.images * self.layer.size),
            None if self.layer.weight_error is None else self.layer.weight_error.rms,
            float(self.error[silent].sum()) / error if error else 0.0,
            self.saturated_error / error if error else 0.0,
            rounding_error,
        )

    def _correlations(self) -> tuple[float | None, float | None]:
        """Over all (neuron, image) pairs, and over images with each neuron's mean subtracted."""
        centre = self.means.reshape(2, -1).mean(axis=1)
        between = self.images * _products(self.means.reshape(2, -1) - centre[:, None])
        noise = _CONSTANT * (self.within + between + self.images * self.layer.size * np.outer(centre, centre))
        return _correlation(self.within + between, noise), _correlation(self.within, noise)


def _products(values: np.ndarray) -> np.ndarray:
    """(2, 2) sums of products of (2, ...)."""
    flat = values.reshape(2, -1)
    return flat @ flat.T


def _correlation(products: np.ndarray, noise: np.ndarray) -> float | None:
    represented_varies, activation_varies = np.diag(products) > np.diag(noise)
    if not activation_varies:
        return None
    return float(products[0, 1] / np.sqrt(products[0, 0] * products[1, 1])) if represented_varies else 0.0
