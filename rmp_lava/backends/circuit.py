"""A tiny experiment as plain data: lines, LIF populations and connections, in the parameters of Lava's stock Processes.

Unlike a `SpikingNetwork`, a circuit sets what the Processes are given (du, dv, mantissas, exponents, each self-synapse), so that
one of these can be tested, or be wrong, alone. Shapes are (channels, height, width) or (neurons,). Steps count from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

KEPT = -1
"""du of a current that never decays."""
LEAKING = 0
"""du of a current that loses 1/4096 per step: the smallest decay of a chip that does not support `KEPT`."""
FORGOTTEN = 4095
"""du of a current that equals the step's input."""


@dataclass(frozen=True, eq=False)
class Lines:
    """Messages from outside.

    messages : (steps, *shape) int; row t - 1 is sent in step t. Nothing is sent after the last row.
    bits : Payload of a graded message; 0 for spikes.
    """

    name: str
    messages: np.ndarray
    bits: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one step's messages."""
        return self.messages.shape[1:]


@dataclass(frozen=True)
class Cells:
    """A population of Lava's LIF, or LIFReset if `reset` is given.

    threshold : vth, 17-bit mantissa in weight units; a cell spikes when v exceeds it.
    du, dv : As Lava takes them: per step, u keeps (4096 - (du + 1)) / 4096 of its value, v (4096 - dv) / 4096.
    bias, bias_exponent : `bias << bias_exponent`, in 1/64 weight unit, is added to v in each step.
    start : v before the first step, in 1/64 weight unit.
    reset : (interval, offset): u and v are zeroed in steps t with t % interval == offset, before anything is added.
    """

    name: str
    shape: tuple[int, ...]
    threshold: int
    du: int
    dv: int
    bias: int = 0
    bias_exponent: int = 0
    start: int | tuple[int, ...] = 0
    reset: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Connection:
    """Synapses, which take one step.

    weight : Dense and sparse: (targets, sources), both flattened in C order. Convolution: (C_out, C_in, height, width) in
        PyTorch's convention, a cross-correlation.
    kind : {"dense", "sparse", "conv"}
    exponent : Weights are scaled by 2^exponent; dense and sparse only.
    stride, padding : (height, width), convolutions only.
    """

    source: str
    target: str
    weight: np.ndarray
    kind: Literal["dense", "sparse", "conv"] = "dense"
    exponent: int = 0
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class Circuit:
    """Lines, cells and connections, run for a number of steps; every population's spikes are recorded."""

    steps: int
    lines: tuple[Lines, ...]
    cells: tuple[Cells, ...]
    connections: tuple[Connection, ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all lines and cells, by name."""
        return {each.name: each.shape for each in self.lines} | {each.name: each.shape for each in self.cells}

    def with_cells(self, name: str, **changes: Any) -> Circuit:
        """A copy in which the cells of that name are changed."""
        cells = tuple(replace(each, **changes) if each.name == name else each for each in self.cells)
        return replace(self, cells=cells)

    def with_connection(self, index: int, **changes: Any) -> Circuit:
        """A copy in which one connection is changed."""
        changed = replace(self.connections[index], **changes)
        return replace(self, connections=(*self.connections[:index], changed, *self.connections[index + 1 :]))

    def without(self, index: int) -> Circuit:
        """A copy that lacks one connection."""
        return replace(self, connections=self.connections[:index] + self.connections[index + 1 :])

    def leaking(self) -> Circuit:
        """A copy for a board without du = -1: currents that would never decay lose 1/4096 per step."""
        cells = tuple(replace(each, du=LEAKING) if each.du == KEPT else each for each in self.cells)
        return replace(self, cells=cells)

    def delayed(self, index: int) -> Circuit:
        """A copy in which what one connection carries arrives a step later, through relay cells."""
        slow = self.connections[index]
        size = int(np.prod(self.shapes[slow.source]))
        relay = Cells("relay", (size,), 1, du=FORGOTTEN, dv=4096)
        onward = Connection(slow.source, "relay", 2 * np.eye(size, dtype=int))
        changed = self.with_connection(index, source="relay")
        return replace(changed, cells=(*self.cells, relay), connections=(*changed.connections, onward))

    def later(self, steps: int) -> Circuit:
        """A copy whose cells expect all messages of lines some steps later, because these pass through adapters.

        Resets and biases move along. A circuit without lines is returned as it is.
        """
        if not self.lines or not steps:
            return self
        return replace(self, cells=tuple(_later(each, steps) for each in self.cells))

    def with_messages(self, change: Callable[[np.ndarray], np.ndarray]) -> Circuit:
        """A copy in which `change` is applied to the messages (steps, *shape) of all lines."""
        return replace(self, lines=tuple(replace(each, messages=change(each.messages)) for each in self.lines))

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: everything."""
        return {
            "steps": self.steps,
            "lines": [
                {"name": each.name, "shape": each.shape, "bits": each.bits, "messages": each.messages.tolist()}
                for each in self.lines
            ],
            "cells": [vars(each) for each in self.cells],
            "connections": [{**vars(each), "weight": each.weight.tolist()} for each in self.connections],
        }


def _later(cells: Cells, steps: int) -> Cells:
    """Cells whose periodic reset comes later, and whose bias has added nothing by then."""
    gained = steps * (cells.bias << cells.bias_exponent)
    start = cells.start - gained if isinstance(cells.start, int) else tuple(each - gained for each in cells.start)
    reset = None if cells.reset is None else (cells.reset[0], (cells.reset[1] + steps) % cells.reset[0])
    return replace(cells, start=start, reset=reset)


@dataclass(frozen=True, eq=False)
class Recording:
    """What ran, or what should have run.

    spikes : Population -> int array; of circuits (steps, *shape), of networks (samples, steps, *shape).
    currents : Population -> int64 (*shape), u after the last step in 1/64 weight unit; of networks (samples, *shape), the
        membrane potential at the end of each sample. Only what can be read.
    execution : What really computed it, in words.
    """

    spikes: Mapping[str, np.ndarray]
    currents: Mapping[str, np.ndarray] = field(default_factory=dict)
    execution: str = ""
