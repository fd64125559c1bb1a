"""Weighted sums of a synapse's messages, by the fastest kernel that is exact for it.

In memory, populations are channels last (height, width, channels), as convolutions need it.

Integer networks have three exact kernels. `int8`: oneDNN's 8-bit convolution with 32-bit sums, for spikes and for weights
that are 8-bit numbers, or even ones twice as large, before the shift by their exponent. `float32`: exact while every partial
sum stays below 2^24, a bound that follows from the weights. `float64`: exact below 2^53. Real weights are float32. Where a
pooling was folded into the weights, they are multiplied by sums of messages. Beside these dense sums, `events` adds the weights
of active neurons only, for the weights that `int8` takes; blocks with few spikes are summed by it. `elementwise` is for
shortcuts and pooling, where windows do not overlap and each channel is by itself; products are added in one pass, those of a
shortcut to the sums of the other synapses. A GPU has `int8-matmul` in place of `int8`: one product of 8-bit matrices with 32-bit
sums for all windows of a block, which no library may round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch._ops import ops  # `torch.ops`, which the stubs of torch 2.3 do not export

from ...choices import Kernel
from ...errors import BackendError
from ...network import Conv, Dense, Synapse
from ...network.pooling import per_block
from . import events as event_module
from .events import EventSums, Geometry

EXACT_FLOAT32 = 2**24
_SAFE_MESSAGE = 127
"""CPUs without VNNI add two products of 8-bit numbers in 16 bits."""

_LARGEST_BYTE = 255
OF_BYTES = ("int8", "int8-matmul", "events", "elementwise")
_LEAST_ROWS, _MULTIPLE = 32, 8
"""Of matrices that PyTorch's 8-bit product takes on a GPU: rows, and what columns are a multiple of."""


def memory_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A population's shape in memory: channels last."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else tuple(shape)


def to_memory(array: np.ndarray, leading: int) -> np.ndarray:
    """An array of populations, after `leading` further axes, with channels last; a view."""
    return np.moveaxis(array, leading, -1) if array.ndim - leading == 3 else array


def from_memory(array: np.ndarray, leading: int) -> np.ndarray:
    """The inverse of `to_memory`; a copy in C order."""
    return np.ascontiguousarray(np.moveaxis(array, -1, leading) if array.ndim - leading == 3 else array)


def flat(values: np.ndarray) -> np.ndarray:
    """Numbers of neurons (*shape) as (neurons,) in memory order, contiguous."""
    return np.ascontiguousarray(to_memory(values, 0)).reshape(-1)


@dataclass(frozen=True)
class Arithmetic:
    """What weighted sums are computed with.

    dtype : Of the sums: float32, or float64 where float32 is not exact.
    kernel : As `options.Fast` has it.
    largest : Largest message: 1 for spikes.
    times : What sums are multiplied by.
    """

    device: torch.device
    dtype: torch.dtype
    kernel: Kernel
    largest: int
    times: int = 1


