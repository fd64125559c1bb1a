"""Run the paper's networks for CIFAR-100 and ImageNet through all stages at full size; measure time and memory.

    python -m examples.paper.large                                   # untrained, on a few synthetic images
    python -m examples.paper.large --data-dir DATA --steps 512 --weights vgg16-imagenet=exports/vgg16-imagenet.pt

DATA contains `cifar-100-python` (as downloaded by torchvision) and `train/` and `val/` of ImageNet (or `imagenet/` with
them). Each network runs in its own process, so that its peak memory can be measured, and gets a file NAME.json. An existing
file is kept unless its settings differ or --again is given. Weights come from checkpoints of `rmp-lava train`. For
third-party weights, such as torchvision's, use the commands, with a function that builds the model; it must normalise its
own input and use average pooling:

    rmp-lava convert mine.models:resnet34 --weights resnet34.pth --data imagenet --data-dir DATA --calibration 128
    rmp-lava run exports/resnet34.net --data-dir DATA --samples 1000
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rmp_lava.errors import UsageError
from rmp_lava.files import check_writable, sha256_of
from rmp_lava.report.tables import console
from rmp_lava.study.store import Store
from rmp_lava.tables import table
from rmp_lava.words import percent

from .commands import called, chosen

NETWORKS = {
    "vgg16-cifar": "cifar100",
    "resnet20-cifar": "cifar100",
    "vgg16-imagenet": "imagenet",
    "resnet34-imagenet": "imagenet",
}
"""Model -> data set."""
CLASSES = {"cifar100": 100, "imagenet": 1000}
METHODS = {"paper": {"alpha": 0.3}, "low-latency": {}}
"""Options of `rmp_lava.convert`. With alpha 1, no spike would reach layer 20 in few time steps."""
SYNTHETIC = {"images": 4, "calibration": 8}
REAL_CALIBRATION = (16, 64)
"""Least and largest default number of calibration images; between them `_CALIBRATION_BYTES` decides."""
FOLDER = Path("exports/paper/large")
_ROOT = Path(__file__).resolve().parents[2]
_CALIBRATION_BYTES = 2**31
"""Memory for a layer's spikes, one bit each, over all calibration images and time steps."""
_LARGEST_LAYER = {
    "vgg16-cifar": 64 * 32 * 32,
    "resnet20-cifar": 64 * 32 * 32,
    "vgg16-imagenet": 64 * 224 * 224,
    "resnet34-imagenet": 64 * 112 * 112,
}
_STAGES = ("convert", "quantise", "save", "load", "run")


@dataclass(frozen=True)
class Asked:
    """The command's options except the networks; `weights` maps names to checkpoints."""

    methods: Sequence[str]
    data_dir: Path | None
    weights: Mapping[str, Path]
    steps: int
    images: int | None
    calibration: int | None
    width: float
    batch_norm: bool
    pooling: str
    seed: int
    output: Path


def main(
    network: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(NETWORKS)}; all if omitted.")] = None,
    method: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(METHODS)}; all if omitted.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with CIFAR-100 and ImageNet; synthetic images if omitted.")
    ] = None,
    weights: Annotated[list[str] | None, typer.Option(help="NAME=CHECKPOINT; untrained if omitted.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="T.")] = 16,
    images: Annotated[int | None, typer.Option(min=1, help="Test images; all if omitted, 4 synthetic ones.")] = None,
    calibration: Annotated[
        int | None,
        typer.Option(
            min=1, help="Training images for the thresholds; if omitted 64, fewer for large T, or 8 synthetic ones."
        ),
    ] = None,
    width: Annotated[float, typer.Option(help="Factor on the channels of untrained networks.")] = 1.0,
    batch_norm: Annotated[
        bool, typer.Option("--batch-norm", help="Use batch normalisation in untrained networks.")
    ] = False,
    pooling: Annotated[Literal["fold", "layer"], typer.Option(help="As for rmp-lava convert.")] = "fold",
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, synthetic images and Poisson spikes.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder of NAME.json and NAME-METHOD.net.")] = FOLDER,
    again: Annotated[bool, typer.Option("--again", help="Repeat existing measurements.")] = False,
) -> None:
    """Run the paper's networks for CIFAR-100 and ImageNet through all stages at full size; reports time and memory of each."""
    names = chosen(network, tuple(NETWORKS), "network")
    asked = Asked(
        chosen(method, tuple(METHODS), "method"),
        data_dir,
        _checkpoints(weights or ()),
        steps,
        images,
        calibration,
        width,
        batch_norm,
        pooling,
        seed,
        output,
    )
    check_writable(output / "any.json", UsageError)
    store = Store(output, again)
    results = {}
    for name in names:
        job = _job(name, asked)
        print(f"{name}: ", end="", flush=True, file=sys.stderr)
        results[name] = store.once(name, job["settings"], lambda job=job: _in_child(job))
        print(f"{results[name]['peak_bytes'] / 2**30:.2f} GiB at most", file=sys.stderr)
    show(results)


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print a table with a row for each network and method."""
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
            accuracies = (percent(result.get("trained_accuracy"), 2), percent(made.get("accuracy"), 2))
            rows.append((name, method, *size, *seconds, *memory, *(accuracies if measured else ())))
    out.print(table("The paper's large networks", columns, rows, text_columns=2))
    for name, result in results.items():
        out.print(f"{name}: {result['data']}")


def _in_child(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [sys.executable, "-m", "examples.paper.large_job", str(path)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        if done.returncode:
            raise UsageError(
                f"network {job['settings']['model']!r} ended with exit code {done.returncode} (-9: out of memory), see above; "
                "what was measured before is kept, so mend it and call again"
            )
        return json.loads(path.with_suffix(".result").read_text())


def _job(name: str, asked: Asked) -> dict[str, Any]:
    real, checkpoint = asked.data_dir is not None, asked.weights.get(name)
    data_set = NETWORKS[name]
    settings = {
        "model": name,
        "data_set": data_set,
        "options": {"width": asked.width, "batch_norm": asked.batch_norm, "classes": CLASSES[data_set]},
        "checkpoint": None if checkpoint is None else sha256_of(checkpoint),
        "real_images": real,
        "images": asked.images or (None if real else SYNTHETIC["images"]),
        "calibration": asked.calibration
        or (calibration_images(name, asked.steps) if real else SYNTHETIC["calibration"]),
        "steps": asked.steps,
        "methods": {method: METHODS[method] for method in asked.methods},
        "pooling": asked.pooling,
        "seed": asked.seed,
    }
    places = {
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "data": None if asked.data_dir is None else str(asked.data_dir),
        "folder": str(asked.output),
    }
    return {"settings": settings, "places": places}


def calibration_images(name: str, steps: int) -> int:
    """Number of real calibration images for which a conversion with this T fits into memory."""
    fewest, most = REAL_CALIBRATION
    return max(fewest, min(most, 8 * _CALIBRATION_BYTES // (steps * _LARGEST_LAYER[name])))


def _checkpoints(weights: Sequence[str]) -> dict[str, Path]:
    found = {}
    for each in weights:
        name, equals, path = each.partition("=")
        if name not in NETWORKS or not equals or not Path(path).is_file():
            raise UsageError(f"weights are {each!r}; give NAME=CHECKPOINT with a file and one of {', '.join(NETWORKS)}")
        found[name] = Path(path)
    return found


if __name__ == "__main__":
    called(main)
