"""Conversions of one network for several T and waits, side by side: what each reaches, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ..backends import run
from ..choices import Aim, check_choice
from ..errors import UsageError
from ..scores import Score
from ..tables import Table, Tabular, table
from .balancing import usual_waits
from .conversion import Conversion
from .outputs import analog_outputs

TOLERANCE = 0.005
"""Accuracy that less energy or latency may cost, against the most accurate conversion: half a point."""


@dataclass(frozen=True)
class Point:
    """One conversion.

    Parameters
    ----------
    steps, wait : int
        T, and the time steps that neurons wait.
    score : Score
        Of the integer network.
    spikes, synaptic_operations : float
        Per image; spikes without the input's messages.
    latency, period : int
        Time steps from a sample's first input to its prediction, and from one sample to the next one, without blank steps.
    """

    steps: int
    wait: int
    score: Score
    spikes: float
    synaptic_operations: float
    latency: int
    period: int

    def is_dominated(self, other: Point) -> bool:
        """Whether another conversion is at least as good in score, operations and latency, and better in one of them."""
        gains = (
            other.score.lost_to(self.score),
            self.synaptic_operations - other.synaptic_operations,
            self.latency - other.latency,
        )
        return min(gains) >= 0 and max(gains) > 0

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return vars(self) | {"score": self.score.summary()}


@dataclass(frozen=True, eq=False, repr=False)
class Frontier(Tabular):
    """Points in the order in which they were asked for, and the conversion of each."""

    points: tuple[Point, ...]
    conversions: tuple[Conversion, ...]

    def best(self, aim: Aim) -> int:
        """Index of the best point: the most accurate, or, of those within `TOLERANCE` of it, the one with the fewest synaptic
        operations ("energy") or the shortest latency."""
        check_choice("aim", aim, Aim)
        indices = range(len(self.points))
        most = min(indices, key=lambda i: (self.points[0].score.lost_to(self.points[i].score), self._cost("energy", i)))
        if aim == "accuracy":
            return most
        close = [i for i in indices if self.points[most].score.lost_to(self.points[i].score) <= TOLERANCE]
        return min(close, key=lambda i: self._cost(aim, i))

    def _cost(self, aim: Aim, index: int) -> tuple[float, float]:
        point = self.points[index]
        costs = (point.synaptic_operations, float(point.latency))
        return costs if aim == "energy" else costs[::-1]

    def table(self) -> Table:
        """What each reaches and costs; "yes" where no other one is as good in everything and better in something."""
        rows = [
            (
                f"{each.steps}",
                f"{each.wait}",
                str(each.score),
                f"{each.spikes:,.0f}",
                f"{each.synaptic_operations:,.0f}",
                f"{each.latency:,}",
                f"{each.period:,}",
                "" if any(each.is_dominated(other) for other in self.points) else "yes",
            )
            for each in self.points
        ]
        title = f"{self.points[0].score.title}, spikes and synaptic operations per image, and time in steps"
        columns = ("T", "wait", "integers", "spikes", "synaptic operations", "latency", "period", "frontier")
        return table(title, columns, rows)


def usual_choices(steps: int) -> tuple[tuple[int, int], ...]:
    """(T, wait): half of the steps and all, each with its `usual_waits`."""
    return tuple((t, wait) for t in sorted({max(1, steps // 2), steps}) for wait in usual_waits(t))


def frontier(
    conversion: Conversion,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    choices: Iterable[tuple[int, int]] | None = None,
) -> Frontier:
    """Convert a network again for other T and waits, and measure each.

    Parameters
    ----------
    conversion : Conversion
        As `rmp_lava.convert` returns it: the options other than T and wait are its own.
    images, labels : numpy.ndarray
        As `Conversion.measure` takes them; without labels, networks are compared with the trained network's outputs. Images that
        choose are not test images.
    choices : iterable of (T, wait), optional
        `usual_choices` of the conversion's T if omitted.

    Raises
    ------
    UsageError
        If the conversion was tuned, or a wait is longer than its T.
    """
    if conversion.request is None:
        raise UsageError("a tuned network was trained for its T; compare conversions that were made without tuning")
    again = conversion.request.again
    pairs = usual_choices(conversion.steps) if choices is None else tuple(choices)
    if choices is None and conversion.integer.input.encoding == "spikes":  # events have their time steps
        pairs = tuple(pair for pair in pairs if pair[0] == conversion.steps)
    images = conversion.taken(images)
    conversions = tuple(cast(Conversion, again(steps=steps, wait=wait)) for steps, wait in pairs)
    trained = analog_outputs(conversion.analog, images) if labels is None else None
    points = []
    for (steps, wait), each in zip(pairs, conversions, strict=True):
        network = each.integer
        result = run(network, images, steps, seed=each.seed)
        if trained is not None:
            score = result.agreement(network, trained)
        else:
            score = result.score(network, cast(np.ndarray, labels))
        spikes = sum(result.spike_counts[layer.name] for layer in network) / result.samples
        operations = sum(result.operations_per_sample.values())
        plan = result.schedule
        points.append(Point(steps, wait, score, spikes, operations, plan.latency, plan.period))
    return Frontier(tuple(points), conversions)
