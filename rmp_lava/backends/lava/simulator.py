"""Backend `lava`: the Lava CPU simulator, run in a process group of its own and always ended with it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection

import numpy as np

from ...errors import BackendError, BackendUnavailableError
from ...network import SpikingNetwork
from ...results import Run
from ...schedule import Schedule
from .job import collect, job_folder, probed_layers, supervise, write_messages


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
    *,
    seed: int = 0,
    implementation: str = "native",
    record: Collection[str] = (),
    time_limit: float | None = None,
    conv_model: str = "blas",
    neuron_program: str | None = None,
    leak: int = 0,
    adapters: bool = False,
    embedded: bool = False,
    progress: bool = False,
) -> Run:
    """Run samples, one after the other through one compiled network; see `rmp_lava.run`.

    Parameters
    ----------
    leak : {0, 1}
        Of stock neurons, see `lava_build.build`.
    adapters : bool
        Let messages enter and leave as late as through a board's adapters: the graph that is deployed, with its timing.
    embedded : bool
        Let the network hold its input, which is the first image's, in every sample (stock neurons, constant messages).

    Raises
    ------
    BackendUnavailableError
        If Lava is not installed for this Python.
    BackendError
        If Lava fails or the time limit passes; nothing is left running, as after Ctrl-C.
    """
    reason = availability()
    if reason:
        raise BackendUnavailableError(f"backend 'lava' cannot run: {reason}")
    if implementation == "stock" and not network.is_integer:
        raise BackendError("stock neurons exist in integers only; quantise the network first")
    job = {
        "target": "adapted" if adapters else "cpu",
        "implementation": implementation,
        "conv_model": conv_model,
        "samples": len(images),
        "record_spikes": "spikes" in record,
        "observed": None,
        "probed": probed_layers(network, record),
        "neuron_program": neuron_program,
        "leak": leak,
        "embedded": embedded,
    }
    with job_folder(network, plan, job) as folder:
        write_messages(network, images, plan, seed, folder / "messages.npy")
        outcome = supervise(folder, len(images), time_limit, progress)
        neuron = "native RMP" if implementation == "native" else "unmodified LIF with self-synapse"
        if neuron_program is not None:
            neuron = f"native RMP by {neuron_program}"
        return collect(
            network,
            plan,
            folder,
            record,
            backend="lava",
            execution=f"{outcome['execution']}, {neuron}",
            implementation=implementation,
            seconds=outcome["seconds"],
        )
