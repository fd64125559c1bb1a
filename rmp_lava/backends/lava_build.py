"""From a `SpikingNetwork` to connected Lava Processes, in either realisation. The only builder; imports Lava.

Native: one `RMP` Process per layer. Stock: Lava's unmodified `LIFReset`. A soft reset is then made of a LIF whose
current never decays (du = -1) and whose voltage shows it (dv = 4096): the current is the membrane, a spike resets the
voltage only, and a one-to-one synapse of weight -threshold from the neuron to itself takes the threshold off the
current one step later. Spikes are those of the RMP neuron.

Each layer's reset comes as many steps later as it is deep (`rmp_lava.schedule`). Lava's synapses take one step, so where a
path is shorter than another one its messages wait in a `Delay`, or, of stock neurons, pass through relay neurons.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.proc.conv.process import Conv as LavaConv
from lava.proc.dense.process import Dense as LavaDense
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import Sparse as LavaSparse
from scipy.sparse import diags

from ..errors import BackendError
from ..network import INPUT, NO_MEMORY, Conv, Neurons, SpikingNetwork, Synapse
from ..neuron import STATE_SHIFT
from ..processes.io import Delay, PulseSource
from ..processes.rmp import RMP
from ..schedule import Schedule
from .parts import populations
from .stock import LEAD_IN, QUIET
from .stock_weights import MAX_EXPONENT, MAX_MANTISSA, MAX_VALUE, terms

NEVER = 2**17
"""A threshold that no saturated 24-bit state exceeds: what lava-dl gives a layer that shall not spike."""

LARGEST_CONV_SUM = 2**23
"""Lava's fixed-point Conv wraps its sums to 24 signed bits of weight units (lava/proc/conv/models.py)."""


@dataclass
class Population:
    """A built layer: where input goes in, where spikes come out, and which Var is the membrane."""

    a_in: InPort | None
    s_out: OutPort
    shape: tuple[int, ...]
    membrane: Var | None


@dataclass
class LavaNetwork:
    """The Processes of a network; `populations` by layer name, and `INPUT` for what sends the messages."""

    populations: dict[str, Population]
    processes: list[AbstractProcess] = field(default_factory=list)


def lava_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Lava's order of axes: (width, height, channels), or (neurons,)."""
    return tuple(shape[::-1])


def build(
    network: SpikingNetwork, source: OutPort, plan: Schedule, *, realisation: str = "native", lead_in: int = LEAD_IN
) -> LavaNetwork:
    """Connect a network's Processes behind a port that sends its input's messages.

    Parameters
    ----------
    network : SpikingNetwork
    source : OutPort
        Of the input's shape in Lava order; sends from step lead_in + 1.
    plan : Schedule
        Whose period is the interval of the reset.
    realisation : {"native", "stock"}
    lead_in : int
        Steps before the first sample starts; stock neurons need one, in which pulses travel.

    Raises
    ------
    BackendError
        If the realisation cannot express a layer.
    """
    builder = _Native(plan, lead_in, network.is_integer) if realisation == "native" else _Stock(plan, lead_in)
    built = LavaNetwork({INPUT: Population(None, source, source.shape, None)}, [source.process])
    for name, neurons, shape, depth in populations(network):
        population = builder.population(name, neurons, shape, depth, built.processes)
        if name == INPUT:
            source.connect(population.a_in)
        built.populations[name] = population
    delayed = _Delayed(builder, network, built)
    depths = {INPUT: 0, **network.depths}
    for layer in network:
        for synapse in layer.synapses:
            levels = network.input.largest_message if synapse.source == INPUT else 1
            levels = levels if network.is_integer else None
            sender = delayed(synapse.source, depths[layer.name] - depths[synapse.source] - 1)
            _connect(synapse, sender, built.populations[layer.name], levels, built.processes)
    return built


class _Delayed:
    """Sources whose messages come later; made where they are needed, once."""

    def __init__(self, builder: _Native | _Stock, network: SpikingNetwork, built: LavaNetwork) -> None:
        self.builder, self.network, self.built = builder, network, built
        self.made: dict[tuple[str, int], Population] = {}

    def __call__(self, name: str, steps: int) -> Population:
        """The population of that name, `steps` steps late."""
        population = self.built.populations[name]
        if steps == 0:
            return population
        if (name, steps) not in self.made:
            if population.a_in is None:  # what sends the input is not a population of neurons
                self.made[name, steps] = _delay(population, steps, self.built.processes)
            else:
                self.made[name, steps] = self.builder.delay(self, name, steps, self.built.processes)
        return self.made[name, steps]


