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
from ...readout import needs_potential
from ...schedule import Schedule
from .batching import Batching
from .layers import LONGEST_WINDOW, LayerSimulation, Prepared
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
        sums = None if "waiting" in self.record else self.prepared.windows.get(layer.name)
        for _, rows in self.batching.blocks(1, samples, simulation.block_size):
            if sums is None:
                out[rows] = self._step_by_step(simulation, rows)
                continue
            total, safe = sums.total(self.streams, rows)
            for some, is_safe in _runs(safe, rows):
                if is_safe:
                    of_some = total[some.start - rows.start : some.stop - rows.start]
                    simulation.population.burst(of_some, out, steps, some, keep="potentials" in self.record)
                else:
                    out[some] = self._step_by_step(simulation, some)
        return stream

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
        out, potentials = stream.messages.flatten(2), []
        for t in range(start + wait if start else 0, stop + wait):
            now, fires = slice(max(0, t - wait), max(0, t - wait) + 1), t >= wait
            currents = simulation.currents(self.streams, slice(t, t + 1), everyone) if t < self.plan.steps else None
            simulation.population.advance(currents, out, now, everyone, fires=fires)
            if fires and needs_potential(self.network):
                potentials.append(simulation.population.v.clone())
        self.updates[layer.name] += layer.size * len(self.rows) * (stop - start)
        if "spikes" in self.record:
            self._record_spikes(layer.name, stream, start, stop, first=start)
        self._read_out(out[start:stop], potentials, start, stop)


def _runs(safe: np.ndarray | None, rows: slice) -> Iterator[tuple[slice, bool]]:
    """Neighbouring rows that are all safe, or all not; None stands for all."""
    if safe is None:
        yield rows, True
        return
    ends = [*(np.flatnonzero(np.diff(safe)) + 1), len(safe)]
    for first, last in zip([0, *ends], ends, strict=False):
        yield slice(rows.start + first, rows.start + last), bool(safe[first])
