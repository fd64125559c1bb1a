"""What is special to each backend, as frozen values: `run(network, images, steps, Fast(kernel="int8"))`.

A backend's name is the short form of its value with every default: "fast" means `Fast()`. Each raises `UsageError` for values
that are not allowed, or that contradict each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar

from ..choices import Backend, ConvModel, Implementation, Kernel, MeasuredInput, check_choice, listed
from ..errors import UsageError
from .board import Board


@dataclass(frozen=True)
class Reference:
    """Backend `reference`: numpy, slow, the definition that the others are tested against.

    Parameters
    ----------
    implementation : {"native", "stock"}
        RMP neurons, or the model of those built from Lava's unmodified LIF (integer networks only).
    """

    name: ClassVar[Backend] = "reference"
    implementation: Implementation = "native"

    def __post_init__(self) -> None:
        check_choice("implementation", self.implementation, Implementation)


@dataclass(frozen=True)
class Fast:
    """Backend `fast`: PyTorch and numba, exact for integer networks, native neurons only.

    Parameters
    ----------
    device : str
        PyTorch device.
    kernel : {"auto", "int8", "int8-matmul", "float32", "events"}
        What computes the weighted sums; all are exact. "int8" fails where it is unavailable; "int8-matmul" is its counterpart on
        GPUs, which newer releases of PyTorch also have on CPUs. "events" adds the weights of
        active neurons only, in every synapse that allows it: 8-bit weights (or even ones of 9 bits), convolutions without
        dilation and groups. "auto" is "int8" where it is available, else "float32", and "events" for those blocks of steps
        in which so few neurons spike that it costs less. `Run.execution` names what ran.
    memory : int or None
        Bytes to use in addition to the network, the images and what is recorded. None: 1 GiB, on a GPU 8 GiB.
    confidence : float or None
        Stop a sample once its prediction has this probability, 0 < confidence <= 1: the softmax of the read-out per step,
        in units of the trained network's outputs. `Run.steps_used` holds the steps that each sample took. None: never.
    first_sample : int
        Index of the first sample, for Poisson spikes: a run of samples 250 .. 499 draws those that a run of all of them draws.
    """

    name: ClassVar[Backend] = "fast"
    implementation: ClassVar[Implementation] = "native"
    device: str = "cpu"
    kernel: Kernel = "auto"
    memory: int | None = None
    confidence: float | None = None
    first_sample: int = 0

    def __post_init__(self) -> None:
        check_choice("kernel", self.kernel, Kernel)
        if not isinstance(self.first_sample, Integral) or self.first_sample < 0:
            raise UsageError(f"first_sample is {self.first_sample}; it must be an integer of 0 or more")
        if self.memory is not None and (not isinstance(self.memory, Integral) or self.memory < 1):
            raise UsageError(f"memory is {self.memory}; allowed are positive integers (bytes)")
        if self.confidence is not None and not (isinstance(self.confidence, Real) and 0 < self.confidence <= 1):
            raise UsageError(f"confidence is {self.confidence}; it must be above 0 and at most 1")


@dataclass(frozen=True)
class Lava:
    """Backend `lava`: the Lava CPU simulator (Python 3.10), in a process of its own.

    Parameters
    ----------
    implementation : {"native", "stock"}
        A neuron model for RMP, or Lava's unmodified LIF with a self-synapse (integer networks only).
    conv_model : {"blas", "lava"}
        What computes convolutions: matrix products, or Lava's own slow model. Integer results are equal, real ones equal
        up to rounding (`rmp_lava.processes.conv_models`).
    neuron_program : str or None
        "package.module:ProcessModel" of `rmp_lava.processes.rmp.RMP` that replaces our native neurons. Importing the
        module runs its code.
    time_limit : float or None
        Seconds after which the run is ended with an error. None: no limit.
    """

    name: ClassVar[Backend] = "lava"
    implementation: Implementation = "native"
    conv_model: ConvModel = "blas"
    neuron_program: str | None = None
    time_limit: float | None = None

    def __post_init__(self) -> None:
        check_choice("implementation", self.implementation, Implementation)
        check_choice("conv model", self.conv_model, ConvModel)
        if self.neuron_program is not None and self.implementation != "native":
            raise UsageError("neuron_program replaces native neurons; use implementation='native' or leave it out")
        _check_time_limit(self.time_limit)


@dataclass(frozen=True)
class Loihi2:
    """Backend `loihi2`: a Loihi 2 board through INRC access. Never run on hardware by its authors.

    Parameters
    ----------
    board : Board or None
        None: the board that the environment variables name (`Board.from_environment`).
    implementation : {"stock", "native"}
        The chip's LIF neurons with a self-synapse, or native neurons by `neuron_program`.
    measure : {"chip", "host"} or None
        Also measure the first image's inference on the board, its messages held by the chip or sent by the host (stock
        neurons only); see `Run.measurement`.
    neuron_program : str or None
        "package.module:ProcessModel" of `rmp_lava.processes.rmp.RMP` for a neuro-core, your own. Importing the module runs
        its code.
    time_limit : float or None
        Seconds after which each run on the board is ended with an error. None: no limit.
    """

    name: ClassVar[Backend] = "loihi2"
    board: Board | None = None
    implementation: Implementation = "stock"
    measure: MeasuredInput | None = None
    neuron_program: str | None = None
    time_limit: float | None = None

    def __post_init__(self) -> None:
        check_choice("implementation", self.implementation, Implementation)
        if (self.implementation == "native") != (self.neuron_program is not None):
            raise UsageError(
                "implementation 'native' requires neuron_program (your own neuro-core program); 'stock' does not accept one"
            )
        if self.measure is not None:
            check_choice("measure", self.measure, MeasuredInput)
            if self.implementation == "native":
                raise UsageError("only stock neurons are measured; leave out measure, or use implementation='stock'")
        _check_time_limit(self.time_limit)


BackendOptions = Reference | Fast | Lava | Loihi2
KINDS: dict[Backend, type[BackendOptions]] = {"reference": Reference, "fast": Fast, "lava": Lava, "loihi2": Loihi2}


def options_of(backend: Backend | BackendOptions) -> BackendOptions:
    """The value that a name is the short form of; a value as it is.

    Raises
    ------
    UsageError
        If it is neither a backend's name nor one of the four values.
    """
    if isinstance(backend, BackendOptions):
        return backend
    if isinstance(backend, str) and backend in KINDS:
        return KINDS[backend]()
    raise UsageError(f"backend {backend!r} is unknown; choose one of {listed(Backend)}, or pass Fast(...) and the like")


def _check_time_limit(seconds: float | None) -> None:
    if seconds is not None and not (isinstance(seconds, Real) and 0 < seconds < math.inf):
        raise UsageError(f"time limit is {seconds}; it must be a positive number of seconds")
