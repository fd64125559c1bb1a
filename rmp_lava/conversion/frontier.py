"""Conversions of one network for several T and waits, side by side: what each reaches, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from ..backends import run
from ..choices import Aim, check_choice
from ..errors import UsageError
from ..progress import Progress
from ..tables import Table, Tabular
from .balancing import usual_waits
from .calls import Calls, here
from .conversion import Conversion
from .outputs import analog_outputs
from .points import Point, points_table

TOLERANCE = 0.005
"""Accuracy that less energy or latency may cost, against the most accurate conversion: half a point."""


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

    def chosen(self, aim: Aim) -> Conversion:
        """The conversion of the best point; its integer network keeps all points as `provenance["frontier"]`, which `info` and
        the report show."""
        found = self.conversions[self.best(aim)]
        kept = dict(found.integer.provenance) | {"frontier": [each.summary() for each in self.points]}
        return replace(found, integer=found.integer.replace(provenance=kept))

    def _cost(self, aim: Aim, index: int) -> tuple[float, float]:
        point = self.points[index]
        costs = (point.synaptic_operations, float(point.latency))
        return costs if aim == "energy" else costs[::-1]

    def table(self) -> Table:
        """As `points_table` makes it."""
        return points_table(self.points)


def usual_choices(steps: int) -> tuple[tuple[int, int], ...]:
    """(T, wait): half of the steps and all, each with its `usual_waits`."""
    return tuple((t, wait) for t in sorted({max(1, steps // 2), steps}) for wait in usual_waits(t))


def frontier(
    conversion: Conversion,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    choices: Iterable[tuple[int, int]] | None = None,
    *,
    progress: bool = False,
    calls: Calls = here,
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
    progress : bool
        Show on standard error how far it is, see `rmp_lava.progress`.
    calls : Calls
        As `convert` takes them.

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
    trained = analog_outputs(conversion.analog, images) if labels is None else None
    points, conversions = [], []
    with Progress("comparing T and wait, conversions", len(pairs), shown=progress) as bar:
        for steps, wait in pairs:
            each = again(steps=steps, wait=wait, calls=calls)
            conversions.append(each)
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
            bar.advance()
    return Frontier(tuple(points), tuple(conversions))
