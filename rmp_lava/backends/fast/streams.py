"""Messages between layers: a chunk of each source's stream, and the network's input.

Axes are (steps, samples, neurons); in memory the steps of a sample follow one another, so that any samples, with all of their
steps, are one batch of images for the kernels without a copy, and a neuron's state stays in a cache for all steps.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ...encoding import Encoder
from ...network import INPUT, SpikingNetwork, histories
from ...schedule import Schedule
from .batching import Batching
from .neurons import Population, make_population
from .synapses import memory_shape, to_memory


def sample_by_sample(steps: int, samples: int, *shape: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros (steps, samples, *shape) in this order of memory."""
    return torch.zeros((samples, steps, *shape), dtype=dtype, device=device).transpose(0, 1)


class Source:
    """What one source sends in some steps.

    activity : (steps,) 0 where a step is known to have no message.
    """

    activity: np.ndarray

    def active(self, first: int, last: int) -> tuple[int, int]:
        """(start, stop) of the steps to sum for the chunk's steps first .. last - 1, without outer silent steps."""
        raise NotImplementedError

    def read(self, start: int, stop: int, rows: slice) -> torch.Tensor:
        """(steps, samples, *memory shape) messages of some steps and samples."""
        raise NotImplementedError

    def total(self, steps: int, rows: slice) -> torch.Tensor:
        """(samples, *memory shape) sum of the messages of the first `steps` steps: uint8 where it fits, else float32."""
        raise NotImplementedError

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all samples but the given rows."""
        raise NotImplementedError


class Stream(Source):
    """Messages of one source during a chunk, and during some steps before it, which have negative numbers.

    messages : (steps, samples, *memory shape).
    history : Steps before the chunk that synapses with delays still read.

    Parameters
    ----------
    memory : torch.Tensor or None
        Flat memory of this dtype and device, at least as large, that it uses until its last reader has read.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        samples: int,
        steps: int,
        dtype: torch.dtype,
        device: torch.device,
        history: int = 0,
        memory: torch.Tensor | None = None,
    ) -> None:
        self.history = history
        if memory is None:
            memory = torch.zeros((history + steps) * samples * int(np.prod(shape)), dtype=dtype, device=device)
        size = (samples, history + steps, *memory_shape(shape))
        self._kept = memory[: int(np.prod(size))].view(size).transpose(0, 1)
        self._active = np.zeros(history + steps, dtype=np.int64)
        self._view()

    def _view(self) -> None:
        self.messages, self.activity = self._kept[self.history :], self._active[self.history :]

    def active(self, first: int, last: int) -> tuple[int, int]:
        active = np.flatnonzero(self._active[self.history + first : self.history + last])
        return (first + int(active[0]), first + int(active[-1]) + 1) if len(active) else (first, first)

    def read(self, start: int, stop: int, rows: slice) -> torch.Tensor:
        return self._kept[self.history + start : self.history + stop, rows]

    def turn(self, steps: int) -> None:
        """Start the next chunk after one of `steps` steps."""
        if self.history:  # the copies are needed where the two ranges overlap
            self._kept[: self.history] = self._kept[steps : steps + self.history].clone()
            self._active[: self.history] = self._active[steps : steps + self.history].copy()

    def total(self, steps: int, rows: slice) -> torch.Tensor:
        some = self.messages[:steps, rows]
        fits = steps * int(some.max()) < 256
        return some.sum(dim=0, dtype=torch.uint8 if fits else torch.float32)

    def keep(self, rows: torch.Tensor) -> None:
        self._kept = self._kept.transpose(0, 1)[rows].transpose(0, 1)
        self._view()


class ConstantStream(Stream):
    """An input whose messages are equal in every step; only one step is stored."""

    def active(self, first: int, last: int) -> tuple[int, int]:
        return (0, 1)

    def total(self, steps: int, rows: slice) -> torch.Tensor:
        some = self.messages[0, rows]
        return some if steps == 1 else some.to(torch.float32) * steps


