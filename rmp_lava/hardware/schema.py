"""Sections and keys of a hardware profile, their units, and the range of plausible values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from ..choices import Compiler, listed, options
from ..errors import ProfileError
from ..registers import MAX_BIAS, MAX_BIAS_EXPONENT, MAX_LEVELS, MAX_THRESHOLD, MAX_WEIGHT, MIN_WEIGHT
from .interval import Interval

Kind = Literal["documented", "derived", "unknown"]
"""The source gives the value; it follows from printed figures; it has no public value."""
ENERGY = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12}
POWER = {"W": 1.0, "mW": 1e-3, "uW": 1e-6}
TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class Quantity:
    """One number of a profile.

    Parameters
    ----------
    value : int, float or None
        In `unit`; None where it is not public.
    unit : str
    kind : {"documented", "derived", "unknown"}
    source : str
    scale : float
        One `unit` in SI units.
    bounds : tuple of float or None
        The lowest and the highest value that published figures allow, in `unit`; None: the value itself.
    """

    value: int | float | None
    unit: str
    kind: Kind
    source: str
    scale: float = 1.0
    bounds: tuple[float, float] | None = None

    @property
    def interval(self) -> Interval | None:
        """The value between its bounds, in J, W or s."""
        if self.value is None:
            return None
        low, high = self.bounds or (self.value, self.value)
        return Interval(low, self.value, high) * self.scale

    @property
    def si(self) -> float | None:
        """The value in J, W or s."""
        return None if self.value is None else self.value * self.scale

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {"value": self.value, "unit": self.unit, "kind": self.kind, "source": self.source}
        return plain | ({} if self.bounds is None else {"low": self.bounds[0], "high": self.bounds[1]})


@dataclass(frozen=True)
class Rule:
    """What is allowed for one key: units with their scale in SI units, and the range of values (in SI units)."""

    units: dict[str, float]
    lowest: float
    highest: float
    integer: bool = True
    may_be_unknown: bool = True
    may_be_missing: bool = False


def _count(unit: str, lowest: int = 1, highest: int = 2**24, *, known: bool = False) -> Rule:
    return Rule({unit: 1.0}, lowest, highest, may_be_unknown=not known)


def _physical(units: dict[str, float], lowest: float, highest: float) -> Rule:
    return Rule(units, lowest, highest, integer=False)


SCHEMA: dict[str, dict[str, Rule]] = {
    # Limits that quantisation keeps, so all have to be known; no range exceeds what an integer network can hold.
    "limits": {
        "weight_mixed_min": _count("weight unit", MIN_WEIGHT, -1, known=True),
        "weight_mixed_max": _count("weight unit", 1, MAX_WEIGHT, known=True),
        "weight_mixed_step": _count("weight unit", 1, MAX_WEIGHT, known=True),
        "weight_single_sign_max": _count("weight unit", 1, MAX_WEIGHT, known=True),
        # 1 where it is missing.
        "weight_single_sign_step": replace(_count("weight unit", 1, MAX_WEIGHT, known=True), may_be_missing=True),
        "threshold_max": _count("weight unit", 1, MAX_THRESHOLD, known=True),
        "bias_mantissa_max": _count("1", 1, MAX_BIAS, known=True),
        "bias_exponent_max": _count("1", 1, MAX_BIAS_EXPONENT, known=True),
        "current_max": _count("weight unit", 1, MAX_THRESHOLD, known=True),
        "potential_max": _count("weight unit", 1, MAX_THRESHOLD, known=True),
        "message_max": _count("level", 1, MAX_LEVELS, known=True),
    },
    # Capacity of one core, and how synapses and axons are counted.
    "cores": {
        "neurons": _count("neuron", 1, 2**20, known=True),
        "groups": _count("group", 1, 2**20),
        "synapse_words": _count("word", 1, 2**20, known=True),
        "input_entries": _count("entry", 1, 2**24),
        "all_entries": _count("entry", 1, 2**24),
        "word_bits": _count("bit", 8, 1024, known=True),
        "axons_in": _count("axon", 1, 2**20, known=True),
        "axons_out": _count("axon", 1, 2**20, known=True),
        "physical_per_chip": _count("core", 1, 2**16),
        "usable_per_chip": _count("core", 1, 2**16, known=True),
        "weight_bits": _count("bit", 1, 64, known=True),
        "index_bits_dense": _count("bit", 0, 64, known=True),
        "index_bits_conv": _count("bit", 0, 64),
        "list_bits_dense": _count("bit", 0, 1024, known=True),
        "list_bits_conv": _count("bit", 0, 1024),
        "weights_per_list": _count("weight"),
        "axons_in_per_x_stride": _count("axon"),
        "axons_out_per_position": _count("axon"),
        "axons_out_times_x_stride": _count("1", 0, 1),
        "slots_per_soft_reset_neuron": _count("neuron", 1, 64, known=True),
        "delay_max": _count("step", 0),
        "reset_interval_base": _count("1", 2),
    },
    # What a board accepts and then fails on.
    "traps": {
        "conv_width_multiple": _count("column"),
        "conv_input_neurons": _count("neuron"),
    },
    "energy": {
        "synaptic_operation": _physical(ENERGY, 1e-15, 1e-6),
        "neuron_update": _physical(ENERGY, 1e-15, 1e-6),
        "message": _physical(ENERGY, 1e-15, 1e-6),
        "hop": _physical(ENERGY, 1e-15, 1e-6),
        # Of the whole board; of one of its chips with its embedded processors; of the cores of one chip.
        "static_power": _physical(POWER, 1e-6, 1e5),
        "static_power_per_chip": _physical(POWER, 1e-6, 1e3),
        "core_static_power": _physical(POWER, 1e-6, 1e3),
        # Of one chip while steps are computed, whatever happens in them.
        "active_power": _physical(POWER, 0.0, 1e3),
    },
    "time": {
        "synaptic_operation": _physical(TIME, 1e-13, 1e-3),
        "synaptic_operation_conv": _physical(TIME, 1e-13, 1e-3),
        "neuron_update": _physical(TIME, 1e-13, 1e-3),
        "message": _physical(TIME, 1e-13, 1e-3),
        "step_minimum": _physical(TIME, 1e-10, 1.0),
        "step_minimum_multichip": _physical(TIME, 1e-10, 1.0),
    },
}
"""Sections and keys of a chip."""
BOARD = {
    "chips": _count("chip", 1, 2**20),
    "ethernet_chip": Rule({"1": 1.0}, 0, 2**20, may_be_missing=True),
}
"""Keys of section "board"; a board may also give any key of a chip."""
GENERATIONS: tuple[Compiler, ...] = ("older", "newer")
"""Compilers of one chip between which a profile chooses. A chip's section of that name has what differs from section `cores`."""


