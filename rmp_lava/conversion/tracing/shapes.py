"""Rules of pooling, padding, concatenation, and operations that only move elements."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from . import expressions
from .border_averages import averaged, unevenly_averaged
from .builder import Builder, NotAnImageError
from .calls import Call, Ref
from .expressions import Expression, Note
from .maps import Convolution, NotComposableError, Pair
from .operation_kinds import COPIES, MOVES
from .remedies import ObstacleError, obstacle
from .rules import constant, pair, rule

_MOST_PARTS = 64
"""Parts of a tensor that are added or compared one by one."""


@dataclass(frozen=True)
class Stack:
    """Tensors of equal shape along a new axis in front of the batch; only their sum, mean or maximum can follow."""

    parts: tuple[Expression, ...]


@rule("stack")
def stack(builder: Builder, call: Call) -> Stack | Expression:
    """stack(tensors, dim)."""
    axis = int(call.argument(1, "dim", 0)) % call.result.ndim - 1
    parts = _parts(builder, call)
    if axis < 0:
        return Stack(tuple(parts))
    views = [(*x.view[:axis], 1, *x.view[axis:]) for x in parts]
    apart = [replace(x, view=view) for x, view in zip(parts, views, strict=True)]
    return replace(expressions.joined(apart, axis), moved=call.layer)


def _parts(builder: Builder, call: Call) -> list[Expression]:
    """The tensors that become one: activations, and constants."""
    given, parts = call.argument(0, "tensors"), []
    if isinstance(given, Ref):  # all parts of a tensor that was split
        raise obstacle(call.op)
    for value in given:
        if isinstance(value, Ref):
            parts.append(builder.straight(call, value))
            continue
        values = constant(value, call)
        if (values != values[:1]).any():
            raise ObstacleError("adds constants that differ from image to image", "use one for all images")
        parts.append(expressions.constant(values[0]))
    return parts


def combined(builder: Builder, call: Call) -> tuple[Expression, ...] | None:
    """The tensors that a sum, mean or maximum combines, each of the shape of the result: stacked ones, or parts of one.

    None where they are many, or the combined axes are those of an image.

    Raises
    ------
    ObstacleError
        If images of a batch are combined.
    """
    ref = call.argument(0, "input")
    axes = reduced_axes(call, builder.tensor(ref).ndim)
    stacked = builder.values(ref)
    if isinstance(stacked, Stack):
        if axes == [-1] and not call.argument(2, "keepdim", False):
            return stacked.parts
        builder.give_up_silently(*stacked.parts)
        raise ObstacleError("combines stacked tensors along other axes", "sum or average over the stacked axis only")
    if -1 in axes:
        raise ObstacleError("combines different images of a batch", "process each image by itself")
    x = builder.straight(call, ref)
    builder.give_up_silently(x)
    structure, sizes = structural_axes(x), [x.view[axis] for axis in axes]
    of_image = len(x.shape) == 3 and structure is not None and all(structure[axis] != 0 for axis in axes)
    if of_image or math.prod(sizes) > _MOST_PARTS:
        return None
    result = call.first_result
    numbers = np.moveaxis(np.arange(math.prod(x.view)).reshape(x.view), axes, range(len(axes)))
    try:
        return tuple(expressions.picked(x, numbers[i].reshape(result.shape[1:])) for i in np.ndindex(*sizes))
    except NotComposableError:
        return None


def reduced_axes(call: Call, ndim: int) -> list[int]:
    """The axes that the call combines, without the batch, which is -1."""
    dims = call.argument(1, "dim")
    dims = range(ndim) if dims is None or dims == () else [dims] if isinstance(dims, int) else dims
    return sorted(int(dim) % ndim - 1 for dim in dims)


@rule("pixel_unshuffle")
def pixel_unshuffle(builder: Builder, call: Call) -> Expression:
    """pixel_unshuffle(input, downscale_factor): blocks of pixels to channels, a convolution with weights of 0 and 1."""
    x, factor = builder.image(call), int(call.argument(1, "downscale_factor"))
    channels = x.shape[0]
    one_hot = np.eye(factor**2).reshape(factor**2, 1, factor, factor)
    size = pair(call.result.shape[2:])
    conv = Convolution(np.tile(one_hot, (channels, 1, 1, 1)), x.shape, size, (factor, factor), groups=channels)
    y = builder.composed(call, x, lambda x: expressions.convolved(x, conv))
    return replace(y, labels=x.labels, notes=(*y.notes, Note(call.layer, "moves pixels to channels")))


@rule("avg_pool2d")
def average_pooling(builder: Builder, call: Call) -> Expression:
    """avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)."""
    x = builder.image(call)
    kernel = pair(call.argument(1, "kernel_size"))
    stride = pair(call.argument(2, "stride") or kernel)
    padding = pair(call.argument(3, "padding", 0))
    divisor, size = call.argument(6, "divisor_override"), pair(call.result.shape[2:])
    counts_padding = bool(call.argument(5, "count_include_pad", True))
    ends = ((m - 1) * s - p + k for m, s, p, k in zip(size, stride, padding, kernel, strict=True))
    fits = all(end <= n + p for end, n, p in zip(ends, x.shape[1:], padding, strict=True))
    if not divisor and not (fits and (counts_padding or not any(padding))):
        y = averaged(builder, call, x, kernel, stride, padding, size, counts_padding)
        return replace(y, labels=(*x.labels, (1, call.layer)))
    return _pooled(builder, call, x, kernel, stride, padding, size, 1 / (divisor or math.prod(kernel)))


@rule("adaptive_avg_pool2d")
def adaptive_pooling(builder: Builder, call: Call) -> Expression:
    """adaptive_avg_pool2d(input, output_size)."""
    x = builder.image(call)
    size = pair(call.result.shape[2:])
    if all(n % m == 0 for n, m in zip(x.shape[1:], size, strict=True)):
        kernel = (x.shape[1] // size[0], x.shape[2] // size[1])
        return _pooled(builder, call, x, kernel, kernel, (0, 0), size, 1 / math.prod(kernel))
    if all(m % n == 0 for n, m in zip(x.shape[1:], size, strict=True)):
        index = np.arange(math.prod(x.shape)).reshape(x.shape)
        for axis, (n, m) in enumerate(zip(x.shape[1:], size, strict=True)):
            index = index.repeat(m // n, axis=1 + axis)
        return replace(expressions.rearranged(x, index.reshape(-1), index.shape), moved=call.layer)
    y = unevenly_averaged(builder, call, x, size)
    return replace(y, labels=(*x.labels, (1, call.layer)))


@rule("mean", "sum")
def mean(builder: Builder, call: Call) -> Expression:
    """mean(input, dim) or sum(input, dim)."""
    parts = combined(builder, call)
    if parts is not None:
        total = functools.reduce(expressions.added, parts)
        return total if call.op == "sum" else expressions.scaled(total, np.array(1 / len(parts)))
    x = builder.straight(call, call.argument(0, "input"))
    axes = structural_axes(x)
    if axes is None:
        raise NotAnImageError("averages over parts of axes", "average over height and width of an image")
    over = {axes[axis] for axis in reduced_axes(call, 1 + len(x.view))} - {None}
    if len(x.shape) != 3 or 0 in over:
        raise NotAnImageError("averages over channels", "average over height and width only, or use a convolution")
    height, width = x.shape[1:]
    kernel = (height if 1 in over else 1, width if 2 in over else 1)
    size = (height // kernel[0], width // kernel[1])
    weight = 1 / math.prod(kernel) if call.op == "mean" else 1.0
    y = _pooled(builder, call, x, kernel, (1, 1), (0, 0), size, weight)
    return replace(y, view=tuple(call.result.shape[1:]))


def structural_axes(x: Expression) -> dict[int, int | None] | None:
    """For each axis of the view the axis of the terms' shape, None for those of one element; None if they do not correspond."""
    seen = [axis for axis, n in enumerate(x.view) if n > 1]
    inner = [axis for axis, n in enumerate(x.shape) if n > 1]
    if [x.view[axis] for axis in seen] != [x.shape[axis] for axis in inner]:
        return None
    found: dict[int, int | None] = dict.fromkeys(range(len(x.view)))
    return found | dict(zip(seen, inner, strict=True))


