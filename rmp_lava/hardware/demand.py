"""What each population of a network asks of a chip: shapes, fan-in, bits per weight. No weights, so that it can be scaled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..network import INPUT, Conv, Neurons, SpikingNetwork, Synapse
from ..network import populations as populations_of
from ..pooling import shared_block
from ..registers import to_weight_units

CLOCK, CONSTANTS = "(clock)", "(constants)"
"""Populations that pulse stock neurons, once in a period or in every step: see `backends.lava_pulses`."""


@dataclass(frozen=True)
class SynapseDemand:
    """One bundle of synapses.

    Parameters
    ----------
    source : str
        Name of a population.
    kind : {"dense", "conv", "one_to_one"}
    inputs : int
        Neurons of the source; for convolutions its channels per group.
    weight_bits : int
    kernel, stride, dilation : tuple of int
        Of convolutions, as (height, width).
    groups : int
    block : int
        Side of the blocks of source neurons that share a weight: of an average pooling that was folded in.
    """

    source: str
    kind: Literal["dense", "conv", "one_to_one"]
    inputs: int
    weight_bits: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    block: int = 1

    @property
    def products(self) -> int:
        """Multiply-accumulates of one neuron in the trained layer, which sums blocks before it multiplies."""
        return self.inputs * int(np.prod(self.kernel)) // self.block**2


@dataclass(frozen=True)
class Demand:
    """One population.

    Parameters
    ----------
    name : str
    shape : tuple of int
        (channels, height, width) or (neurons,).
    synapses : tuple of SynapseDemand
    slots : int
        Places of a core that one neuron takes.
    role : {"layer", "input", "relay", "pulses"}
        A relay delays spikes where stock neurons need it, and pulses drive them; both are no part of the network.
    origin : str
        Of a relay: the population whose spikes it repeats.
    pulse_operations : int
        Synaptic operations that the clock causes in all its neurons in a period.
    constant_operations : int
        Those that the constants cause in a step.
    """

    name: str
    shape: tuple[int, ...]
    synapses: tuple[SynapseDemand, ...]
    slots: int = 1
    role: Literal["layer", "input", "relay", "pulses"] = "layer"
    origin: str = ""
    pulse_operations: int = 0
    constant_operations: int = 0

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))

    @property
    def is_image(self) -> bool:
        """Whether the population has rows and columns."""
        return len(self.shape) == 3

    @property
    def self_synapses(self) -> int:
        """Synapses of each neuron to itself."""
        return sum(s.source == self.name for s in self.synapses)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the trained layer, once for the whole population, borders not counted off."""
        return self.size * sum(
            s.products for s in self.synapses if s.source not in (CLOCK, CONSTANTS) and s.kind != "one_to_one"
        )


def weight_bits(weight: np.ndarray, limit: int) -> int:
    """Bits that a synapse's weights take: their range in two's complement, without the zeros that all have at the end.

    The bits that lava-dl's `optimize_weight_bits` gives to the compiler. Real weights, of networks that are not quantised
    yet, take `limit`.
    """
    if weight.dtype.kind != "i" or not weight.any():
        return limit
    low, high = int(weight.min()), int(weight.max())
    span = max(abs(low), high).bit_length() if low >= 0 or high <= 0 else max(high, -low - 1).bit_length() + 1
    common = int(np.bitwise_or.reduce(weight, axis=None))
    return min(max(span - ((common & -common).bit_length() - 1), 1), limit)


def demands(network: SpikingNetwork, *, implementation: str, bits: int, slots: int) -> list[Demand]:
    """All populations in the network's order: neurons of the input first, if it has any, and relays beside their source.

    Parameters
    ----------
    implementation : {"native", "stock"}
        Stock neurons have a synapse to themselves, further ones for pulses, biases and initial potentials, and relays.
    bits : int
        Bits of a weight at most.
    slots : int
        Places of a core that a native neuron with soft reset takes.
    """
    stock = implementation == "stock"

    def population(name: str, shape: tuple[int, ...], neurons: Neurons, synapses: tuple[SynapseDemand, ...]) -> Demand:
        role = "input" if name == INPUT else "layer"
        if stock:
            return _pulsed(Demand(name, shape, synapses, role=role), neurons, bits)
        return Demand(name, shape, synapses, slots if neurons.reset == "soft" else 1, role)

    result = []
    if network.input.neurons is not None:
        result.append(population(INPUT, network.input.shape, network.input.neurons, ()))
    for layer in network:
        synapses = tuple(_synapse(s, network.source_shape(s.source), bits) for s in layer.synapses)
        result.append(population(layer.name, layer.shape, layer.neurons, synapses))
    return [*_with_relays(network, result, bits), *_pulses(network)] if stock else result


def longest_delay(network: SpikingNetwork) -> int:
    """Steps that the messages of the shortest of unequal paths have to wait."""
    return max(max(delays) for delays in _delays(network).values())


def _delays(network: SpikingNetwork) -> dict[str, list[int]]:
    """Layer -> for each of its synapses, the steps that messages wait beside the one of every synapse."""
    depths = {INPUT: 0} | network.depths
    return {layer.name: [depths[layer.name] - depths[s.source] - 1 for s in layer.synapses] for layer in network}


