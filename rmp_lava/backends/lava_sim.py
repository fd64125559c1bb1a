"""Backend `lava`: the Lava CPU simulator, run in a process group of its own and always ended with it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .. import netx
from ..encoding import encode
from ..errors import BackendError, BackendUnavailableError
from ..network import INPUT, SpikingNetwork
from ..neuron import STATE_SHIFT
from ..progress import Progress
from ..results import Run
from ..schedule import Schedule
from .parts import count_messages, empty_part, join, populations

GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_LONGEST_FOLDER = 72
"""Multiprocessing's sockets below it ("/pymp-xxxxxxxx/listener-xxxxxxxx") must stay within 107 bytes."""


def availability() -> str | None:
    """Why Lava cannot run here, or None if it can."""
    if sys.version_info[:2] != (3, 10):
        return (
            f"Lava 0.10 runs on Python 3.10 only, and this is {sys.version_info[0]}.{sys.version_info[1]}; "
            "make a Python 3.10 environment (make demo does) and pip install '.[lava]' there"
        )
    if importlib.util.find_spec("lava") is None or importlib.util.find_spec("lava.magma") is None:
        return "Lava is not installed; pip install '.[lava]' in the checkout"
    return None


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    plan: Schedule,
    *,
    seed: int = 0,
    realisation: str = "native",
    record: Collection[str] = (),
    time_limit: float | None = None,
    conv_model: str = "blas",
    progress: bool = False,
) -> Run:
    """Run samples, one after the other through one compiled network; see `rmp_lava.run`.

    Raises
    ------
    BackendUnavailableError
        If Lava is not installed for this Python.
    BackendError
        If Lava fails or the time limit passes; nothing is left running, as after Ctrl-C.
    """
    reason = availability()
    if reason:
        raise BackendUnavailableError(f"backend 'lava' cannot run: {reason}")
    if realisation == "stock" and not network.is_integer:
        raise BackendError("stock neurons exist in integers only; quantise the network first")
    names = [INPUT, *(layer.name for layer in network)]
    probed = [layer.name for layer in network] if "potentials" in record else []
    if network.readout == "potential" and network.output.name not in probed:
        probed.append(network.output.name)
    with tempfile.TemporaryDirectory(prefix="rmp-lava-") as name:
        folder = Path(name)
        netx.save(network, folder / "network.net")
        _write_messages(network, images, plan, seed, folder / "messages.npy")
        job = {
            "schedule": asdict(plan),
            "realisation": realisation,
            "conv_model": conv_model,
            "samples": len(images),
            "record_spikes": "spikes" in record,
            "probed": probed,
        }
        (folder / "job.json").write_text(json.dumps(job))
        outcome = _supervise(folder, len(images), time_limit, progress)
        return _collect(network, plan, folder, names, probed, realisation, record, outcome)


def _write_messages(network: SpikingNetwork, images: np.ndarray, plan: Schedule, seed: int, path: Path) -> None:
    constant = network.input.encoding in ("rate", "current")
    steps = 1 if constant else plan.steps
    first = encode(network.input, images[:1], plan.steps, seed=seed)
    header = np.lib.format.header_data_from_array_1_0(first[0, :steps])
    header |= {"shape": (len(images), steps, *network.input.shape), "fortran_order": False}
    # Sample by sample into an ordinary file: a full disk is an error there, and the end of the process in a memmap.
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for i in range(len(images)):
                messages = encode(network.input, images[i : i + 1], plan.steps, seed=seed, first_sample=i)
                file.write(np.ascontiguousarray(messages[0, :steps]).tobytes())
    except OSError as error:
        raise BackendError(f"the messages for Lava cannot be written to {path.parent} ({error.strerror})") from None


def _supervise(folder: Path, samples: int, time_limit: float | None, progress: bool) -> dict:
    """Start the worker, wait for it, and leave no process behind, whatever happens."""
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    package_root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    if len(str(folder)) <= _LONGEST_FOLDER:
        environment["TMPDIR"] = str(folder)  # what multiprocessing leaves behind then goes with the run's folder
    with open(folder / "log.txt", "wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "rmp_lava.backends.lava_worker", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        deadline = None if time_limit is None else time.monotonic() + time_limit
        with Progress("Lava simulation", samples, shown=progress) as bar:
            while worker.poll() is None:
                if deadline is not None and time.monotonic() > deadline:
                    raise BackendError(
                        f"Lava did not finish within the time limit of {time_limit:g} s and was ended; "
                        "raise the limit, or run fewer samples or steps"
                    )
                time.sleep(_POLL_SECONDS)
                bar.update(_samples_done(folder))
    finally:
        _end_group(worker)
    if worker.returncode != 0 or not (folder / "result.json").is_file():
        raise BackendError(f"Lava failed: {_failure(folder)}")
    return json.loads((folder / "result.json").read_text())


def _failure(folder: Path) -> str:
    """The worker's own word on why it failed, or the last line that it printed."""
    for name in ("error.txt", "log.txt"):
        with contextlib.suppress(OSError):
            lines = (folder / name).read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1] if name == "log.txt" else " ".join(lines)
    return "it ended without a message"


def _samples_done(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError, EOFError):
        return int(np.load(folder / "done.npy", mmap_mode="r", allow_pickle=False)[0])
    return 0


def _end_group(worker: subprocess.Popen) -> None:
    """End the worker and everything it forked.

    SIGTERM first: Python's resource tracker ignores it and so stays to remove Lava's shared memory.
    """
    for sign, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        deadline = time.monotonic() + patience
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, sign)
            while time.monotonic() < deadline:
                worker.poll()
                os.killpg(worker.pid, 0)
                time.sleep(_POLL_SECONDS)
    worker.wait()
    worker.stdin.close()


def _collect(
    network: SpikingNetwork,
    plan: Schedule,
    folder: Path,
    names: list[str],
    probed: list[str],
    realisation: str,
    record: Collection[str],
    outcome: dict,
) -> Run:
    def read(kind: str) -> Iterator[tuple[str, np.ndarray]]:
        for i, name in enumerate(names):
            if (folder / f"{kind}{i}.npy").is_file():
                yield name, np.load(folder / f"{kind}{i}.npy", allow_pickle=False)

    counts, last, crossing = (dict(read(kind)) for kind in ("counts", "last", "crossing"))
    potentials = dict(read("membrane"))
    neuron = "native RMP" if realisation == "native" else "unmodified LIF with self-synapse"
    if realisation == "stock":
        for name in probed:
            neurons = network[name].neurons
            if neurons.reset == "soft":
                # The self-synapse's subtraction for the last step's spike is still under way.
                potentials[name] = potentials[name] - (last[name] * (int(neurons.threshold) << STATE_SHIFT))
    output = network.output.name
    scores = counts[output] if network.readout == "count" else potentials[output]
    part = empty_part()
    count_messages(part, network, counts, record)
    part["neuron_updates"] = {each.name: each.size * plan.steps * len(scores) for each in populations(network)}
    if realisation == "stock":
        part["boundary_spikes"] = {
            each.name: int(crossing[each.name].reshape(len(scores), -1).any(axis=1).sum())
            for each in populations(network)
            if each.neurons.reset == "soft"
        }
    part["spikes"] = dict(read("spikes"))
    part["potentials"] = potentials if "potentials" in record else {}
    part["output"] = scores.reshape(len(scores), -1)
    return join(
        plan,
        [part],
        backend="lava",
        execution=f"{outcome['execution']}, {neuron}",
        realisation=realisation,
        seconds=outcome["seconds"],
    )
