"""How far from 0 potentials can be while neurons wait, without following them step by step.

A source that spikes c times does so in consecutive steps from the first one on, so that after t steps it has sent min(c, t)
messages. For any share a of what it sends in all T steps,

    v(t) = v_init + b t + a sum(w c) + sum(w (min(c, t) - a c)),

and the last sum is at most |w| |min(c, t) - a c|, by the Cauchy-Schwarz inequality. The share that makes this smallest,
sum(c min(c, t)) / sum(c^2), and what is left depend only on how many sources of a window spike how often. So they are found once
for all neurons that see the window, without a weighted sum.

Where messages arrive in another order, each source has sent between nothing and all, which is within c / 2 of a = 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ...network import Conv, Layer, Synapse
from ...registers import REGISTER_LIMIT, STATE_SHIFT, to_weight_units
from .synapses import EXACT_FLOAT32, flat

kernel: ModuleType | None
try:
    kernel = import_module(".extent_kernel", __package__)
except ImportError:  # as for the neurons
    kernel = None

_LIMIT = REGISTER_LIMIT - 2
"""Weight units that 32-bit floats of potentials have to stay below, so that potentials stay within their register."""
_LEVEL_BYTES = 2**23
"""Of counts of spikes at once, unless those of one sample are more; a layer of few channels has many windows."""
_SEVERAL = 16
"""Weights per output from which a synapse is bounded by their norm. The sum of fewer is a better bound."""


class Window(NamedTuple):
    """What an output of a convolution sees; a dense layer sees the whole source.

    size : (height, width) of the source.
    """

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


class Extents:
    """Which potentials of a layer of integer neurons may leave their register while messages arrive.

    Parameters
    ----------
    shapes : sequence
        Of each synapse, its source's shape.
    steps : int
        T.
    largest : int
        Largest message of a step.
    inputs_may_be_large : bool
        Whether a step's input can reach 2^17 weight units at all.
    """

    def __init__(
        self,
        layer: Layer,
        shapes: Sequence[tuple[int, ...]],
        steps: int,
        *,
        largest: int,
        inputs_may_be_large: bool,
    ) -> None:
        self.steps, self._largest, self._inputs_may_be_large = steps, largest, inputs_may_be_large
        self._channels, *size = layer.shape
        self._size = tuple(size) or (1, 1)
        neurons, bias = layer.neurons, layer.neurons.bias_per_neuron(layer.shape)
        each = np.zeros(layer.size, dtype=np.int64) if bias is None else flat(bias).astype(np.int64)
        each <<= neurons.bias_exponent
        self._v_init, self._bias = np.float32(neurons.v_init), to_weight_units(each).astype(np.float32)
        self._at_end = ((int(neurons.v_init) << STATE_SHIFT) + steps * each).astype(np.int32)
        self._windows: list[Window | None] = []
        squares, few = np.zeros(self._channels), np.zeros(self._channels)
        for synapse, shape in zip(layer.synapses, shapes, strict=True):
            weight = synapse.shifted_weight.reshape(self._channels, -1).astype(np.float64)
            is_wide = np.count_nonzero(weight, axis=1).max() >= _SEVERAL
            self._windows.append(_window(synapse, shape) if is_wide else None)
            if is_wide:
                squares += (weight**2).sum(axis=1)
            else:
                few += np.abs(weight).sum(axis=1)
        self._norm, self._few = np.sqrt(squares).astype(np.float32), few.astype(np.float32)
        self._most_norm, self._most_few, self._most_bias = self._norm.max(), self._few.max(), np.abs(self._bias).max()

    def are_within(self, messages: Sequence[torch.Tensor], farthest: np.ndarray) -> np.ndarray:
        """Whether all potentials stay within their register in whichever order messages arrive, and inputs below 2^17.

        Parameters
        ----------
        messages : sequence of torch.Tensor
            Of each synapse, (samples, *memory shape of the source) uint8: the sum of what each neuron of the source sends.
        farthest : numpy.ndarray
            (samples,) largest |potential| after all steps, in weight units.

        Returns
        -------
        numpy.ndarray
            (samples,) bool.
        """
        squares = self._seen(messages, of_squares=True).max(axis=(1, 2))
        spread = self._most_norm * np.sqrt(squares) + self._most_few * self._largest * self.steps
        far = (farthest + abs(self._v_init) + self._most_bias * self.steps + spread) / 2
        within: np.ndarray = far < _LIMIT
        return within & (spread < REGISTER_LIMIT) if self._inputs_may_be_large else within

    def beyond(
        self, messages: Sequence[torch.Tensor], total: torch.Tensor, farthest: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Potentials that may leave their register, or whose input may reach 2^17 in a step, where all messages are spikes and
        each source spikes in consecutive steps from the first one on.

        Parameters
        ----------
        messages, farthest
            As for `are_within`.
        total : torch.Tensor
            (samples, neurons) sums of the weighted messages, in weight units.

        Returns
        -------
        tuple of numpy.ndarray
            (potentials,) int64: samples, and neurons in memory order.
        """
        length = max(1, _LEVEL_BYTES // (4 * self.steps * math.prod(self._size)))
        if len(total) > length:
            starts = range(0, len(total), length)
            parts = [
                self.beyond(
                    [each[i : i + length] for each in messages], total[i : i + length], farthest[i : i + length]
                )
                for i in starts
            ]
            samples = [start + part[0] for start, part in zip(starts, parts, strict=True)]
            return np.concatenate(samples), np.concatenate([neurons for _, neurons in parts])
        levels = self._seen(messages, of_squares=False)
        if kernel is None or total.device.type != "cpu":
            return self._beyond_plain(levels, total)
        constants = (self._v_init, self._bias, self._norm, self._few, self._inputs_may_be_large)
        # First by the farthest potential of a sample, then by that of each window, and at last neuron by neuron.
        ends = np.repeat(farthest.astype(np.float32)[:, None], levels.shape[2], axis=1)
        rows = np.flatnonzero(kernel.windows_beyond(levels, ends, *constants).any(axis=1))
        if not len(rows):
            return rows, rows
        levels, totals = levels[rows], self._totals(total)[rows].numpy()
        places = np.argwhere(kernel.windows_beyond(levels, kernel.farthest_ends(totals, self._at_end), *constants))
        found, channels = np.nonzero(kernel.neurons_beyond(places, levels, totals, *constants))
        samples, pixels = places[found].T
        return rows[samples], pixels * self._channels + channels

    def _beyond_plain(self, seen: np.ndarray, total: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The same of each neuron at once, in float64."""
        device, steps, double = total.device, self.steps, torch.float64
        levels, totals = torch.from_numpy(seen).to(device, double), self._totals(total).to(double)
        norm, few, bias = (torch.from_numpy(each).to(device, double) for each in (self._norm, self._few, self._bias))
        bias, v_init = bias.view(-1, self._channels), float(self._v_init)
        beyond = (v_init + steps * bias + totals).abs() >= _LIMIT
        odd = 2 * torch.arange(steps, dtype=double, device=device).view(1, -1, 1) + 1
        squares = (odd * levels).sum(dim=1)
        for t in range(1, steps):
            sent = (odd[:, :t] * levels[:, :t]).sum(dim=1)  # sum of min(c, t)^2
            both = sent + t * levels[:, t:].sum(dim=1)  # of c min(c, t)
            share = torch.where(squares > 0, both / squares, t / steps)
            rest = (sent - share * both).clamp(min=0).sqrt()
            lone = torch.maximum((1 - share) * t, share * steps - t)
            middle = v_init + t * bias + share.unsqueeze(2) * totals
            beyond |= middle.abs() + norm * rest.unsqueeze(2) + few * lone.unsqueeze(2) >= _LIMIT
        if self._inputs_may_be_large:
            beyond |= norm * levels[:, 0].sqrt().unsqueeze(2) + few >= REGISTER_LIMIT
        samples, neurons = torch.nonzero(beyond.flatten(1)).T.cpu().numpy()
        return samples, neurons

    def _seen(self, messages: Sequence[torch.Tensor], *, of_squares: bool) -> np.ndarray:
        """(samples, numbers, windows) float32, as `extent_kernel.sum_windows`: of all synapses whose weights have a norm."""
        samples = len(messages[0])
        sums = np.zeros((samples, 1 if of_squares else self.steps, *self._size), dtype=np.float32)
        for window, sent in zip(self._windows, messages, strict=True):
            if window is None:
                continue
            if kernel is not None and sent.device.type == "cpu":
                kernel.sum_windows(sent.numpy().reshape(samples, -1), *window, of_squares, sums)
                continue
            images = sent.view(samples, *window.size, -1)
            if of_squares:
                each = images.float().square().sum(dim=3).unsqueeze(1)
            else:
                each = torch.stack([(images >= s).sum(dim=3).float() for s in range(1, self.steps + 1)], dim=1)
            ones = torch.ones((1, 1, *window.kernel), device=sent.device)
            seen = F.conv2d(each.flatten(0, 1).unsqueeze(1), ones, None, *window[2:])
            sums += seen.view(sums.shape).cpu().numpy()
        return sums.reshape(samples, sums.shape[1], -1)

    def _totals(self, total: torch.Tensor) -> torch.Tensor:
        """(samples, windows, channels) float32; a larger one leaves the register in any case."""
        some = total if total.dtype == torch.float32 else total.clamp(-EXACT_FLOAT32, EXACT_FLOAT32).float()
        return some.view(len(total), -1, self._channels)


def _window(synapse: Synapse, source_shape: tuple[int, ...]) -> Window:
    size = (source_shape[1], source_shape[2]) if len(source_shape) == 3 else (1, 1)
    if isinstance(synapse, Conv):
        rows, columns = synapse.weight.shape[2:]
        return Window(size, (rows, columns), synapse.stride, synapse.padding, synapse.dilation)
    return Window(size, size, (1, 1), (0, 0), (1, 1))
