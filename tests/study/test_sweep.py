"""Sweeps, on real processes: what is measured, interruptions, lost workers and schedulers, and failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import rmp_lava
from rmp_lava.cli import app
from rmp_lava.errors import RmpLavaError
from rmp_lava.study.arrays import ARRAYS
from rmp_lava.study.cluster import MALLOC
from rmp_lava.study.grid import Plan
from rmp_lava.study.job import Job
from rmp_lava.study.jobs import execute
from rmp_lava.study.study import read_study
from rmp_lava.training.checkpoint import save_checkpoint
from rmp_lava.training.data import load, split_validation
from rmp_lava.training.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
needs_dask = pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="Dask is not installed: the extra cluster")
"""Found, not imported, because dask_jobqueue changes what Ctrl-C does."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """An untrained network: its accuracy does not matter, its spikes do."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("study") / "digits.pt"
    save_checkpoint(path, model_name="digits-cnn", model=MODELS["digits-cnn"].build(), metadata={"dataset": "digits"})
    return path


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command, in this process."""
    try:
        code = app(["sweep", *map(str, arguments)], standalone_mode=False) or 0
    except RmpLavaError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    return code, *capsys.readouterr()


def start(*arguments: object) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    call = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.Popen(call, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment)


def written(folder: Path, checkpoint: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(f"network = '{checkpoint}'\n{text}")
    return path


def test_counts_of_ranges_are_those_of_one_run(checkpoint, tmp_path, capsys):
    study = written(
        tmp_path, checkpoint, "images = [10, 75]\nblock = 30\ncalibration = 20\nat = [2, 4]\n"
        "[grid]\nsteps = 4\nencoding = ['current', 'poisson']\nseed = [0, 5]\nform = ['integer', 'float']",
    )  # fmt: skip
    store, out = tmp_path / "store", tmp_path / "a.json"
    code, shown, err = run(
        capsys, study, "--store", store, "--json", out, "--csv", tmp_path / "a.csv", "--figures", tmp_path / "figures"
    )
    assert code == 0, err
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 4 and [len(row["accuracy"]) for row in rows] == [1, 1, 2, 2]
    digits = load("digits")
    training = split_validation(digits).train_images
    chosen = np.random.default_rng(0).permutation(len(training))[:20]
    some = np.random.default_rng(1).permutation(len(digits.test_images))[:75]
    model = rmp_lava.load_trained(str(checkpoint)).model
    for row in rows:
        conversion = rmp_lava.convert(model, training[chosen], steps=4, encoding=row["axes"]["encoding"], shuffle=False)
        network = conversion.integer if row["axes"]["form"] == "integer" else conversion.floating
        for seed, accuracy in zip((0, 5), row["accuracy"], strict=False):
            # Poisson spikes are those of the images in a run from the first one.
            whole = rmp_lava.run(network, digits.test_images[some], 4, seed=seed)
            right = (whole.predictions_at == digits.test_labels[some][:, None])[10:]
            assert accuracy == right.mean(axis=0).tolist()
    assert "T = 2" in shown and "±" in shown
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 4 * 4
    assert (tmp_path / "figures" / "study-digits.svg").is_file()
    # What is stored is asked for, and then not measured again; other blocks are, with the same outcome.
    code, _, err = run(capsys, study, "--store", store)
    assert code == 2 and "measurements already; pass --resume" in err
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    code, shown, _ = run(capsys, study, "--store", store, "--resume", "--json", "-")
    assert code == 0 and json.loads(shown)["rows"] == rows
    assert before == {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    study.write_text(study.read_text().replace("block = 30", "block = 13"))
    code, shown, err = run(capsys, study, "--store", store, "--dry-run")
    assert code == 0 and "39 jobs, 4 of them stored; about" in shown, shown
    code, shown, _ = run(capsys, study, "--store", store, "--resume", "--json", "-")
    assert code == 0 and json.loads(shown)["rows"] == rows


def save_arrays(path: Path, *arrays: np.ndarray) -> None:
    np.savez(path, **dict(zip(ARRAYS, arrays, strict=True)))


def test_own_arrays_are_measured_as_a_data_set_is(checkpoint, tmp_path, capsys):
    digits = load("digits")
    save_arrays(tmp_path / "d.npz", digits.train_images, digits.train_labels, digits.test_images, digits.test_labels)
    rows = []
    for data in ("digits", tmp_path / "d.npz"):
        study = written(
            tmp_path, checkpoint, f"data = '{data}'\nimages = [10, 75]\ncalibration = 20\n[grid]\nsteps = 4"
        )
        code, shown, err = run(capsys, study, "--store", tmp_path / str(len(rows)), "--json", "-")
        assert code == 0, err
        rows.append(json.loads(shown)["rows"])
    assert rows[0] == rows[1] and rows[0][0]["trained"] is not None


def test_events_and_a_function_of_the_user(tmp_path, capsys, monkeypatch):
    (tmp_path / "of_events.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef net():\n    torch.manual_seed(5)\n"
        "    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)).eval()\n"
    )
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    events, labels = random.poisson(0.4, (40, 6, 2, 5, 5)).astype(np.int8), random.integers(0, 3, 40)
    save_arrays(tmp_path / "e.npz", events, labels, events[:20], labels[:20])
    study = tmp_path / "s.toml"
    study.write_text("network = 'of_events:net'\ndata = 'e.npz'\ncalibration = 30\n[grid]\nsteps = 6\nwait = [0, 'T']")
    code, shown, err = run(capsys, study, "--store", tmp_path / "store", "--json", "-")
    assert code == 0, err
    trained = rmp_lava.load_trained("of_events:net").model
    right = trained(torch.from_numpy(events[:20].mean(axis=1, dtype=np.float32))).argmax(dim=1).numpy() == labels[:20]
    rows, networks = json.loads(shown)["rows"], [rmp_lava.load(net) for net in tmp_path.glob("store/network/*.net")]
    assert len(rows) == 2 and all(row["trained"] == right.mean() for row in rows)
    reached = {rmp_lava.run(each, events[:20], 6).accuracy(labels[:20]) for each in networks}
    assert {each.input.encoding for each in networks} == {"spikes"}
    assert reached == {row["accuracy"][0][-1] for row in rows}
    for grid, words in (
        ("steps = 5", "steps is 5, but the events of e.npz have 6 time steps; give steps = 6"),
        ("steps = 6\nencoding = 'poisson'", "encoding is 'poisson', but e.npz has events; leave encoding out"),
    ):
        study.write_text(f"network = 'of_events:net'\ndata = 'e.npz'\n[grid]\n{grid}")
        code, _, err = run(capsys, study, "--store", tmp_path / "other")
        assert code == 2 and words in err


def test_a_job_that_fails_is_named_and_the_others_go_on(checkpoint, tmp_path, capsys):
    other = tmp_path / "other.net"
    rmp_lava.save(rmp_lava.load(ROOT / "exports" / "reference" / "digits-soft.net"), other)
    study = written(
        tmp_path,
        checkpoint,
        f"images = 20\ncalibration = 10\nnets = {{ n = '{other}' }}\n[grid]\nsteps = 4\nweight_bits = [8, {{ conv9 = 4 }}]",
    )
    out = tmp_path / "a.json"
    code, shown, err = run(capsys, study, "--store", tmp_path / "store", "--json", out)
    result = json.loads(out.read_text())
    assert code == 1 and [row["network"] for row in result["rows"]] == ["digits", "n"]
    (failed,) = result["failed"]
    assert failed["settings"]["options"]["weight_bits"] == {"conv9": 4} and "'conv9'" in failed["error"]
    assert (
        "failed: network of network digits" in err
        and f"weight_bits {{'conv9': 4}}, form integer: {failed['error']}" in " ".join(shown.split())
    )
    # A network that has changed since is not the one that was measured.
    plan = Plan(read_study(study), tmp_path / "store")
    other.write_bytes(b"other")
    job = plan.simulations(plan.points[-1], *plan.net(plan.points[-1]))[0]
    changed = Job(job.function, job.settings | {"steps": 5}, job.places, job.about)
    assert "is missing or has changed" in execute(changed, str(tmp_path / "store"), 1).error


def test_a_network_waits_longer_than_the_steps_that_it_was_balanced_for(tmp_path, capsys):
    network = rmp_lava.load(ROOT / "exports" / "reference" / "digits-soft.net")
    rmp_lava.save(network.replace(balanced_steps=2), tmp_path / "n.net")
    study = tmp_path / "study.toml"
    study.write_text(f"nets = {{ n = '{tmp_path / 'n.net'}' }}\nimages = 10\n[grid]\nsteps = 4\nwait = [0, 'T']")
    code, shown, err = run(capsys, study, "--store", tmp_path / "store", "--json", "-")
    assert code == 0, err
    operations = [row["operations"] for row in json.loads(shown)["rows"]]
    images = load("digits").test_images[np.random.default_rng(1).permutation(450)[:10]]
    runs = [rmp_lava.run(network.replace(wait=wait), images, 4) for wait in (0, 4)]
    assert operations == [sum(each.sum() for each in one.synaptic_operations.values()) / 10 for one in runs]


def test_ctrl_c_keeps_what_is_done(tmp_path, capsys, monkeypatch):
    net = ROOT / "exports" / "reference" / "digits-soft.net"
    study, store = tmp_path / "study.toml", tmp_path / "store"
    study.write_text(f"nets = {{ n = '{net}' }}\nimages = 30\nblock = 10\n[grid]\nsteps = 2")

    def interrupted(*arguments):
        if measured(store) == 2:
            raise KeyboardInterrupt
        return execute(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("rmp_lava.study.pool.execute", interrupted)
        code, _, err = run(capsys, study, "--store", store)
    assert code == 130 and measured(store) == 2
    assert f"interrupted; what was measured is in {store}, continue with --resume" in err
    code, shown, _ = run(capsys, study, "--store", store, "--resume")
    assert code == 0 and "3 jobs, 2 of them stored; about" in shown and measured(store) == 3


def workers_of(process: subprocess.Popen) -> list:
    """Dask's worker processes below a process."""
    psutil = pytest.importorskip("psutil")
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def wait_for(ready, process: subprocess.Popen, seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def measured(store: Path) -> int:
    return len(list(store.glob("simulation/*.json")))


MANY = "images = 120\nblock = 10\ncalibration = 10\n[grid]\nsteps = 256\nencoding = 'poisson'\nmethod = 'paper'\nseed = [0, 1]"


@needs_dask
def test_after_lost_workers_and_a_lost_scheduler_the_table_is_that_of_one_process(checkpoint, tmp_path, capsys):
    psutil = pytest.importorskip("psutil")
    study, store = written(tmp_path, checkpoint, MANY), tmp_path / "store"
    process = start("rmp_lava", "sweep", study, "--store", store, "--cluster", "local:3")
    wait_for(lambda: measured(store) >= 2, process)
    workers = workers_of(process)
    assert len(workers) == 3 and all(MALLOC.keys() <= worker.environ().keys() for worker in workers)
    workers[0].kill()
    lost = measured(store)
    wait_for(lambda: measured(store) >= lost + 3, process)
    workers += workers_of(process)
    process.send_signal(signal.SIGKILL)  # with it goes the scheduler
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    some = measured(store)
    assert 5 <= some < 24
    code, shown, _ = run(capsys, study, "--store", store, "--resume", "--json", "-")
    assert code == 0 and measured(store) == 24
    code, one, _ = run(capsys, study, "--store", tmp_path / "one", "--json", "-")
    assert code == 0 and shown == one


@needs_dask
def test_a_running_scheduler_is_used_and_its_loss_is_said(checkpoint, tmp_path, capsys):
    study, store = written(tmp_path, checkpoint, MANY), tmp_path / "store"
    places = tmp_path / "scheduler.json"
    options = ("--scheduler-file", places, "--no-dashboard")
    scheduler = start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", 0, *options)
    worker = start("distributed.cli.dask_worker", *options, "--nthreads", 1, "--no-nanny", "--death-timeout", 200)
    try:
        wait_for(places.is_file, scheduler)
        address = json.loads(places.read_text())["address"]
        process = start("rmp_lava", "sweep", study, "--store", store, "--cluster", address)
        wait_for(lambda: measured(store) >= 2, process)
        scheduler.kill()
        out, err = process.communicate(timeout=400)
        assert process.returncode == 2 and "workers on tcp://" in out
        assert "error: the connection to the scheduler is lost; what was measured is kept" in err, err
    finally:
        scheduler.kill()
        worker.kill()
        for each in (scheduler, worker):
            each.communicate()
    assert 2 <= measured(store) < 24
    code, _, err = run(capsys, study, "--store", store, "--resume", "--cluster", address)
    assert code == 2 and "no scheduler answers at tcp://" in err


@needs_dask
def test_a_batch_system_gets_a_script(checkpoint, tmp_path, capsys):
    study = written(
        tmp_path, checkpoint,
        "[cluster]\nthreads = 4\nmemory = '8GB'\nqueue = 'cpu'\naccount = 'lab'\nwalltime = '02:00:00'\n"
        "directives = ['--constraint=avx512']\nprologue = ['source env/bin/activate']",
    )  # fmt: skip
    before = signal.getsignal(signal.SIGINT)
    code, script, _ = run(capsys, study, "--cluster", "slurm", "--print-script")
    assert code == 0 and signal.getsignal(signal.SIGINT) is before
    lines = ["#SBATCH -p cpu", "#SBATCH -A lab", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=8G", "#SBATCH -t 02:00:00"]
    lines += ["#SBATCH --constraint=avx512", "export OMP_NUM_THREADS=4", "source env/bin/activate"]
    lines += [f"export {name}={value}" for name, value in MALLOC.items()]
    assert set(lines) <= set(script.splitlines())
    assert f"{sys.executable} -m distributed.cli.dask_worker" in script and "--nthreads 1 --memory-limit" in script
    code, script, _ = run(capsys, study, "--cluster", "pbs", "--print-script")
    assert code == 0 and "#PBS -q cpu" in script
    for place, words in (
        ("local", "--print-script is for batch systems"),
        ("slrum", "--cluster is 'slrum'; choose local"),
    ):
        code, _, err = run(capsys, study, "--cluster", place, "--print-script")
        assert code == 2 and words in err
    study.write_text(study.read_text().replace("memory = '8GB'", ""))
    code, _, err = run(capsys, study, "--cluster", "slurm", "--print-script")
    assert code == 2 and "slurm cannot be used without the memory of a worker; give memory in [cluster]" in err
