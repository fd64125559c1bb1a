"""The child process in which Lava runs: `python -m rmp_lava.backends.lava_worker JOB_FOLDER`.

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
from pathlib import Path
from typing import NoReturn

from ..errors import RmpLavaError

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


def main(folder: Path) -> None:
    """Read the job, run it, write `result.json` last."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = json.loads((folder / "job.json").read_text())

    from lava.magma.core.run_conditions import RunSteps

    from .lava_program import Program

    program = Program(folder, job)
    finished = threading.Event()
    program.process.create_runtime(run_cfg=program.run_config)
    actors = program.process.runtime._messaging_infrastructure.actors
    threading.Thread(target=_watch, args=(actors, finished, folder), daemon=True).start()
    started = time.perf_counter()
    program.process.run(condition=RunSteps(num_steps=program.steps))
    seconds = time.perf_counter() - started
    finished.set()
    program.process.stop()
    result = {"seconds": seconds, "steps": program.steps, "execution": program.execution} | program.readings()
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    job_folder = Path(sys.argv[1])
    try:
        main(job_folder)
    except RmpLavaError as problem:
        _fail(job_folder, str(problem))
    except Exception as problem:
        traceback.print_exc()
        _fail(job_folder, f"{type(problem).__name__}: {problem}")
