"""ProcessModels of Lava's own Conv that compute by matrix products: the same integers as Lava's models, much sooner.

Lava's models (lava/proc/conv/models.py) convolve channel by channel with scipy. These copy each output's receptive
field into a row of a matrix (im2col, which was faster than a product per kernel element on PilotNet's layers) and
leave the sums to BLAS. PyTorch would hang here, in a process that was forked; numpy does not. Lava runs a process per
layer already: OMP_NUM_THREADS=1, which `rmp_lava.run` sets, keeps each from starting threads of its own.

For any Lava program, also one of `lava.lib.dl.netx`: pass the entry of `BLAS_CONV` for your number format to Lava,

    Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=BLAS_CONV["fixed_pt"])
"""

from __future__ import annotations

import numpy as np
from lava.proc.conv.models import PyConvModelFixed, PyConvModelFloat
from lava.proc.conv.process import Conv
from lava.proc.conv.utils import signed_clamp

ACCUMULATOR_BITS = 24
EXACT_IN_FLOAT32 = 2**24
_BLOCK_ELEMENTS = 2**20
"""Of the matrix of receptive fields that exists at a time: it stays in the cache, and bounded for any layer."""


class _BlasConv:
    """One step of Conv. Ports, Vars, tag and what it implements come from Lava's model, the other base class."""

    _seen: np.ndarray | None = None

    def run_spk(self) -> None:
        """Send the sums of the messages of the step before, then sum up this step's, as Lava's model does."""
        self.a_out.send(self.a_buf)
        messages = self.s_in.recv()
        if self.num_message_bits.item() == 0:
            messages = messages.astype(bool)
        if messages.any():
            self._follow_weight()
            self.a_buf = self.sums(messages)
        else:
            self.a_buf = np.zeros(self.a_buf.shape, dtype=self.weight.dtype)

    def sums(self, messages: np.ndarray) -> np.ndarray:
        """Of messages (W, H, C): (W_out, H_out, C_out) of the weight's dtype."""
        raise NotImplementedError

    def _follow_weight(self) -> None:
        """Bring the matrices up to date: Lava writes a Var in place, at any time, and tells nobody."""
        if self._seen is not None and np.array_equal(self._seen, self.weight):
            return
        self._seen = self.weight.copy()
        out_channels = len(self.weight)
        groups = int(self.groups[0])
        # Lava's convolution is a true one: the kernel is flipped. (C_out, W, H, C_in) -> (groups, W H C_in, C_out).
        flipped = self.weight[:, ::-1, ::-1].reshape(groups, out_channels // groups, -1).transpose(0, 2, 1)
        self._matrices = {dtype: np.ascontiguousarray(flipped, dtype=dtype) for dtype in (np.float32, np.float64)}
        self._largest_sum = np.abs(flipped.astype(np.float64)).sum(axis=1).max()

    def _convolve(self, messages: np.ndarray, dtype: type) -> np.ndarray:
        """Messages (W, H, C) with the weight, computed in `dtype`: (W_out, H_out, C_out)."""
        matrix = self._matrices[dtype]
        groups = len(matrix)
        fields = _receptive_fields(
            _padded(messages, self.padding, dtype),
            self.a_buf.shape[:2],
            *([int(n) for n in pair] for pair in (self.kernel_size, self.stride, self.dilation)),
        )
        result = np.empty((*fields.shape[:2], groups, matrix.shape[2]), dtype=dtype)
        columns = max(1, _BLOCK_ELEMENTS // fields[0].size)
        for x in range(0, len(fields), columns):
            block = fields[x : x + columns]
            part = result[x : x + columns]
            for group in range(groups):
                channels = slice(group * self.weight.shape[3], (group + 1) * self.weight.shape[3])
                rows = block[..., channels].reshape(-1, matrix.shape[1])
                part[:, :, group] = (rows @ matrix[group]).reshape(*part.shape[:2], -1)
        return result.reshape(*fields.shape[:2], -1)


def _padded(messages: np.ndarray, padding: np.ndarray, dtype: type) -> np.ndarray:
    (width, height, channels), (x, y) = messages.shape, (int(n) for n in padding)
    padded = np.zeros((width + 2 * x, height + 2 * y, channels), dtype=dtype)
    padded[x : x + width, y : y + height] = messages
    return padded


def _receptive_fields(
    padded: np.ndarray, shape: tuple[int, int], kernel: list[int], stride: list[int], dilation: list[int]
) -> np.ndarray:
    """View (W_out, H_out, kernel W, kernel H, C) of padded messages (W, H, C)."""
    x, y, channel = padded.strides
    return np.lib.stride_tricks.as_strided(
        padded,
        (*shape, *kernel, padded.shape[2]),
        (x * stride[0], y * stride[1], x * dilation[0], y * dilation[1], channel),
        writeable=False,
    )


class PyBlasConvFixed(_BlasConv, PyConvModelFixed):
    """Whole numbers, exact, wrapped to 24 signed bits; `weight_exp` is ignored, as in Lava's model."""

    def sums(self, messages: np.ndarray) -> np.ndarray:
        """In float32 where no sum of magnitudes can pass what it holds exactly, else in float64, as Lava's model does.

        Unlike the message bits, which Lava does not enforce, the largest message of the step is a bound.
        """
        largest = self._largest_sum * max(-float(messages.min()), float(messages.max()))
        sums = self._convolve(messages, np.float32 if largest < EXACT_IN_FLOAT32 else np.float64)
        sums = sums.astype(self.weight.dtype)
        return sums if largest < 2 ** (ACCUMULATOR_BITS - 1) else signed_clamp(sums, bits=ACCUMULATOR_BITS)


class PyBlasConvFloat(_BlasConv, PyConvModelFloat):
    """Real numbers in float64: those of Lava's model up to the rounding of a sum's order."""

    def sums(self, messages: np.ndarray) -> np.ndarray:
        return self._convolve(messages, np.float64)


BLAS_CONV = {"fixed_pt": {Conv: PyBlasConvFixed}, "floating_pt": {Conv: PyBlasConvFloat}}
"""By Lava's tag of the number format: what Lava's run configurations take as `exception_proc_model_map`."""
