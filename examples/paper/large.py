"""The paper's networks for CIFAR-100 and ImageNet, the whole way at full size, and how much time and memory that takes.

    python -m examples.paper.large                                   # untrained, on a few synthetic images
    python -m examples.paper.large --data-dir DATA --steps 512 --weights vgg16-imagenet=exports/vgg16-imagenet.pt

DATA holds `cifar-100-python` (as torchvision leaves it) and `train/` and `val/` of ImageNet (or `imagenet/` with them).
Each network gets a process of its own, so that its peak memory is its own, and a file NAME.json; one that is there is
kept unless it was made with other settings, or --again is given. Weights come from checkpoints of `rmp-lava train`,
with which the same networks convert and run one by one. Those of others, such as torchvision's, come with a function
that builds their network, with the normalisation of images inside and average instead of maximum pooling:

    rmp-lava convert mine.models:resnet34 --weights resnet34.pth --data imagenet --data-dir DATA --calibration 128
    rmp-lava run exports/resnet34.net --data-dir DATA --samples 1000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import peak_resident
from rmp_lava.errors import RmpLavaError, UsageError
from rmp_lava.files import check_writable, sha256_of

from .store import Store

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from rmp_lava.ann.lazy_images import Images

    from .large_images import Shown

NETWORKS = {
    "vgg16-cifar": "cifar100",
    "resnet20-cifar": "cifar100",
    "vgg16-imagenet": "imagenet",
    "resnet34-imagenet": "imagenet",
}
"""Model -> data set."""
CLASSES = {"cifar100": 100, "imagenet": 1000}
METHODS = {"paper": {"alpha": 0.3}, "low-latency": {}}
"""Options of `rmp_lava.convert`. Thresholds at the largest input would let nothing through to layer 20 in few steps."""
SYNTHETIC = {"images": 4, "calibration": 8}
REAL_CALIBRATION = (16, 64)
"""Fewest and most training images for the thresholds unless the user says: in between as many as keep `_CALIBRATION_BYTES`."""
FOLDER = Path("exports/paper/large")
_ROOT = Path(__file__).resolve().parents[2]
_CALIBRATION_BYTES = 2**31
"""Of a layer's spikes, a bit each, which conversion keeps of all calibration images and steps until they are read."""
_LARGEST_LAYER = {
    "vgg16-cifar": 64 * 32 * 32,
    "resnet20-cifar": 64 * 32 * 32,
    "vgg16-imagenet": 64 * 224 * 224,
    "resnet34-imagenet": 64 * 112 * 112,
}
_STAGES = ("convert", "quantise", "save", "load", "run")


def main(arguments: list[str] | None = None) -> None:
    """Run what the command line asks for, or one job of it."""
    given = _parser().parse_args(arguments)
    try:
        if given.job is None:
            show(run_all(given))
        else:
            job = json.loads(given.job.read_text())
            given.job.with_suffix(".result").write_text(json.dumps(measure(job)))
    except RmpLavaError as error:
        sys.exit(f"error: {error}.")


