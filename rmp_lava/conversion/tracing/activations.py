"""Rules of activations that are exact when written with ReLUs."""

from __future__ import annotations

import numpy as np

from ...network.values import per_row
from . import expressions, rewriting
from .builder import Builder
from .calls import Call, Ref
from .expressions import Expression
from .remedies import ObstacleError, obstacle
from .rules import constant, number, rule

CHEAPER = "a ReLU takes half the neurons, after training with it"
_CHEAPER_LEAKY = "`tune --replace leaky-relu` takes half the neurons"
_RRELU = (1 / 8, 1 / 3)
"""The bounds of PyTorch's randomized leaky ReLU; in evaluation mode its slope is their mean."""


@rule("leaky_relu", "prelu", "rrelu")
def leaky(builder: Builder, call: Call) -> Expression:
    """leaky_relu(input, negative_slope), prelu(input, weight), rrelu(input, lower, upper, training)."""
    x = builder.straight(call, call.argument(0, "input"))
    if call.op == "leaky_relu":
        slope = constant(call.argument(1, "negative_slope", 0.01), call)
    elif call.op == "prelu":
        slope = constant(call.argument(1, "weight"), call)
    else:
        if call.argument(3, "training", False):
            raise ObstacleError("has random slopes even in evaluation", "call it with training=self.training")
        bounds = (call.argument(1 + i, name, _RRELU[i]) for i, name in enumerate(("lower", "upper")))
        slope = np.array(sum(number(bound, call) for bound in bounds) / 2)
    if expressions.is_nonnegative(x):
        builder.inform(call.layer, "rectifies values that are never negative", "left out: it has no effect")
        return x
    if slope.size > 1 and x.view:
        slope = per_row(slope, len(x.view))

    def rewrite() -> Expression:
        above, below = rewriting.parts(builder, call, x)
        return rewriting.difference(above, expressions.scaled(below, expressions.structural(below, slope)))

    return rewriting.reported(builder, call, x, "is a leaky ReLU", _CHEAPER_LEAKY, rewrite)


@rule("abs", "absolute")
def absolute(builder: Builder, call: Call) -> Expression:
    """|x|."""
    x = builder.straight(call, call.argument(0, "input"))
    if expressions.is_nonnegative(x):
        builder.inform(call.layer, "is the absolute value of values that are never negative", "left out")
        return x
    return rewriting.reported(
        builder,
        call,
        x,
        "is an absolute value",
        CHEAPER,
        lambda: expressions.added(*rewriting.parts(builder, call, x)),
    )


@rule("softshrink")
def soft_shrinkage(builder: Builder, call: Call) -> Expression:
    """softshrink(input, lambd): x moved towards zero by lambd."""
    x, width = builder.straight(call, call.argument(0, "input")), number(call.argument(1, "lambd", 0.5), call)

    def rewrite() -> Expression:
        below, above = (expressions.shifted(part, np.array(-width)) for part in (rewriting.negative(x), x))
        return rewriting.difference(builder.neurons(above, call.layer), builder.neurons(below, call.layer))

    return rewriting.reported(builder, call, x, "is a soft shrinkage", CHEAPER, rewrite)


@rule("hardsigmoid")
def hard_sigmoid(builder: Builder, call: Call) -> Expression:
    """hardsigmoid(input): x / 6 + 1/2 between 0 and 1, which is a clipped ReLU."""
    x = builder.straight(call, call.argument(0, "input"))
    line = expressions.shifted(expressions.scaled(x, np.array(1 / 6)), np.array(0.5))
    return builder.population(call, line, clip=np.array(1.0))


@rule("maximum", "minimum")
def extremum(builder: Builder, call: Call) -> Expression:
    """The elementwise maximum or minimum of two tensors, or of one and constants."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    refs = [part for part in (first, second) if isinstance(part, Ref)]
    if not refs or first is None or second is None:
        raise obstacle(call.op)
    parts = [builder.broadcast(call, builder.straight(call, ref)) for ref in refs]
    view = tuple(call.result.shape[1:])
    if any(part.view != view for part in parts):
        raise ObstacleError(f"({call.op}) makes one tensor larger to compare them", "compare tensors of equal shape")
    is_maximum = call.op in ("maximum", "max")
    if len(parts) == 1:
        values = constant(second if refs[0] is first else first, call)
        return _extremum_with(builder, call, parts[0], values, is_maximum=is_maximum)
    (x, y), both = parts, expressions.added(*parts)
    if x.shape != y.shape:
        x, y = expressions.flattened(x), expressions.flattened(y)
    compare = rewriting.larger if is_maximum else rewriting.smaller
    found = f"is the {'maximum' if is_maximum else 'minimum'} of two tensors"
    cheaper = "their mean needs none, after training with it"
    return rewriting.reported(builder, call, both, found, cheaper, lambda: compare(builder, call, x, y))


def _extremum_with(builder: Builder, call: Call, x: Expression, values: np.ndarray, *, is_maximum: bool) -> Expression:
    """The maximum or minimum of x and constants."""
    uniform = (values == values.flat[0]).all()
    if is_maximum and uniform:
        return rewriting.between(builder, call, x, values, np.array(np.inf))
    if not is_maximum and (expressions.is_nonnegative(x) or uniform):
        return rewriting.between(builder, call, x, np.array(-np.inf), values)
    limits = expressions.structural(x, builder.of_one_image(call, values, x))

    def rewrite() -> Expression:
        sign = np.array(1.0 if is_maximum else -1.0)
        above = builder.neurons(expressions.scaled(expressions.shifted(x, -limits), sign), call.layer)
        return expressions.shifted(expressions.scaled(above, sign), limits)

    found = f"is a {'maximum' if is_maximum else 'minimum'} with constants"
    return rewriting.reported(builder, call, x, found, "a ReLU needs no more", rewrite)