class Sums:
    """Weighted sums of one synapse on a device; made by `make_sums`.

    source : Name of the source.
    weight : (outputs, inputs in memory order), or a convolution's (C_out, C_in / groups, height, width).
    exponent : Of the weights.
    shape : Of one set of messages, as the kernels take it.

    kernel : {"int8", "int8-matmul", "float32", "float64", "float32 matmul", "float64 matmul", "events", "elementwise"}. The
        kernel in use: matrix products where a convolution is not exact for this shape, and on a GPU.
    events : `EventSums`, for blocks in which they cost less, or None.

    Raises
    ------
    BackendError
        If kernel "int8" or "int8-matmul" is wanted and not available for this synapse.
    """

    def __init__(
        self, source: str, weight: np.ndarray, exponent: int, shape: tuple[int, ...], arithmetic: Arithmetic
    ) -> None:
        self.shape, self.dtype, self.device = shape, arithmetic.dtype, arithmetic.device
        self._factor = arithmetic.times << exponent
        self._weight = torch.tensor(np.ascontiguousarray(weight), device=self.device).to(self.dtype) * self._factor
        self.events: EventSums | None = None
        self.kernel = self._choose_kernel(source, weight, arithmetic.kernel, arithmetic.largest)
        if arithmetic.kernel == "auto" and self._prepare_elementwise(weight, arithmetic.largest):
            self.kernel = "elementwise"
        elif arithmetic.kernel in ("auto", "events"):
            self._prepare_events(weight, arithmetic.kernel, arithmetic.largest)
        if self.kernel in OF_BYTES:
            del self._weight

    @property
    def takes_bytes(self) -> bool:
        """Whether messages have to be uint8."""
        return self.kernel in OF_BYTES

    def __call__(self, messages: torch.Tensor) -> torch.Tensor:
        """Sums for each of n sets of messages.

        Parameters
        ----------
        messages : torch.Tensor
            (n, *memory shape of the source): uint8 or float32.

        Returns
        -------
        torch.Tensor
            (n, neurons) in memory order, float32 or float64; integers in weight units for integer networks.
        """
        if self.kernel == "events":
            return self._compute("events", messages)
        if self.events is not None and messages.dtype == torch.uint8 and self.events.pay(messages):
            return self._compute("events", messages)
        return self._compute(self.kernel, messages)

    def add_to(self, total: torch.Tensor, messages: torch.Tensor) -> None:
        """Add the sums to a contiguous float32 total of their shape, by kernel `elementwise`; arguments as for a call."""
        raise NotImplementedError

    def _prepare_elementwise(self, weight: np.ndarray, largest: int) -> bool:
        """Set up the weights for kernel `elementwise`, if this synapse is one for it."""
        return False

    def _choose_kernel(self, source: str, weight: np.ndarray, wanted: Kernel, largest: int) -> str:
        name = str(self.dtype).removeprefix("torch.")
        sound = self._is_sound()
        if wanted != "float32":
            kernel = "int8-matmul" if wanted == "int8-matmul" or self.device.type != "cpu" else "int8"
            usable = sound or kernel == "int8-matmul"
            reason = self._prepare_int8(kernel, weight, largest) if usable else "oneDNN cannot convolve this shape"
            if reason is None and not self._is_exact(kernel, largest):
                reason = "it is not exact on this machine"
            if reason is None:
                return kernel
            if wanted in ("int8", "int8-matmul"):
                raise BackendError(f"kernel {wanted!r} cannot compute synapses from {source!r}: {reason}")
        # cuDNN may choose Winograd or FFT convolutions, which round.
        plain = self.device.type == "cpu" and sound
        return name if plain and (weight.dtype.kind == "f" or self._is_exact(name, largest)) else f"{name} matmul"

    def _prepare_int8(self, kernel: str, weight: np.ndarray, largest: int) -> str | None:
        """Set up an 8-bit kernel, or return why it is not available."""
        if weight.dtype.kind != "i":
            return "the weights are real numbers"
        if largest > _SAFE_MESSAGE:
            return f"messages are graded, and those above {_SAFE_MESSAGE} may saturate"
        if self.dtype != torch.float32:
            return "its sums can reach 2^24"
        halved, factor = _of_8_bits(weight)
        if halved is None:
            return f"weights in {weight.min()}..{weight.max()} are neither 8-bit numbers nor even ones of 9 bits"
        self._scales = torch.full((len(weight),), float(factor * self._factor))
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        try:
            if kernel == "int8":
                self._packed = self._pack(torch.tensor(halved))
            else:
                self._scales = self._scales.to(self.device)
                self._packed = _padded(self._columns(torch.tensor(halved)).to(self.device), _MULTIPLE)
            self._compute(kernel, torch.zeros((1, *self.shape), dtype=torch.uint8, device=self.device))
            return None
        except (AttributeError, RuntimeError, NotImplementedError) as error:
            return f"this PyTorch or processor does not have it ({str(error).splitlines()[0]})"

    def _prepare_events(self, weight: np.ndarray, wanted: Kernel, largest: int) -> None:
        """Set up event-driven sums, if they exist for this synapse, and use them for all messages if they are wanted."""
        geometry = self._geometry_of_events()
        unavailable = event_module.kernel is None or self.device.type != "cpu" or geometry is None
        if unavailable or weight.dtype.kind != "i" or self.dtype != torch.float32 or largest > _LARGEST_BYTE:
            return
        halved, factor = _of_8_bits(weight)
        if halved is None:
            return
        assert geometry is not None
        rows = halved.reshape(len(halved), geometry.channels, *geometry.kernel)
        self.events = EventSums(rows, geometry, factor * self._factor, self.kernel)
        if not (wanted == "events" or self.events.may_pay) or not self._is_exact("events", largest):
            self.events = None
        elif wanted == "events":
            self.kernel = "events"

    def _geometry_of_events(self) -> Geometry | None:
        """The windows that events reach; None where the kernel does not support them."""
        raise NotImplementedError

    def _is_exact(self, kernel: str, largest: int) -> bool:
        """Whether a kernel is exact for this very shape: a machine may saturate, and PyTorch may be wrong."""
        random = torch.Generator().manual_seed(0)
        largest = min(largest, 255)
        probe = torch.randint(0, largest + 1, (2, *self.shape), generator=random, dtype=torch.uint8)
        probe[0] = largest
        probe = probe.to(self.device)
        return torch.equal(self._compute(kernel, probe), self._compute("matmul", probe))

    def _compute(self, kernel: str, messages: torch.Tensor) -> torch.Tensor:
        if kernel == "int8":
            return self._int8(messages)
        if kernel == "int8-matmul":
            return self._by_product(messages.contiguous().view(torch.int8))
        if kernel == "events":
            assert self.events is not None
            return self.events(messages)
        return (self._matmul if kernel.endswith("matmul") else self._plain)(messages.to(self.dtype))

    def _is_sound(self) -> bool:
        """Whether oneDNN in torch 2.3 to 2.13 computes this shape correctly."""
        raise NotImplementedError

    def _pack(self, weight: torch.Tensor) -> torch.Tensor:
        """8-bit weights in oneDNN's layout."""
        raise NotImplementedError

    def _int8(self, messages: torch.Tensor) -> torch.Tensor:
        """Sums of uint8 messages with the packed weights."""
        raise NotImplementedError

    def _by_product(self, messages: torch.Tensor) -> torch.Tensor:
        """The same of int8 messages: what each neuron receives is a row, which is multiplied by a matrix of all weights."""
        count = self._row_count(len(messages))
        rows = torch.zeros((max(count, _LEAST_ROWS), len(self._packed)), dtype=torch.int8, device=self.device)
        self._fill(rows[:count], messages)
        sums = torch._int_mm(rows, self._packed)[:count, : len(self._scales)]
        return (sums * self._scales).view(len(messages), -1)

    def _columns(self, weight: torch.Tensor) -> torch.Tensor:
        """8-bit weights as a matrix with a column for each output channel."""
        raise NotImplementedError

    def _row_count(self, sets: int) -> int:
        """Rows of the product for so many sets of messages: one for each column of outputs."""
        raise NotImplementedError

    def _fill(self, rows: torch.Tensor, messages: torch.Tensor) -> None:
        """Write messages into rows of zeros, in the order of `_columns`."""
        raise NotImplementedError

    def _plain(self, messages: torch.Tensor) -> torch.Tensor:
        """PyTorch's operator in `dtype`."""
        raise NotImplementedError

    def _matmul(self, messages: torch.Tensor) -> torch.Tensor:
        """The same by matrix products: plain sums, in any order."""
        raise NotImplementedError


