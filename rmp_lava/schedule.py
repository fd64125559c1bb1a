"""The one time convention: absolute time steps, numbered from 1, one period per sample.

Every synapse takes one step, so a layer at depth d sees a sample's T steps of input in steps d + 1 .. d + T. The input
is presented for T steps, then blank steps drain the network; then every state is set back to its initial value, and
messages still in flight belong to the sample before and are dropped. "At T" always means T steps of input.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UsageError
from .network import SpikingNetwork

MAX_STEPS = 2**20


@dataclass(frozen=True)
class Schedule:
    """When a sample starts and ends.

    Parameters
    ----------
    steps : int
        T, steps of input.
    depth : int
        Steps that the last message of the input needs to reach the read-out.
    blank : int
        Further steps without input after that.
    """

    steps: int
    depth: int
    blank: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MAX_STEPS:
            raise UsageError(f"steps are {self.steps}; allowed are 1..{MAX_STEPS}")
        if not 0 <= self.blank <= MAX_STEPS:
            raise UsageError(f"blank steps are {self.blank}; allowed are 0..{MAX_STEPS}")

    @property
    def period(self) -> int:
        """Time steps from one sample's start to the next one's."""
        return self.steps + self.depth + self.blank


def schedule(network: SpikingNetwork, steps: int, *, blank: int = 0, power_of_two: bool = False) -> Schedule:
    """The schedule of a network for `steps` steps of input.

    Parameters
    ----------
    blank : int
        Blank steps beyond those that drain the network.
    power_of_two : bool
        Lengthen the period to the next power of two, as Loihi's periodic reset needs it (lava-dl netx, MNIST notebook).
    """
    plan = Schedule(steps, network.depth, blank)
    if power_of_two:
        period = 1 << (plan.period - 1).bit_length()
        plan = Schedule(steps, network.depth, period - steps - network.depth)
    return plan
