"""Connections between two populations, in PyTorch's conventions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import NetworkError
from .values import Value, frozen_array

MAX_PADDED = 2**28
"""Values of a convolution's source with its padding; a file of a few bytes can ask for any."""


@dataclass(frozen=True, eq=False, repr=False)
class Synapse(Value):
    """Connections from one source (a layer's name or `INPUT`) to a layer; for their delay see `rmp_lava.schedule`.

    Parameters
    ----------
    source : str
    weight : numpy.ndarray
        Weight units: int16 (-256 .. 255) in integer networks, float32 in others.
    exponent : int
        Loihi's weight exponent, 0 .. 7: a message adds `weight << exponent`. So synapses of one layer may have grids of different
        fineness. 0 in float networks.
    pool : (height, width) or None
        Average pooling of (channels, height, width) sources that was folded into the weights: they are equal within blocks
        of this size, so the same sums come from the sums of blocks with fewer products (`rmp_lava.network.pooling`).
    """

    source: str
    weight: np.ndarray
    exponent: int = field(default=0, kw_only=True)
    pool: tuple[int, int] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen_array(self.weight))
        if self.pool is not None:
            object.__setattr__(self, "pool", tuple(self.pool))

    @property
    def longest_delay(self) -> int:
        """Time steps that a message takes at most, in addition to the one that every synapse takes."""
        return 0

    @property
    def shifted_weight(self) -> np.ndarray:
        """What a message of 1 adds, `weight << exponent` in weight units: int64 in integer networks, else float32."""
        return self.weight.astype(np.int64) << self.exponent if self.weight.dtype.kind == "i" else self.weight

    @property
    def fan_in(self) -> int:
        """Largest number of non-zero weights of a neuron, as if images had no borders."""
        return int(np.count_nonzero(self.weight.reshape(len(self.weight), -1), axis=1).max())

    def ungrouped(self) -> Synapse:
        """The same connections without groups of channels."""
        return self

    def output_shape(self, source_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the population that these synapses reach.

        Raises
        ------
        NetworkError
            If the source's shape does not fit the weights.
        """
        raise NotImplementedError

    def fan_out(self, source_shape: tuple[int, ...]) -> np.ndarray:
        """Synaptic operations that one message of each source neuron causes: its non-zero weights, borders exact.

        Returns
        -------
        numpy.ndarray
            int64, of the source's shape. Loihi 2 counts non-zero weights only.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False, repr=False)
class Dense(Synapse):
    """Fully connected: weight (outputs, inputs); the source is flattened in C order.

    Parameters
    ----------
    delay : numpy.ndarray or None
        Time steps that a message takes in addition to the one that every synapse takes: 0 .. 62, int16 that broadcasts against
        the weights: (1, 1), (outputs, 1), (1, inputs) or (outputs, inputs). None: 0. Integer networks only.
    """

    delay: np.ndarray | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        delay = None if self.delay is None else np.asarray(self.delay)
        if delay is not None and delay.ndim == 2 and delay.size:  # equal networks have equal delays
            delay = delay[:1] if (delay == delay[:1]).all() else delay
            delay = delay[:, :1] if (delay == delay[:, :1]).all() else delay
        none = delay is None or not delay.any()
        object.__setattr__(self, "delay", None if none else frozen_array(delay))

    @property
    def longest_delay(self) -> int:
        return 0 if self.delay is None else int(self.delay.max())

    def by_delay(self) -> list[tuple[int, np.ndarray, Dense]]:
        """Synapses without delay that do the same together: (delay, the neurons that they reach, synapses to these)."""
        if self.delay is None:
            return [(0, np.arange(len(self.weight)), self)]
        parts = []
        for steps in np.unique(self.delay):
            weight = np.where(self.delay == steps, self.weight, 0)
            reached = np.flatnonzero(weight.any(axis=1))
            if len(reached):
                parts.append((int(steps), reached, self.replace(weight=weight[reached], delay=None)))
        return parts

    def output_shape(self, source_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = int(np.prod(source_shape))
        if self.weight.ndim != 2 or self.weight.shape[1] != size:
            raise NetworkError(
                f"dense weights of shape {self.weight.shape} do not fit their source {self.source!r} with {size} "
                f"neurons; expected (outputs, {size})"
            )
        return (self.weight.shape[0],)

    def fan_out(self, source_shape: tuple[int, ...]) -> np.ndarray:
        return np.count_nonzero(self.weight, axis=0).astype(np.int64).reshape(source_shape)


@dataclass(frozen=True, eq=False, repr=False)
class Conv(Synapse):
    """Two-dimensional convolution in PyTorch's convention (a cross-correlation).

    weight (C_out, C_in / groups, kernel height, kernel width); stride, padding and dilation as (height, width).
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("stride", "padding", "dilation"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def ungrouped(self) -> Conv:
        return self.replace(weight=in_fewer_groups(self.weight, self.groups, 1), groups=1)

    def output_shape(self, source_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(source_shape) != 3:
            raise NetworkError(
                f"a convolution needs a (channels, height, width) source, but {self.source!r} has shape {source_shape}"
            )
        if self.weight.ndim != 4 or not self.weight.size:
            raise NetworkError(
                f"convolution weights from {self.source!r} have shape {self.weight.shape}; "
                "expected (C_out, C_in / groups, kernel height, kernel width), none of them 0"
            )
        if min(*self.stride, *self.dilation, self.groups) < 1 or min(self.padding) < 0:
            raise NetworkError(
                f"convolution from {self.source!r} has stride {self.stride}, padding {self.padding}, dilation "
                f"{self.dilation}, groups {self.groups}; strides, dilations and groups are at least 1, padding at least 0"
            )
        padded = source_shape[0] * math.prod(n + 2 * p for n, p in zip(source_shape[1:], self.padding, strict=True))
        if padded > MAX_PADDED:
            raise NetworkError(
                f"convolution from {self.source!r} pads it by {self.padding} to {padded:,} values; allowed are "
                f"{MAX_PADDED:,} at most"
            )
        c_out, c_in_group, *kernel = self.weight.shape
        if source_shape[0] != c_in_group * self.groups or c_out % self.groups:
            raise NetworkError(
                f"convolution weights of shape {self.weight.shape} with {self.groups} groups do not fit their source "
                f"{self.source!r} with {source_shape[0]} channels"
            )
        size = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(source_shape[1:], self.padding, self.dilation, kernel, self.stride, strict=True)
        )
        if min(size) < 1:
            raise NetworkError(
                f"convolution kernel {tuple(kernel)} is larger than its padded source {self.source!r} "
                f"of shape {source_shape}"
            )
        return (c_out, *size)

    def fan_out(self, source_shape: tuple[int, ...]) -> np.ndarray:
        _, height, width = self.output_shape(source_shape)
        c_out, c_in_group, kh, kw = self.weight.shape
        # Non-zero weights per source channel and kernel position: each group's channels reach that group's outputs only.
        nonzero = (self.weight != 0).reshape(self.groups, c_out // self.groups, c_in_group, kh, kw).sum(axis=1)
        nonzero = nonzero.reshape(source_shape[0], kh, kw)
        (ph, pw), (sh, sw), (dh, dw) = self.padding, self.stride, self.dilation
        count = np.zeros((source_shape[0], source_shape[1] + 2 * ph, source_shape[2] + 2 * pw), dtype=np.int64)
        for i in range(kh):
            for j in range(kw):
                rows = slice(i * dh, i * dh + sh * (height - 1) + 1, sh)
                columns = slice(j * dw, j * dw + sw * (width - 1) + 1, sw)
                count[:, rows, columns] += nonzero[:, i, j, None, None]
        return count[:, ph : ph + source_shape[1], pw : pw + source_shape[2]]


def in_fewer_groups(weight: np.ndarray, groups: int, fewer: int) -> np.ndarray:
    """Weights of the same convolution in fewer groups (a divisor), with zeros between channels of different old groups."""
    outputs, inputs, *kernel = weight.shape
    merged = groups // fewer
    whole = np.zeros((fewer, merged, outputs // groups, merged, inputs, *kernel), dtype=weight.dtype)
    parts = weight.reshape(fewer, merged, outputs // groups, inputs, *kernel)
    for i in range(merged):
        whole[:, i, :, i] = parts[:, i]
    return whole.reshape(outputs, merged * inputs, *kernel)
