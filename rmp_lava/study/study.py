"""What a study measures, as a value, and the TOML file that it is read from.

network = "exports/vgg16.pt"        # as `rmp-lava convert` takes it; several: networks = { vgg16 = "...", resnet = "..." }
nets = { tuned = "tuned.net" }      # spiking networks, which run as they are
data = "cifar10"                    # the network's own if omitted
images = 2000                       # test images, or [first, last + 1] of them

[grid]                              # values, or lists of values: each combination is measured
method = ["paper", "low-latency"]   # options of `rmp_lava.convert`
steps = [8, 16]                     # T
wait = [0, "T"]
seed = [0, 1, 2]                    # of Poisson spikes; calibration_seed: which calibration images are drawn

[cluster]
threads = 2
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..choices import DatasetName, StudyArray, options
from ..errors import UsageError
from ..hardware.profiles import read_toml
from ..sources.targets import check_target, names_function
from .cluster import Cluster

WHOLE = "T"
"""Value of `wait` that stands for the number of time steps."""
CONVERSION = (
    "method encoding thresholds percentile alpha v_init channelwise calibrate reset wait pooling readout search profile "
    "threshold_form weight_bits"
).split()
"""Axes of a grid that are options of `rmp_lava.convert` or fields of its `Quantization`."""
AXES = (*CONVERSION, "steps", "balanced_steps", "form", "seed", "calibration_seed")
"""Of a grid. balanced_steps: T of the conversion, where the network then runs for more or fewer steps."""
SEEDS = ("seed", "calibration_seed")
"""Axes over which mean and spread are taken."""
OF_NETS = ("steps", "wait", "reset", "seed")
"""Axes that a spiking network still has."""
SHARED = "shared"
"""Value of `reset`: hard reset with the thresholds of soft reset, so that only the reset differs."""
_DEFAULTS: dict[str, tuple[Any, ...]] = {"steps": (16,), "form": ("integer",), "seed": (0,)}


@dataclass(frozen=True)
class Source:
    """A trained network as `rmp_lava.sources.models.load_trained` takes it."""

    target: str
    weights: str | None = None


@dataclass(frozen=True)
class Study:
    """What is measured.

    Parameters
    ----------
    name : str
    networks : mapping
        Name -> trained network.
    nets : mapping
        Name -> path of a spiking network.
    data, data_dir : str or None
        Data set, None: the networks' own. Or a folder or a .npz file as `rmp_lava.study.arrays` reads them.
    calibration : int
        Training images for thresholds and biases.
    images : (int, int)
        Range of the test images, in a fixed random order; -1: to the last one.
    block : int
        Images of one job. Results do not depend on it.
    at : tuple of int
        Time steps at which tables show an accuracy; empty: at T.
    preparation : mapping
        input_range, mean and std, as `rmp_lava.convert` takes them.
    grid : mapping
        Axis of `AXES` -> values.
    cluster : Cluster

    Raises
    ------
    UsageError
        If something is missing, unknown, or has another type.
    """

    name: str
    networks: Mapping[str, Source]
    nets: Mapping[str, str]
    data: str | None = None
    data_dir: str | None = None
    calibration: int = 512
    images: tuple[int, int] = (0, -1)
    block: int = 250
    at: tuple[int, ...] = ()
    preparation: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    cluster: Cluster = Cluster()

    def __post_init__(self) -> None:
        if not self.networks and not self.nets:
            raise UsageError(f"study {self.name!r} names no network; give network, networks or nets")
        if both := sorted(self.networks.keys() & self.nets.keys()):
            raise UsageError(f"{both[0]!r} is among the networks and the nets; give each its own name")
        _known(self.grid, AXES, "axis of [grid]")
        defaults = {axis: values for axis, values in _DEFAULTS.items() if axis not in self.grid}
        object.__setattr__(self, "grid", MappingProxyType({**self.grid, **defaults}))
        for axis, values in self.grid.items():
            if not values or len(set(map(repr, values))) < len(values):
                raise UsageError(f"axis {axis!r} has the values {list(values)}; give at least one, and each once")
        counts = {
            "calibration": (self.calibration,),
            "block": (self.block,),
            "at": self.at,
            "steps": self.grid["steps"],
        }
        for what, numbers in counts.items():
            _integers(what, numbers, 1)
        for axis in (*SEEDS, "balanced_steps"):
            _integers(axis, self.grid.get(axis, ()), 0)
        _integers("wait", [each for each in self.grid.get("wait", ()) if each != WHOLE], 0)
        first, end = self.images
        if first < 0 or end != -1 and end <= first:
            raise UsageError(
                f"images are {[first, end]}; give a number, or the first one and one more than the last one"
            )
        for form in self.grid["form"]:
            if form not in ("integer", "float"):
                raise UsageError(f"form is {form!r}; choose integer or float")
        for name, value in {**self.preparation, **self.grid}.items():
            try:
                json.dumps(value)
            except TypeError:
                raise UsageError(f"{name} is {value}; give numbers, text, true or false") from None


def check_files(study: Study) -> None:
    """Refuse networks and data that cannot be there, before anything is imported or read.

    Raises
    ------
    UsageError
        If a file or a module is missing, or no network records its data set and the study names none.
    """
    for source in study.networks.values():
        check_target(source.target)
        if source.weights is not None and not Path(source.weights).is_file():
            raise UsageError(f"weights {source.weights} do not exist or are no file; correct the path")
    for name, net in study.nets.items():
        if not Path(net).is_file():
            raise UsageError(f"net {name!r}, {net}, does not exist or is no file; correct the path")
    silent = [each.target for each in study.networks.values() if _records_nothing(each.target)]
    if study.data is None:
        if silent and len(silent) == len(study.networks) and not study.nets:
            raise UsageError(
                f'{", ".join(silent)} cannot record the data set of the training; give data, such as data = "digits"'
            )
    elif study.data not in options(DatasetName):
        if study.data_dir is not None:
            raise UsageError(
                f"data_dir is for the data sets {', '.join(options(DatasetName))}, not for {study.data}; leave it out"
            )
        if not Path(study.data).is_dir() and not (Path(study.data).is_file() and study.data.endswith(".npz")):
            raise UsageError(
                f"data is {study.data!r}; choose one of {', '.join(options(DatasetName))}, or give a folder of .npy files, or a "
                f".npz file, with {', '.join(options(StudyArray))}"
            )


def _records_nothing(target: str) -> bool:
    return names_function(target) or Path(target).suffix in (".pt2", ".onnx")


def read_study(path: Path) -> Study:
    """The study of a TOML file; relative paths in it are those of the current folder.

    Raises
    ------
    UsageError, ProfileError
        If it cannot be read, or is not valid.
    """
    content = read_toml(path, "correct the path of the study")
    simple = {"data": str, "data_dir": str, "calibration": int, "block": int}
    preparation = ("input_range", "mean", "std")
    others = ("network", "networks", "weights", "nets", "images", "at", "grid", "cluster")
    _known(content, (*simple, *preparation, *others), f"entry of {path}")
    for name, kind in simple.items():
        if name in content and (not isinstance(content[name], kind) or isinstance(content[name], bool)):
            raise UsageError(f"{name} is {content[name]!r} in {path}; give {'text' if kind is str else 'an integer'}")
    return Study(
        name=path.stem,
        networks=_networks(content, path),
        nets={name: _text(name, value) for name, value in _table(content, "nets", path).items()},
        images=_images(content.get("images")),
        at=tuple(_listed(content.get("at", ()))),
        preparation={name: content[name] for name in preparation if name in content},
        grid={axis: tuple(_listed(values)) for axis, values in _table(content, "grid", path).items()},
        cluster=_cluster(_table(content, "cluster", path)),
        **{name: content[name] for name in simple if name in content},
    )


def _networks(content: Mapping[str, Any], path: Path) -> dict[str, Source]:
    found = {}
    if "network" in content:
        target, weights = _text("network", content["network"]), content.get("weights")
        name = target.rpartition(":")[2] if ":" in target and not Path(target).exists() else Path(target).stem
        found[name] = Source(target, None if weights is None else _text("weights", weights))
    elif "weights" in content:
        raise UsageError(
            f"weights are given in {path}, but no network; give network, or weights to those of [networks] that need them"
        )
    for name, value in _table(content, "networks", path).items():
        if name in found:
            raise UsageError(f"network and networks both name {name!r}; give each its own name")
        if isinstance(value, dict):
            _known(value, ("target", "weights"), f"entry of network {name!r}")
            if "target" not in value:
                raise UsageError(f"network {name!r} has no target; give the trained network, as for network")
            value = Source(*(_text(each, value[each]) for each in ("target", "weights") if each in value))
        else:
            value = Source(_text(name, value))
        found[name] = value
    return found


def _cluster(table: Mapping[str, Any]) -> Cluster:
    _known(table, [each.name for each in fields(Cluster)], "entry of [cluster]")
    lists = ("directives", "prologue")
    for name, value in table.items():
        kind = list if name in lists else int if name in ("workers", "threads") else str
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UsageError(f"{name} of [cluster] is {value!r}, which has another type; see docs/guides/clusters.md")
    given: dict[str, Any] = {name: tuple(map(str, value)) if name in lists else value for name, value in table.items()}
    return Cluster(**given)


def _images(given: Any) -> tuple[int, int]:
    if given is None:
        return (0, -1)
    numbers = _listed(given)
    _integers("images", numbers, 0)
    if len(numbers) > 2 or numbers == [0]:
        raise UsageError(f"images are {given!r}; give a number, or the first one and one more than the last one")
    return (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _table(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise UsageError(f"{name} is {found!r} in {path}; make it a table, such as [{name}]")
    return found


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} is {value!r}; give text")
    return value


def _integers(what: str, values: Iterable[Any], least: int) -> None:
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UsageError(f"{what} is {value!r}; give integers of {least} or more")


def _known(given: Iterable[str], allowed: Iterable[str], what: str) -> None:
    allowed = list(allowed)
    for name in given:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(allowed)}"
            raise UsageError(f"{name!r} is no {what}; {meant}")
