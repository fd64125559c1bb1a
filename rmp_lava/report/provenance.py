"""Provenance of a `.net` file, which is untrusted: entries that are not as expected are left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..choices import ScoreKind, options
from ..conversion.layer_fidelity import LayerFidelity
from ..conversion.points import Point, points_table
from ..conversion.stages import Cost, Stage
from ..network import Companion
from ..scores import Score
from ..sources.kept import state_of
from ..tables import Table, table
from ..words import is_number
from .tables import epochs_table, fidelity_table, stage_table

_FIGURES = tuple(each.name for each in fields(Score) if each.name != "kind")
_NUMBERS = tuple(each.name for each in fields(Point) if each.name != "score")
_IN_OWN_TABLES = ("stages", "frontier", "layer_fidelity", "gates")
COMPANIONS = {"ann": "Trained network", "onnx": "As ONNX"}
"""Kind of a companion file -> its name in messages."""


def describe_companions(net: Path, companions: Iterable[Companion]) -> list[str]:
    """One sentence per companion of the `.net`: which file it is, and whether it is still there."""
    return [
        f"{COMPANIONS.get(each.kind, each.kind)}: {each.file} {state_of(net, each)} (SHA-256 {each.sha256})"
        for each in companions
    ]


def kept_layer_fidelity(provenance: Mapping[str, Any]) -> list[LayerFidelity]:
    """Layer fidelity measured at the conversion; files of earlier versions have it under "gates"."""
    fields = LayerFidelity.__dataclass_fields__
    return [
        LayerFidelity(**entry)
        for entry in _entries(provenance, "layer_fidelity") or _entries(provenance, "gates")
        if isinstance(entry.get("layer"), str)
        and {"layer", "correlation", "image_correlation", "error", "silent", "saturated"}
        <= entry.keys()
        <= fields.keys()
        and all(value is None or is_number(value) for key, value in entry.items() if key != "layer")
    ]


def kept_stages(provenance: Mapping[str, Any]) -> tuple[Stage, ...]:
    """Stages measured at the conversion; in files of earlier versions each has an accuracy, and no kind of score."""
    return tuple(
        Stage(entry["name"], entry["images"], score, str(entry.get("note") or ""), _kept_cost(entry))
        for entry in _entries(provenance, "stages")
        if isinstance(entry.get("name"), str) and type(entry.get("images")) is int and (score := _kept_score(entry))
    )


def _kept_cost(entry: Mapping[str, Any]) -> Cost | None:
    """None in files of earlier versions, and for networks that were not simulated."""
    figures: list[Any] = [entry.get(name) for name in Cost._fields]
    return Cost(*figures) if all(map(is_number, figures)) else None


def kept_frontier(provenance: Mapping[str, Any]) -> tuple[Point, ...]:
    """Conversions for several T and waits that were compared when this one was chosen."""
    return tuple(
        Point(**{name: entry[name] for name in _NUMBERS}, score=score)
        for entry in _entries(provenance, "frontier")
        if all(is_number(entry.get(name)) for name in _NUMBERS)
        and isinstance(entry.get("score"), Mapping)
        and (score := _kept_score(entry["score"]))
    )


def _kept_score(entry: Mapping[str, Any]) -> Score | None:
    kind = entry.get("kind", "classification")
    figures = {name: entry[name] for name in _FIGURES if name in entry}
    if kind not in options(ScoreKind) or not figures or not all(map(is_number, figures.values())):
        return None
    return Score(kind, **figures)


def kept_epochs(provenance: Mapping[str, Any]) -> tuple[list[tuple[str, list[list[float]]]], dict[str, Any]]:
    """(title, epochs) of each tuning, and the provenance without them; an epoch is (number, loss, training, validation)."""
    remaining, found, rest = dict(provenance), [], []
    for number, tuning in enumerate(_entries(remaining, "tune"), 1):
        history = tuning.get("history")
        if isinstance(history, list) and history and all(map(_is_epoch, history)):
            tuning = {key: value for key, value in tuning.items() if key != "history"}
            title = f"Tuning {number}" if len(remaining["tune"]) > 1 else "Tuning"
            found.append((title, [epoch for epoch in history if epoch[0] is not None]))
        rest.append(tuning)
    if rest:
        remaining["tune"] = rest
    return found, remaining


def flattened(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of every nested entry except those with tables of their own; lists of plain values as JSON."""
    for key, value in content.items():
        if not before and key in _IN_OWN_TABLES:
            continue
        path = f"{before}{key}"
        if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            value = {str(number): each for number, each in enumerate(value, 1)}
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{path}.")
        else:
            yield path, value if isinstance(value, str) else json.dumps(value)


def provenance_tables(provenance: Mapping[str, Any], steps: int | None) -> Iterator[Table]:
    """Tables for the terminal of stages, other T and waits, layer fidelity, epochs of tuning and every other entry.

    `steps` is T if known.
    """
    if stages := kept_stages(provenance):
        yield stage_table(stages, steps)
    if points := kept_frontier(provenance):
        yield points_table(points)
    if layers := kept_layer_fidelity(provenance):
        yield fidelity_table(layers)
    tunings, rest = kept_epochs(provenance)
    for title, history in tunings:
        yield epochs_table(title, history)
    if entries := list(flattened(rest)):
        yield table("Provenance recorded in the file", ("entry", "value"), entries, text_columns=2)


def _entries(provenance: Mapping[str, Any], key: str) -> list[dict]:
    entries = provenance.get(key)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _is_epoch(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 4 and all(each is None or is_number(each) for each in entry)
