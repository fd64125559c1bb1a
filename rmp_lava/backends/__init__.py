"""One call, one result type: `run` a network on samples, on the backend that was asked for and on no other.

`reference` (numpy, the definition), `fast` (PyTorch), `lava` (the Lava CPU simulator, Python 3.10) and `loihi2` (a chip).
A backend that cannot run says why; nothing else runs instead.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..encoding import check_images
from ..errors import RangeOverflowError, UsageError
from ..network import SpikingNetwork
from ..results import Run
from ..schedule import schedule

BACKENDS = ("reference", "fast", "lava", "loihi2")
REALISATIONS = ("native", "stock")
RECORDS = ("spikes", "potentials")


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    backend: str = "fast",
    *,
    realisation: str = "native",
    seed: int = 0,
    blank: int = 0,
    power_of_two: bool = False,
    record: Collection[str] = (),
    strict: bool = False,
    device: str = "cpu",
    time_limit: float | None = None,
    progress: bool = False,
) -> Run:
    """Run samples through a spiking network.

    Parameters
    ----------
    network : SpikingNetwork
    images : numpy.ndarray
        (samples, *input shape) in [0, 1]; for encoding "spikes" (samples, steps, *input shape).
    steps : int
        T, steps of input per sample; the network's depth is added, see `rmp_lava.schedule`.
    backend : {"reference", "fast", "lava", "loihi2"}
    realisation : {"native", "stock"}
        RMP neurons of their own, or made of Lava's unmodified LIF with a self-synapse. Backends reference and lava.
    seed : int
        Of the Poisson encoding.
    blank, power_of_two
        Lengthen the period, see `rmp_lava.schedule.schedule`.
    record : collection of {"spikes", "potentials"}
        What to keep of every layer: each spike, the final membrane potentials.
    strict : bool
        Whether a state that reaches the limits of its register is an error.
    device : str
        PyTorch device of backend fast.
    time_limit : float or None
        Seconds after which backend lava is ended; None: no limit.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    Run
        With what really ran in `execution`.

    Raises
    ------
    UsageError, DataError
        If an argument or the images cannot be meant.
    BackendUnavailableError
        If the backend is not on this machine. No other backend runs instead.
    BackendError
        If the backend fails.
    RangeOverflowError
        In strict mode, if a state saturated.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    if realisation not in REALISATIONS:
        raise UsageError(f"realisation {realisation!r} is unknown; choose one of {', '.join(REALISATIONS)}")
    unknown = sorted(set(record) - set(RECORDS))
    if unknown:
        raise UsageError(f"{unknown[0]!r} cannot be recorded; choose from {', '.join(RECORDS)}")
    if backend == "fast" and realisation == "stock":
        raise UsageError("backend 'fast' has native neurons only; use 'reference' or 'lava' for stock ones")
    if device != "cpu" and backend != "fast":
        raise UsageError(f"device {device!r} is for backend 'fast'; backend {backend!r} has none")
    if time_limit is not None and (backend != "lava" or not 0 < time_limit < float("inf")):
        raise UsageError(
            f"time limit {time_limit} is not possible; it takes backend 'lava' and a positive number of seconds"
        )
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be 0 or more")
    if strict and backend == "lava":
        raise UsageError(
            "backend 'lava' does not see saturation, so it cannot be strict; use 'reference' or 'fast' for that"
        )
    plan = schedule(network, steps, blank=blank, power_of_two=power_of_two)
    images = check_images(images, network.input)
    if backend == "reference":
        from . import reference

        result = reference.run(
            network, images, plan, seed=seed, realisation=realisation, record=record, progress=progress
        )
    elif backend == "fast":
        from . import fast

        result = fast.run(network, images, plan, seed=seed, record=record, device=device, progress=progress)
    elif backend == "lava":
        from . import lava_sim

        result = lava_sim.run(
            network,
            images,
            plan,
            seed=seed,
            realisation=realisation,
            record=record,
            time_limit=time_limit,
            progress=progress,
        )
    else:
        from . import loihi2

        result = loihi2.run(network, images, plan)
    if strict:
        _refuse_overflow(result)
    return result


def _refuse_overflow(result: Run) -> None:
    for name, count in result.saturations.items():
        if count:
            raise RangeOverflowError(
                f"layer {name!r} saturated its 24-bit membrane potential {count} times; "
                "choose a smaller weight scale or fewer steps, or run without strict"
            )
