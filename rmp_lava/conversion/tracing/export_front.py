"""Record a network from `torch.export`: for forwards that `torch.fx` cannot follow, and for `.pt2` files."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from ...errors import first_line
from .calls import Calls, UntraceableError, record


def export(model: nn.Module, images: torch.Tensor) -> ExportedProgram:
    """The network as an exported program; raises `UntraceableError` with PyTorch's reason if that fails."""
    reasons = []
    for strict in (False, True):
        try:
            with quiet():
                return torch.export.export(model, (images,), strict=strict)
        except Exception as error:  # torch.export raises errors of many kinds
            reasons.append(first_line(error))
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


def batch_limits(program: ExportedProgram) -> tuple[int, int]:
    """The smallest and the largest batch that a program takes, if its batch is one size or a range of sizes."""
    value = _source(program).meta["val"]
    size = value.shape[0] if value.ndim else None
    if isinstance(size, int):
        return size, size
    allowed = program.range_constraints.get(getattr(getattr(size, "node", None), "expr", None))
    if allowed is None:
        return 1, sys.maxsize
    # Bounds may be infinite symbols, which compare with numbers but do not convert to int.
    most = sys.maxsize if allowed.upper >= sys.maxsize else int(allowed.upper)
    return max(1, int(allowed.lower)), most


def batch_of(program: ExportedProgram) -> int | None:
    """The number of images that a program takes at once; None if it is not fixed."""
    fewest, most = batch_limits(program)
    return fewest if fewest == most else None


def read(program: ExportedProgram, images: torch.Tensor) -> Calls:
    """The calls of a program for these images; raises `UntraceableError` if it does not run on them."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    tensors = {**program.constants, **program.state_dict}
    stored = {**names, **signature.inputs_to_lifted_tensor_constants}
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    source = _source(program)
    given = {node: tensors.get(stored.get(node.name, "")) for node in placeholders} | {source: images}
    try:
        calls = record(
            program.graph,
            given,
            source,
            lambda node: getattr(program.graph_module, str(node.target)),
            lambda node: _layer(node, names),
        )
    except Exception as error:
        raise UntraceableError(f"torch.export: {first_line(error)}") from error
    outputs = zip(calls.output, signature.output_specs, strict=True)
    user = [value for value, spec in outputs if spec.kind == OutputKind.USER_OUTPUT]
    single = len(user) == 1 and program.call_spec.out_spec.num_nodes == 1
    return replace(calls, output=user[0] if single else tuple(user))


def _layer(node: fx.Node, names: Mapping[str, str]) -> str:
    """The module whose weights are used, else the module that makes the call; `names` are those of the weights."""
    for source in node.all_input_nodes:
        name = names.get(source.name) or next((names[n.name] for n in source.all_input_nodes if n.name in names), "")
        if "." in name:
            return name.rpartition(".")[0]
    path, kind = list((node.meta.get("nn_module_stack") or {"": ("", "")}).values())[-1]
    path = path.removeprefix("L['self'].")
    if not path:
        return node.name
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return path if kind.startswith("torch.nn.") else f"{path}.{node.name}"


def inputs_of(program: ExportedProgram) -> tuple[str, ...]:
    """Names of a program's inputs."""
    return tuple(program.graph_signature.user_inputs)


def shape_of(program: ExportedProgram) -> tuple[int, ...] | None:
    """Shape of one input of a program, without the batch; None where a size is not fixed."""
    value = _source(program).meta.get("val")
    if isinstance(value, torch.Tensor) and value.ndim > 1 and all(isinstance(n, int) for n in value.shape[1:]):
        return tuple(value.shape[1:])
    return None


def _source(program: ExportedProgram) -> fx.Node:
    name = inputs_of(program)[0]
    return next(node for node in program.graph.nodes if node.op == "placeholder" and node.name == name)
