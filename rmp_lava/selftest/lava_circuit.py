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

from ..backends.circuit import Cells, Circuit, Connection, Recording
from .lava_ends import CpuEnds


@dataclass
class LavaCircuit:
    """The Processes of a circuit: cells by name, and a sink for the spikes of each.

    `steps` is how long they have to run, `late` how many steps later than in the circuit spikes are recorded.
    """

    cells: dict[str, AbstractProcess]
    sinks: dict[str, Sink]
    ends: CpuEnds
    steps: int
    late: int

    @property
    def process(self) -> AbstractProcess:
        """One of the connected Processes, for running all of them."""
        return next(iter(self.cells.values()))

    def read(self) -> Recording:
        """What ran, while the Processes still stand."""
        spikes = {name: _channels_first(sink.data.get())[self.late :] for name, sink in self.sinks.items()}
        currents = {name: _channels_first(u) for name, u in self.ends.states(self.cells).items()}
        return Recording(spikes, currents, self.ends.execution())


def build(circuit: Circuit, ends: CpuEnds) -> LavaCircuit:
    """Connect a circuit's Processes between its ends."""
    steps_in = ends.steps_in if circuit.lines else 0
    late = steps_in + ends.steps_out
    circuit = circuit.later(steps_in)
    sources = {lines.name: _source(lines.messages, circuit.steps) for lines in circuit.lines}
    cells = {each.name: _cells(each) for each in circuit.cells}
    for connection in circuit.connections:
        if connection.source in sources:
            bits = next(each.bits for each in circuit.lines if each.name == connection.source)
            _connect_line(connection, sources[connection.source], bits, cells[connection.target], ends)
        else:
            _connect_cells(connection, circuit, cells)
    sinks = {name: Sink(shape=each.s_out.shape, buffer=circuit.steps + late) for name, each in cells.items()}
    for name, sink in sinks.items():
        ends.leave(cells[name].s_out).connect(sink.a_in)
    return LavaCircuit(cells, sinks, ends, circuit.steps + late, late)


def _source(messages: np.ndarray, steps: int) -> OutPort:
    """Sends the messages (steps, *shape), and nothing after them."""
    # A ring buffer begins anew at its end, which the adapters' steps may reach.
    padded = np.zeros((2 * steps, *messages.shape[1:]), dtype=np.int32)
    padded[: len(messages)] = messages
    return Source(data=np.ascontiguousarray(padded.transpose())).s_out


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


def _connect_line(connection: Connection, port: OutPort, bits: int, target: AbstractProcess, ends: CpuEnds) -> None:
    """Connect what the host sends; adapters come behind all reshaping, right before the synapses."""
    convolution = connection.kind == "conv"
    if not convolution and len(port.shape) == 3:
        port = port.transpose([2, 1, 0]).flatten()
    entered = ends.enter(port, bits, convolution=convolution)
    synapse = _conv(connection, port.shape, bits) if convolution else _matrix(connection, connection.weight, bits)
    entered.connect(synapse.s_in)
    synapse.a_out.reshape(target.a_in.shape).connect(target.a_in)


def _connect_cells(connection: Connection, circuit: Circuit, cells: dict[str, AbstractProcess]) -> None:
    """Connect cells by a matrix; both sides are flattened in Lava's order, so that no port needs to be transposed."""
    target = cells[connection.target]
    orders = (_lava_order(circuit.shape(name)) for name in (connection.target, connection.source))
    synapse = _matrix(connection, connection.weight[np.ix_(*orders)], 0)
    cells[connection.source].s_out.flatten().connect(synapse.s_in)
    synapse.a_out.reshape(target.a_in.shape).connect(target.a_in)


def _matrix(connection: Connection, weight: np.ndarray, bits: int) -> Dense | Sparse:
    weight = weight.astype(np.int32)
    options = {"weight_exp": connection.exponent, "num_message_bits": bits}
    if connection.kind == "sparse":
        return Sparse(weights=csr_matrix(weight), **options)
    return Dense(weights=weight, **options)


def _conv(connection: Connection, shape: tuple[int, ...], bits: int) -> Conv:
    # Lava computes a true convolution over (x, y): the kernel is flipped against PyTorch's cross-correlation.
    weight = connection.weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1).astype(np.int32)
    return Conv(
        weight=np.ascontiguousarray(weight),
        input_shape=shape,
        stride=connection.stride[::-1],
        padding=connection.padding[::-1],
        num_message_bits=bits,
    )


def _lava_order(shape: tuple[int, ...]) -> np.ndarray:
    """Indices into a flattened (channels, height, width), as they come when Lava's (width, height, channels) is flattened."""
    return np.arange(np.prod(shape)).reshape(shape).transpose().reshape(-1)


def _channels_first(data: np.ndarray) -> np.ndarray:
    """From Lava's (width, height, channels, ...) to (..., channels, height, width), whole numbers."""
    return np.asarray(data).transpose().astype(np.int64)
