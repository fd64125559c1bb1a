"""What the builders of Lava Processes share: a built population, Lava's order of axes, connections. Imports Lava."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import Sparse
from scipy.sparse import identity

from ...network import NO_MEMORY, Neurons
from ...network.values import per_neuron

if TYPE_CHECKING:
    from lava.proc.conv.process import Conv as LavaConv


@dataclass
class LavaPopulation:
    """The ports of a built population.

    a_in : Where input arrives; None for a source of messages, which has no neurons.
    s_out : Where messages leave.
    shape : Lava order.
    membrane : Which Var is the membrane potential; None for sources and relays.
    """

    a_in: InPort | None
    s_out: OutPort
    shape: tuple[int, ...]
    membrane: Var | None = None


def lava_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Lava's order of axes: (width, height, channels), or (neurons,)."""
    return tuple(shape[::-1])


def lava_bias(neurons: Neurons, shape: tuple[int, ...]) -> np.ndarray | int:
    """The bias of each neuron in Lava's order of axes."""
    bias = neurons.bias_per_neuron(shape)
    return 0 if bias is None else bias.transpose()


def lava_values(values: float | np.ndarray, shape: tuple[int, ...]) -> Any:
    """A parameter, in Lava's order of axes where neurons differ in it."""
    if not isinstance(values, np.ndarray):
        return values
    return per_neuron(values, shape).transpose().astype(np.int32)  # Lava shifts thresholds in their own type


def flattened(port: OutPort) -> OutPort:
    """The port in channel-first order on one axis, as dense weights expect it."""
    return port.transpose([2, 1, 0]).flatten() if len(port.shape) == 3 else port


def convolution(
    weight: np.ndarray,
    shape: tuple[int, ...],
    message_bits: int,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> LavaConv:
    """Lava's Conv of PyTorch's weight (C_out, C_in / groups, height, width) and geometry; `shape` is the source's, Lava order."""
    from lava.proc.conv.process import Conv as LavaConv  # it imports scipy.signal, which takes half a second

    # Lava computes a true convolution over (x, y), PyTorch a cross-correlation: the kernel is flipped.
    weight = weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)  # (C_out, width, height, C_in / groups)
    return LavaConv(
        weight=np.ascontiguousarray(weight),
        input_shape=shape,
        stride=stride[::-1],
        padding=padding[::-1],
        dilation=dilation[::-1],
        groups=groups,
        num_message_bits=message_bits,
    )


def connect(source: OutPort, synapse: AbstractProcess, target: LavaPopulation) -> None:
    """Connect a port to a population through a synapse, whose sums take the population's shape."""
    source.connect(synapse.s_in)
    synapse.a_out.reshape(target.shape).connect(target.a_in)


def one_to_one(
    source: OutPort, weight: int, target: LavaPopulation, *, exponent: int = 0, message_bits: int = 0
) -> None:
    """Connect each neuron to the one at the same position, all with one weight."""
    weights = weight * identity(int(np.prod(source.shape)), dtype=np.int32, format="csr")
    connect(source, Sparse(weights=weights, weight_exp=exponent, num_message_bits=message_bits), target)


def relay(source: LavaPopulation) -> LavaPopulation:
    """The source's spikes one step later, from neurons that spike once for each spike that they receive."""
    neurons = LIF(shape=source.shape, vth=1, du=NO_MEMORY - 1, dv=NO_MEMORY)
    population = LavaPopulation(neurons.a_in, neurons.s_out, source.shape)
    one_to_one(source.s_out.flatten(), 2, population)
    return population
