"""Processes in which Lava runs. A Python process that calls `begin` is the template that forks them (`template`).

Lava forks one OS process per ProcessModel, sets the process-wide start method of multiprocessing, hangs when torch has
run before the fork, and can wait for ever after a crash. A process group of its own for each job makes all of that harmless: the
parent (`session`) ends the group, whatever happens. If the parent dies, worker and template notice and end themselves.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import pickle
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ...errors import RmpLavaError
from .job import ERROR, JOB, LOG, RESULT, Outcome, ending

if TYPE_CHECKING:
    from lava.magma.core.model.model import AbstractProcessModel
    from lava.magma.core.process.process import AbstractProcess

    from .program import Program

_WATCH_SECONDS = 0.2
_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_IMPORTS = (
    "rmp_lava.backends.lava.program",
    "lava.magma.compiler.compiler",
    *(f"lava.proc.{name}.models" for name in ("conv", "dense", "lif", "sdn", "sparse")),
    *(f"rmp_lava.processes.{name}" for name in ("conv_models", "io_models", "rmp_models")),
    "multiprocessing.popen_fork",
)
"""What every run imports, or Lava's compiler does for it."""


def serve() -> Path:
    """Fork a worker for each socket that comes through standard input. Returns in the worker, with the folder of its job.

    Standard input of the worker is the socket. It carries the request, and the other way the worker's number and exit code.
    The template runs no thread and none of Lava's code but imports.
    """
    with contextlib.suppress(Exception):  # each worker meets the same error again, and reports it
        for name in _IMPORTS:
            importlib.import_module(name)
    with contextlib.suppress(AttributeError):  # Linux only
        # What a worker leaves behind becomes this process's child: others may wait a second, or for ever, before they reap it.
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    requests = socket.socket(fileno=os.dup(0))
    ended, wake_up = os.pipe()
    os.set_blocking(wake_up, False)
    signal.set_wakeup_fd(wake_up)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    lines: dict[int, int] = {}  # of the workers that run
    wanted = True
    while wanted or lines:
        ready, _, _ = select.select([ended, *([requests.fileno()] if wanted else [])], [], [])
        if ended in ready:
            os.read(ended, 4096)
            for pid, status in _ended():
                if pid in lines:
                    line = lines.pop(pid)
                    with contextlib.suppress(OSError):  # a parent that has ended
                        os.write(line, b"%d\n" % os.waitstatus_to_exitcode(status))
                    os.close(line)
        if requests.fileno() in ready:
            _, received, _, _ = socket.recv_fds(requests, 1, 1)
            wanted = bool(received)
            for line in received:
                pid = os.fork()
                if pid == 0:
                    for other in (requests.detach(), ended, wake_up, *lines.values()):
                        os.close(other)
                    return _begin(line)
                lines[pid] = line
    os._exit(0)


def _ended() -> Iterator[tuple[int, int]]:
    """(number, status) of each child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def _begin(line: int) -> Path:
    """Become a worker as if Python had just started: what a process inherits, and what modules keep, is not the template's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(line, 0)
    os.close(line)
    os.write(0, b"%d\n" % os.getpid())
    with open(0, "rb", buffering=0, closefd=False) as asked:
        request = json.loads(asked.readline())
    folder = Path(request["folder"])
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if request["tmpdir"] is not None:
        os.environ["TMPDIR"] = request["tmpdir"]
    tempfile.tempdir = None
    if request["cwd"] is not None:
        with contextlib.suppress(OSError):
            os.chdir(request["cwd"])
    importlib.invalidate_caches()
    np.random.seed()
    return folder


def _end_with_parent() -> None:
    """Wait until the parent closes its side of standard input, then end this process group."""
    # The raw file descriptor: a thread inside sys.stdin would hold its lock across the forks, which close it.
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)


def _fail(folder: Path, sentence: str, trace: str = "") -> NoReturn:
    """Report a failure and end at once: a regular exit would wait for ProcessModels that never end.

    The exit code is the error's number where not even the report can be written, as on a full disk.
    """
    code = 1
    try:
        (folder / ERROR).write_text(sentence)
        print(trace, flush=True)
    except OSError as problem:
        code = problem.errno or code
    os._exit(code)


def _watch(actors: list[Any], finished: threading.Event, folder: Path) -> None:
    """End the run when a ProcessModel fails: Lava keeps its exception in a pipe and waits for it for ever."""
    while not finished.wait(_WATCH_SECONDS):
        for actor in actors:
            failure = actor.exception
            if failure is not None:
                _fail(folder, f"{type(failure[0]).__name__}: {failure[0]}", failure[1])
            if actor.exitcode not in (None, 0) and not finished.is_set():
                _fail(folder, f"a ProcessModel {ending(actor.exitcode)}")


def _search_each_class_once() -> None:
    """To find a Process's models, Lava executes every file beside it: here for the first Process of a class, not for each."""
    from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs

    search, found = ProcGroupDiGraphs._find_proc_models, {}

    def models(proc: AbstractProcess) -> list[type[AbstractProcessModel]]:
        if type(proc) not in found:
            found[type(proc)] = search(proc)
        return list(found[type(proc)])

    ProcGroupDiGraphs._find_proc_models = staticmethod(models)


def _run(program: Program, folder: Path) -> float:
    """Run a program; a ProcessModel that fails ends this process. Seconds without start-up."""
    from lava.magma.core.run_conditions import RunSteps

    _search_each_class_once()
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
        _fail(folder, f"{type(problem).__name__}: {problem}", traceback.format_exc())


def begin() -> NoReturn:
    """Be the template; in each process that it forks, do a job."""
    main(serve())
    # A regular exit would take apart what the template imported, which takes longer than a small run.
    sys.stdout.flush()
    os._exit(0)
