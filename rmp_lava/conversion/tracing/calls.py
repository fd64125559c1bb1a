"""The form in which both front ends record a network: a list of calls with their results.

Calls are executed while they are recorded, on two images, so every shape is the one that PyTorch computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node
from torch.fx.node import map_arg
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from .modules import lowered


class UntraceableError(Exception):
    """A front end cannot follow the network; the message gives the reason."""


@dataclass(frozen=True)
class Ref:
    """The result of a call by its number; number 0 is the input."""

    number: int


@dataclass(frozen=True, eq=False)
class Call:
    """One operation on tensors that depend on the input.

    Parameters
    ----------
    op : str
        Name without underscores around it: "conv2d", "relu", "add"; or a module's class.
    layer : str
        Name for the user: the module's, or the calling module's followed by the function's.
    args, kwargs
        As in PyTorch; a `Ref` takes the place of a tensor that depends on the input.
    result
        From PyTorch: a tensor, or a tuple or list of tensors.
    run : callable
        The operation itself, `run(*args, **kwargs)`.
    given : tuple of (args, kwargs)
        The arguments of `run`, where they differ from `args` and `kwargs`: those of a module, not of its function.
    in_place : bool
        Whether its first argument is overwritten.
    """

    op: str
    layer: str
    args: tuple
    kwargs: Mapping[str, Any]
    result: Any
    run: Callable
    given: tuple[tuple, Mapping[str, Any]]
    in_place: bool = False

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    @property
    def first_result(self) -> Any:
        """The result, or the first one of several."""
        return self.result[0] if isinstance(self.result, (tuple, list)) else self.result


@dataclass(frozen=True, eq=False)
class Calls:
    """A network: `calls[i]` computes `Ref(i + 1)`, `values[i]` is the value of `Ref(i)` after the run.

    `output` holds the `Ref`s that the network returns; `images` is the input before any operation in place.
    """

    calls: tuple[Call, ...]
    values: tuple[Any, ...]
    output: Any
    images: torch.Tensor

    def again(self, substitutes: Mapping[int, Callable[..., Any]]) -> torch.Tensor:
        """The output of the same calls with functions in place of some of them, by `Ref` number; it must be one `Ref`."""
        values: list[Any] = [self.images.clone()]
        for number, call in enumerate(self.calls, 1):
            args, kwargs = tree_map(lambda leaf: values[leaf.number] if isinstance(leaf, Ref) else leaf, call.given)
            result = substitutes.get(number, call.run)(*args, **kwargs)
            if number in substitutes and call.in_place:
                result = args[0].copy_(result)
            values.append(result)
        output: torch.Tensor = values[self.output.number]
        return output


_NAMES = {
    "iadd": "add", "radd": "add", "isub": "sub", "subtract": "sub", "imul": "mul", "rmul": "mul", "multiply": "mul",
    "truediv": "div", "itruediv": "div", "true_divide": "div", "divide": "div", "negative": "neg", "clip": "clamp",
    "concat": "cat", "concatenate": "cat", "native_batch_norm_legit_no_training": "aten_batch_norm",
    "native_batch_norm_legit": "aten_batch_norm", "native_batch_norm_legit_functional": "aten_batch_norm",
    "native_dropout": "dropout", "prelu_kernel": "prelu", "logsigmoid": "log_sigmoid", "log_sigmoid_forward": "log_sigmoid",
    "upsample_nearest2d": "interpolate", "upsample_bilinear2d": "interpolate", "upsample_bicubic2d": "interpolate",
    "upsample_nearest1d": "interpolate", "upsample_linear1d": "interpolate", "upsample_nearest_exact2d": "interpolate",
    "upsample_nearest_exact1d": "interpolate",
    "max_pool2d_with_indices": "max_pool2d",
}  # fmt: skip
_DISPATCHED = {
    getattr(functional, name): name
    for name in ("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
                 "adaptive_max_pool3d", "fractional_max_pool2d", "fractional_max_pool3d")
}  # fmt: skip
"""Functions that PyTorch makes two of, with and without indices, under one name."""
_QUERIES = {"size", "shape", "dim", "ndim", "ndimension", "numel", "nelement", "len", "stride", "dtype", "device",
            "sym_size", "sym_numel", "is_floating_point", "is_cuda", "is_contiguous", "requires_grad", "layout",
            "isinstance", "type", "is_complex", "element_size", "is_sparse", "is_quantized", "assert",
            "assert_tensor_metadata"}  # fmt: skip
_CONSTANTS = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_tensor"}
_LIKE = {"to", "type_as", "expand_as", "view_as", "reshape_as"}
"""What takes only the shape or the type of its second argument."""
_KEYWORDS = {"axis": "dim", "keepdims": "keepdim", "x1": "input", "x2": "other"}
"""NumPy's names of arguments, which PyTorch accepts as well."""
_TRUSTED = {"torch", "_operator", "operator", "builtins", "math"}
_OVERWRITING = {"iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor", "imatmul"}


