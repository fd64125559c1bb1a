"""What a run returns, on every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .choices import Backend, Implementation
from .errors import DataError
from .measurement import Measurement
from .network import INPUT, SpikingNetwork
from .network.values import Value
from .neuron import Range
from .readout import output_unit
from .registers import MAX_STATE
from .schedule import Schedule
from .scores import Score, agreement, has_pixels, score
from .tables import Table, Tabular, table

MOST_OUTPUTS = 10_000
"""Numbers of the output that a summary lists."""


@dataclass(frozen=True, eq=False, repr=False)
class Run(Tabular, Value):
    """Result of running a network on samples; compares by value, except for `seconds`.

    Parameters
    ----------
    backend, execution : str
        The backend, and what computed in words: versions, number format, kernels.
    implementation : {"native", "stock"}
        RMP neurons, or Lava's unmodified LIF with a self-synapse.
    schedule : Schedule
    output : numpy.ndarray
        (samples, outputs): spike counts (int64), or membrane potentials after the last step (int64 in state units of 1/64
        weight unit; float64 in weight units for float networks).
    message_counts : mapping
        Layer name (and "input") -> (samples,) int64: messages within the sample's window.
    synaptic_operations : mapping
        Layer name -> (samples,) int64: incoming messages times the non-zero weights that each of them meets, exact at the
        borders of convolutions, as Loihi 2 counts them.
    neuron_updates : mapping
        Layer name (and "input" if it has neurons) -> neurons times steps of their window, over all samples.
    neuron_counts : mapping
        Layer name (and "input") -> (samples, *shape) int64 messages per neuron, if "counts" are recorded.
    spikes : mapping
        Layer name (and "input") -> (samples, T, *shape) messages, each in its own window, if recorded: 0 or 1, or levels of
        a graded input; signed integers in sigma-delta networks.
    potentials : mapping
        Layer name -> (samples, *shape) membrane potential after the last step, if recorded; units as in `output`.
    predictions_at : numpy.ndarray or None
        (samples, T): the prediction after t = 1 .. T steps, if the backend computes it; constant after an early exit.
    steps_used : numpy.ndarray or None
        (samples,) steps that each sample took, if the caller asked for a confidence.
    saturations, large_inputs : mapping
        Layer name -> neuron updates that reached the 24-bit limits, and whose input reached +-2^17 weight units; in
        sigma-delta networks updates beyond 24 bits, and sums of synapses beyond them.
    potential_ranges, current_ranges : mapping
        Layer name -> (smallest, largest) membrane potential before the threshold is applied, and current of neurons whose
        current has memory; state units, or weight units for float networks.
    waiting_ranges : mapping
        Layer name -> (smallest, largest) membrane potential while its neurons waited, if "waiting" is recorded; of layers that
        wait, on backends that simulate every step themselves; units as above.
    boundary_spikes : mapping
        Layer name -> samples in whose period's last step a stock neuron with soft reset spikes, so that the next sample
        starts with the threshold subtracted. Where neurons wait, samples in which one spikes in any step that is not observed:
        later layers still receive its spikes. Empty for native neurons.
    seconds : float
        Wall time of the simulation with encoding; on Lava without its start-up.
    measurement : Measurement or None
        What a board's probes measured; None for simulations. A run on a board has counts of observed layers only.
    """

    rows_shown: ClassVar[int] = 8

    backend: Backend
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
    waiting_ranges: Mapping[str, Range] = field(default_factory=dict)
    boundary_spikes: Mapping[str, int] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)
    measurement: Measurement | None = None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.output)

    @property
    def predictions(self) -> np.ndarray:
        """(samples,) index of the largest output; the first one of several."""
        return self.output.argmax(axis=1)

    def in_trained_units(self, network: SpikingNetwork) -> np.ndarray:
        """(samples, outputs) float64: the outputs in units of the trained network's, after the steps that each sample took.

        Raises
        ------
        UsageError
            If the network, which is the one that ran, has no output scale.
        """
        steps = self.schedule.steps if self.steps_used is None else self.steps_used[:, None]
        steps = 1 if network.is_sigma_delta else steps
        return self.output * (output_unit(network) / steps)

    @property
    def spike_counts(self) -> dict[str, int]:
        """Messages of each layer (and the input) over all samples."""
        return {name: int(counts.sum()) for name, counts in self.message_counts.items()}

    def score(self, network: SpikingNetwork, truth: np.ndarray) -> Score:
        """How well the outputs match a truth of any kind, see `rmp_lava.scores`.

        Parameters
        ----------
        network : SpikingNetwork
            The network that ran.
        truth : numpy.ndarray
            Integers (samples,) or (samples, height, width): classes. Floats of the outputs' shape: targets of a regression.

        Raises
        ------
        DataError
            If the truth does not fit the outputs.
        UsageError
            If it is real and the network has no output scale.
        """
        truth = np.asarray(truth)
        outputs = self.in_trained_units(network) if truth.dtype.kind == "f" else self.output
        return score(outputs, network.output.shape, truth)

    def agreement(self, network: SpikingNetwork, trained: np.ndarray, *, same_unit: bool = True) -> Score:
        """How well the outputs of the network that ran match (samples, outputs) of the trained one.

        Error and correlation need the `same_unit`, which a network without output scale does not have.
        """
        known = network.output_scale is not None
        outputs = self.in_trained_units(network) if known else self.output
        return agreement(outputs, network.output.shape, trained, same_unit=same_unit and known)

    def accuracy(self, labels: np.ndarray) -> float:
        """Share of correct predictions, 0..1; `score` for other truth than a class of each sample."""
        return float(np.mean(self.predictions == self._checked(labels)))

    def accuracy_at(self, labels: np.ndarray) -> np.ndarray:
        """(T,) share of correct predictions after t = 1 .. T steps."""
        if self.predictions_at is None:
            raise DataError(f"backend {self.backend!r} does not record predictions over time; use backend 'fast'")
        return (self.predictions_at == self._checked(labels)[:, None]).mean(axis=0)

    def _checked(self, labels: np.ndarray) -> np.ndarray:
        labels = np.asarray(labels)
        if self.output.shape[1] == 1:
            raise DataError(
                "the network has 1 output, which is always the largest; use Run.score instead of an accuracy"
            )
        if labels.shape != (self.samples,):
            raise DataError(f"labels have shape {labels.shape}; expected one per sample, ({self.samples},)")
        return labels

    @property
    def operations_per_sample(self) -> dict[str, float]:
        """Layer name -> mean synaptic operations per sample."""
        return {name: float(operations.mean()) for name, operations in self.synaptic_operations.items()}

    def limits_reached(self) -> str:
        """Layers that overflowed, and how often; empty if none did.

        Layers at the lower limit alone are one entry, as they rarely matter, see `lower_limit_only`.
        """
        saturated = {name: count for name, count in self.saturations.items() if count}
        low = {name for name in saturated if self.lower_limit_only(name)}
        found = [f"layer {name!r}: {count:,} saturated updates" for name, count in saturated.items() if name not in low]
        if low:
            found.append(f"lower limit, {sum(saturated[name] for name in low):,} times")
        found += [
            f"layer {name!r}: {count:,} inputs beyond the register"
            for name, count in self.large_inputs.items()
            if count
        ]
        return ", ".join(found)

    def lower_limit_only(self, name: str) -> bool:
        """Whether a layer's potentials saturate at the lower limit only: neurons so far below their threshold fire late."""
        highest = self.potential_ranges[name][1] if name in self.potential_ranges else MAX_STATE
        return self.implementation == "native" and highest < MAX_STATE

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
            "wait": self.schedule.wait,
            "period": self.schedule.period,
            "latency": self.schedule.latency,
            "output": self.output.tolist() if self.output.size <= MOST_OUTPUTS else None,
            "predictions": None if has_pixels(network.output.shape) else self.predictions.tolist(),
            "spike_counts": self.spike_counts,
            "spikes_per_neuron": self.spikes_per_neuron(network),
            "synaptic_operations_per_sample": self.operations_per_sample,
            "neuron_updates": dict(self.neuron_updates),
            "steps_used": None if self.steps_used is None else self.steps_used.tolist(),
            "saturations": dict(self.saturations),
            "large_inputs": dict(self.large_inputs),
            "potential_ranges": {name: list(limits) for name, limits in self.potential_ranges.items()},
            "current_ranges": {name: list(limits) for name, limits in self.current_ranges.items()},
            "waiting_ranges": {name: list(limits) for name, limits in self.waiting_ranges.items()},
            "boundary_spikes": dict(self.boundary_spikes),
            "seconds": self.seconds,
            "measurement": None if self.measurement is None else self.measurement.summary(),
        }

    def table(self) -> Table:
        """Messages and synaptic operations per sample."""
        title = (
            f"Run of {self.samples:,} samples on backend {self.backend!r}, {self.implementation} neurons, "
            f"T = {self.schedule.steps}, {self.seconds:.3g} s"
        )
        operations = self.operations_per_sample
        rows = [
            (
                name,
                f"{count / self.samples:,.1f}",
                f"{operations[name]:,.0f}" if name in operations else "-",
                f"{self.saturations[name]:,}" if name in self.saturations else "-",
            )
            for name, count in self.spike_counts.items()
        ]
        columns = ("layer", "messages per sample", "synaptic operations per sample", "saturated updates")
        return table(title, columns, rows)
