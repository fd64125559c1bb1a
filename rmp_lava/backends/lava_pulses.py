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

from ..errors import BackendError
from ..network import NO_MEMORY
from ..neuron import MAX_STATE, STATE_SHIFT
from .stock_weights import MAX_VALUE, terms

LONGEST_PERIOD = MAX_STATE >> STATE_SHIFT
"""Steps that a LIF's potential can count, one weight unit each."""


class Target(Protocol):
    """A population that pulses reach."""

    a_in: InPort
    shape: tuple[int, ...]


@dataclass
class _Line:
    """Synapses from one neuron to a population: `mantissa` (neurons,) of one sign, shifted by `exponent`."""

    neuron: int
    mantissa: np.ndarray
    exponent: int
    target: Target


@dataclass
class _Lines:
    """Neurons by the number that tells them apart, and the synapses from them."""

    neurons: dict[int, int] = field(default_factory=dict)
    lines: list[_Line] = field(default_factory=list)


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

    def once(self, step: int, value: np.ndarray, target: Target, what: str) -> None:
        """Add `value` (channel first, weight units) to a population's input in step `step` of Lava, and every period from it.

        Earlier periods are served too, as far as they are there; the neuron spikes one step before its pulse arrives.
        """
        self._collect(self._clock, (step - 2) % self.period + 1, value, target, what)

    def always(self, step: int, value: np.ndarray, target: Target, what: str) -> None:
        """Add `value` to a population's input in each step from step `step` (at least 2) on."""
        self._collect(self._constant, step - 1, value, target, what)

    def connect(self, processes: list[AbstractProcess]) -> None:
        """Make the neurons and connect everything that was collected."""
        if self._clock.lines:
            missing = self.period - np.array(list(self._clock.neurons))
            neurons = _spontaneous(self.period - 1, bias=1, v=missing << STATE_SHIFT)
            _connect(neurons, self._clock, processes)
        if self._constant.lines:
            # Two weight units a step, threshold one: in every step, once the first one is reached.
            earlier = 2 * (np.array(list(self._constant.neurons)) - 1) - 1
            neurons = _spontaneous(1, bias=2, v=-earlier << STATE_SHIFT)
            _connect(neurons, self._constant, processes)

    def _collect(self, source: _Lines, key: int, value: np.ndarray, target: Target, what: str) -> None:
        """One line for each sign and exponent that the values take."""
        flat = value.transpose().reshape(-1).astype(np.int64)
        neuron = source.neurons.setdefault(key, len(source.neurons))
        for sign in (1, -1):
            parts: dict[int, np.ndarray] = {}
            for number in np.unique(flat[flat * sign > 0]):
                for mantissa, exponent in terms(int(abs(number)), what):
                    parts.setdefault(exponent, np.zeros(flat.size, dtype=np.int32))[flat == number] = sign * mantissa
            source.lines += [_Line(neuron, mantissa, exponent, target) for exponent, mantissa in parts.items()]


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
        reached = np.flatnonzero(line.mantissa)
        place = (reached, np.full(reached.size, line.neuron))
        shape = (line.mantissa.size, len(source.neurons))
        weights = csr_matrix((line.mantissa[reached], place), shape=shape, dtype=np.int32)
        synapse = Sparse(weights=weights, weight_exp=line.exponent)
        neurons.s_out.connect(synapse.s_in)
        synapse.a_out.reshape(line.target.shape).connect(line.target.a_in)
        processes.append(synapse)
