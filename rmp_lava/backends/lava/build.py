"""From a `SpikingNetwork` to connected Lava Processes, in either implementation. The only builder of networks; imports Lava.

Native: one `RMP` Process per layer. Stock: Lava's unmodified LIF (see `stock_lif`). The same graph is built for the CPU simulator
and for a chip; only how messages enter and leave (`adapters`) differs.

A layer's reset is delayed by the layer's depth (`rmp_lava.schedule`). Lava's synapses take one step, so messages on a path that
is shorter than another must wait: spikes of stock neurons, and all spikes on a chip, pass through relay neurons; other messages
wait in a `Delay`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.proc.dense.process import Dense as LavaDense
from lava.proc.sparse.process import Sparse
from scipy.sparse import identity

from ...errors import BackendError
from ...network import INPUT, Conv, Layer, Neurons, SpikingNetwork, Synapse, populations
from ...processes.io import Delay
from ...processes.rmp import RMP
from ...registers import MAX_CONV_SUM, MAX_DENSE_SUM
from ...schedule import Schedule
from ..stock import LEAD_IN
from ..synapses import apply, largest_sum
from .adapters import Adapters
from .population import LavaPopulation, convolution, flattened, lava_bias, lava_shape, relay
from .stock_lif import StockBuilder

__all__ = ["LavaNetwork", "LavaPopulation", "build", "lava_shape"]


@dataclass
class LavaNetwork:
    """The Processes of a network; `populations` by layer name, and `INPUT` for the source of the messages."""

    populations: dict[str, LavaPopulation]
    processes: list[AbstractProcess] = field(default_factory=list)


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
) -> LavaNetwork:
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

    Raises
    ------
    BackendError
        If the implementation does not support a layer.
    """
    adapters = adapters or Adapters()
    if implementation == "native":
        builder: _Native | StockBuilder = _Native(plan, lead_in, network.is_integer, adapters.as_on_chip)
    else:
        builder = StockBuilder(plan, lead_in, leak)
    built = LavaNetwork({})
    if source is not None:
        built.populations[INPUT] = LavaPopulation(None, source, source.shape, None)
        built.processes.append(source.process)
    for name, neurons, shape, depth in populations(network):
        population = builder.population(name, neurons, shape, depth, built.processes)
        if name == INPUT and constant is not None:
            builder.constant_input(constant, population, depth, "the constant input")
        elif name == INPUT:
            _connect_input(source, _message_bits(network.input.levels), population, adapters)
        built.populations[name] = population
    _connect_all(network, built, builder, adapters, constant)
    builder.finish(built.processes)
    return built


def _connect_input(port: OutPort, message_bits: int, population: LavaPopulation, adapters: Adapters) -> None:
    """Connect the source to the input's neurons; adapters feed synapses only, so there each neuron gets one of weight 1."""
    if not adapters.as_on_chip:
        port.connect(population.a_in)
        return
    entered = adapters.enter(port.flatten(), message_bits, convolution=False)
    synapse = Sparse(weights=identity(entered.size, dtype="int32", format="csr"), num_message_bits=message_bits)
    entered.connect(synapse.s_in)
    synapse.a_out.reshape(population.shape).connect(population.a_in)


def _connect_all(
    network: SpikingNetwork,
    built: LavaNetwork,
    builder: _Native | StockBuilder,
    adapters: Adapters,
    constant: np.ndarray | None,
) -> None:
    delayed = _Delayed(builder, built)
    depths = {INPUT: 0, **network.depths}
    for layer in network:
        if network.is_integer:
            _check_sums(network, layer)
        for synapse in layer.synapses:
            target = built.populations[layer.name]
            from_host = synapse.source == INPUT and network.input.neurons is None
            if from_host and constant is not None:
                value = apply(synapse, constant[None, None])[0, 0].astype(np.int64)
                builder.constant_input(value, target, depths[layer.name], f"constant input of layer {layer.name!r}")
                continue
            largest = network.input.largest_message if synapse.source == INPUT else 1
            levels = largest if network.is_integer else None
            sender = delayed(synapse.source, depths[layer.name] - depths[synapse.source] - 1)
            _connect(synapse, sender, target, levels, adapters if from_host else None, built.processes)


class _Delayed:
    """Populations whose messages arrive later; each is built once, when it is first needed."""

    def __init__(self, builder: _Native | StockBuilder, built: LavaNetwork) -> None:
        self.builder, self.built = builder, built
        self.made: dict[tuple[str, int], LavaPopulation] = {}

    def __call__(self, name: str, steps: int) -> LavaPopulation:
        """The population of that name, delayed by `steps` steps."""
        population = self.built.populations[name]
        if steps == 0:
            return population
        if (name, steps) not in self.made:
            # The input's messages may be graded; neurons cannot relay those.
            if population.a_in is None or not self.builder.relays:
                self.made[name, steps] = _delay(population, steps, self.built.processes)
            else:
                self.made[name, steps] = relay(self(name, steps - 1), self.built.processes)
        return self.made[name, steps]


