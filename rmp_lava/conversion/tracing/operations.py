"""Operations with weights, activations, and arithmetic with constants, applied to expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import expressions
from .calls import Call, Ref
from .expressions import Expression, Note
from .findings import ObstacleError
from .maps import Convolution, Pair
from .remedies import obstacle

if TYPE_CHECKING:
    from .builder import Builder


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


def convolution(builder: Builder, call: Call) -> Expression:
    """conv2d(input, weight, bias, stride, padding, dilation, groups)."""
    if "padding_mode" in call.kwargs:
        mode = call.kwargs["padding_mode"]
        raise ObstacleError(f"(Conv2d) pads with {mode!r}", "use padding_mode='zeros' and train again")
    x, weight = builder.image(call), constant(call.argument(1, "weight"), call)
    bias, padding = call.argument(2, "bias"), call.argument(4, "padding", 0)
    dilation = pair(call.argument(5, "dilation", 1))
    if padding == "valid":
        padding = 0
    if padding == "same":
        start = ((weight.shape[2] - 1) * dilation[0] // 2, (weight.shape[3] - 1) * dilation[1] // 2)
    else:
        start = pair(padding)
    conv = Convolution(
        weight,
        x.shape,
        pair(call.result.shape[2:]),
        pair(call.argument(3, "stride", 1)),
        start,
        dilation,
        int(call.argument(6, "groups", 1)),
    )
    y = builder.composed(call, x, lambda x: expressions.convolved(x, conv))
    return _weighted(builder, call, x, y, bias)


def aten_convolution(builder: Builder, call: Call) -> Expression:
    """aten.convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)."""
    if call.args[6]:
        raise obstacle("conv_transpose2d")
    if call.args[1].ndim != 4:
        raise obstacle("conv1d" if call.args[1].ndim == 3 else "conv3d")
    return convolution(builder, replace(call, op="conv2d", args=(*call.args[:6], call.args[8])))


def linear(builder: Builder, call: Call) -> Expression:
    """linear(input, weight, bias)."""
    x, weight = builder.take(call, call.argument(0, "input")), constant(call.argument(1, "weight"), call)
    if len(x.view) != 1:
        builder.give_up_silently(x)
        raise ObstacleError(
            f"is a linear layer on the last axis of a tensor of shape (N, {', '.join(map(str, x.view))})",
            "flatten to (N, features) before it, or use a Conv2d with a kernel of 1 on images",
        )
    enormous = expressions.makes_enormous_matrix(x, weight)
    y = builder.composed(call, x, lambda x: expressions.multiplied(x, weight), enormous=enormous)
    return _weighted(builder, call, x, y, call.argument(2, "bias"))


def matmul(builder: Builder, call: Call) -> Expression:
    """input @ weight, with a constant matrix."""
    x, weight = call.argument(0, "input"), call.argument(1, "other", call.kwargs.get("mat2"))
    if isinstance(weight, Ref) or not isinstance(x, Ref) or weight.ndim != 2:
        builder.give_up_silently(*(builder.values(part) for part in (x, weight) if isinstance(part, Ref)))
        raise obstacle("matmul")
    return linear(builder, replace(call, op="linear", args=(x, weight.T), kwargs={}))


def addmm(builder: Builder, call: Call) -> Expression:
    """addmm(bias, input, weight, beta=1, alpha=1)."""
    bias, x, weight = call.args[:3]
    if isinstance(weight, Ref) or isinstance(bias, Ref) or not isinstance(x, Ref) or call.kwargs:
        raise obstacle("matmul")
    return linear(builder, replace(call, op="linear", args=(x, weight.T, bias)))


def _weighted(builder: Builder, call: Call, x: Expression, y: Expression, bias: object) -> Expression:
    builder.count_weights(call)
    if bias is not None:
        values = constant(bias, call)
        y = expressions.shifted(y, values.reshape((-1,) + (1,) * (len(y.shape) - 1)))
    linear_before = tuple(Note(name, "is not followed by a ReLU") for r, name in x.labels if r == 2)
    return replace(y, labels=((2, call.layer),), notes=y.notes + linear_before)


def functional_batch_norm(builder: Builder, call: Call) -> Expression:
    """F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    defaults = (None, None, None, None, None, False, 0.1, 1e-5)
    x, mean, var, weight, bias, *rest = (
        call.argument(i, name, default) for i, (name, default) in enumerate(zip(names, defaults, strict=True))
    )
    return batch_norm(builder, replace(call, args=(x, weight, bias, mean, var, *rest), kwargs={}))


