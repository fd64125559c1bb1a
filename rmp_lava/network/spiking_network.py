"""A network of layers, from its input to the layer that is read out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..choices import Readout, Stage, listed, options
from ..errors import NetworkError
from ..registers import MAX_STEPS
from ..tables import Table, Tabular, table
from .layers import INPUT, Companion, Input, Layer
from .neurons import SigmaDelta
from .validate import check_input, check_integer, check_json, check_layers, is_positive_or_none
from .values import Value, extent

MAX_OFFSET = 2**40
"""State units per step; with `MAX_STEPS` an output still fits 63 bits."""


def _by_x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


@dataclass(frozen=True, eq=False, repr=False)
class SpikingNetwork(Tabular, Value):
    """Layers, sources before their targets; the last layer is read out.

    Parameters
    ----------
    name : str
    input : Input
    layers : tuple of Layer
    stage : {"analog", "balanced", "integer"}
        "analog": trained weights and biases, thresholds not set yet. "balanced": thresholds set, real numbers. "integer":
        Loihi's integers.
    readout : {"count", "potential", "total"}
        What the prediction is taken from, see `rmp_lava.readout`: the last layer's spikes, its membrane potential, or everything
        that it integrated.
    class_names : tuple of str
        Names of the outputs, or empty.
    output_scale : float or None
        The trained network's output that one unit of this network's output represents: a weight unit of the read-out's potential
        divided by the number of time steps, or one spike per time step. None if unknown.
    output_offset : int
        State units per time step that read-outs "total" and "potential" take off their output again: they are part of every
        bias of the last layer, so that no potential leaves the register. Of a sigma-delta network, read out as a "count":
        message units, once, for a bias that keeps all outputs above the ReLU.
    balanced_steps : int or None
        T, the time steps for which the thresholds were balanced.
    wait : int
        Time steps that each population integrates before it may spike, 0 .. T, see `rmp_lava.schedule`. Thresholds, initial
        potentials and biases were chosen for it. More than 0 requires soft resets without leak.
    dataset : str or None
        Name of the data set that the network was trained on, as `rmp_lava.training.data.load` takes it.
    validation_fraction : float or None
        Share of that data set's training images that was held out for validation.
    trained_macs : int or None
        Multiply-accumulates of the trained network for one image, before anything was folded or written with ReLUs, as if images
        had no borders. None if unknown.
    companions : tuple of Companion
        Files stored next to the network's `.net`.
    provenance : mapping
        A log of where the network comes from (versions, seeds, hashes, accuracies), for people; JSON values. No pass reads it.

    Raises
    ------
    NetworkError
        If shapes, names or values contradict each other. A network that exists is consistent.
    """

    name: str
    input: Input
    layers: tuple[Layer, ...]
    stage: Stage = "analog"
    readout: Readout = "potential"
    class_names: tuple[str, ...] = ()
    output_scale: float | None = field(default=None, kw_only=True)
    output_offset: int = field(default=0, kw_only=True)
    balanced_steps: int | None = field(default=None, kw_only=True)
    wait: int = field(default=0, kw_only=True)
    dataset: str | None = field(default=None, kw_only=True)
    validation_fraction: float | None = field(default=None, kw_only=True)
    trained_macs: int | None = field(default=None, kw_only=True)
    companions: tuple[Companion, ...] = field(default=(), kw_only=True)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "companions", tuple(self.companions))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))
        self._check()

    def _check(self) -> None:
        """Raise `NetworkError` at the first contradiction."""
        if self.stage not in options(Stage):
            raise NetworkError(f"stage {self.stage!r} is unknown; it is one of {listed(Stage)}")
        if self.readout not in options(Readout):
            raise NetworkError(f"read-out {self.readout!r} is unknown; it is one of {listed(Readout)}")
        if not self.layers:
            raise NetworkError(f"network {self.name!r} has no layers; it needs at least one")
        check_input(self.input, integer=self.is_integer)
        check_layers(self.layers, self.input, integer=self.is_integer)
        if self.readout == "count" and self.output.neurons.reset == "none":
            raise NetworkError(
                f"layer {self.output.name!r} never spikes (reset 'none'), but spikes are to be counted; "
                "use read-out 'potential'"
            )
        for layer in self.layers if self.is_sigma_delta else ():
            if layer.late:
                raise NetworkError(
                    f"layer {layer.name!r} has {layer.late}, which sigma-delta networks do not have here; leave them out"
                )
        if self.is_sigma_delta and self.readout == "total":
            raise NetworkError(
                "a sigma-delta network has no total; read out 'count', the sum of the last layer's messages, or 'potential', the "
                "sum that it received"
            )
        if self.readout == "total" and self.output.neurons.reset != "soft":
            raise NetworkError(
                f"layer {self.output.name!r} has reset {self.output.neurons.reset!r}, but the total is read out; only a soft "
                "reset keeps what it does not spike for, so use read-out 'potential' or 'count'"
            )
        offset = self.output_offset
        check_integer(offset, -MAX_OFFSET, MAX_OFFSET, "output offset is", " state units")
        if offset and (not self.is_integer or (self.readout == "count") != self.is_sigma_delta):
            raise NetworkError(
                f"output offset is {offset} for read-out {self.readout!r} of a network of stage {self.stage!r}; only integer "
                "networks whose potentials are read out have one, and sigma-delta ones whose messages are, so set it to 0"
            )
        if not all(isinstance(name, str) for name in self.class_names):
            raise NetworkError(f"class names of network {self.name!r} are {self.class_names!r}; expected strings")
        if self.class_names and len(self.class_names) != self.output.size:
            raise NetworkError(
                f"network {self.name!r} has {len(self.class_names)} class names for {self.output.size} outputs"
            )
        check_json(self.provenance, "provenance")
        if not is_positive_or_none(self.output_scale):
            raise NetworkError(f"output scale is {str(self.output_scale)[:40]}; it must be a positive number or None")
        if self.balanced_steps is not None:
            check_integer(self.balanced_steps, 1, MAX_STEPS, "balanced steps are", ", or None")
        self._check_wait()
        if self.dataset is not None and not isinstance(self.dataset, str):
            raise NetworkError(f"data set is {str(self.dataset)[:40]!r}; expected its name, or None")
        share = self.validation_fraction
        if share is not None and not (isinstance(share, float) and 0 < share < 1):
            raise NetworkError(f"validation fraction is {str(share)[:40]}; expected a number between 0 and 1, or None")
        if self.trained_macs is not None:
            check_integer(self.trained_macs, 0, 2**63 - 1, "trained multiply-accumulates are", ", or None")
        for companion in self.companions:
            values = (companion.kind, companion.file, companion.sha256, companion.builder or "")
            if not all(isinstance(value, str) for value in values):
                raise NetworkError(
                    f"companion file {str(companion.file)[:40]!r} is described by other values than strings"
                )

    def _check_wait(self) -> None:
        wait, steps = self.wait, self.balanced_steps
        check_integer(wait, 0, MAX_STEPS, "waiting steps are")
        if steps is not None and wait > steps:
            raise NetworkError(
                f"neurons of network {self.name!r} wait for {wait} steps, but it was balanced for T = {steps}, after which no "
                f"message arrives; set wait to {steps} or less"
            )
        if wait and self.is_sigma_delta:
            raise NetworkError(
                f"its network waits for {wait} steps, but sigma-delta neurons send changes at once; set wait to 0"
            )
        if wait and self.is_graded:
            raise NetworkError(
                f"its network waits for {wait} steps, but graded spikes need no wait: one message has all; set wait to 0"
            )
        for layer in self.layers if wait else ():
            if layer.late:
                raise NetworkError(
                    f"layer {layer.name!r} has {layer.late}, but its network waits for {wait} steps; set wait to 0"
                )
            if layer.neurons.reset == "hard" or layer.neurons.is_leaky:
                kind = "leaky neurons" if layer.neurons.is_leaky else "a hard reset, which drops what they gathered"
                raise NetworkError(
                    f"layer {layer.name!r} has {kind}, and its network waits for {wait} steps; only neurons with soft reset and "
                    "without leak wait, so set wait to 0"
                )

    def table(self) -> Table:
        """Input and layers with their shapes, neurons and sources."""
        steps = "" if self.balanced_steps is None else f", balanced for T = {self.balanced_steps}"
        steps += f", neurons wait for {self.wait} steps" if self.wait else ""
        title = (
            f"{type(self).__name__} {self.name!r}: {self.stage}, {len(self.layers)} layers, {self.neuron_count:,} neurons, "
            f"{self.parameter_count:,} weights{steps}"
        )
        rows: list[tuple[str, ...]] = [(INPUT, _by_x(self.input.shape), self.input.encoding, "", "")]
        rows += [
            (
                layer.name,
                _by_x(layer.shape),
                layer.neurons.kind,
                "-" if layer.neurons.reset == "none" else extent(layer.neurons.threshold),
                ", ".join(synapse.source for synapse in layer.synapses),
            )
            for layer in self.layers
        ]
        return table(title, ("layer", "shape", "neurons", "threshold", "sources"), rows, text_columns=3)

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
        return self.stage == "integer"

    @property
    def is_sigma_delta(self) -> bool:
        """Whether its populations send changes of their activations: all of them do, or none."""
        return isinstance(self.output.neurons, SigmaDelta)

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
            depths[layer.name] = 1 + max(depths[s.source] for s in layer.forward)
        return {name: depth for name, depth in depths.items() if name != INPUT}

    @property
    def depth(self) -> int:
        """Steps from the start of the input's window to that of the deepest layer: the read-out, or a side branch."""
        return max(self.depths.values())

    @property
    def integrates(self) -> bool:
        """Whether the output is everything that the read-out integrated, rectified by no spike."""
        return self.readout == "total" or self.output.neurons.reset == "none"

    @property
    def is_graded(self) -> bool:
        """Whether messages of layers may stand for several spikes."""
        return any(layer.neurons.largest_spike > 1 for layer in self.layers)

    def largest_message(self, source: str) -> int:
        """Largest value that a synapse can receive from a layer, or the input, of spiking neurons."""
        return self.input.largest_message if source == INPUT else self[source].neurons.largest_spike

    def waits(self, layer: Layer) -> bool:
        """Whether a layer waits for `wait` steps: all but those that never spike, and a read-out that integrates."""
        return layer.neurons.reset != "none" and not (self.integrates and layer.name == self.output.name)

    @property
    def is_chain(self) -> bool:
        """Whether each layer has one synapse, from the layer before it (the first one from the input), but for recurrent ones."""
        sources = [INPUT] + [layer.name for layer in self.layers[:-1]]
        return all(
            len(layer.forward) == 1 and layer.forward[0].source == source
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
