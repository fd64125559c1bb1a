"""What the builders of Lava Processes share: a built population, Lava's order of axes, relays. Imports Lava."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import Sparse
from scipy.sparse import diags

from ...network import NO_MEMORY, Neurons


@dataclass
class Population:
    """A built layer: where input goes in, where spikes come out, and which Var is the membrane.

    `a_in` and `membrane` are None for what sends the input's messages, which is no population of neurons.
    """

    a_in: InPort | None
    s_out: OutPort
    shape: tuple[int, ...]
    membrane: Var | None


def lava_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Lava's order of axes: (width, height, channels), or (neurons,)."""
    return tuple(shape[::-1])


def lava_bias(neurons: Neurons, shape: tuple[int, ...]) -> np.ndarray | int:
    """The bias of each neuron in Lava's order of axes."""
    bias = neurons.bias_per_neuron(shape)
    return 0 if bias is None else bias.transpose()


def one_to_one(
    source: Population, weight: int, target: InPort, processes: list[AbstractProcess], exponent: int = 0
) -> None:
    """A synapse of one weight from each neuron to the one at its place."""
    size = int(np.prod(source.shape))
    synapse = Sparse(
        weights=diags([np.full(size, weight, dtype=np.int32)], [0], format="csr", dtype=np.int32), weight_exp=exponent
    )
    source.s_out.flatten().connect(synapse.s_in)
    synapse.a_out.reshape(source.shape).connect(target)
    processes.append(synapse)


def relay(source: Population, processes: list[AbstractProcess]) -> Population:
    """The source's spikes one step later: neurons that spike once for each spike they receive."""
    neurons = LIF(shape=source.shape, vth=1, du=NO_MEMORY - 1, dv=NO_MEMORY)
    one_to_one(source, 2, neurons.a_in, processes)
    processes.append(neurons)
    return Population(neurons.a_in, neurons.s_out, source.shape, None)
