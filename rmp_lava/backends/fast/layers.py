"""A layer of a batch: its synapses, prepared once for all batches, and its neurons' states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch

from ...choices import Kernel
from ...network import INPUT, Dense, Layer, SpikingNetwork, Synapse
from ...registers import REGISTER_LIMIT, to_weight_units
from ..synapses import largest_sum
from .courses import Courses
from .extents import Extents
from .neurons import Population, make_population
from .streams import BurstStream, ConstantStream, Source, sample_by_sample
from .synapses import EXACT_FLOAT32, Arithmetic, Sums, make_sums
from .tallies import Tallies

_WORDS = {"events": "event-driven"}
_WORTHWHILE, _FEW = 0.25, 0.01
"""Share of samples that the coarser bounds have to find safe; and of potentials that are followed step by step."""
LONGEST_WINDOW = 127
"""Steps up to which all messages of a window are summed at once: counts of a neuron's messages are 8-bit numbers."""


class Route(NamedTuple):
    """Where the messages of one `Sums` come from and go to.

    late : Steps from a message's step in its source's window to that in which it arrives in its target's.
    reached : (n,) indices of the neurons that it reaches, None for all.
    """

    source: str
    late: int
    reached: torch.Tensor | None


class Prepared:
    """A network's synapses on a device, ready for any number of batches, in any number of threads.

    dtypes : Layer name -> dtype of its input sums.
    bounds : Layer name -> bound of |input sum| in weight units; 0 in float networks, which do not need it.
    windows : Layer name -> `WindowSums`, of layers that wait until all messages have arrived.
    routes : Layer name -> for each of its `Sums`, where its messages come from and go to.

    Parameters
    ----------
    steps : int or None
        T, if layers may take the messages of all steps at once.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        device: torch.device,
        kernel: Kernel = "float32",
        *,
        steps: int | None = None,
    ) -> None:
        self.network, self.device = network, device
        self.kernel = kernel
        self.steps = steps if steps is not None and steps == network.wait and steps <= LONGEST_WINDOW else None
        self.windows: dict[str, WindowSums] = {}
        self._sums: dict[str, list[Sums]] = {}
        self._populations: dict[str, Population] = {}
        self.routes: dict[str, list[Route]] = {}
        self._lock = Lock()
        self.dtypes: dict[str, torch.dtype] = {}
        self.bounds: dict[str, int] = {}
        for layer in network:
            self.prepare(layer)

    def prepare(self, layer: Layer) -> None:
        """Prepare a layer, or replace its weights."""
        network = self.network
        self.bounds[layer.name] = largest_sum(network, *layer.synapses) if network.is_integer else 0
        exact = self.bounds[layer.name] < EXACT_FLOAT32
        self.dtypes[layer.name] = torch.float32 if exact else torch.float64
        self._sums.pop(layer.name, None)
        self._populations.pop(layer.name, None)
        if self.steps is not None and network.waits(layer):
            self.windows[layer.name] = WindowSums(self, layer, self.steps)
        else:
            self.sums_of(layer)

    def population(self, layer: Layer) -> Population:
        """A layer's neurons, of no samples."""
        found = self._populations.get(layer.name)
        if found is None or found.neurons is not layer.neurons:
            found = self._populations[layer.name] = make_population(
                layer.neurons,
                layer.shape,
                0,
                integer=self.network.is_integer,
                device=self.device,
                largest_input=self.bounds[layer.name],
            )
        return found

    def sums_of(self, layer: Layer) -> list[Sums]:
        """`Sums` of a layer's synapses, for messages of one step; layers with a window make them when needed.

        In order, with one for each delay where a synapse has several (`Dense.by_delay`).
        """
        with self._lock:
            if layer.name not in self._sums:
                self._sums[layer.name] = self.make(layer, 1, self.dtypes[layer.name], self.kernel)
            return self._sums[layer.name]

    def make(self, layer: Layer, steps: int, dtype: torch.dtype, kernel: Kernel) -> list[Sums]:
        """`Sums` of a layer's synapses for messages of so many steps together."""
        routes, sums = self.routes.setdefault(layer.name, []), []
        routes.clear()
        for synapse in layer.synapses:
            parts: Iterable[tuple[int, np.ndarray | None, Synapse]] = [(0, None, synapse)]
            if isinstance(synapse, Dense) and synapse.delay is not None:
                parts = synapse.by_delay()
            for delay, reached, part in parts:
                arithmetic = self.arithmetic(part, steps, dtype, kernel)
                sums.append(make_sums(part, self.network.source_shape(part.source), arithmetic))
                late = delay + (part.source == layer.name)
                routes.append(Route(part.source, late, None if reached is None else torch.from_numpy(reached)))
        return sums

    def arithmetic(
        self, synapse: Synapse, steps: int, dtype: torch.dtype, kernel: Kernel, *, times: int = 1
    ) -> Arithmetic:
        """Of a synapse that takes the messages of so many steps together, or those of one step so many times."""
        # A float network's largest input message is unknown.
        unknown = synapse.source == INPUT and not self.network.is_integer
        largest = 255 if unknown else self.network.largest_message(synapse.source)
        return Arithmetic(self.device, dtype, kernel, largest=steps * largest, times=times)

    @cached_property
    def tallies(self) -> Tallies:
        """Not every use of prepared synapses needs them."""
        return Tallies(self.network)

    def describe(self, since: Mapping[str, tuple[int, int]]) -> str:
        """The kernel of each layer's sums, in words; `event_counts` before the run."""
        layers: dict[str, list[str]] = {}
        in_use = self._sums | {name: window.sums for name, window in self.windows.items()}
        for name, sums in in_use.items():
            layers.setdefault(" and ".join(sorted({_WORDS.get(s.kernel, s.kernel) for s in sums})), []).append(name)
        most = max(layers, key=lambda kernel: len(layers[kernel]))
        others = [f"{kernel} in {', '.join(names)}" for kernel, names in layers.items() if kernel != most]
        whole = f", one for all {self.steps} steps where neurons wait for them" if self.windows else ""
        return f"{most} sums" + (f" ({'; '.join(others)})" if others else "") + whole + self._share_of_events(since)

    def event_counts(self) -> dict[str, tuple[int, int]]:
        """Layer name -> sets of messages so far, and those that were summed by events because that costs less."""
        counts = {}
        for name in self.bounds:
            of_windows = self.windows[name].sums if name in self.windows else []
            events = [s.events for s in (*self._sums.get(name, ()), *of_windows) if s.events is not None]
            if events:
                counts[name] = (sum(e.sets for e in events), sum(e.of_events for e in events))
        return counts

    def _share_of_events(self, since: Mapping[str, tuple[int, int]]) -> str:
        shares = []
        for name, (seen, of_events) in self.event_counts().items():
            before, of_events_before = since.get(name, (0, 0))
            if of_events > of_events_before:
                shares.append(f"{100 * (of_events - of_events_before) / (seen - before):.0f}% of {name}")
        return f", event-driven where few neurons spike: {', '.join(shares)}" if shares else ""


