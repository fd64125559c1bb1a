"""ProcessModels of Lava's own Conv that use matrix products: the same integers as Lava's models, much faster.

Lava's models (lava/proc/conv/models.py) convolve channel by channel with scipy. These copy each output's receptive
field into a row of a matrix (im2col, which was faster than a product per kernel element on PilotNet's layers) and leave
the sums to BLAS. PyTorch would hang in this forked process; numpy does not. Lava already runs one process per layer:
OMP_NUM_THREADS=1, which `rmp_lava.run` sets, keeps each from starting threads.

They work in any Lava program, including those of `lava.lib.dl.netx`. Pass the entry of `BLAS_CONV` for the number format to Lava:

    Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=BLAS_CONV["fixed_pt"])

They lie in a folder of their own, as Lava executes every file next to a Process.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.proc.conv.models import PyConvModelFixed, PyConvModelFloat
from lava.proc.conv.process import Conv
from lava.proc.conv.utils import signed_clamp

Real = type[np.float32] | type[np.float64]
ACCUMULATOR_BITS = 24
EXACT_IN_FLOAT32 = 2**24
_BLOCK_ELEMENTS = 2**20
"""Of the matrix of receptive fields in memory at a time, so that it fits the cache and is bounded for any layer."""


class _BlasConv:
    """One step of Conv. Ports, Vars and tags come from Lava's model, the other base class."""

    s_in: PyInPort
    a_out: PyOutPort
    a_buf: np.ndarray
    weight: np.ndarray  # (C_out, W, H, C_in / groups)
    kernel_size: np.ndarray
    stride: np.ndarray
    padding: np.ndarray
    dilation: np.ndarray
    groups: np.ndarray
    num_message_bits: np.ndarray
    _seen: np.ndarray | None = None

    def run_spk(self) -> None:
        """Send the sums of the previous step's messages, then compute this step's, as Lava's model does."""
        self.a_out.send(self.a_buf)
        messages = self.s_in.recv()
        if self.num_message_bits.item() == 0:
            messages = messages.astype(np.bool_)
        if messages.any():
            self._follow_weight(messages.shape[-1])
            self.a_buf = self.sums(messages)
        else:
            self.a_buf = np.zeros(self.a_buf.shape, dtype=self.weight.dtype)

    def sums(self, messages: np.ndarray) -> np.ndarray:
        """Weighted sums (W_out, H_out, C_out) of messages (W, H, C), of the weight's dtype."""
        raise NotImplementedError

    def _follow_weight(self, channels: int) -> None:
        """Update the matrices for messages of so many channels: Lava may write a Var in place at any time, without notice."""
        if self._seen is not None and np.array_equal(self._seen, self.weight):
            return
        self._seen = self.weight.copy()
        out_channels = len(self.weight)
        # Not from the Vars of groups and kernel size, which are 8-bit integers in Lava: 256 groups would be 0.
        groups = channels // self.weight.shape[3]
        # Lava computes a true convolution: the kernel is flipped. (C_out, W, H, C_in) -> (groups, W H C_in, C_out).
        flipped = self.weight[:, ::-1, ::-1].reshape(groups, out_channels // groups, -1).transpose(0, 2, 1)
        dtypes: tuple[Real, ...] = (np.float32, np.float64)
        self._matrices = {dtype: np.ascontiguousarray(flipped, dtype=dtype) for dtype in dtypes}
        self._largest_sum = np.abs(flipped.astype(np.float64)).sum(axis=1).max()

    def _convolve(self, messages: np.ndarray, dtype: Real) -> np.ndarray:
        """Weighted sums (W_out, H_out, C_out) of messages (W, H, C), computed in `dtype`."""
        matrix = self._matrices[dtype]
        groups = len(matrix)
        padded = np.pad(messages.astype(dtype), [(n, n) for n in (*self.padding, 0)])
        window = self.dilation * (np.array(self.weight.shape[1:3]) - 1) + 1
        (sx, sy), (dx, dy) = self.stride, self.dilation
        fields = np.lib.stride_tricks.sliding_window_view(padded, (*window, 1))[::sx, ::sy, :, ::dx, ::dy, 0]
        fields = np.moveaxis(fields, 2, -1)  # (W_out, H_out, kernel W, kernel H, C)
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


class PyBlasConvFixed(_BlasConv, PyConvModelFixed):
    """Integers, exact, wrapped to 24 signed bits; `weight_exp` is ignored, as in Lava's model."""

    def sums(self, messages: np.ndarray) -> np.ndarray:
        """In float32 if no sum of magnitudes can exceed what it represents exactly, otherwise in float64, as in Lava's model.

        The bound comes from the largest message of the step, because Lava does not enforce the message bits.
        """
        largest = self._largest_sum * max(-float(messages.min()), float(messages.max()))
        sums = self._convolve(messages, np.float32 if largest < EXACT_IN_FLOAT32 else np.float64)
        sums = sums.astype(self.weight.dtype)
        return sums if largest < 2 ** (ACCUMULATOR_BITS - 1) else signed_clamp(sums, bits=ACCUMULATOR_BITS)


class PyBlasConvFloat(_BlasConv, PyConvModelFloat):
    """Real numbers in float64; they differ from those of Lava's model by the order of summation only."""

    def sums(self, messages: np.ndarray) -> np.ndarray:
        return self._convolve(messages, np.float64)


BLAS_CONV = {"fixed_pt": {Conv: PyBlasConvFixed}, "floating_pt": {Conv: PyBlasConvFloat}}
"""Lava's tag of the number format -> `exception_proc_model_map` of its run configurations."""
