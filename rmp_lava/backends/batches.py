"""What one batch of samples contributes to a `Run`, and how batches become one; shared by all backends."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from functools import reduce
from typing import Any

import numpy as np

from ..choices import Backend, Implementation
from ..network import SpikingNetwork, populations
from ..neuron import Range, union
from ..results import Run
from ..schedule import Schedule


def batch_size(network: SpikingNetwork, plan: Schedule, budget: int) -> int:
    """Samples per batch, so that the largest layer's stream of 8-byte numbers fits into `budget` bytes; at least 1."""
    largest = max([int(np.prod(network.input.shape)), *(layer.size for layer in network)])
    return max(1, budget // (8 * largest * plan.window))


@dataclass
class Part:
    """One batch of a run, filled in by its backend. Mappings are by layer name; fields are those of `Run`."""

    output: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    message_counts: dict[str, np.ndarray] = field(default_factory=dict)
    synaptic_operations: dict[str, np.ndarray] = field(default_factory=dict)
    neuron_updates: dict[str, int] = field(default_factory=dict)
    neuron_counts: dict[str, np.ndarray] = field(default_factory=dict)
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    potentials: dict[str, np.ndarray] = field(default_factory=dict)
    predictions_at: np.ndarray | None = None
    steps_used: np.ndarray | None = None
    saturations: dict[str, int] = field(default_factory=dict)
    large_inputs: dict[str, int] = field(default_factory=dict)
    potential_ranges: dict[str, Range] = field(default_factory=dict)
    current_ranges: dict[str, Range] = field(default_factory=dict)
    waiting_ranges: dict[str, Range] = field(default_factory=dict)
    boundary_spikes: dict[str, int] = field(default_factory=dict)

    def count_messages(self, network: SpikingNetwork, counts: dict[str, np.ndarray], record: Collection[str]) -> None:
        """Enter messages per neuron, (samples, *shape) int64; layers with an uncounted source get no operations."""
        self.message_counts = {name: count.reshape(len(count), -1).sum(axis=1) for name, count in counts.items()}
        for layer in network:
            if all(s.source in counts for s in layer.synapses):
                operations = [
                    counts[s.source].reshape(len(counts[s.source]), -1)
                    @ s.fan_out(network.source_shape(s.source)).reshape(-1)
                    for s in layer.synapses
                ]
                self.synaptic_operations[layer.name] = np.sum(operations, axis=0)  # (samples,)
        if "counts" in record:
            self.neuron_counts = counts

    def count_streams(self, network: SpikingNetwork, streams: dict[str, np.ndarray], record: Collection[str]) -> None:
        """Enter counts, and spikes if recorded, from the streams (samples, T, *shape) of the input and all layers."""
        counts = {name: np.count_nonzero(stream, axis=1).astype(np.int64) for name, stream in streams.items()}
        self.count_messages(network, counts, record)
        samples, steps = next(iter(streams.values())).shape[:2]
        self.count_updates(network, steps, samples)
        if "spikes" in record:
            self.spikes = streams

    def count_updates(self, network: SpikingNetwork, steps: int, samples: int) -> None:
        """Enter the neuron updates of `samples` windows with `steps` steps of messages."""
        self.neuron_updates = {
            each.name: each.size * (each.window.wait + steps) * samples for each in populations(network)
        }

    def note(
        self, name: str, saturations: int, large_inputs: int, v_range: Range | None, u_range: Range | None
    ) -> None:
        """Enter what a population's state has gone through; a range is None where nothing was seen."""
        self.saturations[name], self.large_inputs[name] = saturations, large_inputs
        if v_range is not None:
            self.potential_ranges[name] = v_range
        if u_range is not None:
            self.current_ranges[name] = u_range


def join(
    plan: Schedule,
    parts: list[Part],
    *,
    backend: Backend,
    execution: str,
    implementation: Implementation,
    seconds: float,
    order: np.ndarray | None = None,
) -> Run:
    """One `Run` from its batches; `order` sorts the samples where they are out of order.

    Arrays are concatenated, counts are summed, and ranges include each other.
    """

    def joined(values: list[Any]) -> Any:
        first = values[0]
        if isinstance(first, dict):
            return {name: joined([each[name] for each in values]) for name in first}
        if isinstance(first, tuple):  # ranges
            return reduce(union, values)
        if isinstance(first, np.ndarray):
            together = first if len(values) == 1 else np.concatenate(values)
            return together if order is None else together[order]
        return None if first is None else sum(values)

    return Run(
        backend=backend,
        execution=execution,
        implementation=implementation,
        schedule=plan,
        seconds=seconds,
        **{each.name: joined([getattr(part, each.name) for part in parts]) for each in fields(Part)},
    )
