"""A network's layers and its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..choices import Encoding, listed, options
from ..errors import NetworkError
from .neurons import Neurons
from .synapses import Synapse
from .values import Value

INPUT = "input"
"""Name by which a synapse refers to the network's input."""


@dataclass(frozen=True, eq=False)
class Layer(Value):
    """A population of neurons and the synapses that reach it.

    Parameters
    ----------
    name : str
        Unique within the network.
    shape : tuple of int
        (channels, height, width) or (neurons,).
    synapses : tuple of Synapse
        At least one. Each names its source: this is all that a residual graph needs.
    neurons : Neurons
    record : mapping
        Every choice that a pass made on this layer (scales, errors, counts), by name; JSON values only.
    """

    name: str
    shape: tuple[int, ...]
    synapses: tuple[Synapse, ...]
    neurons: Neurons
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "synapses", tuple(self.synapses))
        object.__setattr__(self, "record", MappingProxyType(dict(self.record)))

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, eq=False)
class Input(Value):
    """What enters the network at each time step.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width) or (values,).
    encoding : {"poisson", "rate", "current", "spikes"}
        How an image becomes messages: Bernoulli spikes with the pixel as probability (the paper's Poisson input), a
        deterministic rate code (an RMP neuron driven by the pixel, see `neurons`), the pixel itself as a constant
        graded message, or spikes that the user brings.
    levels : int or None
        Largest message: 1 for spikes, 255 for 8-bit pixels. None: real values, float networks only.
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
    def largest_message(self) -> int:
        """Largest value that a synapse can receive from the input (1 where neurons spike)."""
        return 1 if self.neurons is not None or self.levels is None else self.levels