def _delay(source: LavaPopulation, steps: int, processes: list[AbstractProcess]) -> LavaPopulation:
    process = Delay(shape=source.shape, steps=steps)
    source.s_out.connect(process.s_in)
    processes.append(process)
    return LavaPopulation(None, process.s_out, source.shape, None)


def _message_bits(levels: int | None) -> int:
    """`num_message_bits` of Lava's synapses for messages up to `levels`; None: real numbers."""
    return 0 if levels == 1 else 16


def _connect(
    synapse: Synapse,
    source: LavaPopulation,
    target: LavaPopulation,
    levels: int | None,
    adapters: Adapters | None,
    processes: list[AbstractProcess],
) -> None:
    """Connect two populations; `levels` is the largest message, None for real numbers; `adapters` if the host sends them."""
    bits = _message_bits(levels)
    port = source.s_out
    if isinstance(synapse, Conv):
        if adapters is not None:
            port = adapters.enter(port, bits, convolution=True)
        process = convolution(
            synapse.weight,
            source.shape,
            bits,
            stride=synapse.stride,
            padding=synapse.padding,
            dilation=synapse.dilation,
            groups=synapse.groups,
        )
        port.connect(process.s_in)
        processes.append(process)
        process.a_out.connect(target.a_in)
        return
    port = flattened(port)
    if adapters is not None:
        port = adapters.enter(port, bits, convolution=False)
    for weight in [synapse.weight] if levels is None else _held_by_dense(synapse.weight):
        process = LavaDense(weights=weight, num_message_bits=bits)
        port.connect(process.s_in)
        processes.append(process)
        process.a_out.connect(target.a_in)


def _check_sums(network: SpikingNetwork, layer: Layer) -> None:
    """Refuse sums that Lava would wrap silently. Wraps within stock neurons are modelled and counted by the reference."""
    for synapse in layer.synapses:
        if isinstance(synapse, Conv) and largest_sum(network, synapse) >= MAX_CONV_SUM:
            raise BackendError(
                f"a convolution from {synapse.source!r} can reach sums of {largest_sum(network, synapse)}, which Lava's Conv "
                f"wraps at {MAX_CONV_SUM}; use fewer input levels"
            )
    if largest_sum(network, *layer.synapses) >= MAX_DENSE_SUM:
        raise BackendError(
            f"layer {layer.name!r} can reach sums of {largest_sum(network, *layer.synapses)}, which Lava wraps at "
            f"{MAX_DENSE_SUM}; use fewer input levels"
        )


def _held_by_dense(weight: np.ndarray) -> list[np.ndarray]:
    """Matrices whose sum is `weight` and that Lava's Dense neither rounds nor clips.

    Dense rounds weights of mixed sign to even values, and clips those of one sign at +-255 (lava/utils/weightutils.py).
    """
    weight = weight.astype(np.int32)
    mixed = weight.min() < 0 < weight.max()
    if not (weight % 2).any() if mixed else weight.min() >= -255:
        return [weight]
    positive, negative = np.clip(weight, 0, None), np.clip(weight, -255, 0)
    parts = [positive, negative, weight - positive - negative]
    return [part for part in parts if part.any()]


class _Native:
    """Builds populations of `RMP` Processes."""

    def __init__(self, plan: Schedule, lead_in: int, integer: bool, on_chip: bool) -> None:
        self.plan, self.lead_in, self.integer = plan, lead_in, integer
        self.relays = on_chip  # a Delay is cheaper, but runs on no neuro-core

    def population(
        self, name: str, neurons: Neurons, shape: tuple[int, ...], depth: int, processes: list[AbstractProcess]
    ) -> LavaPopulation:
        """Neurons whose window starts `depth` steps after the input's."""
        if neurons.is_leaky:
            raise BackendError(f"layer {name!r} has lava-dl's leaky neurons; run it with implementation 'stock'")
        process = RMP(
            shape=lava_shape(shape),
            threshold=neurons.threshold,
            reset=neurons.reset,
            v_init=neurons.v_init,
            bias_mant=lava_bias(neurons, shape),
            bias_exp=neurons.bias_exponent,
            reset_interval=self.plan.period,
            reset_offset=self.lead_in + depth,
        )
        processes.append(process)
        return LavaPopulation(process.a_in, process.s_out, lava_shape(shape), process.v)

    def constant_input(self, value: np.ndarray, population: LavaPopulation, depth: int, what: str) -> None:
        """Refuse: only LIF neurons without input spike regularly."""
        raise BackendError(f"native neurons cannot hold {what}; use implementation 'stock'")

    def finish(self, processes: list[AbstractProcess]) -> None:
        """Nothing: native populations share no Processes."""