class BurstStream(Source):
    """Spikes of neurons that spike in consecutive steps from the first one on, kept as their number.

    counts : (samples, *memory shape) uint8.
    """

    def __init__(self, shape: tuple[int, ...], samples: int, steps: int, device: torch.device) -> None:
        self.counts = torch.empty((samples, *memory_shape(shape)), dtype=torch.uint8, device=device)
        self.activity = np.ones(steps, dtype=np.int64)

    def active(self, first: int, last: int) -> tuple[int, int]:
        return first, last

    def read(self, start: int, stop: int, rows: slice) -> torch.Tensor:
        counts = self.counts[rows]
        steps = torch.arange(start, stop, dtype=torch.uint8, device=counts.device)
        return (steps.view(-1, *[1] * (counts.ndim - 1)) < counts[:, None]).to(torch.uint8).transpose(0, 1)

    def total(self, steps: int, rows: slice) -> torch.Tensor:
        return self.counts[rows] if steps >= len(self.activity) else self.counts[rows].clamp(max=steps)

    def keep(self, rows: torch.Tensor) -> None:
        self.counts = self.counts[rows]


class InputSimulation:
    """The network's input: the encoder's messages, through the input's neurons if it has any."""

    def __init__(self, network: SpikingNetwork, encoder: Encoder, batching: Batching, device: torch.device) -> None:
        self.source, self.encoder, self.device = network.input, encoder, device
        self.batching = batching
        samples = len(encoder.images)
        self.population: Population | None = None
        self.size = int(np.prod(self.source.shape))
        dtype, steps = torch.uint8, batching.steps
        kind: type[Stream] = Stream
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
        history = histories(network)[INPUT]
        if self.population is None and encoder.is_constant and not history:
            kind, steps = ConstantStream, 1
        self.stream = kind(self.source.shape, samples, steps, dtype, device, history)
        self._counts = torch.zeros((samples, self.size), dtype=torch.int32, device=device)
        self._steps = 0
        """Steps so far, of a constant input."""

    def advance(self, start: int, stop: int) -> None:
        """Fill the stream with steps start .. stop - 1."""
        if self.population is not None:
            self._advance_neurons(self.population, start, stop)
        elif isinstance(self.stream, ConstantStream):
            if start == 0:
                self.stream.messages[0] = self._messages(0, 1)[0]
            self._steps = stop
        else:
            messages = self._messages(start, stop)
            self.stream.messages[: stop - start] = messages
            self._counts += (messages != 0).sum(dim=0, dtype=torch.int32).flatten(1)
            self.stream.activity[: stop - start] = 1

    def _messages(self, start: int, stop: int) -> torch.Tensor:
        messages = np.moveaxis(to_memory(self.encoder.messages(start, stop), 2), 1, 0)
        dtype = np.float32 if messages.dtype == np.uint16 else messages.dtype  # torch does not compute with uint16
        return torch.from_numpy(np.array(messages, dtype=dtype, order="C")).to(self.device)

    def _advance_neurons(self, population: Population, start: int, stop: int) -> None:
        samples = len(self._counts)
        length = self.batching.block_steps(samples, self.size)
        for first in range(start, stop, length):
            last = min(stop, first + length)
            some = slice(first - start, last - start)
            # A constant input is encoded once.
            given = self._messages(first, first + 1 if self.encoder.is_constant else last)
            currents = given.to(torch.float32).flatten(2)
            self.stream.activity[some] = population.advance(
                currents, self.stream.messages.flatten(2), some, slice(0, samples)
            )

    def messages(self, steps: int) -> torch.Tensor:
        """(steps, samples, *memory shape) messages of the latest chunk."""
        if not isinstance(self.stream, ConstantStream):
            return self.stream.messages[:steps]
        return self.stream.messages.expand(steps, *self.stream.messages.shape[1:])

    def counts(self) -> torch.Tensor:
        """(samples, values in memory order) messages of each input value so far, uint8 or int32."""
        if self.population is not None:
            return self.population.counts
        if isinstance(self.stream, ConstantStream):
            sent = (self.stream.messages[0] != 0).flatten(1)
            return sent.to(torch.uint8 if self._steps < 256 else torch.int32) * self._steps
        return self._counts

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all samples but the given rows."""
        self.encoder.keep(rows.cpu().numpy())
        self.stream.keep(rows)
        self._counts = self._counts[rows]
        if self.population is not None:
            self.population.keep(rows)


def chunk_ends(plan: Schedule, steps: int) -> Iterator[int]:
    """Exclusive end of each chunk of `steps` steps of a sample's window."""
    for start in range(0, plan.steps, steps):
        yield min(plan.steps, start + steps)
