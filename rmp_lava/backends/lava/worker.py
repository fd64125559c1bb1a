"""The child process in which Lava runs: `python -m rmp_lava.backends.lava.worker JOB_FOLDER`.

Lava forks one OS process per ProcessModel, sets the process-wide start method of multiprocessing, hangs when torch has
run before the fork, and can wait for ever after a crash. A process group of its own makes all of that harmless: the
parent (`lava_job`) ends the group, whatever happens. If the parent dies, this process notices and ends the group itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ...errors import RmpLavaError

if TYPE_CHECKING:
    from lava.magma.core.process.process import AbstractProcess
    from lava.magma.core.run_configs import RunConfig

_WATCH_SECONDS = 0.2


def _end_with_parent() -> None:
    """Wait until the parent's end of standard input closes, then end this process group."""
    # The raw file descriptor: a thread inside sys.stdin would hold its lock across the forks, which close it.
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)


def _fail(folder: Path, sentence: str) -> NoReturn:
    """Leave word of a failure and end at once: a regular exit would wait for ProcessModels that never end."""
    (folder / "error.txt").write_text(sentence)
    os._exit(1)


def _watch(actors: list, finished: threading.Event, folder: Path) -> None:
    """End the run when a ProcessModel has failed: Lava keeps its exception in a pipe and waits for it for ever."""
    while not finished.wait(_WATCH_SECONDS):
        for actor in actors:
            failure = actor.exception
            if failure is not None:
                print(failure[1], flush=True)
                _fail(folder, f"{type(failure[0]).__name__}: {failure[0]}")
            if actor.exitcode not in (None, 0) and not finished.is_set():
                _fail(folder, f"a ProcessModel ended with exit code {actor.exitcode}")


def run_steps(process: AbstractProcess, run_config: RunConfig, steps: int, folder: Path) -> float:
    """Run the Processes connected to this one; a ProcessModel that fails ends this process with word of it.

    Returns
    -------
    float
        Seconds without start-up. The Processes still stand, for their Vars to be read; `stop` is the caller's.
    """
    from lava.magma.core.run_conditions import RunSteps

    process.create_runtime(run_cfg=run_config)
    finished = threading.Event()
    actors = process.runtime._messaging_infrastructure.actors
    threading.Thread(target=_watch, args=(actors, finished, folder), daemon=True).start()
    started = time.perf_counter()
    process.run(condition=RunSteps(num_steps=steps))
    seconds = time.perf_counter() - started
    finished.set()
    return seconds


def serve(main: Callable[[Path], None], folder: Path) -> None:
    """Do the folder's job, end with the parent, and leave a sentence where the job fails."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        main(folder)
    except RmpLavaError as problem:
        _fail(folder, str(problem))
    except Exception as problem:
        traceback.print_exc()
        _fail(folder, f"{type(problem).__name__}: {problem}")


def main(folder: Path) -> None:
    """Read the job, run it, write `result.json` last."""
    job = json.loads((folder / "job.json").read_text())

    from .program import Program

    program = Program(folder, job)
    seconds = run_steps(program.process, program.run_config, program.steps, folder)
    program.process.stop()
    result = {"seconds": seconds, "steps": program.steps, "execution": program.execution} | program.readings()
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    serve(main, Path(sys.argv[1]))
