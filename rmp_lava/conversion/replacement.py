"""Put operations that spiking neurons compute, or compute with fewer neurons, in the place of others in a PyTorch network.

| kind | what | replaced by |
|---|---|---|
| activations | SiLU, GELU, Hardswish, ELU, Mish, Softplus, SELU, CELU, also written out: x * sigmoid(x) | clipped ReLU |
| | sigmoid and tanh inside the network | Hardsigmoid, Hardtanh |
| gates | a product with a sigmoid, a softmax or a clipped ReLU, as of squeeze and excitation; GLU | the other factor |
| leaky-relu | leaky ReLU, PReLU, RReLU | clipped ReLU |
| max-pooling | maximum pooling, also adaptive, without dilation | average pooling |

Modules and functions in forward are found in the graph that `torch.fx` makes of a copy; where it cannot follow forward, modules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from ..choices import Replaced, check_choice, listed, options
from ..encoding import pixel_values
from ..errors import ConversionError, UsageError, first_line
from .check import check
from .spike_activations import ActivationScale
from .tracing import modules
from .tracing.calls import canonical
from .tracing.endings import AT_THE_END
from .tracing.fx_front import defaults_of
from .tracing.operation_kinds import LEAKY, SATURATING, SMOOTH, Operations, key
from .tracing.prepared import Prepared
from .tracing.reading import Model
from .tracing.undisturbed import plain_copy, tensor_like

_CLIPPED = "clipped ReLU"


class ClippedReLU(nn.Module):
    """relu(x) up to a ceiling that is trained; the ceiling starts at the largest input of the first images."""

    def __init__(self) -> None:
        super().__init__()
        self.ceiling = ActivationScale(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.minimum(functional.relu(x), self.ceiling())


@dataclass(frozen=True)
class Change:
    """One operation that was replaced: the layer, what it was, and what it is."""

    layer: str
    was: str
    now: str


def replaced(model: Model, kinds: Collection[Replaced], images: np.ndarray) -> tuple[nn.Module, tuple[Change, ...]]:
    """A copy of a network with other operations, in evaluation mode and not trained yet, and what was changed.

    Parameters
    ----------
    model : torch.nn.Module
        Not changed.
    kinds : collection of {"activations", "gates", "leaky-relu", "max-pooling"}
    images : numpy.ndarray
        (N, *input shape) in [0, 1] or uint8 pixels, on which the ceilings of clipped ReLUs are observed.

    Raises
    ------
    UsageError
        If a kind is unknown, if there is nothing of these kinds, or if the network is an exported program.
    ConversionError
        If other obstacles remain.
    """
    for kind in kinds:
        check_choice("replace", kind, Replaced)
    changed, changes, untraceable = _changed(model, kinds, images)
    if not changes:
        others = f"others are {listed(Replaced)}" if len(set(kinds)) < len(options(Replaced)) else "convert it as it is"
        raise UsageError(
            f"replace is {', '.join(kinds)}, but the network has nothing of the kind to replace{untraceable}; {others}"
        )
    obstacles = check(changed, np.minimum(images[:2], 1) if images.dtype.kind == "f" else images[:2]).obstacles
    if obstacles:
        listed_obstacles = "; ".join(each.sentence() for each in obstacles)
        raise ConversionError(
            f"the network cannot be converted after {len(changes)} replacements{untraceable}: {listed_obstacles}"
        )
    return changed, tuple(changes)


def _changed(model: Model, kinds: Collection[Replaced], images: np.ndarray) -> tuple[nn.Module, list[Change], str]:
    """The copy, its changes, and why functions in forward are not among them; `images` as the network takes them."""
    if isinstance(model, Prepared):
        changed, changes, untraceable = _changed(model.trained, kinds, model.prepare(pixel_values(images)))
        return Prepared(changed, model.shape, model.scale, model.shift).eval(), changes, untraceable
    if isinstance(model, ExportedProgram):
        raise UsageError(
            "replace needs the modules of a network, but an exported program was given, which is for inference; pass the "
            "torch.nn.Module that it was made from"
        )
    copied, untraceable = plain_copy(model), ""
    try:
        traced = fx.GraphModule(copied, _Tracer().trace(copied, defaults_of(copied) or None))
    except Exception as error:  # any error of the network's own code, on a proxy
        changed, changes = copied, _change_modules(copied, kinds)
        untraceable = f"; functions in forward are not replaced, as torch.fx cannot follow it ({first_line(error)})"
    else:
        changed, changes = traced, _Graph(traced, kinds).change()
    _observe(changed, images)
    return changed, changes, untraceable


def _replacement(name: str, module: nn.Module | None, kinds: Collection[Replaced]) -> tuple[nn.Module, str] | None:
    """The module in place of an activation or a module, and what it is; None if it stays. `name` is its `key`."""
    if (name in SMOOTH and "activations" in kinds) or (name in LEAKY and "leaky-relu" in kinds):
        return ClippedReLU(), _CLIPPED
    if name in SATURATING and "activations" in kinds:
        return (nn.Hardsigmoid(), "Hardsigmoid") if name == "sigmoid" else (nn.Hardtanh(), "Hardtanh")
    if module is None or "max-pooling" not in kinds or getattr(module, "return_indices", False):
        return None
    average: Any = None
    if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)) and np.all(np.equal(module.dilation, 1)):
        kind = nn.AvgPool1d if isinstance(module, nn.MaxPool1d) else nn.AvgPool2d
        average = kind(module.kernel_size, module.stride, module.padding, module.ceil_mode)  # type: ignore[arg-type]
    elif isinstance(module, (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)):
        adaptive = nn.AdaptiveAvgPool1d if isinstance(module, nn.AdaptiveMaxPool1d) else nn.AdaptiveAvgPool2d
        average = adaptive(module.output_size)  # type: ignore[arg-type]
    return None if average is None else (average, "average pooling")


class _Tracer(fx.Tracer):
    """Does not follow PyTorch's own modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return modules.is_leaf(m) and not modules.has_hooks(m)


