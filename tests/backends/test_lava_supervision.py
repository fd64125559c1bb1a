"""Whatever happens to a Lava run, it leaves nothing: no process, no shared memory, no folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import rmp_lava
from rmp_lava.backends.lava import session as lava_session, template
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
    """pid -> (session, parent, command line) of every running process that is not a zombie."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if state != "Z":
                found[int(entry.name)] = (int(session), int(parent), command)
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


def children(parent):
    return {pid: what for pid, what in processes().items() if what[1] == parent}


@pytest.fixture
def tmp_path():
    """Short, unlike pytest's: the names of multiprocessing's sockets below it have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="t", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def traces(tmp_path, monkeypatch):
    """A temporary folder of its own, the workers, and a check that nothing but the template is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = segments()
    workers = []

    class Recorded(lava_session.Worker):
        def __init__(self, folder):
            super().__init__(folder)
            workers.append(self)

    monkeypatch.setattr(lava_session, "Worker", Recorded)
    yield workers
    assert workers
    for worker in workers:
        assert worker.pid is None or of_session(worker.pid) == {}
        assert children(worker._template.process.pid) == {}
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
    assert time.monotonic() - started < 8 + 2 * template.GRACE_SECONDS + 10


def test_time_limit_that_passes_before_lava_has_started(traces):
    template._end()  # of the tests before: the time limit passes while a new template imports Lava
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


def test_a_failure_on_a_full_disk_is_an_error_not_a_hang(traces, monkeypatch):
    def fill(network, images, plan, seed, path):
        for name in ("error.txt", "log.txt"):
            (path.parent / name).symlink_to("/dev/full")
        path.write_bytes(b"no array")

    monkeypatch.setattr(lava_session, "write_messages", fill)
    with pytest.raises(BackendError, match=r"^Lava failed: it cannot write to .*No space left on device.* TMPDIR"):
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
        worker = traces[0].pid
        forks = [pid for pid, what in of_session(worker).items() if "lava.worker" in what[2] and pid != worker]
        if forks and samples_done(folder) and not calls:
            calls.append(forks[-1])
            os.kill(forks[-1], signal.SIGKILL)
        return 0

    monkeypatch.setattr(lava_session, "_samples_done", kill_one)
    with pytest.raises(
        BackendError, match=r"^Lava failed: a ProcessModel was ended by signal 9 \(Killed\), as .* memory"
    ):
        run(samples=20_000, time_limit=40)
    assert calls


def test_killed_worker_leaves_the_template_to_the_next_run(traces, monkeypatch):
    def kill(folder):
        if traces[0].pid in processes():
            os.kill(traces[0].pid, signal.SIGKILL)
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(lava_session, "_samples_done", kill)
        with pytest.raises(
            BackendError, match=r"^Lava failed: its process was ended by signal 9 \(Killed\), as .* memory"
        ):
            run(samples=20_000, time_limit=40)
    assert traces[0].returncode == -signal.SIGKILL
    assert run().samples == 2
    assert traces[0]._template is traces[1]._template


def test_killed_template_ends_the_run_and_is_replaced(traces, monkeypatch):
    def kill(folder):
        traces[0]._template.kill()
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(lava_session, "_samples_done", kill)
        with pytest.raises(BackendError, match="^Lava failed"):
            run(samples=20_000, time_limit=40)
    assert run().samples == 2


def test_runs_in_threads_share_the_template(traces):
    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(lambda steps: run(steps=steps), (3, 4))
    assert one == run(steps=3) and two == run(steps=4)
    assert len({worker.pid for worker in traces}) == 4 and len({worker._template for worker in traces}) == 1


OWN = """
import json, os, sys, threading
import numpy as np
here = {"file": __file__, "cwd": os.getcwd(), "variable": os.environ.get("RMP_LAVA_TEST"), "tmpdir": os.environ["TMPDIR"]}
here |= {"random": np.random.random(), "session": os.getsid(0) == os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}
here |= {"files": sorted(os.listdir("/proc/self/fd")), "torch": "torch" in sys.modules}
raise ImportError(json.dumps(here))
"""


def test_each_worker_has_the_environment_of_its_run(traces, tmp_path, monkeypatch):
    found = []
    for name, variable in (("a", "1"), ("b", "1"), ("b", "2")):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "own.py").write_text(OWN)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("RMP_LAVA_TEST", variable)
        with pytest.raises(BackendError) as error:
            run(neuron_program="own:Model")
        found.append(json.loads(re.search(r"\{.*\}", str(error.value))[0]))
        assert found[-1]["file"] == str(folder / "own.py") and found[-1]["cwd"] == str(folder)
        assert found[-1]["variable"] == variable and found[-1]["threads"] == "1"
        assert found[-1]["session"] and not found[-1]["torch"]
        # What the template opened for itself and for other workers is closed: the rest is Python's and the listing's own.
        assert len(found[-1]["files"]) <= 5
    assert all(Path(each["tmpdir"]).parent == tmp_path for each in found)
    assert len({each["tmpdir"] for each in found}) == len({each["random"] for each in found}) == 3
    assert traces[0]._template is traces[1]._template is not traces[2]._template
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")


def test_the_users_folders_may_hold_modules_of_pythons_names_and_be_long(tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise RuntimeError('of the user')")
    monkeypatch.chdir(tmp_path)
    long = tmp_path / ("ü" * 50)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    template._end()
    assert run(time_limit=120).samples == 2
    assert not list(long.iterdir())


# The forked child outlives the caller, and must not keep a template alive.
CALLER = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("supervision", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.run()
if os.fork() == 0:
    os.read(0, 1)
    os._exit(0)
module.run(steps=200_000, samples=1)
"""


@pytest.fixture
def caller(tmp_path):
    """A Python process in the middle of a Lava run, and the sessions of its template and its worker."""
    before = segments()
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", CALLER, __file__],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells start background jobs, this test among them, with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    found = []

    def running():
        # The worker, Lava's runtime service and its ProcessModels; the first array file appears when these have started.
        forked = children(process.pid)  # the template, and after the first run the caller's own
        found[:] = [pid for pid, what in forked.items() if "lava.worker" in what[2]]
        found.extend(children(found[0]) if found else ())
        of_worker = of_session(found[-1]) if len(forked) == len(found) == 2 else ()
        return (len(of_worker) > 6 and list(tmp_path.glob("rmp-lava-*/counts*.npy"))) or process.poll() is not None

    try:
        assert eventually(running, 60) and process.poll() is None
        yield process, found
        assert all(of_session(session) == {} for session in found)
        assert left_behind(before) == set()
    finally:
        process.kill()
        for session in found:
            for pid in of_session(session):
                os.kill(pid, signal.SIGKILL)
        process.stdin.close()
        process.wait()
        process.stderr.close()


def test_interrupt_ends_everything(caller, tmp_path):
    process, found = caller
    process.send_signal(signal.SIGINT)
    process.wait(timeout=40)
    assert all(of_session(session) == {} for session in found)
    assert list(tmp_path.iterdir()) == []
    process.stdin.close()  # ends the forked child, which has standard error, too
    assert "KeyboardInterrupt" in process.stderr.read()


def test_template_and_worker_end_by_themselves_when_their_parent_is_killed(caller):
    process, found = caller
    process.kill()
    process.wait()
    assert eventually(lambda: not any(of_session(session) for session in found), 30)
