"""The one time convention: each population has a window of T steps per sample, and all windows are aligned.

A synapse takes at least one step. The window of a layer at depth d (the longest path from the input, in synapses) starts d
steps after the input's; shorter paths get the missing steps as synaptic delay. So a message that is sent in step t of its
source's window arrives in step t of its target's window, and simulators need no delays for that: in local time, numbered from
1, the neuron's a[t] is the sum over synapses of W s_source[t]. A synapse's own delay d (`Dense.delay`) makes it s_source[t - d],
and a recurrent synapse takes one step more. What has not arrived when a window ends is dropped with it.

Neurons that wait: with `wait` steps, a population only integrates in the first of them, and its window has wait + T steps.
Messages arrive, and the bias acts, in steps 1 .. T; it may spike in steps wait + 1 .. wait + T. These T firing steps are what
is observed: a run's spikes are those of the firing steps, and firing step t's messages arrive in step t of the target's window.
So each layer starts 1 + wait steps after its latest source. The input does not wait, nor does a read-out that integrates
(`SpikingNetwork.waits`).

At the start of its window a population is set to its initial state, and it is observed for T steps: a sample's spikes, counts
and potentials are those of the windows, and a bias acts T times. Samples follow each other every `period` steps; the `blank`
steps between two windows are not observed. Loihi's and lava-dl's periodic reset do the same (layer k is reset at step 1 + k of
each period). The prediction is ready `latency` steps after the sample's first input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral

from .errors import UsageError
from .network import SpikingNetwork, windows
from .registers import MAX_STEPS


@dataclass(frozen=True)
class Schedule:
    """When a sample starts and ends.

    Parameters
    ----------
    steps : int
        T, time steps in which each population receives messages, and in which it may spike.
    depth : int
        Time steps from the first step of the input to the first observed step of the read-out.
    blank : int
        Unobserved time steps between a sample's window and the next one's.
    drain : int
        Time steps from the end of the read-out's window to that of the deepest layer's: 0 unless a side branch is deeper.
    wait : int
        Time steps for which a population that waits only integrates, 0 .. T.
    """

    steps: int
    depth: int
    blank: int = 0
    drain: int = 0
    wait: int = 0

    def __post_init__(self) -> None:
        limits = (("steps", self.steps, 1), ("blank steps", self.blank, 0), ("waiting steps", self.wait, 0))
        for name, value, least in limits:
            if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= MAX_STEPS:
                raise UsageError(f"{name} are {value!r}; allowed are integers {least}..{MAX_STEPS}")
        if self.wait > self.steps:
            raise UsageError(
                f"neurons wait for {self.wait} steps, but messages arrive in {self.steps}; run at least {self.wait} steps, or "
                "convert with a shorter wait"
            )

    @property
    def window(self) -> int:
        """Time steps of the window of a population that waits."""
        return self.wait + self.steps

    @property
    def period(self) -> int:
        """Time steps from one sample's start to the next one's."""
        return self.window + self.blank

    @property
    def latency(self) -> int:
        """Time steps from the first step of a sample's input to its prediction, at the end of the read-out's window."""
        return self.steps + self.depth

    def duration(self, samples: int) -> int:
        """Time steps from the first sample's input until every layer has finished the period of the last sample."""
        return samples * self.period + self.depth + self.drain


def schedule(network: SpikingNetwork, steps: int, *, blank: int = 0, power_of_two: bool = False) -> Schedule:
    """The schedule of a network for `steps` time steps of input; its populations wait as long as the network's do.

    Parameters
    ----------
    blank : int
        Unobserved time steps between two samples.
    power_of_two : bool
        Lengthen the period to the next power of two, as Loihi's periodic reset requires (lava-dl netx, MNIST notebook).

    Raises
    ------
    UsageError
        If the network waits for more steps than these.
    """
    observed = {name: window.observed for name, window in windows(network).items()}
    depth = observed[network.output.name]
    plan = Schedule(steps, depth, blank, max(observed.values()) - depth, network.wait)
    if power_of_two:
        plan = replace(plan, blank=(1 << (plan.period - 1).bit_length()) - plan.window)
    return plan
