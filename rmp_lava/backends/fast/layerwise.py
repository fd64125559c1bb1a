"""Simulate a network layer by layer, all steps of a layer before the next layer: for passes that set one layer at a time.

This module is the public face of backend fast for `rmp_lava.conversion`. `Layerwise` holds batches of samples. Each layer's
spikes are kept, one bit each, until no later layer reads them; the input is encoded again for each layer that reads it. Float
neurons that wait for T steps spike in consecutive steps, so they are summed and kept as counts, as in `windows`.

Neurons of a tensor are in memory order, channels last. `to_memory` and `from_memory` convert arrays, `memory_shape` shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from ...encoding import Encoder
from ...network import INPUT, Layer, SpikingNetwork, Synapse
from ...schedule import Schedule
from .batching import Batching, choose_batching
from .layers import LayerSimulation, Prepared
from .neurons import in_order
from .streams import BurstStream, ConstantStream, InputSimulation, Source, Stream, chunk_ends, sample_by_sample
from .synapses import from_memory, memory_shape, to_memory

__all__ = ["LayerBatch", "Layerwise", "from_memory", "memory_shape", "to_memory"]

_Block = tuple[slice, torch.Tensor]
_Chunk = tuple[int, Iterable[_Block]]


class Layerwise:
    """Samples on their way through a network's layers, on the CPU.

    Layers are advanced in the network's order. A layer that a pass changes is passed to `set_layer` before it is simulated.

    Parameters
    ----------
    network : SpikingNetwork
    images : numpy.ndarray
        (samples, *input shape).
    plan : Schedule
    memory : int
        Bytes for a layer's input currents: computed once if they fit, otherwise each time they are requested.
    seed : int
        Seed of the Poisson encoding.

    Attributes
    ----------
    samples : int
    batches : list of LayerBatch
    """

    def __init__(
        self, network: SpikingNetwork, images: np.ndarray, plan: Schedule, *, memory: int = 0, seed: int = 0
    ) -> None:
        self.samples = len(images)
        # Integers may saturate on the way to a sum, so they are advanced step by step.
        whole = None if network.is_integer else plan.steps
        self._prepared = Prepared(network.replace(wait=plan.wait), torch.device("cpu"), steps=whole)
        batching = choose_batching(network, plan, self.samples, device="cpu", threads=1)
        firsts = range(0, self.samples, batching.samples)
        self.batches = [
            LayerBatch(
                self._prepared,
                images[first : first + batching.samples],
                plan,
                batching,
                memory=memory // len(firsts),
                seed=seed,
                first_sample=first,
            )
            for first in firsts
        ]

    def set_layer(self, layer: Layer) -> None:
        """Use a layer's new weights in place of those it had."""
        self._prepared.prepare(layer)

    def advance(self, layer: Layer) -> np.ndarray:
        """Simulate a layer whose sources have been simulated; (*shape) float64 mean spikes per sample of each neuron."""
        return np.sum([batch.advance(layer) for batch in self.batches], axis=0) / self.samples

    def release(self, layer: Layer) -> None:
        """Drop the spikes that no layer after this one reads, and the layer's currents."""
        for batch in self.batches:
            batch.release(layer)


