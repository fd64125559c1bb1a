"""Rules of one-dimensional convolutions and poolings: rows of features (channels, length) as images of height 1.

Features that are no such image, as after a linear layer, take a matrix.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import dense, max_pooling
from .builder import Builder, NotAnImageError
from .calls import Call, Ref
from .expressions import Expression
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
        builder.image(call)
    except NotAnImageError:
        return max_pooling.over_windows(builder, call)
    return _as_image(builder, call)


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
    result = call.first_result
    op = call.op.replace("1d", "2d")
    ref: Ref = call.argument(0, "input")
    image = RULES[op](builder, replace(call, op=op, args=(ref,), kwargs=arguments, result=result.unsqueeze(-2)))
    return replace(image, view=tuple(result.shape[1:]))


def _single(value: Any) -> int:
    return int(value if isinstance(value, int) else value[-1])


def _padding(value: Any) -> Any:
    return value if isinstance(value, str) else (0, _single(value))
