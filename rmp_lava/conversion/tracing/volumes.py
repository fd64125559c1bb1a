"""Rules of three-dimensional convolutions and poolings: volumes (channels, depth, height, width) as images of all planes.

Each plane of each channel is a channel of the image, so a convolution of volumes is one of images, whose weights are those of
the planes that each window reads, and zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from . import dense, expressions, max_pooling, rewriting
from .builder import Builder
from .calls import Call
from .expressions import Expression
from .remedies import ObstacleError, obstacle
from .rules import RULES, pair, rule


@rule("conv3d")
def convolution(builder: Builder, call: Call) -> Expression:
    """conv3d(input, weight, bias, stride, padding, dilation, groups)."""
    weight, bias = call.argument(1, "weight"), call.argument(2, "bias")
    stride, dilation = _triple(call.argument(3, "stride", 1)), _triple(call.argument(5, "dilation", 1))
    padding: Any = call.argument(4, "padding", 0)
    if padding == "same":
        sizes = weight.shape[2:]
        padding = tuple((k - 1) * d // 2 for k, d in zip(sizes, dilation, strict=True))
    padding = _triple(0 if padding == "valid" else padding)
    return _convolved(builder, call, weight, bias, stride, padding, dilation, int(call.argument(6, "groups", 1)))


@rule("avg_pool3d", "adaptive_avg_pool3d")
def average(builder: Builder, call: Call) -> Expression:
    """avg_pool3d(input, kernel_size, stride, padding, ceil_mode, count_include_pad) and adaptive_avg_pool3d(input, size)."""
    view, size = _view(builder, call), tuple(call.result.shape[2:])
    kernel: tuple[int, ...]
    padding: tuple[int, ...]
    if call.op == "adaptive_avg_pool3d":
        kernel = tuple(n // m for n, m in zip(view[1:], size, strict=True))
        stride, padding, even = kernel, (0, 0, 0), all(n % m == 0 for n, m in zip(view[1:], size, strict=True))
    else:
        kernel = _triple(call.argument(1, "kernel_size"))
        stride, padding = _triple(call.argument(2, "stride") or kernel), _triple(call.argument(3, "padding", 0))
        geometry = zip(view[1:], kernel, stride, padding, size, strict=True)
        inside = all((m - 1) * s - p + k <= n + p for n, k, s, p, m in geometry)
        even = inside and (call.argument(5, "count_include_pad", True) or not any(padding))
        even = even and not call.argument(6, "divisor_override")
    if not even:
        raise ObstacleError(
            f"({call.op}) divides windows by different numbers of voxels", "use windows of one size, inside the volume"
        )
    weight = torch.full((view[0], 1, *kernel), 1 / math.prod(kernel), dtype=torch.float64)
    return _convolved(builder, call, weight, None, stride, padding, (1, 1, 1), view[0])


@rule("max_pool3d", "adaptive_max_pool3d")
def maximum(builder: Builder, call: Call) -> Expression:
    """max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode) over planes, then within them; adaptive_max_pool3d."""
    x = builder.values(call.argument(0, "input"))
    if call.op.startswith("adaptive") or not _is_volume(x):
        return max_pooling.over_windows(builder, call)
    (channels, depth, *_), x = _view(builder, call), builder.image(call)
    kernel = _triple(call.argument(1, "kernel_size"))
    stride, padding = _triple(call.argument(2, "stride") or kernel), _triple(call.argument(3, "padding", 0))
    dilation = _triple(call.argument(4, "dilation", 1))
    result = call.first_result
    if not bool(result.isfinite().all()):
        raise ObstacleError(*max_pooling.NOTHING)
    windows = max_pooling.windows_along(call, 0, depth, result.shape[2])
    planes = np.arange(channels)[:, None] * depth

    def pool() -> Expression:
        picked = []
        for i in range(max(map(len, windows))):
            chosen = [window[min(i, len(window) - 1)] for window in windows]
            part = expressions.chosen(x, (planes + chosen).reshape(-1)) if chosen != list(range(depth)) else x
            picked.append(replace(part, view=part.shape))
        y = rewriting.largest(builder, call, picked)
        k, s, p, d, size = (pair(each[-2:]) for each in (kernel, stride, padding, dilation, result.shape))
        return max_pooling.pooled(builder, call, y, k, s, p, d, size)

    y = rewriting.reported(builder, call, x, "is maximum pooling", "nn.AvgPool3d needs none", pool)
    return replace(y, view=tuple(result.shape[1:]))


def _convolved(
    builder: Builder,
    call: Call,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Expression:
    depth, planes = _view(builder, call)[1], call.result.shape[2]
    outputs, inputs, kernel, *window = weight.shape
    size = outputs * planes * inputs * depth * math.prod(window)
    if size > dense.LARGEST:
        raise ObstacleError(
            f"({call.op}) would be a convolution of images with {size:,} weights; at most {dense.LARGEST:,} are made",
            "use fewer channels or planes there",
        )
    flat = weight.new_zeros((outputs, planes, inputs, depth, *window))
    for plane in range(planes):
        for k in range(kernel):
            read = plane * stride[0] - padding[0] + k * dilation[0]
            if 0 <= read < depth:
                flat[:, plane, :, read] += weight[:, :, k]
    arguments = {
        "weight": flat.reshape(outputs * planes, inputs * depth, *window),
        "bias": None if bias is None else bias.repeat_interleave(planes),
        "stride": tuple(stride[1:]),
        "padding": tuple(padding[1:]),
        "dilation": tuple(dilation[1:]),
        "groups": groups,
    }
    image = replace(call, op="conv2d", args=call.args[:1], kwargs=arguments, result=call.result.flatten(1, 2))
    y = RULES["conv2d"](builder, image)
    builder.inform(call.layer, "is an operation on volumes", f"one on images of {depth} planes, with {size:,} weights")
    return replace(y, view=tuple(call.result.shape[1:]))


def _view(builder: Builder, call: Call) -> tuple[int, ...]:
    """(channels, depth, height, width) of the operand."""
    x = builder.values(call.argument(0, "input"))
    if not isinstance(x, Expression):
        raise obstacle(call.op)
    if not _is_volume(x):
        builder.give_up_silently(x)
        raise ObstacleError(
            f"takes a tensor of shape (N, {', '.join(map(str, x.view))}) that has been no volume before",
            "keep volumes as (N, channels, depth, height, width) up to the first linear layer",
        )
    return x.view


def _is_volume(x: Any) -> bool:
    return isinstance(x, Expression) and len(x.view) == 4 and x.shape == (x.view[0] * x.view[1], *x.view[2:])


def _triple(value: Any) -> tuple[int, ...]:
    values = [int(value)] if isinstance(value, int) else [int(n) for n in value]
    return tuple(values * 3 if len(values) == 1 else values)