def _delay(source: Population, steps: int, processes: list) -> Population:
    process = Delay(shape=source.shape, steps=steps)
    source.s_out.connect(process.s_in)
    processes.append(process)
    return Population(None, process.s_out, source.shape, None)


def _connect(synapse: Synapse, source: Population, target: Population, levels: int | None, processes: list) -> None:
    """Connect two populations; `levels` is the largest message, None for real numbers."""
    message_bits = 0 if levels == 1 else 16
    if isinstance(synapse, Conv):
        if levels is not None and _largest_sum(synapse) * levels >= LARGEST_CONV_SUM:
            raise BackendError(
                f"a convolution from {synapse.source!r} can reach sums of {_largest_sum(synapse) * levels}, which Lava's Conv "
                f"wraps at {LARGEST_CONV_SUM}; use fewer input levels"
            )
        # Lava computes a true convolution over (x, y): the kernel is flipped against PyTorch's cross-correlation.
        weight = synapse.weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
        process = LavaConv(
            weight=np.ascontiguousarray(weight),
            input_shape=source.shape,
            stride=synapse.stride[::-1],
            padding=synapse.padding[::-1],
            dilation=synapse.dilation[::-1],
            groups=synapse.groups,
            num_message_bits=message_bits,
        )
        source.s_out.connect(process.s_in)
        processes.append(process)
        process.a_out.connect(target.a_in)
        return
    port = source.s_out
    if len(source.shape) == 3:
        port = port.transpose([2, 1, 0]).flatten()
    for weight in [synapse.weight] if levels is None else _held_by_dense(synapse.weight):
        process = LavaDense(weights=weight, num_message_bits=message_bits)
        port.connect(process.s_in)
        processes.append(process)
        process.a_out.connect(target.a_in)


def _largest_sum(synapse: Conv) -> int:
    return int(np.abs(synapse.weight.astype(np.int64)).reshape(len(synapse.weight), -1).sum(axis=1).max())


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
    def __init__(self, plan: Schedule, lead_in: int, integer: bool) -> None:
        self.plan, self.lead_in, self.integer = plan, lead_in, integer

    def population(
        self, name: str, neurons: Neurons, shape: tuple[int, ...], depth: int, processes: list
    ) -> Population:
        """Neurons whose window starts `depth` steps after the input's."""
        if neurons.is_leaky:
            raise BackendError(f"layer {name!r} has lava-dl's leaky neurons; run it with realisation 'stock'")
        process = RMP(
            shape=lava_shape(shape),
            threshold=neurons.threshold,
            reset=neurons.reset,
            v_init=neurons.v_init,
            bias_mant=_lava_bias(neurons, shape),
            bias_exp=neurons.bias_exponent,
            reset_interval=self.plan.period,
            reset_offset=self.lead_in + depth,
        )
        processes.append(process)
        return Population(process.a_in, process.s_out, lava_shape(shape), process.v)

    def delay(self, delayed: _Delayed, name: str, steps: int, processes: list) -> Population:
        """A population's spikes, some steps late."""
        return _delay(delayed(name, 0), steps, processes)


def _lava_bias(neurons: Neurons, shape: tuple[int, ...]) -> np.ndarray | int:
    bias = neurons.bias_per_neuron(shape)
    return 0 if bias is None else bias.transpose()


