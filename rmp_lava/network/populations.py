"""The populations of a network, of its input and of its layers, in the order in which they are simulated, and their windows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .layers import INPUT
from .neurons import Neurons
from .spiking_network import SpikingNetwork


class Window(NamedTuple):
    """When a population computes, see `rmp_lava.schedule`.

    start : Time steps from the start of the input's window to that of this one.
    wait : Time steps of the window in which the population only integrates.
    """

    start: int
    wait: int

    @property
    def observed(self) -> int:
        """Time steps from the first step of the input to this population's first observed step."""
        return self.start + self.wait


class Population(NamedTuple):
    """Neurons of a layer, or of the input."""

    name: str
    neurons: Neurons
    shape: tuple[int, ...]
    window: Window

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))


def windows(network: SpikingNetwork) -> dict[str, Window]:
    """The window of the input and of each layer; the populations of sigma-delta networks start together."""
    if network.is_sigma_delta:
        return dict.fromkeys([INPUT, *(layer.name for layer in network)], Window(0, 0))
    found = {INPUT: Window(0, 0)}
    for layer in network:
        start = 1 + max(found[s.source].observed for s in layer.synapses)
        found[layer.name] = Window(start, network.wait if network.waits(layer) else 0)
    return found


def populations(network: SpikingNetwork) -> list[Population]:
    """Every population in the order of the layers; the input is one where it has neurons."""
    when = windows(network)
    source = network.input
    own = [] if source.neurons is None else [Population(INPUT, source.neurons, source.shape, when[INPUT])]
    return own + [Population(layer.name, layer.neurons, layer.shape, when[layer.name]) for layer in network]


def delays(network: SpikingNetwork) -> dict[str, list[int]]:
    """Layer -> for each of its synapses, the time steps that messages wait in addition to the one that every synapse takes."""
    if network.is_sigma_delta:
        depths = network.depths | {INPUT: 0}
        return {layer.name: [depths[layer.name] - depths[s.source] - 1 for s in layer.synapses] for layer in network}
    when = windows(network)
    return {
        layer.name: [when[layer.name].start - when[s.source].observed - 1 for s in layer.synapses] for layer in network
    }


def longest_delays(network: SpikingNetwork) -> dict[str, int]:
    """Source -> time steps that its messages wait at most."""
    longest: dict[str, int] = {}
    for layer, steps in zip(network, delays(network).values(), strict=True):
        for synapse, delay in zip(layer.synapses, steps, strict=True):
            longest[synapse.source] = max(longest.get(synapse.source, 0), delay)
    return longest
