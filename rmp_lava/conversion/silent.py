"""Units that hardly ever spike on the calibration images: their weights do not decide the scale of anyone else's.

The factor to integers follows from a layer's largest weight, so one large weight takes bits from all others. A unit, a channel
or a neuron of a dense layer, that is silent on the calibration images has no activation that its weights could be scaled by:
those that reach it, or those that leave it, may be larger than all others by any factor. Two measures, which cost the live
units nothing:

- its activation scale is raised until the weights that reach it fit. This is exact, as ReLU is positively homogeneous.
- the weights that leave it, which grow with its activation scale, are clipped to the largest one of live units. What it does
  in the rare case that it spikes is then limited to what one live unit can do.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..network import Layer
from ..network.values import per_row
from .scale import source_values

Hardly = Mapping[str, np.ndarray]
"""Source's name -> which of its units hardly ever spike, bool (channels,) or (neurons,)."""

ACTIVE_RATE = 0.5
"""A unit whose activation scale had to be raised hardly ever spikes if no calibration image gives it a larger rate than this."""


def row_sizes(layer: Layer, hardly: Hardly, largest_bias: float) -> np.ndarray:
    """(units,) how much of the weights' range each unit needs: its largest weight from live sources, or its bias.

    Parameters
    ----------
    layer : Layer
        With scaled synapses.
    hardly : mapping
    largest_bias : float
        The largest bias of the chip over its largest weight.
    """
    size = np.max([_largest(_live(layer, i, hardly)) for i in range(len(layer.synapses))], axis=0)
    bias = layer.neurons.bias_per_neuron(layer.shape)
    return size if bias is None else np.maximum(size, _largest(bias) / largest_bias)


def clip_silent(layer: Layer, hardly: Hardly, scale: np.ndarray) -> Layer:
    """The layer with its weights from units that hardly ever spike clipped to where they take no bits from others.

    Parameters
    ----------
    layer : Layer
        With scaled synapses.
    hardly : mapping
    scale : numpy.ndarray
        () or (units,) activation scales of the layer itself, by which `set_threshold` divides; 1 for one that integrates.
    """
    if not any(hardly[s.source].any() for s in layer.synapses if s.source in hardly):
        return layer
    live = np.max([_largest(_live(layer, i, hardly)) for i in range(len(layer.synapses))], axis=0)
    share = float((live / scale).max()) or 1.0  # without any live source, weights up to the threshold
    synapses = []
    for i, synapse in enumerate(layer.synapses):
        if synapse.source in hardly and hardly[synapse.source].any():
            # Synapses may have exponents of their own, so those with live sources set their own limit.
            own = float((_largest(_live(layer, i, hardly)) / scale).max()) or share
            limit = np.broadcast_to(own * scale, live.shape).astype(np.float32)
            weight, by_row = synapse.weight, per_row(limit, synapse.weight.ndim)
            clipped = np.clip(weight, -by_row, by_row)
            synapse = synapse.replace(weight=np.where(source_values(synapse, hardly[synapse.source]), clipped, weight))
        synapses.append(synapse)
    return layer.replace(synapses=tuple(synapses))


def _live(layer: Layer, index: int, hardly: Hardly) -> np.ndarray:
    """Weights of a synapse, those from units that hardly ever spike set to 0."""
    synapse = layer.synapses[index]
    if synapse.source not in hardly:
        return synapse.weight
    return np.where(source_values(synapse, hardly[synapse.source]), 0, synapse.weight)


def _largest(values: np.ndarray) -> np.ndarray:
    """(rows,) largest absolute value of each row."""
    return np.abs(values).reshape(len(values), -1).max(axis=1)
