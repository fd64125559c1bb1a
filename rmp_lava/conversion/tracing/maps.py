"""Linear maps from one population to a tensor, and how they compose.

A tensor of a network is a sum of such maps of rectified populations, plus a constant (`expressions`). A map knows the
shape of its source and of what it gives; images are (channels, height, width) and flatten in C order. Weights are
float64 until a map becomes a `Synapse`, except for enormous matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...network import Conv, Dense, Synapse

Shape = tuple[int, ...]

LARGEST_MATRIX = 2**26
"""Elements of a matrix that is made only because two maps have no smaller form together (512 MB)."""


class NotComposableError(Exception):
    """Two linear maps have no exact common form as one convolution or matrix."""


@dataclass(frozen=True, eq=False)
class Diagonal:
    """Each element times its own gain: gain () or (channels, 1, 1) or of the source's shape."""

    gain: np.ndarray
    source_shape: Shape

    @property
    def shape(self) -> Shape:
        """Of what the map gives."""
        return self.source_shape


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix (outputs, source elements)."""

    weight: np.ndarray
    source_shape: Shape

    @property
    def shape(self) -> Shape:
        """Of what the map gives."""
        return (self.weight.shape[0],)


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution that may pad differently on its four sides, or crop.

    Output (i, j) reads the source at (i, j) * stride - start + (u, v) * dilation for each (u, v) of the kernel, and zero
    outside of the source.

    Parameters
    ----------
    weight : numpy.ndarray
        float64 (C_out, C_in / groups, kernel height, kernel width).
    source_shape, size
        (C_in, H, W) of the source, (H, W) of the output.
    stride, start, dilation : pairs of int
        As (height, width); a negative start crops.
    groups : int
    """

    weight: np.ndarray
    source_shape: Shape
    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.weight.shape[0], *self.size))

    @property
    def kernel(self) -> tuple[int, int]:
        """(height, width) in weights."""
        return self.weight.shape[2:]

    @property
    def geometry(self) -> tuple:
        """What two convolutions must share for their weights to be added."""
        return (self.weight.shape, self.source_shape, self.size, self.stride, self.start, self.dilation, self.groups)


Map = Diagonal | Matrix | Convolution


def scaled(linear: Map, factor: np.ndarray) -> Map:
    """`factor * map`; factor (), (channels, 1, 1) or of the map's output shape.

    Raises
    ------
    NotComposableError
        If a convolution would need another weight at each position.
    """
    if isinstance(linear, Diagonal):
        return replace(linear, gain=linear.gain * factor)
    if isinstance(linear, Matrix):
        rows = factor if factor.ndim == 0 else np.broadcast_to(factor, linear.shape)[:, None]
        return replace(linear, weight=linear.weight * rows)
    if factor.ndim and math.prod(factor.shape[1:]) != 1:
        raise NotComposableError
    rows = factor if factor.ndim == 0 else np.broadcast_to(factor.reshape(-1), linear.shape[:1])[:, None, None, None]
    return replace(linear, weight=linear.weight * rows)


def as_convolution(linear: Map) -> Convolution:
    """The map as a convolution of an image; a gain for each channel is a depthwise one of size 1.

    Raises
    ------
    NotComposableError
        If it is none.
    """
    if isinstance(linear, Convolution):
        return linear
    per_pixel = linear.gain.ndim and math.prod(linear.gain.shape[1:]) != 1 if isinstance(linear, Diagonal) else True
    if per_pixel or len(linear.source_shape) != 3:
        raise NotComposableError
    channels, *size = linear.source_shape
    gain = np.broadcast_to(linear.gain.reshape(-1), (channels,))
    return Convolution(gain[:, None, None, None].copy(), linear.source_shape, tuple(size), groups=channels)


