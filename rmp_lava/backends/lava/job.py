"""What the child process is asked to run and what it answers: values, pickled in the run's private folder."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...choices import ConvModel, Implementation
from ...schedule import Schedule
from ..board import Board
from ..circuit import Circuit

Target = Literal["cpu", "adapted", "loihi2"]
"""What runs the Processes: the CPU simulator, the same with a board's timing and relays, or a board."""
Probe = Literal["time", "power", "activity", "memory"]
"""What a board can measure while it runs; one per run, because probes disturb each other's figures."""
Reading = Mapping[str, float | list[float]]
"""What a probe measured, by the names in `loihi2.contract`: one number, or one per sample, time step or neuro-core."""

JOB, RESULT, ERROR, LOG = "job.pickle", "result.pickle", "error.txt", "log.txt"
NETWORK, MESSAGES, DONE = "network.net", "messages.npy", "done.npy"


MORE_SPACE = "free space, or let TMPDIR name a folder that has more"


def array_path(folder: Path, kind: str, index: int) -> Path:
    """File of one population's "counts", "sums", "last", "crossing", "spikes" or "membrane"; `index` as in the task."""
    return folder / f"{kind}{index}.npy"


def ending(code: int) -> str:
    """How a process of an exit code ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    why: dict[int, str] = {
        signal.SIGKILL: ", as systems do when memory runs out; free some, or run fewer samples at once",
        signal.SIGBUS: f", as happens to processes whose files have no room; {MORE_SPACE}",
    }
    return f"was ended by signal {-code} ({signal.strsignal(-code)}){why.get(-code, '')}"


@dataclass(frozen=True)
class NetworkTask:
    """Samples to run through the network in the folder.

    implementation : {"native", "stock"}
    observed : Populations whose spikes are counted; None: all.
    probed : Layers whose membrane potentials are read at the end of each window.
    record_spikes : Whether each spike of the observed populations is kept.
    conv_model : {"blas", "lava"}. What computes convolutions on the simulator.
    neuron_program : "package.module:ProcessModel" that replaces ours for native neurons.
    leak : {0, 1}. Of stock neurons, in 1/4096 of the membrane potential per step.
    embedded : Whether the network holds the first sample's messages itself, in every step.
    """

    plan: Schedule
    implementation: Implementation
    samples: int
    observed: tuple[str, ...] | None = None
    probed: tuple[str, ...] = ()
    record_spikes: bool = False
    conv_model: ConvModel = "lava"
    neuron_program: str | None = None
    leak: int = 0
    embedded: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """One run of Lava.

    target : {"cpu", "adapted", "loihi2"}
    board : For target "loihi2".
    probe : {"time", "power", "activity", "memory"} or None. What to measure on the board.
    """

    task: NetworkTask | Circuit
    target: Target = "cpu"
    board: Board | None = None
    probe: Probe | None = None


@dataclass(frozen=True)
class Outcome:
    """What the child process reports at the end; arrays are in files of their own (`array_path`).

    seconds : Without start-up.
    steps : Time steps that Lava ran.
    execution : What ran the Processes, in words.
    reading : What the probe measured; empty without one.
    """

    seconds: float
    steps: int
    execution: str
    reading: Reading = field(default_factory=dict)
