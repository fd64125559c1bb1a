"""Rules of padding: zeros and constants around an image, and pixels of the image itself.

Zeros go into the convolution that follows. Constants are biases at the border. A border of the image's own pixels (reflected,
repeated, or from the other side) is held by populations of the border's size and added; of tensors that are no images it is only
another order of elements.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional
from torch.utils._pytree import tree_map

from . import expressions
from .axis import Axis
from .builder import Builder, NotAnImageError
from .calls import Call, Ref
from .expressions import Expression, Note
from .maps import Convolution, Pair
from .remedies import ObstacleError, obstacle
from .rules import number, pair, rule
from .shapes import move

_MODES = {"reflection": "reflect", "replication": "replicate", "circular": "circular"}
"""PyTorch's modes by the beginning of the names of its functions and modules."""
_COPYING = tuple(
    f"{name}{n}d"
    for n in (1, 2)
    for name in ("reflection_pad", "replication_pad", "ReflectionPad", "ReplicationPad", "CircularPad")
)


@rule("pad", "constant_pad_nd")
def pad(builder: Builder, call: Call) -> Expression:
    """pad(input, pad, mode, value): around an image, or channels of zeros; negative numbers crop."""
    mode, value = call.argument(2, "mode", "constant"), call.argument(3, "value", None)
    if call.op == "constant_pad_nd":
        mode, value = "constant", call.argument(2, "value", 0)
    if call.result.ndim == 5:
        raise obstacle("constant_pad3d")
    if mode != "constant":
        return _copied(builder, call, mode)
    x = builder.image(call)
    widths = [int(n) for n in call.argument(1, "pad")]
    widths = [widths[0]] * 4 if len(widths) == 1 else widths + [0] * (6 - len(widths))
    left, _, top, _, front, back, *rest = widths + [0] * (6 - len(widths))
    if any(rest) or front < 0 or back < 0:
        raise ObstacleError("pads the batch, or removes channels", "pad height, width or channels with zeros")
    size = pair(call.result.shape[2:]) if call.result.ndim == 4 else (1, int(call.result.shape[2]))
    y = builder.composed(call, x, lambda x: expressions.convolved(x, _window(x, size, (top, left))))
    y = replace(y, labels=x.labels, notes=(*y.notes, Note(call.layer, "pads with zeros")))
    if front or back:
        none = [expressions.constant(np.zeros((n, *size))) for n in (front, back)]
        y = expressions.concatenated([none[0], y, none[1]], (front + x.shape[0] + back, *size))
    border = 0.0 if value is None else number(value, call)
    if border:
        widths[4:6] = front, back
        inside = functional.pad(torch.ones(1, *x.shape, dtype=torch.float64), widths[:6])[0].numpy()
        y = expressions.shifted(y, border * (1 - inside))
    return replace(y, view=tuple(call.result.shape[1:]))


def _window(x: Expression, size: Pair, start: Pair) -> Convolution:
    """The convolution that only shifts, crops or pads."""
    return Convolution(np.ones((x.shape[0], 1, 1, 1)), x.shape, size, start=start, groups=x.shape[0])


@rule(*_COPYING)
def copying_pad(builder: Builder, call: Call) -> Expression:
    """reflection_pad2d(input, padding), replication_pad2d, and the modules of these names."""
    return _copied(builder, call, next(mode for name, mode in _MODES.items() if call.op.lower().startswith(name)))


def _copied(builder: Builder, call: Call, mode: str) -> Expression:
    """Padding with pixels of the image: one axis after the other, as corners are copies of the padded rows."""
    try:
        x = builder.image(call)
    except NotAnImageError:
        return move(builder, call)
    before = len(builder.layers)
    for axis in (1, 2):
        sources = _sources(builder, call, x, axis)
        if len(sources) < x.shape[axis]:
            raise ObstacleError(f"pads with {mode!r} by negative widths", "crop by an index instead")
        x = _along(builder, call, x, axis, sources)
    neurons = sum(layer.size for layer in builder.layers[before:])
    text = f"the border is held by {neurons:,} neurons; zeros need none, after training with them"
    builder.inform(call.layer, f"pads with the image's own pixels ({mode})", text)
    return replace(x, view=tuple(call.result.shape[1:]))


def _sources(builder: Builder, call: Call, x: Expression, axis: int) -> list[int]:
    """For each pixel of the padded axis, the pixel that it is."""
    ref = call.argument(0, "input")
    length, numbers = x.shape[axis], torch.arange(x.shape[axis], dtype=torch.float64)
    if builder.tensor(ref).ndim == 3 and axis == 1:  # rows have no height
        return list(range(length))
    shape = builder.tensor(ref).shape
    along = numbers.reshape(-1, 1) if axis == 1 else numbers
    args, kwargs = tree_map(lambda leaf: along.expand(shape) if isinstance(leaf, Ref) else leaf, call.given)
    padded = call.run(*args, **kwargs)[0, 0]
    return [int(n) for n in (padded[:, 0] if axis == 1 else padded.reshape(-1, padded.shape[-1])[0])]


def _along(builder: Builder, call: Call, x: Expression, axis: int, sources: list[int]) -> Expression:
    length, size = x.shape[axis], len(sources)
    if size == length:
        return x
    inside = next(i for i in range(size) if sources[i : i + length] == list(range(length)))
    y = Axis(axis, start=inside, size=size).along(builder, call, x)
    places = defaultdict(list)
    for place in (*range(inside), *range(inside + length, size)):
        places[sources[place]].append(place)
    for source, copies in places.items():
        held = builder.held(call, Axis(axis, start=-source).along(builder, call, x))
        for place in copies:
            y = expressions.added(y, expressions.convolved(held, Axis(axis, start=place, size=size).of(held.shape)))
    return y
