"""Totals of a run: messages of each source, and synaptic operations of each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from ...network import INPUT, SpikingNetwork
from ..batches import Part
from . import neurons
from .synapses import flat


class Tallies:
    """What a message of each neuron adds: one message, and in each layer that reads it as many operations as weights it meets."""

    def __init__(self, network: SpikingNetwork) -> None:
        self._layers = [layer.name for layer in network]
        met: dict[str, dict[str, np.ndarray]] = {source: {} for source in (INPUT, *self._layers)}
        for layer in network:
            for synapse in layer.synapses:
                fan_out, readers = flat(synapse.fan_out(network.source_shape(synapse.source))), met[synapse.source]
                readers[layer.name] = fan_out + readers[layer.name] if layer.name in readers else fan_out
        # A neuron's messages, and what else differs from a multiple of them.
        self._weights: dict[str, np.ndarray] = {}
        self._readers: dict[str, list[tuple[str, int, int]]] = {}
        """Source -> for each layer that reads it, its name, and which of the source's sums are its operations, how many times."""
        for source, readers in met.items():
            rows, of_readers = [np.ones(math.prod(network.source_shape(source)), dtype=np.int64)], []
            for name, fan_out in readers.items():
                if fan_out.min() == fan_out.max():
                    of_readers.append((name, 0, int(fan_out[0])))
                else:
                    of_readers.append((name, len(rows), 1))
                    rows.append(fan_out)
            self._weights[source], self._readers[source] = np.stack(rows), of_readers
        self._narrow = {
            source: weights.astype(np.int16)
            for source, weights in self._weights.items()
            if weights.max() <= np.iinfo(np.int16).max
        }

    def enter(self, part: Part, counts: Mapping[str, torch.Tensor]) -> None:
        """Enter into a part what follows from messages per neuron, (samples, neurons in memory order), of each source."""
        part.synaptic_operations = {name: np.zeros(len(counts[INPUT]), dtype=np.int64) for name in self._layers}
        for source, each in counts.items():
            sums = self._sums(source, each).T
            part.message_counts[source] = sums[0]
            for reader, row, times in self._readers[source]:
                part.synaptic_operations[reader] += times * sums[row]

    def _sums(self, source: str, counts: torch.Tensor) -> np.ndarray:
        """(samples, rows of the source's weights) int64."""
        weights, fused = self._weights[source], neurons.fused
        if fused is None or counts.device.type != "cpu":
            return (counts.double() @ torch.from_numpy(weights.T).double().to(counts.device)).long().cpu().numpy()
        if counts.dtype == torch.uint8 and source in self._narrow:
            some = self._narrow[source]
            found: np.ndarray = fused.weighted_bytes(counts.numpy(), some, 2**31 // (256 * int(some.max())))
        else:
            found = fused.weighted(counts.numpy(), weights)
        return found
