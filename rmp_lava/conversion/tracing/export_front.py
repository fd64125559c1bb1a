"""Record a network from `torch.export`: for forwards that `torch.fx` cannot follow, and for `.pt2` files."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, OutputKind

from .calls import Calls, Front, UntraceableError, record


class _Front(Front):
    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature
        self._program = program
        self._names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}

    def constant(self, node: fx.Node) -> Any:
        return getattr(self._program.graph_module, str(node.target))

    def module(self, node: fx.Node) -> nn.Module:
        raise UntraceableError(f"torch.export: the program calls the module {node.target}")

    def lowered(self, module: nn.Module, args: tuple, kwargs: Mapping) -> None:
        return None

    def layer(self, node: fx.Node) -> str:
        """The module whose weights are used, else the module that makes the call."""
        for source in node.all_input_nodes:
            name = self._names.get(source.name) or next(
                (self._names[n.name] for n in source.all_input_nodes if n.name in self._names), ""
            )
            if "." in name:
                return name.rpartition(".")[0]
        path, kind = list((node.meta.get("nn_module_stack") or {"": ("", "")}).values())[-1]
        path = path.removeprefix("L['self'].")
        if not path:
            return node.name
        kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        return path if kind.startswith("torch.nn.") else f"{path}.{node.name}"


def export(model: nn.Module, images: torch.Tensor) -> ExportedProgram:
    """The network as an exported program; raises `UntraceableError` with PyTorch's reason if that fails."""
    reasons = []
    for strict in (False, True):
        try:
            with quiet():
                return torch.export.export(model, (images,), strict=strict)
        except Exception as error:  # torch.export raises errors of many kinds
            reasons.append(next(iter(str(error).strip().splitlines()), type(error).__name__))
    raise UntraceableError(f"torch.export: {reasons[0]}")


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the graphs that PyTorch logs and prints when an export fails; its error holds the reason."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def batch_of(program: ExportedProgram) -> int | None:
    """The number of images that a program takes at once; None if it is not fixed."""
    node = _source(program)
    size = node.meta["val"].shape[0] if node.meta["val"].ndim else None
    return size if isinstance(size, int) else None


def batch_limits(program: ExportedProgram) -> tuple[int, int]:
    """The smallest and the largest batch that a program takes, if its batch is one size or a range of sizes."""
    fixed = batch_of(program)
    if fixed is not None:
        return fixed, fixed
    node = _source(program)
    size = getattr(getattr(node.meta["val"].shape[0], "node", None), "expr", None) if node.meta["val"].ndim else None
    allowed = program.range_constraints.get(size)
    if allowed is None:
        return 1, sys.maxsize
    # Bounds may be infinite symbols, which compare with numbers but do not convert to int.
    most = sys.maxsize if allowed.upper >= sys.maxsize else int(allowed.upper)
    return max(1, int(allowed.lower)), most


def read(program: ExportedProgram, images: torch.Tensor) -> Calls:
    """The calls of a program for these images; raises `UntraceableError` if it does not run on them."""
    signature = program.graph_signature
    given = {}
    source = _source(program)
    for node in program.graph.nodes:
        if node.op != "placeholder" or node is source:
            continue
        name = _tensor_name(signature, node.name)
        given[node] = program.state_dict[name] if name in program.state_dict else program.constants.get(name)
    try:
        calls = record(program.graph, {source: images} | given, source, _Front(program))
    except Exception as error:
        raise UntraceableError(f"torch.export: {next(iter(str(error).splitlines()), '')}") from error
    user = [
        value
        for value, spec in zip(calls.output, signature.output_specs, strict=True)
        if spec.kind == OutputKind.USER_OUTPUT
    ]
    single = len(user) == 1 and program.call_spec.out_spec.num_nodes == 1
    return Calls(calls.calls, calls.values, user[0] if single else tuple(user))


def inputs_of(program: ExportedProgram) -> tuple[str, ...]:
    """Names of a program's inputs."""
    return tuple(program.graph_signature.user_inputs)


def _source(program: ExportedProgram) -> fx.Node:
    names = inputs_of(program)
    return next(node for node in program.graph.nodes if node.op == "placeholder" and node.name == names[0])


def _tensor_name(signature: ExportGraphSignature, placeholder: str) -> str | None:
    for names in (
        signature.inputs_to_parameters,
        signature.inputs_to_buffers,
        signature.inputs_to_lifted_tensor_constants,
    ):
        if placeholder in names:
            return names[placeholder]
    return None
