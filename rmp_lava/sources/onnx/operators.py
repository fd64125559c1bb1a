"""ONNX's operators as functions of PyTorch that `rmp_lava.conversion.tracing` knows.

A function gets a `Node` and returns what to apply to its operands. Those that only move elements are in `moving`. Operators that
spiking networks cannot compute are read as well, so that `check` lists them with their remedies. Source: ONNX's Operators.md,
operator sets 7 to 24.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from . import moving
from .file import dtype_of, tensor_of
from .node import Function, Node, flat, identity


def _convolution(node: Node) -> Function:
    weight = node.constant(1)
    node.constant(2)
    if weight is None or weight.ndim not in (3, 4, 5):
        raise ValueError("its weights have no shape of a convolution")
    kernel, axes = tuple(weight.shape[2:]), weight.ndim - 2
    if tuple(node.numbers("kernel_shape") or kernel) != kernel:
        raise ValueError("its kernel_shape is not that of its weights")
    stride = node.numbers("strides") or [1] * axes
    dilation, groups = node.numbers("dilations") or [1] * axes, int(node.attribute("group", 1))
    if node.op == "ConvTranspose":
        return _transposed_convolution(node, kernel, stride, dilation, groups)
    padding = node.padding(kernel, stride, dilation)
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    if all(before == after for before, after in padding):
        same = [before for before, _ in padding]
        return lambda x, weight, bias=None: convolve(x, weight, bias, stride, same, dilation, groups)
    wide = flat(padding)
    return lambda x, weight, bias=None: convolve(
        functional.pad(x, wide), weight, bias, stride, [0] * axes, dilation, groups
    )


def _transposed_convolution(
    node: Node, kernel: Sequence[int], stride: list[int], dilation: list[int], groups: int
) -> Function:
    axes = len(kernel)
    extra = node.numbers("output_padding") or [0] * axes
    shape = node.numbers("output_shape")
    natural = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(node.image.shape[2:], stride, dilation, kernel, extra, strict=True)
    ]
    auto = node.attribute("auto_pad", "NOTSET")
    if shape is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        shape = [n * s for n, s in zip(node.image.shape[2:], stride, strict=True)]
    pads = node.numbers("pads") or [0] * 2 * axes
    padding = list(zip(pads[:axes], pads[axes:], strict=True))
    if shape is not None:
        halves = [(total := n - m, total // 2) for n, m in zip(natural, shape, strict=True)]
        padding = [(h, t - h) if auto == "SAME_UPPER" else (t - h, h) for t, h in halves]
    convolve = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[axes - 1]
    if all(before == after >= 0 for before, after in padding):
        same = [before for before, _ in padding]
        return lambda x, weight, bias=None: convolve(x, weight, bias, stride, same, extra, groups, dilation)
    crop = flat([(-before, -after) for before, after in padding])
    return lambda x, weight, bias=None: functional.pad(
        convolve(x, weight, bias, stride, [0] * axes, extra, groups, dilation), crop
    )


def _pooling(node: Node) -> Function:
    kernel = node.numbers("kernel_shape") or []
    axes = len(kernel)
    if axes not in (1, 2, 3) or axes != node.axes:
        raise ValueError(f"its kernel_shape is {kernel} for an input of shape {tuple(node.image.shape)}")
    stride, dilation = node.numbers("strides") or [1] * axes, node.numbers("dilations") or [1] * axes
    padding, ceil = node.padding(kernel, stride, dilation), bool(node.attribute("ceil_mode", 0))
    counts = bool(node.attribute("count_include_pad", 0))
    node.attribute("storage_order")
    if node.op != "MaxPool" and set(dilation) != {1}:
        raise ValueError(f"its dilations are {dilation}")
    largest = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[axes - 1]
    average = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[axes - 1]

    def pool(x: Any, padding: list[int], ceil: bool) -> Any:
        if node.op == "MaxPool":
            return largest(x, kernel, stride, padding, dilation, ceil)
        return average(x, kernel, stride, padding, ceil, counts)

    before = [first for first, _ in padding]
    if all(first == last for first, last in padding):
        return lambda x: pool(x, before, ceil)
    if counts:
        wide = flat(padding)
        return lambda x: pool(functional.pad(x, wide), [0] * axes, ceil)
    # PyTorch pads both sides equally, but its ceil_mode lets windows reach beyond the end, where they find nothing as well.
    sizes = [
        (n + first + last - d * (k - 1) - 1 + (s - 1 if ceil else 0)) // s + 1
        for n, (first, last), k, s, d in zip(node.image.shape[2:], padding, kernel, stride, dilation, strict=True)
    ]
    found = list(pool(node.image, before, True).shape[2:])
    if any(n < m for n, m in zip(found, sizes, strict=True)):
        raise ValueError(f"its padding {padding} lets a window see nothing but padding at one end")
    parts = (slice(None), slice(None), *(slice(0, m) for m in sizes))
    return lambda x: pool(x, before, True) if found == sizes else pool(x, before, True)[parts]


def _global_pooling(node: Node) -> Function:
    by_axes: dict[str, tuple[Function, ...]] = {
        "GlobalAveragePool": (functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d),
        "GlobalMaxPool": (functional.adaptive_max_pool1d, functional.adaptive_max_pool2d),
    }
    if node.axes not in (1, 2):
        raise ValueError(
            f"its input has shape {tuple(node.image.shape)}, but an image or a row of features is expected"
        )
    pool = by_axes[node.op][node.axes - 1]
    return lambda x: pool(x, 1)


def _gemm(node: Node) -> Function:
    weight, bias = node.constant(1), node.constant(2)
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    if node.attribute("transA", 0) or weight is None or weight.ndim != 2:
        raise ValueError("it transposes its input, or has no matrix of weights")
    weight = weight if node.attribute("transB", 0) else weight.t()
    node.operands[1] = (weight if alpha == 1 else alpha * weight).contiguous()
    if bias is not None:
        if bias.numel() not in (1, len(weight)):
            raise ValueError(f"its bias has shape {tuple(bias.shape)}")
        bias = bias.reshape(-1).expand(len(weight))
        node.operands[2] = (bias if beta == 1 else beta * bias).contiguous()
    return lambda x, weight, bias=None: functional.linear(x, weight, bias)


def _matmul(node: Node) -> Function:
    second = node.operands[1]
    if second is not None and not second.is_meta and second.ndim == 2:
        node.operands[1] = second.t().contiguous()
        return functional.linear
    return torch.matmul


def _batch_norm(node: Node) -> Function:
    epsilon = node.attribute("epsilon", 1e-5)
    node.attribute("momentum")
    for position in range(1, 5):
        node.constant(position)
    if node.attribute("training_mode", 0) or not node.attribute("spatial", 1) or node.outputs != 1:
        raise ValueError(
            "it normalises by the statistics of a batch, as in training; export the network with model.eval()"
        )
    return lambda x, scale, bias, mean, variance: functional.batch_norm(
        x, mean, variance, scale, bias, False, 0.0, epsilon
    )


def _instance_norm(node: Node) -> Function:
    epsilon = node.attribute("epsilon", 1e-5)
    return lambda x, scale, bias: functional.instance_norm(x, None, None, scale, bias, True, 0.0, epsilon)


def _layer_norm(node: Node) -> Function:
    axis, epsilon = node.axis(-1), node.attribute("epsilon", 1e-5)
    node.attribute("stash_type")
    shape = list(node.image.shape[axis:])
    return lambda x, scale, bias=None: functional.layer_norm(x, shape, scale, bias, epsilon)


def _local_response_norm(node: Node) -> Function:
    size = int(node.attribute("size"))
    alpha, beta, bias = (
        node.attribute(name, value) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    return lambda x: functional.local_response_norm(x, size, alpha, beta, bias)


def _clip(node: Node) -> Function:
    low, high = node.number("min", 1, None), node.number("max", 2, None)
    if low is None and high is None:
        return identity
    return lambda x: torch.clamp(x, low, high)


def _prelu(node: Node) -> Function:
    slope = node.constant(1)
    if slope is None or slope.numel() not in (1, node.image.shape[1]) or slope.numel() != max(slope.shape, default=1):
        raise ValueError("its slopes are not one number, or one for each channel")
    node.operands[1] = slope.reshape(-1)
    return functional.prelu


def _hard_sigmoid(node: Node) -> Function:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if alpha == float(str(np.float32(1 / 6))) and beta == 0.5:
        return functional.hardsigmoid
    return lambda x: torch.clamp(x * alpha + beta, 0.0, 1.0)


def _softmax(node: Node) -> Function:
    axis = node.axis(1 if node.opset < 13 else -1)
    if node.opset < 13 and axis != node.image.ndim - 1:
        raise ValueError("it takes the softmax over several axes, as before operator set 13; export the network again")
    function = functional.softmax if node.op == "Softmax" else functional.log_softmax
    return lambda x: function(x, axis)


def _gelu(node: Node) -> Function:
    approximate = node.attribute("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


def _of(function: Function, **defaults: float) -> Callable[[Node], Function]:
    """An operator whose attributes are the function's arguments of the same names."""

    def read(node: Node) -> Function:
        given = [node.attribute(name, value) for name, value in defaults.items()]
        return (lambda x: function(x, *given)) if given else function

    return read


