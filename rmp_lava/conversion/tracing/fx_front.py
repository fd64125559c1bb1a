"""Record a network by symbolic tracing with `torch.fx`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from ...errors import first_line
from . import modules
from .calls import Calls, UntraceableError, record
from .own_layers import own_forward

_NAMED = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm, modules.OneOperation)
"""Modules that make one call, whose name tells more than the function's."""


class _Tracer(fx.Tracer):
    """Does not trace into PyTorch's own modules, takes parameters as constants, and does not change the network."""

    def __init__(self) -> None:
        # It looks at the type of its argument, which no proxy has. Only this function: others' types would be wrapped, too.
        functions = sys.modules.get("torchvision.transforms.functional")
        super().__init__(autowrap_functions=() if functions is None else (functions.normalize,))
        if functions is not None:
            self._autowrap_search.append(functions)
        self.constants: dict[str, torch.Tensor] = {}
        self.modules: dict[str, nn.Module] = {}
        self._path = ""
        self._uses: dict[tuple[str, nn.Module], int] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return modules.is_leaf(m) and not modules.has_hooks(m)

    def path_of_module(self, mod: nn.Module) -> str:
        """The path of a module below the one that calls it; its second name on the second call."""
        around = self.root.get_submodule(self._path)
        names = [name for name, child in around.named_modules(remove_duplicate=False) if child is mod and name]
        if not names:
            return super().path_of_module(mod)
        use = self._uses.get((self._path, mod), 0)
        self._uses[self._path, mod] = use + 1
        name = names[min(use, len(names) - 1)]
        return f"{self._path}.{name}" if self._path else name

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        path = self.path_of_module(m)
        self.modules[path] = m
        own = own_forward(m)
        if own is not None:
            forward = own
        elif self.is_leaf_module(m, path):
            return self.create_proxy("call_module", path, args, kwargs)
        outer, self._path = self._path, path
        try:
            return forward(*args, **kwargs)
        finally:
            self._path = outer

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict) -> Any:
        return attr_val

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["around"] = self._path
        return node

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, torch.Tensor):
            name = f"constant{len(self.constants)}"
            self.constants[name] = a
            return self.create_node("get_attr", name, (), {})
        return super().create_arg(a)

    def attribute(self, node: fx.Node) -> Any:
        """The module or the constant that a node names."""
        return (self.modules if node.op == "call_module" else self.constants)[str(node.target)]

    def layer(self, node: fx.Node) -> str:
        """The name of a call: its module's, or the calling module's followed by the function's."""
        if node.op == "call_module":
            return str(node.target)
        around = node.meta["around"]
        if isinstance(self.root.get_submodule(around), _NAMED):
            return around  # a user's subclass that calls the function itself, for example
        return f"{around}.{node.name}" if around else node.name


def inputs_of(model: nn.Module) -> list[str]:
    """Names of the required inputs of a network."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(model.forward).parameters.values()
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]


def defaults_of(model: nn.Module) -> dict[str, Any]:
    """Names and defaults of the optional inputs after the first one."""
    optional = list(inspect.signature(model.forward).parameters.values())[1:]
    return {p.name: p.default for p in optional if p.default is not p.empty}


def read(model: nn.Module, images: torch.Tensor) -> Calls:
    """The calls of a network for these images.

    Raises
    ------
    UntraceableError
        If its forward branches on values, or `torch.fx` cannot follow it.
    """
    tracer = _Tracer()
    defaults = defaults_of(model)
    try:
        graph = tracer.trace(model, concrete_args=defaults or None)
        source, *others = [node for node in graph.nodes if node.op == "placeholder"]
        given = {source: images} | dict(zip(others, defaults.values(), strict=False))
        return record(graph, given, source, tracer.attribute, tracer.layer)
    except Exception as error:  # any error of the network's own code, on a proxy or on images
        raise UntraceableError(f"torch.fx: {first_line(error)}") from error