def check_names(where: str, found: Iterable[str], allowed: Iterable[str], what: str = "key") -> None:
    """Raise `ProfileError` for a name that is not allowed, with the nearest one that is."""
    allowed = list(allowed)
    for name in found:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            advice = f"do you mean {near[0]}?" if near else f"allowed are {', '.join(allowed)}"
            raise ProfileError(f"{where}: {what} {name!r} is unknown; {advice}")


def check_texts(where: str, table: Mapping[str, Any], names: Iterable[str]) -> None:
    """`ProfileError` unless each of these keys holds a string that is not empty; `where` is all that precedes its name."""
    for name in names:
        if not isinstance(table.get(name), str) or not table[name]:
            raise ProfileError(f"{where}{name} is missing or not a string; give it")


def parse_quantity(where: str, table: Any, rule: Rule) -> Quantity:
    """The table of one key; `ProfileError` if something is missing, unknown, of the wrong type or out of range.

    `where` names file, section and key.
    """
    if not isinstance(table, dict):
        raise ProfileError(f"{where} is {table!r}; expected a table with value, unit, kind and source")
    check_names(where, table, ("value", "unit", "kind", "source", *(() if rule.integer else ("low", "high"))))
    check_texts(f"{where}.", table, ("kind", "source"))
    if table["kind"] not in options(Kind):
        raise ProfileError(f"{where}.kind is {table['kind']!r}; choose one of {listed(Kind)}")
    kind = cast(Kind, table["kind"])
    if kind != "unknown":
        unit = _unit(where, table, rule)
        value = _value(where, table, rule, unit)
        bounds = _bounds(where, table, rule, unit, value)
        return Quantity(value, unit, kind, table["source"], rule.units[unit], bounds)
    if "value" in table:
        raise ProfileError(f"{where}.value is {table['value']!r} with kind 'unknown'; omit it, or give its kind")
    if not rule.may_be_unknown:
        raise ProfileError(f"{where}.kind is 'unknown'; this number is required, so give a value and its source")
    unit = _unit(where, table, rule) if "unit" in table else next(iter(rule.units))
    return Quantity(None, unit, kind, table["source"], rule.units[unit])


def _unit(where: str, table: dict[str, Any], rule: Rule) -> str:
    allowed = " or ".join(repr(unit) for unit in rule.units)
    if "unit" not in table:
        raise ProfileError(f"{where}.unit is missing; give {allowed}")
    unit = table["unit"]
    if not isinstance(unit, str) or unit not in rule.units:
        raise ProfileError(f"{where}.unit is {unit!r}; allowed is {allowed}")
    return unit


def _bounds(where: str, table: dict[str, Any], rule: Rule, unit: str, value: int | float) -> tuple[float, float] | None:
    if "low" not in table and "high" not in table:
        return None
    for key in ("low", "high"):
        number = table.get(key)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise ProfileError(f"{where}.{key} is {number!r}; give both low and high as numbers, or none of them")
    if not 0 <= table["low"] <= value <= table["high"] <= rule.highest / rule.units[unit]:
        raise ProfileError(
            f"{where}.low and high are {table['low']} and {table['high']}; they must be at least 0 and enclose the value {value}"
        )
    return float(table["low"]), float(table["high"])


def _value(where: str, table: dict[str, Any], rule: Rule, unit: str) -> int | float:
    if "value" not in table:
        raise ProfileError(f"{where}.value is missing; give it, or kind 'unknown'")
    value = table["value"]
    types = (int,) if rule.integer else (int, float)
    if isinstance(value, bool) or not isinstance(value, types):
        raise ProfileError(f"{where}.value is {value!r}; expected {'an integer' if rule.integer else 'a number'}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ProfileError(f"{where}.value has more than 63 bits, the limit of TOML; give a smaller number")
    scale = rule.units[unit]
    if not rule.lowest <= value * scale <= rule.highest:
        if rule.lowest >= 0 and value <= 0:
            least = "at least 0" if rule.lowest == 0 else "positive"
            raise ProfileError(f"{where}.value is {value}; it must be {least}")
        low, high = (f"{n:,}" if rule.integer else f"{n / scale:.6g}" for n in (rule.lowest, rule.highest))
        raise ProfileError(f"{where}.value is {value} {unit}; allowed are {low} .. {high} {unit}")
    return value
