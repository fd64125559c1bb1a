"""What a circuit should do, in plain integers, step by step; independent of Lava and of the backends.

`Rules` lists how a chip may deviate from Lava's documented behaviour (lava/proc/lif/models.py, `PyLifModelBitAcc`):
a deviation that explains a recording exactly shows what is different.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..backends.circuit import Cells, Circuit, Connection, Recording

SHIFT = 6
"""Bits by which inputs and thresholds are shifted to the states' unit, 1/64 weight unit."""
LIMIT = 1 << 23
"""States have 24 signed bits."""


@dataclass(frozen=True)
class Rules:
    """The documented rules; each field is one from which a chip may deviate.

    spikes_at_threshold : A cell also spikes if v equals the threshold.
    threshold_shift : Bits by which the threshold is shifted to the unit of v.
    spike_clears_current : A spike zeroes u as well as v.
    spike_subtracts : A spike subtracts the threshold from v instead of zeroing it.
    rests_after_spike : A cell cannot spike in the step after a spike (a refractory period of Loihi's LIF).
    input_bits : Width of the register that sums a step's input; None: unlimited.
    input_saturates : Whether that register saturates instead of wrapping.
    current_saturates : u saturates instead of wrapping.
    reset_clears_current : The periodic reset zeroes u as well as v.
    reset_drops_input : Input that arrives in the step of the reset is lost.
    """

    spikes_at_threshold: bool = False
    threshold_shift: int = SHIFT
    spike_clears_current: bool = False
    spike_subtracts: bool = False
    rests_after_spike: bool = False
    input_bits: int | None = None
    input_saturates: bool = False
    current_saturates: bool = False
    reset_clears_current: bool = True
    reset_drops_input: bool = False


DOCUMENTED = Rules()


def predict(circuit: Circuit, rules: Rules = DOCUMENTED) -> Recording:
    """Spikes in every step and u after the last one."""
    states = {each.name: _State(each, rules) for each in circuit.cells}
    matrices = [_matrix(each, circuit) for each in circuit.connections]
    sent = {name: np.zeros(int(np.prod(shape)), np.int64) for name, shape in circuit.shapes.items()}
    for t in range(1, circuit.steps + 1):
        arriving = {name: np.zeros_like(state.u) for name, state in states.items()}
        for connection, matrix in zip(circuit.connections, matrices, strict=True):
            arriving[connection.target] += matrix @ sent[connection.source]
        for name, state in states.items():
            sent[name] = state.step(t, arriving[name])
        for lines in circuit.lines:
            row = lines.messages[t - 1] if t <= len(lines.messages) else np.zeros(lines.shape, np.int64)
            sent[lines.name] = row.reshape(-1) if lines.bits else row.reshape(-1) != 0
    spikes = {name: np.array(each.history, np.int64).reshape(-1, *each.cells.shape) for name, each in states.items()}
    currents = {name: each.u.reshape(each.cells.shape) for name, each in states.items()}
    return Recording(spikes, currents, "plain integers")


class _State:
    """The state of a population, flattened."""

    def __init__(self, cells: Cells, rules: Rules) -> None:
        self.cells, self.rules = cells, rules
        size = int(np.prod(cells.shape))
        self.u = np.zeros(size, dtype=np.int64)
        self.v = np.full(size, cells.start, dtype=np.int64)
        self.history: list[np.ndarray] = []

    def step(self, t: int, a: np.ndarray) -> np.ndarray:
        """Spikes of step t, in which `a` arrives."""
        cells, rules = self.cells, self.rules
        if cells.reset is not None and (t - cells.reset[1]) % cells.reset[0] == 0:
            self.v = np.zeros_like(self.v)
            self.u = np.zeros_like(self.u) if rules.reset_clears_current else self.u
            a = np.zeros_like(a) if rules.reset_drops_input else a
        u = _decayed(self.u, cells.du + 1) + (_register(a, rules) << SHIFT)
        u = np.clip(u, 1 - LIMIT, LIMIT - 1) if rules.current_saturates else _wrapped(u)
        v = np.clip(_decayed(self.v, cells.dv) + u + (cells.bias << cells.bias_exponent), 1 - LIMIT, LIMIT - 1)
        threshold = cells.threshold << rules.threshold_shift
        spikes = v >= threshold if rules.spikes_at_threshold else v > threshold
        if rules.rests_after_spike and self.history:
            spikes = spikes & ~self.history[-1]
        self.u = np.where(spikes, 0, u) if rules.spike_clears_current else u
        self.v = np.where(spikes, v - threshold if rules.spike_subtracts else 0, v)
        self.history.append(spikes)
        return spikes


def _decayed(state: np.ndarray, rate: int) -> np.ndarray:
    """The state after a decay of `rate`/4096, rounded towards zero."""
    return np.sign(state) * (np.abs(state) * (4096 - rate) >> 12)


def _wrapped(u: np.ndarray) -> np.ndarray:
    """u in its register; Lava keeps +2^23 where two's complement would not, so no rung goes there."""
    return np.where(u > LIMIT, u - 2 * LIMIT, np.where(u <= -LIMIT, u + 2 * LIMIT, u))


def _register(a: np.ndarray, rules: Rules) -> np.ndarray:
    if rules.input_bits is None:
        return a
    half = 1 << (rules.input_bits - 1)
    return np.clip(a, -half, half - 1) if rules.input_saturates else (a + half) % (2 * half) - half


def _matrix(connection: Connection, circuit: Circuit) -> np.ndarray:
    """Weights (targets, sources) of both populations, flattened in C order."""
    weight = connection.weight.astype(np.int64)
    if connection.kind != "conv":
        return weight << connection.exponent
    target, source = circuit.shapes[connection.target], circuit.shapes[connection.source]
    matrix = np.zeros((*target, *source), dtype=np.int64)
    for y, x, i, j in np.ndindex(*target[1:], *weight.shape[2:]):
        row = y * connection.stride[0] + i - connection.padding[0]
        column = x * connection.stride[1] + j - connection.padding[1]
        if 0 <= row < source[1] and 0 <= column < source[2]:
            matrix[:, y, x, :, row, column] = weight[:, :, i, j]
    return matrix.reshape(np.prod(target), -1)
