"""Leave out what carries nothing: synapses whose weights are all zero, and populations whose activation is constant.

Pruning, a residual branch that starts at zero, and shuffled channels make such synapses. What is left computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ...network import INPUT, Conv, Layer, Synapse
from ...network.values import per_row
from ..scale import source_values


@dataclass(frozen=True)
class Alive:
    """Layers that compute what others did, and what was left out of those.

    Parameters
    ----------
    layers : tuple of Layer
        The last one is the read-out, which has no synapse where all outputs are constant.
    zero_synapses : tuple of (str, str)
        Names of the layer and of the source of each synapse whose weights were all zero.
    constant : tuple of str
        Layers whose activation is the same for every input; it is folded into the biases of the layers that read them.
    """

    layers: tuple[Layer, ...]
    zero_synapses: tuple[tuple[str, str], ...]
    constant: tuple[str, ...]


def alive(layers: Sequence[Layer], input_shape: tuple[int, ...]) -> Alive:
    """The layers of an analog network without synapses and populations that carry nothing.

    A population is constant if no synapse reaches it, or if its input can never be positive for an input in [0, 1]: both
    follow from the weights alone. Layers that nothing reads any more are kept; see `reached`.
    """
    kept: list[Layer] = []
    zero: list[tuple[str, str]] = []
    constants: dict[str, np.ndarray] = {}
    ceilings = {INPUT: np.ones(input_shape[:1])}
    for number, layer in enumerate(layers):
        synapses, bias = [], _bias(layer)
        for synapse in layer.synapses:
            if synapse.source in constants:
                bias = bias + _sums(synapse, constants[synapse.source]).reshape(layer.shape)
            elif synapse.weight.any():
                synapses.append(synapse)
            else:
                zero.append((layer.name, synapse.source))
        if len(synapses) < len(layer.synapses):
            neurons = layer.neurons.replace(bias=compact(bias))
            layer = layer.replace(synapses=tuple(synapses), neurons=neurons)
        highest = bias.reshape(len(bias), -1).max(axis=1)
        for synapse in synapses:
            highest = highest + _highest(synapse, ceilings[synapse.source])
        if number < len(layers) - 1 and (not synapses or highest.max() <= 0):
            constants[layer.name] = _clipped(np.maximum(bias, 0) if not synapses else np.zeros(layer.shape), layer)
            continue
        ceilings[layer.name] = _clipped(np.maximum(highest, 0), layer)
        kept.append(layer)
    return Alive(tuple(kept), tuple(zero), tuple(constants))


def reached(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers from which a path of synapses leads to the last one."""
    used = {layers[-1].name}
    for layer in reversed(layers):
        if layer.name in used:
            used |= {s.source for s in layer.synapses}
    return tuple(layer for layer in layers if layer.name in used)


def compact(bias: np.ndarray | None) -> np.ndarray | None:
    """float32, with one value per channel where each channel has one; None for zeros."""
    if bias is None or not bias.any():
        return None
    bias = bias.astype(np.float32)
    if bias.ndim == 3 and (bias == bias[:, :1, :1]).all():
        bias = bias[:, 0, 0]
    return bias


def _bias(layer: Layer) -> np.ndarray:
    """float64, of the layer's shape."""
    bias = layer.neurons.bias_per_neuron(layer.shape)
    return np.zeros(layer.shape) if bias is None else bias.astype(np.float64)


def _clipped(values: np.ndarray, layer: Layer) -> np.ndarray:
    """(channels, ...) activations below the layer's clip."""
    if layer.clip is None:
        return values
    return np.minimum(values, per_row(layer.clip, values.ndim))


def _sums(synapse: Synapse, activation: np.ndarray) -> np.ndarray:
    """What a synapse adds for a constant activation of its source, float64."""
    if not isinstance(synapse, Conv):
        return synapse.weight.astype(np.float64) @ activation.reshape(-1)
    rows, columns = synapse.padding
    padded = functional.pad(torch.from_numpy(activation), (columns, columns, rows, rows))
    weight = torch.from_numpy(synapse.weight.astype(np.float64))
    sums = functional.conv2d(padded[None], weight, None, synapse.stride, 0, synapse.dilation, synapse.groups)
    return sums[0].numpy()


def _highest(synapse: Synapse, ceiling: np.ndarray) -> np.ndarray:
    """(channels,) bounds of what a synapse adds, where activations of its source are in [0, ceiling (channels,)]."""
    reached = np.maximum(synapse.weight, 0) * source_values(synapse, ceiling)
    return reached.reshape(len(reached), -1).sum(axis=1)
