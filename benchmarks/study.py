"""What a job of a study costs besides its work, and what two workers gain.

python -m benchmarks.study               # minutes; on two quiet cores
python -m benchmarks.study --steps 64    # only to see that it works
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rmp_lava.study.cluster import Cluster, pool
from rmp_lava.study.grid import Plan
from rmp_lava.study.job import Job
from rmp_lava.study.pool import InProcess, Pool
from rmp_lava.study.store import Store
from rmp_lava.study.study import Study
from rmp_lava.study.sweep import Sweep

NET = Path(__file__).parents[1] / "exports" / "reference" / "digits-deep.net"
IMAGES, JOBS, EMPTY = 432, 24, 200


def nothing(settings: Mapping[str, Any], places: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A job without work."""
    return {"number": settings["number"]}


def main(
    steps: Annotated[int, typer.Option(min=1, help="T; longer jobs hide the start of the workers.")] = 8192,
) -> None:
    """Print the overhead of a job, and the time of a sweep in this process and on two workers, with one thread each."""
    study = Study(
        "speed",
        {},
        {"digits-deep": str(NET)},
        data="digits",
        images=(0, IMAGES),
        block=IMAGES // JOBS,
        grid={"steps": (steps,)},
    )

    def sweep(folder: Path, workers: Pool) -> list[list[float]]:
        work = Sweep(Plan(study, folder), Store(folder))
        work.run(workers)
        assert not work.failures
        return [list(each) for row in work.rows() for each in row.accuracy]

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        one, found = timed(lambda: sweep(root / "one", InProcess(root / "one")))
        print(f"{JOBS} jobs, T = {steps}, in one process: {one:.1f} s")
        print(f"overhead of a job in one process: {overhead(InProcess(root / 'empty-one')):.1f} ms")
        started = time.perf_counter()
        with pool("local:2", Cluster(), root / "two") as (workers, _):
            begun = time.perf_counter() - started
            two, again = timed(lambda: sweep(root / "two", workers))
            print(f"overhead of a job on two workers: {overhead(workers):.1f} ms")
        assert found == again
        print(
            f"{JOBS} jobs on two workers: {two:.1f} s, after {begun:.1f} s for their start: {(two + begun) / one:.2f} of one"
        )


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
