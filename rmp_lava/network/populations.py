"""The populations of a network, of its input and of its layers, in the order in which they are simulated, and their windows."""

from __future__ import annotations

import math
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
        return math.prod(self.shape)


def windows(network: SpikingNetwork) -> dict[str, Window]:
    """The window of the input and of each layer; the populations of sigma-delta networks start together."""
    if network.is_sigma_delta:
        return dict.fromkeys([INPUT, *(layer.name for layer in network)], Window(0, 0))
    found = {INPUT: Window(0, 0)}
    for layer in network:
        start = 1 + max(found[s.source].observed for s in layer.forward)
        found[layer.name] = Window(start, network.wait if network.waits(layer) else 0)
    return found


def populations(network: SpikingNetwork) -> list[Population]:
    """Every population in the order of the layers; the input is one where it has neurons."""
    when = windows(network)
    source = network.input
    own = [] if source.neurons is None else [Population(INPUT, source.neurons, source.shape, when[INPUT])]
    return own + [Population(layer.name, layer.neurons, layer.shape, when[layer.name]) for layer in network]


def delays(network: SpikingNetwork) -> dict[str, list[int]]:
    """Layer -> for each of its synapses, the time steps that messages wait until the window of their target has come.

    That is in addition to the one that every synapse takes, and to delays of its own; 0 for recurrent synapses.
    """
    starts = network.depths if network.is_sigma_delta else {name: each.start for name, each in windows(network).items()}
    observed = starts | {INPUT: 0}
    if not network.is_sigma_delta:
        observed = {name: each.observed for name, each in windows(network).items()}
    return {
        layer.name: [
            0 if s.source == layer.name else starts[layer.name] - observed[s.source] - 1 for s in layer.synapses
        ]
        for layer in network
    }


def longest_delays(network: SpikingNetwork) -> dict[str, int]:
    """Source -> time steps that its messages wait at most."""
    longest: dict[str, int] = {}
    for layer, steps in zip(network, delays(network).values(), strict=True):
        for synapse, delay in zip(layer.synapses, steps, strict=True):
            longest[synapse.source] = max(longest.get(synapse.source, 0), delay)
    return longest


def histories(network: SpikingNetwork) -> dict[str, int]:
    """Source -> steps before the current one from which its messages arrive, by delays; recurrent synapses take one more."""
    longest = dict.fromkeys([INPUT, *(layer.name for layer in network)], 0)
    for layer in network:
        for s in layer.synapses:
            longest[s.source] = max(longest[s.source], s.longest_delay + (s.source == layer.name))
    return longest


def spread(size: int, most: int) -> np.ndarray:
    """Indices of at most `most` neurons, evenly spread over a population."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(np.int64))
