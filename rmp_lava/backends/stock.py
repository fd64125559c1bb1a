"""RMP neurons built from Lava's unmodified LIF and a self-synapse, modelled exactly, with every difference.

The current's 24-bit register wraps where the RMP neuron saturates: once, after sums in Lava's 32-bit integers, which wrap
too. Whatever arrives by pulse (an initial potential, a bias of soft-reset neurons) passes through it. The self-synapse
subtracts the threshold one step after the spike, so a spike in a period's last step reaches into the next sample. Each period
therefore ends with a blank step in which a pulse of -`QUIET` keeps the neurons silent; the same pulse holds neurons that wait.
A potential beyond even that crosses (`boundary_spikes`), unless there are enough blank steps for a reset of their own
(`reset_interval`).
`backends.lava.stock_lif` builds the same from Lava's Processes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce

import numpy as np

from ..network import INPUT, Neurons, SpikingNetwork, populations as populations_of
from ..network.values import per_neuron
from ..neuron import Range, decay, widened, wrap24
from ..readout import output
from ..registers import MAX_STATE, to_state_units
from ..schedule import Schedule
from ..stock_weights import QUIET, pulses_of
from .batches import Part
from .obstacles import late_messages, leaky_starts, refuse, restless_inputs
from .synapses import apply

LEAD_IN = 1
"""Steps before the first sample, in which the pulses for the input's neurons travel."""


def pulsing(plan: Schedule) -> tuple[bool, int | None]:
    """What `pulses_of` takes of a schedule: whether it has blank steps, and T where neurons wait."""
    return plan.blank > 0, plan.steps if plan.wait else None


def unobserved(plan: Schedule, wait: int) -> tuple[int, ...]:
    """Steps of a period, from 0 in local time, in which a spike would reach what is observed of another sample or layer.

    That is the last one: its spike is subtracted in the next sample. Where neurons wait, it is every step outside the observed
    ones, as later layers may still spike.
    """
    if not plan.wait:
        return (plan.period - 1,)
    return (*range(wait), *range(wait + plan.steps, plan.period))


def reset_interval(plan: Schedule) -> int:
    """Steps between two resets of stock neurons: half a period if the window fits into half, else a period.

    A reset amid the blank steps ends every backlog of spikes long before the next sample. If T is a power of two and the
    period must be one, it costs no step.
    """
    half, odd = divmod(plan.period, 2)
    return half if not odd and plan.window <= half else plan.period


def simulate_stock(
    network: SpikingNetwork,
    messages: np.ndarray,
    plan: Schedule,
    record: Collection[str],
    last_spikes: dict[str, np.ndarray],
    leak: int = 0,
) -> Part:
    """Simulate samples one after the other; `last_spikes` carries each population's into the next batch, and is updated.

    With `leak` 1, the membranes of soft-reset neurons lose 1/4096 per step, rounded as LIF rounds its current.
    """
    obstacles = (*late_messages(network), *leaky_starts(network), *restless_inputs(network))
    refuse(obstacles, "stock neurons cannot run the network")
    sources = {INPUT: _Source.sending(messages, plan)}
    part = Part()
    potentials: dict[str, np.ndarray] = {}
    for name, neurons, shape, window in populations_of(network):
        population = _StockPopulation(neurons, shape, leak, window.wait, plan)
        before, during = _incoming(network, name, sources, window.start)
        last = last_spikes[name] if name in last_spikes else population.lead_in(before)
        spikes, potentials[name] = population.run(during, last)
        source = sources[name] = _Source(population.before, spikes, window.wait)
        last_spikes[name] = source.during[-1, -1]
        has_memory = not population.soft and neurons.has_memory
        part.note(
            name,
            population.saturations,
            population.large_inputs,
            population.v_range,
            population.u_range if has_memory else None,
        )
        if population.soft:
            if "waiting" in record and population.waiting_range is not None:
                part.waiting_ranges[name] = population.waiting_range
            crossing = source.during[:, unobserved(plan, window.wait)].reshape(len(messages), -1).any(axis=1)
            part.boundary_spikes[name] = int(crossing.sum())
    streams = {name: source.during[:, source.wait : source.wait + plan.steps] for name, source in sources.items()}
    part.count_streams(network, streams, record)
    if "potentials" in record:
        part.potentials = {layer.name: potentials[layer.name] for layer in network}
    name = network.output.name
    counts = streams[name].sum(axis=1, dtype=np.int64)
    part.output = output(network, counts, potentials[name], plan.steps).reshape(len(messages), -1)
    return part