def regrouped(conv: Convolution, groups: int) -> Convolution:
    """The same convolution in fewer groups (a divisor), with zeros where channels do not meet."""
    if conv.groups == groups:
        return conv
    outputs, inputs, *kernel = conv.weight.shape
    merged = conv.groups // groups
    weight = np.zeros((groups, merged, outputs // conv.groups, merged, inputs, *kernel))
    parts = conv.weight.reshape(groups, merged, outputs // conv.groups, inputs, *kernel)
    for i in range(merged):
        weight[:, i, :, i] = parts[:, i]
    return replace(conv, weight=weight.reshape(outputs, merged * inputs, *kernel), groups=groups)


def then_matrix(weight: np.ndarray, linear: Map) -> Matrix:
    """`weight` (outputs, elements of the map's output in C order) after a map."""
    if isinstance(linear, Diagonal):
        if linear.gain.ndim == 0:
            product = weight if linear.gain == 1 else weight * linear.gain
        else:
            product = weight * np.broadcast_to(linear.gain, linear.shape).reshape(-1)
    elif isinstance(linear, Matrix):
        product = weight @ linear.weight
    else:
        product = _seen_through(weight, linear)
    return Matrix(product, linear.source_shape)


def _seen_through(weight: np.ndarray, conv: Convolution) -> np.ndarray:
    """Rows of a matrix over a convolution's output as rows over its source; very many are kept in float32."""
    outputs, elements = len(weight), math.prod(conv.source_shape)
    product = np.empty((outputs, elements), np.float32 if outputs * elements > LARGEST_MATRIX else np.float64)
    symmetric, padding = symmetrically_padded(conv)
    kernel, rows = torch.from_numpy(symmetric.weight), max(1, 2**24 // elements)
    for start in range(0, outputs, rows):
        part = np.ascontiguousarray(weight[start : start + rows]).reshape(-1, *conv.shape)
        product[start : start + rows] = (
            torch.nn.grad.conv2d_input(
                (len(part), *conv.source_shape),
                kernel,
                torch.from_numpy(part),
                conv.stride,
                padding,
                symmetric.dilation,
                conv.groups,
            )
            .numpy()
            .reshape(len(part), elements)
        )
    return product


def as_matrix(linear: Map) -> Matrix:
    """The map as a matrix; raises `NotComposableError` where that would be absurdly large."""
    if isinstance(linear, Matrix):
        return linear
    size = math.prod(linear.shape)
    if size * max(size, math.prod(linear.source_shape)) > LARGEST_MATRIX:
        raise NotComposableError
    return then_matrix(np.eye(size), linear)


def embedded(linear: Map, offset: int, shape: Shape) -> Map:
    """The map with outputs of `shape`, zero but for its own ones from element `offset` on."""
    if linear.shape == shape:
        return linear
    if len(shape) == 1:
        matrix = as_matrix(linear)
        weight = np.zeros((shape[0], matrix.weight.shape[1]))
        weight[offset : offset + len(matrix.weight)] = matrix.weight
        return Matrix(weight, linear.source_shape)
    conv = regrouped(as_convolution(linear), 1)
    first = offset // math.prod(shape[1:])
    weight = np.zeros((shape[0], *conv.weight.shape[1:]))
    weight[first : first + len(conv.weight)] = conv.weight
    return replace(conv, weight=weight)


def chosen(linear: Map, channels: np.ndarray) -> Map:
    """Those rows (output channels, or elements of a flat output) of a map, in this order."""
    if np.array_equal(channels, np.arange(linear.shape[0])):
        return linear
    if len(linear.shape) == 1:
        return Matrix(as_matrix(linear).weight[channels], linear.source_shape)
    conv = regrouped(as_convolution(linear), 1)
    return replace(conv, weight=conv.weight[channels])


def is_nonnegative(linear: Map) -> bool:
    """Whether the map never gives anything negative for a source that is not."""
    return bool((linear.gain if isinstance(linear, Diagonal) else linear.weight).min() >= 0)


def merged(maps: list[Map]) -> list[Map]:
    """The same sum of maps of one source in fewer maps: those of the same geometry are added."""
    by_geometry: dict[tuple, Map] = {}
    for linear in maps:
        key = (type(linear), linear.geometry if isinstance(linear, Convolution) else linear.shape)
        other = by_geometry.get(key)
        if other is None:
            by_geometry[key] = linear
        elif isinstance(linear, Diagonal):
            by_geometry[key] = replace(linear, gain=linear.gain + other.gain)
        else:
            by_geometry[key] = replace(linear, weight=linear.weight + other.weight)
    return list(by_geometry.values())


def convolved_image(image: np.ndarray, conv: Convolution) -> np.ndarray:
    """What a convolution gives for a float64 image (C_in, H, W)."""
    symmetric, padding = symmetrically_padded(conv)
    result = torch.conv2d(
        torch.from_numpy(np.ascontiguousarray(image))[None],
        torch.from_numpy(symmetric.weight),
        None,
        conv.stride,
        padding,
        symmetric.dilation,
        conv.groups,
    )
    return result[0].numpy()


def symmetrically_padded(conv: Convolution) -> tuple[Convolution, tuple[int, int]]:
    """The same convolution with as much padding behind as in front, its kernel enlarged by zeros where that takes some.

    Returns
    -------
    (Convolution, (int, int))
        And its padding as (height, width).
    """
    padding, leading, trailing = zip(*(_enlargement(conv, axis) for axis in (0, 1)), strict=True)
    if not any(leading) and not any(trailing):
        return conv, padding
    dilation = tuple(
        d if front % d == 0 and back % d == 0 else 1
        for d, front, back in zip(conv.dilation, leading, trailing, strict=True)
    )
    steps = [old // new for old, new in zip(conv.dilation, dilation, strict=True)]
    front = [n // d for n, d in zip(leading, dilation, strict=True)]
    back = [n // d for n, d in zip(trailing, dilation, strict=True)]
    size = [f + (k - 1) * s + 1 + b for f, k, s, b in zip(front, conv.kernel, steps, back, strict=True)]
    weight = np.zeros((*conv.weight.shape[:2], *size))
    rows, columns = (f + np.arange(k) * s for f, k, s in zip(front, conv.kernel, steps, strict=True))
    weight[:, :, rows[:, None], columns[None, :]] = conv.weight
    start = tuple(p + n for p, n in zip(conv.start, leading, strict=True))
    return replace(conv, weight=weight, dilation=dilation, start=start), padding


def _enlargement(conv: Convolution, axis: int) -> tuple[int, int, int]:
    """Padding on both sides, and zeros in front of and behind the kernel (in source pixels), that give the same."""
    n, s, out = conv.source_shape[1 + axis], conv.stride[axis], conv.size[axis]
    span = (conv.kernel[axis] - 1) * conv.dilation[axis] + 1
    padding = max(conv.start[axis], 0)
    leading = padding - conv.start[axis]
    last = n + 2 * padding - span - leading  # where the last window could begin
    if last < (out - 1) * s:
        missing = (out - 1) * s - last
        return padding + missing, leading + missing, 0
    return padding, leading, max(0, last - (out * s - 1))


def synapse(source: str, linear: Map) -> Synapse:
    """The map as float32 synapses from a population of that name."""
    if isinstance(linear, Matrix):
        return Dense(source, linear.weight.astype(np.float32))
    if len(linear.shape) == 1:
        return Dense(source, as_matrix(linear).weight.astype(np.float32))
    conv, padding = symmetrically_padded(as_convolution(linear))
    return Conv(source, conv.weight.astype(np.float32), conv.stride, padding, conv.dilation, conv.groups)
