"""Published measurements that the coefficients of a profile are compared with, each with what is known of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..choices import listed, options
from ..errors import ProfileError
from .schema import ENERGY, POWER, TIME, Quantity, Rule, check_names, check_texts, parse_quantity

Measured = Literal["dynamic energy", "whole energy", "dynamic power", "core static power", "time", "time of a step"]
"""Whole energy is that of the board, with static power."""
UNITS = {
    "dynamic energy": ENERGY,
    "whole energy": ENERGY,
    "dynamic power": POWER,
    "core static power": POWER,
    "time": TIME,
    "time of a step": TIME,
}
COUNTS = ("synaptic_operations", "neuron_updates", "steps", "seconds", "busiest_operations", "busiest_updates")
MAX_ANCHORS = 1000


@dataclass(frozen=True)
class Anchor:
    """One published figure.

    Parameters
    ----------
    name, board : str
        What ran, and the profile of the board that it ran on.
    figure : str
        What was measured, one of `Measured`.
    measured : Quantity
        The figure with unit and source.
    counts : mapping
        What is known of the run, by names of `COUNTS`: synaptic operations, neuron updates, steps and seconds of the whole run;
        operations and updates of the busiest core in an average step. What is missing counts as nothing; without seconds, time
        is predicted.
    convolution : bool
        Whether the busiest core computes a convolution.
    """

    name: str
    board: str
    figure: Measured
    measured: Quantity
    counts: Mapping[str, float]
    convolution: bool = False


def parse_anchors(where: str, tables: Any) -> tuple[Anchor, ...]:
    """The anchors of a profile; `ProfileError` if something is missing, unknown, of the wrong type or out of range."""
    if not isinstance(tables, list) or len(tables) > MAX_ANCHORS:
        raise ProfileError(f"{where} is not a list of up to {MAX_ANCHORS:,} tables; write each as [[anchors]]")
    return tuple(_parse(f"{where}[{i}]", table) for i, table in enumerate(tables))


def _parse(where: str, table: Any) -> Anchor:
    if not isinstance(table, dict):
        raise ProfileError(f"{where} is {table!r}; write it as a table [[anchors]]")
    texts, numbers = ("name", "board", "figure"), (*COUNTS, "convolution")
    check_names(where, table, (*texts, "value", "unit", "kind", "source", *numbers))
    check_texts(f"{where}.", table, texts)
    if table["figure"] not in options(Measured):
        raise ProfileError(f"{where}.figure is {table['figure']!r}; choose one of {listed(Measured)}")
    figure = cast(Measured, table["figure"])
    rule = Rule(UNITS[figure], 1e-15, 1e9, integer=False, may_be_unknown=False)
    measured = parse_quantity(
        where, {key: table[key] for key in ("value", "unit", "kind", "source") if key in table}, rule
    )
    counts = {}
    for key in COUNTS:
        number = table.get(key, 0)
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < 1e18:
            raise ProfileError(f"{where}.{key} is {number!r}; give a number from 0 to 1e18")
        if number:
            counts[key] = float(number)
    if not isinstance(table.get("convolution", False), bool):
        raise ProfileError(f"{where}.convolution is {table['convolution']!r}; give true or false")
    return Anchor(table["name"], table["board"], figure, measured, counts, table.get("convolution", False))