def _pooled(
    builder: Builder, call: Call, x: Expression, kernel: Pair, stride: Pair, start: Pair, size: Pair, weight: float
) -> Expression:
    if kernel == (1, 1) and stride == (1, 1) and weight == 1:
        return x
    channels = x.shape[0]
    conv = Convolution(np.full((channels, 1, *kernel), weight), x.shape, size, stride, start, groups=channels)
    keep = builder.keep_pooling and expressions.is_nonnegative(x)
    y = builder.composed(call, x, lambda x: expressions.convolved(x, conv))
    notes = y.notes if keep else (*y.notes, Note(call.layer, "is average pooling", "pooling"))
    return replace(y, labels=(*x.labels, (1, call.layer)), notes=notes, hold=call.layer if keep else "")


@rule("cat")
def concatenate(builder: Builder, call: Call) -> Expression:
    """cat(tensors, dim)."""
    axis = int(call.argument(1, "dim", 0)) % call.result.ndim - 1
    if axis < 0:
        raise ObstacleError("makes one batch of several", "process each image by itself")
    parts = _parts(builder, call)
    if axis == 0:
        return expressions.concatenated(parts, tuple(call.result.shape[1:]))
    return replace(expressions.joined(parts, axis), moved=call.layer)


@rule(*COPIES)
def unchanged(builder: Builder, call: Call) -> Expression:
    """Copies, and changes of precision."""
    value = builder.values(call.argument(0, "input"))
    if not isinstance(value, Expression):
        raise obstacle(call.op)
    if not call.result.is_floating_point():
        raise ObstacleError(f"({call.op}) makes integers of activations", "round with torch.floor or torch.round")
    return value


