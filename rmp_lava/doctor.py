"""Which parts of the package work on this machine: what this package computes is tried out, the rest is looked up."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass

from .errors import RmpLavaError


@dataclass(frozen=True)
class Diagnosis:
    """One part: whether it works, what was found, and what to do if it does not."""

    part: str
    works: bool
    found: str
    remedy: str = ""


def diagnose() -> list[Diagnosis]:
    """Try every part; nothing is raised for what does not work."""
    return [
        Diagnosis("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *[_library(name) for name in ("torch", "numpy", "h5py")],
        _attempt("conversion and backends reference, fast", _try_core),
        _attempt("data set digits", lambda: _try_data("digits")),
        _attempt("data set fashion-mnist", lambda: _try_data("fashion-mnist")),
        _attempt("GPU", _try_gpu),
        _lava(),
        _lava_dl(),
        *_loihi2(),
    ]


def _library(name: str) -> Diagnosis:
    try:
        __import__(name)
        return Diagnosis(name, True, importlib.metadata.version(name))
    except Exception as error:  # a broken library can raise anything at import
        return Diagnosis(name, False, f"cannot be imported ({error})", f"pip install --force-reinstall {name}")


def _attempt(part: str, trial: Callable[[], str]) -> Diagnosis:
    try:
        return Diagnosis(part, True, trial())
    except RmpLavaError as error:
        found, _, remedy = str(error).partition("; ")
        return Diagnosis(part, False, found, remedy)
    except Exception as error:  # a broken installation can raise anything
        return Diagnosis(
            part, False, f"{type(error).__name__}: {error}", "install rmp-lava again into a fresh environment"
        )


def _tiny_network():
    import numpy as np

    from .encoding import make_input
    from .network import INPUT, Dense, Layer, Neurons, SpikingNetwork

    weight = np.array([[100, -20], [-40, 120]])
    layers = (
        Layer("first", (2,), (Dense(INPUT, weight),), Neurons(100, "soft")),
        Layer("second", (2,), (Dense("first", weight),), Neurons(100, "soft")),
    )
    network = SpikingNetwork("tiny", make_input("poisson", (2,)), layers, "int", "count")
    return network, np.array([[0.9, 0.2], [0.3, 0.8]], dtype=np.float32)


def _try_core() -> str:
    import numpy as np

    from .backends import run
    from .errors import BackendError

    network, images = _tiny_network()
    results = [run(network, images, 8, backend, record=("spikes",)) for backend in ("reference", "fast")]
    if not all(np.array_equal(results[0].spikes[name], results[1].spikes[name]) for name in results[0].spikes):
        raise BackendError("backends reference and fast give different spikes; this is a defect, please report it")
    return f"equal spikes; fast: {results[1].execution}"


def _try_data(name: str) -> str:
    from .training.data import load

    dataset = load(name)
    return f"{len(dataset.train_images):,} training and {len(dataset.test_images):,} test images, {dataset.located}"


def _try_gpu() -> str:
    import torch

    from .errors import BackendUnavailableError

    if not torch.cuda.is_available():
        raise BackendUnavailableError("PyTorch sees none; optional, pass --device cuda where there is one")
    return torch.cuda.get_device_name()


def _lava() -> Diagnosis:
    from .backends.lava import simulator

    reason = simulator.availability()
    if reason:
        found, _, remedy = reason.partition("; ")
        return Diagnosis("Lava CPU simulator", False, found, remedy)
    return _attempt("Lava CPU simulator", _try_lava)


def _try_lava() -> str:
    import numpy as np

    from .backends import Lava, run
    from .errors import BackendError

    network, images = _tiny_network()
    expected = run(network, images, 8, "reference", record=("spikes",))
    found = run(network, images, 8, Lava(time_limit=120), record=("spikes",))
    if not all(np.array_equal(expected.spikes[name], found.spikes[name]) for name in expected.spikes):
        raise BackendError("Lava gives other spikes than the reference; this is a defect, please report it")
    return f"spikes equal the reference's; {found.execution}"


def _lava_dl() -> Diagnosis:
    try:
        return Diagnosis("lava-dl (its loader, optional)", True, importlib.metadata.version("lava-dl"))
    except importlib.metadata.PackageNotFoundError:
        version = ".".join(map(str, sys.version_info[:2]))
        return Diagnosis(
            "lava-dl (its loader, optional)",
            False,
            f"not installed for Python {version}",
            "Python 3.10: pip install '.[lava]' in the checkout",
        )


def _loihi2() -> list[Diagnosis]:
    """What a Loihi 2 board takes, one requirement a line; no board is asked."""
    from .backends.loihi2 import NEVER_RUN, requirements

    return [
        Diagnosis(
            f"Loihi 2 ({NEVER_RUN}): {each.where}",
            each.severity == "ok",
            each.found if each.severity == "ok" else f"{each.kind}: {each.found}",
            each.remedy,
        )
        for each in requirements()
    ]
