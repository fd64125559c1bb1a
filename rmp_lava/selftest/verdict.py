"""Compare what ran with what was expected: where they first differ, and what that means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..backends.circuit import Recording
from ..errors import BackendError
from ..network import Conv
from .execute import Trial
from .model import predict
from .rung import Rung

STATE = "u after the last step, in 1/64 weight unit"
SPIKES = "spikes"


@dataclass(frozen=True)
class FirstDifference:
    """The first place at which a recording differs from the expectation.

    what : `SPIKES` or `STATE`.
    neuron : Indices from 0.
    step : From 1, of a network's layer in its own window; None for states.
    sample : From 0; None for circuits.
    """

    what: str
    population: str
    neuron: tuple[int, ...]
    step: int | None
    sample: int | None
    expected: int
    found: int

    def __str__(self) -> str:
        sample = "" if self.sample is None else f" of sample {self.sample}"
        where = f"{self.population}{list(self.neuron)}{sample}"
        if self.step is None:
            return f"{where}: {self.what} is {self.found}, expected {self.expected}"
        if max(self.found, self.expected) > 1:
            return f"step {self.step}, {where}: sends {self.found}, expected {self.expected}"
        found, expected = "spike" if self.found else "no spike", "a spike" if self.expected else "none"
        return f"step {self.step}, {where}: {found}, expected {expected}"


@dataclass(frozen=True)
class Explanation:
    """What a difference means, and what to try."""

    means: str
    remedy: str


def first_difference(rung: Rung, expected: Recording, found: Recording) -> FirstDifference | None:
    """In spikes, otherwise in states that could be read; the earliest step of circuits, the first layer of networks.

    Raises
    ------
    BackendError
        If something was not recorded, or has another shape.
    """
    _check_shapes(rung, expected, found)
    whole = isinstance(rung.subject, Trial)
    differences = _differences(SPIKES, expected.spikes, found.spikes, whole)
    if not differences:
        known = {name: values for name, values in expected.currents.items() if name in found.currents}
        differences = _differences(STATE, known, found.currents, whole)
    if whole:
        return next(iter(differences), None)
    return min(differences, key=lambda difference: difference.step or 0, default=None)


def _check_shapes(rung: Rung, expected: Recording, found: Recording) -> None:
    for name, spikes in expected.spikes.items():
        if name not in found.spikes or found.spikes[name].shape != spikes.shape:
            what = f"shape {found.spikes[name].shape}" if name in found.spikes else "nothing"
            raise BackendError(
                f"rung {rung.name!r} recorded {what} of {name!r}, expected spikes of shape {spikes.shape}; "
                "check what the backend's sinks return"
            )


def _differences(
    what: str, expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], whole: bool
) -> list[FirstDifference]:
    """The first place in each population that differs."""
    result = []
    for name, values in expected.items():
        places = np.argwhere(found[name] != values)
        if len(places):
            place = tuple(int(i) for i in places[0])
            sample, rest = (place[0], place[1:]) if whole else (None, place)
            step, neuron = (rest[0] + 1, rest[1:]) if what == SPIKES else (None, rest)
            result.append(
                FirstDifference(what, name, neuron, step, sample, int(values[place]), int(found[name][place]))
            )
    return result


def explain(rung: Rung, expected: Recording, found: Recording, difference: FirstDifference) -> list[Explanation]:
    """Every suspect that explains the recording exactly; if there is none, the rung's general explanation."""
    if isinstance(rung.subject, Trial):
        return [_explain_network(rung, rung.subject, expected, found, difference)]
    predictions = [(suspect, predict(suspect.circuit or rung.subject, suspect.rules)) for suspect in rung.suspects]
    exact = [suspect for suspect, each in predictions if _equal(each, found, expected, states=True)]
    if not exact and difference.what == SPIKES:  # states may be read differently, or not at all
        exact = [suspect for suspect, each in predictions if _equal(each, found, expected, states=False)]
    if exact:
        return [Explanation(suspect.means, suspect.remedy) for suspect in exact]
    return [Explanation(f"{rung.means}; no known cause explains how", rung.remedy)]


def _equal(predicted: Recording, found: Recording, expected: Recording, *, states: bool) -> bool:
    spikes = all(np.array_equal(predicted.spikes[name], found.spikes[name]) for name in expected.spikes)
    known = [name for name in expected.currents if name in found.currents] if states else []
    return spikes and all(np.array_equal(predicted.currents[name], found.currents[name]) for name in known)


def _explain_network(
    rung: Rung, trial: Trial, expected: Recording, found: Recording, difference: FirstDifference
) -> Explanation:
    name = difference.population
    if difference.what == STATE:
        return Explanation(
            f"every spike is correct, but the final potential of layer {name!r} is not",
            "predictions from spike counts are valid; read potentials one step later or earlier",
        )
    right, wrong = expected.spikes[name], found.spikes[name]
    for steps, word in ((1, "late"), (-1, "early")):
        if _shifted(right, wrong, steps):
            return Explanation(
                f"layer {name!r} spikes one step {word}",
                "the messages on the way to it take another number of steps; compare with rungs 'wiring' and 'relay'",
            )
    if difference.sample:
        return Explanation(
            f"sample 0 is correct but sample {difference.sample} is not, from layer {name!r} on: one sample affects the next",
            "compare with rungs 'reset' and 'boundary'; lengthen the period (--blank)",
        )
    layer = trial.network[name]
    kinds = ", ".join("conv" if isinstance(synapse, Conv) else "dense" for synapse in layer.synapses)
    sources = ", ".join(repr(synapse.source) for synapse in layer.synapses)
    return Explanation(
        f"layer {name!r} ({kinds}, {'x'.join(map(str, layer.shape))}) is the first one that differs; its input from "
        f"{sources} is correct. {rung.means[0].upper()}{rung.means[1:]}",
        rung.remedy,
    )


def _shifted(right: np.ndarray, wrong: np.ndarray, steps: int) -> bool:
    """Whether spikes (samples, steps, ...) are those expected, shifted by one step within the window."""
    earlier, later = (right, wrong) if steps > 0 else (wrong, right)
    return bool(right.any()) and np.array_equal(earlier[:, :-1], later[:, 1:])
