"""Backend `loihi2`: a Loihi 2 board through INRC access. Never run on hardware.

What a network becomes there, and what will differ, is `lowering_report`; the same graph runs on the CPU simulator
(`simulator.run(..., implementation="stock", adapters=True)`), which is tested. Asking for the chip without having it is an error,
never a simulation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np

from ...errors import BackendError, BackendUnavailableError, UsageError
from ...measurement import Measurement
from ...network import INPUT, SpikingNetwork
from ...results import Run
from ...schedule import Schedule
from ..board import GENERATIONS, Board
from ..lava.job import collect, job_folder, probed_layers, supervise, write_messages
from .lowering import LoweringReport, deployed_schedule, lowering_report
from .requirements import availability, requirements, unreachable

__all__ = [
    "GENERATIONS",
    "Board",
    "LoweringReport",
    "availability",
    "deployed_schedule",
    "lowering_report",
    "measure",
    "requirements",
    "run",
    "unreachable",
]

NEVER_RUN = "never run on hardware"
MEASURED_STEPS = 100_000
"""Steps of a run that measures, at least: power needs many (lava-dl, netx/pilotnet_snn/benchmark.ipynb)."""


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    plan: Schedule,
    *,
    seed: int = 0,
    implementation: str = "stock",
    record: Collection[str] = (),
    board: Board | None = None,
    neuron_program: str | None = None,
    measure_input: Literal["chip", "host"] | None = None,
    time_limit: float | None = None,
    progress: bool = False,
) -> Run:
    """Run samples on a board; see `rmp_lava.run`.

    Parameters
    ----------
    plan : Schedule
        Whose period is a power of two (`deployed_schedule`).
    implementation : {"stock", "native"}
        "native" needs a `neuron_program`.
    record : collection
        Layers are observed only where it asks for it: each spike that leaves the chip takes time.
    board : Board or None
        None: the one that the environment variables name.
    neuron_program : str or None
        "package.module:ProcessModel" of `rmp_lava.processes.rmp.RMP` for a neuro-core, which the user brings.
    measure_input : {"chip", "host"} or None
        Measure the first image's inference too, its messages held by the network or sent by the host; see `measure`.

    Raises
    ------
    BackendUnavailableError
        If this machine, its API or the board is not as needed. Nothing is simulated instead.
    BackendError
        If the network cannot be deployed, or the run fails.
    """
    board = Board.from_environment() if board is None else board
    _require(network, plan, implementation, board, neuron_program)
    if measure_input is not None and implementation == "native":
        raise UsageError("stock neurons are measured only; run implementation 'native' without measuring")
    job = _job(network, plan, len(images), record, implementation, board, neuron_program)
    with job_folder(network, plan, job) as folder:
        write_messages(network, images, plan, seed, folder / "messages.npy")
        outcome = supervise(folder, len(images), time_limit, progress)
        result = collect(
            network,
            plan,
            folder,
            record,
            backend="loihi2",
            execution=f"{outcome['execution']}, {_neuron(implementation, neuron_program)}; {NEVER_RUN} by its authors",
            implementation=implementation,
            seconds=outcome["seconds"],
        )
    if measure_input is None:
        return result
    found = measure(network, images[:1], plan, board=board, seed=seed, input=measure_input, time_limit=time_limit)
    return replace(result, measurement=found)


def measure(
    network: SpikingNetwork,
    image: np.ndarray,
    plan: Schedule,
    *,
    board: Board | None = None,
    seed: int = 0,
    input: Literal["chip", "host"] = "chip",
    steps: int = MEASURED_STEPS,
    time_limit: float | None = None,
) -> Measurement:
    """Measure one image's inference, again and again: time, power, activity and memory, each in a run of its own.

    Parameters
    ----------
    image : numpy.ndarray
        (1, *input shape).
    input : {"chip", "host"}
        "chip": the network holds the image, and nothing enters or leaves the chip; for constant messages (encodings rate and
        current). Blank steps get the input too. "host": the host sends it in each step.
    steps : int
        Of each run, at least.

    Raises
    ------
    UsageError
        If the input cannot be held by the network.
    BackendUnavailableError, BackendError
        As for `run`.
    """
    board = Board.from_environment() if board is None else board
    _require(network, plan, "stock", board, None)
    if input == "chip" and network.input.encoding not in ("rate", "current"):
        raise UsageError(
            f"encoding {network.input.encoding!r} sends another message in each step, which no network can hold; measure "
            "with the input from the host, or convert with encoding 'rate' or 'current'"
        )
    repetitions = -(-steps // plan.period)
    job = _measuring_job(network, plan, repetitions, board, input)
    images = image if input == "chip" else np.repeat(image, repetitions, axis=0)
    found: dict[str, dict] = {}
    for kind in ("time", "power", "activity", "memory"):
        with job_folder(network, plan, job | {"measure": kind}) as folder:
            write_messages(network, images, plan, seed, folder / "messages.npy")
            found[kind] = supervise(folder, repetitions, time_limit, progress=False)["reading"]
    from .. import fast

    expected = fast.run(network, image, plan, seed=seed)
    return Measurement(
        board=board.describe(),
        input=input,
        steps=plan.steps,
        period=plan.period,
        repetitions=repetitions,
        **found,
        simulated_operations=expected.operations_per_sample,
        simulated_spikes={name: float(count) for name, count in expected.spike_counts.items() if name != INPUT},
    )


def _require(
    network: SpikingNetwork, plan: Schedule, implementation: str, board: Board, neuron_program: str | None
) -> None:
    """Refuse whatever is known to fail before anything is compiled or a board is taken."""
    reason = availability() or unreachable(board)
    if reason:
        raise BackendUnavailableError(f"backend 'loihi2' cannot run: {reason}; backends 'fast' and 'lava' simulate")
    if (implementation == "native") != (neuron_program is not None):
        raise UsageError(
            "implementation 'native' takes a neuron program for neuro-cores, which has to be yours, and 'stock' takes none; "
            "pass both or neither"
        )
    if plan.period & (plan.period - 1):
        raise UsageError(
            f"the period is {plan.period} steps; boards reset every power of two, so pass power_of_two=True"
        )
    if not network.is_integer:
        raise BackendError("boards hold integers only; quantise the network first")
    if implementation == "stock":
        lowering_report(network, plan.steps, blank=plan.blank).raise_if_blocked()


def _job(
    network: SpikingNetwork,
    plan: Schedule,
    samples: int,
    record: Collection[str],
    implementation: str,
    board: Board,
    neuron_program: str | None,
) -> dict[str, Any]:
    """What the child process is told; see `lava_program`."""
    probed = probed_layers(network, record)
    # A soft-reset layer's final potential is known with its last spikes only.
    observed = {name for name in probed if network[name].neurons.reset == "soft"}
    if network.readout == "count":
        observed.add(network.output.name)
    if network.input.neurons is None:
        observed.add(INPUT)  # on the host
    if set(record) & {"spikes", "counts"}:
        observed |= {INPUT, *(layer.name for layer in network)}
    return {
        "target": "loihi2",
        "implementation": implementation,
        "conv_model": "lava",
        "samples": samples,
        "record_spikes": "spikes" in record,
        "observed": sorted(observed),
        "probed": probed,
        "neuron_program": neuron_program,
        "leak": board.leak,
        "embedded": False,
        "board": asdict(board),
        "measure": None,
    }


def _measuring_job(
    network: SpikingNetwork, plan: Schedule, repetitions: int, board: Board, input: Literal["chip", "host"]
) -> dict[str, Any]:
    """Nothing is observed: each spike that leaves the chip takes time."""
    job = _job(network, plan, repetitions, (), "stock", board, None)
    return job | {"observed": [], "probed": [], "embedded": input == "chip"}


def _neuron(implementation: str, neuron_program: str | None) -> str:
    return f"native RMP by {neuron_program}" if implementation == "native" else "unmodified LIF with self-synapse"
