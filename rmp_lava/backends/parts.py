"""What a batch of samples gives, and how batches become one `Run`; shared by the backends that compute in this process."""

from __future__ import annotations

import numpy as np

from ..network import SpikingNetwork
from ..results import Run
from ..schedule import Schedule


def batch_size(network: SpikingNetwork, plan: Schedule, budget: int) -> int:
    """Samples at once, so that the largest layer's stream of 8-byte numbers stays within `budget` bytes; at least 1."""
    largest = max([int(np.prod(network.input.shape)), *(layer.size for layer in network)])
    return max(1, budget // (8 * largest * plan.period))


def empty_part() -> dict:
    """A part of a `Run` without content: its mappings by layer name, besides "output" and "predictions_at"."""
    return {key: {} for key in ("counts", "spikes", "potentials", "saturations", "large_inputs", "boundary_spikes")}


def count(part: dict, name: str, stream: np.ndarray) -> None:
    """Enter a stream (samples, period, *shape): messages per neuron, and samples with messages in the last step."""
    part["counts"][name] = np.count_nonzero(stream, axis=1).astype(np.int64)
    part["boundary_spikes"][name] = int(stream[:, -1].reshape(len(stream), -1).any(axis=1).sum())


def join(network: SpikingNetwork, plan: Schedule, parts: list[dict], **description) -> Run:
    """One `Run` from the dictionaries of its batches."""

    def concatenate(key: str) -> dict[str, np.ndarray]:
        return {name: np.concatenate([part[key][name] for part in parts]) for name in parts[0][key]}

    def total(key: str) -> dict[str, int]:
        return {name: sum(part[key][name] for part in parts) for name in parts[0][key]}

    predictions_at = None
    if parts[0].get("predictions_at") is not None:
        predictions_at = np.concatenate([part["predictions_at"] for part in parts])
    return Run(
        schedule=plan,
        output=np.concatenate([part["output"] for part in parts]),
        neuron_counts=concatenate("counts"),
        spikes=concatenate("spikes"),
        potentials=concatenate("potentials"),
        predictions_at=predictions_at,
        saturations=total("saturations"),
        large_inputs=total("large_inputs"),
        boundary_spikes=total("boundary_spikes"),
        **description,
    )
