"""A batch of samples, simulated chunk by chunk in time with all states carried over.

Within a chunk the network is computed layer by layer: a layer's sums for many steps and samples are one convolution, then its
neurons advance through those steps. All windows are aligned (`rmp_lava.schedule`), so a layer reads its sources' messages of
the same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import torch

from ...encoding import Encoder
from ...network import INPUT, Layer, histories, populations
from ...readout import needs_count, needs_potential, output
from ...schedule import Schedule
from ..batches import Part
from .batching import Batching
from .confidence import exit_probability
from .layers import LayerSimulation, Prepared
from .neurons import in_order
from .streams import InputSimulation, Source, Stream, chunk_ends
from .synapses import from_memory, memory_shape


class BatchSimulation:
    """A batch of samples on its way through the network.

    encoder : Of the batch's samples.
    confidence : Stop a sample once the probability of its prediction (`exit_probability`) reaches this.
    """

    def __init__(
        self,
        prepared: Prepared,
        encoder: Encoder,
        plan: Schedule,
        batching: Batching,
        record: Collection[str] = (),
        *,
        confidence: float | None = None,
    ) -> None:
        self.network, self.device, self.tallies = prepared.network, prepared.device, prepared.tallies
        self.plan, self.batching, self.record, self.confidence = plan, batching, record, confidence
        samples = len(encoder.images)
        self.input = InputSimulation(self.network, encoder, batching, self.device)
        self.layers = {layer.name: LayerSimulation(layer, prepared, samples) for layer in self.network}
        self.chunk = batching.steps
        self.streams: dict[str, Source] = {INPUT: self.input.stream}
        self.rows = np.arange(samples)
        """Indices of the samples that are still running."""
        self.updates = {each.name: 0 for each in populations(self.network)}
        self.predictions_at = np.zeros((samples, plan.steps), dtype=np.int32)
        self.spikes: dict[str, np.ndarray] = {}
        self.output_counts = torch.zeros((samples, self.network.output.size), dtype=torch.int64, device=self.device)
        self.parts: list[tuple[np.ndarray, Part]] = []

    def run(self, ended: Callable[[int, int], None]) -> list[tuple[np.ndarray, Part]]:
        """Simulate the whole window; `ended(samples, steps)` is called after each chunk and may raise.

        Returns
        -------
        list of (numpy.ndarray, Part)
            Indices of samples in the batch, and their part of the `Run`.
        """
        self._begin()
        start = 0
        for stop in chunk_ends(self.plan, self.chunk):
            self._advance(start, stop)
            ended(len(self.rows), stop - start)
            for stream in self.streams.values():
                if isinstance(stream, Stream):
                    stream.turn(stop - start)
            if self.confidence is not None and stop < self.plan.steps:
                self._leave_early(stop)
                if not len(self.rows):
                    break
            start = stop
        if len(self.rows):
            self._finish(np.ones(len(self.rows), dtype=bool), self.plan.steps)
        return self.parts

    def _begin(self) -> None:
        last_reader = {s.source: layer.name for layer in self.network for s in layer.synapses}
        largest = max(layer.size for layer in self.network) * len(self.rows) * self.batching.steps
        free: list[torch.Tensor] = []
        used: dict[str, torch.Tensor] = {}
        for layer in self.network:
            if not histories(self.network)[layer.name]:
                used[layer.name] = free.pop() if free else torch.zeros(largest, dtype=torch.uint8, device=self.device)
            self.streams[layer.name] = self._stream(layer, used.get(layer.name))
            free += [used[name] for name, reader in last_reader.items() if reader == layer.name and name in used]

    def _stream(self, layer: Layer, memory: torch.Tensor | None = None) -> Stream:
        history = histories(self.network)[layer.name]
        return Stream(layer.shape, len(self.rows), self.batching.steps, torch.uint8, self.device, history, memory)

    def _advance(self, start: int, stop: int) -> None:
        samples, steps = len(self.rows), stop - start
        self.input.advance(start, stop)
        if "spikes" in self.record:
            self._record_spikes(INPUT, self.streams[INPUT], start, stop)
        for layer in self.network:
            stream, simulation = self.streams[layer.name], self.layers[layer.name]
            assert isinstance(stream, Stream)
            potentials = self._potentials(layer, steps)
            stream.activity[:] = 0
            blocks = self.batching.blocks(steps, samples, simulation.block_size)
            if layer.recurrent:  # its spikes return after each step
                blocks = ((slice(t, t + 1), slice(0, samples)) for t in range(steps))
            out = stream.messages.flatten(2)
            for some, rows in blocks:
                currents = simulation.currents(self.streams, some, rows)
                spikes = simulation.population.advance(currents, out, some, rows, potentials=potentials)
                stream.activity[some] += spikes
            if "spikes" in self.record:  # the memory is another layer's later
                self._record_spikes(layer.name, stream, start, stop)
        for each in populations(self.network):
            self.updates[each.name] += each.size * samples * steps
        self._read_out(out[:steps], potentials, start, stop)

    def _potentials(self, layer: Layer, steps: int) -> torch.Tensor | None:
        """Memory for a layer's potentials after each step, if it is the read-out and they are needed."""
        if layer is not self.network.output or not needs_potential(self.network):
            return None
        dtype = self.layers[layer.name].population.state
        return torch.empty((steps, len(self.rows), layer.size), dtype=dtype, device=self.device)

    def _read_out(self, fired: torch.Tensor, potentials: torch.Tensor | None, start: int, stop: int) -> None:
        """Predictions from the read-out's spikes, (steps, samples, outputs), and its potentials if they are needed."""
        counts = None
        if needs_count(self.network):
            so_far = fired.cumsum(dim=0) + self.output_counts
            self.output_counts = so_far[-1]
            counts = so_far.cpu().numpy()
        elapsed = np.arange(start + 1, stop + 1)[:, None, None]
        after = None if potentials is None else potentials.cpu().numpy()
        scores = output(self.network, counts, after, elapsed)
        self._note(start, stop, scores)

    def _note(self, start: int, stop: int, scores: np.ndarray) -> None:
        """Keep a chunk's results; scores (steps, samples, outputs) are the read-out after each step, in memory order."""
        self.scores = from_memory(scores.reshape(*scores.shape[:2], *memory_shape(self.network.output.shape)), 2)
        self.scores = self.scores.reshape(*scores.shape[:2], -1)
        self.predictions_at[self.rows, start:stop] = self.scores.argmax(axis=2).T

    def _record_spikes(self, name: str, source: Source, start: int, stop: int, first: int = 0) -> None:
        """Keep what a source sends in steps start .. stop - 1; its own step `first` is the first of them."""
        shape, dtype = self.network.source_shape(name), np.dtype(np.uint8)
        if name == INPUT:
            messages = self.input.messages(stop - start)
            dtype = dtype if self.input.population is not None else self.input.encoder.dtype
        else:
            messages = source.read(first, first + stop - start, slice(0, len(self.rows)))
        if name not in self.spikes:
            self.spikes[name] = np.zeros((len(self.predictions_at), self.plan.steps, *shape), dtype=dtype)
        self.spikes[name][self.rows, start:stop] = from_memory(messages.transpose(0, 1).cpu().numpy(), 2)

    def _leave_early(self, steps: int) -> None:
        leaving = exit_probability(self.network, self.scores[-1], steps) >= self.confidence
        if leaving.any():
            self.predictions_at[self.rows[leaving], steps:] = self.predictions_at[self.rows[leaving], steps - 1 : steps]
            self._finish(leaving, steps)
            self._keep(~leaving)

    def _keep(self, staying: np.ndarray) -> None:
        rows = torch.from_numpy(np.flatnonzero(staying)).to(self.device)
        self.rows = self.rows[staying]
        self.output_counts = self.output_counts[rows]
        self.input.keep(rows)
        for name, simulation in self.layers.items():
            simulation.population.keep(rows)
            self.streams[name].keep(rows)

    def _counts(self) -> dict[str, torch.Tensor]:
        """Source -> (samples, neurons in memory order) messages of each neuron so far."""
        return {INPUT: self.input.counts()} | {name: each.population.counts for name, each in self.layers.items()}

    def _finish(self, leaving: np.ndarray, steps: int) -> None:
        """Make the part of the samples that leave; totals over all samples go with the first ones."""
        rows = self.rows[leaving]
        part = Part(
            output=self.scores[-1][leaving],
            predictions_at=self.predictions_at[rows],
            steps_used=None if self.confidence is None else np.full(len(rows), steps),
            spikes={name: spikes[rows] for name, spikes in self.spikes.items()},
        )
        part.neuron_updates, self.updates = self.updates, {name: 0 for name in self.updates}
        counts = self._counts()
        chosen = torch.from_numpy(leaving).to(self.device)
        some = counts if leaving.all() else {name: each[chosen] for name, each in counts.items()}
        self.tallies.enter(part, some)
        if "counts" in self.record:
            part.neuron_counts = {
                name: in_order(each, self.network.source_shape(name), np.int64) for name, each in some.items()
            }
        if self.input.population is not None:
            self.input.population.report(part, INPUT, 0)  # pixels have at most 16 bits
        for name, simulation in self.layers.items():
            simulation.population.report(part, name, int(simulation.large_inputs))
            simulation.large_inputs = 0
            if "waiting" in self.record and simulation.population.waiting_range is not None:
                part.waiting_ranges[name] = simulation.population.waiting_range
            if "potentials" in self.record:
                part.potentials[name] = simulation.population.potentials()[leaving]
        self.parts.append((rows, part))
