"""The registry of rules. A rule applies one operation to expressions: convolution, ReLU, addition, reshaping.

To support an operation, write one function in `operations` or `shapes` and register it under every name that the
operation has in PyTorch. If a module calls it, add the module to `modules`; delete its names from `remedies`. A rule uses
the `Builder`: `image` or `straight` give an operand, `composed` applies a linear map, `population` adds spiking neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .builder import Builder
from .calls import Call, Ref
from .maps import Pair
from .remedies import ObstacleError, obstacle

Rule = Callable[[Builder, Call], Any]
"""Gives an expression, or a tuple of them where PyTorch gives a tuple; raises `ObstacleError`."""

RULES: dict[str, Rule] = {}
"""By the name of the operation, as in `Call.op`."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of operations."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def constant(value: object, call: Call) -> np.ndarray:
    """A number or tensor that does not depend on the input, as float64."""
    if isinstance(value, Ref):
        raise ObstacleError(
            f"({call.op}) takes weights or bounds that depend on the input", "use parameters or buffers instead"
        )
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().to(torch.float64).numpy()
    if isinstance(value, (bool, complex)) or not isinstance(value, (int, float)):
        raise obstacle(call.op)
    return np.float64(value).reshape(())


def number(value: object, call: Call) -> float:
    """A single constant."""
    found = constant(value, call)
    if found.size != 1:
        raise obstacle(call.op)
    return float(found.reshape(()))


def pair(value: int | Sequence[int]) -> Pair:
    """(height, width) of one number for both axes, or of one for each."""
    values = [int(value)] if isinstance(value, int) else [int(n) for n in value]
    return (values[0], values[-1])
