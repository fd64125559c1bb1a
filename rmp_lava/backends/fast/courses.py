"""The very course of single potentials while neurons wait, where bounds of them are too coarse (`extents`).

A source spikes in consecutive steps from the first one on, so its number of spikes tells in which steps its weights arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from ...network import Conv, Layer, Synapse
from ...registers import MAX_STATE, REGISTER_LIMIT, STATE_SHIFT
from . import events
from .synapses import flat


class Courses:
    """Potentials of a layer's integer neurons in every step; compiled by numba, which `is_available` tells.

    Parameters
    ----------
    shapes : sequence
        Of each synapse, its source's shape.
    steps : int
        T.
    """

    def __init__(self, layer: Layer, shapes: Sequence[tuple[int, ...]], steps: int) -> None:
        self._layer, self._shapes, self._steps = layer, shapes, steps

    @staticmethod
    def is_available() -> bool:
        return events.kernel is not None

    def are_within(self, samples: np.ndarray, neurons: np.ndarray, messages: Sequence[torch.Tensor]) -> np.ndarray:
        """Whether potentials stay within their register, and the input of every step below 2^17 weight units.

        Parameters
        ----------
        samples, neurons : numpy.ndarray
            (potentials,) int64 of each potential: its sample, and its neuron in memory order.
        messages : sequence of torch.Tensor
            Of each synapse, (samples, *memory shape of the source): how often each neuron of the source spikes.

        Returns
        -------
        numpy.ndarray
            (potentials,) bool.
        """
        assert events.kernel is not None
        channels, *size = self._layer.shape
        pixels, outputs = np.divmod(neurons, channels)
        rows, columns = np.divmod(pixels, size[1] if size else 1)
        places = np.stack([samples, rows, columns, outputs], axis=1)
        # What arrives in so many steps, from the first one on.
        levels = np.zeros((len(places), self._steps + 1), dtype=np.int64)
        for (conv, weight), shape, sent in zip(self._convolutions, self._shapes, messages, strict=True):
            height, width = shape[1:] if len(shape) == 3 else (1, 1)
            images = sent.reshape(len(sent), height, width, -1).numpy().astype(np.int32)
            geometry = (conv.stride, conv.padding, conv.dilation)
            events.kernel.collect(levels, places, images, weight, geometry, len(weight) // conv.groups)
        arriving = levels.sum(axis=1, keepdims=True) - levels[:, :-1].cumsum(axis=1)
        course = (arriving << STATE_SHIFT) + self._bias[neurons, None]
        course = course.cumsum(axis=1) + (int(self._layer.neurons.v_init) << STATE_SHIFT)
        within = (np.abs(course) <= MAX_STATE) & (np.abs(arriving) < REGISTER_LIMIT)
        return np.asarray(within.all(axis=1))

    @cached_property
    def _convolutions(self) -> list[tuple[Conv, np.ndarray]]:
        """Each synapse as a convolution, and its (outputs, height, width, channels) weights, int32 in weight units."""
        convolutions = [_as_convolution(s, shape) for s, shape in zip(self._layer.synapses, self._shapes, strict=True)]
        return [
            (each, np.ascontiguousarray(each.shifted_weight.transpose(0, 2, 3, 1).astype(np.int32)))
            for each in convolutions
        ]

    @cached_property
    def _bias(self) -> np.ndarray:
        """(neurons,) int64, in state units, in memory order."""
        neurons = self._layer.neurons
        bias = neurons.bias_per_neuron(self._layer.shape)
        if bias is None:
            return np.zeros(self._layer.size, dtype=np.int64)
        return flat(bias).astype(np.int64) << neurons.bias_exponent


def _as_convolution(synapse: Synapse, source_shape: tuple[int, ...]) -> Conv:
    """A dense synapse as a convolution whose only window is the whole source."""
    if isinstance(synapse, Conv):
        return synapse
    shape = source_shape if len(source_shape) == 3 else (synapse.weight.shape[1], 1, 1)
    return Conv(synapse.source, synapse.weight.reshape(-1, *shape), exponent=synapse.exponent)
