"""What a `.net` says of its own making, read from a file that anyone may have written: what is not as expected is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from ..conversion.layer_fidelity import LayerGate
from ..conversion.stages import Stage
from .fidelity import gates_table
from .tables import is_number, percent, stage_table, table

_IN_TABLES_OF_THEIR_OWN = ("stages", "gates")


def kept_gates(provenance: Mapping[str, Any]) -> list[LayerGate]:
    """Gates measured when the network was converted, layer by layer."""
    fields = LayerGate.__dataclass_fields__
    return [
        LayerGate(**entry)
        for entry in _entries(provenance, "gates")
        if isinstance(entry.get("layer"), str)
        and {"layer", "correlation", "image_correlation", "error", "silent", "saturated"}
        <= entry.keys()
        <= fields.keys()
        and all(value is None or is_number(value) for key, value in entry.items() if key != "layer")
    ]


def kept_stages(provenance: Mapping[str, Any]) -> tuple[Stage, ...]:
    """Stages measured when the network was converted."""
    return tuple(
        Stage(entry["name"], entry["images"], entry["accuracy"], str(entry.get("note") or ""))
        for entry in _entries(provenance, "stages")
        if isinstance(entry.get("name"), str) and type(entry.get("images")) is int and is_number(entry.get("accuracy"))
    )


def kept_epochs(provenance: Mapping[str, Any]) -> tuple[list[tuple[str, list[list[float]]]], dict[str, Any]]:
    """Title and epochs (number, loss, training, validation) of each tuning, and what the file says without them."""
    said, found, rest = dict(provenance), [], []
    for number, tuning in enumerate(_entries(said, "tune"), 1):
        history = tuning.get("history")
        if isinstance(history, list) and history and all(map(_is_epoch, history)):
            tuning = {key: value for key, value in tuning.items() if key != "history"}
            title = f"Tuning {number}" if len(said["tune"]) > 1 else "Tuning"
            found.append((title, [epoch for epoch in history if epoch[0] is not None]))
        rest.append(tuning)
    if rest:
        said["tune"] = rest
    return found, said


def flattened(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of everything nested but stages and gates; lists of plain values as JSON."""
    for key, value in content.items():
        if not before and key in _IN_TABLES_OF_THEIR_OWN:
            continue
        path = f"{before}{key}"
        if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            value = {str(number): each for number, each in enumerate(value, 1)}
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{path}.")
        else:
            yield path, value if isinstance(value, str) else json.dumps(value)


def provenance_tables(provenance: Mapping[str, Any]) -> Iterator[Table]:
    """Stages, gates, epochs of tuning and everything else, as tables for the terminal."""
    said = dict(provenance)
    if stages := kept_stages(said):
        balance = said.get("balance")
        steps = balance.get("steps") if isinstance(balance, Mapping) else None
        yield stage_table(stages, steps if type(steps) is int else None)
    if gates := kept_gates(said):
        yield gates_table(gates)
    tunings, said = kept_epochs(said)
    for title, history in tunings:
        yield _epochs(history, title)
    if rest := list(flattened(said)):
        yield table("What the file says of its making", ("entry", "value"), rest, text_columns=2)


def _entries(provenance: Mapping[str, Any], key: str) -> list[dict]:
    entries = provenance.get(key)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _is_epoch(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 4 and all(each is None or is_number(each) for each in entry)


def _epochs(history: list[list[float]], title: str) -> Table:
    rows = [
        (f"{epoch:g}", "-" if loss is None else f"{loss:.4f}", percent(training), percent(validation))
        for epoch, loss, training, validation in history
    ]
    return table(title, ("epoch", "loss", "training", "validation"), rows, text_columns=0)
