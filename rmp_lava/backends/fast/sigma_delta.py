"""A batch of samples through a sigma-delta network: each layer's sums of a chunk of steps at once, then its neurons step by step.

Follows `rmp_lava.sigma_delta` in 32-bit integers, which wrap as Lava's do. Messages are graded, so whether float32 is exact for
their sums is known only when they are there: large ones are summed in two parts, or in float64, and steps without any are left
out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Lock

import numpy as np
import torch

from ...encoding import Encoder
from ...network import INPUT, Conv, SigmaDelta, SpikingNetwork, Synapse, delays, longest_delays
from ...neuron import Range, union
from ...readout import output
from ...registers import CONV_BITS, MAX_CONV_SUM, MAX_STATE
from ...schedule import Schedule
from ..batches import Part
from .batching import Batching
from .neurons import in_order
from .streams import chunk_ends
from .synapses import EXACT_FLOAT32, Arithmetic, Sums, flat, from_memory, make_sums, memory_shape, to_memory
from .tallies import Tallies


class GradedSums:
    """Exact sums of a synapse's graded messages, as Lava computes them.

    largest_row : Largest sum of |weight| of any neuron: times the largest message, a bound of every sum.
    """

    def __init__(self, synapse: Synapse, shape: tuple[int, ...], device: torch.device) -> None:
        self.synapse, self._shape, self._device = synapse, shape, device
        magnitudes = np.abs(synapse.shifted_weight)
        self.largest_row = int(magnitudes.reshape(len(magnitudes), -1).sum(axis=1).max())
        self._sums: dict[torch.dtype, Sums] = {}
        self._lock = Lock()
        self.sums(torch.float32)

    def sums(self, dtype: torch.dtype) -> Sums:
        """`Sums` in one number format, made when it is first needed."""
        with self._lock:
            if dtype not in self._sums:
                self._sums[dtype] = make_sums(
                    self.synapse, self._shape, Arithmetic(self._device, dtype, "float32", largest=255)
                )
            return self._sums[dtype]

    def __call__(self, messages: torch.Tensor, total: torch.Tensor) -> int:
        """Add the sums of messages (steps, rows, *memory shape) to a total (steps, rows, neurons); sums beyond 24 bits."""
        largest = messages.flatten(1).abs().amax(dim=1).tolist()
        beyond, start = 0, 0
        while start < len(largest):
            shift = self._shift(largest[start])
            stop = start + 1
            while stop < len(largest) and self._shift(largest[stop]) == shift:
                stop += 1
            if shift is not None:
                found = self._exact(messages[start:stop], shift)
                beyond += self._add(found, self.largest_row * max(largest[start:stop]), total[start:stop])
            start = stop
        return beyond

    def _shift(self, largest: int) -> int | None:
        """How to sum messages of this magnitude: None if there are none, else see `_exact`."""
        if not largest:
            return None
        bits = (EXACT_FLOAT32 // (self.largest_row + 1)).bit_length() - 1  # of messages whose sums are exact
        if largest <= 1 << bits:
            return 0
        shift = int(largest).bit_length() - bits
        return shift if shift <= bits else -1

    def _exact(self, messages: torch.Tensor, shift: int) -> torch.Tensor:
        """Sums (steps, rows, neurons): in float32, of the upper and the lower `shift` bits apart; -1: in float64."""
        shape = (*messages.shape[:2], -1)
        messages = messages.flatten(0, 1)
        if shift <= 0:
            dtype = torch.float64 if shift else torch.float32
            return self.sums(dtype)(messages.to(dtype)).view(shape)
        upper = messages + (1 << shift - 1) >> shift
        sums = self.sums(torch.float32)
        high, low = (sums(part.to(torch.float32)).to(torch.int64) for part in (upper, messages - (upper << shift)))
        return (low + (high << shift)).view(shape)

    def _add(self, found: torch.Tensor, bound: int, total: torch.Tensor) -> int:
        if bound < MAX_CONV_SUM:
            total += found.to(torch.int32)
            return 0
        integers = found.to(torch.int64)
        beyond = int(torch.count_nonzero(integers.abs() >= MAX_CONV_SUM))
        if beyond and isinstance(self.synapse, Conv):
            integers = _wrapped(integers, CONV_BITS)
        total += integers.to(torch.int32)
        return beyond


def _wrapped(values: torch.Tensor, bits: int) -> torch.Tensor:
    half = 1 << bits - 1
    return ((values + half) & (2 * half - 1)) - half


class PreparedSigmaDelta:
    """A network's synapses on a device, ready for any number of batches, in any number of threads."""

    def __init__(self, network: SpikingNetwork, device: torch.device) -> None:
        self.network, self.device = network, device
        self.sums = {
            layer.name: [GradedSums(s, network.source_shape(s.source), device) for s in layer.synapses]
            for layer in network
        }
        self.tallies = Tallies(network)

    def describe(self) -> str:
        """The kernel of the sums, in words."""
        return "float32 sums, of upper and lower bits apart where messages are large"


