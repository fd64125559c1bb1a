"""How tables, plots and sentences write numbers and names."""

from __future__ import annotations

import math
import sys
import unicodedata
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from .network import Conv, Layer, Synapse

LONGEST_LABEL = 22
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
_Z_95 = 1.959964
"""Quantile of the standard normal distribution for a two-sided 95 % interval."""


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether an entry of an untrusted file is a finite number that a float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def label(name: object, longest: int = LONGEST_LABEL) -> str:
    """A name shortened for a picture: one line, control characters replaced, the middle of a long name left out."""
    text = "".join(c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in str(name))
    if len(text) <= longest:
        return text
    tail = (longest - 1) // 2
    return f"{text[: longest - 1 - tail]}…{text[-tail:]}"


def quantity(value: float | None, unit: str) -> str:
    """Three significant digits with an SI prefix: 0.00001234 J is 12.3 µJ; "unknown" for None."""
    if value is None:
        return "unknown"
    if not math.isfinite(value):
        return f"unknown {unit}"
    if value == 0:
        return f"0 {unit}"
    # A value that rounds up to 1000 takes the next prefix.
    factor, prefix = next(((f, p) for f, p in _PREFIXES if abs(value) >= 0.9995 * f), _PREFIXES[-1])
    return f"{digits(value / factor)} {prefix}{unit}"


def digits(value: float | None) -> str:
    """Three significant digits; an integer from 1000 on; a dash for None."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < 1000:
        value = float(f"{value:.3g}")  # a value that rounds up to a power of ten needs one decimal place less
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}" if places < 6 else f"{value:.2e}"


def count(value: float | None) -> str:
    """A mean number of things: one decimal place below 100, unless it is an integer; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def percent(share: float | None, places: int = 1) -> str:
    """A share as a percentage; a dash for None."""
    return "–" if share is None else f"{100 * share:.{places}f} %"


def shape(sizes: Sequence[int]) -> str:
    """Sizes joined by crosses."""
    return "×".join(str(n) for n in sizes)


def plural(number: int, what: str, several: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {several or what + 's'}"


def synapses(layer: Layer) -> str:
    """The kinds of synapses of a layer."""

    def kind(synapse: Synapse) -> str:
        if not isinstance(synapse, Conv):
            return "dense"
        stride = "" if synapse.stride == (1, 1) else f" / {max(synapse.stride)}"
        return f"conv {shape(synapse.weight.shape[2:])}{stride}"

    return " + ".join(dict.fromkeys(map(kind, layer.synapses)))


def wilson(share: float, number: int) -> tuple[float, float]:
    """95 % interval of a share that was counted in `number` trials (Wilson, 1927)."""
    z = _Z_95 * _Z_95 / number
    centre = (share + z / 2) / (1 + z)
    half = _Z_95 * np.sqrt(share * (1 - share) / number + z / (4 * number)) / (1 + z)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
