"""Figures of other processors, to compare an estimate with; they live in `hw_profiles/comparison/`."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ProfileError
from .profiles import folders, read_toml
from .schema import ENERGY, Quantity, Rule, check_names, parse_quantity

_COUNTED = ("mac", "synaptic_operation")
_RULE = Rule(ENERGY, 1e-15, 1e-3, whole=False, may_be_unknown=False)


@dataclass(frozen=True)
class Comparison:
    """Energy of one operation elsewhere.

    Parameters
    ----------
    label : str
    per : {"mac", "synaptic_operation"}
        A multiply-accumulate of the trained network, or a synaptic operation of the spiking one.
    energy : Quantity
    """

    label: str
    per: str
    energy: Quantity


def load_comparisons() -> list[Comparison]:
    """All figures that come with the package.

    Raises
    ------
    ProfileError
        If the file is damaged.
    """
    for folder in folders():
        path = folder / "comparison" / "processors.toml"
        if path.is_file():
            break
    else:
        raise ProfileError("hw_profiles/comparison/processors.toml is missing; install rmp-lava again")
    result = []
    for key, table in read_toml(path).items():
        where = f"{path}: {key}"
        if not isinstance(table, dict) or not isinstance(table.get("label"), str):
            raise ProfileError(f"{where}.label is missing or no text; give it")
        check_names(f"{where}.per", [str(table.get("per"))], _COUNTED, "operation")
        rest = {name: value for name, value in table.items() if name not in ("label", "per")}
        result.append(Comparison(table["label"], table["per"], parse_quantity(where, rest, _RULE)))
    return result
