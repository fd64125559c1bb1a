"""A job for Lava: its folder, the child process that runs it and is always ended, and what it leaves.

Both the CPU simulator (`simulator`) and a board (`loihi2`) run so: Lava forks, hangs and waits for ever (`lava_worker`).
"""

from __future__ import annotations

import contextlib
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
from typing import Any

import numpy as np

from ... import netx
from ...encoding import encode
from ...errors import BackendError
from ...network import INPUT, SpikingNetwork, populations
from ...progress import Progress
from ...registers import to_state_units
from ...results import Run
from ...schedule import Schedule
from ..batches import Part, join

GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_WORKER = "rmp_lava.backends.lava.worker"
_LONGEST_FOLDER = 72
"""Multiprocessing's sockets below it ("/pymp-xxxxxxxx/listener-xxxxxxxx") must stay within 107 bytes."""


@contextlib.contextmanager
def job_folder(network: SpikingNetwork, plan: Schedule, job: dict[str, Any]) -> Iterator[Path]:
    """A folder with the network and the job's description; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="rmp-lava-") as name:
        folder = Path(name)
        netx.save(network, folder / "network.net")
        (folder / "job.json").write_text(json.dumps({"schedule": asdict(plan)} | job))
        yield folder


def probed_layers(network: SpikingNetwork, record: Collection[str]) -> list[str]:
    """Layers whose final potentials are read: those that are recorded, and a read-out by potential."""
    probed = [layer.name for layer in network] if "potentials" in record else []
    if network.readout == "potential" and network.output.name not in probed:
        probed.append(network.output.name)
    return probed


def write_messages(network: SpikingNetwork, images: np.ndarray, plan: Schedule, seed: int, path: Path) -> None:
    """Write what the input sends for each image; a constant message once."""
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


def supervise(
    folder: Path, samples: int, time_limit: float | None, progress: bool = False, *, worker_module: str = _WORKER
) -> dict:
    """Start the worker, wait for it, and leave no process behind, whatever happens.

    Parameters
    ----------
    folder : pathlib.Path
        With the job, and for its results; the worker writes `result.json` last.
    samples : int
        For the progress bar.
    time_limit : float or None
        Seconds.
    worker_module : str
        Called with the folder as argument; see `lava_worker.serve`.

    Returns
    -------
    dict
        Content of `result.json`.

    Raises
    ------
    BackendError
        If the worker fails or the time limit passes.
    """
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    package_root = str(Path(__file__).resolve().parents[3])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    if len(str(folder)) <= _LONGEST_FOLDER:
        environment["TMPDIR"] = str(folder)  # what multiprocessing leaves behind then goes with the run's folder
    with open(folder / "log.txt", "wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", worker_module, str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        deadline = None if time_limit is None else time.monotonic() + time_limit
        with Progress("Lava", samples, shown=progress) as bar:
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


def collect(
    network: SpikingNetwork,
    plan: Schedule,
    folder: Path,
    record: Collection[str],
    **description: Any,
) -> Run:
    """The `Run` that a finished job's files describe; layers that nothing observed have no counts in it."""
    names = [INPUT, *(layer.name for layer in network)]

    def read(kind: str) -> dict[str, np.ndarray]:
        paths = {name: folder / f"{kind}{i}.npy" for i, name in enumerate(names)}
        return {name: np.load(path, allow_pickle=False) for name, path in paths.items() if path.is_file()}

    counts, last, crossing, potentials = (read(kind) for kind in ("counts", "last", "crossing", "membrane"))
    stock = description["implementation"] == "stock"
    for name in potentials if stock else ():
        neurons = network[name].neurons
        if neurons.reset == "soft":
            # The self-synapse's subtraction for the last step's spike is still under way.
            potentials[name] = potentials[name] - last[name] * to_state_units(int(neurons.threshold))
    output = network.output.name
    scores = counts[output] if network.readout == "count" else potentials[output]
    part = Part(output=scores.reshape(len(scores), -1))
    part.count_messages(network, counts, record)
    part.neuron_updates = {each.name: each.size * plan.steps * len(scores) for each in populations(network)}
    if stock:
        part.boundary_spikes = {
            each.name: int(crossing[each.name].reshape(len(scores), -1).any(axis=1).sum())
            for each in populations(network)
            if each.neurons.reset == "soft" and each.name in crossing
        }
    part.spikes = read("spikes")
    part.potentials = potentials if "potentials" in record else {}
    return join(plan, [part], **description)
