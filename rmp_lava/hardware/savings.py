"""What a network would take with fewer weights, or with fewer bits of them: cores by the same rules; nothing is trained.

Fewer words do not always take fewer cores, as the compilers divide blocks by whole ratios.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..network import INPUT, Dense, SpikingNetwork, Synapse
from .demand import CLOCK, CONSTANTS, Demand, SynapseDemand, demands
from .mapping import Mapping
from .placement import place

PRUNED_SHARES = (0.5, 0.9)
"""Shares of every dense layer's weights that are taken for zero, the smallest ones."""
BITS = (4, 2)
_SAMPLED = 2_000_000
"""Weights of a layer that are looked at; of larger ones every so many inputs."""


@dataclass(frozen=True)
class Saving:
    """One change, and the cores that the network takes with it.

    Parameters
    ----------
    change : str
        In words.
    cores : int or None
        None if no core can hold even a single neuron of some layer.
    fits : bool
        Whether the board has enough cores.
    """

    change: str
    cores: int | None
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

    def saving(change: str, populations: list[Demand]) -> Saving:
        layers = place(populations, {INPUT: network.input.shape}, mapping.profile)
        cores = sum(layer.cores for layer in layers) if all(layer.fits for layer in layers) else None
        return Saving(change, cores, cores is not None and cores <= mapping.cores_available)

    bits, slots = (mapping.profile[f"cores.{key}"] for key in ("weight_bits", "slots_per_soft_reset_neuron"))
    own = demands(network, implementation=mapping.implementation, bits=bits, slots=slots, sparse=mapping.sparse)
    found = []
    sampled = {layer.name: [_sample(synapse) for synapse in layer.synapses] for layer in network}
    if any(sample is not None for samples in sampled.values() for sample in samples):
        if not mapping.sparse:
            change = f"non-zero weights only ({_zeros(sampled):.0%} are zero)"
            found.append(saving(change, [_stored(d, sampled, None) for d in own]))
        for share in PRUNED_SHARES:
            change = f"{share:.0%} of dense weights pruned, non-zero weights only"
            found.append(saving(change, [_stored(d, sampled, share) for d in own]))
    return (*found, *(saving(f"weights of {n} bits", [_narrowed(d, n) for d in own]) for n in BITS))


Samples = dict[str, list[np.ndarray | None]]
"""Layer -> sizes of some of each synapse's weights, (neurons, some of the inputs); None for convolutions."""


def _sample(synapse: Synapse) -> np.ndarray | None:
    if not isinstance(synapse, Dense):
        return None
    return np.abs(synapse.weight[:, :: max(synapse.weight.size // _SAMPLED, 1)])


def _zeros(sampled: Samples) -> float:
    """Share of the dense weights that are zero."""
    sizes = [sample for samples in sampled.values() for sample in samples if sample is not None]
    return 1 - sum(np.count_nonzero(each) for each in sizes) / sum(each.size for each in sizes)


def _stored(demand: Demand, sampled: Samples, share: float | None) -> Demand:
    """The same population; its dense synapses store what is larger than this share of their weights, or than zero."""

    def change(synapse: SynapseDemand, sizes: np.ndarray | None) -> SynapseDemand:
        if sizes is None:
            return synapse
        return replace(synapse, stored=sizes > (0 if share is None else np.quantile(sizes, share)))

    samples = sampled.get(demand.name, [])
    own = [change(s, sizes) for s, sizes in zip(demand.synapses, samples, strict=False)]
    return replace(demand, synapses=(*own, *demand.synapses[len(own) :]))


def _narrowed(demand: Demand, bits: int) -> Demand:
    """Weights of the network's own synapses have at most so many bits; those of stock neurons' pulses keep theirs."""
    own = tuple(
        s
        if s.kind == "one_to_one" or s.source in (CLOCK, CONSTANTS)
        else replace(s, weight_bits=min(s.weight_bits, bits))
        for s in demand.synapses
    )
    return replace(demand, synapses=own)
