"""RMP neurons made of Lava's unmodified LIF and a self-synapse, modelled exactly, with everything that differs there.

The current's 24-bit register wraps where the definition saturates: once, in Lava's 32-bit integers, which wrap too. What a
pulse brings (a first potential, a bias of soft-reset neurons) passes through it. The self-synapse takes the threshold off one
step after the spike, so a spike in a period's last step reaches into the next sample: each period therefore ends with a blank
step in which a pulse of -`QUIET` keeps the neurons silent, and a potential that is beyond even that crosses
(`boundary_spikes`), unless there are enough blank steps for a reset of their own (`reset_interval`).
`lava_stock` makes the same of Lava's Processes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ..errors import BackendError
from ..network import INPUT, NO_MEMORY, Neurons, SpikingNetwork
from ..network import populations as populations_of
from ..neuron import decay, widened, wrap24
from ..registers import MAX_STATE, to_state_units
from ..schedule import Schedule
from ..stock_weights import MAX_VALUE
from .batches import count_stream, empty_part
from .synapses import apply

LEAD_IN = 1
"""Steps before the first sample: the pulses for the input's neurons travel in it."""
QUIET = 2 * MAX_VALUE
"""Weight units that the pulse in the last blank step takes off a potential: about half of the 24-bit register."""


def reset_interval(plan: Schedule) -> int:
    """Steps between two resets of stock neurons: half a period where the window leaves that much room, else a period.

    A reset amid the blank steps ends every backlog of spikes long before the next sample. Where T is a power of two and the
    period has to be one, it takes no step more.
    """
    half, odd = divmod(plan.period, 2)
    return half if not odd and plan.steps <= half else plan.period


def check_start(name: str, neurons: Neurons) -> None:
    """Raise `BackendError` for a first potential that would stay in the current of leaky neurons, through which it comes."""
    if neurons.is_leaky and neurons.v_init:
        raise BackendError(
            f"layer {name!r} has leaky neurons with v_init {neurons.v_init}, which stock neurons cannot start from"
        )


def simulate_stock(
    network: SpikingNetwork,
    messages: np.ndarray,
    plan: Schedule,
    record: Collection[str],
    carry: dict[str, np.ndarray],
    leak: int = 0,
) -> dict:
    """Simulate samples one after the other; `carry` holds each layer's last spikes, and is brought up to date.

    With `leak` 1, the membranes of soft-reset neurons lose 1/4096 a step, rounded as LIF's current is.
    """
    sources = {INPUT: _Source.sending(messages, plan)}
    populations: dict[str, _StockPopulation] = {}
    part = empty_part()
    potentials = {}
    for name, neurons, shape, depth in populations_of(network):
        check_start(name, neurons)
        population = populations[name] = _StockPopulation(neurons, shape, leak)
        incoming = _incoming(network, name, sources, depth)
        last = carry.get(name)
        if last is None:
            last = population.lead_in(incoming.before, plan)
        source, potentials[name] = population.run(incoming.during, plan, last)
        source.before = population.before
        sources[name] = source
        carry[name] = source.during[-1, -1]
        if population.soft:
            crossing = source.during[:, -1].reshape(len(messages), -1).any(axis=1)
            part["boundary_spikes"][name] = int(crossing.sum())
    streams = {name: source.during[:, : plan.steps] for name, source in sources.items()}
    count_stream(part, network, streams, record)
    for name, population in populations.items():
        part["saturations"][name] = population.saturations
        part["large_inputs"][name] = population.large_inputs
        part["potential_ranges"][name] = population.v_range
        if not population.soft and population.neurons.current_decay != NO_MEMORY:
            part["current_ranges"][name] = population.u_range
    if "spikes" in record:
        part["spikes"] = streams
    if "potentials" in record:
        part["potentials"] = {layer.name: potentials[layer.name] for layer in network}
    output = network.output.name
    scores = streams[output].sum(axis=1, dtype=np.int64) if network.readout == "count" else potentials[output]
    part["output"] = scores.reshape(len(messages), -1)
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
    before = during = 0
    for synapse in network[name].synapses:
        source = sources[synapse.source]
        # The window of a deeper layer starts later, so more steps lie before it.
        missing = np.zeros((LEAD_IN + depth - len(source.before), *source.before.shape[1:]))
        before = before + apply(synapse, np.concatenate([missing, source.before])[None])[0]
        during = during + apply(synapse, source.during)
    return _Source(before, during)


class _StockPopulation:
    """Lava's unmodified LIF in the settings that `backends.lava_stock` gives it.

    Soft reset: the current u is the membrane (du = -1, dv = 4096), and a spike comes back as -threshold one step later;
    the bias comes through a synapse too. Else: the LIF itself, whose current wraps where the definition's does not.
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
        self.v_range = self.u_range = None
        self.before = np.zeros((0, *shape), dtype=bool)
        self.decays = True
        self.pulse = 0

    def lead_in(self, incoming: np.ndarray, plan: Schedule) -> np.ndarray:
        """Who spikes in the step before the first window; `before` keeps all steps until then.

        Biases that come through synapses start with the window. A pulse needs a step to arrive, so none does in the first.
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
        self._forget()
        return last

    def run(self, incoming: np.ndarray, plan: Schedule, last: np.ndarray) -> tuple[_Source, np.ndarray]:
        """Spikes of all samples, and (samples, *shape) potentials at the end of their windows in state units."""
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
                    potentials[sample] = self._potential(last)
                elif t >= plan.steps:  # blank steps are not observed
                    self.saturations, self.large_inputs, self.v_range, self.u_range = seen
        return _Source(self.before, spikes), potentials

    def _forget(self) -> None:
        self.saturations = self.large_inputs = 0
        self.v_range = self.u_range = None

    def _reset(self, v_init: int) -> None:
        self.u, self.v = np.zeros_like(self.u), np.zeros_like(self.v)
        # Nothing is there yet: v_init comes with this step's input.
        self.pulse, self.decays = v_init, False

    def _step(self, a: np.ndarray, last_spikes: np.ndarray, *, bias: np.ndarray | int) -> np.ndarray:
        current = to_state_units(a) + self.pulse
        self.pulse = 0
        if self.soft:
            current = current - self.threshold * last_spikes.astype(np.int64) + bias
            self.u = self._wrapped(decay(self.u, self.leak if self.decays else 0) + current)
            self.decays = True
            # The current holds +2^23 too, where the definition's potential saturates.
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

    def _potential(self, spikes: np.ndarray) -> np.ndarray:
        """Membrane potential after the step, in state units: the self-synapse's subtraction is still under way."""
        return self.u - self.threshold * spikes.astype(np.int64) if self.soft else self.v


def _as_int32(wide: np.ndarray) -> np.ndarray:
    """What is left of these numbers in 32 signed bits, in which Lava's LIF adds."""
    return (wide + 2**31) % 2**32 - 2**31
