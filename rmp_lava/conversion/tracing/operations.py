"""Rules of operations with weights, activations, and arithmetic with constants."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from ...network import INPUT
from ...network.values import per_row
from . import dense, expressions, rewriting
from .builder import Builder, NotAnImageError
from .calls import Call, Ref
from .expressions import Expression, Note
from .maps import Convolution
from .remedies import ACTIVATION, GATE, SWAP_ACTIVATION, SWAP_GATE, ObstacleError, obstacle
from .rules import RULES, constant, number, pair, rule

_PIXEL_UNITS = (1 / 255, 1 / 256)


@rule("conv2d")
def convolution(builder: Builder, call: Call) -> Expression:
    """conv2d(input, weight, bias, stride, padding, dilation, groups)."""
    x, weight = builder.image(call), constant(call.argument(1, "weight"), call)
    padding, dilation = call.argument(4, "padding", 0), pair(call.argument(5, "dilation", 1))
    if padding == "same":
        start = ((weight.shape[2] - 1) * dilation[0] // 2, (weight.shape[3] - 1) * dilation[1] // 2)
    else:
        start = pair(0 if padding == "valid" else padding)
    size, stride = pair(call.result.shape[2:]), pair(call.argument(3, "stride", 1))
    conv = Convolution(weight, x.shape, size, stride, start, dilation, int(call.argument(6, "groups", 1)))
    y = builder.composed(call, x, lambda x: expressions.convolved(x, conv))
    return _weighted(builder, call, x, y, call.argument(2, "bias"))


@rule("convolution")
def aten_convolution(builder: Builder, call: Call) -> Expression:
    """aten.convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)."""
    if call.args[6]:
        return dense.as_matrix(builder, call)
    if call.args[1].ndim != 4:
        op = "conv1d" if call.args[1].ndim == 3 else "conv3d"
        return RULES[op](builder, replace(call, op=op, args=(*call.args[:6], call.args[8])))
    return convolution(builder, replace(call, op="conv2d", args=(*call.args[:6], call.args[8])))


@rule("linear")
def linear(builder: Builder, call: Call) -> Expression:
    """linear(input, weight, bias)."""
    x, weight = builder.take(call, call.argument(0, "input")), constant(call.argument(1, "weight"), call)
    if len(x.view) != 1:
        builder.give_up_silently(x)
        raise NotAnImageError(
            f"is a linear layer on the last axis of a tensor of shape (N, {', '.join(map(str, x.view))})",
            "flatten to (N, features) before it, or use a Conv2d with a kernel of 1 on images",
        )
    enormous = expressions.makes_enormous_matrix(x, weight)
    y = builder.composed(call, x, lambda x: expressions.multiplied(x, weight), enormous=enormous)
    return _weighted(builder, call, x, y, call.argument(2, "bias"))


@rule("matmul", "mm")
def matmul(builder: Builder, call: Call) -> Expression:
    """input @ weight, with a constant matrix."""
    x, weight = call.argument(0, "input"), call.argument(1, "other", call.kwargs.get("mat2"))
    if isinstance(weight, Ref) or not isinstance(x, Ref) or weight.ndim != 2:
        builder.give_up_silently(*(builder.values(part) for part in (x, weight) if isinstance(part, Ref)))
        raise obstacle("matmul")
    return linear(builder, replace(call, op="linear", args=(x, weight.T), kwargs={}))


@rule("einsum")
def einsum(builder: Builder, call: Call) -> Expression:
    """einsum(equation, operands) of features, or of the channels of an image, with a constant matrix."""
    equation, *operands = call.args
    operands = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    refs = [i for i, part in enumerate(operands) if isinstance(part, Ref)]
    if len(operands) != 2 or len(refs) != 1 or not isinstance(equation, str):
        raise obstacle("einsum")
    terms, _, result = equation.replace(" ", "").partition("->")
    names, matrix = terms.split(",")[refs[0]], terms.split(",")[1 - refs[0]]
    weight = operands[1 - refs[0]]
    inner = set(names) & set(matrix)
    of_features = len(names) == 2 and len(result) == 2
    of_channels = len(names) == 4 and len(result) == 4 and result[2:] == names[2:]
    if len(matrix) != 2 or inner != {names[1]} or result[0] != names[0] or not (of_features or of_channels):
        raise obstacle("einsum")
    weight = weight if matrix.index(names[1]) == 1 else weight.T  # (outputs, inputs)
    x = operands[refs[0]]
    if of_features:
        return linear(builder, replace(call, op="linear", args=(x, weight), kwargs={}))
    return convolution(builder, replace(call, op="conv2d", args=(x, weight[:, :, None, None]), kwargs={}))


@rule("addmm")
def addmm(builder: Builder, call: Call) -> Expression:
    """addmm(bias, input, weight, beta=1, alpha=1)."""
    bias, x, weight = call.args[:3]
    if isinstance(weight, Ref) or isinstance(bias, Ref) or not isinstance(x, Ref) or call.kwargs:
        raise obstacle("matmul")
    return linear(builder, replace(call, op="linear", args=(x, weight.T, bias)))


def _weighted(builder: Builder, call: Call, x: Expression, y: Expression, bias: object) -> Expression:
    builder.count_weights(call)
    if bias is not None:
        y = expressions.shifted(y, per_row(constant(bias, call), len(y.shape)))
    linear_before = tuple(Note(name, "is not followed by a ReLU") for rank, name in x.labels if rank == 2)
    return replace(y, labels=((2, call.layer),), notes=y.notes + linear_before)


@rule("batch_norm")
def functional_batch_norm(builder: Builder, call: Call) -> Expression:
    """torch.nn.functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)."""
    bound = inspect.signature(functional.batch_norm).bind(*call.args, **call.kwargs)
    bound.apply_defaults()
    x, mean, var, weight, bias, *rest = bound.args
    return batch_norm(builder, replace(call, args=(x, weight, bias, mean, var, *rest), kwargs={}))


@rule("aten_batch_norm")
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
    y = _affine(builder, call, x, per_row(scale, len(x.view)), per_row(shift, len(x.view)))
    return replace(y, labels=(*x.labels, (1, call.layer)), notes=(*y.notes, Note(call.layer, "is batch normalisation")))


@rule("instance_norm")
def instance_norm(builder: Builder, call: Call) -> Expression:
    """torch.nn.functional.instance_norm with the statistics that were tracked, which is batch normalisation."""
    bound = inspect.signature(functional.instance_norm).bind(*call.args, **call.kwargs)
    bound.apply_defaults()
    x, mean, var, weight, bias, by_image, momentum, eps = bound.args
    return _tracked(builder, call, (x, weight, bias, mean, var, by_image, momentum, eps))


@rule("aten_instance_norm")
def aten_instance_norm(builder: Builder, call: Call) -> Expression:
    """aten.instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn)."""
    return _tracked(builder, call, call.args[:8])


def _tracked(builder: Builder, call: Call, args: tuple) -> Expression:
    if args[5] or args[3] is None:
        raise obstacle("instance_norm")
    return batch_norm(builder, replace(call, args=args, kwargs={}))


@rule("function normalize")
def torchvision_normalize(builder: Builder, call: Call) -> Expression:
    """torchvision.transforms.functional.normalize(tensor, mean, std, inplace)."""
    if not call.run.__module__.startswith("torchvision."):
        raise obstacle(call.op)
    ref, *given = (call.argument(i, name) for i, name in enumerate(("tensor", "mean", "std")))
    mean, std = (torch.as_tensor(each) for each in given)
    return channel_normalisation(builder, replace(call, args=(ref, mean, std), kwargs={}))


@rule("channel_normalisation")
def channel_normalisation(builder: Builder, call: Call) -> Expression:
    """(input - mean) / std with one constant mean and standard deviation for each channel."""
    x, mean, std = builder.straight(call, call.args[0]), constant(call.args[1], call), constant(call.args[2], call)
    scale, shift = (per_row(each, len(x.view)) for each in (1 / std, -mean / std))
    y = _affine(builder, call, x, scale, shift)
    note = Note(call.layer, "is arithmetic with constants")
    return replace(y, labels=(*x.labels, (0, call.layer)), notes=(*y.notes, note))


def _affine(builder: Builder, call: Call, x: Expression, scale: np.ndarray, shift: np.ndarray) -> Expression:
    def apply(x: Expression) -> Expression:
        unit = scale.size == 1 and float(scale.reshape(())) == 1
        y = x if unit else expressions.scaled(x, expressions.structural(x, scale))
        return expressions.shifted(y, expressions.structural(x, shift)) if shift.any() else y

    return builder.composed(call, x, apply)


@rule("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max")
def rectify(builder: Builder, call: Call) -> Expression:
    """ReLU, ReLU6, Hardtanh and clamp to any bounds: a new population, unless it has no effect."""
    if call.op in ("relu", "relu6"):
        low, high = 0.0, None if call.op == "relu" else 6.0
    elif call.op == "hardtanh":
        low, high = call.argument(1, "min_val", -1.0), call.argument(2, "max_val", 1.0)
    elif call.op == "clamp_max":
        low, high = None, call.argument(1, "max")
    else:
        low, high = call.argument(1, "min"), call.argument(2, "max")
    bottom = np.array(-math.inf) if low is None else constant(low, call)
    top = np.array(math.inf) if high is None else constant(high, call)
    # Where all elements have the same bounds, their order does not matter.
    operand = builder.take if bottom.size == top.size == 1 else builder.straight
    return rewriting.between(builder, call, operand(call, call.argument(0, "input")), bottom, top)


@rule("threshold")
def threshold(builder: Builder, call: Call) -> Expression:
    """threshold(input, threshold, value): max(x, threshold) where both are equal."""
    low, value = (number(call.argument(1 + i, name), call) for i, name in enumerate(("threshold", "value")))
    if low != value:
        raise obstacle(call.op)
    return rewriting.between(
        builder, call, builder.straight(call, call.argument(0, "input")), np.array(low), np.array(math.inf)
    )


@rule("add", "sub", "rsub")
def add(builder: Builder, call: Call) -> Expression:
    """x + alpha y, x - alpha y, y - alpha x."""
    first, second, swapped = _operands(call)
    alpha = number(call.argument(2, "alpha", 1), call)
    factors = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[call.op]
    left, right = reversed(factors) if swapped else factors
    if not isinstance(second, Ref):
        return _arithmetic(builder, call, first, np.array(left), right * constant(second, call))
    parts = []
    for ref, factor in ((first, left), (second, right)):
        x = builder.broadcast(call, builder.straight(call, ref))
        parts.append(x if factor == 1 else expressions.scaled(x, np.array(factor)))
    return expressions.added(*parts)


@rule("mul")
def multiply(builder: Builder, call: Call) -> Expression:
    """A product with a constant."""
    ref, value, _ = _operands(call)
    if isinstance(value, Ref):
        raise _product(builder, call)
    return _arithmetic(builder, call, ref, constant(value, call), np.zeros(()))


@rule("div")
def divide(builder: Builder, call: Call) -> Expression:
    """A quotient by a constant."""
    ref, value, swapped = _operands(call)
    if isinstance(value, Ref):
        raise _product(builder, call)
    if swapped or call.kwargs.get("rounding_mode"):
        raise obstacle("div")
    return _arithmetic(builder, call, ref, 1 / constant(value, call), np.zeros(()))


def _product(builder: Builder, call: Call) -> ObstacleError:
    """The obstacle of a product of two activations: what it is decides what to do about it."""
    if builder.operations.root(builder.number) is not None:
        return ObstacleError(f"({call.op}) {ACTIVATION}", SWAP_ACTIVATION)
    if builder.operations.gated(builder.number) is not None:
        return ObstacleError(f"({call.op}) {GATE}", SWAP_GATE)
    return obstacle(call.op)


@rule("neg")
def negative(builder: Builder, call: Call) -> Expression:
    """-x."""
    return _arithmetic(builder, call, call.argument(0, "input"), np.array(-1.0), np.zeros(()))


def _operands(call: Call) -> tuple[Ref, object, bool]:
    """An operand that depends on the input, the other one, and whether they are swapped."""
    first, second = call.argument(0, "input"), call.argument(1, "other")
    if isinstance(first, Ref):
        return first, second, False
    if isinstance(second, Ref):
        return second, first, True
    raise obstacle(call.op)


def _arithmetic(builder: Builder, call: Call, ref: Ref, gain: np.ndarray, shift: np.ndarray) -> Expression:
    """gain * x + shift, both constant."""
    x = builder.broadcast(call, builder.straight(call, ref))
    if expressions.population_of(x) == INPUT and gain.ndim == 0 and np.isclose(gain, _PIXEL_UNITS, rtol=1e-6).any():
        raise ObstacleError(
            f"divides the image by {1 / float(gain):.0f}, but a pixel is a value in [0, 1] already",
            "remove the division from forward, or pass input_range=(0, 255); uint8 represents pixel / 255 anyway",
        )
    y = _affine(builder, call, x, builder.of_one_image(call, gain, x), builder.of_one_image(call, shift, x))
    note = Note(call.layer, "is arithmetic with constants")
    return replace(y, labels=(*x.labels, (0, call.layer)), notes=(*y.notes, note))


@rule("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
def dropout(builder: Builder, call: Call) -> Expression:
    """dropout(input, p, training)."""
    if call.argument(2, "training", call.kwargs.get("train", True)) and call.argument(1, "p", 0.5):
        raise ObstacleError("drops activations even in evaluation", "call it with training=self.training")
    builder.inform(call.layer, "is dropout", "left out: it acts during training only")
    return builder.values(call.argument(0, "input"))


@rule("stochastic_depth")
def stochastic_depth(builder: Builder, call: Call) -> Expression:
    """torchvision's stochastic_depth(input, p, mode, training)."""
    return dropout(builder, call if len(call.args) < 4 else replace(call, args=(*call.args[:2], call.args[3])))
