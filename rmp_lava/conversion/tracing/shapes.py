"""Rules of pooling, padding, concatenation, and operations that only move elements."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from . import expressions
from .border_averages import averaged, unevenly_averaged
from .builder import Builder, NotAnImageError
from .calls import Call, Ref
from .expressions import Expression, Note
from .maps import Convolution, Pair
from .operation_kinds import COPIES, MOVES
from .remedies import ObstacleError, obstacle
from .rules import number, pair, rule


@dataclass(frozen=True)
class Stack:
    """Tensors of equal shape along a new axis, counted with the batch axis; only their sum or mean can follow."""

    parts: tuple[Expression, ...]
    axis: int


@rule("stack")
def stack(builder: Builder, call: Call) -> Stack:
    """stack(tensors, dim)."""
    refs, axis = call.argument(0, "tensors"), int(call.argument(1, "dim", 0)) % call.result.ndim
    if isinstance(refs, Ref) or not all(isinstance(ref, Ref) for ref in refs):
        raise obstacle(call.op)
    return Stack(tuple(builder.straight(call, ref) for ref in refs), axis)


def _combined(builder: Builder, call: Call, stacked: Stack) -> Expression:
    dims = call.argument(1, "dim")
    dims = [dims] if isinstance(dims, int) else dims
    ndim = 2 + len(stacked.parts[0].view)
    if dims is None or [int(dim) % ndim for dim in dims] != [stacked.axis] or call.argument(2, "keepdim", False):
        builder.give_up_silently(*stacked.parts)
        raise ObstacleError("combines stacked tensors along other axes", "sum or average over the stacked axis only")
    total = stacked.parts[0]
    for part in stacked.parts[1:]:
        total = expressions.added(total, part)
    return total if call.op == "sum" else expressions.scaled(total, np.array(1 / len(stacked.parts)))


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
    """mean(input, dim) or sum(input, dim) of an image."""
    stacked = builder.values(call.argument(0, "input"))
    if isinstance(stacked, Stack):
        return _combined(builder, call, stacked)
    x = builder.straight(call, call.argument(0, "input"))
    dims = call.argument(1, "dim")
    dims = range(1 + len(x.view)) if dims is None else [dims] if isinstance(dims, int) else dims
    view_axes = {int(dim) % (1 + len(x.view)) - 1 for dim in dims}
    if -1 in view_axes:
        raise ObstacleError("combines different images of a batch", "process each image by itself")
    builder.give_up_silently(*([x] if len(x.view) not in (1, 3) else []))
    axes = _structural_axes(x)
    over = {axes[axis] for axis in view_axes if x.view[axis] > 1}
    if len(x.shape) != 3 or 0 in over:
        builder.give_up_silently(x)
        raise NotAnImageError("averages over channels", "average over height and width only, or use a convolution")
    height, width = x.shape[1:]
    kernel = (height if 1 in over else 1, width if 2 in over else 1)
    size = (height // kernel[0], width // kernel[1])
    weight = 1 / math.prod(kernel) if call.op == "mean" else 1.0
    y = _pooled(builder, call, x, kernel, (1, 1), (0, 0), size, weight)
    return replace(y, view=tuple(call.result.shape[1:]))


def _structural_axes(x: Expression) -> dict[int, int]:
    """For each axis of the view with more than one element, the corresponding axis of the terms' shape."""
    seen = [axis for axis, n in enumerate(x.view) if n > 1]
    inner = [axis for axis, n in enumerate(x.shape) if n > 1]
    if [x.view[axis] for axis in seen] != [x.shape[axis] for axis in inner]:
        raise NotAnImageError("averages over parts of axes", "average over height and width of an image")
    return dict(zip(seen, inner, strict=True))


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


@rule("pad", "constant_pad_nd")
def pad(builder: Builder, call: Call) -> Expression:
    """pad(input, pad, mode, value): zeros around an image, or channels of zeros; negative numbers crop."""
    x = builder.image(call)
    mode, value = call.argument(2, "mode", "constant"), call.argument(3, "value", None)
    if call.op == "constant_pad_nd":
        mode, value = "constant", call.argument(2, "value", 0)
    if mode != "constant" or value and number(value, call):
        how = f"{mode!r}" if mode != "constant" else f"{value:g}"
        raise ObstacleError(f"pads with {how}", "pad with zeros and train again")
    widths = [int(n) for n in call.argument(1, "pad")]
    widths = [widths[0]] * 4 if len(widths) == 1 else widths + [0] * (6 - len(widths))
    left, _, top, _, front, back, *rest = widths + [0] * (6 - len(widths))
    if any(rest) or front < 0 or back < 0:
        raise ObstacleError("pads the batch, or removes channels", "pad height, width or channels with zeros")
    channels, size = x.shape[0], pair(call.result.shape[2:])
    conv = Convolution(np.ones((channels, 1, 1, 1)), x.shape, size, start=(top, left), groups=channels)
    y = builder.composed(call, x, lambda x: expressions.convolved(x, conv)) if size != x.shape[1:] else x
    y = replace(y, labels=x.labels, notes=(*y.notes, Note(call.layer, "pads with zeros")))
    if front or back:
        none = [Expression((n, *size), (), (n, *size)) for n in (front, back)]
        y = expressions.concatenated([none[0], y, none[1]], tuple(call.result.shape[1:]))
    return y


@rule("cat")
def concatenate(builder: Builder, call: Call) -> Expression:
    """cat(tensors, dim) along channels or features."""
    refs, dim = call.argument(0, "tensors"), int(call.argument(1, "dim", 0))
    if isinstance(refs, Ref):  # all parts of a tensor that was split
        raise obstacle("cat")
    if dim % call.result.ndim != 1 or not all(isinstance(ref, Ref) for ref in refs):
        raise ObstacleError(
            f"concatenates along axis {dim}, or with constants", "concatenate activations along axis 1 (channels)"
        )
    parts = [builder.straight(call, ref) for ref in refs]
    view = tuple(call.result.shape[1:])
    if len(view) not in (1, 2, 3):
        builder.give_up_silently(*parts)
        raise ObstacleError("concatenates tensors that are not images", "concatenate images, or flat features")
    return expressions.concatenated(parts, view)


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