def _elementwise(function: Function) -> Callable[[Node], Function]:
    """An operator of two operands, or of any number."""

    def read(node: Node) -> Function:
        return lambda first, *others: functools.reduce(function, others, first)

    return read


def _divide(node: Node) -> Function:
    """Integers, of which shapes are computed, are divided without a remainder."""
    if node.image.is_floating_point():
        return torch.div
    return lambda x, divisor: torch.div(x, divisor, rounding_mode="trunc")


def _mean(node: Node) -> Function:
    count = len(node.operands)
    return lambda first, *others: functools.reduce(torch.add, others, first) / count


def _dropout(node: Node) -> Function:
    """Nothing while a network is used; its second result is a mask that nothing reads then."""
    for name in ("ratio", "seed", "is_test"):
        node.attribute(name)
    del node.operands[1:]
    return identity


def _reduce(function: Function) -> Callable[[Node], Function]:
    def read(node: Node) -> Function:
        axes, keeps = node.numbers("axes", 1), bool(node.attribute("keepdims", 1))
        if node.attribute("noop_with_empty_axes", 0) and not axes:
            return identity
        chosen = [node.order[axis % node.image.ndim] for axis in axes or range(node.image.ndim)]
        return lambda x: function(x, chosen, keeps)

    return read


def _argmax(node: Node) -> Function:
    axis, keeps = node.axis(0), bool(node.attribute("keepdims", 1))
    if node.attribute("select_last_index", 0):
        raise ValueError("it takes the last of equal values")
    return lambda x: torch.argmax(x, axis, keeps)


