"""RMP neurons built from Lava's unmodified LIF and a self-synapse, modelled exactly, with every difference.

The current's 24-bit register wraps where the RMP neuron saturates: once, after sums in Lava's 32-bit integers, which wrap
too. Whatever arrives by pulse (an initial potential, a bias of soft-reset neurons) passes through it. The self-synapse
subtracts the threshold one step after the spike, so a spike in a period's last step reaches into the next sample. Each period
therefore ends with a blank step in which a pulse of -`QUIET` keeps the neurons silent. A potential beyond even that crosses
(`boundary_spikes`), unless there are enough blank steps for a reset of their own (`reset_interval`).
`backends.lava.stock_lif` builds the same from Lava's Processes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce

import numpy as np

from ..network import INPUT, NO_MEMORY, Neurons, SpikingNetwork, populations as populations_of
from ..neuron import Range, decay, widened, wrap24
from ..readout import output
from ..registers import MAX_STATE, to_state_units
from ..schedule import Schedule
from ..stock_weights import MAX_VALUE
from .batches import Part
from .obstacles import leaky_starts, refuse
from .synapses import apply

LEAD_IN = 1
"""Steps before the first sample, in which the pulses for the input's neurons travel."""
QUIET = 2 * MAX_VALUE
"""Weight units that the pulse in the last blank step subtracts: about half of the 24-bit register."""


def reset_interval(plan: Schedule) -> int:
    """Steps between two resets of stock neurons: half a period if the window fits into half, else a period.

    A reset amid the blank steps ends every backlog of spikes long before the next sample. If T is a power of two and the
    period must be one, it costs no step.
    """
    half, odd = divmod(plan.period, 2)
    return half if not odd and plan.steps <= half else plan.period


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
    refuse(leaky_starts(network), "stock neurons cannot run the network")
    sources = {INPUT: _Source.sending(messages, plan)}
    part = Part()
    potentials: dict[str, np.ndarray] = {}
    for name, neurons, shape, depth in populations_of(network):
        population = _StockPopulation(neurons, shape, leak)
        incoming = _incoming(network, name, sources, depth)
        last = last_spikes[name] if name in last_spikes else population.lead_in(incoming.before, plan)
        source, potentials[name] = population.run(incoming.during, plan, last)
        source.before = population.before
        sources[name] = source
        last_spikes[name] = source.during[-1, -1]
        has_memory = not population.soft and neurons.current_decay != NO_MEMORY
        part.note(
            name,
            population.saturations,
            population.large_inputs,
            population.v_range,
            population.u_range if has_memory else None,
        )
        if population.soft:
            crossing = source.during[:, -1].reshape(len(messages), -1).any(axis=1)
            part.boundary_spikes[name] = int(crossing.sum())
    streams = {name: source.during[:, : plan.steps] for name, source in sources.items()}
    part.count_streams(network, streams, record)
    if "potentials" in record:
        part.potentials = {layer.name: potentials[layer.name] for layer in network}
    name = network.output.name
    counts = streams[name].sum(axis=1, dtype=np.int64)
    part.output = output(network, counts, potentials[name], plan.steps).reshape(len(messages), -1)
    return part


@dataclass
class _Source:
    """What a source sends, or what reaches a target.

    before : (steps before the first window, *shape).
    during : (samples, period, *shape) in local time.
    """

    before: np.ndarray
    during: np.ndarray

    @classmethod
    def sending(cls, messages: np.ndarray, plan: Schedule) -> _Source:
        samples, _, *shape = messages.shape
        blank = np.zeros((samples, plan.blank, *shape), dtype=messages.dtype)
        before = np.zeros((LEAD_IN, *shape), dtype=messages.dtype)
        return cls(before, np.concatenate([messages, blank], axis=1))


def _incoming(network: SpikingNetwork, name: str, sources: dict[str, _Source], depth: int) -> _Source:
    """Input of a population in weight units, in its own local time."""
    if name == INPUT:
        return sources[INPUT]
    before, during = [], []
    for synapse in network[name].synapses:
        source = sources[synapse.source]
        # A deeper layer's window starts later, so more steps precede it.
        missing = np.zeros((LEAD_IN + depth - len(source.before), *source.before.shape[1:]))
        before.append(apply(synapse, np.concatenate([missing, source.before])[None])[0])
        during.append(apply(synapse, source.during))
    return _Source(reduce(np.add, before), reduce(np.add, during))


