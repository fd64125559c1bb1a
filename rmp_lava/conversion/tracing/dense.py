"""Rules of linear operations that are no convolution of an image here: one matrix, which the operation itself gives.

Transposed convolution, interpolation and shuffled pixels put pixels between pixels; a convolution may follow a linear layer or
rearranged pixels. All of them are matrices from the elements that they read to those that they give.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_map

from . import expressions
from .builder import Builder
from .calls import Call, Ref
from .expressions import Expression
from .remedies import ObstacleError, obstacle
from .rules import rule

LARGEST = 2**25
"""Limit in weights of such a matrix, 256 MB while it is made."""
LINEAR = (
    "conv2d", "convolution", "avg_pool2d", "adaptive_avg_pool2d", "pad", "constant_pad_nd", "mean", "sum", "linear", "matmul",
)  # fmt: skip
"""Operations with a rule for images that are a matrix of anything else."""
_WEIGHTED = ("conv", "Conv", "linear")
_BATCH = 256


@rule(
    "conv_transpose1d", "conv_transpose2d", "ConvTranspose1d", "ConvTranspose2d", "Conv1d",
    "interpolate", "upsample", "Upsample", "UpsamplingNearest2d",
    "UpsamplingBilinear2d", "pixel_shuffle", "PixelShuffle", "fold", "Fold", "unfold", "Unfold", "im2col", "col2im",
)  # fmt: skip
def as_matrix(builder: Builder, call: Call) -> Expression:
    """The operation as one matrix from the elements of its operand to its own, plus a constant."""
    refs = {leaf.number for leaf in tree_leaves(call.given) if isinstance(leaf, Ref)}
    if len(refs) != 1 or not isinstance(call.result, torch.Tensor):
        raise obstacle(call.op)
    ref = Ref(*refs)
    x, value = builder.take(call, ref), builder.tensor(ref)
    view = tuple(call.result.shape[1:])
    inputs, outputs = math.prod(x.view), math.prod(view)
    builder.give_up_silently(x)
    if call.result.shape[0] != value.shape[0]:
        raise ObstacleError("combines different images of a batch, or picks one", "process each image by itself")

    def run(images: torch.Tensor) -> torch.Tensor:
        args, kwargs = tree_map(lambda leaf: images if isinstance(leaf, Ref) else leaf, call.given)
        return call.run(*args, **kwargs).reshape(len(images), outputs)

    copied = None if call.op.startswith(_WEIGHTED) else _copied(run, value[:1])
    if copied is not None:
        return replace(expressions.rearranged(x, copied, view), moved=call.layer)
    if inputs * outputs > LARGEST:
        raise ObstacleError(
            f"({call.op}) would be a matrix of {inputs * outputs:,} weights; at most {LARGEST:,} are made",
            "use fewer channels or smaller images there",
        )

    nothing = torch.zeros_like(value[:1])
    bias = run(nothing.clone())
    weight = np.empty((outputs, inputs))
    for start in range(0, inputs, _BATCH):
        count = min(_BATCH, inputs - start)
        units = torch.zeros((count, inputs), dtype=value.dtype, device=value.device)
        units[torch.arange(count), torch.arange(start, start + count)] = 1
        columns = run(units.reshape(count, *x.view)) - bias
        weight[:, start : start + count] = columns.T.cpu().double().numpy()
    y = expressions.multiplied(x, weight)
    if bool(bias.any()):
        y = expressions.shifted(y, bias[0].cpu().double().numpy())
    if call.op.startswith(_WEIGHTED):
        builder.count_weights(call)
        y = replace(y, labels=((2, call.layer),))
    builder.inform(call.layer, "is no convolution of an image", f"a matrix of {inputs * outputs:,} weights")
    return replace(y, view=view)


def _copied(run: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> np.ndarray | None:
    """For each element of the result, the one of the image that it is a copy of; None if there is another one."""
    values = np.sort(np.random.default_rng(0).random(image.numel(), dtype=np.float32))
    result = run(torch.from_numpy(values).to(image).reshape(image.shape))[0].cpu().float().numpy()
    index = np.searchsorted(values, result).clip(max=len(values) - 1)
    return index if len(np.unique(values)) == len(values) and (values[index] == result).all() else None
