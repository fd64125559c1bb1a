"""Simulate a network layer after layer instead of step after step, for passes that set one layer before the next.

Each layer's spikes are kept, one bit each, until no later layer reads them; the input is encoded again for each pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from ..backends.fast.batching import Batching
from ..backends.fast.layers import LayerSimulation, Prepared
from ..backends.fast.streams import ConstantStream, InputSimulation, Stream, chunk_ends
from ..backends.fast.synapses import memory_shape
from ..encoding import Encoder
from ..network import INPUT, Layer, Synapse
from ..schedule import Schedule

_Block = tuple[slice, torch.Tensor]
_Chunk = tuple[int, Iterable[_Block]]


class Replay:
    """A batch of samples on its way through the layers.

    Parameters
    ----------
    prepared : Prepared
    images : numpy.ndarray
        (samples, *input shape).
    plan : Schedule
    batching : Batching
    memory : int
        Bytes for a layer's currents, which are computed once where they fit, and otherwise each time they are asked for.
    seed, first_sample : int
        Of the encoding, see `rmp_lava.encoding.Encoder`.
    """

    def __init__(
        self,
        prepared: Prepared,
        images: np.ndarray,
        plan: Schedule,
        batching: Batching,
        *,
        memory: int = 0,
        seed: int = 0,
        first_sample: int = 0,
    ) -> None:
        self.prepared, self.network, self.plan, self.batching = prepared, prepared.network, plan, batching
        self.images, self.memory, self.seed, self.first_sample = images, memory, seed, first_sample
        self._packed: dict[str, list[np.ndarray]] = {}
        self._kept: tuple[tuple[Synapse, ...], list[_Chunk]] | None = None

    def currents(self, layer: Layer) -> Iterator[tuple[torch.Tensor, int]]:
        """Input of a layer whose sources have been advanced, and its bias, stretch by stretch in time.

        Yields
        ------
        (currents, steps)
            (steps, samples, neurons) in weight units, neurons in memory order; or a single one that stands for all steps.
        """
        simulation = LayerSimulation(layer, self.prepared, len(self.images))
        bias = simulation.population.bias
        for _, blocks in self._inputs(simulation):
            for some, currents in blocks:
                yield currents + bias if len(bias) else currents, some.stop - some.start

    def advance(self, layer: Layer) -> np.ndarray:
        """Simulate a layer and keep its spikes for the layers after it.

        Returns
        -------
        numpy.ndarray
            (*shape) float64: spikes of each neuron, summed over the samples.
        """
        samples = len(self.images)
        simulation, everyone = LayerSimulation(layer, self.prepared, samples), slice(0, samples)
        packed = self._packed[layer.name] = []
        out = torch.empty((self.batching.steps, samples, layer.size), dtype=torch.uint8)
        for steps, blocks in self._inputs(simulation):
            for some, currents in blocks:
                simulation.population.advance(currents, out, some, everyone)
            packed.append(np.packbits(out[:steps].numpy(), axis=2))
        return simulation.population.neuron_counts().sum(axis=0).astype(np.float64)

    def _inputs(self, simulation: LayerSimulation) -> Iterator[_Chunk]:
        """Chunk by chunk its number of steps, and its blocks: which steps, and their currents without the bias."""
        layer, samples = simulation.layer, len(self.images)
        if self._kept and self._kept[0] is layer.synapses:
            yield from self._kept[1]
            return
        self._kept = None
        kept: list[_Chunk] | None = [] if 4 * self.plan.steps * samples * layer.size <= self.memory else None
        for steps, streams in self._chunks(layer):
            parts = self._blocks(simulation, streams, steps)
            blocks = ((some, simulation.currents(streams, some, slice(0, samples))) for some in parts)
            if kept is not None:
                blocks = [_joined(blocks, steps)]
                kept.append((steps, blocks))
            yield steps, blocks
        if kept is not None:
            self._kept = layer.synapses, kept

    def _chunks(self, layer: Layer) -> Iterator[tuple[int, dict[str, Stream]]]:
        samples = len(self.images)
        sources = {s.source for s in layer.synapses}
        streams = {
            name: Stream(
                self.network.source_shape(name), samples, self.batching.steps, torch.uint8, torch.device("cpu")
            )
            for name in sources - {INPUT}
        }
        encoder = Encoder(
            self.network.input, self.images, self.plan.steps, seed=self.seed, first_sample=self.first_sample
        )
        entering = InputSimulation(self.network, encoder, self.batching, torch.device("cpu"))
        streams[INPUT] = entering.stream
        start = 0
        # Chunks are the same for every layer, so that the kept ones fit.
        for i, stop in enumerate(chunk_ends(self.plan, self.batching)):
            if INPUT in sources:
                entering.advance(start, stop)
            for name in sources - {INPUT}:
                shape = self.network.source_shape(name)
                bits = np.unpackbits(self._packed[name][i], axis=2, count=int(np.prod(shape)))
                messages = torch.from_numpy(bits).view(*bits.shape[:2], *memory_shape(shape))
                streams[name].messages[: stop - start] = messages
                streams[name].activity[:] = 1
            yield stop - start, streams
            start = stop

    def _blocks(self, simulation: LayerSimulation, streams: dict[str, Stream], steps: int) -> Iterator[slice]:
        constant = all(isinstance(streams[s.source], ConstantStream) for s in simulation.layer.synapses)
        length = steps if constant else self.batching.block_steps(len(self.images), simulation.block_size)
        for first in range(0, steps, length):
            yield slice(first, min(steps, first + length))

    def release(self, layer: Layer) -> None:
        """Forget the spikes that no layer after this one reads, and the layer's currents."""
        self._kept = None
        names = [each.name for each in self.network]
        later = self.network.layers[names.index(layer.name) + 1 :]
        needed = {s.source for each in later for s in each.synapses}
        for name in set(self._packed) - needed:
            del self._packed[name]


def _joined(blocks: Iterable[_Block], steps: int) -> _Block:
    """Blocks as one, which stays a single step where that stands for all."""
    blocks = list(blocks)
    if len(blocks) == 1:
        return blocks[0]
    together = torch.empty((steps, *blocks[0][1].shape[1:]), dtype=blocks[0][1].dtype)
    for some, currents in blocks:
        together[some] = currents
    return slice(0, steps), together
