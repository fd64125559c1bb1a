"""How much longer a command takes next to busy processes:  python -m benchmarks.busy [--processes 1] [--rounds 2] [COMMAND ...]

COMMAND are arguments of `rmp-lava`; the demo if omitted. A busy process computes without a pause in one thread. Run it on an
idle machine: both times are those that pass, and quiet and busy runs take turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rmp_lava.threads import of_user

ROOT = Path(__file__).absolute().parents[1]
_BUSY = "while True: pass"


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that compute without a pause."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY]))
            stack.callback(process.kill)
        yield


def seconds_of(command: list[str]) -> float:
    """Seconds of a command of rmp-lava, in a folder and process of its own.

    Raises
    ------
    RuntimeError
        If the command fails; with its last line.
    """
    variables = of_user() | {"PYTHONPATH": str(ROOT)}
    command = [str(ROOT / each) if each.endswith(".net") else each for each in command]
    with tempfile.TemporaryDirectory(prefix="rmp-lava-busy-") as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "rmp_lava", *command], cwd=folder, env=variables, capture_output=True, text=True
        )
        seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1])
    return seconds


def measure(job: dict) -> dict:
    """Times of `job["command"]`: `quiet` and `busy`, seconds of each of `job["rounds"]`; see `measure.measure`."""
    quiet, busy = [], []
    for _ in range(job["rounds"]):
        quiet.append(seconds_of(job["command"]))
        with busy_processes(job["processes"]):
            busy.append(seconds_of(job["command"]))
    return {"quiet": quiet, "busy": busy}


def main(
    command: Annotated[list[str] | None, typer.Argument(help="Arguments of rmp-lava; demo if omitted.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Busy processes.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Quiet and busy runs; medians count.")] = 2,
) -> None:
    """Print both times and their ratio."""
    found = measure({"command": command or ["demo"], "processes": processes, "rounds": rounds})
    quiet, busy = (statistics.median(found[kind]) for kind in ("quiet", "busy"))
    print(
        f"rmp-lava {' '.join(command or ['demo'])}: {quiet:.1f} s, next to {processes} busy {busy:.1f} s, {busy / quiet:.2f} x"
    )


if __name__ == "__main__":
    typer.run(main)
