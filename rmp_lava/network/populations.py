"""The populations of a network, of its input and of its layers, in the order in which they are simulated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .layers import INPUT
from .neurons import Neurons
from .spiking_network import SpikingNetwork


class Population(NamedTuple):
    """Neurons of a layer, or of the input; `depth` is how many steps its window starts after the input's."""

    name: str
    neurons: Neurons
    shape: tuple[int, ...]
    depth: int

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))


def populations(network: SpikingNetwork) -> list[Population]:
    """Every population in the order of the layers; the input is one where it has neurons."""
    own = [] if network.input.neurons is None else [Population(INPUT, network.input.neurons, network.input.shape, 0)]
    depths = network.depths
    return own + [Population(layer.name, layer.neurons, layer.shape, depths[layer.name]) for layer in network]


def delays(network: SpikingNetwork) -> dict[str, list[int]]:
    """Layer -> for each of its synapses, the time steps that messages wait in addition to the one that every synapse takes."""
    depths = {INPUT: 0} | network.depths
    return {layer.name: [depths[layer.name] - depths[s.source] - 1 for s in layer.synapses] for layer in network}


def longest_delays(network: SpikingNetwork) -> dict[str, int]:
    """Source -> time steps that its messages wait at most."""
    longest: dict[str, int] = {}
    for layer, steps in zip(network, delays(network).values(), strict=True):
        for synapse, delay in zip(layer.synapses, steps, strict=True):
            longest[synapse.source] = max(longest.get(synapse.source, 0), delay)
    return longest
