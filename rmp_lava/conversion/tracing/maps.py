"""Linear maps from one population to a tensor.

A tensor of a network is a sum of such maps of rectified populations, plus a constant (`expressions`). A map has the
shape of its source and of its output; images are (channels, height, width) and flatten in C order. Weights are float64
until a map becomes a `Synapse`, except for very large matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.grad import conv2d_input

from ...network import Conv, Dense, Synapse
from ...network.pooling import folded_pool
from ...network.synapses import in_fewer_groups

Shape = tuple[int, ...]
Pair = tuple[int, int]

LARGEST_MATRIX = 2**26
"""Limit in elements (512 MB) of a matrix that is built only because two maps have no smaller common form."""


class NotComposableError(Exception):
    """Two linear maps cannot be written as one convolution or matrix exactly."""


@dataclass(frozen=True, eq=False)
class Diagonal:
    """Multiplies each element by its gain: gain () or (channels, 1, 1) or of the source's shape."""

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

    Output (i, j) reads the source at (i, j) * stride - start + (u, v) * dilation for each (u, v) of the kernel; outside
    the source it reads zeros.

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
    size: Pair
    stride: Pair = (1, 1)
    start: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def shape(self) -> Shape:
        """Of what the map gives."""
        return (self.weight.shape[0], *self.size)

    @property
    def kernel(self) -> Pair:
        """(height, width) in weights."""
        return (self.weight.shape[2], self.weight.shape[3])

    @property
    def geometry(self) -> tuple:
        """Equal for convolutions whose weights may be added."""
        return (self.weight.shape, self.source_shape, self.size, self.stride, self.start, self.dilation, self.groups)


Map = Diagonal | Matrix | Convolution


