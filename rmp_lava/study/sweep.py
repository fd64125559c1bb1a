"""A study's jobs in order: networks first, then their simulations as soon as each network is there; and what came of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..conversion.balancing import ENCODINGS
from .grid import Plan, Point
from .job import Job, Outcome
from .pool import Pool
from .store import NET, Store
from .study import WHOLE


@dataclass(frozen=True)
class Failure:
    """A job that failed: what it was about, why, and the traceback of a defect."""

    job: Job
    error: str
    trace: str = ""


@dataclass(frozen=True)
class Row:
    """What the points have reached that differ in their seeds only.

    Parameters
    ----------
    network : str
    axes : mapping
        Without seeds.
    accuracy : tuple of tuple of float
        For each seed the share of images that are classified correctly after 1 .. T steps.
    trained : float or None
        Share of the same images for the trained network.
    images : int
    spikes, operations : float
        Mean per image over the seeds; spikes of all layers without the input.
    rates : mapping
        Layer name -> spikes per neuron and step, of layers that spike.
    saturated : float
        Updates at the limits of a register, likewise.
    """

    network: str
    axes: Mapping[str, Any]
    accuracy: tuple[tuple[float, ...], ...]
    trained: float | None
    images: int
    spikes: float
    operations: float
    rates: Mapping[str, float]
    saturated: float

    @property
    def steps(self) -> int:
        """T."""
        return len(self.accuracy[0])

    @property
    def mean(self) -> np.ndarray:
        """(T,) mean accuracy over the seeds."""
        return np.mean(self.accuracy, axis=0)

    @property
    def spread(self) -> np.ndarray | None:
        """(T,) standard deviation over the seeds; None for one seed."""
        return np.std(self.accuracy, axis=0, ddof=1) if len(self.accuracy) > 1 else None

    def value(self, axis: str) -> str:
        """Value of an axis, or the network, in words."""
        if axis == "network":
            return self.network
        if axis == "wait" and self.axes.get("wait") == self.axes["steps"]:
            return WHOLE
        return str(self.axes.get(axis, "–"))

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return vars(self) | {"axes": dict(self.axes), "accuracy": [list(each) for each in self.accuracy]}


def varied(rows: Sequence[Row]) -> list[str]:
    """ "network", and the axes that differ among the rows."""
    names = dict.fromkeys(axis for row in rows for axis in row.axes)
    return ["network", *(axis for axis in names if len({repr(row.axes.get(axis)) for row in rows}) > 1)]


@dataclass(frozen=True)
class Outlook:
    """What is still to be measured.

    Parameters
    ----------
    jobs, stored : int
        All jobs, and those whose measurements are stored.
    seconds : float or None
        Of one worker for the others, from the durations of similar stored ones; None if a kind of job has none.
    """

    jobs: int
    stored: int
    seconds: float | None


class Sweep:
    """Measures a study with a store."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self.failures: list[Failure] = []
        self._contents: dict[str, dict[str, Any]] = {}
        self._dependents: dict[str, list[Point]] = {}
        self._submitted: set[str] = set()

    def outlook(self) -> Outlook:
        """Number of jobs and estimated time, without measuring anything."""
        jobs: dict[str, Job] = {}
        unknown: dict[str, Job] = {}  # of networks that are not made yet, by what they would be
        for point in self.plan.points:
            jobs |= {job.key: job for job in self._trained(point)}
            job = self.plan.network(point)
            made = self.plan.net(point) or (None if job is None else self._made(job))
            if job is not None:
                jobs[job.key] = job
            if made is not None:
                jobs |= {each.key: each for each in self.plan.simulations(point, *made)}
            elif job is not None:
                usual = ENCODINGS[point.axes.get("method", "low-latency")]
                likely = {NET: job.key, "encoding": point.axes.get("encoding", usual)}
                unknown |= {each.key: each for each in self.plan.simulations(point, likely, "")}
        stored = {key for key, job in jobs.items() if self.store.stored(key, job.settings) is not None}
        missing = [job for key, job in jobs.items() if key not in stored] + list(unknown.values())
        return Outlook(len(jobs) + len(unknown), len(stored), _estimate(missing, self.store))

    def _trained(self, point: Point) -> list[Job]:
        return self.plan.trained(point.network, point.axes["steps"])

    def _made(self, job: Job) -> tuple[dict[str, Any], str] | None:
        content = self.store.stored(job.key, job.settings)
        return None if content is None else (content["result"], str(self.store.path(job.key).with_suffix(".net")))

    def run(self, pool: Pool, on_job: Callable[[Job, Outcome], None] = lambda *_: None) -> None:
        """Measure what is missing; `on_job` is called with each job that the pool has executed."""
        networks: dict[str, Job] = {}
        for point in self.plan.points:
            if (job := self.plan.network(point)) is not None:
                networks.setdefault(job.key, job)
                self._dependents.setdefault(job.key, []).append(point)
        for point in self.plan.points:
            for job in self._trained(point):
                self._submit(pool, job)
        for job in networks.values():
            self._submit(pool, job)
        for point in self.plan.points:
            if (made := self.plan.net(point)) is not None:
                for job in self.plan.simulations(point, *made):
                    self._submit(pool, job)
        for job, outcome in pool.finished():
            self._take(pool, job, outcome)
            on_job(job, outcome)

    def _submit(self, pool: Pool, job: Job) -> None:
        if job.key not in self._submitted:
            self._submitted.add(job.key)
            content = self.store.stored(job.key, job.settings)
            if content is None:
                pool.submit(job)
            else:
                self._take(pool, job, Outcome(content))

    def _take(self, pool: Pool, job: Job, outcome: Outcome) -> None:
        if outcome.content is None:
            self.failures.append(Failure(job, outcome.error, outcome.trace))
            return
        content = self._contents[job.key] = outcome.content
        for point in self._dependents.get(job.key, ()):
            net = str(self.store.path(job.key).with_suffix(".net").resolve())
            for each in self.plan.simulations(point, content["result"], net):
                self._submit(pool, each)

    def rows(self) -> list[Row]:
        """What was measured completely, in the order of the grid."""
        groups: dict[tuple[Any, ...], list[list[dict[str, Any]]]] = {}
        kept: dict[tuple[Any, ...], Point] = {}
        seen: set[tuple[str, ...]] = set()
        for point in self.plan.points:
            keys = self._simulations(point)
            if keys is None or keys in seen:  # seeds that change nothing
                continue
            seen.add(keys)
            key = tuple(map(repr, point.without_seeds))
            groups.setdefault(key, []).append([self._contents[each]["result"] for each in keys])
            kept.setdefault(key, point)
        return [self._row(kept[key], seeds) for key, seeds in groups.items()]

    def _simulations(self, point: Point) -> tuple[str, ...] | None:
        made, job = self.plan.net(point), self.plan.network(point)
        if made is None and job is not None and job.key in self._contents:
            made = (self._contents[job.key]["result"], "")
        keys = () if made is None else tuple(job.key for job in self.plan.simulations(point, *made))
        return keys if keys and all(key in self._contents for key in keys) else None

    def _row(self, point: Point, seeds: list[list[dict[str, Any]]]) -> Row:
        images = self.plan.images
        right = [self._contents.get(job.key) for job in self._trained(point)]
        known = [content["result"]["correct"] for content in right if content is not None]
        parts = [part for parts in seeds for part in parts]
        per_image = 1 / (images * len(seeds))
        return Row(
            point.network,
            dict(point.without_seeds[1:]),
            tuple(tuple((np.sum([part["correct"] for part in parts], axis=0) / images).tolist()) for parts in seeds),
            sum(known) / images if known and len(known) == len(right) else None,
            images,
            sum(sum(part["messages"].values()) for part in parts) * per_image,
            sum(part["operations"] for part in parts) * per_image,
            {
                name: sum(part["messages"][name] for part in parts) * per_image / count / len(parts[0]["correct"])
                for name, count in parts[0]["neurons"].items()
            },
            sum(part["saturated"] for part in parts) * per_image,
        )


def _estimate(missing: list[Job], store: Store) -> float | None:
    """Seconds of one worker, by the median duration per unit of the stored jobs that are most alike."""
    rates: dict[tuple[Any, ...], list[float]] = {}
    for key, content in store.everything().items() if missing else ():
        if "units" in content:
            for likeness in _likeness(key.partition("/")[0], content["about"]):
                rates.setdefault(likeness, []).append(content["seconds"] / content["units"])
    total = 0.0
    for job in missing:
        known = next((rates[each] for each in _likeness(job.kind, job.about) if each in rates), None)
        if known is None:
            return None
        total += job.units * statistics.median(known)
    return total


def _likeness(kind: str, about: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What similar jobs share, the closest first. With wait = T windows are computed whole, which takes a fraction."""
    whole = about.get("wait", 0) == about.get("steps")
    name, method, form = (about.get(each) for each in ("network", "method", "form"))
    return [(kind, whole, name, method, form), (kind, whole, name), (kind, name), (kind, whole), (kind,)]
