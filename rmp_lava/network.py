"""The one data structure: a `SpikingNetwork` of layers, each with its synapses and one population of neurons.

Everything that happens on the way (conversion, balancing, quantisation, export, simulation, deployment) takes a
`SpikingNetwork` and gives one. All classes are frozen and their arrays read-only; a pass makes a new network.

Shapes follow PyTorch: an image is (channels, height, width), a flat population (neurons,). Flattening is C order.
Two number formats exist: `"float"` (real weights, real threshold) and `"int"` (the integers that Loihi 2 stores).
Thresholds, initial potentials and currents are given in weight units in both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from .errors import NetworkError

INPUT = "input"
"""Name by which a synapse refers to the network's input."""

NumberFormat = Literal["float", "int"]
Reset = Literal["soft", "hard", "none"]
Encoding = Literal["poisson", "rate", "current", "spikes"]
Readout = Literal["count", "potential"]

RESETS = ("soft", "hard", "none")
ENCODINGS = ("poisson", "rate", "current", "spikes")
READOUTS = ("count", "potential")
NO_MEMORY = 4096
"""A decay of 4096/4096: the state is forgotten within one step."""
MAX_PADDED = 2**28
"""Values of a convolution's source with its padding; a file of a few bytes can ask for any."""


class _Value:
    """Equality by value for frozen dataclasses that hold numpy arrays."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self) if f.compare)

    __hash__ = None  # type: ignore[assignment]

    def replace(self, **changes: Any):
        """A copy with the given fields changed."""
        return dataclasses.replace(self, **changes)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return (
            isinstance(a, np.ndarray)
            and isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and np.array_equal(a, b)
        )
    return a == b


def _frozen_array(value: Any) -> np.ndarray:
    """A read-only copy: whole numbers as int16 (int64 where that is too narrow), real ones as float32."""
    array = np.array(value)
    if array.dtype.kind == "u" and array.size and array.max() >= 2**63:
        raise NetworkError(f"an array holds {array.max()}; whole numbers here are of at most 63 bits")
    if array.dtype.kind in "iu":
        fits = not array.size or (array.min() >= -(2**15) and array.max() < 2**15)
        array = array.astype(np.int16 if fits else np.int64)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Neurons(_Value):
    """One population's neuron parameters; the dynamics are defined in `rmp_lava.neuron`.

    The default is the residual-membrane-potential (RMP) neuron of Han, Srinivasan and Roy (CVPR 2020): integrate and
    fire, where a spike subtracts the threshold from the membrane potential.

    Parameters
    ----------
    threshold : float or int
        V_th in weight units; the integer is Loihi's 17-bit mantissa. A neuron that never spikes still carries one.
    reset : {"soft", "hard", "none"}
        At a spike: subtract the threshold, set to zero, or never spike at all (an integrating read-out).
    v_init : float or int
        Membrane potential at the first step of each sample, in weight units.
    bias : numpy.ndarray or None
        Added to the membrane potential at each step. Shape (), (channels,) or the population's. Real weight units in a
        float network; in an integer network the 13-bit mantissa of `bias << bias_exponent`, in 1/64 of a weight unit.
    bias_exponent : int
        0..7, integer networks only.
    current_decay, voltage_decay : int
        Loihi's 12-bit decays, in 1/4096 per step. RMP and plain integrate-and-fire neurons have 4096 (the current is
        just the input) and 0 (no leak). Other values are lava-dl's CUBA neuron and exist for integers only.
    """

    threshold: float | int
    reset: Reset = "soft"
    v_init: float | int = 0
    bias: np.ndarray | None = None
    bias_exponent: int = 6
    current_decay: int = NO_MEMORY
    voltage_decay: int = 0

    def __post_init__(self) -> None:
        if self.reset not in RESETS:
            raise NetworkError(f"neuron reset {self.reset!r} is unknown; choose one of {', '.join(RESETS)}")
        if self.bias is not None:
            object.__setattr__(self, "bias", _frozen_array(self.bias))
        else:
            object.__setattr__(self, "bias_exponent", type(self).bias_exponent)  # without a bias it means nothing

    @property
    def is_leaky(self) -> bool:
        """Whether this is a CUBA neuron with memory in its current or a leak in its potential."""
        return self.current_decay != NO_MEMORY or self.voltage_decay != 0

    def bias_per_neuron(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """The bias broadcast to the population's shape, or None."""
        if self.bias is None:
            return None
        bias = self.bias
        if bias.ndim == 1 and len(shape) == 3 and bias.shape[0] == shape[0]:
            bias = bias[:, None, None]
        return np.broadcast_to(bias, shape)


