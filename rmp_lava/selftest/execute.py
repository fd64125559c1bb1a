"""The only part of the self-test that knows backends: a circuit or a network goes in, a `Recording` comes out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..backends import Lava, Loihi2, loihi2, reference, run
from ..backends.board import Board
from ..backends.circuit import Circuit, Recording
from ..backends.lava import simulator
from ..backends.lava.session import run_circuit
from ..backends.options import Reference
from ..choices import Record, SelftestBackend
from ..errors import BackendUnavailableError, UsageError
from ..network import SpikingNetwork
from ..results import Run
from ..schedule import Schedule

RECORD: tuple[Record, ...] = ("spikes", "potentials")


@dataclass(frozen=True, eq=False)
class Trial:
    """A network on samples, in its deployed form: stock neurons, a period that is a power of two.

    network : Integer.
    images : (samples, *input shape) in [0, 1].
    steps : T.
    leak : {0, 1}. 1: membranes lose 1/4096 per step.
    """

    network: SpikingNetwork
    images: np.ndarray
    steps: int
    leak: int = 0

    @property
    def plan(self) -> Schedule:
        """As on a board."""
        return loihi2.deployed_schedule(self.network, self.steps)

    def expectation(self) -> Recording:
        """What the definition of the neuron gives; with leak, the model of stock neurons (backend reference)."""
        if not self.leak:
            return self.recording(run(self.network, self.images, self.steps, "reference", record=RECORD))
        stock = Reference("stock")
        return self.recording(reference.run(self.network, self.images, self.plan, stock, record=RECORD, leak=self.leak))

    def recording(self, result: Run) -> Recording:
        """Spikes and final potentials of every layer."""
        return Recording(
            {layer.name: result.spikes[layer.name] for layer in self.network},
            {layer.name: result.potentials[layer.name] for layer in self.network},
            result.execution,
        )


@dataclass(frozen=True)
class Executor:
    """What runs rungs: Lava's unmodified models on the CPU simulator, or a board (never run on hardware).

    backend : {"lava", "loihi2"}
    board : For backend loihi2.
    leak : {0, 1}. 1 if membranes lose 1/4096 per step; the rungs must be made for it (`ladder`).
    """

    backend: SelftestBackend
    board: Board | None = None
    leak: int = 0

    def circuit(self, circuit: Circuit, time_limit: float) -> Recording:
        """Run a circuit; raises BackendError after `time_limit` seconds. A board returns its spikes only."""
        return run_circuit(circuit, time_limit, "cpu" if self.backend == "lava" else "loihi2", self.board)

    def network(self, trial: Trial, time_limit: float) -> Recording:
        """Run a network of stock neurons on samples; raises BackendError after `time_limit` seconds."""
        if self.backend == "lava":
            options = Lava("stock", time_limit=time_limit)
            result = simulator.run(trial.network, trial.images, trial.plan, options, record=RECORD, leak=trial.leak)
        else:
            on_board = Loihi2(self.board, time_limit=time_limit)
            result = loihi2.run(trial.network, trial.images, trial.plan, on_board, record=RECORD)
        return trial.recording(result)


def executor_for(backend: SelftestBackend, board: Board | None = None, leak: int | None = None) -> Executor:
    """What runs rungs on a backend.

    Parameters
    ----------
    backend : {"lava", "loihi2"}
    board : Board or None
        For backend loihi2; None: the one that the environment variables name.
    leak : {0, 1} or None
        Of the membranes; None: the board's, which is 0 unless set.

    Raises
    ------
    UsageError
        If a board is chosen for the simulator.
    BackendUnavailableError
        If the backend is not on this machine, or no board can be requested. No other one runs instead.
    """
    if backend == "lava" and board is not None:
        raise UsageError(f"{board.describe()} is for backend 'loihi2'; leave it out for backend 'lava'")
    if backend == "lava":
        reason, hint = simulator.availability(), ""
    else:
        board = board or Board.from_environment()
        leak = board.leak if leak is None else leak
        board = replace(board, leak=leak)
        reason, hint = loihi2.availability() or loihi2.unreachable(board), "; --backend lava simulates it"
    if reason:
        raise BackendUnavailableError(f"backend {backend!r} cannot run the self-test: {reason}{hint}")
    return Executor(backend, board, leak or 0)
