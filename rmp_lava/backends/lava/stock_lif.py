"""Populations of Lava's unmodified LIF: RMP neurons with a self-synapse, and leaky neurons as they are. Imports Lava.

A soft reset uses a LIF whose current never decays (du = -1) and whose voltage equals it (dv = 4096). The current is the membrane
potential; a spike resets the voltage only, and a one-to-one synapse of weight -threshold from the neuron to itself subtracts
the threshold from the current one step later. Spikes are those of the RMP neuron (see `rmp_lava.backends.stock`).
"""

from __future__ import annotations

import numpy as np
from lava.proc.lif.process import LIFReset

from ...network import NO_MEMORY, Population
from ...registers import REGISTER_LIMIT, STATE_SHIFT
from ...schedule import Schedule
from ...stock_weights import pulses_of, terms
from ..stock import pulsing, reset_interval
from .population import LavaPopulation, lava_bias, lava_shape, lava_values, one_to_one
from .pulses import Pulses


def stock_population(each: Population, plan: Schedule, lead_in: int, leak: int, pulses: Pulses) -> LavaPopulation:
    """Stock neurons whose window starts `lead_in + start` steps after the run; what drives them is added to `pulses`."""
    neurons = each.neurons
    soft, interval = neurons.reset == "soft", reset_interval(plan)
    du, dv = (lava_values(rate, each.shape) for rate in (neurons.current_decay, neurons.voltage_decay))
    first = lead_in + each.window.start + 1  # first step of the window
    process = LIFReset(
        shape=lava_shape(each.shape),
        vth=REGISTER_LIMIT if neurons.reset == "none" else lava_values(neurons.threshold, each.shape),
        du=leak - 1 if soft else du - 1,
        dv=NO_MEMORY if soft else dv,
        bias_mant=0 if soft else lava_bias(neurons, each.shape),
        bias_exp=neurons.bias_exponent,
        reset_interval=interval,
        # Lava zeroes the state in steps t with t % interval == offset, before it integrates.
        reset_offset=first % interval,
    )
    membrane = process.u if soft else process.v
    population = LavaPopulation(process.a_in, process.s_out, lava_shape(each.shape), membrane)
    for pulse in pulses_of(neurons, each.window.wait, *pulsing(plan)):
        pulses.once(first + pulse.step, np.full(each.shape, pulse.value), population)
    if soft:
        for mantissa, exponent in terms(int(neurons.threshold)):
            one_to_one(population.s_out.flatten(), -mantissa, population, exponent=exponent)
        bias = neurons.bias_per_neuron(each.shape)
        if bias is not None:
            pulses.always(first, bias.astype(np.int64) << neurons.bias_exponent >> STATE_SHIFT, population)
    return population
