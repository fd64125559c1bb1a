"""Points of a study's grid, and the jobs that measure them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..choices import ConvertReadout, Pooling, TrainedEncoding, check_choice
from ..conversion.balancing import candidates_for
from ..conversion.pipeline.preparing import check_early
from ..conversion.quantization import Quantization
from ..errors import NetworkError, RmpLavaError, UsageError
from ..files import sha256_of
from ..network import SpikingNetwork
from ..netx import load
from ..schedule import Schedule
from ..training.data import DATASETS, Dataset
from ..training.data.events import EVENT_DATASETS
from .arrays import Arrays
from .job import Job
from .jobs import (
    QUANTIZATION,
    dataset,
    identified,
    images_fingerprint,
    loaded,
    network,
    simulation,
    test_order,
    trained,
    with_hard_reset,
    with_wait,
)
from .store import NET
from .study import CONVERSION, OF_NETS, SEEDS, SHARED, WHOLE, Study

_CHOICES = {"encoding": TrainedEncoding, "pooling": Pooling, "readout": ConvertReadout}
_BALANCING = ("thresholds", "percentile", "alpha", "v_init", "channelwise", "calibrate", "reset", "wait")


@dataclass(frozen=True, eq=False)
class Point:
    """One combination of values for one network.

    Parameters
    ----------
    network : str
        Its name in the study.
    axes : mapping
        Axis -> value; of a spiking network those of `OF_NETS`.
    """

    network: str
    axes: Mapping[str, Any]

    @property
    def without_seeds(self) -> tuple[Any, ...]:
        """What points have in common that differ in their seeds only; may be hashed."""
        return self.network, *((axis, value) for axis, value in self.axes.items() if axis not in SEEDS)


def points(study: Study) -> tuple[list[Point], int]:
    """All combinations, and how many were left out: neurons that wait for more than T steps, or with hard reset.

    Raises
    ------
    UsageError
        If a conversion would refuse a combination.
    """
    found, left_out, seen = [], 0, set()
    for name in (*study.networks, *study.nets):
        axes = {axis: values for axis, values in study.grid.items() if name in study.networks or axis in OF_NETS}
        for values in itertools.product(*axes.values()):
            own = dict(zip(axes, values, strict=True))
            if own.get("wait") == WHOLE:
                own["wait"] = own["steps"]
            if own.get("wait", 0) and (own["wait"] > own["steps"] or own.get("reset") in ("hard", SHARED)):
                left_out += 1
                continue
            Schedule(own["steps"], 1)
            if name in study.networks:
                _check(own)
            if repr((name, own)) not in seen:  # wait = T, and a number that is T
                seen.add(repr((name, own)))
                found.append(Point(name, own))
    return found, left_out


def _takes(network: SpikingNetwork, axes: Mapping[str, Any]) -> bool:
    """Whether a spiking network exists with a wait and a reset: graded and sigma-delta neurons do not wait or reset to 0."""
    try:
        changed = with_wait(network, axes.get("wait"))
        if axes.get("reset") == "hard":
            with_hard_reset(changed)
    except NetworkError:
        return False
    return True


def _check(axes: Mapping[str, Any]) -> None:
    try:
        changes = {name: axes[name] for name in _BALANCING if name in axes}
        if changes.get("reset") == SHARED:
            changes["reset"] = "soft"
        candidates_for(axes.get("method", "low-latency"), **changes)
        for name in _CHOICES.keys() & axes.keys():
            check_choice(name, axes[name], _CHOICES[name])
        quantization = Quantization(**{name: axes[name] for name in QUANTIZATION if name in axes})
        check_early(axes.get("balanced_steps", axes["steps"]), 0, axes.get("search"), quantization)
    except RmpLavaError as error:
        raise UsageError(f"{error} (with {', '.join(f'{name} {value!r}' for name, value in axes.items())})") from None
    if axes.get("wait") and axes.get("balanced_steps", axes["steps"]) != axes["steps"]:
        raise UsageError(
            "balanced_steps and wait are both given; neurons that wait are balanced for the T that they run for"
        )


class Plan:
    """Makes the jobs of a study; reads the networks and the data set to identify them.

    Raises `UsageError` or `DataError` if one of them cannot be used.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder.resolve()
        self.points, self.left_out = points(study)
        self._identities, sets = {}, {study.data}
        for name, source in study.networks.items():
            target, self._identities[name] = loaded(source.target, source.weights)
            sets |= {study.data or target.dataset}
        self._nets = {}
        for name, net in study.nets.items():
            spiking = load(net)
            fit = [each for each in self.points if each.network != name or _takes(spiking, each.axes)]
            self.points, self.left_out = fit, self.left_out + len(self.points) - len(fit)
            self._nets[name] = ({NET: sha256_of(net), "encoding": spiking.input.encoding}, str(Path(net).resolve()))
            sets |= {study.data or spiking.dataset}
        if len(sets := sets - {None}) != 1:
            found = f"were trained on {', '.join(sorted(map(str, sets)))}" if sets else "do not record their data set"
            raise UsageError(f"the networks {found}; give data, the one data set of the study")
        self.data: str = str(sets.pop())
        directory, data = study.data_dir, self.data if self.data in DATASETS else str(Path(self.data).resolve())
        self._data = data, None if directory is None else str(Path(directory).resolve())
        self._places = {"data": self._data[0], "data_dir": self._data[1]}
        self._binned = self.data in EVENT_DATASETS  # so that test images differ with T
        kinds = dict.fromkeys(self._kind(point.axes["steps"]) for point in self.points)
        self._ranges = {kind: self._identified_ranges(kind) for kind in kinds}
        self._takes_events = self._dataset(next(iter(kinds))).takes_events
        self._check_events()

    @property
    def images(self) -> int:
        """Test images of each point."""
        return sum(each["images"] for each in next(iter(self._ranges.values())))

    @property
    def labels(self) -> np.ndarray:
        """Of these, int64."""
        kind, ranges = next(iter(self._ranges.items()))
        data, first = self._dataset(kind), ranges[0]["first"]
        labels: np.ndarray = data.test_labels[test_order(len(data.test_labels))[first : first + self.images]]
        return labels

    def _kind(self, steps: int) -> int | None:
        """What test images depend on: T where recorded events are counted in T steps."""
        return steps if self._binned else None

    def _dataset(self, steps: int | None) -> Dataset | Arrays:
        return dataset(*self._data, steps)

    def _check_events(self) -> None:
        """Raise `UsageError` for points that events do not allow."""
        for point in self.points if self._takes_events else ():
            given = self._dataset(self._kind(point.axes["steps"])).train_images.shape[1]
            for axis in ("steps", "balanced_steps"):
                if not self._binned and point.axes.get(axis, given) != given:
                    raise UsageError(
                        f"{axis} is {point.axes[axis]}, but the events of {self.data} have {given} time steps; give steps = "
                        f"{given}, or bin them again"
                    )
            if point.axes.get("encoding", "spikes") != "spikes":
                raise UsageError(
                    f"encoding is {point.axes['encoding']!r}, but {self.data} has events; leave encoding out of [grid]"
                )

    def _identified_ranges(self, steps: int | None) -> list[dict[str, int]]:
        data = self._dataset(steps)
        available, (start, end) = len(data.test_images), self.study.images
        end = available if end == -1 else end
        if end > available:
            raise UsageError(f"images end at {end}, but data set {self.data!r} has {available:,} test images")
        order, ranges = test_order(available), []
        for first in range(start, end, self.study.block):
            some = order[first : min(end, first + self.study.block)]
            test = identified(data.test_images[some], data.test_labels[some])
            ranges.append({"first": first, "images": len(some), "test": test})
        return ranges

    def network(self, point: Point) -> Job | None:
        """The job that makes the network of a point; None if it is there already."""
        if point.network in self._nets:
            return None
        axes, shared = point.axes, point.axes.get("reset") == SHARED
        options = {name: axes[name] for name in CONVERSION if name in axes} | dict(self.study.preparation)
        if self._takes_events:
            options["encoding"] = "spikes"
        if shared:
            options["reset"] = "soft"
        balanced = axes.get("balanced_steps", axes["steps"])
        settings = {
            "rmp_lava": __version__,
            "trained": self._identities[point.network],
            "data": images_fingerprint(*self._data, balanced),
            "calibration": self.study.calibration,
            "options": options,
            "balanced_steps": balanced,
            "steps": axes["steps"] if axes["form"] == "integer" else balanced,
            "seed": axes.get("calibration_seed", 0),
            "form": axes["form"],
        }
        about = {"network": point.network} | {name: value for name, value in axes.items() if name != "seed"}
        return Job(network, settings, self._source(point.network), about)

    def simulations(self, point: Point, made: Mapping[str, Any], net: str) -> list[Job]:
        """The jobs that simulate the network of a point: the result of its job, and its file."""
        axes = point.axes
        settings = {
            NET: made[NET],
            "steps": axes["steps"],
            "seed": axes["seed"] if made["encoding"] == "poisson" else 0,
        }
        if axes.get("reset") in ("hard", SHARED):
            settings["reset"] = "hard"
        if point.network in self._nets and "wait" in axes:
            settings["wait"] = axes["wait"]
        about = {"network": point.network, **axes}
        return [
            Job(simulation, settings | each, self._places | {"net": net}, about, axes["steps"] * each["images"])
            for each in self._ranges[self._kind(axes["steps"])]
        ]

    def trained(self, name: str, steps: int | None = None) -> list[Job]:
        """The jobs that measure a trained network, on events counted in T `steps`; none for a spiking one."""
        if name in self._nets:
            return []
        settings: dict[str, Any] = {
            "trained": self._identities[name],
            "preparation": dict(self.study.preparation),
        }
        if self._binned and steps is not None:
            settings["steps"] = steps
        return [
            Job(trained, settings | each, self._source(name), {"network": name}, each["images"])
            for each in self._ranges[None if steps is None else self._kind(steps)]
        ]

    def net(self, point: Point) -> tuple[Mapping[str, Any], str] | None:
        """Identity and file of a spiking network that was given; None for those that are made."""
        return self._nets.get(point.network)

    def _source(self, name: str) -> dict[str, Any]:
        source = self.study.networks[name]
        own = {"target": source.target, "weights": source.weights, "preparation": dict(self.study.preparation)}
        return self._places | own