def run_all(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The measurement of each network, made now or before."""
    checkpoints = _checkpoints(given.weights)
    check_writable(given.output / "any.json", UsageError)
    store = Store(given.output, again=given.again)
    results = {}
    for name in given.networks:
        job = _job(name, given, checkpoints.get(name))
        print(f"{name}: ", end="", flush=True, file=sys.stderr)
        results[name] = store.once(name, job["settings"], lambda job=job: _in_child(job))
        print(f"{results[name]['peak_bytes'] / 2**30:.2f} GiB at most", file=sys.stderr)
    return results


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Take one network the whole way, in this process.

    Parameters
    ----------
    job : dict
        As `run_all` makes it: "settings", which decide the outcome, and "places" of files.

    Returns
    -------
    dict
        "neurons", "weights" (of the converted network), "images", "data" in words, "stages" (name -> seconds, and peak
        memory until then), "methods" (name -> what the conversion gives), "peak_bytes".
    """
    import torch

    from .large_images import bring_images, settle

    settings, places = job["settings"], job["places"]
    stages = Stages()
    torch.manual_seed(settings["seed"])
    with stages("build"):
        model = _build(settings, places["checkpoint"])
    with stages("images"):
        shown = bring_images(settings, places["data"])
    with stages("network itself"):
        if places["checkpoint"] is None:
            settle(model, shown.calibration)
        wanted = _outputs(model, shown.test)
    result: dict[str, Any] = {"images": len(shown.test), "data": shown.what, "methods": {}}
    trained = places["checkpoint"] is not None
    for method in settings["methods"]:
        made, size = _convert_and_run(model, shown, wanted, method, settings, Path(places["folder"]), stages)
        if shown.labels is None or not trained:
            made.pop("accuracy", None)
        result["methods"][method] = made
        result |= size
    if trained and shown.labels is not None:
        result["trained_accuracy"] = float((wanted.argmax(axis=1) == shown.labels).mean())
    return result | {"stages": stages.done, "peak_bytes": peak_resident()}


class Stages:
    """Seconds, those of processor time (a shared machine gives others the rest), and peak memory of what is done, by name."""

    def __init__(self) -> None:
        self.done: dict[str, dict[str, float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        print(f"{name} ... ", end="", flush=True, file=sys.stderr)
        started = time.perf_counter(), time.process_time()
        yield
        now = time.perf_counter(), time.process_time()
        seconds, cpu_seconds = (round(b - a, 2) for a, b in zip(started, now, strict=True))
        self.done[name] = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak_resident()}
        print(f"{seconds:.1f} s; ", end="", flush=True, file=sys.stderr)


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print a table, a row for each network and method."""
    from rmp_lava.report.tables import console, percent, table

    out = console()
    measured = any("trained_accuracy" in result for result in results.values())
    columns = ("network", "method", "neurons", "weights", "images", "T", *_STAGES, "peak GiB", ".net MiB")
    columns += ("ANN", "SNN") if measured else ()
    rows = []
    for name, result in results.items():
        for method, made in result["methods"].items():
            size = (f"{result['neurons']:,}", f"{result['weights']:,}", f"{result['images']:,}", made["steps"])
            seconds = (f"{made['seconds'][stage]:.1f} s" for stage in _STAGES)
            memory = (f"{made['peak_bytes'] / 2**30:.2f}", f"{made['net_bytes'] / 2**20:.1f}")
            accuracies = (percent(result.get("trained_accuracy")), percent(made.get("accuracy")))
            rows.append((name, method, *size, *seconds, *memory, *(accuracies if measured else ())))
    out.print(table("The paper's large networks", columns, rows, text_columns=2))
    for name, result in results.items():
        out.print(f"{name}: {result['data']}")


def _convert_and_run(
    model: nn.Module,
    shown: Shown,
    wanted: np.ndarray,
    method: str,
    settings: dict[str, Any],
    folder: Path,
    stages: Stages,
) -> tuple[dict[str, Any], dict[str, int]]:
    """What the conversion gives, and the size of the network."""
    import numpy as np

    import rmp_lava
    from rmp_lava.neuron import STATE_SHIFT

    from .large_images import blocks

    steps, seed, path = settings["steps"], settings["seed"], folder / f"{settings['model']}-{method}.net"
    timed = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        with stages(f"{method}: {name}"):
            yield
        timed[name] = stages.done[f"{method}: {name}"]["seconds"]

    with stage("convert"):
        network = rmp_lava.convert(
            model,
            shown.calibration,
            steps=steps,
            method=method,
            pooling=settings["pooling"],
            seed=seed,
            name=settings["model"],
            progress=True,
            **METHODS[method],
        )
    with stage("quantise"):
        network = rmp_lava.quantize(network)
    with stage("save"):
        rmp_lava.save(network, path)
    # Not both at once; `save` has compared what it wrote.
    del network
    with stage("load"):
        network = rmp_lava.load(path)
    said = np.empty_like(wanted)
    spikes: dict[str, int] = {}
    with stage("run"):
        for some, images in blocks(shown.test):
            # Another seed for each block: samples are counted from 0 in each run.
            result = rmp_lava.run(network, images, steps, backend="fast", seed=seed + some.start, progress=True)
            said[some] = result.output * (network.provenance["output_scale"] / steps / (1 << STATE_SHIFT))
            for name, count in result.spike_counts.items():
                spikes[name] = spikes.get(name, 0) + count
    made = {
        "steps": steps,
        "seconds": timed,
        "peak_bytes": peak_resident(),
        "net_bytes": path.stat().st_size,
        "execution": result.execution,
        "same_prediction": float((said.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
        "output_error": float(np.sqrt(np.square(said - wanted).mean() / np.square(wanted).mean())),
        "spikes_per_neuron": {
            layer.name: spikes[layer.name] / len(said) / layer.size
            for layer in network
            if layer.neurons.reset != "none"
        },
        "pooling": {layer.name: layer.record["pooling"] for layer in network if "pooling" in layer.record},
        "accuracy": None if shown.labels is None else float((said.argmax(axis=1) == shown.labels).mean()),
    }
    return made, {"neurons": network.neuron_count, "weights": network.parameter_count}


def _build(settings: dict[str, Any], checkpoint: str | None) -> nn.Module:
    from rmp_lava.ann.checkpoint import load_model
    from rmp_lava.ann.models import model_spec

    spec = model_spec(settings["model"])
    if checkpoint is None:
        return spec.build(**settings["options"]).eval()
    model, metadata = load_model(checkpoint)
    classes = settings["options"]["classes"]
    if metadata["model"] != spec.name or spec.outputs(metadata["options"]) != classes:
        raise UsageError(
            f"checkpoint {checkpoint} holds {metadata['model']!r} with {spec.outputs(metadata['options'])} classes; "
            f"{spec.name!r} with {classes} is wanted"
        )
    return model


def _outputs(model: nn.Module, images: Images) -> np.ndarray:
    """What the network itself gives, (N, classes)."""
    import numpy as np
    import torch

    from .large_images import blocks

    found = []
    with torch.no_grad():
        for _, some in blocks(images):
            found += [model(torch.from_numpy(part)).numpy() for part in np.array_split(some, -(-len(some) // 8))]
    return np.concatenate(found)


def _in_child(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [sys.executable, "-m", "examples.paper.large", "--job", str(path)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        if done.returncode:
            raise UsageError(
                f"network {job['settings']['model']!r} ended with exit code {done.returncode} (-9: out of memory), see above; "
                "what was measured before is kept, so mend it and call again"
            )
        return json.loads(path.with_suffix(".result").read_text())


def _job(name: str, given: argparse.Namespace, checkpoint: Path | None) -> dict[str, Any]:
    real = given.data_dir is not None
    data_set = NETWORKS[name]
    settings = {
        "model": name,
        "data_set": data_set,
        "options": {"width": given.width, "batch_norm": given.batch_norm, "classes": CLASSES[data_set]},
        "checkpoint": None if checkpoint is None else sha256_of(checkpoint),
        "real_images": real,
        "images": given.images or (None if real else SYNTHETIC["images"]),
        "calibration": given.calibration
        or (calibration_images(name, given.steps) if real else SYNTHETIC["calibration"]),
        "steps": given.steps,
        "methods": {method: METHODS[method] for method in given.methods},
        "pooling": given.pooling,
        "seed": given.seed,
    }
    places = {
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "data": None if given.data_dir is None else str(given.data_dir),
        "folder": str(given.output),
    }
    return {"settings": settings, "places": places}


def calibration_images(name: str, steps: int) -> int:
    """How many real images thresholds are set with, so that conversion for this many steps fits into memory."""
    fewest, most = REAL_CALIBRATION
    return max(fewest, min(most, 8 * _CALIBRATION_BYTES // (steps * _LARGEST_LAYER[name])))


def _checkpoints(weights: list[str]) -> dict[str, Path]:
    found = {}
    for each in weights:
        name, equals, path = each.partition("=")
        if name not in NETWORKS or not equals or not Path(path).is_file():
            raise UsageError(f"weights are {each!r}; give NAME=CHECKPOINT with a file and one of {', '.join(NETWORKS)}")
        found[name] = Path(path)
    return found


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.paper.large", description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--data-dir", type=Path, help="folder with CIFAR-100 and ImageNet; synthetic images if omitted")
    parser.add_argument(
        "--weights", nargs="+", default=[], metavar="NAME=FILE", help="checkpoints; untrained if omitted"
    )
    parser.add_argument("--steps", type=_positive, default=16, help="T")
    parser.add_argument("--images", type=_positive, help="test images; all if omitted, 4 synthetic ones")
    thresholds = "training images for the thresholds; 64, less where T is large; 8 synthetic ones"
    parser.add_argument("--calibration", type=_positive, help=thresholds)
    parser.add_argument("--width", type=float, default=1.0, help="factor on the channels of untrained networks")
    parser.add_argument("--batch-norm", action="store_true", help="untrained networks with batch normalisation")
    parser.add_argument("--pooling", choices=("fold", "layer"), default="fold")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of NAME.json and NAME-METHOD.net")
    parser.add_argument("--again", action="store_true", help="measure again what is there")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
