"""What a conversion for some T and wait reaches and costs, as values and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..scores import Score
from ..tables import Table, table


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


def points_table(points: Sequence[Point]) -> Table:
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
            "" if any(each.is_dominated(other) for other in points) else "yes",
        )
        for each in points
    ]
    title = f"{points[0].score.title}, spikes and synaptic operations per image, and time in steps"
    columns = ("T", "wait", "integers", "spikes", "synaptic operations", "latency", "period", "frontier")
    return table(title, columns, rows)
