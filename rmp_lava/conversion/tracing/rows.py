"""Rules of one-dimensional convolutions and poolings: rows of features (channels, length) as images of height 1.

Features that are no such image, as after a linear layer, take a matrix, and a maximum picks the pixels of its windows one by one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from . import dense, expressions, max_pooling, rewriting
from .axis import adaptive_windows
from .builder import Builder, NotAnImageError
from .calls import Call, Ref
from .expressions import Expression
from .remedies import ObstacleError
from .rules import RULES, rule


@rule("conv1d", "avg_pool1d", "adaptive_avg_pool1d")
def linear_row(builder: Builder, call: Call) -> Expression:
    """conv1d(input, weight, bias, stride, padding, dilation, groups), avg_pool1d and adaptive_avg_pool1d."""
    try:
        return _as_image(builder, call)
    except NotAnImageError:
        return dense.as_matrix(builder, call)


@rule("max_pool1d", "adaptive_max_pool1d")
def largest_of_row(builder: Builder, call: Call) -> Expression:
    """max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode) and adaptive_max_pool1d(input, output_size)."""
    try:
        return _as_image(builder, call)
    except NotAnImageError:
        pass
    x = builder.straight(call, call.argument(0, "input"))
    result = call.result[0] if isinstance(call.result, (tuple, list)) else call.result
    *front, length = x.view
    windows = _windows(call, length, result.shape[-1])
    if not all(windows):
        raise ObstacleError("is maximum pooling with windows of nothing but padding", "use less padding")
    numbers = np.arange(math.prod(x.view)).reshape(x.view)

    def pool() -> Expression:
        picked = []
        for i in range(max(map(len, windows))):
            places = [window[min(i, len(window) - 1)] for window in windows]
            index = numbers[..., places]
            picked.append(expressions.in_order(expressions.rearranged(x, index.reshape(-1), (*front, len(windows)))))
        return rewriting.largest(builder, call, picked)

    return rewriting.reported(builder, call, x, "is maximum pooling", max_pooling.CHEAPER, pool)


def _windows(call: Call, length: int, count: int) -> list[list[int]]:
    """The pixels of each window, without padding."""
    if call.op == "adaptive_max_pool1d":
        return [list(range(*ends)) for ends in adaptive_windows(length, count)]
    k = _single(call.argument(1, "kernel_size"))
    s, p = _single(call.argument(2, "stride") or k), _single(call.argument(3, "padding", 0))
    d = _single(call.argument(4, "dilation", 1))
    all_places = ([i * s - p + u * d for u in range(k)] for i in range(count))
    return [[place for place in places if 0 <= place < length] for places in all_places]


def _as_image(builder: Builder, call: Call) -> Expression:
    """The two-dimensional operation on an image of height 1, of which the result has no height."""
    arguments: dict[str, Any]
    if call.op == "conv1d":
        arguments = {
            "weight": call.argument(1, "weight").unsqueeze(2),
            "bias": call.argument(2, "bias"),
            "stride": (1, _single(call.argument(3, "stride", 1))),
            "padding": _padding(call.argument(4, "padding", 0)),
            "dilation": (1, _single(call.argument(5, "dilation", 1))),
            "groups": call.argument(6, "groups", 1),
        }
    elif call.op.startswith("adaptive"):
        arguments = {"output_size": (1, _single(call.argument(1, "output_size")))}
    else:
        kernel = _single(call.argument(1, "kernel_size"))
        arguments = {
            "kernel_size": (1, kernel),
            "stride": (1, _single(call.argument(2, "stride") or kernel)),
            "padding": (0, _single(call.argument(3, "padding", 0))),
        }
        if call.op == "max_pool1d":
            arguments["dilation"] = (1, _single(call.argument(4, "dilation", 1)))
        else:
            arguments["count_include_pad"] = call.argument(5, "count_include_pad", True)
    result = call.result[0] if isinstance(call.result, (tuple, list)) else call.result
    op = call.op.replace("1d", "2d")
    ref: Ref = call.argument(0, "input")
    image = RULES[op](builder, replace(call, op=op, args=(ref,), kwargs=arguments, result=result.unsqueeze(-2)))
    return replace(image, view=tuple(result.shape[1:]))


def _single(value: Any) -> int:
    return int(value if isinstance(value, int) else value[-1])


def _padding(value: Any) -> Any:
    return value if isinstance(value, str) else (0, _single(value))