def canonical(target: Any) -> str:
    """One name for all spellings of an operation: a method's name, a function, an overload of `torch.ops`."""
    if isinstance(target, torch._ops.OpOverload):
        name = target._schema.name.split("::")[1]
        name = f"aten_{name}" if name in ("batch_norm", "instance_norm") else name
    elif isinstance(target, str):
        name = target
    elif target in _DISPATCHED:
        name = _DISPATCHED[target]
    else:
        name = getattr(target, "__name__", type(target).__name__)
        home = getattr(target, "__module__", None) or "torch"
        if target is torch.batch_norm:
            name = "aten_batch_norm"
        if home.split(".")[0] not in _TRUSTED:
            return "stochastic_depth" if name == "stochastic_depth" else f"function {name}"
    name = name.strip("_")
    return _NAMES.get(name, name)


def record(
    graph: Graph,
    given: Mapping[Node, Any],
    source: Node,
    attribute: Callable[[Node], Any],
    layer: Callable[[Node], str],
) -> Calls:
    """Run a graph node by node and record the calls that depend on the input.

    Parameters
    ----------
    graph : torch.fx.Graph
    given : mapping
        The values of all placeholders.
    source : torch.fx.Node
        The placeholder that is the input.
    attribute : callable
        The tensor of a `get_attr` node, or the module of a `call_module` node.
    layer : callable
        The name of a call for the user.
    """
    values, refs, kept = dict(given), {source: Ref(0)}, [given[source]]
    images = given[source].clone()
    calls: list[Call] = []
    output: Any = None
    for node in graph.nodes:
        if node.op == "placeholder":
            continue
        if node.op == "get_attr":
            values[node] = attribute(node)
            continue
        if node.op == "output":
            output = map_arg(node.args[0], lambda n: refs.get(n, values[n]))
            continue
        op, run = _operation(node, attribute)
        args, kwargs = (map_arg(part, values.__getitem__) for part in (node.args, node.kwargs))
        values[node] = result = run(*args, **kwargs)
        query = op in _QUERIES or op == "getattr" and args[1] in _QUERIES
        if query and not any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
            continue
        if not _reads_values(node, op, refs):
            continue
        args, kwargs = (map_arg(part, lambda n: refs.get(n, values[n])) for part in (node.args, node.kwargs))
        refs[node] = Ref(len(kept))
        kept.append(result)
        calls.append(_call(node, op, run, layer(node), args, kwargs, result))
    return Calls(tuple(calls), tuple(kept), output, images)


def _reads_values(node: Node, op: str, refs: Mapping[Node, Ref]) -> bool:
    """Whether a call reads the values of a tensor that depends on the input, and not only its shape or type."""
    if op in _CONSTANTS or op in _LIKE and node.args and node.args[0] not in refs:
        return False
    return any(n in refs for n in node.all_input_nodes)


def _call(node: Node, op: str, run: Callable, layer: str, args: tuple, kwargs: Mapping[str, Any], result: Any) -> Call:
    """The call of a node; of a module that calls one function, the call of this function."""
    given = (tuple(args), dict(kwargs))
    kwargs = {_KEYWORDS.get(name, name): value for name, value in kwargs.items()}
    if not isinstance(run, nn.Module):
        return Call(op, layer, tuple(args), kwargs, result, run, given, _overwrites(node.target, op, args, kwargs))
    function = lowered(run, args, kwargs)
    if function is not None:
        (op, args), kwargs = function, {}
    return Call(op, layer, tuple(args), kwargs, result, run, given, bool(getattr(run, "inplace", False)))


def _operation(node: Node, attribute: Callable[[Node], Any]) -> tuple[str, Callable]:
    if node.op == "call_module":
        module = attribute(node)
        quantised = ".quantized." in type(module).__module__
        return f"quantized {type(module).__name__}" if quantised else type(module).__name__, module
    target = node.target
    if isinstance(target, str):  # call_method
        method = target
        return canonical(target), lambda x, *args, **kwargs: getattr(x, method)(*args, **kwargs)
    return canonical(target), target


def _overwrites(target: Any, op: str, args: tuple, kwargs: Mapping) -> bool:
    """Whether an operation changes its first argument: by its name, or by a flag, which may be positional."""
    spelling = target if isinstance(target, str) else getattr(target, "__name__", "")
    if isinstance(target, torch._ops.OpOverload):
        spelling = target._schema.name
    if spelling.strip("_") in _OVERWRITING or spelling.endswith("_") and not spelling.endswith("__"):
        return True
    place = {"relu": 1, "relu6": 1, "hardtanh": 3, "dropout": 3}.get(op, len(args))
    return bool(kwargs.get("inplace")) or len(args) > place and args[place] is True