def batch_norm(builder: Builder, call: Call) -> Expression:
    """aten.batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)."""
    if len(call.args) == 7:  # aten._native_batch_norm_legit_no_training
        call = replace(call, args=(*call.args[:5], False, *call.args[5:]))
    ref, weight, bias, mean, var, training, _, eps = call.args[:8]
    x = builder.straight(call, ref)
    if training or mean is None or var is None:
        raise ObstacleError(
            "is batch normalisation by the statistics of each batch",
            "use track_running_stats=True and evaluation mode, so that fixed statistics can be folded",
        )
    scale = 1 / np.sqrt(constant(var, call) + eps)
    if weight is not None:
        scale = scale * constant(weight, call)
    shift = -constant(mean, call) * scale
    if bias is not None:
        shift = shift + constant(bias, call)
    axes = (-1,) + (1,) * (len(x.view) - 1)
    y = _affine(builder, call, x, scale.reshape(axes), shift.reshape(axes))
    return replace(y, labels=(*x.labels, (1, call.layer)), notes=(*y.notes, Note(call.layer, "is batch normalisation")))


def _affine(builder: Builder, call: Call, x: Expression, scale: np.ndarray, shift: np.ndarray) -> Expression:
    def apply(x: Expression) -> Expression:
        y = x if scale.size == 1 and float(scale.reshape(())) == 1 else expressions.scaled(x, _structural(x, scale))
        return expressions.shifted(y, _structural(x, shift)) if shift.any() else y

    return builder.composed(call, x, apply)


def _structural(x: Expression, value: np.ndarray) -> np.ndarray:
    return expressions.structural(x, value)


def rectify(builder: Builder, call: Call) -> Expression:
    """ReLU, ReLU6, Hardtanh and clamp: a new population, unless the ReLU has no effect."""
    low, high = _bounds(call)
    return _clipped(builder, call, builder.straight(call, call.argument(0, "input")), low, high)


def minimum(builder: Builder, call: Call) -> Expression:
    """The elementwise minimum with a constant: a clipped ReLU, if its input is never negative."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    ref, value = (first, second) if isinstance(first, Ref) else (second, first)
    if not isinstance(ref, Ref) or not isinstance(value, torch.Tensor):  # of two activations, or along an axis
        raise obstacle(call.op)
    x, ceiling = builder.straight(call, ref), constant(value, call)
    if x.view != tuple(call.result.shape[1:]) or not ceiling.size or (ceiling != ceiling.flat[0]).any():
        raise ObstacleError(
            f"({call.op}) takes the minimum with constants that differ between elements",
            "clip all elements at the same constant and train again",
        )
    high = float(ceiling.flat[0])
    return _clipped(builder, call, x, -math.inf, None if high == math.inf else high)


def _clipped(builder: Builder, call: Call, x: Expression, low: float, high: float | None) -> Expression:
    if low == -math.inf and expressions.is_nonnegative(x):
        low = 0.0  # a ceiling only, as in relu(x).clamp(max=1)
    if low != 0 or high is not None and not 0 < high < math.inf:
        raise ObstacleError(
            f"({call.op}) clips to [{low:g}, {math.inf if high is None else high:g}]",
            "spiking neurons rectify: clip to [0, a] with a > 0 and train again",
        )
    if high is None and len(x.terms) == 1 and not any(r == 2 for r, _ in x.labels) and expressions.is_nonnegative(x):
        builder.inform(call.layer, "rectifies values that are never negative", "left out: it has no effect")
        return x
    return builder.population(call, x, clip=high)


def _bounds(call: Call) -> tuple[float, float | None]:
    if call.op == "relu":
        return 0.0, None
    if call.op == "relu6":
        return 0.0, 6.0
    low_name, high_name = ("min_val", "max_val") if call.op == "hardtanh" else ("min", "max")
    low, high = (-1.0, 1.0) if call.op == "hardtanh" else (None, None)
    if call.op == "clamp_max":
        high = call.argument(1, "max")
    else:
        low, high = call.argument(1, low_name, low), call.argument(2, high_name, high)
    low = -math.inf if low is None else number(low, call)
    high = None if high is None else number(high, call)
    return low, None if high == math.inf else high


def add(builder: Builder, call: Call) -> Expression:
    """x + alpha y, x - alpha y, y - alpha x."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    alpha = number(call.argument(2, "alpha", 1), call)
    left, right = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[call.op]
    if isinstance(first, Ref) and isinstance(second, Ref):
        parts = []
        for ref, factor in ((first, left), (second, right)):
            x = builder.broadcast(call, builder.straight(call, ref))
            parts.append(x if factor == 1 else expressions.scaled(x, np.float64(factor).reshape(())))
        return expressions.added(*parts)
    ref, value = (first, second) if isinstance(first, Ref) else (second, first)
    gain, factor = (left, right) if isinstance(first, Ref) else (right, left)
    return _with_constant(builder, call, ref, np.float64(gain).reshape(()), value, factor)


