"""What each population of a network asks of a chip: shapes, fan-in, bits per weight. It holds no weights, so it can be scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

import numpy as np

from ..choices import Implementation
from ..errors import UsageError
from ..network import (
    INPUT,
    Conv,
    Neurons,
    SpikingNetwork,
    Synapse,
    delays,
    longest_delays,
    populations as populations_of,
)
from ..registers import to_weight_units
from ..stock_weights import Pulse, is_one_weight, parts, pulses_of, weights_for

CLOCK, CONSTANTS = "(clock)", "(constants)"
"""Populations that pulse stock neurons, once in a period and in every step: see `backends.lava.pulses`."""

Role = Literal["layer", "input", "relay", "pulses"]
"""A relay delays spikes where stock neurons need it, and pulses drive them; neither belongs to the network itself."""
SynapseKind = Literal["dense", "conv", "sparse", "one_to_one"]
"""Sparse: a convolution with a weight exponent, which shares no weights between neurons."""


@dataclass(frozen=True)
class SynapseDemand:
    """One synapse object.

    Parameters
    ----------
    source : str
        Name of a population.
    inputs : int
        Neurons of the source; for convolutions its channels per group, for sparse synapses the weights of a neuron.
    kernel, stride, dilation : tuple of int
        (height, width), of convolutions.
    pool : tuple of int
        (height, width) of the blocks of source neurons that share a weight, see `Synapse.pool`; (1, 1) where there are none.
    stored : numpy.ndarray or None
        (neurons, inputs), bool: the weights of a dense synapse that are stored; None: all of them, zeros too. Fewer inputs
        stand for all of them.
    """

    source: str
    kind: SynapseKind
    inputs: int
    weight_bits: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pool: tuple[int, int] = (1, 1)
    stored: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def products(self) -> int:
        """Multiply-accumulates of one neuron in the trained layer, which pools before it multiplies."""
        return self.inputs * prod(self.kernel) // prod(self.pool)


@dataclass(frozen=True)
class Demand:
    """One population.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width) or (neurons,).
    slots : int
        Neurons of a core that one neuron takes, each of which is updated.
    origin : str
        Of a relay: the population whose spikes it repeats.
    pulse_operations : int
        Synaptic operations that the clock causes in the whole population, per period.
    constant_operations : int
        Synaptic operations that the constants cause in the whole population, per time step.
    """

    name: str
    shape: tuple[int, ...]
    synapses: tuple[SynapseDemand, ...]
    slots: int = 1
    role: Role = "layer"
    origin: str = ""
    pulse_operations: int = 0
    constant_operations: int = 0

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)

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
        """Multiply-accumulates of the whole trained layer, as if images had no borders."""
        return self.size * sum(
            s.products for s in self.synapses if s.source not in (CLOCK, CONSTANTS) and s.kind != "one_to_one"
        )


def weight_bits(weight: np.ndarray, limit: int) -> int:
    """Bits that a synapse's weights take: their range in two's complement, without the trailing zeros that all share.

    lava-dl's `optimize_weight_bits` passes as many to the compiler. Float weights take `limit`.
    """
    if weight.dtype.kind != "i" or not weight.any():
        return limit
    low, high = int(weight.min()), int(weight.max())
    span = max(abs(low), high).bit_length() if low >= 0 or high <= 0 else max(high, -low - 1).bit_length() + 1
    common = int(np.bitwise_or.reduce(weight, axis=None))
    return min(max(span - ((common & -common).bit_length() - 1), 1), limit)


def demands(
    network: SpikingNetwork,
    *,
    implementation: Implementation,
    bits: int,
    slots: int,
    period: int | None = None,
    steps: int | None = None,
    sparse: bool = False,
) -> list[Demand]:
    """All populations in the network's order: neurons of the input first, if it has any, and relays after their source.

    Parameters
    ----------
    implementation : {"native", "stock"}
        Stock neurons have a self-synapse, further synapses for pulses, biases and initial potentials, and relays.
    bits : int
        Most bits of a weight.
    slots : int
        Neurons of a core that a native neuron with soft reset takes.
    period, steps : int or None
        Time steps from one sample to the next, and T; see `map_network`.
    sparse : bool
        Whether dense synapses store their non-zero weights only.
    """
    stock = implementation == "stock"
    if stock and network.is_sigma_delta:
        raise UsageError("sigma-delta neurons are Lava's own already; leave out implementation='stock'")
    if stock and network.is_graded:
        raise UsageError("stock neurons send no graded spikes; leave out implementation='stock'")
    steps = _known_steps(network) if steps is None else steps
    pulses = _pulses_by_population(network, steps) if stock else {}

    def population(name: str, shape: tuple[int, ...], neurons: Neurons, synapses: tuple[SynapseDemand, ...]) -> Demand:
        role: Role = "input" if name == INPUT else "layer"
        if stock:
            return _with_stock_synapses(Demand(name, shape, synapses, role=role), neurons, pulses[name], bits)
        return Demand(name, shape, synapses, slots if neurons.reset == "soft" else 1, role)

    result = []
    if network.input.neurons is not None:
        result.append(population(INPUT, network.input.shape, network.input.neurons, ()))
    for layer in network:
        synapses = tuple(_synapse(s, network.source_shape(s.source), bits, sparse) for s in layer.synapses)
        result.append(population(layer.name, layer.shape, layer.neurons, synapses))
    if not stock:
        return result
    return [*_with_relays(network, result, bits), *_pulsing_populations(network, pulses, period, steps)]


def _synapse(synapse: Synapse, source: tuple[int, ...], limit: int, sparse: bool) -> SynapseDemand:
    bits, pool = weight_bits(synapse.weight, limit), synapse.pool or (1, 1)
    if not isinstance(synapse, Conv):
        stored = synapse.weight != 0 if sparse else None
        return SynapseDemand(synapse.source, "dense", prod(source), bits, pool=pool, stored=stored)
    if synapse.exponent:
        return SynapseDemand(synapse.source, "sparse", synapse.fan_in, bits, pool=pool)
    _, inputs, height, width = synapse.weight.shape
    geometry = (synapse.stride, synapse.dilation, synapse.groups)
    return SynapseDemand(synapse.source, "conv", inputs, bits, (height, width), *geometry, pool)


def _with_stock_synapses(demand: Demand, neurons: Neurons, pulses: Sequence[Pulse], bits: int) -> Demand:
    """The same population with the further synapses of stock neurons: see `backends.lava.stock_lif`.

    A self-synapse subtracts the threshold; others carry pulses (for the initial potential, and to keep neurons from spiking) and
    biases. Neurons without soft reset get only their initial potential by a pulse.
    """

    def lines(source: str, number: int) -> tuple[SynapseDemand, ...]:
        return (SynapseDemand(source, "dense", 1, bits),) * number

    size = demand.size
    pulsed = sum(weights_for(part)[0] for pulse in pulses for part in parts(np.array([pulse.value])))
    demand = replace(demand, pulse_operations=pulsed * size)
    if neurons.reset != "soft":
        return replace(demand, synapses=demand.synapses + lines(CLOCK, pulsed))
    threshold = int(neurons.threshold)
    own = SynapseDemand(demand.name, "one_to_one", size, bits)
    selves = (own,) * (1 if threshold == neurons.threshold and is_one_weight(threshold) else 2)
    bias = neurons.bias_per_neuron(demand.shape)
    units = np.zeros(1) if bias is None else np.floor(to_weight_units(bias * 2.0**neurons.bias_exponent))
    operations, bundles = weights_for(units)
    return replace(
        demand,
        synapses=demand.synapses + selves + lines(CLOCK, pulsed) + lines(CONSTANTS, bundles),
        constant_operations=operations,
    )


def _known_steps(network: SpikingNetwork) -> int:
    """T, as far as it is known."""
    return network.wait if network.balanced_steps is None else network.balanced_steps


def _pulses_by_population(network: SpikingNetwork, steps: int) -> dict[str, list[Pulse]]:
    """Population -> its pulses, in periods that end with blank steps."""
    ends = steps if network.wait else None
    return {each.name: pulses_of(each.neurons, each.window.wait, True, ends) for each in populations_of(network)}


def _pulsing_populations(
    network: SpikingNetwork, pulses: Mapping[str, Sequence[Pulse]], period: int | None, steps: int
) -> list[Demand]:
    """The neurons that pulse: one for each time step in which a pulse arrives, more where its value takes several weights.

    As in `backends.lava.pulses`, clock neurons whose pulses are a period apart are the same, unless neurons wait; then the clock
    also ends the constants after T steps.
    """
    clock, constants = set(), set()
    for each in populations_of(network):
        start = each.window.start
        for pulse in pulses[each.name]:
            clock |= {(start + 1 + pulse.step, copy) for copy in range(len(parts(np.array([pulse.value]))))}
        if each.neurons.reset == "soft" and each.neurons.bias is not None:
            constants.add(start)
    if network.wait:
        clock |= {(start + steps, 0) for start in constants}
    if period is not None and not network.wait:
        clock = {(step % period, copy) for step, copy in clock}
    found = ((CLOCK, len(clock)), (CONSTANTS, len(constants)))
    return [Demand(name, (size,), (), role="pulses") for name, size in found if size]


def _with_relays(network: SpikingNetwork, populations: list[Demand], bits: int) -> list[Demand]:
    """The populations and their relays: a chain per source, each relay one time step later than the one before it."""
    waiting, stages = delays(network), longest_delays(network)
    result = []
    for demand in populations:
        late = waiting.get(demand.name, [])
        synapses = [replace(s, source=_relay(s.source, n)) for s, n in zip(demand.synapses, late, strict=False)]
        result.append(replace(demand, synapses=(*synapses, *demand.synapses[len(late) :])))
        for stage in range(1, stages.get(demand.name, 0) + 1):
            synapse = SynapseDemand(_relay(demand.name, stage - 1), "one_to_one", demand.size, bits)
            name = _relay(demand.name, stage)
            result.append(Demand(name, demand.shape, (synapse,), role="relay", origin=demand.name))
    return result


def _relay(source: str, stage: int) -> str:
    return f"{source} +{stage}" if stage else source


def scaled(populations: Sequence[Demand], width: float) -> list[Demand]:
    """The same network with `width` times as many channels or neurons in its hidden layers; image sizes stay."""
    last = next(d.name for d in reversed(populations) if d.role == "layer")
    fixed = {last, *(d.name for d in populations if INPUT in (d.name, d.origin) or d.role == "pulses")}
    shapes: dict[str, tuple[int, ...]] = {}
    ratio: dict[str, float] = {}
    for d in populations:
        channels = d.shape[0] if d.name in fixed else max(1, round(d.shape[0] * width))
        shapes[d.name] = (channels, *d.shape[1:])
        ratio[d.name] = channels / d.shape[0]
    return [
        replace(
            d,
            shape=shapes[d.name],
            synapses=tuple(_scaled(s, ratio.get(s.source, 1.0), prod(shapes[d.name])) for s in d.synapses),
        )
        for d in populations
    ]


def _scaled(synapse: SynapseDemand, ratio: float, neurons: int) -> SynapseDemand:
    if synapse.kind == "sparse":
        return synapse
    if synapse.kind == "conv" and synapse.groups > 1:
        return replace(synapse, groups=max(1, round(synapse.groups * ratio)))
    inputs, stored = max(1, round(synapse.inputs * ratio)), synapse.stored
    if stored is not None:
        # Every so many neurons and inputs, which keeps the share of stored weights.
        kept = (neurons, max(stored.shape[1] * inputs // synapse.inputs, 1))
        rows, columns = (np.arange(n) * old // n for n, old in zip(kept, stored.shape, strict=True))
        stored = stored[np.ix_(rows, columns)]
    return replace(synapse, inputs=inputs, stored=stored)
