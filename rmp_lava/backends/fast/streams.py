"""Messages on their way: a chunk of each source's stream, and what enters the network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ...encoding import Encoder
from ...network import SpikingNetwork
from ...schedule import Schedule
from .batching import Batching
from .neurons import Population, make_population
from .synapses import from_memory, memory_shape, to_memory


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
        self.source, self.encoder, self.device = network.input, encoder, device
        self.plan, self.batching = plan, batching
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
        length = self.batching.block_steps(samples, self.size)
        for first in range(start, stop, length):
            last = min(stop, first + length)
            some = slice(first - start, last - start)
            currents = self._currents(first, last, stop_of_input)
            spikes = self.population.advance(currents, self.stream.now.flatten(2), some, slice(0, samples))
            self.stream.activity[some.start + 1 : some.stop + 1] = spikes

    def _currents(self, first: int, last: int, stop_of_input: int) -> torch.Tensor:
        """(steps or 1, samples, values) messages of steps first .. last - 1 as the input's neurons take them."""
        samples, steps = len(self._counts), last - first
        given = max(0, min(last, stop_of_input) - first)
        if not given:
            return torch.zeros((1, samples, self.size), device=self.device)
        if self.encoder.is_constant:  # chunks end where constant messages do
            return self._messages(first, first + 1).to(torch.float32).flatten(2)
        currents = self._messages(first, first + given).to(torch.float32).flatten(2)
        if given == steps:
            return currents
        return torch.cat([currents, torch.zeros((steps - given, samples, self.size), device=self.device)])

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