def _with_constant(
    builder: Builder, call: Call, ref: Ref, gain: np.ndarray, value: object, factor: float
) -> Expression:
    x = builder.broadcast(call, builder.straight(call, ref))
    shift = factor * builder.of_one_image(call, constant(value, call), x)
    y = _affine(builder, call, x, gain, shift)
    return _noted(call, x, y)


def multiply(builder: Builder, call: Call) -> Expression:
    """A product with a constant."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    if isinstance(first, Ref) and isinstance(second, Ref):
        raise obstacle("mul")
    ref, value = (first, second) if isinstance(first, Ref) else (second, first)
    return _times(builder, call, ref, constant(value, call))


def divide(builder: Builder, call: Call) -> Expression:
    """A quotient by a constant."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    if not isinstance(first, Ref) or isinstance(second, Ref) or call.kwargs.get("rounding_mode"):
        raise obstacle("div")
    return _times(builder, call, first, 1 / constant(second, call))


def negative(builder: Builder, call: Call) -> Expression:
    """-x."""
    return _times(builder, call, call.argument(0, "input"), np.float64(-1).reshape(()))


def _times(builder: Builder, call: Call, ref: Ref, factor: np.ndarray) -> Expression:
    x = builder.broadcast(call, builder.straight(call, ref))
    factor = builder.of_one_image(call, factor, x)
    return _noted(call, x, _affine(builder, call, x, factor, np.zeros(())))


def _noted(call: Call, x: Expression, y: Expression) -> Expression:
    note = Note(call.layer, "is arithmetic with constants")
    return replace(y, labels=(*x.labels, (0, call.layer)), notes=(*y.notes, note))


def dropout(builder: Builder, call: Call) -> Expression:
    """dropout(input, p, training)."""
    if call.argument(2, "training", call.kwargs.get("train", True)) and call.argument(1, "p", 0.5):
        raise ObstacleError("drops activations even in evaluation", "call it with training=self.training")
    builder.inform(call.layer, "is dropout", "left out: it acts during training only")
    return builder.values(call.argument(0, "input"))


def stochastic_depth(builder: Builder, call: Call) -> Expression:
    """torchvision's stochastic_depth(input, p, mode, training)."""
    return dropout(builder, call if len(call.args) < 4 else replace(call, args=(*call.args[:2], call.args[3])))


def softmax(builder: Builder, call: Call) -> Expression:
    """softmax(input, dim): left out at the end, an obstacle everywhere else."""
    x = builder.values(call.argument(0, "input"))
    dim, axes = call.argument(1, "dim"), 1 + len(x.view)
    if dim is None or int(dim) % axes != 1:
        raise ObstacleError(
            "is a softmax over another axis than the classes", "take the softmax over axis 1, or remove it"
        )
    return replace(x, softmax=call.layer)


Handler = Callable[["Builder", Call], Any]
"""Gives an expression, or a tuple of them where PyTorch gives a tuple."""

OPERATIONS: dict[str, Handler] = {
    "conv2d": convolution, "Conv2d": convolution, "convolution": aten_convolution,
    "linear": linear, "matmul": matmul, "mm": matmul, "addmm": addmm,
    "batch_norm": functional_batch_norm, "aten_batch_norm": batch_norm,
    "relu": rectify, "relu6": rectify, "hardtanh": rectify, "clamp": rectify, "clamp_min": rectify, "clamp_max": rectify,
    "minimum": minimum, "min": minimum,
    "add": add, "sub": add, "rsub": add, "mul": multiply, "div": divide, "neg": negative,
    "dropout": dropout, "dropout1d": dropout, "dropout2d": dropout, "dropout3d": dropout, "alpha_dropout": dropout,
    "feature_dropout": dropout, "feature_alpha_dropout": dropout, "stochastic_depth": stochastic_depth,
    "softmax": softmax, "log_softmax": softmax,
}  # fmt: skip