def _of_8_bits(weight: np.ndarray) -> tuple[np.ndarray | None, int]:
    """Integer weights as int8 and a factor, 1 or 2; None if they are neither 8-bit numbers nor even ones of 9 bits."""
    low, high = int(weight.min()), int(weight.max())
    factor = 1 if low >= -128 and high < 128 else 2
    if low < -128 * factor or high > 127 * factor or (factor == 2 and (weight & 1).any()):
        return None, factor
    return np.ascontiguousarray(weight // factor, dtype=np.int8), factor


def _padded(matrix: torch.Tensor, multiple: int) -> torch.Tensor:
    """A matrix with further rows and columns of zeros, so that their numbers are multiples."""
    rows, columns = (-size % multiple for size in matrix.shape)
    return F.pad(matrix, (0, columns, 0, rows)).contiguous()


def make_sums(synapse: Synapse, source_shape: tuple[int, ...], arithmetic: Arithmetic) -> Sums:
    """The `Sums` of a synapse."""
    if isinstance(synapse, Dense):
        return DenseSums(synapse, source_shape, arithmetic)
    if isinstance(synapse, Conv):
        if synapse.pool is not None:
            return BlockSums(synapse, source_shape, arithmetic)
        return ConvSums(synapse, source_shape, arithmetic)
    raise BackendError(f"backend 'fast' does not support synapses of type {type(synapse).__name__}")


_PLAIN_RESULT: tuple[float, int, torch.dtype, str, list[float], str] = (1.0, 0, torch.float32, "none", [], "")
"""oneDNN's scale, zero point and dtype of the result, without any operation after it."""


class DenseSums(Sums):
    """Sums of a dense synapse: one matrix product."""

    def __init__(self, synapse: Dense, source_shape: tuple[int, ...], arithmetic: Arithmetic) -> None:
        weight = to_memory(synapse.weight.reshape(len(synapse.weight), *source_shape), 1)
        weight = weight.reshape(len(weight), -1)
        super().__init__(synapse.source, weight, synapse.exponent, weight.shape[1:], arithmetic)

    def _compute(self, kernel: str, messages: torch.Tensor) -> torch.Tensor:
        return super()._compute(kernel, messages.flatten(1))

    def _geometry_of_events(self) -> Geometry:
        return Geometry((1, 1), self.shape[0])

    def _is_sound(self) -> bool:
        return True

    def _pack(self, weight: torch.Tensor) -> torch.Tensor:
        return ops.onednn.qlinear_prepack(weight, None)

    def _int8(self, messages: torch.Tensor) -> torch.Tensor:
        return ops.onednn.qlinear_pointwise(
            messages, 1.0, 0, self._packed, self._scales, self._zeros, None, *_PLAIN_RESULT
        )

    def _columns(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.T

    def _row_count(self, sets: int) -> int:
        return sets

    def _fill(self, rows: torch.Tensor, messages: torch.Tensor) -> None:
        rows[:, : messages.shape[1]] = messages

    def _plain(self, messages: torch.Tensor) -> torch.Tensor:
        return F.linear(messages, self._weight)

    def _matmul(self, messages: torch.Tensor) -> torch.Tensor:
        return messages @ self._weight.T


class ConvSums(Sums):
    """Sums of a convolution, channels last."""

    def __init__(self, synapse: Conv, source_shape: tuple[int, ...], arithmetic: Arithmetic) -> None:
        kernel = synapse.weight.shape[2:]
        self.padding, self.dilation, self.groups = synapse.padding, synapse.dilation, synapse.groups
        self._extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, self.dilation, strict=True))
        # With a single window the stride has no effect, and oneDNN is wrong for some strides above 1.
        single = (
            n + 2 * p == extent for n, extent, p in zip(source_shape[1:], self._extent, self.padding, strict=True)
        )
        rows, columns = (1 if alone else s for alone, s in zip(single, synapse.stride, strict=True))
        self.stride = rows, columns
        self._channels = source_shape[0]
        super().__init__(synapse.source, synapse.weight, synapse.exponent, memory_shape(source_shape), arithmetic)

    def _compute(self, kernel: str, messages: torch.Tensor) -> torch.Tensor:
        if kernel in ("events", "int8-matmul"):
            return super()._compute(kernel, messages)
        if kernel == "elementwise":
            total = torch.empty((len(messages), math.prod(self._output_size()) * self._channels))
            self._add_products(total, messages, is_first=True)
            return total
        height, width, channels = self.shape
        if channels == 1 or height * width == 1:
            # The same memory, but PyTorch must not see it as channels-last.
            images = messages.reshape(-1, channels, height, width)
        else:
            images = messages.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        sums = super()._compute(kernel, images)
        return sums.permute(0, 2, 3, 1).reshape(len(sums), -1)

    def _prepare_elementwise(self, weight: np.ndarray, largest: int) -> bool:
        steps = zip(self._output_size(), self._extent, self.stride, weight.shape[2:], strict=True)
        apart = all((windows == 1 or extent == stride) and size == extent for windows, extent, stride, size in steps)
        fits = weight.dtype.kind == "i" and self.dtype == torch.float32 and largest <= _LARGEST_BYTE
        if not (apart and fits and self.padding == (0, 0) and len(weight) == self._channels):
            return False
        if event_module.kernel is None or self.device.type != "cpu":
            return False
        each = np.arange(len(weight))
        if weight.shape[1] > 1:
            others = weight.copy()
            others[each, each % weight.shape[1]] = 0
            if self.groups > 1 or others.any():
                return False
        own = weight[each, each % weight.shape[1]]  # (channels, height, width)
        self._by_channel = np.ascontiguousarray(own.transpose(1, 2, 0), dtype=np.float32) * np.float32(self._factor)
        return True

    def add_to(self, total: torch.Tensor, messages: torch.Tensor) -> None:
        self._add_products(total, messages, is_first=False)

    def _add_products(self, total: torch.Tensor, messages: torch.Tensor, *, is_first: bool) -> None:
        assert event_module.kernel is not None
        images = messages.reshape(-1, *self.shape).numpy()
        sums = total.view(len(images), *self._output_size(), self._channels).numpy()
        event_module.kernel.add_products(sums, images, self._by_channel, is_first)

    def _geometry_of_events(self) -> Geometry | None:
        if self.dilation != (1, 1) or self.groups != 1:
            return None
        (height, width, channels), kernel = self.shape, (self._extent[0], self._extent[1])
        return Geometry((height, width), channels, kernel, self.stride, self.padding)

    def _is_sound(self) -> bool:
        """oneDNN crashes if a window sees only padding, and is wrong if a single window leaves pixels unread."""
        return not any(
            p >= extent or 0 < n + 2 * p - extent < s
            for n, extent, s, p in zip(self.shape[:2], self._extent, self.stride, self.padding, strict=True)
        )

    def _pack(self, weight: torch.Tensor) -> torch.Tensor:
        example = [1, self._channels, *self.shape[:2]]
        return ops.onednn.qconv_prepack(weight, self._scales, 1.0, 0, *self._geometry(), example)

    def _geometry(self) -> tuple[list[int], list[int], list[int], int]:
        return list(self.stride), list(self.padding), list(self.dilation), self.groups

    def _int8(self, images: torch.Tensor) -> torch.Tensor:
        return ops.onednn.qconv2d_pointwise(
            images, 1.0, 0, self._packed, self._scales, self._zeros, None, *self._geometry(), *_PLAIN_RESULT
        )

    def _columns(self, weight: torch.Tensor) -> torch.Tensor:
        if self.groups != 1:
            raise NotImplementedError("for convolutions with groups")
        return weight.permute(2, 3, 1, 0).flatten(0, 2)

    def _output_size(self) -> tuple[int, int]:
        rows, columns = (
            (n + 2 * p - extent) // s + 1
            for n, p, extent, s in zip(self.shape[:2], self.padding, self._extent, self.stride, strict=True)
        )
        return rows, columns

    def _row_count(self, sets: int) -> int:
        height, width = self._output_size()
        return sets * height * width

    def _fill(self, rows: torch.Tensor, messages: torch.Tensor) -> None:
        (height, width), channels = self._output_size(), self._channels
        (vertical, horizontal), (down, right) = self.padding, self.stride
        images = F.pad(messages.view(-1, *self.shape), (0, 0, horizontal, horizontal, vertical, vertical))
        windows = rows.view(len(images), height, width, -1)
        first = 0
        for top in range(0, self._extent[0], self.dilation[0]):
            for left in range(0, self._extent[1], self.dilation[1]):
                windows[..., first : first + channels] = images[
                    :, top : top + down * (height - 1) + 1 : down, left : left + right * (width - 1) + 1 : right
                ]
                first += channels

    def _plain(self, images: torch.Tensor) -> torch.Tensor:
        return F.conv2d(images, self._weight, None, self.stride, self.padding, self.dilation, self.groups)

    def _matmul(self, images: torch.Tensor) -> torch.Tensor:
        return _convolve_by_matmul(images, self._weight, None, self.stride, self.padding, self.dilation, self.groups)


