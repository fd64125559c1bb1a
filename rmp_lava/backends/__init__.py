"""One call, one result type: `run` a network on samples, on the backend that was asked for and on no other.

`reference` (numpy, the definition), `fast` (PyTorch), `lava` (the Lava CPU simulator, Python 3.10) and `loihi2` (a chip).
A backend that cannot run says why; nothing else runs instead.
"""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from ..choices import Implementation, listed, options
from ..encoding import check_images
from ..errors import RangeOverflowError, UsageError
from ..network import SpikingNetwork
from ..results import Run
from ..schedule import schedule

if TYPE_CHECKING:
    from .loihi2 import Board

BACKENDS = ("reference", "fast", "lava", "loihi2")
CONV_MODELS = ("blas", "lava")
KERNELS = ("auto", "int8", "float32")
RECORDS = ("counts", "spikes", "potentials")
MEASURED_INPUTS = ("chip", "host")


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    backend: str = "fast",
    *,
    implementation: str | None = None,
    seed: int = 0,
    blank: int | None = None,
    power_of_two: bool | None = None,
    record: Collection[str] = (),
    strict: bool = False,
    device: str | None = None,
    kernel: str | None = None,
    memory: int | None = None,
    confidence: float | None = None,
    time_limit: float | None = None,
    conv_model: str | None = None,
    neuron_program: str | None = None,
    board: Board | None = None,
    measure: str | None = None,
    progress: bool = False,
) -> Run:
    """Run samples through a spiking network.

    Parameters
    ----------
    network : SpikingNetwork
    images : numpy.ndarray
        (samples, *input shape) in [0, 1]; for encoding "spikes" (samples, steps, *input shape).
    steps : int
        T, steps of each population's window per sample, see `rmp_lava.schedule`.
    backend : {"reference", "fast", "lava", "loihi2"}
    implementation : {"native", "stock"} or None
        RMP neurons of their own, or made of Lava's unmodified LIF with a self-synapse (backends reference, lava, loihi2). None:
        "stock" on loihi2, unless there is a neuron program, else "native".
    seed : int
        Of the Poisson encoding.
    blank, power_of_two
        Lengthen the period, see `rmp_lava.schedule.schedule`. Blank steps are not observed; None: 0, or for stock neurons
        the 1 that they need at least, in which the threshold of the last spike is subtracted. power_of_two None: on loihi2,
        which resets no other way.
    record : collection of {"counts", "spikes", "potentials"}
        What to keep of every layer: how often each neuron spikes, each spike, the final membrane potentials.
    strict : bool
        Whether a state that reaches the limits of its register is an error.
    device : str or None
        PyTorch device of backend fast. None: "cpu".
    kernel : {"auto", "int8", "float32"} or None
        What computes the weighted sums of backend fast. All are exact; "int8" is refused where it is not to be had,
        "auto" (None) takes it where it is, and `Run.execution` says what ran.
    memory : int or None
        Bytes that backend fast may take besides the network, the images and what is recorded. None: 1 GiB.
    confidence : float or None
        Leave a sample as soon as its prediction has this probability (backend fast; see `Run.steps_used`). It is the
        softmax of the read-out per step, in units of the trained network's outputs.
    time_limit : float or None
        Seconds after which backend lava or loihi2 is ended; None: no limit.
    conv_model : {"blas", "lava"} or None
        What computes the convolutions of backend lava: matrix products, or the model that comes with Lava. Integers are
        the same, real numbers up to rounding (see `rmp_lava.processes.conv_models`). None: "blas".
    neuron_program : str or None
        "package.module:ProcessModel" of `rmp_lava.processes.rmp.RMP` that runs the native neurons of backend lava or loihi2
        instead of ours: for a neuro-core, that is the user's own program. Its module is imported, which runs its code.
    board : Board or None
        Which Loihi 2 board (backend loihi2); None: the one that the environment variables name.
    measure : {"chip", "host"} or None
        Measure the first image's inference on the board too, its messages held by the chip, or sent by the host.
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
        In strict mode, if a state saturated, or wrapped in stock neurons.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    if implementation is None:
        implementation = "stock" if backend == "loihi2" and neuron_program is None else "native"
    _check_call(backend, implementation, record, seed, strict)
    options = {
        "fast": {"device": device, "kernel": kernel, "memory": memory, "confidence": confidence},
        "lava": {"conv_model": conv_model},
        "lava or loihi2": {"time_limit": time_limit, "neuron_program": neuron_program},
        "loihi2": {"board": None if board is None else board.describe(), "measure": measure},
    }
    _refuse_foreign_options(backend, options)
    _check_options(network, kernel, memory, confidence, time_limit, conv_model)
    if neuron_program is not None and (implementation != "native" or not network.is_integer):
        raise UsageError(
            "a neuron program takes the place of native neurons of integer networks; use implementation 'native'"
        )
    if measure not in (None, *MEASURED_INPUTS):
        raise UsageError(f"measure {measure!r} is unknown; choose one of {', '.join(MEASURED_INPUTS)}")
    power_of_two = backend == "loihi2" if power_of_two is None else power_of_two
    plan = schedule(network, steps, blank=_blank(blank, implementation), power_of_two=power_of_two)
    images = check_images(images, network.input)
    common = {"seed": seed, "record": record, "progress": progress}
    if backend == "reference":
        from . import reference

        result = reference.run(network, images, plan, implementation=implementation, **common)
    elif backend == "fast":
        from . import fast

        chosen = {"device": device or "cpu", "kernel": kernel or "auto", "memory": memory, "confidence": confidence}
        result = fast.run(network, images, plan, **chosen, **common)
    elif backend == "lava":
        from .lava import simulator

        chosen = {"conv_model": conv_model or "blas", **options["lava or loihi2"]}
        result = simulator.run(network, images, plan, implementation=implementation, **chosen, **common)
    else:
        from . import loihi2

        chosen = {"board": board, "measure_input": measure, **options["lava or loihi2"]}
        result = loihi2.run(network, images, plan, implementation=implementation, **chosen, **common)
    if strict:
        _refuse_overflow(result)
    return result


def _check_call(backend: str, implementation: str, record: Collection[str], seed: int, strict: bool) -> None:
    if implementation not in options(Implementation):
        raise UsageError(f"implementation {implementation!r} is unknown; choose one of {listed(Implementation)}")
    if isinstance(record, str):
        raise UsageError(f"record is the text {record!r}; give a collection such as ({record!r},)")
    unknown = sorted(set(record) - set(RECORDS))
    if unknown:
        raise UsageError(f"{unknown[0]!r} cannot be recorded; choose from {', '.join(RECORDS)}")
    if backend == "fast" and implementation == "stock":
        raise UsageError("backend 'fast' has native neurons only; use 'reference' or 'lava' for stock ones")
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise UsageError(f"seed is {seed!r}; it must be a whole number of 0 or more")
    if strict and backend in ("lava", "loihi2"):
        raise UsageError(
            f"backend {backend!r} does not see saturation, so it cannot be strict; use 'reference' or 'fast' for that"
        )


def _blank(blank: int | None, implementation: str) -> int:
    least = 1 if implementation == "stock" else 0
    if blank is not None and blank < least:
        raise UsageError(f"blank steps are {blank}; implementation {implementation!r} takes {least} or more")
    return least if blank is None else blank


def _refuse_foreign_options(backend: str, options: dict[str, dict[str, object]]) -> None:
    for owner, values in options.items():
        for name, value in values.items():
            if value is not None and backend not in owner.split(" or "):
                raise UsageError(
                    f"{name.replace('_', ' ')} {value!r} is for backend {owner!r}; backend {backend!r} has none"
                )


def _check_options(
    network: SpikingNetwork,
    kernel: str | None,
    memory: int | None,
    confidence: float | None,
    time_limit: float | None,
    conv_model: str | None,
) -> None:
    for name, value, allowed in (("kernel", kernel, KERNELS), ("conv model", conv_model, CONV_MODELS)):
        if value is not None and value not in allowed:
            raise UsageError(f"{name} {value!r} is unknown; choose one of {', '.join(allowed)}")
    if time_limit is not None and not 0 < time_limit < float("inf"):
        raise UsageError(f"time limit {time_limit} is not possible; it takes a positive number of seconds")
    if memory is not None and memory < 1:
        raise UsageError(f"memory is {memory}; it takes a positive number of bytes")
    if confidence is not None:
        if not 0 < confidence <= 1:
            raise UsageError(f"confidence is {confidence}; it must be above 0 and at most 1")
        if network.provenance.get("output_scale") is None:
            raise UsageError(
                f"network {network.name!r} does not say what its read-out means in units of the trained network, so there "
                "is no confidence; convert it with this version, or set provenance['output_scale']"
            )


def _refuse_overflow(result: Run) -> None:
    # What wraps is what saturates next, so it is named first; the definition's own input has no limit.
    for name, count in result.large_inputs.items() if result.implementation == "stock" else ():
        if count:
            raise RangeOverflowError(
                f"stock neurons of layer {name!r} wrapped {count} times at 2^17 weight units of current or potential; convert "
                "for fewer steps or with smaller weights (soft reset: --for-board), or run without strict"
            )
    for name, count in result.saturations.items():
        if count:
            raise RangeOverflowError(
                f"layer {name!r} saturated its 24-bit membrane potential {count} times; "
                "choose a smaller weight scale or fewer steps, or run without strict"
            )
