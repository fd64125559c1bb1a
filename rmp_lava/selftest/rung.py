"""A rung of the ladder: an experiment, its expected result, and what a different result means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..backends.circuit import Circuit, Recording
from .execute import Trial
from .model import DOCUMENTED, Rules, predict

LEAK = "du = 0: u loses 1/4096 per step, computed in plain integers. Without that: "
NO_LEAK = "du = 0 does not decay: u keeps everything", "the board supports du = -1; run the self-test without --leak"


@dataclass(frozen=True, eq=False)
class Suspect:
    """Something that may be different on a chip: the circuit that would then run, or the rules that would then hold.

    means : What is different, in a sentence.
    remedy : What to try.
    circuit : What the chip would have run; None: the rung's own circuit.
    """

    means: str
    remedy: str
    circuit: Circuit | None = None
    rules: Rules = DOCUMENTED


@dataclass(frozen=True, eq=False)
class Rung:
    """One experiment.

    tests : What is tested, in a few words.
    reason : Why the expectation is what it is.
    means, remedy : What a difference means, and what to try, if no suspect explains it.
    expected : Written out; None for networks, whose spikes follow from the definition of the neuron (`Trial.expectation`).
    suspects : In the order in which they are tried.
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
        """The expected result."""
        if self.expected is not None:
            return self.expected
        if isinstance(self.subject, Circuit):
            return predict(self.subject)
        return self.subject.expectation()

    def leaking(self) -> Rung:
        """The rung for a board without du = -1, whose membranes lose 1/4096 per step (`Board.leak`).

        Its spikes follow from the documented rules, in plain integers. Suspects whose spikes the leak makes equal to those
        expected, or to another suspect's, are left out.
        """
        if isinstance(self.subject, Trial):
            reason = "backend reference models stock neurons that lose 1/4096 per step, and knows nothing of Lava"
            return replace(self, subject=replace(self.subject, leak=1), reason=reason)
        circuit = self.subject.leaking()
        if circuit.cells == self.subject.cells:
            return self
        expected = predict(circuit)
        known, suspects = [expected], []
        leaking = [
            each if each.circuit is None else replace(each, circuit=each.circuit.leaking()) for each in self.suspects
        ]
        for suspect in [*leaking, Suspect(*NO_LEAK, self.subject)]:
            found = predict(suspect.circuit or circuit, suspect.rules)
            if not any(_same_spikes(each, found) for each in known):
                known.append(found)
                suspects.append(suspect)
        return replace(self, subject=circuit, reason=LEAK + self.reason, expected=expected, suspects=tuple(suspects))


def _same_spikes(one: Recording, other: Recording) -> bool:
    return all(np.array_equal(spikes, other.spikes[name]) for name, spikes in one.spikes.items())


def at_steps(steps: int, *trains: Sequence[int]) -> np.ndarray:
    """Spikes (steps, cells) of cells that spike in the given steps, counted from 1."""
    spikes = np.zeros((steps, len(trains)), dtype=np.int64)
    for cell, train in enumerate(trains):
        spikes[np.array(train, dtype=int) - 1, cell] = 1
    return spikes


def bursts(steps: int, first: int, threshold: int, sums: np.ndarray) -> np.ndarray:
    """Spikes (steps, *shape) of cells that receive a sum once, in step `first`, and spike until it is used up.

    Each spike subtracts the threshold, and a potential equal to the threshold does not spike: n thresholds give n - 1 spikes.
    """
    counts = np.maximum(0, -(-np.asarray(sums) // threshold) - 1)
    t = np.arange(1, steps + 1).reshape(-1, *[1] * counts.ndim)
    return ((t >= first) & (t < first + counts)).astype(np.int64)
