"""Synapses in plain numpy: the weighted sums a[t] in the definition of the neuron."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce

import numpy as np

from ..errors import BackendError
from ..network import Conv, Dense, SpikingNetwork, Synapse


def apply(synapse: Synapse, stream: np.ndarray) -> np.ndarray:
    """Synaptic input (samples, steps, *target shape) float64 from a stream (samples, steps, *source shape)."""
    samples, steps, *shape = stream.shape
    if isinstance(synapse, Dense) and synapse.delay is not None:
        total = np.zeros((samples, steps, len(synapse.weight)))
        for delay, reached, part in synapse.by_delay():
            if delay < steps:
                total[:, delay:, reached] += apply(part, stream[:, : steps - delay])
        return total
    flat = stream.reshape(samples * steps, *shape).astype(np.float64)
    weight = synapse.shifted_weight.astype(np.float64)
    if isinstance(synapse, Dense):
        result = flat.reshape(samples * steps, -1) @ weight.T
    elif isinstance(synapse, Conv):
        result = _convolve(synapse, flat, weight)
    else:
        raise BackendError(f"backend 'reference' does not support synapses of type {type(synapse).__name__}")
    return result.reshape(samples, steps, *result.shape[1:])


def apply_all(synapses: Iterable[Synapse], streams: Mapping[str, np.ndarray]) -> np.ndarray:
    """Summed input (samples, steps, *target shape) float64 of a layer's synapses, from the streams of their sources."""
    return reduce(np.add, (apply(each, streams[each.source]) for each in synapses))


def apply_recurrent(synapses: Iterable[Synapse], stream: np.ndarray) -> np.ndarray | int:
    """Input (samples, *shape) of recurrent synapses in the step after those of a stream (samples, steps, *shape) of spikes."""
    steps = stream.shape[1]
    return sum(apply(s, stream[:, max(0, steps - 1 - s.longest_delay) :])[:, -1] for s in synapses) if steps else 0


def _convolve(synapse: Conv, images: np.ndarray, weight: np.ndarray) -> np.ndarray:
    c_out, height, width = synapse.output_shape(images.shape[1:])
    (ph, pw), (sh, sw), (dh, dw) = synapse.padding, synapse.stride, synapse.dilation
    padded = np.pad(images, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    result = np.zeros((len(images), c_out, height, width))
    inputs, outputs = images.shape[1] // synapse.groups, c_out // synapse.groups
    for group in range(synapse.groups):
        source = padded[:, group * inputs : (group + 1) * inputs]
        target = slice(group * outputs, (group + 1) * outputs)
        for i in range(weight.shape[2]):
            for j in range(weight.shape[3]):
                rows = slice(i * dh, i * dh + sh * (height - 1) + 1, sh)
                columns = slice(j * dw, j * dw + sw * (width - 1) + 1, sw)
                result[:, target] += np.einsum(
                    "oc,ncxy->noxy", weight[target, :, i, j], source[:, :, rows, columns], optimize=True
                )
    return result


def largest_sum(network: SpikingNetwork, *synapses: Synapse) -> int:
    """Bound of any neuron's |weighted input sum| through these synapses of an integer network, in weight units."""
    return sum(
        int(np.abs(synapse.shifted_weight).reshape(len(synapse.weight), -1).sum(axis=1).max())
        * network.largest_message(synapse.source)
        for synapse in synapses
    )
