"""From a `SpikingNetwork` to connected Lava Processes, in either implementation. The only builder; imports Lava.

Native: one `RMP` Process per layer. Stock: Lava's unmodified LIF (see `lava_stock`). What is built is the same for the CPU
simulator and for a chip; only how the input's messages enter (`Entry`) and who observes the populations differ.

Each layer's reset comes as many steps later as it is deep (`rmp_lava.schedule`). Lava's synapses take one step, so where a
path is shorter than another one its messages wait: spikes of stock neurons, and all spikes on a chip, pass through relay
neurons; others wait in a `Delay`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.proc.conv.process import Conv as LavaConv
from lava.proc.dense.process import Dense as LavaDense

from ...errors import BackendError
from ...network import INPUT, Conv, Layer, Neurons, SpikingNetwork, Synapse, populations
from ...processes.io import Delay
from ...processes.rmp import RMP
from ...registers import MAX_CONV_SUM, MAX_DENSE_SUM
from ...schedule import Schedule
from ..stock import LEAD_IN
from ..synapses import apply, largest_sum
from .population import Population, lava_bias, lava_shape, relay
from .stock_lif import StockBuilder

__all__ = ["Entry", "LavaNetwork", "Population", "build", "lava_shape"]


class Entry:
    """How the input's messages reach the network: directly, among Processes of one machine."""

    on_chip = False

    def to_synapse(self, port: OutPort, message_bits: int, *, convolution: bool) -> OutPort:
        """The port from which a synapse receives what `port` sends."""
        return port

    def to_neurons(self, port: OutPort, message_bits: int, population: Population) -> None:
        """Let the input's neurons receive what `port` sends."""
        port.connect(population.a_in)


@dataclass
class LavaNetwork:
    """The Processes of a network; `populations` by layer name, and `INPUT` for what sends the messages."""

    populations: dict[str, Population]
    processes: list[AbstractProcess] = field(default_factory=list)


def build(
    network: SpikingNetwork,
    source: OutPort | None,
    plan: Schedule,
    *,
    implementation: str = "native",
    lead_in: int = LEAD_IN,
    leak: int = 0,
    entry: Entry | None = None,
    constant: np.ndarray | None = None,
) -> LavaNetwork:
    """Connect a network's Processes behind a port that sends its input's messages.

    Parameters
    ----------
    network : SpikingNetwork
    source : OutPort or None
        Of the input's shape in Lava order; sends from step lead_in + 1. None with `constant`.
    plan : Schedule
        Whose period is the interval of the reset.
    implementation : {"native", "stock"}
    lead_in : int
        Steps before the first sample starts; stock neurons need one, in which pulses travel.
    leak : {0, 1}
        1: the membranes of stock neurons lose 1/4096 a step, as where no smaller decay than du = 0 is to be had.
    entry : Entry or None
        How messages enter; None: directly.
    constant : numpy.ndarray or None
        (*input shape) whole-numbered messages of every step, which stock neurons then hold themselves (embedded input).

    Raises
    ------
    BackendError
        If the implementation cannot express a layer.
    """
    entry = entry or Entry()
    if implementation == "native":
        if constant is not None:
            raise BackendError("native neurons cannot hold a constant input; use implementation 'stock'")
        builder = _Native(plan, lead_in, network.is_integer, entry.on_chip)
    else:
        builder = StockBuilder(plan, lead_in, leak)
    built = LavaNetwork({})
    if source is not None:
        built.populations[INPUT] = Population(None, source, source.shape, None)
        built.processes.append(source.process)
    for name, neurons, shape, depth in populations(network):
        population = builder.population(name, neurons, shape, depth, built.processes)
        if name == INPUT and constant is None:
            entry.to_neurons(source, _message_bits(network.input.levels), population)
        elif name == INPUT:
            builder.constant_input(constant, population, depth, "the constant input")
        built.populations[name] = population
    _connect_all(network, built, builder, entry, constant)
    builder.finish(built.processes)
    return built


