"""Jobs: plain settings in, plain values out, executed in any process that sees the store and the data.

A job's settings determine its outcome, and a hash of them is its name. Places say where files are; they may differ from machine
to machine. Simulations are of a range of images with the Poisson spikes that these images have in a run of all of them, so
counts of ranges add up to those of that run, whoever computes them.
"""

from __future__ import annotations

import hashlib
import json
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..backends import Fast, PreparedNetwork, prepare
from ..conversion.conversion import Conversion
from ..conversion.outputs import trained_outputs
from ..conversion.pipeline import convert
from ..conversion.quantization import Quantization
from ..conversion.quantize import quantize
from ..conversion.tracing.prepared import prepared
from ..errors import DataError, RmpLavaError
from ..files import sha256_of
from ..network import INPUT, Layer, SpikingNetwork
from ..netx import load, save
from ..sources.images import ImageSplit, from_dataset
from ..sources.models import TrainedModel, load_trained
from ..training.data import DATASETS, Dataset, as_float, frames, load as load_dataset
from ..training.data.events import EVENT_DATASETS
from ..training.data.lazy_images import Images, checksum
from .arrays import Arrays, read_arrays
from .job import Job, Outcome, Values
from .store import NET, Store

QUANTIZATION = ("profile", "threshold_form", "weight_bits")
_ONE_AT_A_TIME = threading.Lock()


def execute(job: Job, folder: str, threads: int) -> Outcome:
    """Execute a job, unless the store has its measurement; errors are part of the outcome.

    Parameters
    ----------
    folder : str
        Of the store. What was measured is there when this returns, even if nobody waits for it any more.
    threads : int
        Of PyTorch. Always as many, because sums of real numbers depend on how they are divided.
    """
    store = Store(Path(folder))
    try:
        with _ONE_AT_A_TIME, _exactly(threads):  # PyTorch's threads are those of the process
            path = store.path(job.key).with_suffix("")
            log = {"about": dict(job.about), "units": job.units}
            measure = partial(job.function, job.settings, job.places, path)
            return Outcome(store.measure(job.key, job.settings, measure, **log))
    except RmpLavaError as error:
        return Outcome(None, str(error))
    except Exception as error:  # one job that fails must not end the others
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(None, reason, traceback.format_exc())


def call(function: Callable[[Any, Any], Any], shared: Any, item: Any, threads: int) -> Any:
    """Call a part of a conversion with so many threads, as `execute` executes jobs."""
    with _ONE_AT_A_TIME, _exactly(threads):
        return function(shared, item)


def itself(shared: Any) -> Any:
    """What calls share, as the result of a task, which is executed again where a worker is lost that had it."""
    return shared


def network(settings: Values, places: Values, path: Path) -> dict[str, Any]:
    """Convert a trained network, and write it to PATH.net: integers, or real numbers for form "float"."""
    found = conversion(settings, places)
    made, steps = found.floating, settings["steps"]
    if settings["form"] == "integer":
        if steps == found.steps:
            made = found.integer
        else:  # balanced over other steps than it runs
            how = {name: value for name, value in settings["options"].items() if name in QUANTIZATION}
            made = quantize(made, steps=steps, **how)
    save(made, path.with_suffix(".net"))
    return {NET: sha256_of(path.with_suffix(".net")), "encoding": made.input.encoding}


def conversion(settings: Values, places: Values) -> Conversion:
    """The conversion of a job that makes a network; kept for its other form."""
    return _conversion(json.dumps([dict(settings) | {"form": None, "steps": None}, dict(places)]))


def simulation(settings: Values, places: Values, path: Path) -> dict[str, Any]:
    """Simulate a network on a range of images.

    Returns
    -------
    dict
        "images"; "correct": of them, after 1 .. T steps; "messages": layer name -> their number; "neurons": layer name -> how
        many of it spike; "operations"; "saturated": updates at the limits of a register; "execution".
    """
    loaded = _network(places["net"], settings["net"])
    first = settings["first"] if loaded.input.encoding == "poisson" else 0  # one preparation for all ranges
    ready = _ready(places["net"], settings["net"], settings.get("wait"), settings.get("reset"), first)
    images, labels = shown(settings, places)
    result = ready.run(images, settings["steps"], seed=settings["seed"])
    at = result.accuracy_at(labels)  # refuses labels that do not fit
    return {
        "images": len(images),
        "correct": np.rint(at * len(images)).astype(int).tolist(),
        "messages": {name: count for name, count in result.spike_counts.items() if name != INPUT},
        "neurons": {each.name: each.size for each in loaded if each.neurons.reset != "none"},
        "operations": int(sum(each.sum() for each in result.synaptic_operations.values())),
        "saturated": int(sum(result.saturations.values())),
        "execution": result.execution,
    }


def trained(settings: Values, places: Values, path: Path) -> dict[str, Any]:
    """Images of a range that the trained network classifies correctly: "images", "correct"."""
    target = trained_model(places["target"], places["weights"], settings["trained"])
    images, labels = shown(settings, places)
    how = {name: _number(places["preparation"].get(name)) for name in ("input_range", "mean", "std")}
    images = np.asarray(frames(images))  # of events
    outputs = trained_outputs(prepared(target.model, images[:2], **how), images)
    return {"images": len(images), "correct": int((outputs.argmax(axis=1) == labels).sum())}


