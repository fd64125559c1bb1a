"""A tiny experiment as plain data: lines, LIF populations and connections, in the words of Lava's stock Processes.

Unlike a `SpikingNetwork`, a circuit says what the Processes are given (du, dv, mantissas and exponents, single self-synapses), so
that one of these can be tried out, or be wrong, alone. Shapes are (channels, height, width) or (neurons,). Steps count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Lines:
    """Messages from outside.

    Parameters
    ----------
    name : str
    messages : numpy.ndarray
        (steps, *shape) int; row t - 1 is sent in step t. Nothing is sent after the last row.
    bits : int
        Of a graded message's payload; 0 for spikes.
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
    """A population of Lava's LIF, or LIFReset where `reset` is given.

    Parameters
    ----------
    name : str
    shape : tuple of int
    threshold : int
        vth, 17-bit mantissa in weight units; a cell spikes where v is above it.
    du, dv : int
        As Lava takes them: u keeps (4096 - (du + 1)) / 4096 of itself in each step, v (4096 - dv) / 4096.
    bias, bias_exponent : int
        `bias << bias_exponent` in 1/64 of a weight unit is added to v in each step.
    start : int or tuple of int
        v before the first step, in 1/64 of a weight unit.
    reset : (int, int) or None
        (interval, offset): u and v are zeroed in steps t with t % interval == offset, before anything is added.
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

    Parameters
    ----------
    source, target : str
    weight : numpy.ndarray
        Dense and sparse: (targets, sources), both flattened in C order. Convolution: (C_out, C_in, height, width) in PyTorch's
        convention, a cross-correlation.
    kind : {"dense", "sparse", "conv"}
    exponent : int
        Weights count times 2^exponent; dense and sparse only.
    stride, padding : (int, int)
        (height, width), convolutions only.
    """

    source: str
    target: str
    weight: np.ndarray
    kind: str = "dense"
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

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the lines or cells of that name."""
        return next(part.shape for part in (*self.lines, *self.cells) if part.name == name)

    def with_cells(self, name: str, **changes: Any) -> Circuit:
        """A copy whose cells of that name are changed."""
        cells = tuple(replace(each, **changes) if each.name == name else each for each in self.cells)
        return replace(self, cells=cells)

    def with_connection(self, index: int, **changes: Any) -> Circuit:
        """A copy in which one connection is changed."""
        changed = replace(self.connections[index], **changes)
        return replace(self, connections=(*self.connections[:index], changed, *self.connections[index + 1 :]))

    def without(self, index: int) -> Circuit:
        """A copy that lacks one connection."""
        return replace(self, connections=self.connections[:index] + self.connections[index + 1 :])

    def delayed(self, index: int) -> Circuit:
        """A copy in which what one connection carries comes a step later, through cells that only pass spikes on."""
        slow = self.connections[index]
        size = int(np.prod(self.shape(slow.source)))
        relay = Cells("relay", (size,), 1, du=4095, dv=4096)
        onward = Connection(slow.source, "relay", 2 * np.eye(size, dtype=int))
        changed = self.with_connection(index, source="relay")
        return replace(changed, cells=(*self.cells, relay), connections=(*changed.connections, onward))

    def later(self, steps: int) -> Circuit:
        """A copy whose cells expect everything from outside some steps later, as it comes through adapters.

        Resets and cells with a bias move along. What receives nothing from outside stays as it is.
        """
        if not self.lines or not steps:
            return self
        return replace(self, cells=tuple(_later(each, steps) for each in self.cells))

    def with_messages(self, change) -> Circuit:
        """A copy in which `change` was applied to the messages (steps, *shape) of all lines."""
        return replace(self, lines=tuple(replace(each, messages=change(each.messages)) for each in self.lines))

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: what was run, to build it again by other means."""
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
    """Cells whose periodic reset comes later, and whose bias has gained nothing after that many steps."""
    gained = steps * (cells.bias << cells.bias_exponent)
    start = cells.start - gained if isinstance(cells.start, int) else tuple(each - gained for each in cells.start)
    reset = None if cells.reset is None else (cells.reset[0], (cells.reset[1] + steps) % cells.reset[0])
    return replace(cells, start=start, reset=reset)


def from_summary(content: Mapping[str, Any]) -> Circuit:
    """The circuit that `Circuit.summary` describes."""
    lines = [
        Lines(each["name"], np.array(each["messages"]).reshape(-1, *each["shape"]), each["bits"])
        for each in content["lines"]
    ]
    cells = [
        Cells(**{name: tuple(value) if isinstance(value, list) else value for name, value in each.items()})
        for each in content["cells"]
    ]
    connections = [
        Connection(
            **{
                **each,
                "weight": np.array(each["weight"]),
                "stride": tuple(each["stride"]),
                "padding": tuple(each["padding"]),
            }
        )
        for each in content["connections"]
    ]
    return Circuit(content["steps"], tuple(lines), tuple(cells), tuple(connections))


@dataclass(frozen=True, eq=False)
class Recording:
    """What ran, or what should have.

    Parameters
    ----------
    spikes : mapping
        Population -> int array; of circuits (steps, *shape), of networks (samples, steps, *shape).
    currents : mapping
        Population -> int64 (*shape), u after the last step in 1/64 of a weight unit; of networks (samples, *shape), the
        membrane potential at the end of each sample. Only what can be read.
    execution : str
        In words what really computed.
    """

    spikes: Mapping[str, np.ndarray]
    currents: Mapping[str, np.ndarray] = field(default_factory=dict)
    execution: str = ""
