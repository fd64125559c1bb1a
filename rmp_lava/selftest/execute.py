"""The one place where a rung meets a backend: a circuit or a network goes in, a `Recording` comes out."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..backends import lava_sim, run
from ..backends.lava_job import supervise
from ..errors import BackendUnavailableError
from ..network import SpikingNetwork
from .circuit import Circuit, Recording

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
        T; at least one less than a power of two leaves room for the blank step.
    """

    network: SpikingNetwork
    images: np.ndarray
    steps: int

    def on(self, backend: str, **options) -> Recording:
        """What a backend of `rmp_lava.run` makes of it."""
        result = run(
            self.network,
            self.images,
            self.steps,
            backend,
            power_of_two=True,
            record=("spikes", "potentials"),
            **options,
        )
        return Recording(
            {layer.name: result.spikes[layer.name] for layer in self.network},
            {layer.name: result.potentials[layer.name] for layer in self.network},
            result.execution,
        )


class Executor(Protocol):
    """What runs rungs. `backend` is its name."""

    backend: str

    def circuit(self, circuit: Circuit, time_limit: float) -> Recording:
        """Run a circuit; raises BackendError after `time_limit` seconds."""

    def network(self, trial: Trial, time_limit: float) -> Recording:
        """Run a network on samples; raises BackendError after `time_limit` seconds."""


def run_circuit(circuit: Circuit, ends: str, time_limit: float) -> Recording:
    """Run a circuit on Lava in a process group of its own; `ends` as `lava_ends.ends_of` takes it."""
    with tempfile.TemporaryDirectory(prefix="rmp-lava-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps({"circuit": circuit.summary(), "ends": ends}))
        found = supervise(folder, 1, time_limit, worker_module=WORKER)
    spikes = {each: np.array(values, dtype=np.int64) for each, values in found["spikes"].items()}
    currents = {each: np.array(values, dtype=np.int64) for each, values in found["currents"].items()}
    return Recording(spikes, currents, found["execution"])


class LavaExecutor:
    """Lava's unmodified models on the CPU simulator ("lava"), or a board ("loihi2"; never run on hardware)."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def circuit(self, circuit: Circuit, time_limit: float) -> Recording:
        """Run a circuit."""
        return run_circuit(circuit, self.backend, time_limit)

    def network(self, trial: Trial, time_limit: float) -> Recording:
        """Run a network of stock neurons."""
        return trial.on(self.backend, realisation="stock", time_limit=time_limit)


def executor_for(backend: str) -> Executor:
    """What runs rungs on a backend, "lava" or "loihi2".

    Raises
    ------
    BackendUnavailableError
        If the backend is not on this machine. No other one runs instead.
    """
    from ..backends import loihi2

    reason = loihi2.availability() if backend == "loihi2" else lava_sim.availability()
    if reason:
        hint = "; --backend lava simulates it" if backend == "loihi2" else ""
        raise BackendUnavailableError(f"backend {backend!r} cannot run the self-test: {reason}{hint}")
    return LavaExecutor(backend)
