"""Totals of a run: messages of each source, and synaptic operations of each layer."""

from __future__ import annotations

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
        self._readers = {source: tuple(readers) for source, readers in met.items()}
        self._weights = {
            source: np.stack([np.ones(int(np.prod(network.source_shape(source))), dtype=np.int64), *readers.values()])
            for source, readers in met.items()
        }
        self._narrow = {
            source: weights.astype(np.int16)
            for source, weights in self._weights.items()
            if weights.max() <= np.iinfo(np.int16).max
        }

    def enter(self, part: Part, counts: Mapping[str, torch.Tensor]) -> None:
        """Enter into a part what follows from messages per neuron, (samples, neurons in memory order), of each source."""
        part.synaptic_operations = {name: np.zeros(len(counts[INPUT]), dtype=np.int64) for name in self._layers}
        for source, each in counts.items():
            part.message_counts[source], *operations = self._sums(source, each).T
            for reader, some in zip(self._readers[source], operations, strict=True):
                part.synaptic_operations[reader] += some

    def _sums(self, source: str, counts: torch.Tensor) -> np.ndarray:
        """(samples, 1 + readers) int64."""
        weights, fused = self._weights[source], neurons.fused
        if fused is None or counts.device.type != "cpu":
            return (counts.double() @ torch.from_numpy(weights.T).double().to(counts.device)).long().cpu().numpy()
        if counts.dtype == torch.uint8 and source in self._narrow:
            some = self._narrow[source]
            found: np.ndarray = fused.weighted_bytes(counts.numpy(), some, 2**31 // (256 * int(some.max())))
        else:
            found = fused.weighted(counts.numpy(), weights)
        return found
