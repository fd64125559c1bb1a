"""A network's synapses as Lava's Dense, Conv and Sparse, with exactly their weights. Imports Lava.

Lava's fixed-point Dense and Sparse apply a weight exponent, Conv does not: a convolution with an exponent becomes a Sparse of its
matrix, where that is not too large (`backends.obstacles`).
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.ports.ports import OutPort
from lava.proc.dense.process import Dense as LavaDense
from lava.proc.sparse.process import Sparse
from scipy.sparse import coo_matrix, csr_matrix

from ...network import Conv, Synapse
from .adapters import Adapters
from .population import LavaPopulation, connect, convolution, flattened


def connect_synapse(
    synapse: Synapse, port: OutPort, target: LavaPopulation, bits: int, adapters: Adapters | None
) -> None:
    """Connect a port to a population; `bits` of a message's payload, `adapters` if the host sends it."""
    is_conv = isinstance(synapse, Conv) and not synapse.exponent
    if isinstance(synapse, Conv):
        shape = tuple(port.shape)
        port = port if is_conv else port.flatten()
    else:
        port = flattened(port)
    if adapters is not None:
        port = adapters.enter(port, bits, convolution=is_conv)
    if not isinstance(synapse, Conv):
        for weight in _held_parts(synapse.weight):
            dense = LavaDense(weights=weight, weight_exp=synapse.exponent, num_message_bits=bits)
            connect(port, dense, target)
    elif is_conv:
        geometry = {name: getattr(synapse, name) for name in ("stride", "padding", "dilation", "groups")}
        connect(port, convolution(synapse.weight, port.shape, bits, **geometry), target)
    else:
        matrix = convolution_matrix(synapse, shape[::-1])
        for part in _held_parts(matrix.data):
            weights = csr_matrix((part, matrix.indices, matrix.indptr), matrix.shape, copy=True)
            weights.eliminate_zeros()  # in place
            connect(port, Sparse(weights=weights, weight_exp=synapse.exponent, num_message_bits=bits), target)


def convolution_matrix(conv: Conv, source_shape: tuple[int, ...]) -> csr_matrix:
    """The matrix (target neurons, source neurons) of an integer convolution without its exponent, non-zero weights only.

    Both populations are flattened in Lava's order of axes, (width, height, channels).
    """
    channels, height, width = source_shape
    _, rows, columns = conv.output_shape(source_shape)
    c_out, c_in, _, _ = conv.weight.shape
    # Along the first axis the non-zero weights, then the positions of the target.
    output, offset, i, j = (each[:, None, None] for each in np.nonzero(conv.weight))
    y, x = np.arange(rows)[:, None], np.arange(columns)
    row = y * conv.stride[0] - conv.padding[0] + i * conv.dilation[0]
    column = x * conv.stride[1] - conv.padding[1] + j * conv.dilation[1]
    channel = output // (c_out // conv.groups) * c_in + offset
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    targets = (x * rows + y) * c_out + output
    sources = (column * height + row) * channels + channel
    weight = np.broadcast_to(conv.weight[conv.weight != 0][:, None, None], inside.shape)
    shape = (c_out * rows * columns, channels * height * width)
    return coo_matrix((weight[inside].astype(np.int32), (targets[inside], sources[inside])), shape).tocsr()


def _held_parts(weight: np.ndarray) -> list[np.ndarray]:
    """Arrays whose sum is `weight` and that Lava's Dense and Sparse neither round nor clip; real weights as they are.

    Both round weights of mixed sign to even values, and clip those of one sign at +-255 (lava/utils/weightutils.py).
    """
    if weight.dtype.kind == "f":
        return [weight]
    weight = weight.astype(np.int32)
    mixed = weight.min(initial=0) < 0 < weight.max(initial=0)
    if not (weight % 2).any() if mixed else weight.min(initial=0) >= -255:
        return [weight]
    positive, negative = np.clip(weight, 0, None), np.clip(weight, -255, 0)
    parts = [positive, negative, weight - positive - negative]
    return [part for part in parts if part.any()]
