"""How far potentials can be from 0 on their way to a sum.

Whatever the order in which messages arrive, a partial sum is at most half of |sum| plus the sum of |weight| times messages. That
second sum costs as much as the first one. It is evaluated once for several outputs, with the largest of their weights, and
again for each output only of samples for which that bound is too coarse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...network import Conv, Layer, Synapse
from ...registers import REGISTER_LIMIT
from . import neurons
from .synapses import Arithmetic, make_sums

_MERGED, _LEAST_GROUPS = 8, 16
"""Outputs with one bound, and how many bounds there are at least: 8-bit convolutions are no faster for fewer channels."""
_LARGEST = 127
"""Weight that every kernel takes."""


class Extents:
    """Upper bounds of the |potential| of a layer's neurons while messages arrive, without bias and what was there before.

    Parameters
    ----------
    shapes, arithmetics : sequence
        Of each synapse: its source's shape, and how it is summed.
    coarse : bool
        Whether several outputs have one bound.
    inputs_may_be_large : bool
        Whether a step's input can reach 2^17 weight units at all.
    """

    def __init__(
        self,
        layer: Layer,
        shapes: Sequence[tuple[int, ...]],
        arithmetics: Sequence[Arithmetic],
        *,
        coarse: bool,
        inputs_may_be_large: bool,
    ) -> None:
        self._inputs_may_be_large = inputs_may_be_large
        self._channels = layer.shape[0]
        self.merged = _merged(self._channels) if coarse else 1
        """Outputs with one bound: channels, or neurons of a dense layer, a constant distance apart."""
        self._units, self._sums, self._apart = [], [], []
        for synapse, shape, arithmetic in zip(layer.synapses, shapes, arithmetics, strict=True):
            weight = np.abs(synapse.weight.astype(np.int16))
            unit = max(1, -(-int(weight.max()) // _LARGEST))
            weight = -(-weight // unit)
            apart = isinstance(synapse, Conv) and synapse.groups > 1
            if not apart:
                weight = weight.reshape(self.merged, -1, *weight.shape[1:]).max(axis=0)
            of_absolute: Synapse = synapse.replace(weight=weight)
            self._units.append(unit)
            self._sums.append(make_sums(of_absolute, shape, arithmetic))
            self._apart.append(apart)

    def are_within(
        self, room: float, messages: Sequence[torch.Tensor], repeats: Sequence[int], total: torch.Tensor
    ) -> torch.Tensor:
        """Whether no potential can be as far as `room` from where it was, in weight units, and no step's input as large as 2^17.

        Parameters
        ----------
        messages : sequence of torch.Tensor
            Of each synapse, (samples, *memory shape of the source).
        repeats : sequence of int
            How often they arrive.
        total : torch.Tensor
            (samples, neurons) sums of the weighted messages.

        Returns
        -------
        torch.Tensor
            (samples,) bool.
        """
        products = self._products(messages, repeats)
        largest = products.amax(dim=1)
        within = largest < room
        rows = torch.nonzero(~within).flatten()
        if len(rows):
            within[rows] = self._reach(total, products, rows) < room
        return within & (largest < REGISTER_LIMIT) if self._inputs_may_be_large else within

    def beyond(
        self, room: float, messages: Sequence[torch.Tensor], repeats: Sequence[int], total: torch.Tensor
    ) -> torch.Tensor:
        """(potentials, 2) int64: samples and neurons whose potentials can be farther, or whose input can be larger.

        Parameters as for `are_within`; of bounds that are not coarse.
        """
        assert self.merged == 1
        products = self._products(messages, repeats)
        beyond = total.abs() + products >= 2 * room
        if self._inputs_may_be_large:
            beyond |= products >= REGISTER_LIMIT
        return torch.nonzero(beyond)

    def _products(self, messages: Sequence[torch.Tensor], repeats: Sequence[int]) -> torch.Tensor:
        """(samples, groups of neurons) bounds of the sums of |weight| times messages."""
        products = None
        synapses = zip(self._sums, self._units, self._apart, messages, repeats, strict=True)
        for sums, unit, apart, message, times in synapses:
            each = sums(message.to(torch.uint8) if sums.takes_bytes else message)
            if apart:
                each = self._by_group(each).amax(dim=2).flatten(1)
            each = each.mul_(unit * times)
            products = each if products is None else products.add_(each)
        assert products is not None
        return products

    def _reach(self, total: torch.Tensor, products: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(rows,) largest |partial sum| of some samples."""
        fused = neurons.fused
        if fused is not None and total.device.type == "cpu":
            arrays = (total.numpy(), products.numpy(), rows.numpy())
            found = torch.from_numpy(fused.reach(*arrays, self._channels, self.merged))
        else:
            found = (self._by_group(total[rows].abs()).amax(dim=2).flatten(1) + products[rows]).amax(dim=1)
        return found / 2

    def _by_group(self, values: torch.Tensor) -> torch.Tensor:
        """(samples, neurons) as (samples, pixels, merged, groups)."""
        return values.view(len(values), -1, self.merged, self._channels // self.merged)


def _merged(channels: int) -> int:
    largest = max(1, min(_MERGED, channels // _LEAST_GROUPS))
    return next(number for number in range(largest, 0, -1) if channels % number == 0)