def _cast(node: Node) -> Function:
    dtype = dtype_of(int(node.attribute("to")))
    node.attribute("saturate")
    return (lambda x: x.to(dtype)) if node.image.dtype != dtype else identity


def _quantise(node: Node) -> Function:
    """Rounding of activations; the integers are multiplied by their scale here, and `DequantizeLinear` changes nothing more."""
    scale, zero = node.constant(1), node.constant(2)
    node.attribute("axis"), node.attribute("saturate")
    kind = torch.uint8 if zero is None else zero.dtype
    if scale is None or scale.numel() != 1 or zero is not None and zero.numel() != 1 or kind.is_floating_point:
        raise ValueError("it quantises activations by channel, or to no integers")
    limits = torch.iinfo(kind)
    given = (float(scale), 0 if zero is None else int(zero), limits.min, limits.max)
    del node.operands[1:]
    return lambda x: torch.fake_quantize_per_tensor_affine(x, *given)


def _dequantise(node: Node) -> Function:
    """Integers of weights as real numbers."""
    scale = node.constant(1)
    node.constant(2)
    if scale is None or node.attribute("block_size", 0):
        raise ValueError("it has scales of blocks")
    axis = int(node.attribute("axis", 1))
    shape = [1] * node.image.ndim
    if scale.numel() != 1:
        shape[axis] = -1
    return lambda x, scale, zero=None: (
        (x.to(scale.dtype) - (0 if zero is None else zero.to(scale.dtype).reshape(shape))) * scale.reshape(shape)
    )