class LayerBatch:
    """One batch of a `Layerwise`.

    images : (samples, *input shape).
    """

    def __init__(
        self,
        prepared: Prepared,
        images: np.ndarray,
        plan: Schedule,
        batching: Batching,
        *,
        memory: int,
        seed: int,
        first_sample: int,
    ) -> None:
        self.prepared, self.network, self.plan, self.batching = prepared, prepared.network, plan, batching
        self.images, self.memory, self.seed, self.first_sample = images, memory, seed, first_sample
        self._packed: dict[str, list[np.ndarray]] = {}
        self._bursts: dict[str, BurstStream] = {}
        self._kept: tuple[tuple[Synapse, ...], list[_Chunk]] | None = None
        self._summed: tuple[tuple[Synapse, ...], torch.Tensor] | None = None

    def currents(self, layer: Layer) -> Iterator[tuple[torch.Tensor, int]]:
        """Input with bias of a layer whose sources have been simulated, block by block in time.

        Yields
        ------
        (currents, steps)
            currents (steps, samples, neurons) in weight units, neurons in memory order; or (1, samples, neurons) for a
            constant input of all these steps.
        """
        simulation = LayerSimulation(layer, self.prepared, len(self.images))
        bias = simulation.population.bias
        for _, blocks in self._inputs(simulation):
            for some, currents in blocks:
                yield currents + bias if len(bias) else currents, some.stop - some.start

    def total(self, layer: Layer) -> torch.Tensor | None:
        """(samples, neurons) float32 `currents` of a layer that waits for T steps, summed over them; None for other layers."""
        if layer.name not in self.prepared.windows:
            return None
        bias = LayerSimulation(layer, self.prepared, len(self.images)).population.bias
        return self._total(layer) + bias * self.plan.steps if len(bias) else self._total(layer)

    def _total(self, layer: Layer) -> torch.Tensor:
        if self._summed is None or self._summed[0] is not layer.synapses:
            ((_, streams),) = self._chunks(layer)
            window, samples = self.prepared.windows[layer.name], len(self.images)
            blocks = [
                window.total(window.messages(streams, rows)) for _, rows in self.batching.blocks(1, samples, layer.size)
            ]
            self._summed = layer.synapses, torch.cat(blocks)  # a float has no register to saturate
        return self._summed[1]

    def advance(self, layer: Layer) -> np.ndarray:
        """Simulate a layer and keep its spikes for later layers; (*shape) float64 spikes of each neuron in all samples."""
        samples = len(self.images)
        simulation, everyone = LayerSimulation(layer, self.prepared, samples), slice(0, samples)
        if layer.name in self.prepared.windows:
            burst = BurstStream(layer.shape, samples, self.plan.steps, torch.device("cpu"))
            counts = burst.counts.flatten(1)
            simulation.population.burst(self._total(layer), counts, self.plan.steps)
            self._bursts[layer.name] = burst
            return in_order(counts, layer.shape, np.int64).sum(axis=0).astype(np.float64)
        packed = self._packed[layer.name] = []
        out = sample_by_sample(self.batching.steps, samples, layer.size, dtype=torch.uint8, device=torch.device("cpu"))
        wait = self.plan.wait if self.network.waits(layer) else 0
        for steps, blocks in self._inputs(simulation):
            for some, currents in blocks:
                simulation.population.advance_window(currents, out, some, everyone, wait)
            if wait:  # whole windows are one chunk
                simulation.population.advance(None, out, slice(steps - wait, steps), everyone)
            packed.append(np.packbits(out[:steps].numpy(), axis=2))
        return simulation.population.neuron_counts().sum(axis=0).astype(np.float64)

    def _inputs(self, simulation: LayerSimulation) -> Iterator[_Chunk]:
        """For each chunk its number of steps and its blocks: which steps, and their currents without the bias."""
        layer, samples = simulation.layer, len(self.images)
        if self._kept and self._kept[0] is layer.synapses:
            yield from self._kept[1]
            return
        self._kept = None
        kept: list[_Chunk] | None = [] if 4 * self.plan.steps * samples * layer.size <= self.memory else None
        for steps, streams in self._chunks(layer):
            blocks = self._blocks(simulation, streams, steps)
            if kept is None:
                yield steps, blocks
            else:
                kept.append((steps, [_joined(blocks, steps)]))
                yield kept[-1]
        if kept is not None:
            self._kept = layer.synapses, kept

    def _chunks(self, layer: Layer) -> Iterator[tuple[int, dict[str, Source]]]:
        samples = len(self.images)
        sources = {s.source for s in layer.synapses}
        unpacked = sources - {INPUT} - set(self._bursts)
        kept = {
            name: Stream(
                self.network.source_shape(name), samples, self.batching.steps, torch.uint8, torch.device("cpu")
            )
            for name in unpacked
        }
        encoder = Encoder(
            self.network.input, self.images, self.plan.steps, seed=self.seed, first_sample=self.first_sample
        )
        entering = InputSimulation(self.network, encoder, self.batching, torch.device("cpu"))
        streams: dict[str, Source] = {**kept, **self._bursts, INPUT: entering.stream}
        start = 0
        # Every layer has the same chunks, so kept currents and packed spikes match them.
        for i, stop in enumerate(chunk_ends(self.plan, self.batching.steps)):
            if INPUT in sources:
                entering.advance(start, stop)
            for name in unpacked:
                shape = self.network.source_shape(name)
                bits = np.unpackbits(self._packed[name][i], axis=2, count=int(np.prod(shape)))
                messages = torch.from_numpy(bits).view(*bits.shape[:2], *memory_shape(shape))
                kept[name].messages[: stop - start] = messages
                kept[name].activity[:] = 1
            yield stop - start, streams
            start = stop

    def _blocks(self, simulation: LayerSimulation, streams: dict[str, Source], steps: int) -> Iterator[_Block]:
        constant = all(isinstance(streams[s.source], ConstantStream) for s in simulation.layer.synapses)
        length = steps if constant else self.batching.block_steps(len(self.images), simulation.block_size)
        for first in range(0, steps, length):
            some = slice(first, min(steps, first + length))
            yield some, simulation.currents(streams, some, slice(0, len(self.images)))

    def release(self, layer: Layer) -> None:
        """As `Layerwise.release`."""
        self._kept = self._summed = None
        names = [each.name for each in self.network]
        later = self.network.layers[names.index(layer.name) + 1 :]
        needed = {s.source for each in later for s in each.synapses}
        for sent in (self._packed, self._bursts):
            for name in set(sent) - needed:
                del sent[name]


def _joined(blocks: Iterable[_Block], steps: int) -> _Block:
    """Blocks as one, which keeps a single step of constant currents."""
    blocks = list(blocks)
    if len(blocks) == 1:
        return blocks[0]
    together = torch.empty((steps, *blocks[0][1].shape[1:]), dtype=blocks[0][1].dtype)
    for some, currents in blocks:
        together[some] = currents
    return slice(0, steps), together
