"""Networks side by side: what each reaches on the same images, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import run
from ..hardware import Estimate, Profile, estimate, map_network
from ..network import SpikingNetwork
from ..results import Run
from ..tables import Table, table
from ..words import count, quantity
from .runs import steps_for


@dataclass(frozen=True)
class Costs:
    """What a network costs per inference, and what it reaches; `truth` as `Run.score` takes it, or None."""

    network: SpikingNetwork
    run: Run
    estimate: Estimate
    truth: np.ndarray | None

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        run, found = self.run, self.estimate
        return {
            "network": self.network.name,
            "neurons": "sigma-delta"
            if self.network.is_sigma_delta
            else "graded"
            if self.network.is_graded
            else "spiking",
            "steps": run.schedule.steps,
            "latency": run.schedule.latency,
            "score": None if self.truth is None else run.score(self.network, self.truth).summary(),
            "messages": sum(run.spike_counts.values()) / run.samples,
            "synaptic_operations": found.synaptic_operations,
            "latency_seconds": found.latency_seconds,
            "dynamic_energy": found.dynamic,
        }


def measured_costs(
    network: SpikingNetwork,
    images: np.ndarray,
    truth: np.ndarray | None,
    profile: Profile,
    *,
    steps: int | None = None,
    seed: int = 0,
) -> Costs:
    """Run a network on images for so many time steps, or for those that it was made for."""
    result = run(network, images, steps_for(network, steps), seed=seed, progress=True)
    return Costs(network, result, estimate(network, result, profile, map_network(network, profile)), truth)


def costs_table(runs: Sequence[Costs]) -> Table:
    """Networks side by side on the same images."""
    rows = []
    for each in runs:
        values = each.summary()
        rows.append(
            (
                each.network.name,
                values["neurons"],
                f"{values['steps']}",
                "-" if each.truth is None else str(each.run.score(each.network, each.truth)),
                count(values["messages"]),
                count(values["synaptic_operations"]),
                f"{values['latency']} steps, {quantity(values['latency_seconds'], 's')}",
                quantity(values["dynamic_energy"], "J"),
            )
        )
    columns = ("network", "neurons", "T", "reached", "messages", "synaptic operations", "latency", "dynamic energy")
    title = f"Side by side, per inference, estimated on {runs[0].estimate.profile.name}"
    return table(title, columns, rows, text_columns=2)
