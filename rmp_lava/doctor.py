"""Which parts of the package work on this machine: its own computations are tried, everything else is looked up."""

from __future__ import annotations

import importlib.metadata
import operator
import platform
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .errors import RmpLavaError
from .findings import Finding
from .machine import versions

if TYPE_CHECKING:
    import numpy as np

    from .backends import Fast, Lava
    from .network import SpikingNetwork
    from .results import Run

EXTRAS = {
    "fast": "compiled neurons",
    "lava": "Lava's simulator and lava-dl",
    "onnx": "ONNX files",
    "nir": "writing NIR files",
    "safetensors": "weights in .safetensors",
    "report": "the HTML page",
    "events": "N-MNIST, DVS-Gesture, SHD",
    "cluster": "sweeps on several machines",
    "benchmarks": "pictures of the benchmarks",
    "docs": "the documentation site and its notebooks",
}
"""What each extra is for; `dev` is for developers of this package."""
_LAVA_DL = "lava-dl (its loader, optional)"


def diagnose() -> list[Finding]:
    """Try every part; a part that does not work is an obstacle, never an exception."""
    return [
        Finding("ok", "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *[_library(name) for name in ("torch", "numpy", "h5py")],
        *extras(_requirements()),
        _attempt("conversion and backends reference, fast", _try_core),
        _attempt("data set digits", lambda: _try_data("digits")),
        _attempt("data set fashion-mnist", lambda: _try_data("fashion-mnist")),
        _attempt("GPU", _try_gpu),
        _attempt("Lava CPU simulator", _try_lava),
        _lava_dl(),
        *_loihi2(),
    ]


def _library(name: str) -> Finding:
    try:
        __import__(name)
        return Finding("ok", name, importlib.metadata.version(name))
    except Exception as error:  # a broken library can raise anything at import
        return Finding("obstacle", name, f"cannot be imported ({error})", f"pip install --force-reinstall {name}")


def _requirements() -> list[str]:
    """What this package requires as it is installed; none where it is not."""
    try:
        return importlib.metadata.requires("rmp-lava") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def extras(requirements: Iterable[str]) -> list[Finding]:
    """One finding for each extra that requirements name and this Python can have: its packages, and what is missing."""
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        if extra and extra[1] != "dev" and _meant_for(requirement, sys.version_info[:2]):
            found.setdefault(extra[1], []).append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    return [_extra(name, packages) for name, packages in found.items()]


def _extra(name: str, packages: list[str]) -> Finding:
    present = versions(packages)
    missing = [package for package in packages if package not in present]
    part = f"extra [{name}]" + (f": {EXTRAS[name]}" if name in EXTRAS else "")
    if not missing:
        return Finding("ok", part, ", ".join(" ".join(each) for each in present.items()))
    return Finding(
        "information", part, f"not installed: {', '.join(missing)}", f"pip install '.[{name}]' in the checkout"
    )


def _meant_for(requirement: str, version: tuple[int, int]) -> bool:
    """Whether a requirement's conditions on Python's version hold."""
    compare = {">=": operator.ge, "<": operator.lt, "==": operator.eq}
    conditions = re.findall(r"python_version (>=|<|==) ['\"](\d+)\.(\d+)['\"]", requirement)
    return all(compare[how](version, (int(major), int(minor))) for how, major, minor in conditions)


def _attempt(part: str, trial: Callable[[], str]) -> Finding:
    try:
        return Finding("ok", part, trial())
    except RmpLavaError as error:
        return Finding("obstacle", part, str(error))
    except Exception as error:  # a broken installation can raise anything
        found, remedy = f"{type(error).__name__}: {error}", "install rmp-lava again into a fresh environment"
        return Finding("obstacle", part, found, remedy)


def _tiny_network() -> tuple[SpikingNetwork, np.ndarray]:
    import numpy as np

    from .encoding import make_input
    from .network import INPUT, Dense, Layer, Neurons, SpikingNetwork

    weight = np.array([[100, -20], [-40, 120]])
    layers = (
        Layer("first", (2,), (Dense(INPUT, weight),), Neurons(100, "soft")),
        Layer("second", (2,), (Dense("first", weight),), Neurons(100, "soft")),
    )
    network = SpikingNetwork("tiny", make_input("poisson", (2,)), layers, "integer", "count")
    return network, np.array([[0.9, 0.2], [0.3, 0.8]], dtype=np.float32)


def _equal_to_reference(backend: Fast | Lava) -> Run:
    """Run a tiny network on a backend; raise `BackendError` if its spikes differ from the reference's."""
    import numpy as np

    from .backends import run
    from .errors import BackendError

    network, images = _tiny_network()
    expected = run(network, images, 8, "reference", record={"spikes"})
    found = run(network, images, 8, backend, record={"spikes"})
    if not all(np.array_equal(expected.spikes[name], found.spikes[name]) for name in expected.spikes):
        raise BackendError(
            f"backends reference and {found.backend} give different spikes; this is a defect, please report it"
        )
    return found


def _try_core() -> str:
    from .backends import Fast

    return f"equal spikes; fast: {_equal_to_reference(Fast()).execution}"


def _try_data(name: str) -> str:
    from .training.data import load

    dataset = load(name)
    return f"{len(dataset.train_images):,} training and {len(dataset.test_images):,} test images, {dataset.located}"


def _try_gpu() -> str:
    import torch

    from .errors import BackendUnavailableError

    if not torch.cuda.is_available():
        raise BackendUnavailableError("PyTorch finds no GPU; a GPU is optional (--device cuda)")
    return torch.cuda.get_device_name()


def _try_lava() -> str:
    from .backends import Lava
    from .backends.lava import simulator
    from .errors import BackendUnavailableError

    if reason := simulator.availability():
        raise BackendUnavailableError(reason)
    return f"spikes equal the reference's; {_equal_to_reference(Lava(time_limit=120)).execution}"


def _lava_dl() -> Finding:
    try:
        return Finding("ok", _LAVA_DL, importlib.metadata.version("lava-dl"))
    except importlib.metadata.PackageNotFoundError:
        version = ".".join(map(str, sys.version_info[:2]))
        remedy = "Python 3.10: pip install '.[lava]' in the checkout"
        return Finding("obstacle", _LAVA_DL, f"not installed for Python {version}", remedy)


def _loihi2() -> list[Finding]:
    """One finding per requirement of a Loihi 2 board; no board is accessed."""
    from .backends.loihi2 import NEVER_RUN, requirements

    return [
        Finding(
            "ok" if each.severity == "ok" else "obstacle",
            f"Loihi 2 ({NEVER_RUN}): {each.where}",
            each.found if each.severity == "ok" else f"{each.kind}: {each.found}",
            each.remedy,
        )
        for each in requirements()
    ]
