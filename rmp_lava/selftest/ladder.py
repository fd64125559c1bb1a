"""The ladder: its rungs in order, run until one differs, and the result as a file to attach to a report."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from .. import __version__
from ..backends.circuit import Circuit, Recording
from ..errors import BackendError, UsageError
from ..machine import versions
from . import neuron_rungs, range_rungs, synapse_rungs, timing_rungs
from .execute import Executor
from .network_rungs import FULL, NARROW, digits, vgg16
from .rung import Rung
from .verdict import Explanation, FirstDifference, explain, first_difference

TIME_LIMIT = 600.0
"""Seconds for each rung."""
_LIBRARIES = ("lava-nc", "lava-loihi", "lava-dl", "numpy", "scipy", "torch")
_CIRCUITS = (
    neuron_rungs.wiring,
    neuron_rungs.current_persists,
    neuron_rungs.voltage_forgets,
    neuron_rungs.both,
    neuron_rungs.soft_reset,
    range_rungs.threshold,
    range_rungs.wide_threshold,
    range_rungs.wide_sum,
    range_rungs.wrap,
    timing_rungs.bias,
    timing_rungs.always_on,
    timing_rungs.pulse,
    timing_rungs.periodic_reset,
    timing_rungs.boundary,
    timing_rungs.waiting,
    synapse_rungs.dense,
    synapse_rungs.exponents,
    synapse_rungs.conv,
    synapse_rungs.graded,
    synapse_rungs.relay,
)


def circuits() -> list[Rung]:
    """The rungs that are tiny circuits, simplest first; each relies on those before it."""
    return [make() for make in _CIRCUITS]


def ladder(only: Sequence[str] = (), *, full: bool = False, leak: int = 0) -> list[Rung]:
    """All rungs in order, or those named.

    Parameters
    ----------
    only : sequence of str
        Names of rungs.
    full : bool
        VGG-16 at half its width instead of a sixteenth.
    leak : {0, 1}
        1: for a board whose membranes lose 1/4096 per step (`Rung.leaking`).

    Raises
    ------
    UsageError
        If a rung is unknown, or `full` is given without VGG-16.
    """
    rungs, networks = circuits(), ("digits", "vgg16")
    names = [*(rung.name for rung in rungs), *networks]
    unknown = next((name for name in only if name not in names), None)
    if unknown is not None:
        raise UsageError(f"rung {unknown!r} is unknown; choose from {', '.join(map(repr, names))}")
    if full and only and "vgg16" not in only:
        raise UsageError("full is for rung 'vgg16', which is not selected; select it too, or leave full out")
    if not only or not set(networks).isdisjoint(only):  # they take seconds
        rungs += [digits(), vgg16(FULL if full else NARROW)]
    chosen = [rung for rung in rungs if not only or rung.name in only]
    return [rung.leaking() for rung in chosen] if leak else chosen


@dataclass(frozen=True, eq=False)
class RungResult:
    """The result of a rung.

    verdict : {"passed", "differs", "failed", "not run"}. "failed": it did not run to its end, see `error`.
    seconds : Wall time, including start-up.
    """

    rung: Rung
    verdict: str
    seconds: float = 0.0
    expected: Recording | None = None
    found: Recording | None = None
    difference: FirstDifference | None = None
    explanations: tuple[Explanation, ...] = ()
    error: str = ""

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: everything about circuits; spike counts and a digest of all spikes of networks."""
        circuit = self.rung.subject if isinstance(self.rung.subject, Circuit) else None
        describe = _trains if circuit else _digests
        return {
            "name": self.rung.name,
            "tests": self.rung.tests,
            "reason": self.rung.reason,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 3),
            "execution": self.found.execution if self.found else None,
            "expected": describe(self.expected) if self.expected else None,
            "found": describe(self.found) if self.found else None,
            "difference": asdict(self.difference) if self.difference else None,
            "explanations": [asdict(each) for each in self.explanations],
            "error": self.error or None,
            "circuit": circuit.summary() if circuit else None,
        }


def _trains(recording: Recording) -> dict[str, Any]:
    """Steps (from 1) in which each neuron spikes, and the final u."""
    spikes = {
        name: [(np.flatnonzero(train) + 1).tolist() for train in spikes.reshape(len(spikes), -1).T]
        for name, spikes in recording.spikes.items()
    }
    return {"spikes": spikes, "u": {name: u.reshape(-1).tolist() for name, u in recording.currents.items()}}


def _digests(recording: Recording) -> dict[str, Any]:
    return {
        "spike_counts": {name: int(np.count_nonzero(spikes)) for name, spikes in recording.spikes.items()},
        "sha256": {
            name: hashlib.sha256(np.ascontiguousarray(spikes, dtype="<i4").tobytes()).hexdigest()
            for name, spikes in recording.spikes.items()
        },
    }


def climb(
    rungs: Sequence[Rung], executor: Executor, *, keep_going: bool = False, time_limit: float = TIME_LIMIT
) -> Iterator[RungResult]:
    """Run rungs one after the other; those after the first that does not pass are not run, unless `keep_going`.

    Yields
    ------
    RungResult
        For each rung, as soon as it is known.
    """
    stopped = False
    for rung in rungs:
        result = RungResult(rung, "not run") if stopped else _try(rung, executor, time_limit)
        stopped = stopped or (result.verdict != "passed" and not keep_going)
        yield result


def _try(rung: Rung, executor: Executor, time_limit: float) -> RungResult:
    expected = rung.expectation()
    started = time.perf_counter()
    try:
        if isinstance(rung.subject, Circuit):
            found = executor.circuit(rung.subject, time_limit)
        else:
            found = executor.network(rung.subject, time_limit)
        seconds = time.perf_counter() - started
        difference = first_difference(rung, expected, found)
    except BackendError as error:
        return RungResult(rung, "failed", time.perf_counter() - started, expected, error=str(error))
    if difference is None:
        return RungResult(rung, "passed", seconds, expected, found)
    explanations = tuple(explain(rung, expected, found, difference))
    return RungResult(rung, "differs", seconds, expected, found, difference, explanations)


def passed(results: Sequence[RungResult]) -> bool:
    """Whether every rung passed."""
    return all(result.verdict == "passed" for result in results)


def summary(rungs: Sequence[Rung], results: Sequence[RungResult], executor: Executor) -> dict[str, Any]:
    """The whole result for JSON; rungs without a result are "not run"."""
    backend, board = executor.backend, executor.board
    results = [*results, *(RungResult(rung, "not run") for rung in rungs[len(results) :])]
    return {
        "selftest": __version__,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "backend": backend,
        "board": None if board is None else board.describe(),
        "leak": executor.leak,
        "on_hardware": backend == "loihi2" and any(result.found is not None for result in results),
        "passed": passed(results),
        "versions": {
            "python": platform.python_version(),
            "system": platform.platform(),
            **dict.fromkeys(_LIBRARIES),
            **versions(_LIBRARIES),
        },
        "rungs": [result.summary() for result in results],
    }