def _constant_of_shape(node: Node) -> Function:
    shape = node.numbers("shape", 0) or []
    value = node.attribute("value")
    fill = torch.zeros(1) if value is None else tensor_of(value)
    if math.prod(shape) > 2**20:
        raise ValueError(f"it makes a constant of shape {shape}")
    node.operands = []
    return lambda: fill.reshape(()).expand(shape)


OPERATORS: dict[str, Callable[[Node], Function]] = {
    "Conv": _convolution, "ConvTranspose": _convolution, "Gemm": _gemm, "MatMul": _matmul,
    "MaxPool": _pooling, "AveragePool": _pooling, "GlobalAveragePool": _global_pooling, "GlobalMaxPool": _global_pooling,
    "BatchNormalization": _batch_norm, "InstanceNormalization": _instance_norm, "LayerNormalization": _layer_norm,
    "LRN": _local_response_norm, "Dropout": _dropout,
    "Clip": _clip, "LeakyRelu": _of(functional.leaky_relu, alpha=0.01), "PRelu": _prelu, "HardSigmoid": _hard_sigmoid,
    "Softmax": _softmax, "LogSoftmax": _softmax, "Elu": _of(functional.elu, alpha=1.0),
    "Celu": _of(functional.celu, alpha=1.0), "Gelu": _gelu,
    "Add": _elementwise(torch.add), "Sub": _elementwise(torch.sub), "Mul": _elementwise(torch.mul),
    "Div": _divide, "Pow": _elementwise(torch.pow), "Sum": _elementwise(torch.add),
    "Max": _elementwise(torch.maximum), "Min": _elementwise(torch.minimum), "Mean": _mean,
    "Identity": _of(lambda x: x), "Concat": moving.concat, "Flatten": moving.flatten, "Reshape": moving.reshape,
    "Squeeze": moving.squeeze, "Unsqueeze": moving.unsqueeze, "Transpose": moving.transpose, "Slice": moving.slice_,
    "Split": moving.split, "Gather": moving.gather, "Pad": moving.pad, "Expand": moving.expand, "Resize": moving.resize,
    "Upsample": moving.resize, "DepthToSpace": moving.depth_to_space, "SpaceToDepth": moving.space_to_depth,
    "ReduceMean": _reduce(torch.mean), "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax), "ReduceMin": _reduce(torch.amin), "ArgMax": _argmax, "Cast": _cast,
    "QuantizeLinear": _quantise, "DequantizeLinear": _dequantise,
} | {
    name: _of(function)
    for name, function in (
        ("Relu", functional.relu), ("Sigmoid", torch.sigmoid), ("Tanh", torch.tanh), ("HardSwish", functional.hardswish),
        ("Mish", functional.mish), ("Selu", functional.selu), ("Softplus", functional.softplus),
        ("Softsign", functional.softsign), ("Exp", torch.exp), ("Log", torch.log), ("Sqrt", torch.sqrt), ("Erf", torch.erf),
        ("Sign", torch.sign), ("Reciprocal", torch.reciprocal), ("Floor", torch.floor), ("Ceil", torch.ceil),
        ("Round", torch.round), ("Abs", torch.abs), ("Neg", torch.neg),
    )
}  # fmt: skip

ANY_LAYOUT = frozenset(
    "Relu Clip LeakyRelu PRelu HardSigmoid Sigmoid Tanh Elu Celu Selu HardSwish Mish Gelu Softplus Softsign Exp Log Sqrt Erf "
    "Sign Reciprocal Floor Ceil Round Abs Neg Add Sub Mul Div Pow Sum Max Min Mean Cast Concat Pad ReduceMean ReduceSum "
    "ReduceMax QuantizeLinear".split()
)
"""Operators that do the same to images with channels last as to images with channels first, with `Node.order`."""
UNCHANGED = frozenset({"Identity", "Dropout", "Cast"})
"""Operators that may do nothing."""

OF_CONSTANTS: dict[str, Callable[[Node], Function]] = {
    "ConstantOfShape": _constant_of_shape, "Equal": _elementwise(torch.eq), "Where": lambda node: torch.where,
}  # fmt: skip
"""Operators of which exporters compute shapes."""
