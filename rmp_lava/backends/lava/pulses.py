"""What drives stock neurons beside their synapses: pulses once a period, and inputs that never stop. Imports Lava.

Both come from LIF neurons without any input, so that they run where all other neurons run, on a neuro-core too. A bias
alone makes a LIF spike regularly: those of the clock once a period, each in a step of its own, those of the constant in every
step from a first one on. They start at potentials from which they reach their threshold in the right step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import Sparse
from scipy.sparse import csr_matrix

from ...errors import BackendError
from ...network import NO_MEMORY
from ...registers import MAX_STATE, STATE_SHIFT, to_state_units
from ...stock_weights import MAX_VALUE, terms

LONGEST_PERIOD = MAX_STATE >> STATE_SHIFT
"""Steps that a LIF's potential can count, one weight unit each."""


class Target(Protocol):
    """A population that pulses reach."""

    a_in: InPort
    shape: tuple[int, ...]


@dataclass
class _Line:
    """Synapses of one sign to a population: from each neuron a column of mantissas (neurons,), all shifted by `exponent`."""

    columns: list[tuple[int, np.ndarray]]
    exponent: int
    target: Target


@dataclass
class _Lines:
    """Neurons by what tells them apart (a step, and which of several at it), and the synapses from them."""

    neurons: dict[tuple[int, int], int] = field(default_factory=dict)
    lines: list[_Line] = field(default_factory=list)

    @property
    def steps(self) -> np.ndarray:
        """Of each neuron."""
        return np.array([step for step, _ in self.neurons])


class Pulses:
    """Pulses and constant inputs of a network; collected first, as a population's size is fixed once it is made."""

    def __init__(self, period: int) -> None:
        if period > LONGEST_PERIOD:
            raise BackendError(
                f"the period is {period} steps, and neurons that pulse once a period count up to {LONGEST_PERIOD}; "
                "use fewer steps or blank steps"
            )
        self.period = period
        self._clock, self._constant = _Lines(), _Lines()

    def once(self, step: int, parts: list[np.ndarray], target: Target, what: str) -> None:
        """Add the sum of `parts` to a population's input in step `step` of Lava, and every period from it.

        Each part (channel first, weight units) comes from a neuron of its own. Earlier periods are served too, as far as they
        are there; the neurons spike one step before their pulse arrives.
        """
        self._collect(self._clock, (step - 2) % self.period + 1, parts, target, what)

    def always(self, step: int, parts: list[np.ndarray], target: Target, what: str) -> None:
        """Add the sum of `parts` to a population's input in each step from step `step` (at least 2) on."""
        self._collect(self._constant, step - 1, parts, target, what)

    def connect(self, processes: list[AbstractProcess]) -> None:
        """Make the neurons and connect everything that was collected."""
        if self._clock.lines:
            missing = self.period - self._clock.steps
            neurons = _spontaneous(self.period - 1, bias=1, v=to_state_units(missing))
            _connect(neurons, self._clock, processes)
        if self._constant.lines:
            # Two weight units a step, threshold one: in every step, once the first one is reached.
            earlier = 2 * (self._constant.steps - 1) - 1
            neurons = _spontaneous(1, bias=2, v=to_state_units(-earlier))
            _connect(neurons, self._constant, processes)

    def _collect(self, source: _Lines, step: int, parts: list[np.ndarray], target: Target, what: str) -> None:
        """One line for each sign and exponent that the values take."""
        columns: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = {}
        for copy, part in enumerate(parts):
            neuron = source.neurons.setdefault((step, copy), len(source.neurons))
            for key, mantissa in _mantissas(part, what).items():
                columns.setdefault(key, []).append((neuron, mantissa))
        source.lines += [_Line(found, exponent, target) for (_, exponent), found in columns.items()]


def _mantissas(value: np.ndarray, what: str) -> dict[tuple[int, int], np.ndarray]:
    """(sign, exponent) -> mantissas in Lava's order whose shifted sum is `value`."""
    flat = value.transpose().reshape(-1).astype(np.int64)
    found: dict[tuple[int, int], np.ndarray] = {}
    for number in np.unique(flat[flat != 0]):
        sign = int(np.sign(number))
        for mantissa, exponent in terms(int(abs(number)), what):
            empty = np.zeros(flat.size, dtype=np.int32)
            found.setdefault((sign, exponent), empty)[flat == number] = sign * mantissa
    return found


def in_parts(value: np.ndarray) -> list[np.ndarray]:
    """Arrays that add up to `value`, none beyond what `terms` says."""
    parts = []
    while value.any():
        parts.append(np.clip(value, -MAX_VALUE, MAX_VALUE))
        value = value - parts[-1]
    return parts


def _spontaneous(threshold: int, *, bias: int, v: np.ndarray) -> LIF:
    """LIF neurons without leak that gain `bias` weight units a step, and start at `v` (state units)."""
    return LIF(
        shape=v.shape, vth=threshold, du=NO_MEMORY - 1, dv=0, bias_mant=bias, bias_exp=STATE_SHIFT, v=v.astype(np.int32)
    )


def _connect(neurons: LIF, source: _Lines, processes: list[AbstractProcess]) -> None:
    processes.append(neurons)
    for line in source.lines:
        reached = [np.flatnonzero(mantissa) for _, mantissa in line.columns]
        mantissas = [mantissa[rows] for rows, (_, mantissa) in zip(reached, line.columns, strict=True)]
        senders = [np.full(rows.size, neuron) for rows, (neuron, _) in zip(reached, line.columns, strict=True)]
        shape = (line.columns[0][1].size, len(source.neurons))
        place = (np.concatenate(reached), np.concatenate(senders))
        weights = csr_matrix((np.concatenate(mantissas), place), shape=shape, dtype=np.int32)
        synapse = Sparse(weights=weights, weight_exp=line.exponent)
        neurons.s_out.connect(synapse.s_in)
        synapse.a_out.reshape(line.target.shape).connect(line.target.a_in)
        processes.append(synapse)