@dataclass(frozen=True, eq=False)
class Synapse(_Value):
    """Connections from one source (a layer's name or `INPUT`) to a layer; for their delay see `rmp_lava.schedule`."""

    source: str
    weight: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _frozen_array(self.weight))

    def output_shape(self, source_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the population that these synapses reach.

        Raises
        ------
        NetworkError
            If the source's shape does not fit the weights.
        """
        raise NotImplementedError

    def fan_out(self, source_shape: tuple[int, ...]) -> np.ndarray:
        """Synaptic operations that one message of each source neuron causes: its non-zero weights, borders exact.

        Returns
        -------
        numpy.ndarray
            int64, of the source's shape. Loihi 2 counts non-zero weights only.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Dense(Synapse):
    """Fully connected: weight (outputs, inputs); the source is flattened in C order."""

    def output_shape(self, source_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = int(np.prod(source_shape))
        if self.weight.ndim != 2 or self.weight.shape[1] != size:
            raise NetworkError(
                f"dense weights of shape {self.weight.shape} do not fit their source {self.source!r} with {size} "
                f"neurons; expected (outputs, {size})"
            )
        return (self.weight.shape[0],)

    def fan_out(self, source_shape: tuple[int, ...]) -> np.ndarray:
        return np.count_nonzero(self.weight, axis=0).astype(np.int64).reshape(source_shape)


@dataclass(frozen=True, eq=False)
class Conv(Synapse):
    """Two-dimensional convolution in PyTorch's convention (a cross-correlation).

    weight (C_out, C_in / groups, kernel height, kernel width); stride, padding and dilation as (height, width).
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("stride", "padding", "dilation"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def output_shape(self, source_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(source_shape) != 3:
            raise NetworkError(
                f"a convolution needs a (channels, height, width) source, but {self.source!r} has shape {source_shape}"
            )
        if self.weight.ndim != 4 or not self.weight.size:
            raise NetworkError(
                f"convolution weights from {self.source!r} have shape {self.weight.shape}; "
                "expected (C_out, C_in / groups, kernel height, kernel width), none of them 0"
            )
        if min(*self.stride, *self.dilation, self.groups) < 1 or min(self.padding) < 0:
            raise NetworkError(
                f"convolution from {self.source!r} has stride {self.stride}, padding {self.padding}, dilation "
                f"{self.dilation}, groups {self.groups}; strides, dilations and groups are at least 1, padding at least 0"
            )
        padded = source_shape[0] * math.prod(n + 2 * p for n, p in zip(source_shape[1:], self.padding, strict=True))
        if padded > MAX_PADDED:
            raise NetworkError(
                f"convolution from {self.source!r} pads it by {self.padding} to {padded:,} values; allowed are "
                f"{MAX_PADDED:,} at most"
            )
        c_out, c_in_group, *kernel = self.weight.shape
        if source_shape[0] != c_in_group * self.groups or c_out % self.groups:
            raise NetworkError(
                f"convolution weights of shape {self.weight.shape} with {self.groups} groups do not fit their source "
                f"{self.source!r} with {source_shape[0]} channels"
            )
        size = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(source_shape[1:], self.padding, self.dilation, kernel, self.stride, strict=True)
        )
        if min(size) < 1:
            raise NetworkError(
                f"convolution kernel {tuple(kernel)} is larger than its padded source {self.source!r} "
                f"of shape {source_shape}"
            )
        return (c_out, *size)

    def fan_out(self, source_shape: tuple[int, ...]) -> np.ndarray:
        _, height, width = self.output_shape(source_shape)
        c_out, c_in_group, kh, kw = self.weight.shape
        # Non-zero weights per source channel and kernel position: each group's channels reach that group's outputs only.
        nonzero = (self.weight != 0).reshape(self.groups, c_out // self.groups, c_in_group, kh, kw).sum(axis=1)
        nonzero = nonzero.reshape(source_shape[0], kh, kw)
        (ph, pw), (sh, sw), (dh, dw) = self.padding, self.stride, self.dilation
        count = np.zeros((source_shape[0], source_shape[1] + 2 * ph, source_shape[2] + 2 * pw), dtype=np.int64)
        for i in range(kh):
            for j in range(kw):
                rows = slice(i * dh, i * dh + sh * (height - 1) + 1, sh)
                columns = slice(j * dw, j * dw + sw * (width - 1) + 1, sw)
                count[:, rows, columns] += nonzero[:, i, j, None, None]
        return count[:, ph : ph + source_shape[1], pw : pw + source_shape[2]]


@dataclass(frozen=True, eq=False)
class Layer(_Value):
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
class Input(_Value):
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
        if self.encoding not in ENCODINGS:
            raise NetworkError(f"input encoding {self.encoding!r} is unknown; choose one of {', '.join(ENCODINGS)}")

    @property
    def largest_message(self) -> int:
        """Largest value that a synapse can receive from the input (1 where neurons spike)."""
        return 1 if self.neurons is not None or self.levels is None else self.levels


@dataclass(frozen=True, eq=False)
class SpikingNetwork(_Value):
    """Layers in an order in which every source stands before its target; the last layer is read out.

    Parameters
    ----------
    name : str
    input : Input
    layers : tuple of Layer
    number_format : {"float", "int"}
    readout : {"count", "potential"}
        What the prediction is taken from: the last layer's spikes, or its membrane potential.
    class_names : tuple of str
        Names of the outputs, or empty.
    provenance : mapping
        Where the network comes from (versions, seeds, hashes, accuracies); JSON values only.

    Raises
    ------
    NetworkError
        If shapes, names or values contradict each other. A network that exists is consistent.
    """

    name: str
    input: Input
    layers: tuple[Layer, ...]
    number_format: NumberFormat = "float"
    readout: Readout = "potential"
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))
        from .validate import validate  # validate needs the classes above

        validate(self)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, name: str) -> Layer:
        """The layer of that name.

        Raises
        ------
        KeyError
            If there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    @property
    def is_integer(self) -> bool:
        """Whether the network holds Loihi's integers."""
        return self.number_format == "int"

    @property
    def output(self) -> Layer:
        """The layer that is read out."""
        return self.layers[-1]

    def source_shape(self, source: str) -> tuple[int, ...]:
        """Shape of a synapse's source: a layer's or the input's."""
        return self.input.shape if source == INPUT else self[source].shape

    @property
    def depths(self) -> dict[str, int]:
        """Longest path from the input to each layer, in synapses: its window starts that much later than the input's."""
        depths = {INPUT: 0}
        for layer in self.layers:
            depths[layer.name] = 1 + max(depths[s.source] for s in layer.synapses)
        return {name: depth for name, depth in depths.items() if name != INPUT}

    @property
    def depth(self) -> int:
        """Steps from the start of the input's window to that of the deepest layer: the read-out, or a side branch."""
        return max(self.depths.values())

    @property
    def is_chain(self) -> bool:
        """Whether each layer has exactly one synapse, from the layer before it (the first one from the input)."""
        sources = [INPUT] + [layer.name for layer in self.layers[:-1]]
        return all(
            len(layer.synapses) == 1 and layer.synapses[0].source == source
            for layer, source in zip(self.layers, sources, strict=True)
        )

    @property
    def neuron_count(self) -> int:
        """Number of neurons, without the input."""
        return sum(layer.size for layer in self.layers)

    @property
    def parameter_count(self) -> int:
        """Number of stored weights."""
        return sum(synapse.weight.size for layer in self.layers for synapse in layer.synapses)

    def map_layers(self, change) -> SpikingNetwork:
        """A copy whose layers are `change(layer)`."""
        return self.replace(layers=tuple(change(layer) for layer in self.layers))
