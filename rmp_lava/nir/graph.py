"""A NIR graph as plain data, from a file or from an object of the package nir.

The file is HDF5: `/node` holds the graph, `nodes/NAME` its nodes with their parameters, and `edges` pairs of names. It is read as
untrusted, see `rmp_lava.netx.untrusted`, without the package nir. Source: nir 1.0.8, `nir/serialization.py` and `nir/ir`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConversionError
from ..files import StrPath
from ..netx.untrusted import Group, opened

MAX_NODES = 10_000
_NEURON = ("v_threshold", "v_reset")
PARAMETERS: dict[str, tuple[str, ...]] = {
    "Input": ("shape",),
    "Output": (),
    "Linear": ("weight",),
    "Affine": ("weight", "bias"),
    "Scale": ("scale",),
    "Conv1d": ("weight", "bias", "stride", "padding", "dilation", "groups"),
    "Conv2d": ("weight", "bias", "stride", "padding", "dilation", "groups"),
    "SumPool2d": ("kernel_size", "stride", "padding"),
    "AvgPool2d": ("kernel_size", "stride", "padding"),
    "Flatten": ("start_dim", "end_dim"),
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "IF": ("r", *_NEURON),
    "LIF": ("tau", "r", "v_leak", *_NEURON),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "w_in", *_NEURON),
}
"""Kinds of nodes that can be read, and their parameters."""
METADATA: dict[str, type] = {"reset": str, "v_init": float, "encoding": str, "levels": int, "readout": str, "dt": float}
"""What our files say beyond NIR."""


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its kind, its parameters (arrays; a padding may be text), and what `METADATA` says of it."""

    kind: str
    values: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name, edges as (source, target), and how messages name the graph."""

    nodes: Mapping[str, Node]
    edges: Sequence[tuple[str, str]]
    where: str


def read_graph(path: StrPath) -> Graph:
    """The graph of a file.

    Raises
    ------
    NetFileError
        If the file is missing, damaged or no NIR file.
    ConversionError
        If it has nodes of other kinds than `PARAMETERS` lists.
    """
    path = Path(path)
    with opened(path, ".nir") as root:
        top = root.child("node")
        if top.text("type") != "NIRGraph":
            raise root.fail(
                f"/node has type {top.text('type')[:40]!r}; NIRGraph is expected, so export the network again"
            )
        groups = top.child("nodes")
        if len(groups) > MAX_NODES:
            raise root.fail(f"it has {len(groups):,} nodes; at most {MAX_NODES:,} are read")
        nodes = {name: _read(str(path), name, groups.child(name)) for name in groups.names()}
        edges = top.texts("edges")
        if edges.ndim != 2 or edges.shape[1:] != (2,):
            raise root.fail("/node/edges are no pairs of names; export the network again")
        return Graph(nodes, [(str(a), str(b)) for a, b in edges], str(path))


def _read(where: str, name: str, group: Group) -> Node:
    kind = group.text("type")
    values: dict[str, Any] = {}
    for key in _parameters(where, name, kind):
        if key in group:
            values[key] = group.text(key) if group.is_text(key) else group.numbers(key, finite=False)
    metadata: dict[str, Any] = {}
    if "metadata" in group:
        held = group.child("metadata")
        for key in METADATA:
            if key in held:
                metadata[key] = held.text(key) if held.is_text(key) else held.scalar(key)
    return Node(kind, values, _said(where, name, metadata))


def _said(where: str, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `METADATA` in their types; raises `ConversionError` for others."""
    found = {}
    for key in METADATA.keys() & metadata.keys():
        value, kind = metadata[key], METADATA[key]
        try:
            if isinstance(value, str) != (kind is str):
                raise ValueError
            found[key] = kind(value)
        except (TypeError, ValueError, OverflowError):
            raise ConversionError(
                f"{where}: the metadata of node {name[:60]!r} say that {key} is {str(value)[:40]!r}; correct it, or leave it out"
            ) from None
    return found


def graph_of(graph: Any) -> Graph:
    """The graph of a `nir.NIRGraph`; raises `ConversionError` as `read_graph`."""
    where = "the NIR graph"
    nodes = {}
    for name, node in graph.nodes.items():
        kind = type(node).__name__
        values = {}
        for key in _parameters(where, name, kind):
            value = node.input_type["input"] if key == "shape" else getattr(node, key, None)
            if value is not None:
                values[key] = value if isinstance(value, str) else np.asarray(value)
        metadata = getattr(node, "metadata", None) or {}
        nodes[str(name)] = Node(kind, values, _said(where, str(name), metadata))
    return Graph(nodes, [(str(a), str(b)) for a, b in graph.edges], where)


def _parameters(where: str, name: str, kind: str) -> tuple[str, ...]:
    if kind == "NIRGraph":
        raise ConversionError(
            f"{where}: node {name[:60]!r} is a graph of its own, as recurrent layers are; only feed-forward networks can be "
            "converted, so export one without recurrence"
        )
    if kind not in PARAMETERS:
        raise ConversionError(
            f"{where}: node {name[:60]!r} is of kind {kind[:40]!r}, which has no counterpart here; allowed are "
            f"{', '.join(PARAMETERS)}"
        )
    return PARAMETERS[kind]
