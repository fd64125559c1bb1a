"""Backend `loihi2`: a Loihi 2 board through INRC access. Never run on hardware.

`lowering_report` says what a network becomes there and what will differ. The same graph runs on the CPU simulator
(`lava.simulator.run(..., adapters=True)`), which is tested. Asking for a chip that is not there is an error, never a simulation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ...choices import Implementation, MeasuredInput
from ...errors import BackendError, BackendUnavailableError, UsageError
from ...measurement import Measurement
from ...network import INPUT, SpikingNetwork
from ...readout import needs_count
from ...results import Run
from ...schedule import Schedule
from ..board import GENERATIONS, Board
from ..lava.job import Job, NetworkTask, Probe, Reading
from ..lava.session import finished, probed_layers, run_network
from ..lava.simulator import neuron_note
from ..options import Loihi2
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
"""Minimum number of steps of a run that measures: power needs many (lava-dl, netx/pilotnet_snn/benchmark.ipynb)."""


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    plan: Schedule,
    options: Loihi2 | None = None,
    *,
    seed: int = 0,
    record: Collection[str] = (),
    progress: bool = False,
) -> Run:
    """Run samples on a board; see `rmp_lava.run`.

    Parameters
    ----------
    plan : Schedule
        Its period must be a power of two (`deployed_schedule`).
    options : Loihi2 or None
        None: the board that the environment variables name, and stock neurons.
    record : collection
        Only layers that it needs are observed: each spike that leaves the chip takes time.

    Raises
    ------
    BackendUnavailableError
        If this machine, its API or the board is not as needed. Nothing is simulated instead.
    BackendError
        If the network cannot be deployed, or the run fails.
    """
    options = options or Loihi2()
    board = Board.from_environment() if options.board is None else options.board
    _require(network, plan, options.implementation, board)
    probed = probed_layers(network, record)
    task = NetworkTask(
        plan,
        options.implementation,
        len(images),
        observed=_observed(network, probed, record),
        probed=probed,
        record_spikes="spikes" in record,
        neuron_program=options.neuron_program,
        leak=board.leak,
    )
    result = run_network(
        network,
        images,
        Job(task, "loihi2", board),
        backend="loihi2",
        record=record,
        seed=seed,
        time_limit=options.time_limit,
        progress=progress,
        note=f", {neuron_note(options.implementation, options.neuron_program)}; {NEVER_RUN} by its authors",
    )
    if options.measure is None:
        return result
    found = measure(
        network, images[:1], plan, board=board, seed=seed, input=options.measure, time_limit=options.time_limit
    )
    return replace(result, measurement=found)


def measure(
    network: SpikingNetwork,
    image: np.ndarray,
    plan: Schedule,
    *,
    board: Board | None = None,
    seed: int = 0,
    input: MeasuredInput = "chip",
    steps: int = MEASURED_STEPS,
    time_limit: float | None = None,
) -> Measurement:
    """Measure one image's inference, repeated many times: time, power, activity and memory, each in its own run.

    Parameters
    ----------
    image : numpy.ndarray
        (1, *input shape).
    input : {"chip", "host"}
        "chip": the network holds the image, and nothing enters or leaves the chip; for constant messages (encodings rate and
        current). Blank steps get the input too. "host": the host sends it in each step.
    steps : int
        Minimum number of steps of each run.

    Raises
    ------
    UsageError
        If the network cannot hold the input.
    BackendUnavailableError, BackendError
        As for `run`.
    """
    board = Board.from_environment() if board is None else board
    _require(network, plan, "stock", board)
    if input == "chip" and network.input.encoding not in ("rate", "current"):
        raise UsageError(
            f"encoding {network.input.encoding!r} sends different messages in each step, which a network cannot hold; "
            "measure with the input from the host, or convert with encoding 'rate' or 'current'"
        )
    repetitions = -(-steps // plan.period)
    job = _measuring_job(network, plan, repetitions, board, input)
    images = image if input == "chip" else np.repeat(image, repetitions, axis=0)

    def reading(probe: Probe) -> Reading:
        with finished(network, images, replace(job, probe=probe), seed=seed, time_limit=time_limit) as (_, outcome):
            return outcome.reading

    from .. import fast

    expected = fast.run(network, image, plan, seed=seed)
    return Measurement(
        board=board.describe(),
        input=input,
        steps=plan.steps,
        period=plan.period,
        repetitions=repetitions,
        time=reading("time"),
        power=reading("power"),
        activity=reading("activity"),
        memory=reading("memory"),
        simulated_operations=expected.operations_per_sample,
        simulated_spikes={name: float(count) for name, count in expected.spike_counts.items() if name != INPUT},
    )


def _require(network: SpikingNetwork, plan: Schedule, implementation: Implementation, board: Board) -> None:
    """Refuse whatever is known to fail before anything is compiled or a board is taken."""
    reason = availability() or unreachable(board)
    if reason:
        raise BackendUnavailableError(f"backend 'loihi2' cannot run: {reason}; backends 'fast' and 'lava' simulate")
    if plan.period & (plan.period - 1):
        raise UsageError(
            f"the period is {plan.period} steps, but boards reset every power of two; pass power_of_two=True"
        )
    if not network.is_integer:
        raise BackendError("boards support integers only; quantise the network first")
    if implementation == "stock":
        lowering_report(network, plan.steps, blank=plan.blank).raise_if_blocked()


def _observed(network: SpikingNetwork, probed: Collection[str], record: Collection[str]) -> tuple[str, ...]:
    """Populations whose spikes a run needs, or is asked for."""
    if {"spikes", "counts"} & set(record):
        return (INPUT, *(layer.name for layer in network))
    # A soft-reset layer's final potential is known only together with its last spikes.
    observed = {name for name in probed if network[name].neurons.reset == "soft"}
    if needs_count(network):
        observed.add(network.output.name)
    if network.input.neurons is None:
        observed.add(INPUT)  # on the host
    return tuple(sorted(observed))


def _measuring_job(
    network: SpikingNetwork, plan: Schedule, repetitions: int, board: Board, input: MeasuredInput
) -> Job:
    """A job that observes nothing: each spike that leaves the chip takes time."""
    task = NetworkTask(plan, "stock", repetitions, observed=(), leak=board.leak, embedded=input == "chip")
    return Job(task, "loihi2", board)