@rule(*MOVES)
def move(builder: Builder, call: Call) -> Expression | tuple[Expression, ...]:
    """Operations that only pick and move elements: applied to element indices, they show where each element goes."""
    refs = [part for part in (*call.args, *call.kwargs.values()) if isinstance(part, Ref)]
    if len(refs) != 1:
        raise obstacle(call.op)
    x, value = builder.values(refs[0]), builder.tensor(refs[0])
    if not isinstance(x, Expression):
        raise obstacle(call.op)
    numbers = torch.arange(value.numel(), dtype=torch.float64, device=value.device).reshape(value.shape)
    args = [numbers if isinstance(part, Ref) else part for part in call.args]
    kwargs = {name: numbers if isinstance(part, Ref) else part for name, part in call.kwargs.items()}
    result = call.run(*args, **kwargs)
    if isinstance(result, torch.Tensor):
        return _moved(builder, call, x, result, value)
    return tuple(_moved(builder, call, x, part, value) for part in result)


def _moved(builder: Builder, call: Call, x: Expression, numbers: torch.Tensor, value: torch.Tensor) -> Expression:
    batch = value.shape[0]
    each = value.numel() // batch
    if numbers.ndim and numbers.shape[0] == batch:
        index = numbers.cpu().numpy().astype(np.int64).reshape(batch, -1)
        if (index == index[0] % each + each * np.arange(batch)[:, None]).all():
            return replace(expressions.rearranged(x, index[0], tuple(numbers.shape[1:])), moved=call.layer)
    builder.give_up_silently(x)
    raise ObstacleError("combines different images of a batch, or picks one", "process each image by itself")
