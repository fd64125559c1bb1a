"""Functions that are not a ReLU, written exactly with ReLUs: the larger of two values, the absolute value, clipping.

max(a, b) = b + relu(a - b)        min(a, b) = b - relu(b - a)        |x| = relu(x) + relu(-x)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...network.values import per_row
from . import expressions
from .builder import Builder
from .calls import Call
from .expressions import Expression
from .maps import NotComposableError
from .remedies import ObstacleError

_MINUS = np.array(-1.0)


def larger(builder: Builder, call: Call, a: Expression, b: Expression) -> Expression:
    """max(a, b) elementwise, by one population; a and b have the same shape."""
    a_first = (expressions.is_nonnegative(a), -len(a.terms)) > (expressions.is_nonnegative(b), -len(b.terms))
    kept, other = (a, b) if a_first else (b, a)
    return expressions.added(kept, builder.neurons(difference(other, kept), call.layer))


def largest(builder: Builder, call: Call, values: list[Expression]) -> Expression:
    """The elementwise maximum of some expressions of equal shape, by a tree of comparisons."""
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        odd = values[len(values) - len(values) % 2 :]
        values = [larger(builder, call, a, b) for a, b in pairs] + odd
    return values[0]


def smaller(builder: Builder, call: Call, a: Expression, b: Expression) -> Expression:
    """min(a, b) elementwise, by one population."""
    kept, other = (a, b) if len(a.terms) <= len(b.terms) else (b, a)
    return difference(kept, builder.neurons(difference(kept, other), call.layer))


def parts(builder: Builder, call: Call, x: Expression) -> tuple[Expression, Expression]:
    """(relu(x), relu(-x)), each a population."""
    return builder.neurons(x, call.layer), builder.neurons(negative(x), call.layer)


def between(builder: Builder, call: Call, x: Expression, low: np.ndarray, high: np.ndarray) -> Expression:
    """x clipped to bounds that PyTorch broadcasts to its view, by one population; those on one side may be infinite."""
    bottom, top = _bound(call, x, low), _bound(call, x, high)
    if expressions.is_nonnegative(x):
        bottom = np.maximum(bottom, 0)  # a ceiling only, as in relu(x).clamp(max=1)
    if not (top > bottom).all() or (bottom == math.inf).any() or (top == -math.inf).any():
        raise ObstacleError(
            f"({call.op}) clips to {_interval(bottom, top)}", "clip to [a, b] with b > a and train again"
        )
    unlimited = (top == math.inf).all()
    if not bottom.any():
        if unlimited:
            return builder.rectified(call, x)
        gain = expressions.gain_of(x)
        if gain is not None and gain > 0:  # the ceiling is one of the population itself
            only = replace(x, terms=expressions.of_population(x.terms[0].source, x.shape, x.view).terms)
            return expressions.scaled(builder.population(call, only, clip=top / gain), np.array(gain))
        return builder.population(call, x, clip=top)
    lowest, highest = (per_row(each, len(x.shape)) for each in (bottom, top))

    def rewrite() -> Expression:
        if (bottom == -math.inf).all():
            below = builder.neurons(expressions.shifted(negative(x), highest), call.layer)
            return expressions.shifted(negative(below), highest)
        clip = None if unlimited else np.asarray(top - bottom)
        above = builder.neurons(expressions.shifted(x, -lowest), call.layer, clip=clip)
        return expressions.shifted(above, lowest)

    found = f"clips to {_interval(bottom, top)}"
    return reported(builder, call, x, found, "a ReLU needs no more", rewrite)


def _bound(call: Call, x: Expression, values: np.ndarray) -> np.ndarray:
    """Bounds as () or (channels,), all of them finite or infinite."""
    differ = ObstacleError(
        f"({call.op}) clips at constants that differ between elements of a channel",
        "clip all elements of a channel at the same constant and train again",
    )
    if x.view != tuple(call.result.shape[1:]) or not values.size:
        raise differ
    if (values == values.flat[0]).all():
        return np.array(float(values.flat[0]))
    if values.ndim > len(x.view) and values.shape[0] == 1:
        values = values[0]
    try:
        bounds = expressions.structural(x, values)
    except NotComposableError:
        raise differ from None
    if math.prod(bounds.shape[1:]) != 1 or not np.isfinite(bounds).all():
        raise differ
    return bounds.reshape(-1)


def _interval(low: np.ndarray, high: np.ndarray) -> str:
    ends = (f"{each:g}" if each.ndim == 0 else f"{each.min():g} .. {each.max():g}" for each in (low, high))
    return f"[{', '.join(ends)}]"


def negative(x: Expression) -> Expression:
    """-x."""
    return expressions.scaled(x, _MINUS)


def difference(a: Expression, b: Expression) -> Expression:
    """a - b; the views are equal."""
    return expressions.added(a, negative(b))


def reported(
    builder: Builder, call: Call, x: Expression, found: str, cheaper: str, rewrite: Callable[[], Expression]
) -> Expression:
    """What `rewrite` makes of x, with a finding: what it costs in neurons, steps of latency and weights, and what is cheaper.

    What follows has weights from each population that the result is made of; of a dense layer it stores as many times as many as
    these have neurons for each element.
    """
    before = len(builder.layers)
    y = rewrite()
    neurons = sum(math.prod(layer.shape) for layer in builder.layers[before:])
    steps = max(0, builder.depth(y) - builder.depth(x))
    cost = f"{neurons:,} neurons, {steps} more step{'' if steps == 1 else 's'} of latency"
    sources = {term.source: math.prod(term.linear.source_shape) for term in y.terms}
    grown = sum(sources.values()) / math.prod(y.shape)
    cost += f", {grown:.2g} times as many weights after it" if grown >= 1.5 else ""
    builder.inform(call.layer, found, f"written exactly with ReLUs: {cost}; {cheaper}")
    return y