def scaled(linear: Map, factor: np.ndarray) -> Map:
    """`factor * map`; factor (), (channels, 1, 1) or of the map's output shape.

    Raises
    ------
    NotComposableError
        If a convolution would need different weights at each position.
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
    """The map as a convolution of an image; one gain per channel is a depthwise convolution of size 1.

    Raises
    ------
    NotComposableError
        If it is not a convolution.
    """
    if isinstance(linear, Convolution):
        return linear
    if isinstance(linear, Matrix) or len(linear.source_shape) != 3:
        raise NotComposableError
    if linear.gain.ndim and math.prod(linear.gain.shape[1:]) != 1:  # by pixel
        raise NotComposableError
    channels, height, width = linear.source_shape
    gain = np.broadcast_to(linear.gain.reshape(-1), (channels,))
    return Convolution(gain[:, None, None, None].copy(), linear.source_shape, (height, width), groups=channels)


def regrouped(conv: Convolution, groups: int) -> Convolution:
    """The same convolution in fewer groups, see `in_fewer_groups`."""
    if conv.groups == groups:
        return conv
    return replace(conv, weight=in_fewer_groups(conv.weight, conv.groups, groups), groups=groups)


def then_matrix(weight: np.ndarray, linear: Map) -> Matrix:
    """`weight` (outputs, elements of the map's output in C order) applied after a map."""
    if isinstance(linear, Diagonal):
        unit = linear.gain.ndim == 0 and linear.gain == 1
        product = weight if unit else weight * np.broadcast_to(linear.gain, linear.shape).reshape(-1)
    elif isinstance(linear, Matrix):
        product = weight @ linear.weight
    else:
        product = _through_convolution(weight, linear)
    return Matrix(product, linear.source_shape)


def _through_convolution(weight: np.ndarray, conv: Convolution) -> np.ndarray:
    """Rows of a matrix over a convolution's output as rows over its source; float32 above `LARGEST_MATRIX` elements."""
    outputs, elements = len(weight), math.prod(conv.source_shape)
    product = np.empty((outputs, elements), np.float32 if outputs * elements > LARGEST_MATRIX else np.float64)
    symmetric, padding = symmetrically_padded(conv)
    kernel, rows = torch.from_numpy(symmetric.weight), max(1, 2**24 // elements)
    for start in range(0, outputs, rows):
        part = np.ascontiguousarray(weight[start : start + rows]).reshape(-1, *conv.shape)
        product[start : start + rows] = (
            conv2d_input(
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
    """The map as a matrix; raises `NotComposableError` beyond `LARGEST_MATRIX` elements."""
    if isinstance(linear, Matrix):
        return linear
    size = math.prod(linear.shape)
    if size * max(size, math.prod(linear.source_shape)) > LARGEST_MATRIX:
        raise NotComposableError
    return then_matrix(np.eye(size), linear)


def embedded(linear: Map, offset: int, shape: Shape) -> Map:
    """The map with outputs of `shape`: its own outputs from element `offset` on, zeros elsewhere."""
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
    """The given rows (output channels, or elements of a flat output) of a map, in this order."""
    if np.array_equal(channels, np.arange(linear.shape[0])):
        return linear
    if len(linear.shape) == 1:
        return Matrix(as_matrix(linear).weight[channels], linear.source_shape)
    conv = regrouped(as_convolution(linear), 1)
    return replace(conv, weight=conv.weight[channels])


def is_nonnegative(linear: Map) -> bool:
    """Whether no output is negative as long as no input is."""
    return bool((linear.gain if isinstance(linear, Diagonal) else linear.weight).min() >= 0)


def merged(maps: list[Map]) -> list[Map]:
    """The same sum of maps of one source in fewer maps: equal geometries are added, near-by kernels become one."""
    by_geometry: dict[tuple, Map] = {}
    for linear in maps:
        key = (type(linear), linear.geometry if isinstance(linear, Convolution) else linear.shape)
        by_geometry[key] = _sum(by_geometry[key], linear) if key in by_geometry else linear
    found: list[Map] = []
    for linear in by_geometry.values():
        for i, other in enumerate(found):
            union = _one_kernel(other, linear)
            if union is not None:
                found[i] = union
                break
        else:
            found.append(linear)
    return found


def _one_kernel(a: Map, b: Map) -> Convolution | None:
    """`a + b` of two convolutions as one whose kernel spans both, where that has no more weights than the two."""
    if not isinstance(a, Convolution) or not isinstance(b, Convolution):
        return None
    if (a.weight.shape[:2], a.size, a.stride, a.groups) != (b.weight.shape[:2], b.size, b.stride, b.groups):
        return None
    rows, columns = (_common_places(a, b, axis) for axis in (0, 1))
    kernel = (max(p[-1] for p in rows.places) + 1, max(p[-1] for p in columns.places) + 1)
    if math.prod(kernel) > math.prod(a.kernel) + math.prod(b.kernel):
        return None
    weight = np.zeros((*a.weight.shape[:2], *kernel))
    for conv, row, column in zip((a, b), rows.places, columns.places, strict=True):
        weight[:, :, row[:, None], column[None, :]] += conv.weight
    start, dilation = (rows.start, columns.start), (rows.dilation, columns.dilation)
    return replace(a, weight=weight, start=start, dilation=dilation)


class _CommonPlaces(NamedTuple):
    """One axis of a kernel that spans two others; `places` are those of the weights of each in it."""

    start: int
    dilation: int
    places: tuple[np.ndarray, np.ndarray]


def _common_places(a: Convolution, b: Convolution, axis: int) -> _CommonPlaces:
    first, second = (np.arange(conv.kernel[axis]) * conv.dilation[axis] - conv.start[axis] for conv in (a, b))
    least = int(min(first[0], second[0]))
    step = math.gcd(*(int(n) - least for n in (*first, *second))) or 1
    return _CommonPlaces(-least, step, ((first - least) // step, (second - least) // step))


def _sum(a: Map, b: Map) -> Map:
    """`a + b` of maps of equal type and geometry."""
    if isinstance(a, Diagonal) and isinstance(b, Diagonal):
        return replace(a, gain=a.gain + b.gain)
    assert not isinstance(a, Diagonal) and not isinstance(b, Diagonal)
    return replace(a, weight=a.weight + b.weight)


def convolved_image(image: np.ndarray, conv: Convolution) -> np.ndarray:
    """The output (C_out, *size) of a convolution for a float64 image (C_in, H, W)."""
    symmetric, padding = symmetrically_padded(conv)
    result = torch.conv2d(
        torch.from_numpy(np.array(image))[None],
        torch.from_numpy(symmetric.weight),
        None,
        conv.stride,
        padding,
        symmetric.dilation,
        conv.groups,
    )
    return result[0].numpy()


def symmetrically_padded(conv: Convolution) -> tuple[Convolution, Pair]:
    """The same convolution with equal padding on opposite sides, its kernel enlarged by zeros where that needs it.

    Returns
    -------
    (Convolution, (int, int))
        And its padding as (height, width).
    """
    rows, columns = _padded_axis(conv, 0), _padded_axis(conv, 1)
    padding, size = (rows.padding, columns.padding), (rows.size, columns.size)
    if size == conv.kernel:
        return conv, padding
    weight = np.zeros((*conv.weight.shape[:2], *size))
    weight[:, :, rows.places[:, None], columns.places[None, :]] = conv.weight
    dilation, start = (rows.dilation, columns.dilation), (rows.start, columns.start)
    return replace(conv, weight=weight, dilation=dilation, start=start), padding


class _PaddedAxis(NamedTuple):
    """One axis of a symmetrically padded convolution; `places` are those of the old weights in the new kernel."""

    padding: int
    size: int
    dilation: int
    start: int
    places: np.ndarray


def _padded_axis(conv: Convolution, axis: int) -> _PaddedAxis:
    n, s, out = conv.source_shape[1 + axis], conv.stride[axis], conv.size[axis]
    kernel, dilation, start = conv.kernel[axis], conv.dilation[axis], conv.start[axis]
    span = (kernel - 1) * dilation + 1
    padding = max(start, 0)
    leading, trailing = padding - start, 0  # zeros before and after the kernel, in source pixels
    last = n + 2 * padding - span - leading  # where the last window could begin
    if last < (out - 1) * s:
        missing = (out - 1) * s - last
        padding, leading = padding + missing, leading + missing
    else:
        trailing = max(0, last - (out * s - 1))
    # The zeros are whole dilated weights, or the dilation is written into the kernel.
    new = dilation if leading % dilation == 0 and trailing % dilation == 0 else 1
    places = leading // new + np.arange(kernel) * (dilation // new)
    return _PaddedAxis(padding, int(places[-1]) + 1 + trailing // new, new, start + leading, places)


def synapse(source: str, linear: Map) -> Synapse:
    """The map, a matrix or of an image, as float32 synapses from a population of that name."""
    if isinstance(linear, Matrix):
        made: Synapse = Dense(source, linear.weight.astype(np.float32))
    else:
        conv, padding = symmetrically_padded(as_convolution(linear))
        made = Conv(source, conv.weight.astype(np.float32), conv.stride, padding, conv.dilation, conv.groups)
    return made.replace(pool=folded_pool(made, linear.source_shape))