class WindowSums:
    """Sums of all messages of a window at once, and whether a potential could saturate while they arrive one after the other.

    Parameters
    ----------
    steps : int
        T.
    """

    def __init__(self, prepared: Prepared, layer: Layer, steps: int) -> None:
        network = prepared.network
        self.layer, self.steps, self.device, self.integer = layer, steps, prepared.device, network.is_integer
        bound = prepared.bounds[layer.name] * steps
        dtype = torch.float32 if bound < EXACT_FLOAT32 else torch.float64
        # A constant input is summed once and multiplied.
        constant = network.input.neurons is None and network.input.encoding in ("rate", "current")
        self._constant = [constant and s.source == INPUT for s in layer.synapses]
        arithmetics = [
            prepared.arithmetic(s, 1, dtype, prepared.kernel, times=steps)
            if is_constant
            else prepared.arithmetic(s, steps, dtype, prepared.kernel)
            for s, is_constant in zip(layer.synapses, self._constant, strict=True)
        ]
        shapes = [network.source_shape(s.source) for s in layer.synapses]
        self.sums = list(map(make_sums, layer.synapses, shapes, arithmetics))
        self._inputs_may_be_large = prepared.bounds[layer.name] >= REGISTER_LIMIT
        # A constant input moves the potential one way, so that it can saturate only once and for all.
        self._is_constant = all(self._constant)
        self._is_safe = not self.integer or (self._is_constant and not self._inputs_may_be_large)
        if self.integer:
            farthest = bound + abs(int(layer.neurons.v_init)) + steps * _largest_bias(layer)
            self._is_safe |= farthest < REGISTER_LIMIT - 1
        self._extents: Extents | None = None
        if not self._is_safe and not any(self._constant):
            largest = max(network.largest_message(s.source) for s in layer.synapses)
            self._extents = Extents(
                layer, shapes, steps, largest=largest, inputs_may_be_large=self._inputs_may_be_large
            )
        self._courses = Courses(layer, shapes, steps)
        self._in_any_order = True  # whether bounds for any order of arrival are worthwhile

    def messages(self, streams: Mapping[str, Source], rows: slice) -> list[torch.Tensor]:
        """Of each synapse, (rows, *memory shape of the source): the sum over all steps, or a message that is always the same."""
        pairs = zip(self.layer.synapses, self._constant, strict=True)
        return [streams[s.source].total(1 if is_constant else self.steps, rows) for s, is_constant in pairs]

    def total(self, messages: Sequence[torch.Tensor]) -> torch.Tensor:
        """(rows, neurons) input of all steps, in weight units, from `messages`."""
        total: torch.Tensor | None = None
        for message, sums in sorted(
            zip(messages, self.sums, strict=True), key=lambda pair: pair[1].kernel == "elementwise"
        ):
            given = message.to(torch.uint8) if sums.takes_bytes else message
            if total is None:
                total = sums(given)
            elif sums.kernel == "elementwise":
                sums.add_to(total, given)
            else:
                total += sums(given)
        assert total is not None
        return total

    def are_safe(
        self, streams: Mapping[str, Source], messages: list[torch.Tensor], total: torch.Tensor, ends: np.ndarray
    ) -> np.ndarray | None:
        """Whether the input may be taken at once.

        Parameters
        ----------
        messages, total
            As they were returned.
        ends : numpy.ndarray
            (rows, 2) lowest and highest potential after it, in weight units.

        Returns
        -------
        numpy.ndarray or None
            (rows,) bool, False where a potential might saturate on the way, or a step's input be large. None if all are safe.
        """
        if self._is_safe:
            return None
        if self._is_constant:
            safe = (total.abs().amax(dim=1) < self.steps * REGISTER_LIMIT).cpu().numpy()
        elif self._extents is None or any(each.dtype != torch.uint8 for each in messages):
            safe = np.zeros(len(total), dtype=np.bool_)
        else:
            consecutive = all(isinstance(streams[s.source], BurstStream) for s in self.layer.synapses)
            safe = self._are_safe(messages, total, np.abs(ends).max(axis=1), consecutive=consecutive)
        return None if safe.all() else safe

    def _are_safe(
        self, messages: list[torch.Tensor], total: torch.Tensor, farthest: np.ndarray, *, consecutive: bool
    ) -> np.ndarray:
        """(rows,) bool: whether no potential can leave its register."""
        assert self._extents is not None
        safe = np.zeros(len(total), dtype=np.bool_)
        if self._in_any_order or not consecutive:
            safe = self._extents.are_within(messages, farthest)
            if safe.all() or not consecutive:
                return safe
            # What is too coarse for this batch mostly is for the next one.
            self._in_any_order = bool(safe.mean() >= _WORTHWHILE)
        unknown = np.flatnonzero(~safe)
        if safe.any():
            messages, total, farthest = [each[unknown] for each in messages], total[unknown], farthest[unknown]
        samples, neurons = self._extents.beyond(messages, total, farthest)
        can_follow = self.device.type == "cpu" and Courses.is_available()
        if can_follow and 0 < len(samples) < _FEW * total.numel():
            samples = samples[~self._courses.are_within(samples, neurons, messages)]
        safe[unknown] = True
        safe[unknown[samples]] = False
        return safe


