"""What a run returns, whichever backend it ran on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .choices import Implementation
from .errors import DataError
from .measurement import Measurement
from .network import INPUT, SpikingNetwork
from .neuron import Range
from .schedule import Schedule


@dataclass(frozen=True)
class Run:
    """Result of running a network on samples.

    Parameters
    ----------
    backend, execution : str
        The backend, and in words what really computed (versions, number format, kernels).
    implementation : {"native", "stock"}
        RMP neurons of their own, or Lava's unmodified LIF with a self-synapse.
    schedule : Schedule
    output : numpy.ndarray
        (samples, outputs): spike counts (int64), or membrane potentials after the last step (int64 in 1/64 of a weight
        unit, float64 in weight units for float networks).
    message_counts : mapping
        Layer name (and "input") -> (samples,) int64: messages within the sample's window.
    synaptic_operations : mapping
        Layer name -> (samples,) int64: incoming messages times the non-zero weights that each of them meets, exact at
        the borders of convolutions, as Loihi 2 counts them.
    neuron_updates : mapping
        Layer name (and "input" where it has neurons) -> neurons times steps over all samples.
    neuron_counts : mapping
        Layer name (and "input") -> (samples, *shape) int64 messages of each neuron, where "counts" are recorded.
    spikes : mapping
        Layer name -> (samples, T, *shape) messages, each in its own window, where recorded: 0 or 1, or what a graded input sends.
    potentials : mapping
        Layer name -> (samples, *shape) membrane potential after the last step, where recorded.
    predictions_at : numpy.ndarray or None
        (samples, T): the prediction after t steps, for t = 1 .. T, where the backend computes it. After an
        early exit it stays what it was.
    steps_used : numpy.ndarray or None
        (samples,) steps after which each sample was left, where the caller asked for a confidence.
    saturations, large_inputs : mapping
        Layer name -> neuron updates that hit the 24-bit limits, and whose input reached +-2^17.
    potential_ranges, current_ranges : mapping
        Layer name -> (smallest, largest) membrane potential that was compared with the threshold, and current, of neurons
        whose current has memory; in 1/64 of a weight unit, or in weight units for float networks.
    boundary_spikes : mapping
        Layer name -> samples in whose period's last step a stock neuron with soft reset spikes: the threshold is subtracted
        in the next sample. Empty for native neurons.
    seconds : float
        Wall time of the simulation, with encoding; of Lava without its start-up.
    measurement : Measurement or None
        What a board's probes measured; no simulation has one. Counts of a run on a board are there of observed layers only.
    """

    backend: str
    execution: str
    implementation: Implementation
    schedule: Schedule
    output: np.ndarray
    message_counts: Mapping[str, np.ndarray]
    synaptic_operations: Mapping[str, np.ndarray]
    neuron_updates: Mapping[str, int]
    neuron_counts: Mapping[str, np.ndarray] = field(default_factory=dict)
    spikes: Mapping[str, np.ndarray] = field(default_factory=dict)
    potentials: Mapping[str, np.ndarray] = field(default_factory=dict)
    predictions_at: np.ndarray | None = None
    steps_used: np.ndarray | None = None
    saturations: Mapping[str, int] = field(default_factory=dict)
    large_inputs: Mapping[str, int] = field(default_factory=dict)
    potential_ranges: Mapping[str, Range] = field(default_factory=dict)
    current_ranges: Mapping[str, Range] = field(default_factory=dict)
    boundary_spikes: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    measurement: Measurement | None = None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.output)

    @property
    def predictions(self) -> np.ndarray:
        """(samples,) index of the largest output; the first one of equals."""
        return self.output.argmax(axis=1)

    @property
    def spike_counts(self) -> dict[str, int]:
        """Messages of each layer (and the input) over all samples."""
        return {name: int(counts.sum()) for name, counts in self.message_counts.items()}

    def accuracy(self, labels: np.ndarray) -> float:
        """Share of correct predictions, 0..1."""
        return float(np.mean(self.predictions == self._checked(labels)))

    def accuracy_at(self, labels: np.ndarray) -> np.ndarray:
        """(T,) share of correct predictions after t = 1 .. T steps."""
        if self.predictions_at is None:
            raise DataError(f"backend {self.backend!r} does not record predictions over time; use backend 'fast'")
        return (self.predictions_at == self._checked(labels)[:, None]).mean(axis=0)

    def _checked(self, labels: np.ndarray) -> np.ndarray:
        labels = np.asarray(labels)
        if labels.shape != (self.samples,):
            raise DataError(f"labels have shape {labels.shape}; expected one per sample, ({self.samples},)")
        return labels

    @property
    def operations_per_sample(self) -> dict[str, float]:
        """Layer name -> synaptic operations of an average sample."""
        return {name: float(operations.mean()) for name, operations in self.synaptic_operations.items()}

    def limits_reached(self) -> str:
        """Which layers overflowed and how often, or an empty string."""
        found = [f"{name}: {count:,} saturated updates" for name, count in self.saturations.items() if count]
        found += [f"{name}: {count:,} inputs beyond 2^17" for name, count in self.large_inputs.items() if count]
        return ", ".join(found)

    def spikes_per_neuron(self, network: SpikingNetwork) -> dict[str, float]:
        """Layer name -> spikes per neuron and sample."""
        return {
            name: count / self.samples / network[name].size
            for name, count in self.spike_counts.items()
            if name != INPUT
        }

    def summary(self, network: SpikingNetwork) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "backend": self.backend,
            "execution": self.execution,
            "implementation": self.implementation,
            "samples": self.samples,
            "steps": self.schedule.steps,
            "period": self.schedule.period,
            "predictions": self.predictions.tolist(),
            "spike_counts": self.spike_counts,
            "spikes_per_neuron": self.spikes_per_neuron(network),
            "synaptic_operations_per_sample": self.operations_per_sample,
            "neuron_updates": dict(self.neuron_updates),
            "steps_used": None if self.steps_used is None else self.steps_used.tolist(),
            "saturations": dict(self.saturations),
            "large_inputs": dict(self.large_inputs),
            "potential_ranges": {name: list(limits) for name, limits in self.potential_ranges.items()},
            "current_ranges": {name: list(limits) for name, limits in self.current_ranges.items()},
            "boundary_spikes": dict(self.boundary_spikes),
            "seconds": self.seconds,
            "measurement": None if self.measurement is None else self.measurement.summary(),
        }
