"""What a network would take with fewer weights, or with fewer bits of them: cores by the same rules; nothing is trained.

Fewer words do not always take fewer cores, as the compilers divide blocks by whole ratios.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..network import INPUT, Dense, Layer, SpikingNetwork
from .demand import CLOCK, CONSTANTS, Demand, demands
from .mapping import Mapping
from .placement import place

PRUNED_SHARES = (0.5, 0.9)
"""Shares of every dense layer's weights that are taken for zero, the smallest ones."""
BITS = (4, 2)
_SAMPLED = 1_000_000
"""Weights of a layer whose sizes are sorted, to find the smallest ones."""


@dataclass(frozen=True)
class Saving:
    """One change, and the cores that the network takes with it.

    Parameters
    ----------
    change : str
        In words.
    cores : int
    fits : bool
        Whether every layer can be split far enough, and the board has enough cores.
    """

    change: str
    cores: int
    fits: bool


def savings(network: SpikingNetwork, mapping: Mapping) -> tuple[Saving, ...]:
    """What pruning dense layers and fewer bits per weight would save, the weights left as they are otherwise.

    Pruned layers store their non-zero weights only, as lava-dl's `sparse_fc_layer` does; convolutions store their kernels once
    per core, so only fewer bits make them smaller.

    Parameters
    ----------
    network : SpikingNetwork
        The one that `mapping` maps.
    """
    found = []
    if any(isinstance(synapse, Dense) for layer in network for synapse in layer.synapses):
        if not mapping.sparse:
            change = f"non-zero weights only ({_zeros(network):.0%} are zero)"
            found.append(_saving(change, _of(network, mapping, True), network, mapping))
        for share in PRUNED_SHARES:
            change = f"{share:.0%} of dense weights pruned, non-zero weights only"
            found.append(_saving(change, _of(_pruned(network, share), mapping, True), network, mapping))
    own = _of(network, mapping, mapping.sparse)
    for bits in BITS:
        found.append(_saving(f"weights of {bits} bits", [_narrowed(d, bits) for d in own], network, mapping))
    return tuple(found)


def _of(network: SpikingNetwork, mapping: Mapping, sparse: bool) -> list[Demand]:
    bits, slots = (mapping.profile[f"cores.{key}"] for key in ("weight_bits", "slots_per_soft_reset_neuron"))
    return demands(network, implementation=mapping.implementation, bits=bits, slots=slots, sparse=sparse)


def _saving(change: str, populations: list[Demand], network: SpikingNetwork, mapping: Mapping) -> Saving:
    layers = place(populations, {INPUT: network.input.shape}, mapping.profile)
    cores = sum(layer.cores for layer in layers)
    return Saving(change, cores, all(layer.fits for layer in layers) and cores <= mapping.cores_available)


def _zeros(network: SpikingNetwork) -> float:
    """Share of the dense weights that are zero."""
    weights = [s.weight for layer in network for s in layer.synapses if isinstance(s, Dense)]
    return 1 - sum(np.count_nonzero(w) for w in weights) / sum(w.size for w in weights)


def _pruned(network: SpikingNetwork, share: float) -> SpikingNetwork:
    def prune(layer: Layer) -> Layer:
        synapses = tuple(
            s.replace(weight=np.where(np.abs(s.weight) > _quantile(s.weight, share), s.weight, 0))
            if isinstance(s, Dense)
            else s
            for s in layer.synapses
        )
        return layer.replace(synapses=synapses)

    return network.map_layers(prune)


def _quantile(weight: np.ndarray, share: float) -> float:
    """The size that about this share of the weights does not exceed."""
    sizes = np.abs(weight.reshape(-1)[:: max(weight.size // _SAMPLED, 1)])
    return float(np.quantile(sizes, share))


def _narrowed(demand: Demand, bits: int) -> Demand:
    """Weights of the network's own synapses have at most so many bits; those of stock neurons' pulses keep theirs."""
    own = tuple(
        s
        if s.kind == "one_to_one" or s.source in (CLOCK, CONSTANTS)
        else replace(s, weight_bits=min(s.weight_bits, bits))
        for s in demand.synapses
    )
    return replace(demand, synapses=own)