def _connect_all(
    network: SpikingNetwork,
    built: LavaNetwork,
    builder: _Native | StockBuilder,
    entry: Entry,
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
            levels = network.input.largest_message if synapse.source == INPUT else 1
            levels = levels if network.is_integer else None
            sender = delayed(synapse.source, depths[layer.name] - depths[synapse.source] - 1)
            _connect(synapse, sender, target, levels, entry if from_host else None, built.processes)


class _Delayed:
    """Sources whose messages come later; made where they are needed, once."""

    def __init__(self, builder: _Native | StockBuilder, built: LavaNetwork) -> None:
        self.builder, self.built = builder, built
        self.made: dict[tuple[str, int], Population] = {}

    def __call__(self, name: str, steps: int) -> Population:
        """The population of that name, `steps` steps late."""
        population = self.built.populations[name]
        if steps == 0:
            return population
        if (name, steps) not in self.made:
            # The input's messages may be graded, which no neuron could relay.
            if population.a_in is None or not self.builder.relays:
                self.made[name, steps] = _delay(population, steps, self.built.processes)
            else:
                self.made[name, steps] = relay(self(name, steps - 1), self.built.processes)
        return self.made[name, steps]


def _delay(source: Population, steps: int, processes: list[AbstractProcess]) -> Population:
    process = Delay(shape=source.shape, steps=steps)
    source.s_out.connect(process.s_in)
    processes.append(process)
    return Population(None, process.s_out, source.shape, None)


def _message_bits(levels: int | None) -> int:
    """What Lava's synapses are told of messages up to `levels`; None: real numbers."""
    return 0 if levels == 1 else 16


def _connect(
    synapse: Synapse,
    source: Population,
    target: Population,
    levels: int | None,
    entry: Entry | None,
    processes: list[AbstractProcess],
) -> None:
    """Connect two populations; `levels` is the largest message, None for real numbers; `entry` where the host sends them."""
    bits = _message_bits(levels)
    port = source.s_out
    if isinstance(synapse, Conv):
        if entry is not None:
            port = entry.to_synapse(port, bits, convolution=True)
        process = _convolution(synapse, source.shape, bits)
        port.connect(process.s_in)
        processes.append(process)
        process.a_out.connect(target.a_in)
        return
    if len(source.shape) == 3:
        port = port.transpose([2, 1, 0]).flatten()
    if entry is not None:
        port = entry.to_synapse(port, bits, convolution=False)
    for weight in [synapse.weight] if levels is None else _held_by_dense(synapse.weight):
        process = LavaDense(weights=weight, num_message_bits=bits)
        port.connect(process.s_in)
        processes.append(process)
        process.a_out.connect(target.a_in)


def _check_sums(network: SpikingNetwork, layer: Layer) -> None:
    """Refuse sums that Lava would wrap without a word; what stock neurons wrap, the reference models and counts."""
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


def _convolution(synapse: Conv, shape: tuple[int, ...], bits: int) -> LavaConv:
    # Lava computes a true convolution over (x, y): the kernel is flipped against PyTorch's cross-correlation.
    weight = synapse.weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
    return LavaConv(
        weight=np.ascontiguousarray(weight),
        input_shape=shape,
        stride=synapse.stride[::-1],
        padding=synapse.padding[::-1],
        dilation=synapse.dilation[::-1],
        groups=synapse.groups,
        num_message_bits=bits,
    )


def _held_by_dense(weight: np.ndarray) -> list[np.ndarray]:
    """Matrices that add up to these weights and that Lava's Dense neither rounds nor clips.

    Dense makes weights of mixed sign even, and clips those of one sign at +-255 (lava/utils/weightutils.py).
    """
    weight = weight.astype(np.int32)
    mixed = weight.min() < 0 < weight.max()
    if not (weight % 2).any() if mixed else weight.min() >= -255:
        return [weight]
    positive, negative = np.clip(weight, 0, None), np.clip(weight, -255, 0)
    parts = [positive, negative, weight - positive - negative]
    return [part for part in parts if part.any()]


class _Native:
    """Makes populations of `RMP` Processes."""

    def __init__(self, plan: Schedule, lead_in: int, integer: bool, on_chip: bool) -> None:
        self.plan, self.lead_in, self.integer = plan, lead_in, integer
        self.relays = on_chip  # a Delay is cheaper, but no neuro-core knows it

    def population(
        self, name: str, neurons: Neurons, shape: tuple[int, ...], depth: int, processes: list[AbstractProcess]
    ) -> Population:
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
        return Population(process.a_in, process.s_out, lava_shape(shape), process.v)

    def finish(self, processes: list[AbstractProcess]) -> None:
        """Nothing serves all native populations."""
