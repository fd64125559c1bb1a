"""What a job of a study costs besides its work, and what two workers gain.

python -m benchmarks.study               # three to four minutes; on two quiet cores
python -m benchmarks.study --copies 2    # only to see that it works

Each of the 24 jobs simulates digits for some seconds, less than jobs of a sweep usually take. What workers cost before their
first job is measured, too: their start, and the import of PyTorch, which this process has done already.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from rmp_lava.study.arrays import ARRAYS
from rmp_lava.study.cluster import Cluster, pool
from rmp_lava.study.grid import Plan
from rmp_lava.study.job import Job
from rmp_lava.study.pool import InProcess, Pool
from rmp_lava.study.store import Store
from rmp_lava.study.study import Study
from rmp_lava.study.sweep import Sweep
from rmp_lava.training.data import load

NET = Path(__file__).parents[1] / "exports" / "reference" / "digits-deep.net"
IMAGES, JOBS, EMPTY, STEPS = 450, 24, 200, 64


def nothing(settings: Mapping[str, Any], places: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A job without work."""
    return {"number": settings["number"]}


def main(
    copies: Annotated[int, typer.Option(min=1, help="How often each of the 450 test images is simulated.")] = 184,
) -> None:
    """Print the overhead of a job, and the time of a sweep in this process and on two workers, with one thread each."""

    def sweep(folder: Path, workers: Pool) -> list[list[float]]:
        work = Sweep(Plan(study(folder.parent, copies), folder), Store(folder))
        work.run(workers)
        assert not work.failures
        return [list(each) for row in work.rows() for each in row.accuracy]

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        one, found = timed(lambda: sweep(root / "one", InProcess(root / "one")))
        print(f"{JOBS} jobs, {IMAGES * copies // JOBS:,} images each, in one process: {one:.1f} s")
        print(f"overhead of a job in one process: {overhead(InProcess(root / 'empty-one')):.1f} ms")
        started = time.perf_counter()
        with pool("local:2", Cluster(), root / "two") as (workers, _):
            for number in range(2):
                workers.submit(Job(waiting, {"number": number}))
            begun = sum(1 for _ in workers.finished()) and time.perf_counter() - started
            two, again = timed(lambda: sweep(root / "two", workers))
            print(f"overhead of a job on two workers: {overhead(workers):.1f} ms")
        assert found == again
        print(f"{JOBS} jobs on two workers: {two:.1f} s, after {begun:.1f} s for their start and imports")
        print(f"of the time of one process: {two / one:.2f}, with start and imports {(two + begun) / one:.2f}")


def waiting(settings: Mapping[str, Any], places: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A job that leaves the other worker one like it."""
    time.sleep(0.5)
    return {"number": settings["number"]}


def study(folder: Path, copies: int) -> Study:
    """24 simulations of digits, each test image as often as asked for."""
    digits, data = load("digits"), folder / "digits.npz"
    images, labels = (each[:IMAGES].repeat(copies, axis=0) for each in (digits.test_images, digits.test_labels))
    if not data.is_file():
        np.savez(data, **dict(zip(ARRAYS, (digits.train_images, digits.train_labels, images, labels), strict=True)))
    block = len(images) // JOBS
    every = {"data": str(data), "images": (0, block * JOBS), "block": block, "grid": {"steps": (STEPS,)}}
    return Study("speed", {}, {"digits-deep": str(NET)}, **every)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, result)."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def overhead(workers: Pool) -> float:
    """Milliseconds from submission to result of each of many jobs without work, which all are stored."""

    def run() -> None:
        for number in range(EMPTY):
            workers.submit(Job(nothing, {"number": number}))
        assert all(outcome.content for _, outcome in workers.finished())

    return 1000 * timed(run)[0] / EMPTY


if __name__ == "__main__":
    typer.run(main)
