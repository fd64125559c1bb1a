"""rmp-lava: from a PyTorch network to residual-membrane-potential (RMP) spikes on Lava and Loihi.

    import rmp_lava
    report = rmp_lava.check(model, example)              # what is in the way, all at once
    network = rmp_lava.convert(model, images, steps=16)  # float SpikingNetwork with balanced thresholds
    integer = rmp_lava.quantize(network)                 # Loihi 2's integers, every choice recorded
    rmp_lava.save(integer, "exports/digits.net")         # lava-dl netx HDF5
    result = rmp_lava.run(rmp_lava.load("exports/digits.net"), test_images, steps=16, backend="lava")

Names are loaded on first use: importing the package imports neither PyTorch nor Lava.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "check": "rmp_lava.conversion.check",
    "convert": "rmp_lava.conversion",
    "quantize": "rmp_lava.conversion.quantize",
    "save": "rmp_lava.netx",
    "load": "rmp_lava.netx",
    "run": "rmp_lava.backends",
    "Reference": "rmp_lava.backends",
    "Fast": "rmp_lava.backends",
    "Lava": "rmp_lava.backends",
    "Loihi2": "rmp_lava.backends",
    "make_page": "rmp_lava.report",
    "write_page": "rmp_lava.report",
    "Run": "rmp_lava.results",
    "SpikingNetwork": "rmp_lava.network",
    "RmpLavaError": "rmp_lava.errors",
}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rmp_lava' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
