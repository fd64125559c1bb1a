"""A network's layers and its input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..choices import Encoding, listed, options
from ..errors import NetworkError
from .neurons import Neurons
from .synapses import Synapse
from .values import Value, frozen_rates, frozen_scale

INPUT = "input"
"""Name by which a synapse refers to the network's input."""


@dataclass(frozen=True)
class WeightError:
    """What rounding to integers changes in a layer's weights.

    Parameters
    ----------
    rms : float
        Root mean square rounding error over that of the weights. Each weight counts by the mean rate of its source's unit on the
        calibration images, as far as it is known; so weights of silent units do not count.
    worst_row : float or None
        The same of the neuron or channel where it is largest, of those that spike on the calibration images. None: not measured,
        in files of earlier versions, like `zeroed`.
    zeroed : float or None
        Share of the weights other than 0 that became 0.
    """

    rms: float
    worst_row: float | None = None
    zeroed: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Layer(Value):
    """A population of neurons and the synapses that reach it.

    Parameters
    ----------
    name : str
        Unique within the network.
    shape : tuple of int
        (channels, height, width) or (neurons,).
    synapses : tuple of Synapse
        At least one. Each names its source: this is all that a residual graph needs. A recurrent one has the layer itself as
        its source.
    neurons : Neurons
    activation_scale : numpy.ndarray or None
        The activation, in the trained network's units, that one spike per time step represents: float64, (),
        (channels,) or (neurons,).
        Balancing sets it; in an analog network it comes from tuning.
    clip : numpy.ndarray or None
        The ceiling of the trained activation, in its units: float64, () or (channels,). None: a plain ReLU.
    potential_peak : float or None
        Of an integrating read-out: the largest |membrane potential| that balancing saw in `SpikingNetwork.balanced_steps`
        time steps, in weight units of the float network.
    mean_input : (float, float) or None
        Likewise, the smallest and the largest mean input per time step, bias included, of any of its neurons for any image.
    weight_error : WeightError or None
        Of an integer network.
    mean_rate : numpy.ndarray or None
        Mean spikes per time step on the calibration images, float64, (), (channels,) or (neurons,). Balancing sets it; it weights
        rounding errors.
    record : mapping
        A log of what the passes did to this layer, for people; JSON values. No pass reads it.
    """

    name: str
    shape: tuple[int, ...]
    synapses: tuple[Synapse, ...]
    neurons: Neurons
    activation_scale: np.ndarray | None = field(default=None, kw_only=True)
    clip: np.ndarray | None = field(default=None, kw_only=True)
    potential_peak: float | None = field(default=None, kw_only=True)
    mean_input: tuple[float, float] | None = field(default=None, kw_only=True)
    weight_error: WeightError | None = field(default=None, kw_only=True)
    mean_rate: np.ndarray | None = field(default=None, kw_only=True)
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("activation_scale", "clip"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen_scale(getattr(self, name)))
        if self.mean_rate is not None:
            object.__setattr__(self, "mean_rate", frozen_rates(self.mean_rate))
        if self.mean_input is not None:
            object.__setattr__(self, "mean_input", tuple(self.mean_input))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "synapses", tuple(self.synapses))
        object.__setattr__(self, "record", MappingProxyType(dict(self.record)))

    @property
    def size(self) -> int:
        """Number of neurons."""
        return math.prod(self.shape)

    @property
    def forward(self) -> tuple[Synapse, ...]:
        """Synapses from other populations."""
        return tuple(synapse for synapse in self.synapses if synapse.source != self.name)

    @property
    def recurrent(self) -> tuple[Synapse, ...]:
        """Synapses from the layer to itself."""
        return tuple(synapse for synapse in self.synapses if synapse.source == self.name)

    @property
    def late(self) -> str:
        """What lets messages arrive later than one step after they were sent, in words; empty if nothing does."""
        delayed = "synapses with delays" if any(synapse.longest_delay for synapse in self.synapses) else ""
        return "recurrent synapses" if self.recurrent else delayed


@dataclass(frozen=True)
class Companion:
    """A file stored next to a network's `.net`: the trained network that it was made from.

    Parameters
    ----------
    kind : {"ann", "onnx"}
        Weights or program that can be converted again, or ONNX for use without the code.
    file : str
        Its name, in the folder of the `.net`.
    sha256 : str
        Of its content, in hexadecimal digits.
    builder : str or None
        "package.module:function" that returns the network whose weights the file holds, where a function does.
    """

    kind: str
    file: str
    sha256: str
    builder: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Input(Value):
    """What enters the network at each time step.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width) or (values,).
    encoding : {"poisson", "rate", "current", "spikes", "frames"}
        How an image becomes messages: Bernoulli spikes with the pixel as probability (the paper's Poisson input), a
        deterministic rate code (an RMP neuron driven by the pixel, see `neurons`), the pixel itself as a constant
        graded message, or events that the user provides: spikes, or numbers of events, each of which acts like a spike. "frames"
        are integers that the user provides for a sigma-delta network, where "current" too may have a frame for each time step.
    levels : int or None
        Largest message: 1 for spikes, 255 for 8-bit pixels; of "frames" the largest magnitude. None: real values, float
        networks only.
    neurons : Neurons or None
        A population that the pixel drives directly, without synapse or delay; its spikes are the messages.
    """

    shape: tuple[int, ...]
    encoding: Encoding = "poisson"
    levels: int | None = 1
    neurons: Neurons | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if self.encoding not in options(Encoding):
            raise NetworkError(f"input encoding {self.encoding!r} is unknown; choose one of {listed(Encoding)}")

    @property
    def full_scale(self) -> int:
        """The message that stands for an activation of 1: the largest one, but 1 where messages count events."""
        return 1 if self.encoding == "spikes" else self.largest_message

    @property
    def largest_message(self) -> int:
        """Largest value that a synapse can receive from the input (1 where neurons spike)."""
        return 1 if self.neurons is not None or self.levels is None else self.levels
