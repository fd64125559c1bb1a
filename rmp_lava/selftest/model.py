"""What a circuit should do, in plain integers, step by step and synapse by synapse; independent of Lava and of the backends.

`Rules` lists the ways in which a chip may deviate from Lava's documented behaviour (lava/proc/lif/models.py, `PyLifModelBitAcc`):
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

    Parameters
    ----------
    spikes_at_threshold : bool
        A cell also spikes if v equals the threshold.
    threshold_shift : int
        Bits by which the threshold is shifted to the unit of v.
    spike_clears_current : bool
        A spike zeroes u as well as v.
    spike_subtracts : bool
        A spike subtracts the threshold from v instead of zeroing it.
    rests_after_spike : bool
        A cell cannot spike in the step after a spike (a refractory period of Loihi's LIF).
    input_bits : int or None
        Width of the register that sums a step's input; None: unlimited.
    input_saturates : bool
        Whether that register saturates instead of wrapping.
    current_saturates : bool
        u saturates instead of wrapping.
    reset_clears_current : bool
        The periodic reset zeroes u as well as v.
    reset_drops_input : bool
        Input that arrives in the step of the reset is lost.
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
    states = [_State(each, rules) for each in circuit.cells]
    synapses = {id(each): _synapses(each, circuit) for each in circuit.connections}
    sent = {each.name: [0] * int(np.prod(each.shape)) for each in circuit.cells}
    sent |= {each.name: [0] * int(np.prod(each.shape)) for each in circuit.lines}
    graded = {each.name for each in circuit.lines if each.bits}
    for t in range(1, circuit.steps + 1):
        arriving = {each.cells.name: [0] * len(each.u) for each in states}
        for connection in circuit.connections:
            messages, sums = sent[connection.source], arriving[connection.target]
            for target, source, weight in synapses[id(connection)]:
                message = messages[source]
                sums[target] += weight * (message if connection.source in graded else int(message != 0))
        for each in states:
            sent[each.cells.name] = each.step(t, arriving[each.cells.name])
        for lines in circuit.lines:
            row = lines.messages[t - 1] if t <= len(lines.messages) else np.zeros(lines.shape, np.int64)
            sent[lines.name] = [int(message) for message in row.reshape(-1)]
    spikes = {each.cells.name: np.array(each.history).reshape(-1, *each.cells.shape) for each in states}
    currents = {each.cells.name: np.array(each.u, dtype=np.int64).reshape(each.cells.shape) for each in states}
    return Recording(spikes, currents, "plain integers")


class _State:
    """The state of a population."""

    def __init__(self, cells: Cells, rules: Rules) -> None:
        self.cells, self.rules = cells, rules
        size = int(np.prod(cells.shape))
        self.u = [0] * size
        self.v = [cells.start] * size if isinstance(cells.start, int) else list(cells.start)
        self.history: list[list[int]] = []

    def step(self, t: int, arriving: list[int]) -> list[int]:
        """Spikes of step t."""
        resets = self.cells.reset is not None and t % self.cells.reset[0] == self.cells.reset[1] % self.cells.reset[0]
        spikes = [self._update(i, a, resets) for i, a in enumerate(arriving)]
        self.history.append(spikes)
        return spikes

    def _update(self, i: int, a: int, resets: bool) -> int:
        cells, rules = self.cells, self.rules
        if resets:
            self.v[i] = 0
            self.u[i] = 0 if rules.reset_clears_current else self.u[i]
        a = 0 if resets and rules.reset_drops_input else _register(a, rules)
        u = _decayed(self.u[i], cells.du + 1) + (a << SHIFT)
        u = max(1 - LIMIT, min(LIMIT - 1, u)) if rules.current_saturates else _wrapped(u)
        v = _decayed(self.v[i], cells.dv) + u + (cells.bias << cells.bias_exponent)
        v = max(1 - LIMIT, min(LIMIT - 1, v))
        threshold = cells.threshold << rules.threshold_shift
        spike = v > threshold or (rules.spikes_at_threshold and v == threshold)
        spike = spike and not (rules.rests_after_spike and self.history and self.history[-1][i])
        self.u[i] = 0 if spike and rules.spike_clears_current else u
        after = v - threshold if rules.spike_subtracts else 0
        self.v[i] = after if spike else v
        return int(spike)


def _decayed(state: int, rate: int) -> int:
    """The state after a decay of `rate`/4096, rounded towards zero."""
    kept = (abs(state) * (4096 - rate)) >> 12
    return kept if state >= 0 else -kept


def _wrapped(u: int) -> int:
    """u in its register; Lava keeps +2^23 where two's complement would not, so no rung goes there."""
    if u > LIMIT:
        return u - 2 * LIMIT
    return u + 2 * LIMIT if u <= -LIMIT else u


def _register(a: int, rules: Rules) -> int:
    if rules.input_bits is None:
        return a
    half = 1 << (rules.input_bits - 1)
    if rules.input_saturates:
        return max(-half, min(half - 1, a))
    return (a + half) % (2 * half) - half


def _synapses(connection: Connection, circuit: Circuit) -> list[tuple[int, int, int]]:
    """(target, source, weight) of every synapse."""
    weight = connection.weight
    if connection.kind != "conv":
        return [
            (target, source, int(weight[target, source]) << connection.exponent)
            for target, source in zip(*np.nonzero(weight), strict=True)
        ]
    _, rows, columns = circuit.shape(connection.source)
    _, target_rows, target_columns = circuit.shape(connection.target)
    found = []
    for out, channel, i, j in zip(*np.nonzero(weight), strict=True):
        for y in range(target_rows):
            for x in range(target_columns):
                row = y * connection.stride[0] + i - connection.padding[0]
                column = x * connection.stride[1] + j - connection.padding[1]
                if 0 <= row < rows and 0 <= column < columns:
                    target = (out * target_rows + y) * target_columns + x
                    source = (channel * rows + row) * columns + column
                    found.append((int(target), int(source), int(weight[out, channel, i, j])))
    return found