def identity(target: TrainedModel) -> dict[str, str]:
    """What tells a trained network from others: kind -> SHA-256 of its file, or of its weights where a function returned it."""
    if target.kind != "function" and target.path is not None:
        return {target.kind: sha256_of(target.path)}
    digest = hashlib.sha256()
    state = target.model.state_dict
    for name, value in sorted((state() if callable(state) else state).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return {"function": digest.hexdigest()}


def trained_model(target: str, weights: str | None, expected: Mapping[str, str]) -> TrainedModel:
    """The trained network of a job; raises `DataError` if it is not the one that the job is about."""
    found, made = loaded(target, weights)
    if made != expected:
        raise DataError(
            f"network {target} is another one here than where the study was read: it has changed, or its function does not "
            "always return the same weights"
        )
    return found


@lru_cache(maxsize=2)
def loaded(target: str, weights: str | None) -> tuple[TrainedModel, dict[str, str]]:
    """A trained network and its identity, kept for the next job."""
    found = load_trained(target, None if weights is None else Path(weights))
    return found, identity(found)


def dataset(name: str, directory: str | None, steps: int | None = None) -> Dataset | Arrays:
    """A data set, or a user's arrays, kept for the next job; recorded events are counted in so many time steps."""
    return _dataset(name, directory, steps if name in EVENT_DATASETS else None)


@lru_cache(maxsize=1)
def _dataset(name: str, directory: str | None, steps: int | None) -> Dataset | Arrays:
    return load_dataset(name, directory, steps=steps) if name in DATASETS else read_arrays(Path(name))


def _split(name: str, directory: str | None, steps: int, validation_fraction: float) -> ImageSplit:
    """The training images, divided as in the network's training."""
    data = dataset(name, directory, steps)
    return data.split(validation_fraction) if isinstance(data, Arrays) else from_dataset(data, validation_fraction)


def test_order(count: int) -> np.ndarray:
    """(count,) indices of test images in the order in which all studies take them: a random one, as data sets may be sorted."""
    return np.random.default_rng(1).permutation(count)


def identified(images: Images, labels: np.ndarray) -> int:
    """CRC-32 of images and their labels."""
    return checksum(labels, checksum(images))


def shown(settings: Values, places: Values) -> tuple[np.ndarray, np.ndarray]:
    """The test images that a job is about, as float32 or events, and their labels."""
    data = dataset(places["data"], places["data_dir"], settings.get("steps"))
    some = test_order(len(data.test_images))[settings["first"] : settings["first"] + settings["images"]]
    images, labels = data.test_images[some], data.test_labels[some]
    if identified(images, labels) != settings["test"]:
        raise DataError(
            f"test images {settings['first']} and following of data set {data.located} are others here than where the study was "
            "read; let all workers read the same files"
        )
    return as_float(images), labels


@lru_cache(maxsize=1)
def _conversion(described: str) -> Conversion:
    settings, places = json.loads(described)
    target = trained_model(places["target"], places["weights"], settings["trained"])
    steps = settings["balanced_steps"]
    images = _split(places["data"], places["data_dir"], steps, target.validation_fraction)
    if images_fingerprint(places["data"], places["data_dir"], steps) != settings["data"]:
        raise DataError(
            f"data set {images.what} is another one here than where the study was read; let all workers read it"
        )
    some, labels = images.calibration(settings["calibration"], settings["seed"])
    options = dict(settings["options"])
    quantization = Quantization(**{name: options.pop(name) for name in QUANTIZATION if name in options})
    return convert(
        target.model,
        some,
        labels=labels,
        steps=steps,
        seed=settings["seed"],
        shuffle=False,  # drawn at random
        diagnose=False,  # a study measures what is asked for
        quantization=quantization,
        classes=images.classes,
        **images.names(target),
        **{name: _number(value) for name, value in options.items()},
    )


def images_fingerprint(name: str, directory: str | None, steps: int | None = None) -> int:
    """CRC-32 of a data set's training images and labels."""
    return _fingerprint(name, directory, steps if name in EVENT_DATASETS else None)


@lru_cache(maxsize=8)
def _fingerprint(name: str, directory: str | None, steps: int | None) -> int:
    return dataset(name, directory, steps).fingerprint


@lru_cache(maxsize=1)
def _ready(net: str, sha256: str, wait: int | None, reset: str | None, first: int) -> PreparedNetwork:
    loaded = with_wait(_network(net, sha256), wait)
    return prepare(with_hard_reset(loaded) if reset == "hard" else loaded, Fast(first_sample=first))


@lru_cache(maxsize=1)
def _network(net: str, sha256: str) -> SpikingNetwork:
    if not Path(net).is_file() or sha256_of(net) != sha256:
        raise DataError(
            f"network {net} is missing or has changed; keep the store on a file system that all workers share"
        )
    return load(net)


def with_wait(network: SpikingNetwork, wait: int | None) -> SpikingNetwork:
    """The same network with another wait, up to the T that it runs for, which may be more than that of its thresholds."""
    if wait is None or network.balanced_steps is None:
        return network if wait is None else network.replace(wait=wait)
    return network.replace(wait=wait, balanced_steps=max(wait, network.balanced_steps))


def with_hard_reset(network: SpikingNetwork) -> SpikingNetwork:
    """The same network with hard reset, except for a read-out that integrates."""

    def change(layer: Layer) -> Layer:
        if layer.neurons.reset != "soft" or (layer is network.output and network.integrates):
            return layer
        return layer.replace(neurons=layer.neurons.replace(reset="hard"))

    return network.map_layers(change)


def _number(value: Any) -> Any:
    """Lists of a file as the tuples that functions take."""
    return tuple(value) if isinstance(value, list) else value


@contextmanager
def _exactly(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
