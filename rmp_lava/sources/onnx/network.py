"""An ONNX graph as a PyTorch network, one module for each node that depends on the image.

Everything else is computed while the graph is read: weights that are made from other weights, and the shapes that exporters
write as operations. Nodes are tried on device "meta" first, which computes shapes and takes no memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...conversion.tracing.modules import OneOperation
from ...errors import CheckpointError, UsageError, abridged, first_line
from ...training.torch_file import MAX_BYTES
from .file import dtype_of, read_proto, tensor_of
from .node import Function, Node
from .operators import ANY_LAYOUT, OF_CONSTANTS, OPERATORS, UNCHANGED

_BATCH = 3
"""Images with which shapes are computed, where a file takes any number."""
_MOST_VALUES = 2**28
_MOST_PARTS, _LONGEST_PART = 16, 60
_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)
"""Orders of axes that move the channels of images to the front, as PyTorch has them, and to the end, as TensorFlow has them."""


class OnnxNetwork(nn.Module):
    """The network of an ONNX graph.

    Attributes
    ----------
    shape : tuple of int
        Of one image, channels first.
    """

    def __init__(self, shape: tuple[int, ...], steps: Sequence[_Step], output: str) -> None:
        super().__init__()
        self.shape = shape
        last = {name: step for step in steps for name in step.inputs}
        self._steps = [
            (
                step.path,
                step.inputs,
                step.outputs,
                [name for name in step.inputs if last[name] is step and name != output],
            )
            for step in steps
        ]
        self._input, self._output = steps[0].inputs[0] if steps else output, output
        for step in steps:
            _place(self, step.path, step.module)

    def forward(self, image: Tensor) -> Tensor:
        """The output for (N, *shape) images."""
        values: dict[str, Any] = {self._input: image}
        for path, inputs, outputs, unneeded in self._steps:
            result = self.get_submodule(path)(*(values[name] for name in inputs))
            for name in set(unneeded):
                del values[name]
            values |= {outputs[0]: result} if len(outputs) == 1 else {n: result[i] for i, n in enumerate(outputs)}
        found: Tensor = values[self._output]
        return found


class _Operation(OneOperation):
    """One node: a function, and its constants."""

    def __init__(self, function: Function, operands: Sequence[Tensor]) -> None:
        super().__init__()
        self._function = function
        names = ("input", "weight", "bias", *(f"constant{i}" for i in range(3, len(operands))))
        self._names = ["" if value.is_meta else name for name, value in zip(names, operands, strict=False)]
        for name, value in zip(self._names, operands, strict=True):
            if name:
                self.register_buffer(name, value)

    def forward(self, *operands: Any) -> Any:
        given = iter(operands)
        return self._function(*(getattr(self, name) if name else next(given) for name in self._names))


@dataclass(frozen=True, eq=False)
class _Step:
    """A node that depends on the image: its module, and the names of the values that it reads and makes."""

    path: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_network(path: Path, shape: tuple[int, ...] | None = None) -> OnnxNetwork:
    """The network of an ONNX file.

    Parameters
    ----------
    path : Path
    shape : tuple of int, optional
        Of one image, required where the file leaves it open.

    Raises
    ------
    CheckpointError, UsageError
        As `rmp_lava.sources.onnx.file.read_proto` does; if the graph has several inputs or outputs or no fixed shape, contains
        operators that are not known, or contradicts itself.
    """
    model = read_proto(path)
    unknown = {
        node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}": 0
        for node in model.graph.node
    }
    known = {*OPERATORS, *OF_CONSTANTS, "Constant", "Shape", "Size"}
    strange = [repr(name[:_LONGEST_PART]) for name in unknown if name not in known]
    if strange:
        raise CheckpointError(
            f"{path} has operators that are not known here ({abridged(strange, 5)}); build the network from convolutions, dense "
            "layers, ReLU, batch normalisation, pooling, additions and concatenations, and export it again"
        )
    return _Reading(path, model, shape).network()


class _Reading:
    """The values of a graph while its nodes are read in order.

    Values that depend on the image are on device "meta", with shapes only. `names` tells which value another name stands for, and
    `first` which value with channels first an image with channels last is computed from, if it is needed.
    """

    def __init__(self, path: Path, model: Any, shape: tuple[int, ...] | None) -> None:
        self.path, self.graph = path, model.graph
        self.opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
        self.values: dict[str, Tensor] = {}
        self.names: dict[str, str] = {}
        self.first: dict[str, str] = {}
        self.rounded: dict[str, tuple[str, list[str]]] = {}
        self.bytes = 0
        for tensor in self.graph.initializer:
            self._keep(tensor.name, self._checked(f"weights {tensor.name[:_LONGEST_PART]!r}", tensor_of, tensor))
        self.source, self.shape = self._input(shape)
        self.steps: list[_Step] = []
        self.paths: set[str] = set()

    def network(self) -> OnnxNetwork:
        if len(self.graph.output) != 1:
            raise CheckpointError(
                f"{self.path} has {len(self.graph.output)} outputs; export a network that returns one tensor"
            )
        for proto in self.graph.node:
            where = f"node {(proto.name or next(iter(proto.output), ''))[:_LONGEST_PART]!r} ({proto.op_type})"
            self._checked(where, self._read, proto)
        output = self.names.get(self.graph.output[0].name, self.graph.output[0].name)
        if output not in self.values or not self.values[output].is_meta or not self.steps:
            raise CheckpointError(
                f"{self.path} has output {output[:_LONGEST_PART]!r}, which does not depend on its input; export the network again"
            )
        self._move_channels(output)
        return OnnxNetwork(self.shape, self.steps, output)

    def _checked(self, where: str, read: Any, proto: Any) -> Any:
        """What a function makes of a part of the file; whatever it raises is an error of that part."""
        try:
            return read(proto)
        except CheckpointError:
            raise
        except Exception as error:  # PyTorch, NumPy and ONNX raise errors of many kinds on contradictory parts
            reason = first_line(error)
            raise CheckpointError(
                f"{self.path} cannot be read at {where}: {reason[:200]}{'' if ';' in reason else '; export the network again'}"
            ) from None

    def _input(self, given: tuple[int, ...] | None) -> tuple[str, tuple[int, ...]]:
        """Name of the input, and shape of one image, channels first also where the graph has them last."""
        inputs = [each for each in self.graph.input if each.name not in self.values]
        if len(inputs) != 1:
            raise CheckpointError(f"{self.path} has {len(inputs)} inputs; export a network that takes the image only")
        kind, name = inputs[0].type.tensor_type, inputs[0].name
        batch, *sizes = [dim.dim_value for dim in kind.shape.dim] or [0]
        is_last = len(sizes) == 3 and self._moves_channels(name)
        shape = self._image_shape((sizes[2], *sizes[:2]) if is_last else tuple(sizes), given)
        batch = batch if batch > 0 else _BATCH
        make = lambda dtype: torch.empty((batch, *shape), dtype=dtype_of(dtype), device="meta")  # noqa: E731
        image = self._checked("its input", make, kind.elem_type)
        if image.numel() > batch * _MOST_VALUES:
            raise CheckpointError(
                f"{self.path} takes images of shape {shape}, which is too large; export the network again"
            )
        source = name
        if is_last:
            self.first[name] = source = f"{name} with channels first"
            self.values[name] = image.permute(_LAST)
        self.values[source] = image
        return source, shape

    def _image_shape(self, shape: tuple[int, ...], given: tuple[int, ...] | None) -> tuple[int, ...]:
        """The shape of one image in the file, or the given one where the file leaves sizes open, which are 0."""
        if given is not None and shape:
            fits = len(given) == len(shape) and all(n in (0, m) for n, m in zip(shape, given, strict=True))
            if not fits:
                text = ", ".join(str(n or "any") for n in shape)
                raise UsageError(
                    f"{self.path} takes images of shape ({text}), but {given} is given; pass one that fits"
                )
        if shape and min(shape) >= 1:
            return shape
        if given is None:
            raise UsageError(
                f"{self.path} does not say which shape an image has; pass it, for example --shape 3,32,32, or from Python "
                "load_trained(file, shape=(3, 32, 32))"
            )
        return given

    def _moves_channels(self, name: str) -> bool:
        """Whether a graph moves the channels of a value to the front before it does anything else than to each pixel."""
        for node in self.graph.node:
            if name not in node.input:
                continue
            if node.op_type == "Transpose":
                return tuple(Node(node, [], self.opset).numbers("perm") or ()) == _FIRST
            if node.op_type not in ANY_LAYOUT | UNCHANGED:
                return False
            name = node.output[0]
        return False

    def _keep(self, name: str, value: Tensor) -> None:
        self.bytes += value.numel() * value.element_size()
        if self.bytes > MAX_BYTES:
            raise CheckpointError(f"{self.path} has weights of more than {MAX_BYTES:,} bytes, which is the limit")
        self.values[name] = value

    def _read(self, proto: Any) -> None:
        inputs = [self.names.get(name, name) for name in proto.input]
        missing = next((name for name in inputs if name and name not in self.values), None)
        if missing is not None:
            raise ValueError(f"its input {missing[:_LONGEST_PART]!r} is not computed before it")
        operands = [self.values[name] if name else None for name in inputs]
        if proto.op_type in ("Constant", "Shape", "Size"):
            self._keep(proto.output[0], _known(Node(proto, operands, self.opset)))
            return
        images = [name for name, value in zip(inputs, operands, strict=True) if value is not None and value.is_meta]
        if proto.op_type == "DequantizeLinear" and images:
            self._multiply_back(inputs, proto.output[0])
        elif images and images[0] in self.rounded:
            raise ValueError("it computes with rounded integers; dequantise them with DequantizeLinear first")
        elif proto.op_type in OF_CONSTANTS and images:
            raise ValueError("it depends on the image; write the network without it")
        elif not (images and self._renames(proto, images[0])):
            self._compute(proto, inputs, images)

    def _renames(self, proto: Any, image: str) -> bool:
        """Whether a node gives another name to a value only, or moves channels to where they are already or need not be."""
        if proto.op_type in UNCHANGED:
            node = Node(proto, [self.values[image]], self.opset)
            same = node.op != "Cast" or dtype_of(int(node.attribute("to"))) == self.values[image].dtype
            if same:
                self.names[proto.output[0]] = image
            return same
        if proto.op_type != "Transpose" or self.values[image].ndim != 4:
            return False
        order = tuple(Node(proto, [], self.opset).numbers("perm") or ())
        if order == _FIRST and image in self.first:
            self.names[proto.output[0]] = self.first[image]
        elif order == _LAST and image not in self.first:
            self.first[proto.output[0]] = image
            self.values[proto.output[0]] = self.values[image].permute(_LAST)
        else:
            return False
        return True

    def _compute(self, proto: Any, inputs: list[str], images: list[str]) -> None:
        """Apply a node's operator: at once if it does not depend on the image, else as a step of the network."""
        is_last = bool(images) and all(name in self.first for name in images) and self._any_layout(proto)
        if is_last:
            inputs = [self.first.get(name, name) for name in inputs]
        else:
            for name in images:
                self._move_channels(name)
        operands = [self.values[name] if name else None for name in inputs]
        if is_last:
            operands = [None if value is None else value if value.is_meta else _to_front(value) for value in operands]
        node = Node(proto, operands, self.opset, _LAST if is_last else None)
        function = (OPERATORS.get(node.op) or OF_CONSTANTS[node.op])(node)
        if node.unread():
            raise ValueError(f"it has the attribute {abridged(node.unread(), 1)}, which is not supported")
        given = [value for value in node.operands if value is not None]
        names, results = self._shaped(proto, function, given, bool(images))
        if not images:
            for name, value in zip(names, _listed(function(*given)), strict=False):
                self._keep(name, value)
            return
        if node.op == "QuantizeLinear":
            names = [f"{proto.output[0]} dequantised"]
            self.rounded[proto.output[0]] = (names[0], inputs[1:])
            self.values[proto.output[0]] = results[0]
        if is_last and results[0].ndim == 4:
            self.first[names[0]] = held = f"{names[0]} with channels first"
            self.values[names[0]] = results[0].permute(_LAST)
            names = [held]
        self.values |= zip(names, results, strict=False)
        used = [name for name in inputs if name and self.values[name].is_meta]
        self._add(self._path(proto), _Operation(function, given), used, names)

    def _shaped(
        self, proto: Any, function: Function, given: list[Tensor], of_images: bool
    ) -> tuple[list[str], list[Tensor]]:
        """Names of a node's results, and the results on device "meta", which has shapes only."""
        # PyTorch does not know there that a quantisation keeps shapes.
        keeps = proto.op_type == "QuantizeLinear"
        results = _listed(given[0] if keeps else function(*(value.to("meta") for value in given)))
        names = [name for name in proto.output if name]
        if any(name in other.input for other in self.graph.node for name in names[len(results) :]):
            raise ValueError(
                f"its result {names[len(results)][:_LONGEST_PART]!r} is used, but only the first is supported"
            )
        batches = [max(len(value), 1) if of_images and value.ndim else 1 for value in results]
        if max(value.numel() // batch for value, batch in zip(results, batches, strict=True)) > _MOST_VALUES:
            raise ValueError(f"its result has shape {tuple(results[0].shape)}, which is too large")
        return names[: len(results)], results

    def _any_layout(self, proto: Any) -> bool:
        """Whether an operator may be applied to channels first in place of channels last."""
        if not proto.op_type.startswith("Reduce"):
            return proto.op_type in ANY_LAYOUT
        operands = [None, *(self.values.get(name) for name in proto.input[1:])]
        axes = Node(proto, operands, self.opset).numbers("axes", 1) or []
        return sorted(axis % 4 for axis in axes) == [1, 2]

    def _move_channels(self, name: str) -> None:
        """Compute an image with channels last from the one with channels first, as something needs it."""
        if name in self.first:
            path, first = self._free(f"Transpose_{len(self.steps)}"), self.first.pop(name)
            self._add(path, _Operation(lambda x: x.permute(_LAST), [self.values[first]]), [first], [name])

    def _add(self, path: str, module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.steps.append(_Step(path, module, tuple(inputs), tuple(outputs)))

    def _multiply_back(self, inputs: list[str], output: str) -> None:
        """Integers that `QuantizeLinear` made have been multiplied by their scale already."""
        value, parameters = self.rounded.get(inputs[0], ("", []))
        pairs = [(self.values.get(a), self.values.get(b)) for a, b in zip(parameters, inputs[1:], strict=False)]
        same = all(a is not None and b is not None and torch.equal(a, b) for a, b in pairs)
        if not value or len(parameters) != len(inputs[1:]) or not same:
            raise ValueError("it does not undo a QuantizeLinear of the same scale")
        self.names[output] = value

    def _path(self, proto: Any) -> str:
        """A name for the user that no other node has: that of the module which PyTorch exported, where it is told."""
        weight = next((name for name in proto.input if name.endswith(".weight") and name in self.values), "")
        parts = [part for part in proto.name.split("/") if part]
        if weight:
            name = weight.removesuffix(".weight")
        elif len(parts) > 1 and re.fullmatch(rf"{re.escape(proto.op_type)}(_\d+)?", parts[-1]):
            scopes = parts[:-1]  # each names its container again, as in /layer1/layer1.0/conv1/Conv
            name = ".".join(a for a, b in zip(scopes, [*scopes[1:], ""], strict=True) if not b.startswith(f"{a}."))
        else:
            name = "_".join(parts)
        pieces = [re.sub(r"[^\w-]", "_", piece)[:_LONGEST_PART] for piece in name.split(".") if piece]
        pieces = ["_".join(pieces)[:_LONGEST_PART]] if len(pieces) > _MOST_PARTS else pieces
        path = (
            ".".join(f"{piece}_" if hasattr(nn.Module, piece) or piece in _TAKEN else piece for piece in pieces)
            or proto.op_type
        )
        if path in self.paths and not weight and parts[-1:] != pieces[-1:]:
            path = f"{path}.{proto.op_type}"
        return self._free(path)

    def _free(self, path: str) -> str:
        free, count = path, 1
        while free in self.paths:
            count += 1
            free = f"{path}_{count}"
        self.paths.add(free)
        return free


_TAKEN = {"input", "weight", "bias", "shape", *vars(nn.Module())}
"""Names of attributes that no module below may have."""


def _listed(results: Any) -> list[Tensor]:
    return list(results) if isinstance(results, (tuple, list)) else [results]


def _to_front(constant: Tensor) -> Tensor:
    """A constant that is applied to images with channels last, for images with channels first."""
    if constant.ndim == 0 or constant.numel() == 1:
        return constant
    return constant[(None,) * (4 - constant.ndim)].permute(_FIRST)


def _known(node: Node) -> Tensor:
    """The value of a `Constant`, or the shape or size of another value."""
    if node.op == "Shape":
        shape = tuple(node.image.shape)
        start, end = node.attribute("start", 0), node.attribute("end", len(shape))
        return torch.tensor(shape[start:end], dtype=torch.int64)
    if node.op == "Size":
        return torch.tensor(node.image.numel())
    value = node.attribute("value")
    if value is not None:
        return tensor_of(value)
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        given = node.attribute(name)
        if given is not None:
            return torch.tensor(given, dtype=torch.float32 if "float" in name else torch.int64)
    raise ValueError("it has no value of a supported type")


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at its place below others, which are made where there is none; it keeps what is below its own place."""
    *above, name = path.split(".")
    for part in above:
        below = root._modules.get(part)
        if below is None:
            below = nn.Module()
            root.add_module(part, below)
        root = below
    existing = root._modules.get(name)
    if existing is not None:
        for child, value in existing.named_children():
            module.add_module(child, value)
    root.add_module(name, module)
