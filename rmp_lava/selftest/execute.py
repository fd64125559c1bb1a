"""The one place where a rung meets a backend: a circuit or a network goes in, a `Recording` comes out."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..backends import BackendOptions, Lava, loihi2, run
from ..backends import Loihi2 as OnBoard
from ..backends.board import Board
from ..backends.circuit import Circuit, Recording
from ..backends.lava import simulator
from ..backends.lava.job import supervise
from ..errors import BackendUnavailableError, UsageError
from ..network import SpikingNetwork

WORKER = "rmp_lava.selftest.worker"


@dataclass(frozen=True, eq=False)
class Trial:
    """A whole network on samples, in its deployed form: stock neurons, a period that is a power of two.

    Parameters
    ----------
    network : SpikingNetwork
        Integers.
    images : numpy.ndarray
        (samples, *input shape) in [0, 1].
    steps : int
        T.
    """

    network: SpikingNetwork
    images: np.ndarray
    steps: int

    def on(self, backend: BackendOptions) -> Recording:
        """What a backend of `rmp_lava.run` makes of it."""
        result = run(
            self.network,
            self.images,
            self.steps,
            backend,
            power_of_two=True,
            record=("spikes", "potentials"),
        )
        return Recording(
            {layer.name: result.spikes[layer.name] for layer in self.network},
            {layer.name: result.potentials[layer.name] for layer in self.network},
            result.execution,
        )


class Executor(Protocol):
    """What runs rungs. `backend` is its name, `board` what a backend on hardware runs on."""

    backend: str
    board: Board | None

    def circuit(self, circuit: Circuit, time_limit: float) -> Recording:
        """Run a circuit; raises BackendError after `time_limit` seconds."""

    def network(self, trial: Trial, time_limit: float) -> Recording:
        """Run a network on samples; raises BackendError after `time_limit` seconds."""


def run_circuit(circuit: Circuit, target: str, time_limit: float, board: Board | None = None) -> Recording:
    """Run a circuit on Lava in a process group of its own; `target` and `board` as `lava_ends.ends_of` takes them."""
    job = {"circuit": circuit.summary(), "target": target, "board": None if board is None else asdict(board)}
    with tempfile.TemporaryDirectory(prefix="rmp-lava-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        found = supervise(folder, 1, time_limit, worker_module=WORKER)
    spikes = {each: np.array(values, dtype=np.int64) for each, values in found["spikes"].items()}
    currents = {each: np.array(values, dtype=np.int64) for each, values in found["currents"].items()}
    return Recording(spikes, currents, found["execution"])


class LavaSimulator:
    """Lava's unmodified models on the CPU simulator."""

    backend = "lava"
    board = None

    def circuit(self, circuit: Circuit, time_limit: float) -> Recording:
        """Run a circuit."""
        return run_circuit(circuit, "cpu", time_limit)

    def network(self, trial: Trial, time_limit: float) -> Recording:
        """Run a network of stock neurons."""
        return trial.on(Lava("stock", time_limit=time_limit))


class Loihi2:
    """A board. Never run on hardware."""

    backend = "loihi2"

    def __init__(self, board: Board) -> None:
        self.board = board

    def circuit(self, circuit: Circuit, time_limit: float) -> Recording:
        """Run a circuit; only its spikes come back."""
        return run_circuit(circuit, "loihi2", time_limit, self.board)

    def network(self, trial: Trial, time_limit: float) -> Recording:
        """Run a network of stock neurons."""
        return trial.on(OnBoard(self.board, time_limit=time_limit))


def executor_for(backend: str, board: Board | None = None) -> Executor:
    """What runs rungs on a backend, "lava" or "loihi2".

    Parameters
    ----------
    board : Board or None
        Of backend loihi2; None: the one that the environment variables name.

    Raises
    ------
    UsageError
        If a board is chosen for the simulator.
    BackendUnavailableError
        If the backend is not on this machine, or no board can be asked for. No other one runs instead.
    """
    if backend == "lava" and board is not None:
        raise UsageError(f"{board.describe()} is for backend 'loihi2'; backend 'lava' has no board")
    if backend == "lava":
        reason, hint = simulator.availability(), ""
    else:
        board = board or Board.from_environment()
        reason, hint = loihi2.availability() or loihi2.unreachable(board), "; --backend lava simulates it"
    if reason:
        raise BackendUnavailableError(f"backend {backend!r} cannot run the self-test: {reason}{hint}")
    return LavaSimulator() if backend == "lava" else Loihi2(board)
