"""The child process in which Lava runs: `python -m rmp_lava.backends.lava.worker FOLDER`.

Lava forks one OS process per ProcessModel, sets the process-wide start method of multiprocessing, hangs when torch has
run before the fork, and can wait for ever after a crash. A process group of its own makes all of that harmless: the
parent (`session`) ends the group, whatever happens. If the parent dies, this process notices and ends the group itself.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ...errors import RmpLavaError
from .job import ERROR, JOB, RESULT, Outcome

if TYPE_CHECKING:
    from .program import Program

_WATCH_SECONDS = 0.2


def _end_with_parent() -> None:
    """Wait until the parent closes its side of standard input, then end this process group."""
    # The raw file descriptor: a thread inside sys.stdin would hold its lock across the forks, which close it.
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)


def _fail(folder: Path, sentence: str) -> NoReturn:
    """Report a failure and end at once: a regular exit would wait for ProcessModels that never end."""
    (folder / ERROR).write_text(sentence)
    os._exit(1)


def _watch(actors: list[Any], finished: threading.Event, folder: Path) -> None:
    """End the run when a ProcessModel fails: Lava keeps its exception in a pipe and waits for it for ever."""
    while not finished.wait(_WATCH_SECONDS):
        for actor in actors:
            failure = actor.exception
            if failure is not None:
                print(failure[1], flush=True)
                _fail(folder, f"{type(failure[0]).__name__}: {failure[0]}")
            if actor.exitcode not in (None, 0) and not finished.is_set():
                _fail(folder, f"a ProcessModel ended with exit code {actor.exitcode}")


def _run(program: Program, folder: Path) -> float:
    """Run a program; a ProcessModel that fails ends this process. Seconds without start-up."""
    from lava.magma.core.run_conditions import RunSteps

    program.process.create_runtime(run_cfg=program.run_config)
    finished = threading.Event()
    actors = program.process.runtime._messaging_infrastructure.actors
    threading.Thread(target=_watch, args=(actors, finished, folder), daemon=True).start()
    started = time.perf_counter()
    program.process.run(condition=RunSteps(num_steps=program.steps))
    seconds = time.perf_counter() - started
    finished.set()
    return seconds


def main(folder: Path) -> None:
    """Do the folder's job: write arrays as it runs, and the outcome last. Ends with the parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from .program import program

        built = program(folder, pickle.loads((folder / JOB).read_bytes()))
        seconds = _run(built, folder)
        built.save_states()
        built.process.stop()
        outcome = Outcome(seconds, built.steps, built.execution, built.adapters.reading())
        (folder / RESULT).write_bytes(pickle.dumps(outcome))
    except RmpLavaError as problem:
        _fail(folder, str(problem))
    except Exception as problem:
        traceback.print_exc()
        _fail(folder, f"{type(problem).__name__}: {problem}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
