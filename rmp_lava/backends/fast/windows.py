"""A batch of samples through a network whose neurons wait: each layer for its whole window, before the next layer.

A layer that waits sends its first message when later layers have received nothing yet, so there are no chunks of time here: the
messages of whole windows are kept. With wait = T, neurons spike in consecutive steps once all messages have arrived, so their
spikes are kept as counts, and follow from the sum of a window (`WindowSums`). Early exit ends the read-out only: the layers
before it finish their windows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch

from ...encoding import Encoder
from ...network import INPUT, Layer, populations, windows
from ...schedule import Schedule
from .batching import Batching
from .layers import LONGEST_WINDOW, LayerSimulation, Prepared, WindowSums
from .simulation import BatchSimulation
from .streams import BurstStream, Source, Stream, sample_by_sample


class WindowSimulation(BatchSimulation):
    """As `BatchSimulation`, for networks whose neurons wait; `batching` has the whole window in one chunk."""

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
        super().__init__(prepared, encoder, plan, batching, record, confidence=confidence)
        self.prepared = prepared
        self.chunk = plan.steps if confidence is None else 1  # of the read-out
        self.waits = {name: window.wait for name, window in windows(self.network).items()}

    def _begin(self) -> None:
        """Simulate the input and every layer but the read-out."""
        samples, steps = len(self.rows), self.plan.steps
        self.input.advance(0, steps)
        *hidden, last = self.network
        for layer in hidden:
            self.streams[layer.name] = self._window_of(layer)
        for each in populations(self.network):
            self.updates[each.name] = each.size * samples * (each.window.wait + (each.name != last.name) * steps)
        if "spikes" in self.record:
            for name, source in self.streams.items():
                self._record_spikes(name, source, 0, steps)
        self.streams[last.name] = self._stream(last)

    def _window_of(self, layer: Layer) -> Source:
        """What a layer sends in its whole window."""
        simulation, samples = self.layers[layer.name], len(self.rows)
        steps, wait = self.plan.steps, self.waits[layer.name]
        if wait == steps <= LONGEST_WINDOW:
            return self._burst_of(layer, simulation)
        stream = self._stream(layer)
        out = stream.messages.flatten(2)
        for some, rows in self.batching.blocks(steps, samples, simulation.block_size):
            currents = simulation.currents(self.streams, some, rows)
            simulation.population.advance_window(currents, out, some, rows, wait)
        simulation.population.advance(None, out, slice(steps - wait, steps), slice(0, samples))
        stream.activity[:] = 1  # to look for silent steps would take longer than to sum them
        return stream

    def _burst_of(self, layer: Layer, simulation: LayerSimulation) -> BurstStream:
        """The same for wait = T."""
        samples, steps = len(self.rows), self.plan.steps
        stream = BurstStream(layer.shape, samples, steps, self.device)
        out = stream.counts.flatten(1)
        window = None if "waiting" in self.record else self.prepared.windows.get(layer.name)
        for _, rows in self.batching.blocks(1, samples, simulation.block_size):
            if window is None:
                out[rows] = self._step_by_step(simulation, rows)
            else:
                self._burst(simulation, window, rows, out)
        return stream

    def _burst(self, simulation: LayerSimulation, window: WindowSums, rows: slice, out: torch.Tensor) -> None:
        """Write the spikes of some samples: by sums of their whole window, unless a potential may saturate on the way."""
        population, steps, keep = simulation.population, self.plan.steps, "potentials" in self.record
        messages, spikes = window.messages(self.streams, rows), out[rows]
        total = window.total(messages)
        ends = population.burst(total, spikes, steps)
        safe = window.are_safe(self.streams, messages, total, ends / population.scale)
        if safe is None:
            population.settle(total, spikes, steps, rows, ends, keep=keep)
            return
        for some in _runs(safe):
            samples = slice(rows.start + some.start, rows.start + some.stop)
            if safe[some.start]:
                population.settle(total[some], spikes[some], steps, samples, ends[some], keep=keep)
            else:
                spikes[some] = self._step_by_step(simulation, samples)

    def _step_by_step(self, simulation: LayerSimulation, rows: slice) -> torch.Tensor:
        """(rows, neurons) uint8 spikes of a layer that waits for all T steps."""
        samples, steps, population = len(self.rows), self.plan.steps, simulation.population
        spikes = sample_by_sample(steps, samples, simulation.layer.size, dtype=torch.uint8, device=self.device)
        length = self.batching.block_steps(rows.stop - rows.start, simulation.block_size)
        for first in range(0, steps, length):
            some = slice(first, min(steps, first + length))
            currents = simulation.currents(self.streams, some, rows)
            population.advance_window(currents, spikes, some, rows, steps)
        population.advance(None, spikes, slice(0, steps), rows)
        return spikes[:, rows].sum(dim=0, dtype=torch.uint8)

    def _counts(self) -> dict[str, torch.Tensor]:
        bursts = {name: each.counts.flatten(1) for name, each in self.streams.items() if isinstance(each, BurstStream)}
        others = {name: each.population.counts for name, each in self.layers.items() if name not in bursts}
        return {INPUT: self.input.counts()} | bursts | others

    def _advance(self, start: int, stop: int) -> None:
        """Advance the read-out through observed steps start .. stop - 1."""
        layer, everyone = self.network.output, slice(0, len(self.rows))
        stream, simulation, wait = self.streams[layer.name], self.layers[layer.name], self.waits[layer.name]
        assert isinstance(stream, Stream)
        population, out, potentials = simulation.population, stream.messages.flatten(2), self._potentials(layer, stop)
        length = self.batching.block_steps(len(self.rows), simulation.block_size)
        first = start + wait if start else 0  # in its own window: it waits, and at last no message arrives any more
        for end in (wait, min(self.plan.steps, stop + wait), stop + wait):
            for t in range(first, end, length):
                some = slice(t, min(end, t + length))
                currents = simulation.currents(self.streams, some, everyone) if t < self.plan.steps else None
                if t < wait:
                    population.advance(currents, out, some, everyone, fires=False)
                else:
                    population.advance(
                        currents, out, slice(t - wait, some.stop - wait), everyone, potentials=potentials
                    )
            first = max(first, end)
        self.updates[layer.name] += layer.size * len(self.rows) * (stop - start)
        if "spikes" in self.record:
            self._record_spikes(layer.name, stream, start, stop, first=start)
        self._read_out(out[start:stop], None if potentials is None else potentials[start:stop], start, stop)


def _runs(safe: np.ndarray) -> Iterator[slice]:
    """Neighbouring samples that are all safe, or all not."""
    ends = [*(np.flatnonzero(np.diff(safe)) + 1), len(safe)]
    yield from map(slice, [0, *ends], ends)
