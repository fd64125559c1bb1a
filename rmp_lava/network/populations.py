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
