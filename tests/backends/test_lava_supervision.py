"""Whatever happens to a Lava run, it leaves nothing: no process, no shared memory, no folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import rmp_lava
from rmp_lava.backends.lava import session as lava_session
from rmp_lava.errors import BackendError
from rmp_lava.network import INPUT, Dense, Input, Layer, Neurons, SpikingNetwork

pytestmark = [
    pytest.mark.lava,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc"),
]


def small_network():
    layers = tuple(
        Layer(f"layer{i}", (4,), (Dense(INPUT, np.full((4, 3), 2, np.int16)),), Neurons(5)) for i in range(2)
    )
    return SpikingNetwork("small", Input((3,), "spikes"), layers, "integer", "count")


def run(steps=3, samples=2, **options):
    return rmp_lava.run(small_network(), np.ones((samples, steps, 3)), steps, rmp_lava.Lava(**options))


def processes():
    """pid -> (session, state, command line) of every running process that is not a zombie."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if state != "Z":
                found[int(entry.name)] = (int(session), state, command)
    return found


def segments():
    return {path.name for path in Path("/dev/shm").iterdir() if path.name.startswith("psm_")}


def left_behind(before, seconds=10.0):
    """New shared memory segments that no process holds, observed for a while: other runs start and end."""
    left = segments() - before
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        held = set()
        for maps in Path("/proc").glob("[0-9]*/maps"):
            try:
                held |= {name for name in left if f"/dev/shm/{name}" in maps.read_text()}
            except OSError:
                continue
        left = (left & segments()) - held
    return left


def eventually(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def of_session(session):
    return {pid: what for pid, what in processes().items() if what[0] == session}


@pytest.fixture
def tmp_path():
    """Short, unlike pytest's: the names of multiprocessing's sockets below it have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="t", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def traces(tmp_path, monkeypatch):
    """A temporary folder of its own, the workers' sessions, and a check that nothing is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = segments()
    sessions = []
    popen = subprocess.Popen

    def recorded(*args, **kwargs):
        process = popen(*args, **kwargs)
        sessions.append(process.pid)
        return process

    monkeypatch.setattr(lava_session.subprocess, "Popen", recorded)
    yield sessions
    assert sessions
    for session in sessions:
        assert of_session(session) == {}
    assert not [what for what in processes().values() if str(tmp_path) in what[2]]
    assert left_behind(before) == set()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_after_a_normal_run(traces):
    result = run(time_limit=120)
    assert result.samples == 2 and len(traces) == 1


def test_time_limit_ends_everything_and_is_named(traces):
    started = time.monotonic()
    # Far more steps than the limit allows; long enough that Lava's own processes are there.
    with pytest.raises(BackendError, match="time limit of 8 s"):
        run(steps=200_000, samples=1, time_limit=8)
    assert time.monotonic() - started < 8 + 2 * lava_session.GRACE_SECONDS + 10


def test_time_limit_that_passes_before_lava_has_started(traces):
    with pytest.raises(BackendError, match=r"time limit of 0.2 s"):
        run(time_limit=0.2)


def test_crash_inside_a_process_model_ends_all_the_others(traces, monkeypatch):
    write = lava_session.write_messages

    def corrupt(network, images, plan, seed, path):
        write(network, images, plan, seed, path)
        np.save(path, np.zeros((2, 3, 7), np.uint8))  # a port of three neurons will be sent seven values

    monkeypatch.setattr(lava_session, "write_messages", corrupt)
    started = time.monotonic()
    with pytest.raises(BackendError, match="^Lava failed: .*Error"):
        run(time_limit=30)
    assert time.monotonic() - started < 30


def test_unreadable_messages_are_an_error_not_a_hang(traces, monkeypatch):
    monkeypatch.setattr(lava_session, "write_messages", lambda *args: args[-1].write_bytes(b"no array"))
    with pytest.raises(BackendError, match="^Lava failed: .*(pickle|Error|magic)"):
        run(time_limit=100)


def test_crash_of_the_worker_before_lava_starts(traces, monkeypatch):
    monkeypatch.setattr(lava_session.netx, "save", lambda network, path: path.write_bytes(b"no network"))
    with pytest.raises(BackendError, match="^Lava failed: .*not HDF5"):
        run(time_limit=100)


def test_killed_process_model_is_an_error_not_a_hang(traces, monkeypatch):
    # As the kernel does when memory runs out: no traceback anywhere.
    calls = []

    samples_done = lava_session._samples_done

    def kill_one(folder):
        forks = [pid for pid, what in of_session(traces[0]).items() if "lava.worker" in what[2] and pid != traces[0]]
        if forks and samples_done(folder) and not calls:
            calls.append(forks[-1])
            os.kill(forks[-1], signal.SIGKILL)
        return 0

    monkeypatch.setattr(lava_session, "_samples_done", kill_one)
    with pytest.raises(BackendError, match="^Lava failed"):
        run(samples=20_000, time_limit=40)
    assert calls


CALLER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("supervision", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.run(steps=200_000, samples=1)
"""


@pytest.fixture
def caller(tmp_path):
    """A Python process in the middle of a Lava run, and the session of its worker."""
    before = segments()
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", CALLER, __file__],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        # Shells start background jobs, this test among them, with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

    def workers():
        return {pid: what for pid, what in processes().items() if f"lava.worker {tmp_path}" in what[2]}

    def running():
        # The worker, Lava's runtime service and its ProcessModels; the first array file appears when these have started.
        return (len(workers()) > 6 and list(tmp_path.glob("rmp-lava-*/counts*.npy"))) or process.poll() is not None

    try:
        assert eventually(running, 60) and process.poll() is None
        sessions = {what[0] for what in workers().values()}
        assert len(sessions) == 1
        yield process, sessions.pop()
        assert workers() == {}
        assert left_behind(before) == set()
    finally:
        process.kill()
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def test_interrupt_ends_everything(caller, tmp_path):
    process, session = caller
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=40)[1]
    assert of_session(session) == {}
    assert list(tmp_path.iterdir()) == []


def test_worker_ends_by_itself_when_its_parent_is_killed(caller):
    process, session = caller
    process.kill()
    process.wait()
    assert eventually(lambda: not of_session(session), 30), of_session(session)
