"""A batch of samples, simulated chunk by chunk in time with all states carried over.

Within a chunk the network is computed layer by layer: a layer's sums for many steps and samples are one convolution, then
its neurons advance through those steps. Every synapse delays by one step, so a layer needs its sources' messages up to the
step before: a stream holds the chunk's steps and, at index 0, the last step of the chunk before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch

from ...encoding import Encoder
from ...network import INPUT, Layer, SpikingNetwork
from ...neuron import CURRENT_LIMIT, STATE_SHIFT
from ...schedule import Schedule
from ..parts import count_messages, empty_part
from .batching import Batching
from .neurons import Population, make_population
from .synapses import EXACT_FLOAT32, Sums, from_memory, largest_sum, memory_shape, to_memory


class Prepared:
    """A network's synapses on a device, ready for any number of batches, in any number of threads.

    Attributes
    ----------
    sums : dict
        Layer name -> its synapses' `Sums`, in their order.
    dtypes : dict
        Layer name -> dtype of its input sums.
    bounds : dict
        Layer name -> bound of |input sum| in weight units; 0 in float networks, where nothing depends on it.
    """

    def __init__(self, network: SpikingNetwork, device: torch.device, kernel: str = "float32") -> None:
        self.network, self.device = network, device
        self.sums: dict[str, list[Sums]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        self.bounds = {layer.name: largest_sum(layer, network) if network.is_integer else 0 for layer in network}
        for layer in network:
            exact = self.bounds[layer.name] < EXACT_FLOAT32
            self.dtypes[layer.name] = torch.float32 if exact else torch.float64
            self.sums[layer.name] = [
                Sums(
                    s,
                    network.source_shape(s.source),
                    device=device,
                    dtype=self.dtypes[layer.name],
                    kernel=kernel,
                    spikes_only=s.source != INPUT or (network.is_integer and network.input.largest_message == 1),
                )
                for s in layer.synapses
            ]

    def describe(self) -> str:
        """Which kernel computes which layer's sums, in words."""
        layers: dict[str, list[str]] = {}
        for name, sums in self.sums.items():
            layers.setdefault(" and ".join(sorted({s.kernel for s in sums})), []).append(name)
        most = max(layers, key=lambda kernel: len(layers[kernel]))
        others = [f"{kernel} in {', '.join(names)}" for kernel, names in layers.items() if kernel != most]
        return f"{most} sums" + (f" ({'; '.join(others)})" if others else "")


class LayerSimulation:
    """One layer of a batch: its neurons' state, and the sums of its synapses."""

    def __init__(self, layer: Layer, prepared: Prepared, samples: int) -> None:
        self.layer, self.sums, self.dtype = layer, prepared.sums[layer.name], prepared.dtypes[layer.name]
        self.device = prepared.device
        self.population = make_population(
            layer.neurons,
            layer.shape,
            samples,
            integer=prepared.network.is_integer,
            device=prepared.device,
            largest_input=prepared.bounds[layer.name],
        )
        self.counts_large = prepared.bounds[layer.name] >= CURRENT_LIMIT
        self.large_inputs = 0

    def currents(self, streams: dict[str, Stream], first: int, last: int) -> torch.Tensor:
        """(last - first or 1, samples, neurons) input of the chunk's steps first .. last - 1, in weight units.

        A single one is the input of all these steps.
        """
        total = None
        for synapse, sums in zip(self.layer.synapses, self.sums, strict=True):
            current = self._current(streams[synapse.source], sums, first, last)
            if current is None:
                continue
            if total is None:
                total = current
            elif len(total) >= len(current):
                total += current
            else:
                total = current.add_(total)
        if total is None:
            samples = len(self.population.v)
            return torch.zeros((1, samples, self.layer.size), dtype=self.dtype, device=self.device)
        if self.counts_large:
            repeated = 1 if len(total) > 1 else last - first
            self.large_inputs += int(torch.count_nonzero(total.abs() >= CURRENT_LIMIT)) * repeated
        return total

    def _current(self, stream: Stream, sums: Sums, first: int, last: int) -> torch.Tensor | None:
        """Input through one synapse; None if no message comes through it."""
        start, stop = stream.active_before(first, last)
        if start == stop:
            return None
        messages = stream.messages[start:stop]
        current = sums(messages.flatten(0, 1)).view(*messages.shape[:2], -1)
        if isinstance(stream, ConstantStream) or stop - start == last - first:
            return current
        padded = torch.zeros((last - first, *current.shape[1:]), dtype=self.dtype, device=self.device)
        padded[start - first : stop - first] = current
        return padded


