"""ONNX's operators that only pick, move, repeat and interpolate elements, as functions of PyTorch; see `operators`."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from .node import Function, Node, flat, identity

_INTERPOLATIONS: dict[tuple[str, ...], tuple[str, str, bool | None]] = {
    ("nearest", "asymmetric", "floor"): ("nearest", "nearest", None),
    ("nearest", "half_pixel", "round_prefer_floor"): ("nearest-exact", "nearest-exact", None),
    ("linear", "half_pixel"): ("linear", "bilinear", False),
    ("linear", "pytorch_half_pixel"): ("linear", "bilinear", False),
    ("linear", "align_corners"): ("linear", "bilinear", True),
    ("cubic", "half_pixel"): ("bicubic", "bicubic", False),
    ("cubic", "pytorch_half_pixel"): ("bicubic", "bicubic", False),
    ("cubic", "align_corners"): ("bicubic", "bicubic", True),
}
"""ONNX's mode, coordinates and rounding -> PyTorch's mode for rows of features and for images, and `align_corners`."""
_REPEATS = {("asymmetric", "floor"), ("half_pixel", "floor"), ("half_pixel", "round_prefer_floor")}
"""Coordinates and roundings by which nearest neighbours repeat each pixel where the size is a multiple."""


def concat(node: Node) -> Function:
    axis = node.axis(1)
    return lambda *parts: torch.cat(parts, axis)


def flatten(node: Node) -> Function:
    axis = int(node.attribute("axis", 1))
    if axis not in (1, 1 - node.image.ndim):
        raise ValueError(f"it flattens from axis {axis}, which does not keep the images of a batch apart")
    return lambda x: torch.flatten(x, 1)


def reshape(node: Node) -> Function:
    x, target, keeps_zero = node.image, node.numbers("shape", 1) or [], bool(node.attribute("allowzero", 0))
    wanted = [x.shape[i] if n == 0 and not keeps_zero else n for i, n in enumerate(target)]
    return _reshaped(x, tuple(x.reshape(wanted).shape))


def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Function:
    if not x.is_meta:
        return lambda x: x.reshape(shape)
    if shape[:1] != x.shape[:1]:
        raise ValueError(
            f"it makes {shape} of {tuple(x.shape)}, which does not keep the images of a batch apart; export the network with a "
            "batch of any size"
        )
    each = shape[1:]
    return lambda x: torch.reshape(x, (x.shape[0], *each))


def squeeze(node: Node) -> Function:
    x = node.image
    axes = node.numbers("axes", 1)
    kept = 1 if x.is_meta else 0  # a batch of one image is a batch
    chosen = [i for i, n in enumerate(x.shape) if n == 1 and i >= kept] if axes is None else [a % x.ndim for a in axes]
    return _reshaped(x, tuple(n for i, n in enumerate(x.shape) if i not in chosen))


def unsqueeze(node: Node) -> Function:
    axes = node.numbers("axes", 1) or []
    shape = list(node.image.shape)
    for axis in sorted(a % (len(shape) + len(axes)) for a in axes):
        shape.insert(axis, 1)
    return _reshaped(node.image, tuple(shape))


def transpose(node: Node) -> Function:
    order = node.numbers("perm") or list(reversed(range(node.image.ndim)))
    return lambda x: x.permute(order)


def slice_(node: Node) -> Function:
    starts, ends = node.numbers("starts", 1) or [], node.numbers("ends", 2) or []
    axes = node.numbers("axes", 3) or list(range(len(starts)))
    steps = node.numbers("steps", 4) or [1] * len(starts)
    parts, backwards = [slice(None)] * node.image.ndim, []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= node.image.ndim
        if step > 0:
            parts[axis] = slice(start, end, step)
        else:
            backwards.append((axis, torch.tensor(range(node.image.shape[axis])[start:end:step], dtype=torch.int64)))
    chosen = tuple(parts)
    return lambda x: functools.reduce(lambda y, each: torch.index_select(y, *each), backwards, x[chosen])


def split(node: Node) -> Function:
    axis, sizes = node.axis(0), node.numbers("split", 1)
    node.attribute("num_outputs")
    n = node.image.shape[axis]
    if sizes is None:
        each = -(-n // node.outputs)
        sizes = [min(each, n - i * each) for i in range(node.outputs)]
    return lambda x: torch.split(x, sizes, axis)


def gather(node: Node) -> Function:
    index, axis = node.constant(1), node.axis(0)
    if index is None or index.ndim > 1:
        raise ValueError("its indices are not one number or a list of numbers")
    node.operands[1] = None
    if index.ndim == 0:
        chosen = int(index)
        return lambda x: torch.select(x, axis, chosen)
    several = index % node.image.shape[axis]
    return lambda x: torch.index_select(x, axis, several.to(x.device))


def pad(node: Node) -> Function:
    mode = node.attribute("mode", "constant")
    mode = {"edge": "replicate", "wrap": "circular"}.get(mode, mode)
    pads = node.numbers("pads", 1) or []
    value, axes = node.number("value", 2, 0.0), node.numbers("axes", 3)
    x = node.image
    chosen = [node.order[axis % x.ndim] for axis in (range(x.ndim) if axes is None else axes)]
    padding = [(0, 0)] * x.ndim
    for axis, first, last in zip(chosen, pads[: len(chosen)], pads[len(chosen) :], strict=True):
        padding[axis] = (first, last)
    first_axis = next((i for i, widths in enumerate(padding) if any(widths)), x.ndim)
    if first_axis == x.ndim:
        return identity
    wide = flat(padding[min(first_axis, 2) :])
    given = value if mode == "constant" else None
    return lambda x: functional.pad(x, wide, mode, given)


def expand(node: Node) -> Function:
    x, target = node.image, node.numbers("shape", 1) or []
    shape = torch.broadcast_shapes(tuple(x.shape), tuple(target))
    if x.is_meta and (len(shape) != x.ndim or shape[0] != x.shape[0]):
        raise ValueError(
            f"it expands {tuple(x.shape)} to {tuple(shape)}, which does not keep the images of a batch apart"
        )
    each = (-1, *shape[1:]) if x.is_meta else shape
    return lambda x: x.expand(each)


def resize(node: Node) -> Function:
    x = node.image
    mode = node.attribute("mode", "nearest")
    where = node.attribute("coordinate_transformation_mode", "asymmetric" if node.op == "Upsample" else "half_pixel")
    nearest = node.attribute("nearest_mode", "floor" if node.op == "Upsample" else "round_prefer_floor")
    cubic, aspect = node.attribute("cubic_coeff_a", -0.75), node.attribute("keep_aspect_ratio_policy", "stretch")
    node.attribute("exclude_outside"), node.attribute("extrapolation_value")
    antialias = node.attribute("antialias", 0)
    shape = _resized_shape(node)
    method = _INTERPOLATIONS.get((mode, where, nearest) if mode == "nearest" else (mode, where))
    multiple = all(m % n == 0 for n, m in zip(x.shape, shape, strict=True))
    if mode == "nearest" and multiple and (where, nearest) in _REPEATS:
        method = ("nearest", "nearest", None)
    kept = shape[:2] == list(x.shape[:2]) and aspect == "stretch" and not antialias and cubic == -0.75
    if method is None or not kept or node.axes not in (1, 2):
        raise ValueError(f"it resizes {tuple(x.shape)} to {tuple(shape)} with mode {mode!r}, {where!r} and {nearest!r}")
    *names, corners = method
    name, size = names[node.axes - 1], shape[2:]
    return lambda x: functional.interpolate(x, size=size, mode=name, align_corners=corners)


def _resized_shape(node: Node) -> list[int]:
    """The shape of the result, from its sizes or scales, which are taken away."""
    before, axes = node.image.shape, node.numbers("axes")
    scales, wanted = node.attribute("scales"), node.constant(3)
    if scales is None and (given := node.constant(1 if node.op == "Upsample" else 2)) is not None and given.numel():
        scales = given.reshape(-1).tolist()
    sizes = None if wanted is None else wanted.reshape(-1).tolist()
    del node.operands[1:]
    chosen = list(range(len(before))) if axes is None else [axis % len(before) for axis in axes]
    shape = list(before)
    for axis, n in zip(chosen, scales if sizes is None else sizes, strict=True):
        size = n if sizes is not None else before[axis] * n
        if size != int(size):
            raise ValueError(f"it scales {before[axis]} pixels by {n}, which does not give an integer number of pixels")
        shape[axis] = int(size)
    return shape


def depth_to_space(node: Node) -> Function:
    size, mode = int(node.attribute("blocksize")), node.attribute("mode", "DCR")
    if mode == "CRD":
        return lambda x: functional.pixel_shuffle(x, size)
    _, channels, height, width = node.image.shape
    parts = (size, size, channels // size**2, height, width)
    return lambda x: (
        x.reshape(x.shape[0], *parts)
        .permute(0, 3, 4, 1, 5, 2)
        .reshape(x.shape[0], channels // size**2, height * size, width * size)
    )


def space_to_depth(node: Node) -> Function:
    size = int(node.attribute("blocksize"))
    _, channels, height, width = node.image.shape
    parts = (channels, height // size, size, width // size, size)
    return lambda x: (
        x.reshape(x.shape[0], *parts)
        .permute(0, 3, 5, 1, 2, 4)
        .reshape(x.shape[0], channels * size**2, height // size, width // size)
    )
