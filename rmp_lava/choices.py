"""The choices that are made by name, each written once; `options` lists them for messages and the command line."""

from __future__ import annotations

from typing import Any, Literal, get_args

NumberFormat = Literal["float", "int"]
Reset = Literal["soft", "hard", "none"]
Encoding = Literal["poisson", "rate", "current", "spikes"]
Readout = Literal["count", "potential"]
Implementation = Literal["native", "stock"]
"""Of the RMP neuron: a neuron model of its own, or Lava's unmodified LIF with a self-synapse."""


def options(choice: Any) -> tuple[str, ...]:
    """The names that a `Literal` of this module allows."""
    return get_args(choice)


def listed(choice: Any) -> str:
    """The same names as an error message lists them."""
    return ", ".join(options(choice))
