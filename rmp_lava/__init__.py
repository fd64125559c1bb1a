"""rmp-lava: from a PyTorch network to residual-membrane-potential (RMP) spikes on Lava and Loihi.

    import rmp_lava
    rmp_lava.check(model, images).raise_if_blocked()        # every obstacle at once, with a remedy each
    conversion = rmp_lava.convert(model, images, steps=16)  # .analog, .floating and .integer networks
    print(conversion.stages(validation_images, labels))     # what each form of the network reaches
    rmp_lava.save(conversion.integer, "exports/net.net")    # lava-dl netx HDF5, with Loihi 2's integers
    result = rmp_lava.run(rmp_lava.load("exports/net.net"), test_images, steps=16, backend="lava")

Names are loaded on first use: importing the package imports neither PyTorch nor Lava. It sets how PyTorch's threads wait
(`rmp_lava.threads`), so import it before PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .threads import settle as _settle

if TYPE_CHECKING:  # type checkers do not see `__getattr__` below
    from . import plot as plot
    from .backends import (
        Fast as Fast,
        Lava as Lava,
        Loihi2 as Loihi2,
        Reference as Reference,
        prepare as prepare,
        run as run,
    )
    from .conversion.check import check as check
    from .conversion.conversion import Conversion as Conversion
    from .conversion.pipeline import convert as convert, tune as tune
    from .conversion.quantization import Quantization as Quantization
    from .conversion.quantize import quantize as quantize
    from .conversion.rates import compare_rates as compare_rates
    from .conversion.restore import restore as restore
    from .conversion.tracing.own_layers import register_layer as register_layer
    from .errors import RmpLavaError as RmpLavaError, RmpLavaWarning as RmpLavaWarning
    from .findings import Finding as Finding
    from .hardware import estimate as estimate, map_network as map_network
    from .network import SpikingNetwork as SpikingNetwork
    from .netx import load as load, save as save
    from .nir import from_nir as from_nir, load_nir as load_nir, save_nir as save_nir, to_nir as to_nir
    from .report.page.page import make_page as make_page, write_page as write_page
    from .results import Run as Run
    from .sources.models import load_trained as load_trained

__version__ = "0.1.0"
_NAMES = {
    "backends": ("Fast", "Lava", "Loihi2", "Reference", "prepare", "run"),
    "conversion.check": ("check",),
    "conversion.conversion": ("Conversion",),
    "conversion.pipeline": ("convert", "tune"),
    "conversion.quantization": ("Quantization",),
    "conversion.quantize": ("quantize",),
    "conversion.rates": ("compare_rates",),
    "conversion.restore": ("restore",),
    "conversion.tracing.own_layers": ("register_layer",),
    "errors": ("RmpLavaError", "RmpLavaWarning"),
    "findings": ("Finding",),
    "hardware": ("estimate", "map_network"),
    "netx": ("load", "save"),
    "network": ("SpikingNetwork",),
    "nir": ("from_nir", "load_nir", "save_nir", "to_nir"),
    "report.page.page": ("make_page", "write_page"),
    "results": ("Run",),
    "sources.models": ("load_trained",),
}
_settle()
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = [*_MODULES, "__version__", "plot"]


def __getattr__(name: str) -> Any:
    if name == "plot":
        return importlib.import_module(f"{__name__}.plot")
    if name not in _MODULES:
        raise AttributeError(f"module 'rmp_lava' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
