"""Rules of functions that say in another way what the outputs say: left out at the very end, obstacles anywhere else.

Softmax, sigmoid and their like keep the order of the outputs; an arg max tells their largest.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from torch.utils._pytree import tree_leaves

from .builder import Builder
from .calls import Call, Calls, Ref
from .expressions import Expression
from .operation_kinds import COPIES, MOVES, key
from .remedies import ObstacleError, obstacle
from .rules import RULES, rule

_LOGITS = "the largest stays the largest"
_SIGN = "they have its order and its sign"
_MEANING = {
    "softmax": ("is a softmax at the end", _LOGITS),
    "log_softmax": ("is a softmax at the end", _LOGITS),
    "sigmoid": ("is a sigmoid at the end", "an output above 0 is a probability above 1/2"),
    "log_sigmoid": ("is a sigmoid at the end", "an output above 0 is a probability above 1/2"),
    "tanh": ("is a tanh at the end", _SIGN),
    "softsign": ("is a softsign at the end", _SIGN),
    "softplus": ("is a softplus at the end", "they have its order"),
    "log": ("is a logarithm at the end", "they have its order"),
    "exp": ("is an exponential at the end", "they have its order"),
    "normalize": ("is a normalisation at the end", _LOGITS),
    "argmax": ("is an arg max at the end", "the prediction is the index of the largest"),
}
AT_THE_END = frozenset(map(key, (*_MEANING, *MOVES, *COPIES)))
"""What may be the end of a network without being converted, by its `key`."""
_INDICES = (("getitem", 1), ("getattr", "indices"))
"""Calls that pick the indices of a maximum, with their second argument."""


def ending(calls: Calls) -> frozenset[int]:
    """Numbers of the last calls that only move elements or say in another way what their operand says.

    The result of each of them, but of the last, is read by the next of them only.
    """
    if not isinstance(calls.output, Ref):
        return frozenset()
    readers: dict[int, set[int]] = {}
    for number, call in enumerate(calls.calls, 1):
        for leaf in tree_leaves((call.args, dict(call.kwargs))):
            if isinstance(leaf, Ref):
                readers.setdefault(leaf.number, set()).add(number)
    found: set[int] = set()
    number = calls.output.number
    while number and readers.get(number, set()) <= found:
        call = calls.calls[number - 1]
        operand = call.argument(0, "input")
        if not isinstance(operand, Ref) or call.op not in (*_MEANING, *MOVES, *COPIES, "max"):
            break
        found.add(number)
        number = operand.number
    return frozenset(found)


def _left_out(builder: Builder, call: Call) -> Expression:
    """The operand in place of the result, which is computed without the call for the comparison, too."""
    x = builder.take(call, call.argument(0, "input"))
    found, meaning = _MEANING["argmax" if call.op == "max" else call.op]
    builder.inform(call.layer, found, f"left out: outputs are its inputs; {meaning}")
    builder.substitute(lambda x, *args, **kwargs: x)
    return x


@rule("softmax", "log_softmax")
def softmax(builder: Builder, call: Call) -> Expression:
    """softmax(input, dim)."""
    if not builder.at_the_end:
        raise ObstacleError(
            "is a softmax inside the network",
            "divides by a sum of activations: remove it, or use it at the very end of the network only",
        )
    _check_axis(builder, call, "a softmax", "take the softmax over axis 1, or remove it")
    return _left_out(builder, call)


@rule("normalize")
def normalised(builder: Builder, call: Call) -> Expression:
    """normalize(input, p, dim): outputs divided by a positive number."""
    if not builder.at_the_end:
        raise obstacle(call.op)
    _check_axis(
        builder,
        replace(call, args=(call.args[0], call.argument(2, "dim", 1)), kwargs={}),
        "a normalisation",
        "remove it",
    )
    return _left_out(builder, call)


@rule(*(name for name in _MEANING if name not in ("softmax", "log_softmax", "normalize", "argmax")))
def monotonic(builder: Builder, call: Call) -> Expression:
    """A function that increases with each element."""
    before = builder.producer(call.args[0]) if call.args and isinstance(call.args[0], Ref) else None
    of_probabilities = before is not None and before.op in ("softmax", "sigmoid")
    if not builder.at_the_end or call.op == "log" and not of_probabilities:
        raise obstacle(call.op)
    return _left_out(builder, call)


@rule("argmax", "max")
def largest(builder: Builder, call: Call) -> Expression | tuple[Any, ...]:
    """argmax(input, dim), or the indices of max(input, dim) at the end; other forms of max."""
    if call.op == "max" and not isinstance(call.result, tuple):
        return RULES["maximum"](builder, call)
    of_outputs = (
        call.op == "argmax" or len(builder.tensor(call.args[0]).shape) == 2 and call.argument(1, "dim") in (1, -1)
    )
    if call.op == "max" and not (builder.at_the_end and (of_outputs or builder.reads(_INDICES))):
        return RULES["amax"](builder, call)
    if not builder.at_the_end:
        raise obstacle(call.op)
    _check_axis(builder, call, "an arg max", "take the arg max over axis 1, or return its input")
    if call.op == "max" and not builder.reads(_INDICES):
        raise ObstacleError("(max) returns the largest output alone", "return all outputs, or the index of the largest")
    x = _left_out(builder, call)
    builder.decide()
    return x if call.op == "argmax" else (None, x)


def after_decision(builder: Builder, call: Call, value: Any) -> Any:
    """What moves the result of an arg max, or picks the indices of a maximum, is left out with it."""
    builder.decide()
    builder.substitute(lambda x, *args, **kwargs: x)
    return value[1] if isinstance(value, tuple) else value


def _check_axis(builder: Builder, call: Call, what: str, remedy: str) -> None:
    x, dim = builder.values(call.argument(0, "input")), call.argument(1, "dim")
    # Axes of one element before that of the classes change nothing.
    if not isinstance(x, Expression) or dim is None or math.prod(x.view[: int(dim) % (1 + len(x.view)) - 1]) != 1:
        raise ObstacleError(f"is {what} over another axis than the classes", remedy)
