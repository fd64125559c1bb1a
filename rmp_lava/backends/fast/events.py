"""Event-driven sums of a synapse, and when they cost less than dense ones.

Dense sums cost the same whatever the messages are; event-driven ones grow with the number of spikes, so the choice is made for
each block of steps and samples, by the messages in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from threading import Lock
from types import ModuleType

import numpy as np
import torch

kernel: ModuleType | None
try:
    kernel = import_module(".event_kernel", __package__)
except ImportError:  # as for the neurons
    kernel = None

_ROW_COST, _PRODUCT_COST, _TILE_COST = 3.3, 5.2, 8192
"""What adding a weight costs, multiplying it by a message as well, and the lanes of one window, in products of a dense 8-bit sum.
Measured on a processor with VNNI, where those are fastest, for 64 to 512 channels (`python -m benchmarks.events`, for products
with `--largest 4`)."""
_DENSE_COST, _SLOWEST = {"int8": 1, "float32": 4}, 8
"""Of a product of each kernel, and of the others."""


@dataclass(frozen=True)
class Geometry:
    """A convolution without dilation and groups; a dense layer sees an image of one pixel.

    size : (height, width) of the images.
    kernel : (height, width) of the windows.
    """

    size: tuple[int, int]
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def windows(self) -> tuple[int, int]:
        """(rows, columns) of the result."""
        axes = zip(self.size, self.kernel, self.stride, self.padding, strict=True)
        rows, columns = ((n + 2 * p - k) // s + 1 for n, k, s, p in axes)
        return rows, columns


class EventSums:
    """Sums of uint8 messages, by adding rows of weights.

    sets, of_events : Sets of messages seen so far, and those of them that were summed here.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, channels, kernel height, kernel width) int8.
    factor : float
        Of all sums.
    dense : str
        The dense kernel that is the alternative.
    """

    def __init__(self, weight: np.ndarray, geometry: Geometry, factor: float, dense: str) -> None:
        assert kernel is not None
        self._geometry, self._factor, self._outputs = geometry, np.float32(factor), len(weight)
        tiles = -(-len(weight) // kernel.LANES)
        windows = int(np.prod(geometry.windows))
        self._products = windows * weight.size * _DENSE_COST.get(dense, _SLOWEST)
        self._fixed = windows * tiles * _TILE_COST
        self._per_row = _seen_by(geometry) * tiles * kernel.LANES
        padded = np.zeros((tiles * kernel.LANES, *weight.shape[1:]), np.int8)
        padded[: len(weight)] = weight
        rows = padded.reshape(tiles, kernel.LANES, *weight.shape[1:]).transpose(0, 3, 4, 2, 1)
        self._weight = _aligned(rows, kernel.LANES)
        self.sets, self.of_events = 0, 0
        self._lock = Lock()

    @property
    def may_pay(self) -> bool:
        """Whether they cost less than dense sums at least where no neuron spikes."""
        return self._fixed < self._products

    def pay(self, messages: torch.Tensor) -> bool:
        """Whether they cost less than dense sums for these messages, (sets, *memory shape of the source) uint8."""
        assert kernel is not None
        events, largest = kernel.survey(messages.reshape(-1).numpy())
        costs = len(messages) * self._fixed + int(events) * self._per_row * (
            _ROW_COST if largest <= 1 else _PRODUCT_COST
        )
        yes = costs * torch.get_num_threads() < len(messages) * self._products  # dense sums take all threads
        with self._lock:
            self.sets += len(messages)
            self.of_events += len(messages) if yes else 0
        return yes

    def __call__(self, messages: torch.Tensor) -> torch.Tensor:
        """(sets, neurons in memory order) float32 sums of such messages."""
        assert kernel is not None
        height, width = self._geometry.size
        images = messages.reshape(len(messages), -1).numpy()
        count, largest = kernel.survey(images.reshape(-1))
        events, starts = np.empty(int(count), np.int32), np.empty((len(images), height * width + 1), np.int64)
        values = np.empty(int(count) if largest > 1 else 0, np.int16)
        kernel.list_events(images, width, self._geometry.channels, events, values, starts)
        out = torch.empty((len(images), *self._geometry.windows, self._outputs))
        kernel.convolve(
            events,
            values,
            max(1, int(largest)),
            starts,
            self._weight,
            self._geometry.size,
            self._geometry.stride,
            self._geometry.padding,
            self._factor,
            out.numpy(),
        )
        return out.flatten(1)


def _seen_by(geometry: Geometry) -> float:
    """Windows that see a pixel, on average."""
    seen = 1.0
    axes = zip(geometry.size, geometry.kernel, geometry.stride, geometry.padding, geometry.windows, strict=True)
    for size, kernel_size, stride, padding, windows in axes:
        starts = np.arange(windows) * stride - padding
        seen *= (np.minimum(starts + kernel_size, size) - np.maximum(starts, 0)).clip(min=0).sum() / size
    return seen


def _aligned(array: np.ndarray, boundary: int) -> np.ndarray:
    """A copy in C order whose first byte lies at a multiple of `boundary`."""
    room = np.empty(array.nbytes + boundary, np.uint8)
    start = -room.ctypes.data % boundary
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
