"""Numbers, names and sentences as a page shows them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...network import Conv, Layer

LONGEST_LABEL = 22
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
_Z_95 = 1.959964
"""Of the standard normal distribution: 95 % lie within."""


def label(name: Any, longest: int = LONGEST_LABEL) -> str:
    """A name that fits into a picture: one line, no control characters, its middle left out where it is long."""
    text = "".join(c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in str(name))
    if len(text) <= longest:
        return text
    tail = (longest - 1) // 2
    return f"{text[: longest - 1 - tail]}…{text[-tail:]}"


def quantity(value: float, unit: str) -> str:
    """Three digits, with the prefix that suits: 0.00001234 J is 12.3 µJ."""
    if not math.isfinite(value):
        return f"unknown {unit}"
    if value == 0:
        return f"0 {unit}"
    factor, prefix = next(((f, p) for f, p in _PREFIXES if abs(value) >= 0.9995 * f), _PREFIXES[-1])
    return f"{digits(value / factor)} {prefix}{unit}"


def digits(value: float) -> str:
    """A number with three significant digits, or whole where it is larger."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < 1000:
        value = float(f"{value:.3g}")  # what rounds up to the next power of ten has a digit less behind the point
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}" if places < 6 else f"{value:.2e}"


def count(value: float) -> str:
    """A number of things, which on average may be broken."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def percent(share: float | None, places: int = 1) -> str:
    """A share as a percentage; a dash for None."""
    return "–" if share is None else f"{100 * share:.{places}f} %"


def shape(sizes: Sequence[int]) -> str:
    """Sizes with crosses between."""
    return "×".join(str(n) for n in sizes)


def plural(number: int, what: str, several: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {several or what + 's'}"


def synapses(layer: Layer) -> str:
    """What kinds of synapses reach a layer."""
    kinds = []
    for synapse in layer.synapses:
        if isinstance(synapse, Conv):
            stride = "" if synapse.stride == (1, 1) else f" / {max(synapse.stride)}"
            kind = f"conv {shape(synapse.weight.shape[2:])}{stride}"
        else:
            kind = "dense"
        if kind not in kinds:
            kinds.append(kind)
    return " + ".join(kinds)


def wilson(share: float, number: int) -> tuple[float, float]:
    """95 % interval of a share that was counted in `number` trials (Wilson, 1927)."""
    z = _Z_95 * _Z_95 / number
    centre = (share + z / 2) / (1 + z)
    half = _Z_95 * np.sqrt(share * (1 - share) / number + z / (4 * number)) / (1 + z)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