def _synapse(synapse: Synapse, source: tuple[int, ...], limit: int) -> SynapseDemand:
    bits = weight_bits(synapse.weight, limit)
    if not isinstance(synapse, Conv):
        return SynapseDemand(
            synapse.source, "dense", int(np.prod(source)), bits, block=_block_of_dense(synapse, source)
        )
    _, inputs, height, width = synapse.weight.shape
    return SynapseDemand(
        synapse.source,
        "conv",
        inputs,
        bits,
        (height, width),
        tuple(synapse.stride),
        tuple(synapse.dilation),
        synapse.groups,
        shared_block(synapse, source),
    )


def _block_of_dense(synapse: Synapse, source: tuple[int, ...]) -> int:
    """Pooling is found again as in a convolution whose kernel is the whole image."""
    if len(source) != 3:
        return 1
    return shared_block(Conv(synapse.source, synapse.weight.reshape(-1, *source), stride=source[1:]), source)


def _pulsed(demand: Demand, neurons: Neurons, bits: int) -> Demand:
    """With what stock neurons have beside their synapses: see `backends.lava_stock`.

    The threshold comes back through a synapse, two weights keep quiet once a period, others say first potentials and biases.
    Of neurons without soft reset only the first potential comes as a pulse.
    """
    from ..stock_weights import is_one_weight, weights_for

    def lines(source: str, number: int) -> tuple[SynapseDemand, ...]:
        return (SynapseDemand(source, "dense", 1, bits),) * number

    size = demand.size
    start, _ = weights_for(np.array([int(neurons.v_init)]))
    if neurons.reset != "soft":
        return replace(demand, synapses=demand.synapses + lines(CLOCK, start), pulse_operations=start * size)
    threshold = int(neurons.threshold)
    own = SynapseDemand(demand.name, "one_to_one", size, bits)
    selves = (own,) * (1 if threshold == neurons.threshold and is_one_weight(threshold) else 2)
    bias = neurons.bias_per_neuron(demand.shape)
    units = np.zeros(1) if bias is None else np.floor(to_weight_units(bias * 2.0**neurons.bias_exponent))
    operations, bundles = weights_for(units)
    return replace(
        demand,
        synapses=demand.synapses + selves + lines(CLOCK, 2 + start) + lines(CONSTANTS, bundles),
        pulse_operations=(2 + start) * size,
        constant_operations=operations,
    )


def _pulses(network: SpikingNetwork) -> list[Demand]:
    """The neurons that pulse: one for each step in which something has to come, two where pulses keep quiet.

    At most so many: steps that are a period apart share theirs.
    """
    clock, constants = set(), set()
    for _, neurons, _, depth in populations_of(network):
        soft = neurons.reset == "soft"
        # The pulses that keep quiet come in the step before a window, a first potential in its first step.
        clock |= {(depth, 0), (depth, 1)} if soft else set()
        clock |= {(depth + 1, 0)} if neurons.v_init else set()
        constants |= {depth} if soft and neurons.bias is not None else set()
    found = ((CLOCK, len(clock)), (CONSTANTS, len(constants)))
    return [Demand(name, (size,), (), role="pulses") for name, size in found if size]


def _with_relays(network: SpikingNetwork, populations: list[Demand], bits: int) -> list[Demand]:
    """Late messages come from the last of a row of relays, each a step later than the one before it."""
    delays, stages = _delays(network), {}
    for layer in network:
        for s, delay in zip(layer.synapses, delays[layer.name], strict=True):
            stages[s.source] = max(stages.get(s.source, 0), delay)
    result = []
    for demand in populations:
        late = delays.get(demand.name, [])
        synapses = [replace(s, source=_relay(s.source, n)) for s, n in zip(demand.synapses, late, strict=False)]
        result.append(replace(demand, synapses=(*synapses, *demand.synapses[len(late) :])))
        for stage in range(1, stages.get(demand.name, 0) + 1):
            synapse = SynapseDemand(_relay(demand.name, stage - 1), "one_to_one", demand.size, bits)
            name = _relay(demand.name, stage)
            result.append(Demand(name, demand.shape, (synapse,), role="relay", origin=demand.name))
    return result


def _relay(source: str, stage: int) -> str:
    return f"{source} +{stage}" if stage else source


def scaled(populations: list[Demand], width: float) -> list[Demand]:
    """The same network with its hidden layers `width` times as wide: channels and neurons, not rows and columns."""
    last = next(d.name for d in reversed(populations) if d.role == "layer")
    fixed = {last, *(d.name for d in populations if INPUT in (d.name, d.origin) or d.role == "pulses")}
    shapes: dict[str, tuple[int, ...]] = {}
    ratio: dict[str, float] = {}
    for d in populations:
        channels = d.shape[0] if d.name in fixed else max(1, round(d.shape[0] * width))
        shapes[d.name] = (channels, *d.shape[1:])
        ratio[d.name] = channels / d.shape[0]
    return [
        replace(d, shape=shapes[d.name], synapses=tuple(_scaled(s, ratio.get(s.source, 1.0)) for s in d.synapses))
        for d in populations
    ]


def _scaled(synapse: SynapseDemand, ratio: float) -> SynapseDemand:
    if ratio == 1:
        return synapse
    if synapse.kind == "conv" and synapse.groups > 1:
        return replace(synapse, groups=max(1, round(synapse.groups * ratio)))
    return replace(synapse, inputs=max(1, round(synapse.inputs * ratio)))
