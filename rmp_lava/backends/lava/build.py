"""From a `SpikingNetwork` to connected Lava Processes, in either implementation. The only builder of networks; imports Lava.

Native: one `RMP` Process per layer, or in sigma-delta networks Lava's own (see `sdn`). Stock: Lava's unmodified LIF (see
`stock_lif`). The same graph is built for the CPU simulator and for a chip; only how messages enter and leave (`adapters`)
differs.

A layer's reset is delayed until its window starts (`rmp_lava.schedule`). Lava's synapses take one step, so messages on a path
that is shorter than another must wait: spikes of stock neurons, and all spikes on a chip, pass through relay neurons; other
messages wait in a `Delay`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from lava.magma.core.process.ports.ports import OutPort

from ...errors import BackendError
from ...network import INPUT, Population, SigmaDelta, SpikingNetwork, delays, populations, windows
from ...processes.io import Delay
from ...processes.rmp import RMP
from ...schedule import Schedule
from ..obstacles import refuse, unbuildable, unrepresentable
from ..stock import LEAD_IN
from ..synapses import apply
from .adapters import Adapters
from .connections import connect_synapse
from .population import LavaPopulation, lava_bias, lava_shape, one_to_one, relay
from .pulses import Pulses
from .sdn import sigma_delta_population
from .stock_lif import stock_population


def build(
    network: SpikingNetwork,
    source: OutPort | None,
    plan: Schedule,
    *,
    implementation: str = "native",
    lead_in: int = LEAD_IN,
    leak: int = 0,
    adapters: Adapters | None = None,
    constant: np.ndarray | None = None,
) -> dict[str, LavaPopulation]:
    """Connect a network's Processes to a port that sends its input's messages.

    Parameters
    ----------
    network : SpikingNetwork
    source : OutPort or None
        Of the input's shape in Lava order; sends from step lead_in + 1 on. None with `constant`.
    plan : Schedule
        Its period is the interval of the reset.
    implementation : {"native", "stock"}
    lead_in : int
        Steps before the first sample starts; stock neurons need one, in which pulses travel.
    leak : {0, 1}
        1: the membranes of stock neurons lose 1/4096 per step, for boards that support no smaller decay than du = 0.
    adapters : Adapters or None
        How messages enter and leave; None: directly.
    constant : numpy.ndarray or None
        (*input shape) integer messages of every step, which the network then holds itself (stock neurons only).

    Returns
    -------
    dict
        Layer name -> population, and `INPUT` for the input's neurons or the source of the messages.

    Raises
    ------
    BackendError
        If the implementation does not support a layer.
    """
    adapters = adapters or Adapters()
    if network.is_integer:
        obstacles = unrepresentable(network) if implementation == "stock" else unbuildable(network)
        refuse(obstacles, f"{implementation} neurons on Lava cannot run the network")
    lasting = plan.steps if plan.wait else None
    pulses = Pulses(plan.period, lasting) if implementation == "stock" else None
    if constant is not None and pulses is None:
        raise BackendError("native neurons cannot hold a constant input; use implementation 'stock'")
    built = {} if source is None else {INPUT: LavaPopulation(None, source, source.shape)}
    for each in populations(network):
        if isinstance(each.neurons, SigmaDelta):
            population = sigma_delta_population(each.neurons, each.shape, encodes=each.name == INPUT)
        elif pulses is None:
            population = _native_population(each, plan, lead_in, adapters)
        else:
            population = stock_population(each, plan, lead_in, leak, pulses)
        if each.name == INPUT and source is not None:
            _connect_input(source, 0 if network.input.levels == 1 else 16, population, adapters)
        elif each.name == INPUT and pulses is not None and constant is not None:
            pulses.always(lead_in + 1, constant, population)
        built[each.name] = population
    _connect_all(network, built, pulses, lead_in, adapters, constant)
    if pulses is not None:
        pulses.connect()
    return built


def _native_population(each: Population, plan: Schedule, lead_in: int, adapters: Adapters) -> LavaPopulation:
    """An `RMP` Process whose window starts `lead_in + start` steps after the run."""
    neurons = each.neurons
    if neurons.is_leaky:
        raise BackendError(f"layer {each.name!r} has lava-dl's leaky neurons; run it with implementation 'stock'")
    if isinstance(neurons.threshold, np.ndarray):
        raise BackendError(f"layer {each.name!r} has a threshold per neuron; run it with implementation 'stock'")
    process = RMP(
        shape=lava_shape(each.shape),
        threshold=neurons.threshold,
        reset=neurons.reset,
        v_init=neurons.v_init,
        bias_mant=lava_bias(neurons, each.shape),
        bias_exp=neurons.bias_exponent,
        reset_interval=plan.period,
        reset_offset=lead_in + each.window.start,
        wait=each.window.wait,
        steps=plan.steps if plan.wait else None,
        largest_spike=neurons.largest_spike,
    )
    return LavaPopulation(process.a_in, process.s_out, lava_shape(each.shape), process.v)


def _connect_input(port: OutPort, message_bits: int, population: LavaPopulation, adapters: Adapters) -> None:
    """Connect the source to the input's neurons; adapters feed synapses only, so there each neuron gets one of weight 1."""
    if adapters.as_on_chip:
        entered = adapters.enter(port.flatten(), message_bits, convolution=False)
        one_to_one(entered, 1, population, message_bits=message_bits)
    else:
        port.connect(population.a_in)


def _connect_all(
    network: SpikingNetwork,
    built: dict[str, LavaPopulation],
    pulses: Pulses | None,
    lead_in: int,
    adapters: Adapters,
    constant: np.ndarray | None,
) -> None:
    @cache
    def delayed(name: str, steps: int) -> LavaPopulation:
        """A population whose messages arrive some steps later; built once, when it is first needed."""
        population = built[name]
        if steps == 0:
            return population
        # Messages may be graded, which neurons cannot relay. A Delay is cheaper, but runs on no neuro-core.
        single = population.a_in is not None and not network.is_graded
        if single and (pulses is not None or adapters.as_on_chip):
            return relay(delayed(name, steps - 1))
        process = Delay(shape=population.shape, steps=steps)
        population.s_out.connect(process.s_in)
        return LavaPopulation(None, process.s_out, population.shape)

    when, waiting = windows(network), delays(network)
    for layer in network:
        target = built[layer.name]
        for synapse, steps in zip(layer.synapses, waiting[layer.name], strict=True):
            from_host = synapse.source == INPUT and network.input.neurons is None
            if from_host and pulses is not None and constant is not None:
                value = apply(synapse, constant[None, None])[0, 0].astype(np.int64)
                pulses.always(lead_in + when[layer.name].start + 1, value, target)
                continue
            largest = network.largest_message(synapse.source)
            bits = 0 if network.is_integer and largest == 1 and not network.is_sigma_delta else 16
            port = delayed(synapse.source, steps).s_out
            connect_synapse(synapse, port, target, bits, adapters if from_host else None)