@dataclass
class _Source:
    """What a source sends.

    before : (steps before the first window, *shape).
    during : (samples, period, *shape) in local time.
    wait : Steps of each window that precede the observed ones.
    """

    before: np.ndarray
    during: np.ndarray
    wait: int = 0

    @classmethod
    def sending(cls, messages: np.ndarray, plan: Schedule) -> _Source:
        samples, _, *shape = messages.shape
        silent = np.zeros((samples, plan.period - plan.steps, *shape), dtype=messages.dtype)
        before = np.zeros((LEAD_IN, *shape), dtype=messages.dtype)
        return cls(before, np.concatenate([messages, silent], axis=1))

    def arriving(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        """The same in local time of a target whose window starts `start` steps after the input's.

        Step t of the target's window receives step t + wait of the source's. After the last sample, the source is silent.
        """
        samples, period, *shape = self.during.shape
        # A deeper layer's window starts later, so more steps precede it.
        missing = np.zeros((LEAD_IN + start - self.wait - len(self.before), *shape), dtype=self.before.dtype)
        after = np.zeros((self.wait, *shape), dtype=self.during.dtype)
        line = np.concatenate([missing, self.before, self.during.reshape(-1, *shape), after])
        first = LEAD_IN + start
        return line[:first], line[first:].reshape(samples, period, *shape)


def _incoming(
    network: SpikingNetwork, name: str, sources: dict[str, _Source], start: int
) -> tuple[np.ndarray, np.ndarray]:
    """Input of a population in weight units, in its own local time, before and in its windows."""
    if name == INPUT:
        return sources[INPUT].before, sources[INPUT].during
    before, during = [], []
    for synapse in network[name].synapses:
        earlier, later = sources[synapse.source].arriving(start)
        before.append(apply(synapse, earlier[None])[0])
        during.append(apply(synapse, later))
    return reduce(np.add, before), reduce(np.add, during)


class _StockPopulation:
    """Lava's unmodified LIF with the settings of `backends.lava.stock_lif`.

    Soft reset: the current u is the membrane (du = -1, dv = 4096), and a spike returns as -threshold one step later; the
    bias arrives through a synapse too. Other resets: the LIF itself, whose current wraps where the definition's does not.
    """

    def __init__(self, neurons: Neurons, shape: tuple[int, ...], leak: int, wait: int, plan: Schedule) -> None:
        self.neurons, self.shape, self.leak, self.wait, self.plan = neurons, shape, leak, wait, plan
        self.soft = neurons.reset == "soft"
        self.threshold = to_state_units(per_neuron(neurons.threshold, shape).astype(np.int64))
        self.pulses: dict[int, int] = {}
        for pulse in pulses_of(neurons, wait, *pulsing(plan)):
            position = pulse.step % plan.period
            self.pulses[position] = self.pulses.get(position, 0) + pulse.value
        # Where neurons wait, biases of soft-reset neurons last as long as messages arrive, else for ever.
        self.bias_steps = plan.steps if plan.wait and self.soft else plan.period
        bias = neurons.bias_per_neuron(shape)
        self.bias = 0 if bias is None else bias.astype(np.int64) << neurons.bias_exponent
        self.u = np.zeros(shape, dtype=np.int64)
        self.v = np.zeros(shape, dtype=np.int64)
        self.saturations = self.large_inputs = 0
        self.v_range: Range | None = None
        self.u_range: Range | None = None
        self.waiting_range: Range | None = None
        self.before = np.zeros((0, *shape), dtype=bool)
        self.decays = True

    def lead_in(self, incoming: np.ndarray) -> np.ndarray:
        """Spikes of the step before the first window; `before` keeps those of all steps until then.

        Biases that arrive through synapses start with the first window. A pulse takes a step, so none arrives in the first; where
        neurons wait, pulses start with the first window too.
        """
        steps = len(incoming)
        self.before = np.zeros((steps, *self.shape), dtype=bool)
        last = np.zeros(self.shape, dtype=bool)
        for i, a in enumerate(incoming):
            position = (i - steps) % self.plan.period  # from 0, in local time
            if position % reset_interval(self.plan) == 0:
                self._reset()
            a = a.astype(np.int64) + (self.pulses.get(position, 0) if i and not self.plan.wait else 0)
            last = self.before[i] = self._step(a, last, bias=0 if self.soft else self.bias)
        self.saturations = self.large_inputs = 0
        self.v_range = self.u_range = None
        return last

    def run(self, incoming: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spikes (samples, period, *shape), and membrane potentials (samples, *shape) at the end of windows, in state units."""
        samples, plan = len(incoming), self.plan
        spikes = np.zeros((samples, plan.period, *self.shape), dtype=np.uint8)
        potentials = np.zeros((samples, *self.shape), dtype=np.int64)
        incoming = incoming.astype(np.int64)
        end = self.wait + plan.steps
        for sample in range(samples):
            for t in range(plan.period):
                if t % reset_interval(plan) == 0:
                    self._reset()
                seen = (self.saturations, self.large_inputs, self.v_range, self.u_range)
                a = incoming[sample, t] + self.pulses.get(t, 0)
                last = self._step(a, last, bias=self.bias if t < self.bias_steps else 0)
                spikes[sample, t] = last
                if t == end - 1:
                    # The self-synapse subtracts the threshold of this step's spike one step later.
                    potentials[sample] = self.u - self.threshold * last.astype(np.int64) if self.soft else self.v
                elif t >= end:  # blank steps are not observed
                    self.saturations, self.large_inputs, self.v_range, self.u_range = seen
                if t < self.wait:
                    self.v_range = seen[2]  # nothing is compared
                    self.waiting_range = widened(self.waiting_range, self.u + to_state_units(QUIET))
        return spikes, potentials

    def _reset(self) -> None:
        self.u, self.v = np.zeros_like(self.u), np.zeros_like(self.v)
        self.decays = False

    def _step(self, a: np.ndarray, last_spikes: np.ndarray, *, bias: np.ndarray | int) -> np.ndarray:
        current = to_state_units(a)
        if self.soft:
            current -= self.threshold * last_spikes.astype(np.int64)
            current += bias
            self.u = self._wrapped(decay(self.u, self.leak if self.decays else 0) + current)
            self.decays = True
            # The current also holds +2^23, where the definition's potential saturates.
            self.saturations += int(np.count_nonzero(np.abs(self.u) > MAX_STATE))
            self.v_range = widened(self.v_range, self.u)
            return np.clip(self.u, -MAX_STATE, MAX_STATE) > self.threshold
        current_decay, voltage_decay = self.neurons.decays_per_neuron(self.u.shape)
        self.u = self._wrapped(decay(self.u, current_decay) + current)
        wide = decay(self.v, voltage_decay) + self.u + bias
        self.v = np.clip(_as_int32(wide), -MAX_STATE, MAX_STATE)
        self.saturations += int(np.count_nonzero(self.v != wide))
        self.u_range, self.v_range = widened(self.u_range, self.u), widened(self.v_range, self.v)
        if self.neurons.reset == "none":
            return np.zeros(self.v.shape, dtype=bool)
        spikes = self.v > self.threshold
        self.v = np.where(spikes, 0, self.v)
        return spikes

    def _wrapped(self, wide: np.ndarray) -> np.ndarray:
        wrapped = wrap24(_as_int32(wide))
        self.large_inputs += int(np.count_nonzero(wrapped != wide))
        return wrapped


def _as_int32(wide: np.ndarray) -> np.ndarray:
    """Wrapped to the 32 signed bits in which Lava's LIF adds."""
    return (wide + 2**31) % 2**32 - 2**31
