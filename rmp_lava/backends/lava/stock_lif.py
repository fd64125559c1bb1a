"""Populations of Lava's unmodified LIF: RMP neurons with a self-synapse, and leaky neurons as they are. Imports Lava.

A soft reset uses a LIF whose current never decays (du = -1) and whose voltage equals it (dv = 4096). The current is the membrane
potential; a spike resets the voltage only, and a one-to-one synapse of weight -threshold from the neuron to itself subtracts
the threshold from the current one step later. Spikes are those of the RMP neuron (see `rmp_lava.backends.stock`).
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.proc.lif.process import LIFReset

from ...errors import BackendError
from ...network import NO_MEMORY, Neurons
from ...registers import REGISTER_LIMIT, STATE_SHIFT
from ...schedule import Schedule
from ...stock_weights import terms
from ..stock import QUIET, check_start, reset_interval
from .population import LavaPopulation, lava_bias, lava_shape, one_to_one
from .pulses import Pulses, in_parts


class StockBuilder:
    """Builds populations of stock neurons, and finally the neurons that pulse them."""

    relays = True

    def __init__(self, plan: Schedule, lead_in: int, leak: int = 0) -> None:
        self.plan, self.lead_in, self.leak = plan, lead_in, leak
        self.pulses = Pulses(plan.period)

    def population(
        self, name: str, neurons: Neurons, shape: tuple[int, ...], depth: int, processes: list[AbstractProcess]
    ) -> LavaPopulation:
        """Neurons whose window starts `depth` steps after the input's."""
        soft, interval = neurons.reset == "soft", reset_interval(self.plan)
        check_start(name, neurons)
        process = LIFReset(
            shape=lava_shape(shape),
            vth=REGISTER_LIMIT if neurons.reset == "none" else neurons.threshold,
            du=self.leak - 1 if soft else neurons.current_decay - 1,
            dv=NO_MEMORY if soft else neurons.voltage_decay,
            bias_mant=0 if soft else lava_bias(neurons, shape),
            bias_exp=neurons.bias_exponent,
            reset_interval=interval,
            # Lava zeroes the state in steps t with t % interval == offset, before it integrates.
            reset_offset=(self.lead_in + depth + 1) % interval,
        )
        processes.append(process)
        population = LavaPopulation(process.a_in, process.s_out, lava_shape(shape), process.u if soft else process.v)
        first = self.lead_in + depth + 1  # first step of the window
        if neurons.v_init:
            self.pulses.once(first, [np.full(shape, int(neurons.v_init))], population, f"v_init of layer {name!r}")
        if soft:
            for mantissa, exponent in terms(int(neurons.threshold), f"threshold of layer {name!r}"):
                one_to_one(population, -mantissa, population.a_in, processes, exponent)
            self._quieten(first - 1, shape, population)
            bias = neurons.bias_per_neuron(shape)
            if bias is not None:
                value = _in_weight_units(bias, neurons.bias_exponent, name)
                self.pulses.always(first, [value], population, f"bias of layer {name!r}")
        return population

    def constant_input(self, value: np.ndarray, population: LavaPopulation, depth: int, what: str) -> None:
        """Add `value` (channel-first, weight units) to a population in every step from its first window on."""
        self.pulses.always(self.lead_in + depth + 1, in_parts(value), population, what)

    def finish(self, processes: list[AbstractProcess]) -> None:
        """Build what all populations share."""
        self.pulses.connect(processes)

    def _quieten(self, step: int, shape: tuple[int, ...], population: LavaPopulation) -> None:
        """Subtract `QUIET` from the potentials in the period's last step, which must be a blank one."""
        if self.plan.blank:
            self.pulses.once(step, in_parts(np.full(shape, -QUIET)), population, "pulse that silences neurons")


def _in_weight_units(bias: np.ndarray, exponent: int, name: str) -> np.ndarray:
    """Bias mantissas in weight units."""
    state = bias.astype(np.int64) << exponent
    if (state % (1 << STATE_SHIFT)).any():
        raise BackendError(
            f"layer {name!r} has a bias with fractions of a weight unit, which synapses of stock neurons cannot represent; "
            "quantise with bias_exponent 6 or more"
        )
    return state >> STATE_SHIFT
