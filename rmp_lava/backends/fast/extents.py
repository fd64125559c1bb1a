"""How far potentials can be on their way to a sum: sums of |weight| times messages, evaluated coarsely.

Whatever the order in which messages arrive, a partial sum is at most half of |sum| plus the sum of absolute products. That second
sum is needed for its largest value only, so it is evaluated once for several outputs, with the largest of their weights, and once
per block of a convolution's outputs, on the largest message that any of them would read at each place.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import torch

from ...network import Conv, Synapse
from ...network.pooling import per_block
from .synapses import Arithmetic, make_sums

_LARGEST_BLOCK, _FEWEST_BLOCKS = 4, 4
"""Rows, and columns, of outputs in a block, and blocks along an axis: the bound of a large part of an image is loose."""
_MERGED_OUTPUTS = 8
"""Channels, or neurons of dense layers, with one bound."""
_UNIT = 4
"""Weights are rounded up to multiples of this, so that all of them are 8-bit numbers of it."""


class Extents:
    """Upper bound of the sums of |weight| times messages of one synapse.

    coarse : Whether several outputs have one bound.
    """

    def __init__(
        self, synapse: Synapse, source_shape: tuple[int, ...], arithmetic: Arithmetic, *, coarse: bool
    ) -> None:
        self._pool, self._padding, self._blocks = (1, 1), (0, 0), (1, 1)
        if isinstance(synapse, Conv) and synapse.pool is not None:
            self._pool = rows, columns = synapse.pool
            arithmetic = replace(arithmetic, largest=arithmetic.largest * rows * columns)
            source_shape = (source_shape[0], source_shape[1] // rows, source_shape[2] // columns)
            synapse = per_block(synapse)
        weight = -(-np.abs(synapse.weight.astype(np.int16)) // _UNIT)
        if coarse and (not isinstance(synapse, Conv) or synapse.groups == 1):
            weight = np.maximum.reduceat(weight, range(0, len(weight), _MERGED_OUTPUTS), axis=0)
        synapse = synapse.replace(weight=weight)
        if coarse and isinstance(synapse, Conv) and synapse.stride == (1, 1):
            _, *size = synapse.output_shape(source_shape)
            self._blocks, self._padding = (_largest_divisor(size[0]), _largest_divisor(size[1])), synapse.padding
            (bh, bw), (ph, pw) = self._blocks, self._padding
            source_shape = (source_shape[0], source_shape[1] + 2 * ph - bh + 1, source_shape[2] + 2 * pw - bw + 1)
            synapse = synapse.replace(padding=(0, 0), stride=self._blocks)
        self._sums = make_sums(synapse, source_shape, arithmetic)
        self._dtype = torch.uint8 if self._sums.takes_bytes else arithmetic.dtype

    def largest(self, messages: torch.Tensor) -> float:
        """The bound for messages (n, *memory shape of the source), in weight units, not negative."""
        messages = messages.to(self._dtype)
        p, q = self._pool
        if (p, q) != (1, 1):
            total = messages[:, ::p, ::q].clone(memory_format=torch.contiguous_format)
            for i, j in np.ndindex(p, q):
                if i or j:
                    total += messages[:, i::p, j::q]
            messages = total
        if self._blocks != (1, 1) or self._padding != (0, 0):
            n, height, width, channels = messages.shape
            (ph, pw), (bh, bw) = self._padding, self._blocks
            padded = messages.new_zeros((n, height + 2 * ph, width + 2 * pw, channels))
            padded[:, ph : ph + height, pw : pw + width] = messages
            messages = _largest_of(_largest_of(padded, 1, bh), 2, bw).contiguous()
        return _UNIT * self._sums(messages).max().item()


def _largest_divisor(size: int) -> int:
    largest = max(1, min(_LARGEST_BLOCK, size // _FEWEST_BLOCKS))
    return next(block for block in range(largest, 0, -1) if size % block == 0)


def _largest_of(values: torch.Tensor, axis: int, count: int) -> torch.Tensor:
    """Along an axis, the largest of each `count` neighbours."""
    size = values.shape[axis] - count + 1
    return reduce(torch.maximum, (values.narrow(axis, shift, size) for shift in range(count)))