def _largest_bias(layer: Layer) -> int:
    """Largest |bias| of integer neurons in weight units, rounded up."""
    bias = layer.neurons.bias
    if bias is None:
        return 0
    return int(np.ceil(to_weight_units(float(np.abs(bias.astype(np.int64)).max() << layer.neurons.bias_exponent))))


class LayerSimulation:
    """One layer of a batch: its neurons' state, and the sums of its synapses.

    block_size : Four-byte numbers that one step of one sample takes between sources and neurons.
    large_inputs : Neuron updates whose input reached +-2^17 weight units; a tensor, for which the host need not wait.
    """

    def __init__(self, layer: Layer, prepared: Prepared, samples: int) -> None:
        self.layer, self.prepared, self.dtype = layer, prepared, prepared.dtypes[layer.name]
        self.device = prepared.device
        window = prepared.windows.get(layer.name)
        sums = prepared.sums_of(layer) if window is None else window.sums
        self.population = prepared.population(layer).start(samples)
        # A step of a sample costs its sums, or its messages if a kernel has to convert them.
        converted = [int(np.prod(each.shape)) for each in sums if not each.takes_bytes]
        self.block_size = max([layer.size, *converted]) * (2 if self.dtype == torch.float64 else 1)
        self.counts_large = prepared.bounds[layer.name] >= REGISTER_LIMIT
        self.large_inputs: torch.Tensor | int = 0

    def currents(self, streams: Mapping[str, Source], steps: slice, rows: slice) -> torch.Tensor:
        """(steps or 1, samples, neurons) input of some samples in some of the chunk's steps, in weight units.

        A single step is the input of all these steps.
        """
        total = None
        every = self.prepared.sums_of(self.layer)
        pairs = zip(self.prepared.routes[self.layer.name], every, strict=True)
        for route, sums in sorted(pairs, key=lambda pair: pair[1].kernel == "elementwise"):
            when = slice(steps.start - route.late, steps.stop - route.late)
            stream = streams[route.source]
            varies = not isinstance(stream, ConstantStream)
            if sums.kernel == "elementwise" and varies and total is not None and len(total) == when.stop - when.start:
                sums.add_to(total.transpose(0, 1), stream.read(when.start, when.stop, rows).transpose(0, 1))
                continue
            current = self._current(stream, sums, when, rows)
            if current is None:
                continue
            if route.reached is not None:
                whole = sample_by_sample(*current.shape[:2], self.layer.size, dtype=self.dtype, device=self.device)
                whole[..., route.reached.to(self.device)] = current
                current = whole
            if total is None:
                total = current
            elif len(total) >= len(current):
                total += current
            else:
                total = current.add_(total)
        if total is None:
            return torch.zeros((1, rows.stop - rows.start, self.layer.size), dtype=self.dtype, device=self.device)
        if self.counts_large:
            repeated = 1 if len(total) > 1 else steps.stop - steps.start
            self.large_inputs += torch.count_nonzero(total.abs() >= REGISTER_LIMIT) * repeated
        return total

    def _current(self, stream: Source, sums: Sums, steps: slice, rows: slice) -> torch.Tensor | None:
        """Input through one synapse; None if it carries no message."""
        first, last = steps.start, steps.stop
        start, stop = stream.active(first, last)
        if start == stop:
            return None
        messages = stream.read(start, stop, rows).transpose(0, 1)  # as they lie in memory
        current = sums(messages.flatten(0, 1)).view(*messages.shape[:2], -1).transpose(0, 1)
        if isinstance(stream, ConstantStream) or stop - start == last - first:
            return current
        padded = sample_by_sample(last - first, *current.shape[1:], dtype=self.dtype, device=self.device)
        padded[start - first : stop - first] = current
        return padded
