"""From a circuit to connected Lava Processes, all of them Lava's own. Imports Lava."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import Sparse
from scipy.sparse import csr_matrix

from .circuit import Cells, Circuit, Connection, Recording


@dataclass
class LavaCircuit:
    """The Processes of a circuit: cells by name, and a sink for the spikes of each."""

    circuit: Circuit
    cells: dict[str, AbstractProcess]
    sinks: dict[str, Sink]

    @property
    def process(self) -> AbstractProcess:
        """One of the connected Processes, for running all of them."""
        return next(iter(self.cells.values()))

    def read(self, execution: str) -> Recording:
        """What ran, while the Processes still stand."""
        spikes = {name: _steps_first(sink.data.get()).astype(np.int64) for name, sink in self.sinks.items()}
        currents = {name: np.asarray(cells.u.get()).transpose().astype(np.int64) for name, cells in self.cells.items()}
        return Recording(spikes, currents, execution)


def build(circuit: Circuit) -> LavaCircuit:
    """Connect a circuit's Processes, with ring buffers of the host's processor at both ends."""
    ports: dict[str, OutPort] = {}
    for lines in circuit.lines:
        messages = np.zeros((circuit.steps, *lines.shape), dtype=np.int32)
        messages[: len(lines.messages)] = lines.messages
        ports[lines.name] = Source(data=np.ascontiguousarray(messages.transpose())).s_out
    cells = {each.name: _cells(each) for each in circuit.cells}
    ports |= {name: process.s_out for name, process in cells.items()}
    for connection in circuit.connections:
        _connect(connection, circuit, ports[connection.source], cells[connection.target])
    sinks = {name: Sink(shape=process.s_out.shape, buffer=circuit.steps) for name, process in cells.items()}
    for name, sink in sinks.items():
        ports[name].connect(sink.a_in)
    return LavaCircuit(circuit, cells, sinks)


def _cells(cells: Cells) -> LIF | LIFReset:
    parameters = {
        "shape": cells.shape[::-1],  # Lava's order is (width, height, channels)
        "vth": cells.threshold,
        "du": cells.du,
        "dv": cells.dv,
        "bias_mant": cells.bias,
        "bias_exp": cells.bias_exponent,
        "v": np.broadcast_to(np.array(cells.start, dtype=np.int32), cells.shape).transpose(),
    }
    if cells.reset is None:
        return LIF(**parameters)
    interval, offset = cells.reset
    return LIFReset(**parameters, reset_interval=interval, reset_offset=offset)


def _connect(connection: Connection, circuit: Circuit, port: OutPort, target: AbstractProcess) -> None:
    bits = next((each.bits for each in circuit.lines if each.name == connection.source), 0)
    if connection.kind == "conv":
        # Lava computes a true convolution over (x, y): the kernel is flipped against PyTorch's cross-correlation.
        weight = connection.weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1).astype(np.int32)
        synapse = Conv(
            weight=np.ascontiguousarray(weight),
            input_shape=port.shape,
            stride=connection.stride[::-1],
            padding=connection.padding[::-1],
            num_message_bits=bits,
        )
        port.connect(synapse.s_in)
        synapse.a_out.connect(target.a_in)
        return
    weight = connection.weight.astype(np.int32)
    if connection.kind == "sparse":
        shapes = circuit.shape(connection.target), circuit.shape(connection.source)
        weight = weight[np.ix_(*map(_lava_order, shapes))]
        synapse = Sparse(weights=csr_matrix(weight), weight_exp=connection.exponent, num_message_bits=bits)
        port = port.flatten()
    else:
        synapse = Dense(weights=weight, weight_exp=connection.exponent, num_message_bits=bits)
        port = port.transpose([2, 1, 0]).flatten() if len(port.shape) == 3 else port
    port.connect(synapse.s_in)
    synapse.a_out.reshape(target.a_in.shape).connect(target.a_in)


def _lava_order(shape: tuple[int, ...]) -> np.ndarray:
    """Indices into a flattened (channels, height, width), as they come when Lava's (width, height, channels) is flattened."""
    return np.arange(np.prod(shape)).reshape(shape).transpose().reshape(-1)


def _steps_first(data: np.ndarray) -> np.ndarray:
    """From Lava's (width, height, channels, steps) to (steps, channels, height, width)."""
    return np.asarray(data).transpose()
