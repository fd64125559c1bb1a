"""Give spikes a value: set thresholds in units of the activation, and scale the synapses behind them accordingly.

A layer whose spike value is lambda spikes at a rate of activation / lambda. With its threshold at lambda, and the weights
of every synapse behind it multiplied by lambda, each layer stays in the trained network's own units; sums over paths of
different length stay consistent, and the read-out's potential per step is the trained network's output.
A spike value per channel needs no threshold per neuron, as ReLU is positively homogeneous: the channel's weights and bias
are multiplied by threshold / lambda_c (Kim et al., AAAI 2020, "Spiking-YOLO", normalise by channel).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import UsageError
from ..network import Conv, Layer, SpikingNetwork, Synapse

SpikeValues = Mapping[str, np.ndarray]
"""Source's name -> what one spike stands for: one number, shape (), or one per channel."""

_LARGEST_SHARE = 0.9
"""Of the threshold, as initial potential."""


def scale_synapses(layer: Layer, values: SpikeValues) -> Layer:
    """The layer with its weights multiplied by what a spike of their source stands for (graded input: itself)."""
    return layer.replace(
        synapses=tuple(_scaled(s, values[s.source]) if s.source in values else s for s in layer.synapses)
    )


def set_threshold(layer: Layer, value: np.ndarray, *, reset: str, share: float) -> Layer:
    """The layer with a threshold at its spike value, and the initial potential at a share of it.

    Parameters
    ----------
    value : numpy.ndarray
        () or (channels,), positive, in units of the layer's activation.
    """
    threshold = float(value.mean())
    neurons = layer.neurons.replace(threshold=threshold, reset=reset, v_init=share * threshold)
    if value.ndim:
        factor = (threshold / value).astype(np.float32)
        layer = layer.replace(synapses=tuple(s.replace(weight=_by_row(s.weight, factor)) for s in layer.synapses))
        neurons = neurons.replace(bias=scale_bias(neurons.bias, factor, layer.shape))
    return layer.replace(neurons=neurons)


def multiply_spike_value(network: SpikingNetwork, name: str, factor: float) -> SpikingNetwork:
    """A balanced network in which a layer's spikes stand for `factor` times as much, and so come as much more rarely.

    The threshold, the initial potential and the weights behind the layer follow. A clipped activation stays a rate of 1 at
    most: the spike value does not exceed the clip.
    """
    scaled = network[name]
    before = scaled.activation_scale
    if before is None:
        raise UsageError(f"layer {name!r} has no activation scale; balance the network first")
    if scaled.clip is not None:
        # One factor for all channels, so that the first one to reach its clip decides.
        factor = min(factor, float((scaled.clip / before).min()))
    record = dict(scaled.record)
    record["alpha"] = record.get("alpha", 1.0) * factor

    def change(layer: Layer) -> Layer:
        layer = scale_synapses(layer, {name: np.asarray(factor)})
        if layer.name != name:
            return layer
        neurons = layer.neurons
        neurons = neurons.replace(threshold=neurons.threshold * factor, v_init=neurons.v_init * factor)
        return layer.replace(neurons=neurons, activation_scale=before * factor, record=record)

    output_scale = network.output_scale
    if name == network.output.name and output_scale is not None:
        output_scale *= factor
    return network.map_layers(change).replace(output_scale=output_scale)


def shift_initial_potential(network: SpikingNetwork, name: str, shift: float) -> SpikingNetwork:
    """A network with a layer's initial potential moved by `shift` thresholds, but not below 0 nor to a threshold or above."""

    def change(layer: Layer) -> Layer:
        if layer.name != name:
            return layer
        share = layer.neurons.v_init / layer.neurons.threshold + shift
        share = min(max(share, 0.0), _LARGEST_SHARE)
        return layer.replace(neurons=layer.neurons.replace(v_init=share * layer.neurons.threshold))

    return network.map_layers(change)


def unscale(network: SpikingNetwork) -> SpikingNetwork:
    """A balanced network in analog form again, with the balance kept: calibrated biases, channels of equal spike value.

    Each layer keeps its activation scale, in the new units of its activation, so that `tune` starts, and
    `balance(..., Balancing(thresholds="tuned"))` ends, where the balanced network was.
    """
    values = {layer.name: np.asarray(1 / layer.neurons.threshold) for layer in network if layer.neurons.reset != "none"}

    def change(layer: Layer) -> Layer:
        scale = np.asarray(layer.neurons.threshold, dtype=np.float64) if layer.name in values else None
        return scale_synapses(layer, values).replace(
            neurons=layer.neurons.replace(threshold=1.0, v_init=0.0),
            activation_scale=scale,
            clip=None,
            potential_peak=None,
        )

    return network.map_layers(change).replace(stage="analog", output_scale=None, balanced_steps=None)


def scale_bias(bias: np.ndarray | None, factor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A bias multiplied by a factor per channel."""
    if bias is None:
        return None
    if bias.ndim == 3:
        return bias * factor[:, None, None]
    return np.broadcast_to(bias, shape[:1]) * factor


def _by_row(weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))


def _scaled(synapse: Synapse, value: np.ndarray) -> Synapse:
    weight = synapse.weight
    if not value.ndim:
        return synapse.replace(weight=weight * np.float32(value))
    value = value.astype(np.float32)
    if isinstance(synapse, Conv):
        by_group = value.reshape(synapse.groups, 1, -1, 1, 1)
        grouped = weight.reshape(synapse.groups, -1, *weight.shape[1:])
        return synapse.replace(weight=(grouped * by_group).reshape(weight.shape))
    return synapse.replace(weight=weight * np.repeat(value, weight.shape[1] // len(value)))
