"""Ceilings of activations as ReLUs: min(relu(x), c) = relu(x) - relu(x - c), for neurons that have no ceiling of their own."""

from __future__ import annotations

import numpy as np

from ..network import Conv, Layer, SpikingNetwork, Synapse
from ..network.values import per_row
from .analog import channel_peaks

_REACHED = 0.9
"""Share of its ceiling from which on a channel gets a population for what is above; other channels lose the ceiling."""


def without_ceilings(analog: SpikingNetwork, images: np.ndarray) -> tuple[SpikingNetwork, dict[str, np.ndarray]]:
    """A network in analog form without clips, and for each unit of a layer the unit that it was made from.

    Channels that come near their ceiling on the images get a second one for what is above it, which later layers subtract.

    Returns
    -------
    (SpikingNetwork, dict)
        Layer name -> int64 (channels or neurons,): its own index, or that of the unit whose excess it holds.
    """
    if all(layer.clip is None for layer in analog):
        return analog, {layer.name: np.arange(layer.shape[0]) for layer in analog}
    reached = channel_peaks(analog, images)
    above, layers, parents = {}, [], {}
    for layer in analog:
        clip = layer.clip
        above[layer.name] = np.zeros(0, dtype=np.int64)
        if clip is not None and layer is not analog.output:
            above[layer.name] = np.flatnonzero(reached[layer.name] >= _REACHED * np.broadcast_to(clip, layer.shape[:1]))
        parents[layer.name] = np.concatenate([np.arange(layer.shape[0]), above[layer.name]])
        shapes = {s.source: analog.source_shape(s.source) for s in layer.synapses}
        synapses = [_less(s, shapes[s.source], above.get(s.source, above[layer.name][:0])) for s in layer.synapses]
        layers.append(_split(layer.replace(synapses=tuple(synapses), clip=None), above[layer.name], clip))
    return analog.replace(layers=tuple(layers)), parents


def _less(synapse: Synapse, shape: tuple[int, ...], above: np.ndarray) -> Synapse:
    """The synapse from a source that has further units for what is above the ceilings of some."""
    if not len(above):
        return synapse
    synapse = synapse.ungrouped()
    weight = synapse.weight if isinstance(synapse, Conv) else synapse.weight.reshape(len(synapse.weight), *shape)
    joined = np.concatenate([weight, -weight[:, above]], axis=1)
    return synapse.replace(weight=joined if isinstance(synapse, Conv) else joined.reshape(len(joined), -1))


def _split(layer: Layer, above: np.ndarray, clip: np.ndarray | None) -> Layer:
    """The layer with further units for what is above the ceilings of some."""
    if not len(above) or clip is None:
        return layer
    whole = [s.ungrouped() for s in layer.synapses]
    synapses = tuple(s.replace(weight=np.concatenate([s.weight, s.weight[above]])) for s in whole)
    bias = layer.neurons.bias_by_unit(layer.shape)
    ceiling = per_row(np.broadcast_to(clip, layer.shape[:1])[above], bias.ndim)
    bias = np.concatenate([bias, bias[above] - ceiling]).astype(np.float32)
    return layer.replace(
        shape=(layer.shape[0] + len(above), *layer.shape[1:]),
        synapses=synapses,
        neurons=layer.neurons.replace(bias=bias),
        activation_scale=None,
        mean_rate=None,
    )
