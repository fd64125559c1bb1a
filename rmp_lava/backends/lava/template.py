"""Workers in which Lava runs, forked from a template that has imported Lava once. Imports no Lava.

Importing Lava takes longer than many a run. The template (`worker.serve`) does nothing else, so each worker starts as a fresh
process would, without waiting for imports. It lives as long as this process, and is replaced when the environment changes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from ...threads import of_user
from .job import LOG

GRACE_SECONDS = 5.0
_LONGEST_PAUSE = 0.05
_SERVE = "import sys; sys.path[:] = filter(None, sys.path); from rmp_lava.backends.lava.worker import begin; begin()"
"""Not -m, which would import the user's random.py instead of Python's if that is in the working folder."""
_LONGEST_FOLDER = 72
"""Bytes; the names of multiprocessing's sockets in it ("/pymp-xxxxxxxx/listener-xxxxxxxx") are limited to 107 bytes."""


class Worker:
    """A process that does the job in a folder, in a session and process group of its own.

    It ends itself when this process ends: the socket between the two closes then.

    pid : None until the template has forked it.
    returncode : As of `subprocess.Popen`; None while it runs.
    """

    def __init__(self, folder: Path) -> None:
        self.pid: int | None = None
        self.returncode: int | None = None
        self._said = b""
        request = {"folder": str(folder), "tmpdir": _temporary(folder), "cwd": _working_folder()}
        self._line, other = socket.socketpair()
        with other:
            self._line.sendall(json.dumps(request).encode() + b"\n")
            self._template = _ask(other, folder / LOG)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after so many seconds at most."""
        if self.returncode is None:
            lost = self._template.process.poll() is not None
            self._line.settimeout(seconds)
            with contextlib.suppress(TimeoutError):
                try:
                    said = self._line.recv(64)
                except ConnectionResetError:  # closed before the request was read
                    said = b""
                self._said += said
                lost |= not said
            pid, *codes = self._said.split(b"\n")[:-1] or [b""]
            self.pid = int(pid) if pid else None
            if codes or lost:
                self.returncode = int(codes[0]) if codes else 1
        return self.returncode is not None

    def end(self) -> None:
        """End it and everything that it forked."""
        if self.pid is None and self.returncode is None:
            # The template still imports. One that is killed forks no worker; one just forked says its number.
            self._template.kill()
            self.wait(GRACE_SECONDS)
        if self.pid is not None:
            _end_group(self.pid)
        self.wait(GRACE_SECONDS)
        self._line.close()


def _end_group(leader: int) -> None:
    """SIGTERM first: Python's resource tracker ignores it, and so survives to remove Lava's shared memory."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        pause, deadline = 0.001, time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, sign)
            while time.monotonic() < deadline:
                os.killpg(leader, 0)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)


class _Template:
    """The process, and the socket through which it is asked for workers; it ends when that closes."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = environment
        self.line, other = socket.socketpair()
        with other, log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVE],
                stdin=other.fileno(),
                stdout=output,  # for the failure of a template that does not even start
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.line.close()


_templates: list[_Template] = []
"""The last one serves; those before it end as soon as their workers have."""
_lock = threading.Lock()


def _ask(line: socket.socket, log: Path) -> _Template:
    """Hand a worker's end of its socket to the template with this process's environment."""
    environment = _environment()
    with _lock:
        _templates[:] = [each for each in _templates if each.process.poll() is None]
        if not _templates or _templates[-1].environment != environment:
            for old in _templates:
                old.line.close()
            _templates.append(_Template(environment, log))
        with contextlib.suppress(BrokenPipeError):  # it has just ended, which `Worker.wait` notices
            socket.send_fds(_templates[-1].line, [b"\0"], [line.fileno()])
        return _templates[-1]


@atexit.register
def _end() -> None:
    """Leave no template when this process ends. If it is killed, its sockets close, which ends them too."""
    for each in _templates:
        each.kill()


def _forget() -> None:
    """After a fork: the templates are the parent's, and have to see that it ends."""
    global _lock
    _lock = threading.Lock()
    for each in _templates:
        each.line.close()
        each.process.returncode = 0  # no child of this process
    _templates.clear()


os.register_at_fork(after_in_child=_forget)


def _environment() -> dict[str, str]:
    """The user's, but for threads, and the folder of temporary files, which differs from job to job."""
    environment = {"OMP_NUM_THREADS": "1"} | of_user()
    package_root = str(Path(__file__).resolve().parents[3])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    environment.pop("TMPDIR", None)
    return environment


def _temporary(folder: Path) -> str | None:
    """TMPDIR of a job: its folder, so that what multiprocessing leaves behind is removed with it; None: the system's own."""
    return str(folder) if len(os.fsencode(folder)) <= _LONGEST_FOLDER else None


def _working_folder() -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return None
