"""RMP neurons made of Lava's unmodified LIF and a self-synapse, modelled exactly, with everything that differs there.

The current's 24-bit register wraps, stock neurons reset first and then integrate what arrives, so the spikes of a sample's
last step reach into the next one, and a bias acts in the lead-in step too. `lava_build` makes the same of Lava's Processes.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..network import INPUT, NO_MEMORY, Neurons, SpikingNetwork
from ..neuron import MAX_STATE, STATE_SHIFT, decay, widened, wrap24
from ..schedule import Schedule
from .parts import count_stream, empty_part
from .synapses import apply


def simulate_stock(
    network: SpikingNetwork, messages: np.ndarray, plan: Schedule, record: Collection[str], carry: dict[str, np.ndarray]
) -> dict:
    """Simulate samples one after the other; `carry` holds the last step's messages by layer, and is brought up to date."""
    shapes = {INPUT: network.input.shape} | {layer.name: layer.shape for layer in network}
    populations = {layer.name: _StockPopulation(layer.neurons, layer.shape) for layer in network}
    if network.input.neurons is not None:
        populations[INPUT] = _StockPopulation(network.input.neurons, network.input.shape)
    streams = {
        name: np.zeros((len(messages), plan.period, *shape), dtype=messages.dtype if name == INPUT else np.uint8)
        for name, shape in shapes.items()
    }
    potentials = {name: np.zeros((len(messages), *shapes[name]), dtype=np.int64) for name in populations}
    last = dict(carry)
    if not last:
        last = {name: np.zeros(shape, dtype=np.uint8) for name, shape in shapes.items()}
        last |= {name: population.lead_in() for name, population in populations.items()}
    for sample in range(len(messages)):
        for t in range(plan.period):
            if t == 0:
                for population in populations.values():
                    population.reset()
            now = {INPUT: messages[sample, t] if t < plan.steps else np.zeros_like(messages[sample, 0])}
            if INPUT in populations:
                now[INPUT] = populations[INPUT].step(now[INPUT], last[INPUT])
            for layer in network:
                a = sum(apply(s, last[s.source][None, None])[0, 0] for s in layer.synapses)
                now[layer.name] = populations[layer.name].step(a, last[layer.name])
            for name in streams:
                streams[name][sample, t] = now[name]
            last = now
        for name, population in populations.items():
            potentials[name][sample] = population.potential(last[name])
    carry.update(last)
    part = empty_part()
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


class _StockPopulation:
    """Lava's unmodified LIF in the settings that `backends.lava_build` gives it.

    Soft reset: the current u is the membrane (du = -1, dv = 4096), and a spike comes back as -threshold one step later;
    the bias comes through a synapse too. Else: the LIF itself, whose current wraps where the definition's does not.
    """

    def __init__(self, neurons: Neurons, shape: tuple[int, ...]) -> None:
        self.neurons = neurons
        self.soft = neurons.reset == "soft"
        self.threshold = int(neurons.threshold) << STATE_SHIFT
        bias = neurons.bias_per_neuron(shape)
        self.bias = 0 if bias is None else bias.astype(np.int64) << neurons.bias_exponent
        self.u = np.zeros(shape, dtype=np.int64)
        self.v = np.zeros(shape, dtype=np.int64)
        self.saturations = self.large_inputs = 0
        self.v_range = self.u_range = None

    def reset(self) -> None:
        v_init = int(self.neurons.v_init) << STATE_SHIFT
        self.u = np.full_like(self.u, v_init if self.soft else 0)
        self.v = np.full_like(self.v, v_init)

    def lead_in(self) -> np.ndarray:
        """Who spikes in the step before the first sample: only a hard reset's bias is there, all else takes a synapse."""
        return (np.broadcast_to(self.bias, self.v.shape) > self.threshold) & (self.neurons.reset == "hard")

    def step(self, a: np.ndarray, last_spikes: np.ndarray) -> np.ndarray:
        current = a.astype(np.int64) << STATE_SHIFT
        if self.soft:
            current = current - self.threshold * last_spikes.astype(np.int64) + self.bias
            self.u = self._wrapped(self.u + current)
            # The current holds +2^23 too, where the definition's potential saturates.
            self.saturations += int(np.count_nonzero(np.abs(self.u) > MAX_STATE))
            self.v_range = widened(self.v_range, self.u)
            return np.clip(self.u, -MAX_STATE, MAX_STATE) > self.threshold
        self.u = self._wrapped(decay(self.u, self.neurons.current_decay) + current)
        wide = decay(self.v, self.neurons.voltage_decay) + self.u + self.bias
        self.v = np.clip(wide, -MAX_STATE, MAX_STATE)
        self.saturations += int(np.count_nonzero(self.v != wide))
        self.u_range, self.v_range = widened(self.u_range, self.u), widened(self.v_range, self.v)
        if self.neurons.reset == "none":
            return np.zeros(self.v.shape, dtype=bool)
        spikes = self.v > self.threshold
        self.v = np.where(spikes, 0, self.v)
        return spikes

    def _wrapped(self, wide: np.ndarray) -> np.ndarray:
        wrapped = wrap24(wide)
        self.large_inputs += int(np.count_nonzero(wrapped != wide))
        return wrapped

    def potential(self, spikes: np.ndarray) -> np.ndarray:
        """Membrane potential after the step, in state units: the self-synapse's subtraction is still under way."""
        return self.u - self.threshold * spikes.astype(np.int64) if self.soft else self.v
