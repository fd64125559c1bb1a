"""What a batch of samples gives, and how batches become one `Run`; shared by all backends."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..network import SpikingNetwork, populations
from ..neuron import Range
from ..results import Run
from ..schedule import Schedule

_ARRAYS = ("message_counts", "synaptic_operations", "neuron_counts", "spikes", "potentials")
_TOTALS = ("neuron_updates", "saturations", "large_inputs", "boundary_spikes")
_RANGES = ("potential_ranges", "current_ranges")


def batch_size(network: SpikingNetwork, plan: Schedule, budget: int) -> int:
    """Samples at once, so that the largest layer's stream of 8-byte numbers stays within `budget` bytes; at least 1."""
    largest = max([int(np.prod(network.input.shape)), *(layer.size for layer in network)])
    return max(1, budget // (8 * largest * plan.steps))


def empty_part() -> dict:
    """A part of a `Run` without content: its mappings by layer name; "output" and "predictions_at" are to be added."""
    return {key: {} for key in _ARRAYS + _TOTALS + _RANGES}


def count_stream(part: dict, network: SpikingNetwork, streams: dict[str, np.ndarray], record: Collection[str]) -> None:
    """Enter what streams (samples, T, *shape) of all sources and layers say of a batch that ran all its steps."""
    counts = {name: np.count_nonzero(stream, axis=1).astype(np.int64) for name, stream in streams.items()}
    samples, steps = next(iter(streams.values())).shape[:2]
    count_messages(part, network, counts, record)
    part["neuron_updates"] = {each.name: each.size * steps * samples for each in populations(network)}


def count_messages(part: dict, network: SpikingNetwork, counts: dict[str, np.ndarray], record: Collection[str]) -> None:
    """Enter messages per neuron (samples, *shape) int64; layers whose sources nobody counted get no operations."""
    part["message_counts"] = {name: count.reshape(len(count), -1).sum(axis=1) for name, count in counts.items()}
    part["synaptic_operations"] = {
        layer.name: sum(
            counts[s.source].reshape(len(counts[s.source]), -1) @ s.fan_out(network.source_shape(s.source)).reshape(-1)
            for s in layer.synapses
        )
        for layer in network
        if all(s.source in counts for s in layer.synapses)
    }
    if "counts" in record:
        part["neuron_counts"] = counts


def join(plan: Schedule, parts: list[dict], *, order: np.ndarray | None = None, **description) -> Run:
    """One `Run` from the dictionaries of its batches; `order` sorts their samples, where they are not in order."""

    def concatenate(arrays: list[np.ndarray]) -> np.ndarray:
        together = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return together if order is None else together[order]

    def whole(key: str) -> np.ndarray | None:
        return None if parts[0].get(key) is None else concatenate([part[key] for part in parts])

    merged = {
        key: {name: concatenate([part[key][name] for part in parts]) for name in parts[0][key]} for key in _ARRAYS
    }
    merged |= {key: {name: sum(part[key][name] for part in parts) for name in parts[0][key]} for key in _TOTALS}
    merged |= {key: {name: _union([part[key][name] for part in parts]) for name in parts[0][key]} for key in _RANGES}
    return Run(
        schedule=plan,
        output=whole("output"),
        predictions_at=whole("predictions_at"),
        steps_used=whole("steps_used"),
        **merged,
        **description,
    )


def _union(ranges: list[Range]) -> Range:
    return (min(low for low, _ in ranges), max(high for _, high in ranges))
