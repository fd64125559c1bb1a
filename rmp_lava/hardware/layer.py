"""A layer on its cores: how many, and how much of them it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

RESOURCES = ("neurons", "groups", "synapse_words", "axons_in", "axons_out")
"""What a core has a limited number of; also the keys of a profile's section `cores`."""


@dataclass(frozen=True)
class Usage:
    """How much of one resource a population takes.

    Parameters
    ----------
    largest : int
        On its fullest core.
    mean : float
        Over its cores, as the compiler's tables print it.
    limit : int or None
        Of a core; None where nothing public says it.
    """

    largest: int
    mean: float
    limit: int | None

    @property
    def utilisation(self) -> float | None:
        """Share of the fullest core that is taken, above 1 where it does not fit."""
        return None if self.limit is None else self.largest / self.limit


@dataclass(frozen=True)
class LayerMapping:
    """One population on its cores.

    Parameters
    ----------
    name : str
    role : {"layer", "input", "relay", "pulses"}
    shape : tuple of int
    block : tuple of int
        The part of `shape` that a full core holds.
    cores : int
    usage : mapping
        Resource -> `Usage`.
    macs : int
        Multiply-accumulates of the trained layer.
    obstacles : mapping
        Resource -> what even a single neuron takes of it, where that is more than a core has.
    slots : int
        Places of a core that one neuron takes, each of which is updated.
    self_synapses : int
        Of each neuron, where stock neurons subtract the threshold through synapses.
    receivers : int
        Cores that each of its messages goes to; of pulses in the mean, rounded up.
    origin : str
        Of a relay: the population whose spikes it repeats.
    pulse_operations, constant_operations : int
        Synaptic operations that pulses cause in it in a period, and in each step, where stock neurons need them.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    block: tuple[int, ...]
    cores: int
    usage: Mapping[str, Usage]
    macs: int
    obstacles: Mapping[str, int]
    slots: int = 1
    self_synapses: int = 0
    receivers: int = 0
    origin: str = ""
    pulse_operations: int = 0
    constant_operations: int = 0

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)

    @property
    def binding(self) -> str:
        """The resource of which its fullest core has the least left."""
        # A population is one group on each of its cores, however small; that binds nothing.
        names = [name for name in RESOURCES if name != "groups"]
        return max(names, key=lambda name: self.usage[name].utilisation or 0.0)

    @property
    def channel_blocks(self) -> int:
        """Cores that look at the same image positions."""
        return ceil(self.shape[0] / self.block[0])

    @property
    def utilisation(self) -> float:
        """Of the binding resource."""
        return self.usage[self.binding].utilisation or 0.0

    @property
    def fits(self) -> bool:
        """Whether a core can hold the smallest part of it."""
        return not self.obstacles
