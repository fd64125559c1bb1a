"""The paper's networks for CIFAR-100 and ImageNet at full size, as a study: time, memory, and with real images accuracy.

    python -m examples.paper.large                                   # untrained, on a few synthetic images
    python -m examples.paper.large --data-dir DATA --steps 512 --weights vgg16-imagenet=exports/vgg16-imagenet.pt

DATA contains `cifar-100-python` (as downloaded by torchvision) and `train/` and `val/` of ImageNet (or `imagenet/` with
them). Weights come from checkpoints of `rmp-lava train`; without them, networks are untrained, and without DATA images are
synthetic, of which the networks' own predictions are the labels. What is measured is kept. With `--cluster local:1` (or another
place) each network has new processes, so that peak memory is its own; else it is that of this process so far. For third-party
weights, such as torchvision's, use the commands, with a function that builds the model:

    rmp-lava convert mine.models:resnet34 --weights resnet34.pth --data imagenet --data-dir DATA --calibration 128
    rmp-lava run exports/resnet34.net --data-dir DATA --samples 1000
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rmp_lava import load
from rmp_lava.errors import ConversionError, UsageError
from rmp_lava.files import check_writable
from rmp_lava.progress import Progress
from rmp_lava.report.tables import console
from rmp_lava.study.cluster import Cluster, pool
from rmp_lava.study.grid import Plan
from rmp_lava.study.pool import InProcess
from rmp_lava.study.store import Store
from rmp_lava.study.study import Source, Study
from rmp_lava.study.sweep import Row, Sweep
from rmp_lava.tables import table
from rmp_lava.words import percent

from .commands import called, chosen
from .large_images import write_untrained

NETWORKS = {
    "vgg16-cifar": "cifar100",
    "resnet20-cifar": "cifar100",
    "vgg16-imagenet": "imagenet",
    "resnet34-imagenet": "imagenet",
}
"""Model -> data set."""
CLASSES = {"cifar100": 100, "imagenet": 1000}
METHODS: dict[str, dict[str, Any]] = {"paper": {"alpha": 0.3}, "low-latency": {}}
"""Axes of a study. With alpha 1, no spike would reach layer 20 in few time steps."""
SYNTHETIC = {"images": 4, "calibration": 8}
REAL_CALIBRATION = (16, 64)
"""Least and largest default number of calibration images; between them `_CALIBRATION_BYTES` decides."""
FOLDER = Path("exports/paper/large")
_CALIBRATION_BYTES = 2**31
"""Memory for a layer's spikes, one bit each, over all calibration images and time steps."""
_LARGEST_LAYER = {
    "vgg16-cifar": 64 * 32 * 32,
    "resnet20-cifar": 64 * 32 * 32,
    "vgg16-imagenet": 64 * 224 * 224,
    "resnet34-imagenet": 64 * 112 * 112,
}


@dataclass(frozen=True)
class Measured:
    """A network and a method: what its study reached, its `.net` file, seconds of the jobs, and peak memory where it is known."""

    row: Row
    net: Path
    converting: float
    running: float
    peak_bytes: int


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
    output: Annotated[Path, typer.Option(help="Folder of measurements and networks.")] = FOLDER,
    cluster: Annotated[
        str | None, typer.Option(help="Where jobs run, as for `rmp-lava sweep`; this process if omitted.")
    ] = None,
) -> None:
    """Measure the paper's networks for CIFAR-100 and ImageNet at full size. Continues an interrupted run."""
    names, methods = chosen(network, tuple(NETWORKS), "network"), chosen(method, tuple(METHODS), "method")
    trained = _checkpoints(weights or ())
    if trained and data_dir is None:
        raise UsageError("trained networks need the images of their data set; give --data-dir, or leave --weights out")
    check_writable(output / "any.json", UsageError)
    measured = []
    for name in names:
        options = {"width": width, "batch_norm": batch_norm, "classes": CLASSES[NETWORKS[name]]}
        sizes = {"images": images or SYNTHETIC["images"], "calibration": calibration or SYNTHETIC["calibration"]}
        path, data = trained.get(name), None if data_dir is None else NETWORKS[name]
        if path is None:
            path, synthetic = write_untrained(name, options, output / "untrained", **sizes, seed=seed)
            data = data or str(synthetic)
        usual = SYNTHETIC["calibration"] if data_dir is None else calibration_images(name, steps)
        for each in methods:
            study = Study(
                name,
                {name: Source(str(path))},
                {},
                data=data,
                data_dir=None if data_dir is None else str(data_dir),
                calibration=calibration or usual,
                images=(0, images or -1),
                grid={
                    axis: (value,)
                    for axis, value in {
                        "method": each,
                        "steps": steps,
                        "pooling": pooling,
                        "seed": seed,
                        "calibration_seed": seed,
                        **METHODS[each],
                    }.items()
                },
            )
            measured.append(measure(study, Store(output), cluster))
    show(measured, accuracies=data_dir is not None)


def measure(study: Study, store: Store, cluster: str | None) -> Measured:
    """Measure a study of one point; raises `ConversionError` if a job fails."""
    with ExitStack() as stack:
        workers = InProcess(store.folder)
        if cluster is not None:
            workers, dashboard = stack.enter_context(pool(cluster, Cluster(), store.folder))
            print(f"Dashboard: {dashboard}", file=sys.stderr)
        sweep = Sweep(Plan(study, store.folder), store)
        outlook = sweep.outlook()
        with Progress(f"{study.name}, jobs", outlook.jobs, shown=True, done=outlook.stored) as bar:
            sweep.run(workers, lambda *_: bar.advance())
    for failure in sweep.failures:
        raise ConversionError(f"{failure.job}: {failure.error}")
    (point,), (row,) = sweep.plan.points, sweep.rows()
    made = sweep.plan.network(point)
    assert made is not None
    net = store.path(made.key).with_suffix(".net")
    contents = store.everything()
    network = contents[made.key]
    runs = [contents[job.key] for job in sweep.plan.simulations(point, network["result"], str(net))]
    peak = max(each.get("peak_bytes", 0) for each in (network, *runs))
    return Measured(row, net, network["seconds"], sum(each["seconds"] for each in runs), peak)


def show(measured: Sequence[Measured], *, accuracies: bool) -> None:
    """Print a table with a row for each network and method; without `accuracies`, with shares of equal predictions."""
    columns = ("network", "method", "neurons", "weights", "images", "T", "convert", "run", "peak GiB", ".net MiB")
    columns += ("ANN", "SNN") if accuracies else ("as ANN",)
    rows = []
    for each in measured:
        network = load(each.net)
        size = (f"{network.neuron_count:,}", f"{network.parameter_count:,}", f"{each.row.images:,}", each.row.steps)
        cost = (f"{each.converting:.1f} s", f"{each.running:.1f} s", f"{each.peak_bytes / 2**30:.2f}")
        reached = (percent(each.row.trained, 2),) * accuracies + (percent(float(each.row.mean[-1]), 2),)
        rows.append(
            (
                each.row.network,
                each.row.axes["method"],
                *size,
                *cost,
                f"{each.net.stat().st_size / 2**20:.1f}",
                *reached,
            )
        )
    console().print(table("The paper's large networks", columns, rows, text_columns=2))


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
