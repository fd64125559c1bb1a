"""Backend `loihi2`: a Loihi 2 board through INRC access. Never run on hardware; not yet deployable.

What is decided here: asking for the chip without having it is an error that says so, never a simulation.
"""

from __future__ import annotations

import importlib.util
from typing import NoReturn

import numpy as np

from ..errors import BackendUnavailableError
from ..network import SpikingNetwork
from ..schedule import Schedule


def availability() -> str | None:
    """Why this machine cannot run on Loihi 2, or None if the extension is there."""
    if importlib.util.find_spec("lava") is None:
        return "Lava is not installed (Python 3.10: pip install '.[lava]' in the checkout)"
    if importlib.util.find_spec("lava.magma.compiler.subcompilers.nc") is None:
        return "the extension lava-loihi is not installed (INRC members get it from Intel: inrc_interest@intel.com)"
    return None


def run(network: SpikingNetwork, images: np.ndarray, plan: Schedule) -> NoReturn:
    """Refuse: deployment to the chip is not part of this release.

    Raises
    ------
    BackendUnavailableError
        Always; with the missing extension named where that is the reason.
    """
    reason = availability() or "this release does not deploy to the chip yet, although lava-loihi is here"
    raise BackendUnavailableError(f"backend 'loihi2' cannot run: {reason}; backends 'fast' and 'lava' simulate")
