"""One node of an ONNX graph: its operands, and its attributes in the forms that operator sets 7 to 24 have for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

Function = Callable[..., Any]


class Node:
    """One node of a graph while it is read.

    Attributes
    ----------
    op : str
        Operator.
    operands : list of torch.Tensor or None
        What the function is applied to, in ONNX's order: constants, and tensors on device "meta" that depend on the image; None
        where the graph leaves one out. An operator's function may replace a constant, or remove operands that it has read.
    opset : int
        Version of the operators.
    outputs : int
        Number of results that the graph names.
    order : tuple of int
        For each axis that the graph speaks of, the operands' axis: they have channels first also where the graph has them last.
    """

    def __init__(
        self, proto: Any, operands: Sequence[Tensor | None], opset: int, order: tuple[int, ...] | None = None
    ) -> None:
        from onnx import helper

        self.op: str = proto.op_type
        self.operands = list(operands)
        self.opset = opset
        self.outputs = len(proto.output)
        self.order = order or tuple(
            range(self.operands[0].ndim if self.operands and self.operands[0] is not None else 0)
        )
        self._attributes = {each.name: helper.get_attribute_value(each) for each in proto.attribute}

    @property
    def image(self) -> Tensor:
        """The first operand."""
        if not self.operands or self.operands[0] is None:
            raise ValueError("it has no input")
        return self.operands[0]

    @property
    def axes(self) -> int:
        """Number of axes after batch and channels."""
        return self.image.ndim - 2

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, which counts as read from then on."""
        value = self._attributes.pop(name, default)
        if isinstance(value, bytes):
            return value.decode()
        # Written as float32: the shortest decimal number is the one that was meant, such as 0.01.
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def unread(self) -> list[str]:
        """Names of attributes that no one has asked for."""
        return list(self._attributes)

    def constant(self, position: int) -> Tensor | None:
        """An operand that must not depend on the image; None if it is left out."""
        value = self.operands[position] if position < len(self.operands) else None
        if value is not None and value.is_meta:
            raise ValueError(f"its input {position + 1} depends on the image, but only constants are supported there")
        return value

    def numbers(self, name: str, position: int | None = None) -> list[int] | None:
        """Integers from an attribute, or, in newer operator sets, from a constant operand, which is taken away."""
        value = self.attribute(name)
        if value is None and position is not None and (tensor := self.constant(position)) is not None:
            self.operands[position] = None
            return [int(n) for n in tensor.reshape(-1).tolist()]
        return None if value is None else [int(n) for n in value]

    def number(self, name: str, position: int, default: float | None) -> float | None:
        """The same for a single real number."""
        value = self.attribute(name)
        if value is None and (tensor := self.constant(position)) is not None:
            self.operands[position] = None
            return float(tensor.reshape(()))
        return default if value is None else float(value)

    def axis(self, default: int) -> int:
        """The attribute `axis`, as an axis of the operands."""
        return self.order[int(self.attribute("axis", default)) % self.image.ndim]

    def padding(self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
        """Padding (before, after) each axis of an image, from `pads` or `auto_pad`."""
        pads, auto = self.numbers("pads"), self.attribute("auto_pad", "NOTSET")
        if auto == "NOTSET":
            pads = pads or [0] * 2 * len(kernel)
            if len(pads) != 2 * len(kernel) or min(pads) < 0:
                raise ValueError(f"its pads are {pads}")
            return list(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True))
        if auto == "VALID":
            return [(0, 0)] * len(kernel)
        if auto not in ("SAME_UPPER", "SAME_LOWER"):
            raise ValueError(f"its auto_pad is {auto!r}")
        found = []
        for n, k, s, d in zip(self.image.shape[2:], kernel, stride, dilation, strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            less, more = total // 2, total - total // 2
            found.append((less, more) if auto == "SAME_UPPER" else (more, less))
        return found


def flat(padding: Sequence[tuple[int, int]]) -> list[int]:
    """Padding of axes in the order of `torch.nn.functional.pad`: from the last axis."""
    return [n for pair in reversed(padding) for n in pair]


def identity(x: Tensor) -> Tensor:
    return x
