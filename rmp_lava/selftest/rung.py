"""A rung of the ladder: an experiment, what it must give, and what it means if it gives something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..backends.circuit import Circuit, Recording
from .execute import Trial
from .model import DOCUMENTED, Rules


@dataclass(frozen=True, eq=False)
class Suspect:
    """Something that may be different on a chip: the circuit that would then run, or the rules that would then hold.

    Parameters
    ----------
    means : str
        What is different, in a sentence.
    remedy : str
        What to try.
    circuit : Circuit or None
        What the chip would have run, if it is not the rung's own circuit.
    rules : Rules
    """

    means: str
    remedy: str
    circuit: Circuit | None = None
    rules: Rules = DOCUMENTED


@dataclass(frozen=True, eq=False)
class Rung:
    """One experiment.

    Parameters
    ----------
    name : str
    tests : str
        What is tested, in a few words.
    subject : Circuit or Trial
    reason : str
        Why the expectation is what it is.
    means, remedy : str
        What a difference means, and what to try, where no suspect explains it.
    expected : Recording or None
        Written out; None for networks, whose spikes the definition of the neuron gives (backend reference).
    suspects : tuple of Suspect
        In the order in which they are tried.
    """

    name: str
    tests: str
    subject: Circuit | Trial
    reason: str
    means: str
    remedy: str
    expected: Recording | None = None
    suspects: tuple[Suspect, ...] = ()

    def expectation(self) -> Recording:
        """What must come out."""
        return self.subject.on("reference") if self.expected is None else self.expected


def at_steps(steps: int, *trains: Sequence[int]) -> np.ndarray:
    """Spikes (steps, cells) of cells that spike in the given steps, counted from 1."""
    spikes = np.zeros((steps, len(trains)), dtype=np.int64)
    for cell, train in enumerate(trains):
        spikes[np.array(train, dtype=int) - 1, cell] = 1
    return spikes


def bursts(steps: int, first: int, threshold: int, sums: np.ndarray) -> np.ndarray:
    """Spikes (steps, *shape) of cells that receive a sum once, in step `first`, and spike it off.

    Each spike takes the threshold off, and what equals the threshold is not above it: n times the threshold are n - 1 spikes.
    """
    counts = np.maximum(0, -(-np.asarray(sums) // threshold) - 1)
    t = np.arange(1, steps + 1).reshape(-1, *[1] * counts.ndim)
    return ((t >= first) & (t < first + counts)).astype(np.int64)