class _StockPopulation:
    """Lava's unmodified LIF with the settings of `backends.lava.stock_lif`.

    Soft reset: the current u is the membrane (du = -1, dv = 4096), and a spike returns as -threshold one step later; the
    bias arrives through a synapse too. Other resets: the LIF itself, whose current wraps where the definition's does not.
    """

    def __init__(self, neurons: Neurons, shape: tuple[int, ...], leak: int) -> None:
        self.neurons, self.shape, self.leak = neurons, shape, leak
        self.soft = neurons.reset == "soft"
        self.threshold = to_state_units(int(neurons.threshold))
        self.v_init = to_state_units(int(neurons.v_init))
        bias = neurons.bias_per_neuron(shape)
        self.bias = 0 if bias is None else bias.astype(np.int64) << neurons.bias_exponent
        self.u = np.zeros(shape, dtype=np.int64)
        self.v = np.zeros(shape, dtype=np.int64)
        self.saturations = self.large_inputs = 0
        self.v_range: Range | None = None
        self.u_range: Range | None = None
        self.before = np.zeros((0, *shape), dtype=bool)
        self.decays = True
        self.pulse = 0

    def lead_in(self, incoming: np.ndarray, plan: Schedule) -> np.ndarray:
        """Spikes of the step before the first window; `before` keeps those of all steps until then.

        Biases that arrive through synapses start with the window. A pulse takes a step, so none arrives in the first.
        """
        steps = len(incoming)
        self.before = np.zeros((steps, *self.shape), dtype=bool)
        last = np.zeros(self.shape, dtype=bool)
        for i, a in enumerate(incoming):
            position = (i - steps) % plan.period  # from 0, in local time
            if position % reset_interval(plan) == 0:
                self._reset(self.v_init if i and position == 0 else 0)
            pulse = QUIET if i and self.soft and plan.blank and position == plan.period - 1 else 0
            last = self.before[i] = self._step(a.astype(np.int64) - pulse, last, bias=0 if self.soft else self.bias)
        self.saturations = self.large_inputs = 0
        self.v_range = self.u_range = None
        return last

    def run(self, incoming: np.ndarray, plan: Schedule, last: np.ndarray) -> tuple[_Source, np.ndarray]:
        """Spikes of all samples, and membrane potentials (samples, *shape) at the end of their windows, in state units."""
        samples = len(incoming)
        spikes = np.zeros((samples, plan.period, *self.shape), dtype=np.uint8)
        potentials = np.zeros((samples, *self.shape), dtype=np.int64)
        incoming = incoming.astype(np.int64)
        for sample in range(samples):
            for t in range(plan.period):
                if t % reset_interval(plan) == 0:
                    self._reset(0 if t else self.v_init)
                quiet = self.soft and plan.blank and t == plan.period - 1
                seen = (self.saturations, self.large_inputs, self.v_range, self.u_range)
                last = self._step(incoming[sample, t] - (QUIET if quiet else 0), last, bias=self.bias)
                spikes[sample, t] = last
                if t == plan.steps - 1:
                    # The self-synapse subtracts the threshold of this step's spike one step later.
                    potentials[sample] = self.u - self.threshold * last.astype(np.int64) if self.soft else self.v
                elif t >= plan.steps:  # blank steps are not observed
                    self.saturations, self.large_inputs, self.v_range, self.u_range = seen
        return _Source(self.before, spikes), potentials

    def _reset(self, v_init: int) -> None:
        self.u, self.v = np.zeros_like(self.u), np.zeros_like(self.v)
        # v_init arrives with this step's input.
        self.pulse, self.decays = v_init, False

    def _step(self, a: np.ndarray, last_spikes: np.ndarray, *, bias: np.ndarray | int) -> np.ndarray:
        current = to_state_units(a) + self.pulse
        self.pulse = 0
        if self.soft:
            current = current - self.threshold * last_spikes.astype(np.int64) + bias
            self.u = self._wrapped(decay(self.u, self.leak if self.decays else 0) + current)
            self.decays = True
            # The current also holds +2^23, where the definition's potential saturates.
            self.saturations += int(np.count_nonzero(np.abs(self.u) > MAX_STATE))
            self.v_range = widened(self.v_range, self.u)
            return np.clip(self.u, -MAX_STATE, MAX_STATE) > self.threshold
        self.u = self._wrapped(decay(self.u, self.neurons.current_decay) + current)
        wide = decay(self.v, self.neurons.voltage_decay) + self.u + bias
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
