"""Fold average pooling, which is linear, into the weights of the layer behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from ..errors import ConversionError
from ..network import Conv, Dense, Synapse


@dataclass(frozen=True)
class Pooling:
    """Average pooling without padding: source and its shape, kernel and stride as (height, width)."""

    name: str
    source: str
    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]

    @classmethod
    def from_module(cls, name: str, module: nn.AvgPool2d, source: str, shape: tuple[int, ...]) -> Pooling:
        """From a PyTorch module; raises `ConversionError` for what is not plain averaging."""
        kernel, stride = _pair(module.kernel_size), _pair(module.stride)
        if _pair(module.padding) != (0, 0) or module.ceil_mode or module.divisor_override:
            raise ConversionError(
                f"layer {name!r} pools with padding, ceil_mode or a divisor; use plain average pooling"
            )
        if len(shape) != 3 or shape[1] < kernel[0] or shape[2] < kernel[1]:
            raise ConversionError(f"layer {name!r} pools {kernel} over a source of shape {shape}, which does not fit")
        return cls(name, source, shape, kernel, stride)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) after pooling."""
        height, width = ((n - k) // s + 1 for n, k, s in zip(self.shape[1:], self.kernel, self.stride, strict=True))
        return (self.shape[0], height, width)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def pooling_synapse(pooling: Pooling) -> Conv:
    """Pooling as a depthwise convolution, for a layer of its own neurons."""
    weight = np.full((pooling.shape[0], 1, *pooling.kernel), 1 / np.prod(pooling.kernel), dtype=np.float32)
    return Conv(pooling.source, weight, stride=pooling.stride, groups=pooling.shape[0])


def fold_pooling(synapse: Synapse, pooling: Pooling) -> Synapse | None:
    """The synapse that reaches past the pooling, with exactly the same sums; None where there is none.

    A kernel of m weights at distance d behind pooling of size k and stride q spans q d (m - 1) + k source pixels; each
    source pixel gets the sum of the weights of the windows it lies in, divided by k^2. A convolution that pads cannot
    be folded if its zeros would then fall on source pixels.
    """
    if isinstance(synapse, Dense):
        return Dense(pooling.source, _fold_dense(synapse.weight, pooling))
    if not isinstance(synapse, Conv) or not _padding_stays_outside(synapse, pooling):
        return None
    (kh, kw), (qh, qw), (dh, dw) = pooling.kernel, pooling.stride, synapse.dilation
    c_out, c_in, mh, mw = synapse.weight.shape
    weight = np.zeros((c_out, c_in, qh * dh * (mh - 1) + kh, qw * dw * (mw - 1) + kw), dtype=np.float32)
    share = synapse.weight / np.float32(kh * kw)
    for i in range(mh):
        for j in range(mw):
            top, left = qh * dh * i, qw * dw * j
            weight[:, :, top : top + kh, left : left + kw] += share[:, :, i, j, None, None]
    return Conv(
        pooling.source,
        weight,
        stride=(qh * synapse.stride[0], qw * synapse.stride[1]),
        padding=(qh * synapse.padding[0], qw * synapse.padding[1]),
        groups=synapse.groups,
    )


def _padding_stays_outside(synapse: Conv, pooling: Pooling) -> bool:
    pooled = pooling.output_shape[1:]
    return all(
        p == 0 or (k <= q and q * n_out >= n)
        for p, k, q, n, n_out in zip(
            synapse.padding, pooling.kernel, pooling.stride, pooling.shape[1:], pooled, strict=True
        )
    )


def _fold_dense(weight: np.ndarray, pooling: Pooling) -> np.ndarray:
    (kh, kw), (qh, qw) = pooling.kernel, pooling.stride
    _, height, width = pooling.output_shape
    share = weight.reshape(len(weight), *pooling.output_shape) / np.float32(kh * kw)
    folded = np.zeros((len(weight), *pooling.shape), dtype=np.float32)
    for i in range(kh):
        for j in range(kw):
            folded[:, :, i : i + qh * (height - 1) + 1 : qh, j : j + qw * (width - 1) + 1 : qw] += share
    return folded.reshape(len(weight), -1)
