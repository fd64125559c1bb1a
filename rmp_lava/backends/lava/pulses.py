"""What drives stock neurons besides their synapses: pulses once per period, and constant inputs. Imports Lava.

Both come from LIF neurons of their own, so that they run wherever the other neurons run, on a neuro-core too. A bias alone
makes a LIF spike regularly: each neuron of the clock spikes once per period, in its own step; those of the constants spike in
every step from a first one on. Their initial potentials make them reach their threshold in the right step. Where constants last
only for some steps of each period, a pulse of the clock takes as much from them as they gain until the next period.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import Sparse
from scipy.sparse import csr_matrix

from ...errors import BackendError
from ...network import NO_MEMORY
from ...registers import MAX_STATE, STATE_SHIFT, to_state_units
from ...stock_weights import parts, terms
from .population import LavaPopulation, connect

LONGEST_PERIOD = MAX_STATE >> STATE_SHIFT
"""Steps that a LIF's potential can count, one weight unit per step."""


@dataclass
class _Lines:
    """Neurons that drive others, and the synapses from them.

    neurons : (step, number among those of the step) -> index of the neuron.
    lines : (target, exponent, neuron -> mantissas (target neurons,) in Lava's order), of one sign each.
    """

    neurons: dict[tuple[int, int], int] = field(default_factory=dict)
    lines: list[tuple[LavaPopulation, int, dict[int, np.ndarray]]] = field(default_factory=list)

    @property
    def steps(self) -> np.ndarray:
        """In which each neuron spikes (first)."""
        return np.array([step for step, _ in self.neurons])


class Pulses:
    """Pulses and constant inputs of a network; collected first, because a population's size is fixed once it is built.

    period : Steps from one pulse to the next one.
    lasting : Steps of each period for which constants last, where neurons wait; None: all.
    """

    def __init__(self, period: int, lasting: int | None = None) -> None:
        if period > LONGEST_PERIOD:
            raise BackendError(
                f"the period is {period} steps, and neurons that pulse once a period count up to {LONGEST_PERIOD}; "
                "use fewer steps or blank steps"
            )
        self.period, self.lasting = period, lasting
        self._clock, self._constant = _Lines(), _Lines()

    def once(self, step: int, value: np.ndarray, target: LavaPopulation) -> None:
        """Add `value` (channel-first, weight units) to a population's input in Lava's step `step` of every period.

        Its neurons spike one step before the pulse arrives. Pulses whose steps differ by whole periods share them, and so come
        before `step` too. Where neurons wait, none does: a pulse that releases them would find nothing that it holds.
        """
        spikes = step - 1 if self.lasting is not None else (step - 2) % self.period + 1
        self._collect(self._clock, spikes, value, target)

    def always(self, step: int, value: np.ndarray, target: LavaPopulation) -> None:
        """Add `value` (channel-first, weight units) to a population's input in every step from `step` (at least 2) on.

        Where constants last for some steps, these are `step` and the following ones, and those a whole number of periods later.
        """
        self._collect(self._constant, step - 1, value, target)

    def connect(self) -> None:
        """Build the neurons and connect everything that was collected."""
        if self._constant.lines:
            # Two weight units per step exceed the threshold of one in every step, once the first spike is reached.
            before = -(2 * (self._constant.steps - 1) - 1)
            neurons = _spontaneous(1, bias=2, v=to_state_units(before))
            _connect(neurons, self._constant)
            if self.lasting is not None:
                ends, pause = self._constant.steps + self.lasting, 2 * (self.period - self.lasting)
                held = LavaPopulation(neurons.a_in, neurons.s_out, neurons.s_out.shape)
                for end in np.unique(ends):
                    self.once(int(end), np.where(ends == end, -pause, 0), held)
        if self._clock.lines:
            missing = self.period - self._clock.steps
            neurons = _spontaneous(self.period - 1, bias=1, v=to_state_units(missing))
            _connect(neurons, self._clock)

    def _collect(self, source: _Lines, step: int, value: np.ndarray, target: LavaPopulation) -> None:
        """Add one line for each sign and exponent that the values take; each part of a value has its own neuron."""
        columns: dict[tuple[int, int], dict[int, np.ndarray]] = {}
        for copy, part in enumerate(parts(value)):
            neuron = source.neurons.setdefault((step, copy), len(source.neurons))
            for key, mantissa in _mantissas(part).items():
                columns.setdefault(key, {})[neuron] = mantissa
        source.lines += [(target, exponent, found) for (_, exponent), found in columns.items()]


def _mantissas(value: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """(sign, exponent) -> mantissas in Lava's order; shifted by their exponents they add up to `value`."""
    flat = value.transpose().reshape(-1).astype(np.int64)
    found: dict[tuple[int, int], np.ndarray] = {}
    for number in np.unique(flat[flat != 0]):
        sign = int(np.sign(number))
        for mantissa, exponent in terms(int(abs(number))):
            empty = np.zeros(flat.size, dtype=np.int32)
            found.setdefault((sign, exponent), empty)[flat == number] = sign * mantissa
    return found


def _spontaneous(threshold: int, *, bias: int, v: np.ndarray) -> LIF:
    """LIF neurons without leak that gain `bias` weight units per step, starting at `v` (state units)."""
    return LIF(
        shape=v.shape, vth=threshold, du=NO_MEMORY - 1, dv=0, bias_mant=bias, bias_exp=STATE_SHIFT, v=v.astype(np.int32)
    )


def _connect(neurons: LIF, source: _Lines) -> None:
    for target, exponent, mantissas in source.lines:
        weights = np.zeros((int(np.prod(target.shape)), len(source.neurons)), dtype=np.int32)
        for neuron, mantissa in mantissas.items():
            weights[:, neuron] = mantissa
        connect(neurons.s_out, Sparse(weights=csr_matrix(weights), weight_exp=exponent), target)
