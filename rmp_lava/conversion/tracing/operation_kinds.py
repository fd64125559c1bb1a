"""Which operations are activations or gates, however they are written: x * sigmoid(x) is one activation, x * sigmoid(y) a gate.

Both the recorded calls of a network and the graph that `rmp_lava.conversion.replacement` changes are read this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOVES = (
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "permute", "transpose", "t", "movedim", "moveaxis", "swapaxes",
    "swapdims", "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "getitem", "select", "slice", "narrow",
    "index_select", "flip", "expand", "expand_as", "unflatten", "channel_shuffle", "roll", "unsafe_view", "getattr",
    "repeat", "reshape_as", "view_as", "broadcast_to", "tile", "repeat_interleave", "unsafe_split", "unsafe_chunk",
    "index", "unsafe_index",
)  # fmt: skip
COPIES = (
    "contiguous", "clone", "detach", "alias", "to", "to_copy", "float", "half", "double", "bfloat16", "type", "type_as",
    "cuda", "cpu", "identity", "Identity", "requires_grad", "lift_fresh_copy", "lift_fresh", "positive", "pos",
)  # fmt: skip
SMOOTH = frozenset("silu gelu mish elu selu celu softplus softsign hardswish logsigmoid tanhshrink hardshrink".split())
"""Activations that clipped ReLUs may take the place of, by `key`."""
SATURATING = frozenset({"sigmoid", "tanh"})
"""Activations with an exact clipped form of their own: Hardsigmoid and Hardtanh."""
LEAKY = frozenset({"leakyrelu", "prelu", "rrelu"})
_GATES = SATURATING | {"hardsigmoid", "softmax", "relu6", "hardtanh", "clamp"}
_OTHERS = frozenset(
    "relu relu6 hardtanh hardsigmoid clamp clampmin clampmax threshold softshrink abs absolute neg add sub rsub mul div pow "
    "square sqrt rsqrt exp expm1 log log1p erf sin cos sign reciprocal".split()
)
_ELEMENTWISE = SMOOTH | SATURATING | LEAKY | _OTHERS


def key(name: str) -> str:
    """One name for a function and the module that calls it: leaky_relu, LeakyReLU."""
    return name.lower().replace("_", "")


_PASSING = frozenset(map(key, (*MOVES, *COPIES, "div", "mul")))


@dataclass(frozen=True)
class Operations:
    """Operations in their order: the `key` of each, and the numbers of those whose results it reads; constants are none."""

    names: Sequence[str]
    reads: Sequence[tuple[int, ...]]

    def root(self, number: int) -> int | None:
        """The nearest one of which operation `number` is a function, element by element; None if there is no single one."""
        open_ends = {number}
        while True:
            last = max(open_ends)
            if self.names[last] not in _ELEMENTWISE or not self.reads[last]:
                return None
            open_ends = open_ends - {last} | set(self.reads[last])
            if len(open_ends) == 1:
                return open_ends.pop()

    def gated(self, number: int) -> int | None:
        """The operand of a product that the other one, values between two bounds, lets through; None if it is no gate."""
        if self.names[number] != "mul" or len(self.reads[number]) != 2:
            return None
        gates = [self._is_gate(operand) for operand in self.reads[number]]
        return self.reads[number][gates.index(False)] if sum(gates) == 1 else None

    def _is_gate(self, number: int) -> bool:
        while self.names[number] in _PASSING and len(self.reads[number]) == 1:
            number = self.reads[number][0]
        return self.names[number] in _GATES
