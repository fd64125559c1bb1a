"""Convolutions along one axis of an image, each channel by itself: windows, crops, and borders put in their place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import expressions
from .builder import Builder
from .calls import Call
from .expressions import Expression
from .maps import Convolution, Pair, Shape


@dataclass(frozen=True, eq=False)
class Axis:
    """A convolution along one axis of an image, each channel by itself.

    `weight` is (outputs per channel, kernel); by default one output, a kernel of `ones` ones.
    """

    axis: int
    ones: int = 1
    stride: int = 1
    start: int = 0
    dilation: int = 1
    size: int = 1
    weight: np.ndarray | None = None

    def of(self, shape: Shape) -> Convolution:
        """For an image of this shape."""
        weight = np.ones((1, self.ones)) if self.weight is None else self.weight
        outputs, kernel = weight.shape
        tiled = np.tile(weight, (shape[0], 1)).reshape(-1, 1, *self._pair(kernel, 1))
        return Convolution(
            tiled,
            shape,
            self._pair(self.size, shape[3 - self.axis]),
            self._pair(self.stride, 1),
            self._pair(self.start, 0),
            self._pair(self.dilation, 1),
            shape[0],
        )

    def along(self, builder: Builder, call: Call, x: Expression) -> Expression:
        """The convolution of an image."""
        return builder.composed(call, x, lambda x: expressions.convolved(x, self.of(x.shape)))

    def _pair(self, along: int, across: int) -> Pair:
        return (along, across) if self.axis == 1 else (across, along)


def adaptive_windows(length: int, windows: int) -> list[tuple[int, int]]:
    """First pixel of each window of an adaptive pooling, and the one after its last."""
    return [(i * length // windows, -(-(i + 1) * length // windows)) for i in range(windows)]