class Stream:
    """Messages of one source during a chunk; index 0 is the last step of the chunk before.

    Attributes
    ----------
    messages : torch.Tensor
        (steps + 1, samples, *memory shape).
    activity : numpy.ndarray
        (steps + 1,) zero where a step is known to have no message.
    """

    def __init__(
        self, shape: tuple[int, ...], samples: int, steps: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.messages = torch.zeros((steps + 1, samples, *memory_shape(shape)), dtype=dtype, device=device)
        self.activity = np.zeros(steps + 1, dtype=np.int64)
        self.steps = 0

    def start_chunk(self, steps: int) -> None:
        """Carry the last step over."""
        if self.steps:
            self.messages[0] = self.messages[self.steps]
            self.activity[0] = self.activity[self.steps]
        self.steps = steps

    @property
    def now(self) -> torch.Tensor:
        """(steps, samples, *memory shape) of this chunk."""
        return self.messages[1 : self.steps + 1]

    def active_before(self, first: int, last: int) -> tuple[int, int]:
        """Which of `messages` to sum for the chunk's steps first .. last - 1: those one step earlier, without silent ends."""
        active = np.flatnonzero(self.activity[first:last])
        return (first + int(active[0]), first + int(active[-1]) + 1) if len(active) else (first, first)

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all samples but those of the given rows."""
        self.messages = self.messages[:, rows]


class ConstantStream(Stream):
    """An input whose messages are the same in every step of input: one step stands for all.

    It arrives in all steps of a chunk or in none (`arrives`).
    """

    arrives = False

    def active_before(self, first: int, last: int) -> tuple[int, int]:
        return (0, 1) if self.arrives else (0, 0)


class InputSimulation:
    """What enters the network: the encoder's messages, through the input's neurons where it has some."""

    def __init__(self, network: SpikingNetwork, encoder: Encoder, plan: Schedule, batching: Batching, device) -> None:
        self.source, self.encoder, self.plan, self.batching, self.device = (
            network.input,
            encoder,
            plan,
            batching,
            device,
        )
        samples = len(encoder.images)
        self.population: Population | None = None
        self.size = int(np.prod(self.source.shape))
        dtype, kind, steps = torch.uint8, Stream, batching.steps
        if self.source.neurons is not None:
            self.population = make_population(
                self.source.neurons,
                self.source.shape,
                samples,
                integer=True,
                device=device,
                largest_input=self.source.levels or 1,
            )
        elif encoder.dtype != np.uint8:
            dtype = torch.float32  # torch has no unsigned 16-bit arithmetic
        if self.population is None and encoder.is_constant:
            kind, steps = ConstantStream, 1
        self.stream = kind(self.source.shape, samples, steps, dtype, device)
        self._counts = torch.zeros((samples, self.size), dtype=torch.int32, device=device)

    def chunk_ends(self) -> list[int]:
        """Where chunks must end: where constant messages, as the first population sees them, begin or end."""
        if not self.encoder.is_constant:
            return []
        return [self.plan.steps] if self.population is not None else [1, self.plan.steps + 1]

    def advance(self, start: int, stop: int) -> None:
        """Fill the stream with steps start .. stop - 1."""
        if isinstance(self.stream, ConstantStream):
            self._advance_constant(start, stop)
            return
        self.stream.start_chunk(stop - start)
        stop_of_input = max(start, min(stop, self.plan.steps))
        if self.population is None:
            self._advance_messages(start, stop_of_input)
        else:
            self._advance_neurons(start, stop, stop_of_input)

    def _messages(self, start: int, stop: int) -> torch.Tensor:
        messages = np.moveaxis(to_memory(self.encoder.messages(start, stop), 2), 1, 0)
        dtype = np.float32 if messages.dtype == np.uint16 else messages.dtype  # torch does not compute with uint16
        return torch.from_numpy(np.array(messages, dtype=dtype, order="C")).to(self.device)

    def _advance_constant(self, start: int, stop: int) -> None:
        if start == 0:
            self.stream.messages[0] = self._messages(0, 1)[0]
        self.stream.arrives = 1 <= start <= self.plan.steps
        sent = max(0, min(stop, self.plan.steps) - start)
        self._counts += (self.stream.messages[0] != 0).flatten(1) * sent

    def _advance_messages(self, start: int, stop: int) -> None:
        stream, steps = self.stream, stop - start
        if steps:
            messages = self._messages(start, stop)
            stream.now[:steps] = messages
            self._counts += (messages != 0).sum(dim=0, dtype=torch.int32).flatten(1)
        stream.now[steps:] = 0
        stream.activity[1 : steps + 1] = 1
        stream.activity[steps + 1 :] = 0

    def _advance_neurons(self, start: int, stop: int, stop_of_input: int) -> None:
        samples = len(self._counts)
        constant = self.encoder.is_constant
        length = self.batching.block_steps(samples, self.size)
        for first in range(start, stop, length):
            last = min(stop, first + length)
            # A chunk's steps of input come first: encoders whose messages differ may end within a block.
            given = max(0, min(last, stop_of_input) - first)
            if not given:
                currents = torch.zeros((1, samples, self.size), device=self.device)
            else:
                currents = self._messages(first, first + (1 if constant else given)).to(torch.float32).flatten(2)
                if not constant and given < last - first:
                    blank = torch.zeros((last - first - given, samples, self.size), device=self.device)
                    currents = torch.cat([currents, blank])
            out = self.stream.now[first - start : last - start].flatten(2)
            self.stream.activity[first - start + 1 : last - start + 1] = self.population.advance(currents, out)

    def messages(self, start: int, stop: int) -> torch.Tensor:
        """(steps, samples, *memory shape) messages of steps start .. stop - 1, the chunk that was computed last."""
        if not isinstance(self.stream, ConstantStream):
            return self.stream.now[start - stop :]
        repeated = self.stream.messages[0].repeat(stop - start, *[1] * (self.stream.messages.ndim - 1))
        repeated[max(0, self.plan.steps - start) :] = 0
        return repeated

    def neuron_counts(self) -> np.ndarray:
        """(samples, *shape) int64 messages of each value."""
        if self.population is not None:
            return self.population.neuron_counts()
        counts = self._counts.cpu().numpy().astype(np.int64)
        return from_memory(counts.reshape(len(counts), *memory_shape(self.source.shape)), 1)

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all samples but those of the given rows."""
        self.encoder.keep(rows.cpu().numpy())
        self.stream.keep(rows)
        self._counts = self._counts[rows]
        if self.population is not None:
            self.population.keep(rows)


def chunk_ends(plan: Schedule, batching: Batching, entering: InputSimulation) -> Iterator[int]:
    """The steps before which each chunk of a sample's period ends."""
    fixed = sorted({*entering.chunk_ends(), plan.period})
    stop = 0
    while stop < plan.period:
        stop = min(stop + batching.steps, next(end for end in fixed if end > stop))
        yield stop


class BatchSimulation:
    """A batch of samples on its way through the network.

    Parameters
    ----------
    prepared : Prepared
    encoder : Encoder
        Of the batch's samples.
    plan : Schedule
    batching : Batching
    record : collection of {"counts", "spikes", "potentials"}
    confidence : float or None
        Leave a sample as soon as the probability of its prediction (`exit_probability`) reaches this.
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
        self.network, self.device = prepared.network, prepared.device
        self.plan, self.batching, self.record, self.confidence = plan, batching, record, confidence
        samples = len(encoder.images)
        self.input = InputSimulation(self.network, encoder, plan, batching, self.device)
        self.layers = {layer.name: LayerSimulation(layer, prepared, samples) for layer in self.network}
        self.streams = {INPUT: self.input.stream} | {
            layer.name: Stream(layer.shape, samples, batching.steps, torch.uint8, self.device) for layer in self.network
        }
        self.rows = np.arange(samples)
        """Which samples of the batch are still running."""
        self.updates = {name: 0 for name in self._populations()}
        self.predictions_at = np.zeros((samples, plan.steps), dtype=np.int16)
        self.spikes: dict[str, np.ndarray] = {}
        self.output_counts = torch.zeros((samples, self.network.output.size), dtype=torch.int64, device=self.device)
        self.parts: list[tuple[np.ndarray, dict]] = []

    def run(self, ended: Callable[[int, int], None]) -> list[tuple[np.ndarray, dict]]:
        """Simulate the whole period; `ended(samples, steps)` is called after each chunk and may raise.

        Returns
        -------
        list of (numpy.ndarray, dict)
            Samples of the batch, and their part of the `Run` (see `backends.parts`).
        """
        start = 0
        for stop in chunk_ends(self.plan, self.batching, self.input):
            self._advance(start, stop)
            ended(len(self.rows), stop - start)
            if self.confidence is not None and stop < self.plan.period:
                self._leave_early(stop)
                if not len(self.rows):
                    break
            start = stop
        if len(self.rows):
            self._finish(np.ones(len(self.rows), dtype=bool), self.plan.steps)
        return self.parts

    def _advance(self, start: int, stop: int) -> None:
        samples, steps = len(self.rows), stop - start
        self.input.advance(start, stop)
        scores = np.zeros(0)
        for layer in self.network:
            stream, simulation = self.streams[layer.name], self.layers[layer.name]
            stream.start_chunk(steps)
            watched = layer is self.network.output and self.network.readout == "potential"
            potentials = []
            length = 1 if watched else self.batching.block_steps(samples, layer.size)
            for first in range(0, steps, length):
                last = min(steps, first + length)
                out = stream.now[first:last].flatten(2)
                currents = simulation.currents(self.streams, first, last)
                stream.activity[first + 1 : last + 1] = simulation.population.advance(currents, out)
                if watched:
                    potentials.append(simulation.population.v.cpu().numpy().copy())
            if watched:
                scores = np.stack(potentials)
        if self.network.readout == "count":
            so_far = self.streams[self.network.output.name].now.flatten(2).cumsum(dim=0) + self.output_counts
            self.output_counts = so_far[-1]
            scores = so_far.cpu().numpy()
        self._note(start, stop, scores)

    def _note(self, start: int, stop: int, scores: np.ndarray) -> None:
        """Keep what a chunk gives; scores (steps, samples, outputs) are the read-out after each step."""
        self.scores = from_memory(scores.reshape(*scores.shape[:2], *memory_shape(self.network.output.shape)), 2)
        self.scores = self.scores.reshape(*scores.shape[:2], -1)
        for name, size in self._populations().items():
            self.updates[name] += size * len(self.rows) * (stop - start)
        first, last = max(start, self.plan.depth), min(stop, self.plan.depth + self.plan.steps)
        if first < last:
            predictions = self.scores[first - start : last - start].argmax(axis=2)
            self.predictions_at[self.rows, first - self.plan.depth : last - self.plan.depth] = predictions.T
        if "spikes" in self.record:
            self._record_spikes(start, stop)

    def _record_spikes(self, start: int, stop: int) -> None:
        for name, stream in self.streams.items():
            shape, dtype, messages = self.network.source_shape(name), np.uint8, stream.now
            if name == INPUT:
                messages = self.input.messages(start, stop)
                dtype = self.input.encoder.dtype if self.input.population is None else np.uint8
            if name not in self.spikes:
                self.spikes[name] = np.zeros((len(self.predictions_at), self.plan.period, *shape), dtype=dtype)
            self.spikes[name][self.rows, start:stop] = from_memory(messages.transpose(0, 1).cpu().numpy(), 2)

    def _populations(self) -> dict[str, int]:
        own = {} if self.input.population is None else {INPUT: self.input.size}
        return own | {layer.name: layer.size for layer in self.network}

    def _leave_early(self, stop: int) -> None:
        steps = stop - self.plan.depth
        if not 1 <= steps < self.plan.steps:
            return
        probabilities = exit_probability(self.network, self.scores[-1], steps)
        leaving = probabilities >= self.confidence
        if leaving.any():
            self.predictions_at[self.rows[leaving], steps:] = self.predictions_at[self.rows[leaving], steps - 1 : steps]
            self._finish(leaving, steps, stop)
            self._keep(~leaving)

    def _keep(self, staying: np.ndarray) -> None:
        rows = torch.from_numpy(np.flatnonzero(staying)).to(self.device)
        self.rows = self.rows[staying]
        self.output_counts = self.output_counts[rows]
        self.input.keep(rows)
        for name, simulation in self.layers.items():
            simulation.population.keep(rows)
            self.streams[name].keep(rows)

    def _finish(self, leaving: np.ndarray, steps: int, stop: int | None = None) -> None:
        """Make the part of the samples that leave; what is counted over all samples goes with the first ones."""
        part = empty_part()
        rows = self.rows[leaving]
        stop = self.plan.period if stop is None else stop
        counts = {INPUT: self.input.neuron_counts()[leaving]}
        last = {INPUT: self.input.messages(stop - 1, stop)[0].flatten(1)[leaving].cpu().numpy()}
        for name, simulation in self.layers.items():
            counts[name] = simulation.population.neuron_counts()[leaving]
            last[name] = self.streams[name].now[-1].flatten(1)[leaving].cpu().numpy()
            part["large_inputs"][name], simulation.large_inputs = simulation.large_inputs, 0
            if "potentials" in self.record:
                part["potentials"][name] = simulation.population.potentials()[leaving]
        count_messages(part, self.network, counts, last, self.record)
        populations = {name: simulation.population for name, simulation in self.layers.items()}
        if self.input.population is not None:
            populations[INPUT] = self.input.population
            part["large_inputs"][INPUT] = 0  # pixels have at most 16 bits
        for name, population in populations.items():
            part["saturations"][name], population.saturations = population.saturations, 0
            part["potential_ranges"][name] = population.v_range
            if population.u_range is not None:
                part["current_ranges"][name] = population.u_range
        part["neuron_updates"], self.updates = self.updates, {name: 0 for name in self.updates}
        part["spikes"] = {name: spikes[rows] for name, spikes in self.spikes.items()}
        exact = np.int64 if self.network.is_integer or self.network.readout == "count" else np.float64
        part["output"] = self.scores[-1][leaving].astype(exact)
        part["predictions_at"] = self.predictions_at[rows]
        if self.confidence is not None:
            part["steps_used"] = np.full(len(rows), steps)
        self.parts.append((rows, part))


def exit_probability(network: SpikingNetwork, scores: np.ndarray, steps: int) -> np.ndarray:
    """Probability that the read-out after `steps` steps of input gives to its prediction.

    The read-out per step, in units of the trained network's outputs (`provenance["output_scale"]`), through a softmax:
    what the trained network itself would answer as soon as rates have settled.

    Parameters
    ----------
    scores : numpy.ndarray
        (samples, outputs) spike counts, or potentials in state units (integers) or weight units.

    Returns
    -------
    numpy.ndarray
        (samples,) 0..1.
    """
    scale = network.provenance["output_scale"]
    if network.is_integer and network.readout == "potential":
        scale /= 1 << STATE_SHIFT
    outputs = scores.astype(np.float64) * (scale / steps)
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return 1 / powers.sum(axis=1)