class BlockSums(ConvSums):
    """Sums of a convolution with a folded pooling (`Synapse.pool`): over the sums of the pooled blocks."""

    def __init__(self, synapse: Conv, source_shape: tuple[int, ...], arithmetic: Arithmetic) -> None:
        self._pool = rows, columns = synapse.pool or (1, 1)
        arithmetic = replace(arithmetic, largest=arithmetic.largest * rows * columns)
        self._fits_uint8 = arithmetic.largest <= 255
        channels, height, width = source_shape
        shape = (channels, height // rows, width // columns)
        super().__init__(per_block(synapse), shape, arithmetic)

    def _prepare_elementwise(self, weight: np.ndarray, largest: int) -> bool:
        return False  # messages are summed first

    def __call__(self, messages: torch.Tensor) -> torch.Tensor:
        p, q = self._pool
        compiled = event_module.kernel if self.device.type == "cpu" else None
        if compiled is not None and self._fits_uint8 and messages.dtype == torch.uint8:
            blocks = torch.empty((len(messages), *self.shape), dtype=torch.uint8)
            compiled.sum_blocks(messages.numpy(), blocks.numpy())
            return super().__call__(blocks)
        if not self._fits_uint8:
            messages = messages.to(self.dtype)
        first, *others = [messages[:, i::p, j::q] for i in range(p) for j in range(q)]
        total = first.clone(memory_format=torch.contiguous_format)
        for each in others:
            total += each
        return super().__call__(total)


def _convolve_by_matmul(
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> torch.Tensor:
    """`F.conv2d` as one matrix product per kernel position: nothing but plain sums, in any order."""
    c_out, c_group, kh, kw = weight.shape
    images = F.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    n, _, height, width = images.shape
    out_h = (height - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    out_w = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    weight = weight.reshape(groups, c_out // groups, c_group, kh, kw)
    total = torch.zeros((n, groups, c_out // groups, out_h * out_w), dtype=images.dtype, device=images.device)
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation[0], j * dilation[1]
            seen = images[
                :,
                :,
                top : top + stride[0] * (out_h - 1) + 1 : stride[0],
                left : left + stride[1] * (out_w - 1) + 1 : stride[1],
            ]
            total += weight[..., i, j] @ seen.reshape(n, groups, c_group, -1)
    return total.reshape(n, c_out, out_h, out_w)
