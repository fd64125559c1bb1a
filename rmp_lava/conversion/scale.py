"""Activation scales: thresholds in units of the activation, and the synapses downstream scaled accordingly.

A layer with activation scale lambda fires at a rate of activation / lambda. Its threshold is lambda, and the weights of every
synapse downstream are multiplied by lambda. So each layer stays in the trained network's own units, sums over paths of
different length stay consistent, and the read-out's potential per time step is the trained network's output.
An activation scale per channel, or per neuron of a dense layer, needs no threshold per neuron, as ReLU is positively homogeneous:
the weights and the bias of unit c are multiplied by threshold / lambda_c (Kim et al., AAAI 2020, "Spiking-YOLO", normalise by
channel).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import UsageError
from ..network import Conv, Layer, SpikingNetwork, Synapse
from ..network.values import per_row

Scales = Mapping[str, np.ndarray]
"""Source's name -> its activation scale, (), (channels,) or (neurons,)."""

_LARGEST_SHARE = 0.9
"""Largest initial potential, as a share of the threshold."""


def scale_synapses(layer: Layer, scales: Scales) -> Layer:
    """The layer with its weights multiplied by the activation scale of their source, except for graded input."""
    return layer.replace(
        synapses=tuple(_scaled(s, scales[s.source]) if s.source in scales else s for s in layer.synapses)
    )


def set_threshold(layer: Layer, value: np.ndarray, *, reset: str, share: float) -> Layer:
    """The layer with a threshold at its activation scale, and the initial potential at a share of the threshold.

    Parameters
    ----------
    value : numpy.ndarray
        (), (channels,) or (neurons,), positive, in units of the layer's activation.
    """
    # A power of two near them where there are several: a unit that is rescaled by one does not change another's weights.
    threshold = float(2.0 ** np.rint(np.log2(value.mean()))) if value.ndim else float(value)
    neurons = layer.neurons.replace(threshold=threshold, reset=reset, v_init=share * threshold)
    if value.ndim:
        factor = (threshold / value).astype(np.float32)
        layer = layer.replace(
            synapses=tuple(s.replace(weight=s.weight * per_row(factor, s.weight.ndim)) for s in layer.synapses)
        )
        if neurons.bias is not None:
            bias = neurons.bias_by_unit(layer.shape)
            neurons = neurons.replace(bias=bias * per_row(factor, bias.ndim))
    return layer.replace(neurons=neurons)


def multiply_scale(network: SpikingNetwork, name: str, factor: float) -> SpikingNetwork:
    """A balanced network with a layer's activation scale multiplied by `factor`, so that it fires as much more rarely.

    The threshold, the initial potential and the weights downstream follow. The scale does not exceed the layer's clip.
    """
    scaled = network[name]
    before = scaled.activation_scale
    if before is None:
        raise UsageError(f"layer {name!r} has no activation scale; balance the network first")
    if scaled.clip is not None:
        # One factor for all channels, so that the first one to reach its clip decides. Silent ones may exceed theirs already.
        room = np.atleast_1d(scaled.clip / before)
        factor = min(factor, float(room[room > 1 - 1e-9].min(initial=np.inf)))
    record = dict(scaled.record)
    record["alpha"] = record.get("alpha", 1.0) * factor

    def change(layer: Layer) -> Layer:
        layer = scale_synapses(layer, {name: np.asarray(factor)})
        if layer.name != name:
            return layer
        neurons = layer.neurons
        neurons = neurons.replace(threshold=neurons.threshold * factor, v_init=neurons.v_init * factor)
        rate = None if layer.mean_rate is None else np.minimum(layer.mean_rate / factor, 1.0)
        return layer.replace(neurons=neurons, activation_scale=before * factor, mean_rate=rate, record=record)

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
    """A balanced network in analog form again; calibrated biases and equalised channels are kept.

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
            mean_rate=None,
        )

    return network.map_layers(change).replace(stage="analog", output_scale=None, balanced_steps=None, wait=0)


def source_values(synapse: Synapse, values: np.ndarray) -> np.ndarray:
    """Values of the source's units, (channels,) or (neurons,), in a shape that broadcasts to the synapse's weights."""
    weight = synapse.weight
    if isinstance(synapse, Conv):
        by_group = values.reshape(synapse.groups, -1)  # each group of outputs reads a group of channels
        return np.repeat(by_group, len(weight) // synapse.groups, axis=0)[:, :, None, None]
    return np.repeat(values, weight.shape[1] // len(values))[None]


def _scaled(synapse: Synapse, value: np.ndarray) -> Synapse:
    factor = value.astype(np.float32)
    return synapse.replace(weight=synapse.weight * (source_values(synapse, factor) if value.ndim else factor))
