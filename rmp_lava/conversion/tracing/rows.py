"""Rules of one-dimensional convolutions and poolings: rows of features (channels, length) as images of height 1.

Features that are no such image, as after a linear layer, take a matrix.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import dense, max_pooling
from .builder import Builder, NotAnImageError
from .calls import Call
from .expressions import Expression
from .modules import AVERAGE, CONV, LARGEST
from .rules import RULES, rule

_BESIDE = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "output_size": 1}
"""What the height of 1 has in arguments that are pairs."""


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
    names = {"conv1d": CONV, "avg_pool1d": AVERAGE, "max_pool1d": LARGEST}.get(call.op, ("output_size",))
    given = {name: call.argument(i, name) for i, name in enumerate(names, 1)}
    arguments = {name: _of_image(name, value) for name, value in given.items() if value is not None}
    result, ref = call.first_result, call.argument(0, "input")
    op = call.op.replace("1d", "2d")
    image = RULES[op](builder, replace(call, op=op, args=(ref,), kwargs=arguments, result=result.unsqueeze(-2)))
    return replace(image, view=tuple(result.shape[1:]))


def _of_image(name: str, value: Any) -> Any:
    """An argument as the two-dimensional operation takes it."""
    if name == "weight":
        return value.unsqueeze(2)
    if name not in _BESIDE or not value or isinstance(value, str):
        return value
    return (_BESIDE[name], int(value if isinstance(value, int) else value[-1]))
