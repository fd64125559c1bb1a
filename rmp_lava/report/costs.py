"""Networks side by side: what each reaches on the same images, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import run
from ..errors import UsageError
from ..hardware import Estimate, Profile, estimate, map_network
from ..network import SpikingNetwork
from ..results import Run
from ..scores import Score
from ..tables import Table, table
from ..words import count, digits, quantity
from .hardware import cores_taken


@dataclass(frozen=True)
class Costs:
    """What a network costs per inference, and what it reaches; `truth` as `Run.score` takes it, or None."""

    network: SpikingNetwork
    run: Run
    estimate: Estimate
    truth: np.ndarray | None

    @property
    def score(self) -> Score | None:
        """What it reaches; None without a truth."""
        return None if self.truth is None else self.run.score(self.network, self.truth)

    @property
    def kind(self) -> str:
        """Of its neurons."""
        graded = "graded" if self.network.is_graded else "spiking"
        return "sigma-delta" if self.network.is_sigma_delta else graded

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        run, found, score = self.run, self.estimate, self.score
        return {
            "network": self.network.name,
            "neurons": self.kind,
            "steps": run.schedule.steps,
            "latency": run.schedule.latency,
            "score": None if score is None else score.summary(),
            "messages": sum(run.spike_counts.values()) / run.samples,
            "synaptic_operations": found.synaptic_operations,
            "latency_seconds": found.latency_seconds,
            "dynamic_energy": found.dynamic,
        }

    def figures(self) -> dict[str, tuple[str, float | None]]:
        """Name -> (in words, number) of what is compared; None where there is no number."""
        values, network, mapping = self.summary(), self.network, self.estimate.mapping
        counted = {
            "T": values["steps"],
            "wait": network.wait,
            "latency, steps": values["latency"],
            "layers": len(network.layers),
            "neurons": network.neuron_count,
            "stored weights": network.parameter_count,
            "messages": values["messages"],
            "synaptic operations": values["synaptic_operations"],
        }
        return {
            "reached": ("–" if self.score is None else str(self.score), None),
            "neurons are": (self.kind, None),
            **{name: (count(value), value) for name, value in counted.items()},
            "cores": (cores_taken(mapping), mapping.cores),
            "dynamic energy": (quantity(values["dynamic_energy"], "J"), values["dynamic_energy"]),
            "latency": (quantity(values["latency_seconds"], "s"), values["latency_seconds"]),
        }


def check_comparable(network: SpikingNetwork, others: Iterable[SpikingNetwork]) -> None:
    """Raise `UsageError` if one of the others takes other images than a network."""
    for other in others:
        if other.input.shape != network.input.shape:
            raise UsageError(
                f"the networks {network.name!r} and {other.name!r} take inputs of shape {network.input.shape} and "
                f"{other.input.shape}; only networks for the same images can be compared"
            )


def measured_costs(
    network: SpikingNetwork,
    images: np.ndarray,
    truth: np.ndarray | None,
    profile: Profile,
    *,
    steps: int,
    seed: int = 0,
) -> Costs:
    """Run a network on images for the T that it was made for, or for `steps` if it does not record its T."""
    result = run(network, images, network.balanced_steps or steps, seed=seed, progress=True)
    return Costs(network, result, estimate(network, result, profile, map_network(network, profile)), truth)


def told_apart(names: Iterable[str]) -> list[str]:
    """Names of which each but the first of several equal ones gets a number."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def side_by_side(networks: Sequence[Costs]) -> Table:
    """A column for each network on the same images, and after all but the first what its figures are over the first one's."""
    first, *others = (each.figures() for each in networks)
    rows = []
    for name, (text, number) in first.items():
        compared = (cell for other in others for cell in (other[name][0], _ratio(number, other[name][1])))
        rows.append((name, text, *compared))
    own, *names = told_apart(each.network.name for each in networks)
    columns = ("", own, *(head for name in names for head in (name, "ratio")))
    return table(f"Side by side, per inference, estimated on {networks[0].estimate.profile.name}", columns, rows)


def _ratio(first: float | None, second: float | None) -> str:
    return "–" if not first or second is None else f"× {digits(second / first)}"