class _Stock:
    def __init__(self, plan: Schedule, lead_in: int) -> None:
        self.plan, self.lead_in = plan, lead_in
        self.lines: dict[tuple[int | None, int, int], PulseSource] = {}

    def population(
        self, name: str, neurons: Neurons, shape: tuple[int, ...], depth: int, processes: list
    ) -> Population:
        """Neurons whose window starts `depth` steps after the input's."""
        soft = neurons.reset == "soft"
        if neurons.is_leaky and neurons.v_init:
            raise BackendError(
                f"layer {name!r} has leaky neurons with v_init {neurons.v_init}, which stock neurons cannot start from"
            )
        process = LIFReset(
            shape=lava_shape(shape),
            vth=NEVER if neurons.reset == "none" else neurons.threshold,
            du=-1 if soft else neurons.current_decay - 1,
            dv=NO_MEMORY if soft else neurons.voltage_decay,
            bias_mant=0 if soft else _lava_bias(neurons, shape),
            bias_exp=neurons.bias_exponent,
            reset_interval=self.plan.period,
            # Lava zeroes the state in steps t with t % interval == offset, before it integrates.
            reset_offset=(self.lead_in + depth + 1) % self.plan.period,
        )
        processes.append(process)
        population = Population(process.a_in, process.s_out, lava_shape(shape), process.u if soft else process.v)
        if neurons.v_init:
            line = self._line(self.plan.period - 1, depth, processes)
            self._add(line, np.full(shape, int(neurons.v_init)), population, f"v_init of layer {name!r}", processes)
        if soft:
            self._self_synapse(int(neurons.threshold), population, name, processes)
            self._quieten(population, depth, processes)
            if neurons.bias is not None:
                self._bias(neurons, shape, population, name, depth, processes)
        return population

    def delay(self, delayed: _Delayed, name: str, steps: int, processes: list) -> Population:
        """A population's spikes, some steps late: a relay of neurons that spike for each spike they receive."""
        source = delayed(name, steps - 1)
        size = int(np.prod(source.shape))
        synapse = LavaSparse(weights=diags([np.full(size, 2, dtype=np.int32)], [0], format="csr", dtype=np.int32))
        relay = LIF(shape=source.shape, vth=1, du=NO_MEMORY - 1, dv=NO_MEMORY)
        source.s_out.flatten().connect(synapse.s_in)
        synapse.a_out.reshape(source.shape).connect(relay.a_in)
        processes += [synapse, relay]
        return Population(relay.a_in, relay.s_out, source.shape, None)

    def _self_synapse(self, threshold: int, population: Population, name: str, processes: list) -> None:
        size = int(np.prod(population.shape))
        for mantissa, exponent in terms(threshold, f"threshold of layer {name!r}"):
            weight = diags([np.full(size, -mantissa, dtype=np.int32)], [0], format="csr", dtype=np.int32)
            synapse = LavaSparse(weights=weight, weight_exp=exponent)
            population.s_out.flatten().connect(synapse.s_in)
            synapse.a_out.reshape(population.shape).connect(population.a_in)
            processes.append(synapse)

    def _quieten(self, population: Population, depth: int, processes: list) -> None:
        """Take `QUIET` off the potentials in the period's last step, which has to be a blank one."""
        if not self.plan.blank:
            return
        line = self._line(self.plan.period - 2, depth, processes, message=QUIET // MAX_VALUE)
        weight = np.full((int(np.prod(population.shape)), 1), -MAX_MANTISSA, dtype=np.int32)
        synapse = LavaDense(weights=weight, weight_exp=MAX_EXPONENT, num_message_bits=8)
        line.s_out.connect(synapse.s_in)
        synapse.a_out.reshape(population.shape).connect(population.a_in)
        processes.append(synapse)

    def _bias(
        self, neurons: Neurons, shape: tuple[int, ...], population: Population, name: str, depth: int, processes: list
    ) -> None:
        state = neurons.bias_per_neuron(shape).astype(np.int64) << neurons.bias_exponent
        if (state % (1 << STATE_SHIFT)).any():
            raise BackendError(
                f"layer {name!r} has a bias of fractions of a weight unit, which no synapse of stock neurons can say; "
                "quantise with bias_exponent 6 or more"
            )
        line = self._line(None, depth, processes)
        self._add(line, state >> STATE_SHIFT, population, f"bias of layer {name!r}", processes)

    def _line(self, step: int | None, depth: int, processes: list, *, message: int = 1) -> PulseSource:
        """A line to populations of one depth; its messages take a step, so they are sent one before they are due."""
        if (step, depth, message) not in self.lines:
            timing = {"period": self.plan.period, "lead_in": self.lead_in + depth}
            self.lines[step, depth, message] = PulseSource(**timing, step=step, message=message)
            processes.append(self.lines[step, depth, message])
        return self.lines[step, depth, message]

    def _add(self, source: PulseSource, value: np.ndarray, population: Population, what: str, processes: list) -> None:
        """Synapses from one line that add `value` (channel first) exactly: one per sign and exponent."""
        flat = value.transpose().reshape(-1)
        for sign in (1, -1):
            parts: dict[int, np.ndarray] = {}
            for i in np.flatnonzero(flat * sign > 0):
                for mantissa, exponent in terms(int(abs(flat[i])), what):
                    parts.setdefault(exponent, np.zeros((flat.size, 1), dtype=np.int32))[i] = sign * mantissa
            for exponent, weight in parts.items():
                synapse = LavaDense(weights=weight, weight_exp=exponent)
                source.s_out.connect(synapse.s_in)
                synapse.a_out.reshape(population.shape).connect(population.a_in)
                processes.append(synapse)
