"""rmp-lava: from a PyTorch network to residual-membrane-potential (RMP) spikes on Lava and Loihi.

    import rmp_lava
    rmp_lava.check(model, images).raise_if_blocked()        # every obstacle at once, with a remedy each
    conversion = rmp_lava.convert(model, images, steps=16)  # .analog, .floating and .integer networks
    print(conversion.stages(validation_images, labels))     # the accuracy of each form of the network
    rmp_lava.save(conversion.integer, "exports/net.net")    # lava-dl netx HDF5, with Loihi 2's integers
    result = rmp_lava.run(rmp_lava.load("exports/net.net"), test_images, steps=16, backend="lava")

Names are loaded on first use: importing the package imports neither PyTorch nor Lava.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backends import Fast, Lava, Loihi2, Reference, run
    from .conversion.check import check
    from .conversion.conversion import Conversion
    from .conversion.pipeline import Quantization, convert, tune
    from .conversion.quantize import quantize
    from .conversion.restore import restore
    from .errors import RmpLavaError
    from .findings import Finding
    from .hardware import estimate, map_network
    from .network import SpikingNetwork
    from .netx import load, save
    from .report.page.page import make_page, write_page
    from .results import Run

__version__ = "0.1.0"
__all__ = [
    "Conversion",
    "Fast",
    "Finding",
    "Lava",
    "Loihi2",
    "Quantization",
    "Reference",
    "RmpLavaError",
    "Run",
    "SpikingNetwork",
    "__version__",
    "check",
    "convert",
    "estimate",
    "load",
    "make_page",
    "map_network",
    "quantize",
    "restore",
    "run",
    "save",
    "tune",
    "write_page",
]
_MODULES = {
    "Conversion": "conversion.conversion",
    "Fast": "backends",
    "Finding": "findings",
    "Lava": "backends",
    "Loihi2": "backends",
    "Quantization": "conversion.pipeline",
    "Reference": "backends",
    "RmpLavaError": "errors",
    "Run": "results",
    "SpikingNetwork": "network",
    "check": "conversion.check",
    "convert": "conversion.pipeline",
    "estimate": "hardware",
    "load": "netx",
    "make_page": "report.page.page",
    "map_network": "hardware",
    "quantize": "conversion.quantize",
    "restore": "conversion.restore",
    "run": "backends",
    "save": "netx",
    "tune": "conversion.pipeline",
    "write_page": "report.page.page",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'rmp_lava' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
