"""Run a job on Lava: its folder, the child process that is always ended, and what comes back. Imports no Lava.

Networks and circuits, on the CPU simulator and on a board, all run this way: Lava forks, hangs and waits for ever (see `worker`).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ... import netx
from ...choices import Backend
from ...encoding import Encoder, encode
from ...errors import BackendError
from ...network import INPUT, SpikingNetwork, populations
from ...progress import Progress
from ...readout import needs_potential, output
from ...registers import to_state_units
from ...results import Run
from ...schedule import Schedule
from ..batches import Part, join
from ..board import Board
from ..circuit import Circuit, Recording
from .job import (
    DONE,
    ERROR,
    JOB,
    LOG,
    MESSAGES,
    MORE_SPACE,
    NETWORK,
    RESULT,
    Job,
    NetworkTask,
    Outcome,
    Target,
    array_path,
    ending,
)
from .template import Worker

_POLL_SECONDS = 0.05
_MOST_READ = 2**16
"""Bytes of a log."""


def run_network(
    network: SpikingNetwork,
    images: np.ndarray,
    job: Job,
    *,
    backend: Backend,
    record: Collection[str] = (),
    seed: int = 0,
    time_limit: float | None = None,
    progress: bool = False,
    note: str = "",
) -> Run:
    """Run samples through a network; `job` has a `NetworkTask`, and `note` is appended to `Run.execution`.

    Raises
    ------
    BackendError
        If Lava fails or the time limit (seconds) passes. Nothing is left running, not even after Ctrl-C.
    """
    task, parts, seconds = _network_task(job), [], 0.0
    # Lava's sigma-delta Processes are not reset: each sample is a run of its own.
    groups = [images[i : i + 1] for i in range(len(images))] if network.is_sigma_delta else [images]
    for group in groups:
        some = replace(job, task=replace(task, samples=len(group)))
        with finished(network, group, some, seed=seed, time_limit=time_limit, progress=progress) as (folder, outcome):
            parts.append(_collected(network, folder, task, record))
        seconds += outcome.seconds
    return join(
        task.plan,
        parts,
        backend=backend,
        execution=outcome.execution + note,
        implementation=task.implementation,
        seconds=seconds,
    )


def run_circuit(
    circuit: Circuit, time_limit: float | None, target: Target = "cpu", board: Board | None = None
) -> Recording:
    """Run a circuit; states come back from the simulator only.

    Raises
    ------
    BackendError
        As `run_network`.
    """
    with _folder(Job(circuit, target, board)) as folder:
        outcome = supervise(folder, 1, time_limit)
        found: dict[str, dict[str, np.ndarray]] = {"spikes": {}, "membrane": {}}
        for i, cells in enumerate(circuit.cells):
            for kind, arrays in found.items():
                if array_path(folder, kind, i).is_file():
                    arrays[cells.name] = _load(folder, kind, i)[0].astype(np.int64)
    return Recording(found["spikes"], found["membrane"], outcome.execution)


@contextlib.contextmanager
def finished(
    network: SpikingNetwork,
    images: np.ndarray,
    job: Job,
    *,
    seed: int = 0,
    time_limit: float | None = None,
    progress: bool = False,
) -> Iterator[tuple[Path, Outcome]]:
    """Run samples through a network; the folder with the results exists within the `with` block."""
    task = _network_task(job)
    with _folder(job) as folder:
        netx.save(network, folder / NETWORK)
        write_messages(network, images, task.plan, seed, folder / MESSAGES)
        yield folder, supervise(folder, task.samples, time_limit, progress)


def _network_task(job: Job) -> NetworkTask:
    if isinstance(job.task, Circuit):
        raise TypeError("the job has a circuit; run it with run_circuit")
    return job.task


@contextlib.contextmanager
def _folder(job: Job) -> Iterator[Path]:
    """A folder that only this user can open, with a job in it."""
    with contextlib.ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rmp-lava-")))
            (folder / JOB).write_bytes(pickle.dumps(job))
        except OSError as error:
            raise BackendError(f"there is no room for Lava's files ({error.strerror}); {MORE_SPACE}") from None
        yield folder


def probed_layers(network: SpikingNetwork, record: Collection[str]) -> tuple[str, ...]:
    """Layers whose final potentials are read: those that are recorded, and a read-out whose output needs its own."""
    if "potentials" in record:
        return tuple(layer.name for layer in network)
    return (network.output.name,) if needs_potential(network) else ()


def write_messages(network: SpikingNetwork, images: np.ndarray, plan: Schedule, seed: int, path: Path) -> None:
    """Write what the input sends for each image, (samples, steps, *input shape); a constant message only once."""
    constant = Encoder(network.input, images[:1], plan.steps, seed=seed).is_constant
    steps = 1 if constant else plan.steps
    first = encode(network.input, images[:1], plan.steps, seed=seed)
    header = np.lib.format.header_data_from_array_1_0(first[0, :steps])
    header |= {"shape": (len(images), steps, *network.input.shape), "fortran_order": False}
    # Sample by sample into an ordinary file: a full disk raises an error there, but would kill the process in a memmap.
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for i in range(len(images)):
                messages = encode(network.input, images[i : i + 1], plan.steps, seed=seed, first_sample=i)
                file.write(np.ascontiguousarray(messages[0, :steps]).tobytes())
    except OSError as error:
        raise BackendError(
            f"the messages for Lava cannot be written to {path.parent} ({error.strerror}); {MORE_SPACE}"
        ) from None


def supervise(folder: Path, samples: int, time_limit: float | None, progress: bool = False) -> Outcome:
    """Start the worker, wait for it, and leave no process behind, whatever happens.

    Parameters
    ----------
    folder : pathlib.Path
        Holds the job and takes its results; the worker writes the outcome last.
    samples : int
        For the progress bar.
    time_limit : float or None
        Seconds.

    Raises
    ------
    BackendError
        If the worker fails or the time limit passes.
    """
    worker = Worker(folder)
    try:
        deadline = None if time_limit is None else time.monotonic() + time_limit
        with Progress("Lava", samples, shown=progress) as bar:
            while not worker.wait(_POLL_SECONDS):
                if deadline is not None and time.monotonic() > deadline:
                    raise BackendError(
                        f"Lava did not finish within the time limit of {time_limit:g} s and was ended; "
                        "raise the limit, or run fewer samples or steps"
                    )
                bar.update(_samples_done(folder))
    finally:
        worker.end()
    if worker.returncode != 0 or not (folder / RESULT).is_file():
        raise BackendError(f"Lava failed: {_failure(folder, worker.returncode or 0)}")
    outcome: Outcome = pickle.loads((folder / RESULT).read_bytes())
    return outcome


def _failure(folder: Path, code: int) -> str:
    """Why the worker failed, in its own words; otherwise the signal that ended it, or the last line that it printed."""
    said, printed = (_lines(folder / name) for name in (ERROR, LOG))
    if said or code < 0:
        return " ".join(said) or f"its process {ending(code)}"
    if code > 1:
        return f"it cannot write to {folder} ({os.strerror(code)}); {MORE_SPACE}"
    return printed[-1] if printed else "it ended without a message"


def _lines(path: Path) -> list[str]:
    """The last lines of a file, which may be long; none of what is no file."""
    if not path.is_file():
        return []
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MOST_READ))
        return file.read(_MOST_READ).decode(errors="replace").strip().splitlines()
    return []


def _samples_done(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError, EOFError):
        return int(np.load(folder / DONE, mmap_mode="r", allow_pickle=False)[0])
    return 0


def _load(folder: Path, kind: str, index: int) -> np.ndarray:
    array: np.ndarray = np.load(array_path(folder, kind, index), allow_pickle=False)
    return array


def _collected(network: SpikingNetwork, folder: Path, task: NetworkTask, record: Collection[str]) -> Part:
    """What a finished job's files hold; populations that nothing observed have no counts in it."""
    names = [INPUT, *(layer.name for layer in network)]

    def read(kind: str) -> dict[str, np.ndarray]:
        present = {name: i for i, name in enumerate(names) if array_path(folder, kind, i).is_file()}
        return {name: _load(folder, kind, i) for name, i in present.items()}

    counts, last, crossing, potentials = (read(kind) for kind in ("counts", "last", "crossing", "membrane"))
    sent = read("sums") if network.is_sigma_delta or network.is_graded else counts
    soft = {
        each.name for each in populations(network) if task.implementation == "stock" and each.neurons.reset == "soft"
    }
    for name in soft & potentials.keys():
        # The self-synapse's subtraction for the last step's spike is still on its way.
        potentials[name] = potentials[name] - last[name] * to_state_units(int(network[name].neurons.threshold))
    name = network.output.name
    scores = output(network, sent.get(name), potentials.get(name), task.plan.steps)
    part = Part(output=scores.reshape(len(scores), -1))
    part.count_messages(network, counts, record)
    part.count_updates(network, task.plan.steps, len(scores))
    part.boundary_spikes = {
        name: int(crossed.reshape(len(scores), -1).any(axis=1).sum())
        for name, crossed in crossing.items()
        if name in soft
    }
    part.spikes = read("spikes")
    part.potentials = potentials if "potentials" in record else {}
    return part