class _Population:
    """State of a population during a batch, and what it sends.

    messages : (lag + steps, samples, *memory shape) int32; the first `lag` are those before the chunk.
    sigma, sent : (samples, neurons) int32.
    counts : The same, messages other than 0 so far.
    """

    def __init__(
        self,
        neurons: SigmaDelta,
        shape: tuple[int, ...],
        samples: int,
        steps: int,
        lag: int,
        device: torch.device,
        encodes: bool,
    ) -> None:
        self.neurons, self.shape, self.lag, self.encodes = neurons, shape, lag, encodes
        size = int(np.prod(shape))
        self.messages = torch.zeros((lag + steps, samples, *memory_shape(shape)), dtype=torch.int32, device=device)
        self.sigma, self.sent, self.counts = torch.zeros((3, samples, size), dtype=torch.int32, device=device)
        bias = neurons.bias_per_neuron(shape)
        self.bias: torch.Tensor | None = None
        if bias is not None:
            bias = flat(bias).astype(np.int64) << neurons.exponent
            self.bias = torch.tensor(bias, device=device).to(torch.int32)
        self.threshold = int(neurons.threshold) << neurons.exponent
        self.beyond = self.large = 0
        self.range: Range | None = None

    def roll(self, steps: int) -> None:
        """Keep the last messages of a chunk of so many steps for the next one."""
        self.messages[: self.lag] = self.messages[steps : steps + self.lag].clone()

    def advance(self, currents: torch.Tensor, steps: slice, rows: slice, sigmas: torch.Tensor | None) -> None:
        """Advance some samples by some steps of the chunk.

        currents : (steps, rows, neurons) int32 sums; of the input, frames.
        sigmas : (all steps, samples, neurons) int32, receives sigma after each step; None: not kept.
        """
        out = self.messages.flatten(2)[self.lag + steps.start : self.lag + steps.stop, rows]
        sigma, sent, counts = self.sigma[rows], self.sent[rows], self.counts[rows]
        for t, current in enumerate(currents):
            if self.encodes:
                torch.bitwise_left_shift(current, self.neurons.exponent, out=sigma)
            else:
                sigma += current
                self._note(sigma)
            if sigmas is not None:
                sigmas[steps.start + t, rows] = sigma
            if self.neurons.reset == "none":
                out[t] = sigma
            else:
                out[t] = self._fired(sigma, sent) >> self.neurons.state_exponent
            counts += out[t] != 0

    def _fired(self, sigma: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        act = sigma if self.bias is None else sigma + self.bias
        fired = (act if self.encodes else act.clamp(min=0)) - sent
        if self.threshold:
            fired *= fired.abs() >= self.threshold
        sent += fired
        return fired

    def _note(self, sigma: torch.Tensor) -> None:
        low, high = (limit.item() for limit in torch.aminmax(sigma))
        if max(-low, high) > MAX_STATE:
            self.beyond += int(torch.count_nonzero((sigma > MAX_STATE) | (sigma < -MAX_STATE)))
        self.range = union(self.range, (int(low), int(high)))


class SigmaDeltaSimulation:
    """A batch of samples on its way through the network; as `simulation.BatchSimulation`."""

    def __init__(
        self,
        prepared: PreparedSigmaDelta,
        encoder: Encoder,
        plan: Schedule,
        batching: Batching,
        record: Collection[str] = (),
    ) -> None:
        self.prepared, self.network, self.encoder = prepared, prepared.network, encoder
        self.plan, self.batching, self.record, self.device = plan, batching, record, prepared.device
        self.samples, steps = len(encoder.images), batching.steps
        network, lags = self.network, longest_delays(self.network)
        shapes = {INPUT: network.input.shape} | {layer.name: layer.shape for layer in network}
        neurons = {INPUT: network.input.neurons} | {layer.name: layer.neurons for layer in network}
        self.populations: dict[str, _Population] = {}
        for name, each in neurons.items():
            assert isinstance(each, SigmaDelta)
            lag = 1 + lags.get(name, 0)
            self.populations[name] = _Population(
                each, shapes[name], self.samples, steps, lag, self.device, name == INPUT
            )
        self.delays = delays(network)
        size = network.output.size
        self.sigmas = torch.zeros((steps, self.samples, size), dtype=torch.int32, device=self.device)
        self.total = torch.zeros((self.samples, size), dtype=torch.int64, device=self.device)
        self.predictions_at = np.zeros((self.samples, plan.steps), dtype=np.int32)
        self.spikes: dict[str, np.ndarray] = {}

    def run(self, ended: Callable[[int, int], None]) -> list[tuple[np.ndarray, Part]]:
        """Simulate all steps; `ended(samples, steps)` is called after each chunk and may raise."""
        start = 0
        for stop in chunk_ends(self.plan, self.batching.steps):
            self._advance(start, stop)
            ended(self.samples, stop - start)
            start = stop
        return [(np.arange(self.samples), self._part())]

    def _advance(self, start: int, stop: int) -> None:
        steps = stop - start
        frames = np.moveaxis(to_memory(self.encoder.messages(start, stop), 2), 1, 0)
        frames = np.ascontiguousarray(frames).astype(np.int32).reshape(steps, self.samples, -1)
        everything = slice(0, steps), slice(0, self.samples)
        self.populations[INPUT].advance(torch.from_numpy(frames).to(self.device), *everything, None)
        for layer in self.network:
            population, sums = self.populations[layer.name], self.prepared.sums[layer.name]
            largest = max(layer.size, *(int(np.prod(self.network.source_shape(s.source))) for s in layer.synapses))
            for some, rows in self.batching.blocks(steps, self.samples, largest):
                shape = (some.stop - some.start, rows.stop - rows.start, layer.size)
                currents = torch.zeros(shape, dtype=torch.int32, device=self.device)
                for synapse, each, delay in zip(layer.synapses, sums, self.delays[layer.name], strict=True):
                    source = self.populations[synapse.source]
                    first = source.lag - 1 - delay + some.start
                    population.large += each(source.messages[first : first + shape[0], rows], currents)
                population.advance(currents, some, rows, self.sigmas if layer is self.network.output else None)
        self._read_out(start, stop)
        if "spikes" in self.record:
            self._keep_messages(start, stop)
        for population in self.populations.values():
            population.roll(steps)

    def _read_out(self, start: int, stop: int) -> None:
        last = self.populations[self.network.output.name]
        sent = last.messages.flatten(2)[last.lag : last.lag + stop - start]
        so_far = sent.cumsum(dim=0, dtype=torch.int64) + self.total
        self.total = so_far[-1]
        shape = (stop - start, self.samples, *memory_shape(self.network.output.shape))
        counts, potentials = (
            from_memory(each.reshape(shape).cpu().numpy().astype(np.int64), 2).reshape(shape[0], self.samples, -1)
            for each in (so_far, self.sigmas[: stop - start])
        )
        scores = output(self.network, counts, potentials, np.arange(start + 1, stop + 1)[:, None, None])
        self.predictions_at[:, start:stop] = scores.argmax(axis=2).T
        self.output = scores[-1]

    def _keep_messages(self, start: int, stop: int) -> None:
        for name, population in self.populations.items():
            if name not in self.spikes:
                shape = (self.samples, self.plan.steps, *population.shape)
                self.spikes[name] = np.zeros(shape, dtype=np.int64)
            sent = population.messages[population.lag : population.lag + stop - start]
            self.spikes[name][:, start:stop] = from_memory(sent.transpose(0, 1).cpu().numpy(), 2)

    def _part(self) -> Part:
        part = Part(output=self.output, predictions_at=self.predictions_at, spikes=self.spikes)
        part.count_updates(self.network, self.plan.steps, self.samples)
        self.prepared.tallies.enter(part, {name: each.counts for name, each in self.populations.items()})
        for name, population in self.populations.items():
            part.note(name, population.beyond, population.large, population.range, None)
            if "counts" in self.record:
                part.neuron_counts[name] = in_order(population.counts, population.shape, np.int64)
            if "potentials" in self.record and name != INPUT:
                part.potentials[name] = in_order(population.sigma, population.shape, np.int64)
        return part
