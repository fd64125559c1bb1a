"""From a `Circuit` to connected Lava Processes, all but sources and sinks Lava's own. Imports Lava."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from lava.magma.core.process.ports.ports import OutPort
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import Sparse
from scipy.sparse import csr_matrix

from ..circuit import Cells, Circuit, Connection
from .adapters import Adapters
from .population import LavaPopulation, connect, convolution, flattened, lava_shape


def build_circuit(circuit: Circuit, sources: Mapping[str, OutPort], adapters: Adapters) -> dict[str, LavaPopulation]:
    """Connect a circuit's Processes to ports that send its lines' messages (Lava order); the populations by name."""
    populations = {each.name: _cells(each) for each in circuit.cells}
    for connection in circuit.connections:
        target = populations[connection.target]
        if connection.source in sources:
            bits = next(each.bits for each in circuit.lines if each.name == connection.source)
            _connect_line(connection, sources[connection.source], bits, target, adapters)
        else:
            _connect_cells(connection, circuit, populations[connection.source], target)
    return populations


def _cells(cells: Cells) -> LavaPopulation:
    shape = lava_shape(cells.shape)
    parameters = {
        "shape": shape,
        "vth": cells.threshold,
        "du": cells.du,
        "dv": cells.dv,
        "bias_mant": cells.bias,
        "bias_exp": cells.bias_exponent,
        "v": np.broadcast_to(np.array(cells.start, dtype=np.int32), cells.shape).transpose(),
    }
    if cells.reset is None:
        process = LIF(**parameters)
    else:
        interval, offset = cells.reset
        process = LIFReset(**parameters, reset_interval=interval, reset_offset=offset)
    return LavaPopulation(process.a_in, process.s_out, shape, process.u)


def _connect_line(connection: Connection, port: OutPort, bits: int, target: LavaPopulation, adapters: Adapters) -> None:
    """Connect what the host sends; adapters come after all reshaping, directly before the synapses."""
    if connection.kind == "conv":
        entered = adapters.enter(port, bits, convolution=True)
        weight = connection.weight.astype(np.int32)
        synapse = convolution(weight, port.shape, bits, stride=connection.stride, padding=connection.padding)
    else:
        entered = adapters.enter(flattened(port), bits, convolution=False)
        synapse = _matrix(connection, connection.weight, bits)
    connect(entered, synapse, target)


def _connect_cells(connection: Connection, circuit: Circuit, source: LavaPopulation, target: LavaPopulation) -> None:
    """Connect cells by a matrix; both sides are flattened in Lava's order, so that no port is transposed."""
    orders = (_lava_order(circuit.shapes[name]) for name in (connection.target, connection.source))
    synapse = _matrix(connection, connection.weight[np.ix_(*orders)], 0)
    connect(source.s_out.flatten(), synapse, target)


def _matrix(connection: Connection, weight: np.ndarray, bits: int) -> Dense | Sparse:
    weight = weight.astype(np.int32)
    options = {"weight_exp": connection.exponent, "num_message_bits": bits}
    if connection.kind == "sparse":
        return Sparse(weights=csr_matrix(weight), **options)
    return Dense(weights=weight, **options)


def _lava_order(shape: tuple[int, ...]) -> np.ndarray:
    """Indices into flattened (channels, height, width), in the order of flattened (width, height, channels)."""
    return np.arange(np.prod(shape)).reshape(shape).transpose().reshape(-1)
