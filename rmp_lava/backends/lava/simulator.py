"""Backend `lava`: the Lava CPU simulator, run in a process group of its own and always ended with it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection

import numpy as np

from ...choices import Implementation
from ...errors import BackendError, BackendUnavailableError
from ...network import SpikingNetwork
from ...results import Run
from ...schedule import Schedule
from ..obstacles import narrow_geometry, refuse
from ..options import Lava
from .job import Job, NetworkTask
from .session import probed_layers, run_network


def availability() -> str | None:
    """Why Lava cannot run here, or None if it can."""
    if sys.version_info[:2] != (3, 10):
        return (
            f"Lava 0.10 runs on Python 3.10 only, and this is {sys.version_info[0]}.{sys.version_info[1]}; "
            "make a Python 3.10 environment (make demo does) and pip install '.[lava]' there"
        )
    if importlib.util.find_spec("lava") is None or importlib.util.find_spec("lava.magma") is None:
        return "Lava is not installed; pip install '.[lava]' in the checkout"
    return None


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    plan: Schedule,
    options: Lava | None = None,
    *,
    seed: int = 0,
    record: Collection[str] = (),
    progress: bool = False,
    leak: int = 0,
    adapters: bool = False,
    embedded: bool = False,
) -> Run:
    """Run samples, one after the other, through one compiled network; see `rmp_lava.run`.

    Parameters
    ----------
    leak : {0, 1}
        Of stock neurons; see `build.build`.
    adapters : bool
        Delay messages on their way in and out as a board's adapters do: the deployed graph with its timing.
    embedded : bool
        Let the network hold its input, which is the first image's, in every sample (stock neurons, constant messages).

    Raises
    ------
    BackendUnavailableError
        If Lava is not installed for this Python.
    BackendError
        If Lava fails or the time limit passes. Nothing is left running, not even after Ctrl-C.
    """
    reason = availability()
    if reason:
        raise BackendUnavailableError(f"backend 'lava' cannot run: {reason}")
    options = options or Lava()
    if options.implementation == "stock" and not network.is_integer:
        raise BackendError("stock neurons exist in integers only; quantise the network first")
    if options.conv_model == "lava":
        refuse(narrow_geometry(network, own_model=True), "Lava's own convolution cannot run the network")
    task = NetworkTask(
        plan,
        options.implementation,
        len(images),
        probed=probed_layers(network, record),
        record_spikes="spikes" in record,
        conv_model=options.conv_model,
        neuron_program=options.neuron_program,
        leak=leak,
        embedded=embedded,
    )
    return run_network(
        network,
        images,
        Job(task, "adapted" if adapters else "cpu"),
        backend="lava",
        record=record,
        seed=seed,
        time_limit=options.time_limit,
        progress=progress,
        note=", Lava's sigma-delta neurons"
        if network.is_sigma_delta
        else f", {neuron_note(options.implementation, options.neuron_program)}",
    )


def neuron_note(implementation: Implementation, neuron_program: str | None) -> str:
    """Which neuron model ran, in words."""
    if implementation == "stock":
        return "unmodified LIF with self-synapse"
    return "native RMP" if neuron_program is None else f"native RMP by {neuron_program}"
