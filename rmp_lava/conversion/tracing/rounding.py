"""Rules of rounding: activations that were trained to take a few levels, which firing rates take by themselves.

The rounding is left out such that the expected value stays: of floor(x + 0.5) the 0.5 is left out as well. A rate of T = L time
steps takes L + 1 values like the activation, so nothing else needs to be done (QCFS: Bu et al., ICLR 2022).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from ...choices import InitialPotential
from ...network import INPUT
from . import expressions
from .builder import Builder
from .calls import Call, Ref
from .expressions import Expression
from .remedies import ObstacleError
from .rules import number, rule

_TOWARDS_ZERO = ("trunc", "fix", "int", "long")


@rule("round", "ceil", "floor", *_TOWARDS_ZERO)
def rounded(builder: Builder, call: Call) -> Expression:
    """round(x), floor(x), ceil(x), trunc(x), with or without a constant that was added to x right before."""
    ref = call.argument(0, "input")
    if call.op == "round" and call.argument(1, "decimals", 0):
        raise ObstacleError("(round) rounds to decimals", "remove the rounding")
    x = builder.straight(call, ref)
    if call.op in _TOWARDS_ZERO and not expressions.is_nonnegative(x):
        raise ObstacleError(f"({call.op}) rounds towards zero", "round down, or to the nearest")
    return _without(builder, call, x, _offset(builder, ref))


@rule("floordiv", "floor_divide")
def divided(builder: Builder, call: Call) -> Expression:
    """x // divisor, a constant."""
    ref, divisor = call.argument(0, "input"), call.argument(1, "other")
    if not isinstance(ref, Ref) or not _is_single(divisor) or not number(divisor, call) > 0:
        raise ObstacleError(f"({call.op}) rounds a quotient", "divide by a positive constant")
    gain = 1 / number(divisor, call)
    x = expressions.scaled(builder.straight(call, ref), np.array(gain))
    return _without(builder, call, x, gain * _offset(builder, ref), gain)


def _without(builder: Builder, call: Call, x: Expression, offset: float, gain: float = 1.0) -> Expression:
    """x without its rounding; `offset` was added to it right before, and `gain` is part of the call.

    Rounding down takes half a level off on average. Where that half was not added before, it is taken from the input of the
    population that is rounded, or from x itself where the clip follows only; rates then round to the nearest.
    """
    start: InitialPotential = "half"
    if call.op == "round":
        change = 0.0
    elif call.op == "ceil":
        change = math.ceil(offset) - offset
    elif _gain(x) > 0:
        half = offset % 1 - 0.5
        change = math.floor(offset) - offset
        if half and not builder.shift(x.terms[0].source, half / _gain(x)):
            start = "zero"
    else:
        change = 0.0 if expressions.is_nonnegative(x) else -0.5
    y = expressions.shifted(x, np.array(change)) if change else x
    builder.substitute(lambda value, *args, **kwargs: value * gain + change)
    builder.round(call.layer, y, start)
    return y


def _gain(x: Expression) -> float:
    """The factor by which x is a multiple of one population's activations, plus a constant; 0 if it is anything else."""
    gain = expressions.gain_of(replace(x, bias=None))
    return gain if gain is not None and x.terms[0].source != INPUT else 0.0


def _offset(builder: Builder, ref: Ref) -> float:
    """The single constant that the last operation added, else 0."""
    call = builder.producer(ref)
    if call is None or call.op not in ("add", "sub") or call.kwargs:
        return 0.0
    first, second = call.args[:2]
    added = second if isinstance(first, Ref) else first if call.op == "add" else None
    if len(call.args) > 2 or isinstance(added, Ref) or not _is_single(added):
        return 0.0
    return number(added, call) * (-1 if call.op == "sub" else 1)


def _is_single(value: object) -> bool:
    return isinstance(value, (int, float)) or isinstance(value, torch.Tensor) and value.numel() == 1


@rule("fake_quantize_per_tensor_affine", "fake_quantize_per_tensor_affine_cachemask", "fake_quantize")
def fake_quantised(builder: Builder, call: Call) -> Expression:
    """fake_quantize_per_tensor_affine(x, scale, zero_point, quant_min, quant_max).

    A range from zero is a clip; any other one, such as that of outputs, is left out with the rounding.
    """
    x = builder.straight(call, call.args[0])
    scale, zero, least, most = (number(value, call) for value in call.args[1:5])
    low, high = (least - zero) * scale, (most - zero) * scale
    population = expressions.population_of(x)
    clips = population is not None and population != INPUT and low <= 0 < high

    def substitute(value: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        return value.clamp(max=high) if clips else value

    builder.substitute(substitute)
    y = builder.population(call, x, clip=np.array(high)) if clips else x
    builder.round(call.layer, y, "half", levels=high / scale)
    return y