class _Graph:
    """The graph of a network whose nodes are replaced, the last ones first, so that what only they read is gone before."""

    def __init__(self, network: fx.GraphModule, kinds: Collection[Replaced]) -> None:
        self._network, self._kinds = network, kinds
        self._changes: list[Change] = []
        self._nodes = nodes = list(network.graph.nodes)
        numbers = {node: number for number, node in enumerate(nodes)}
        constant = {node for node in nodes if node.op == "get_attr"}
        leaves = [tree_leaves((node.args, dict(node.kwargs))) for node in nodes]
        reads = [tuple(numbers[x] for x in each if isinstance(x, fx.Node) and x not in constant) for each in leaves]
        self._operations = Operations([key(self._name(node)) for node in nodes], reads)

    def change(self) -> list[Change]:
        graph = self._network.graph
        used = {node for node in self._nodes if node.users}
        ending = self._ending()
        for number, node in reversed(list(enumerate(self._nodes))):
            if node in used and not node.users and node.op != "placeholder":
                graph.erase_node(node)
            elif node not in ending:
                self._replace(node, number)
        graph.lint()
        self._network.recompile()
        self._network.delete_all_unused_submodules()
        return self._changes[::-1]

    def _replace(self, node: fx.Node, number: int) -> None:
        name = self._operations.names[number]
        if name in ("mul", "div") and len(self._operations.reads[number]) > 1:
            self._replace_product(node, number)
        elif name == "glu" and "gates" in self._kinds:
            self._replace_glu(node)
        else:
            self._replace_module(node, number)

    def _replace_product(self, node: fx.Node, number: int) -> None:
        """An activation that is written as a product, or a gate."""
        root, gated = self._operations.root(number), self._operations.gated(number)
        if root is not None and "activations" in self._kinds:
            self._put(node, self._module(node, ClippedReLU(), self._nodes[root]), "product", _CLIPPED)
        elif root is None and gated is not None and "gates" in self._kinds:
            self._put(node, self._nodes[gated], "gate", "left out")

    def _replace_glu(self, node: fx.Node) -> None:
        called = self._called(node)
        axis = getattr(called, "dim", None) if called is not None else _argument(node, 1, "dim", -1)
        with self._network.graph.inserting_before(node):
            halves = self._network.graph.call_function(torch.chunk, (node.all_input_nodes[0], 2, axis))
            first = self._network.graph.call_method("__getitem__", (halves, 0))
        self._put(node, first, "gate", "left out")

    def _replace_module(self, node: fx.Node, number: int) -> None:
        """A module, or a function that does what a module does."""
        name, called = self._operations.names[number], self._called(node)
        found = _replacement(name, called if called is not None else _pooling_module(name, node), self._kinds)
        if found is None:
            return
        module, now = found
        source = node.all_input_nodes[0]
        new = self._module(node, module, source)
        if node.kwargs.get("inplace") or getattr(called, "inplace", False):
            later = set(self._nodes[number + 1 :])
            for user in [user for user in source.users if user in later]:  # they read what was overwritten
                user.replace_input_with(source, new)
        self._put(node, new, self._name(node), now)

    def _called(self, node: fx.Node) -> nn.Module | None:
        return self._network.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _module(self, node: fx.Node, module: nn.Module, source: fx.Node) -> fx.Node:
        """A call of a new module before a node."""
        name = f"replaced_{node.name}"
        self._network.add_submodule(name, module)
        with self._network.graph.inserting_before(node):
            return self._network.graph.call_module(name, (source,))

    def _put(self, node: fx.Node, new: fx.Node, was: str, now: str) -> None:
        node.replace_all_uses_with(new)
        self._network.graph.erase_node(node)
        around = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
        layer = str(node.target) if node.op == "call_module" else ".".join([*around[-1:], node.name])
        self._changes.append(Change(layer, was, now))

    def _name(self, node: fx.Node) -> str:
        called = self._called(node)
        if called is not None:
            return type(called).__name__
        return canonical(node.target) if node.op in ("call_function", "call_method") else ""

    def _ending(self) -> set[fx.Node]:
        """The last nodes, which only move elements or are left out by the conversion."""
        *others, last = self._nodes
        found = {last}
        for node, name in zip(reversed(others), reversed(self._operations.names[:-1]), strict=True):
            if node.users and set(node.users) <= found and name in AT_THE_END:
                found.add(node)
        return found


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _pooling_module(name: str, node: fx.Node) -> nn.Module | None:
    """The module that computes what a function of maximum pooling does, with constant arguments."""
    kinds: dict[str, Callable[..., nn.Module]] = {
        "maxpool1d": nn.MaxPool1d,
        "maxpool2d": nn.MaxPool2d,
        "adaptivemaxpool1d": nn.AdaptiveMaxPool1d,
        "adaptivemaxpool2d": nn.AdaptiveMaxPool2d,
    }
    if name not in kinds or len(node.all_input_nodes) != 1:
        return None
    names = ("output_size", "return_indices") if name.startswith("adaptive") else modules.LARGEST
    given = {each: _argument(node, i, each, None) for i, each in enumerate(names, 1)}
    return kinds[name](**{each: value for each, value in given.items() if value is not None})


def _change_modules(network: nn.Module, kinds: Collection[Replaced]) -> list[Change]:
    changes = []
    for path, module in list(network.named_modules()):
        found = _replacement(key(type(module).__name__), module, kinds)
        if path and found is not None:
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, found[0])
            changes.append(Change(path, type(module).__name__, found[1]))
    return changes


@torch.no_grad()
def _observe(network: nn.Module, images: np.ndarray) -> None:
    """Set the ceilings of clipped ReLUs to their largest input on images, one after the other."""
    largest: dict[ClippedReLU, float] = {}

    def observe(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module, ClippedReLU)
        largest[module] = max(largest.get(module, 0.0), float(args[0].max()))
        module.ceiling.initial.fill_(largest[module] or 1.0)

    hooks = [each.register_forward_pre_hook(observe) for each in network.modules() if isinstance(each, ClippedReLU)]
    like = tensor_like(network)
    try:
        network.eval()(torch.from_numpy(pixel_values(images)).to(like.device, like.dtype))
    finally:
        for hook in hooks:
            hook.remove()
