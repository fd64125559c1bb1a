"""A network of layers, from its input to the layer that is read out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..choices import NumberFormat, Readout
from .layers import INPUT, Input, Layer
from .validate import validate
from .values import Value


@dataclass(frozen=True, eq=False)
class SpikingNetwork(Value):
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

    def map_layers(self, change: Callable[[Layer], Layer]) -> SpikingNetwork:
        """A copy whose layers are `change(layer)`."""
        return self.replace(layers=tuple(change(layer) for layer in self.layers))
