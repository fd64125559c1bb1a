"""NIR graphs as spiking networks, where NIR's neurons are those of `rmp_lava.neuron`.

NIR defines neurons in continuous time. Libraries simulate them in steps of dt, in which an input I adds gain I to a potential:
r dt for IF, r dt / tau for LIF. They choose r such that the gain is 1: sinabs r = 1, SpikingJelly and snnTorch r = 1 / dt or
tau / dt, with dt = 1e-4. A spike is a message of 1 that reaches all later layers in the same step, as in local time
(`rmp_lava.schedule`).

What lies between two populations is composed into one layer of synapses, as in `rmp_lava.conversion.tracing`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from ..choices import SpikingReset, TrainedEncoding, check_choice
from ..conversion.tracing import expressions
from ..conversion.tracing.dead import compact, reached
from ..conversion.tracing.expressions import Expression
from ..conversion.tracing.maps import LARGEST_MATRIX, Convolution, NotComposableError
from ..encoding import make_input
from ..errors import ConversionError, UsageError, abridged, first_line
from ..files import StrPath
from ..network import INPUT, NO_MEMORY, Layer, Neurons, SpikingNetwork
from ..network.synapses import MAX_PADDED
from .graph import Graph, Node, graph_of, read_graph
from .leaks import Decays, with_leaks

_NEURONS = {"I", "LI", "IF", "LIF", "CubaLIF"}
_ROUNDING = 1e-6
"""Relative error of time constants that were written as float32."""


def load_nir(
    path: StrPath,
    *,
    reset: SpikingReset | None = None,
    dt: float | None = None,
    encoding: TrainedEncoding | None = None,
) -> SpikingNetwork:
    """The spiking network of a NIR file; parameters and errors are those of `from_nir`.

    Raises
    ------
    NetFileError
        If the file is missing, damaged or no NIR file.
    """
    return _network(read_graph(path), Path(path).stem, reset, dt, encoding)


def from_nir(
    graph: Any,
    *,
    name: str = "network",
    reset: SpikingReset | None = None,
    dt: float | None = None,
    encoding: TrainedEncoding | None = None,
) -> SpikingNetwork:
    """The spiking network of a `nir.NIRGraph`, such as the `to_nir` or `export_to_nir` of a library returns.

    Parameters
    ----------
    graph : nir.NIRGraph
        Feed-forward, of the nodes in `rmp_lava.nir.graph.PARAMETERS`. Weights at the end are a read-out that integrates.
    name : str
    reset : {"hard", "soft"} or None
        What neurons do when they spike: set the potential to v_reset, which is NIR's definition and None, or subtract the
        threshold, as the networks of sinabs and snnTorch do, whose files cannot say so. None also takes what files of
        `save_nir` say.
    dt : float or None
        Length of a time step in the file's unit of time. None: the one in which each potential grows by its input, which has to
        be the same for all neurons; networks with time constants need it.
    encoding : {"current", "poisson", "rate", "spikes"} or None
        Of the input; None: "spikes", or what files of `save_nir` say.

    Returns
    -------
    SpikingNetwork
        Of stage "balanced"; `rmp_lava.quantize` makes Loihi's integers of it. With leaks or memory of currents, of stage
        "integer", rounded as `rmp_lava.nir.leaks` describes.

    Raises
    ------
    ConversionError
        If the graph holds what a `SpikingNetwork` does not: recurrence, leaks with a soft reset, other reset potentials, or
        operations between two populations that are not one layer of synapses.
    UsageError
        If dt cannot be found, or an option is invalid.

    Warns
    -----
    RmpLavaWarning
        If numbers are rounded because neurons leak.
    """
    return _network(graph_of(graph), name, reset, dt, encoding)


def _network(
    graph: Graph, name: str, reset: SpikingReset | None, dt: float | None, encoding: TrainedEncoding | None
) -> SpikingNetwork:
    if reset is not None:
        check_choice("reset", reset, SpikingReset)
    if encoding is not None:
        check_choice("encoding", encoding, TrainedEncoding)
    step = _time_step(graph) if dt is None else dt
    if not 0 < step < math.inf:
        raise UsageError(f"dt is {step}; pass a positive number in the file's unit of time")
    reading = _Reading(graph, reset, step)
    try:
        return reading.network(name, encoding)
    except KeyError as error:
        raise ConversionError(f"{graph.where}: node {error} is missing; export the network again") from None


def _order(graph: Graph) -> list[str]:
    """Names of the nodes, sources before their targets."""
    before: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        before[target].append(source)
        if before[target].count(source) > 1 or source not in before:
            raise ConversionError(
                f"{graph.where}: the edge from {source[:60]!r} to {target[:60]!r} is there twice, or leads from no node; export "
                "the network again"
            )
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError as error:
        names = [str(each)[:60] for each in error.args[1]]
        raise ConversionError(
            f"{graph.where}: {abridged(names, 5)} are connected in a circle; only feed-forward networks can be converted, so "
            "export one without recurrence"
        ) from None


def _time_step(graph: Graph) -> float:
    """The dt in which the potential of every neuron grows by its input; 1 if there is none."""
    found: dict[float, str] = {}
    said = [node.metadata["dt"] for node in graph.nodes.values() if node.kind == "Input" and "dt" in node.metadata]
    if said:
        return float(said[0])
    for name, node in graph.nodes.items():
        if node.kind not in _NEURONS:
            continue
        for step in np.unique(_unit_step(graph, name, node)):
            if (
                np.isfinite(step)
                and step > 0
                and not any(math.isclose(step, other, rel_tol=_ROUNDING) for other in found)
            ):
                found[float(step)] = name
    if len(found) > 1:
        (first, one), (second, other), *_ = found.items()
        raise UsageError(
            f"{graph.where}: {one[:60]!r} takes its input as it is in steps of {first:g}, and {other[:60]!r} in those "
            f"of {second:g}; pass dt, the time step that the network was trained with"
        )
    return next(iter(found), 1.0)


def _unit_step(graph: Graph, name: str, node: Node) -> np.ndarray:
    r = _parameter(graph, name, node, "r")
    if node.kind in ("I", "IF"):
        return 1 / np.where(r == 0, np.nan, r)
    taus = [key for key in ("tau", "tau_mem", "tau_syn") if key in node.values]
    if any(np.isfinite(_parameter(graph, name, node, key)).any() for key in taus):
        raise UsageError(
            f"{graph.where}: node {name[:60]!r} ({node.kind}) has time constants; pass dt, the time step that the network was "
            "trained with in their unit: 1e-4 for snnTorch and SpikingJelly unless you chose another"
        )
    tau = _parameter(graph, name, node, "tau_mem" if node.kind == "CubaLIF" else "tau")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(tau / r)


def _parameter(graph: Graph, name: str, node: Node, key: str) -> np.ndarray:
    """A parameter of a neuron, float64; infinite time constants are those of neurons that forget nothing."""
    if key not in node.values:
        if key == "v_reset":
            return np.zeros(())
        raise ConversionError(f"{graph.where}: node {name[:60]!r} has no {key}; export the network again")
    return np.asarray(node.values[key], dtype=np.float64)


class _Reading:
    """Expressions of the nodes' outputs, and the layers made so far."""

    def __init__(self, graph: Graph, reset: SpikingReset | None, dt: float) -> None:
        self.graph, self.reset, self.dt = graph, reset, dt
        self.layers: list[Layer] = []
        self.decays: dict[str, Decays] = {}
        self.values: dict[str, Expression] = {}
        self.last = ""
        """The last node with weights."""

    def network(self, name: str, encoding: TrainedEncoding | None) -> SpikingNetwork:
        ends: dict[str, list[str]] = {
            kind: [name for name, node in self.graph.nodes.items() if node.kind == kind] for kind in ("Input", "Output")
        }
        for kind, names in ends.items():
            if len(names) != 1:
                raise ConversionError(
                    f"{self.graph.where}: it has {len(names)} nodes of kind {kind}; a network with a single input and a single "
                    "output can be converted"
                )
        for each in _order(self.graph):
            before = [source for source, target in self.graph.edges if target == each]
            if not before and each != ends["Input"][0]:
                raise self.refusal(each, "has no input", "export the network again")
            try:
                self.values[each] = self.value(each, [self.values[source] for source in before])
            except (NotComposableError, ValueError, IndexError, TypeError) as error:
                reason = "" if isinstance(error, NotComposableError) else f" ({first_line(error)[:120]})"
                raise self.refusal(
                    each,
                    f"is not one layer of synapses together with what is before it{reason}",
                    "put neurons between two convolutions or poolings with padding, and flatten images before dense layers",
                ) from None
        return self.finished(name, ends["Input"][0], ends["Output"][0], encoding)

    def finished(self, name: str, source: str, end: str, encoding: TrainedEncoding | None) -> SpikingNetwork:
        """The network with this output, whose population is the last layer."""
        output = self.values[end]
        held = expressions.population_of(output)
        if held in (None, INPUT):
            v_init = float(self.graph.nodes[end].metadata.get("v_init", 0.0))
            self.append(self.last or "output", output, Neurons(1.0, "none", v_init))
        else:
            self.layers.sort(key=lambda layer: layer.name == held)
        said = self.graph.nodes[source].metadata
        chosen: Any = encoding or str(said.get("encoding", "spikes"))
        check_choice("encoding", chosen, TrainedEncoding)
        levels = int(said["levels"]) if "levels" in said and chosen in ("current", "spikes") else None
        given = make_input(chosen, self.values[source].shape, levels)
        layers = tuple(reached(self.layers))
        readout: Any = "potential" if layers[-1].neurons.reset == "none" else "count"
        network = SpikingNetwork(
            name,
            given,
            layers,
            "balanced",
            self.graph.nodes[end].metadata.get("readout", readout),
            provenance={"source": "NIR", "dt": self.dt},
        )
        return with_leaks(network, self.decays) if self.decays else network

    def refusal(self, name: str, found: str, remedy: str) -> ConversionError:
        kind = self.graph.nodes[name].kind
        return ConversionError(f"{self.graph.where}: node {name[:60]!r} ({kind}) {found}; {remedy}")

    def value(self, name: str, inputs: list[Expression]) -> Expression:
        """The output of a node; inputs are added."""
        node = self.graph.nodes[name]
        if node.kind == "Input":
            return self.of_input(name, node)
        x = inputs[0]
        for other in inputs[1:]:
            if other.view != x.view:
                raise self.refusal(name, f"adds shapes {x.view} and {other.view}", "add values of equal shape")
            x = expressions.added(x, other)
        if node.kind == "Output":
            return x
        if node.kind in _NEURONS:
            return self.population(name, node, x)
        if node.kind in ("Linear", "Affine", "Conv1d", "Conv2d"):
            self.last = name
        values = node.values
        if node.kind in ("Linear", "Affine"):
            return self.dense(name, x, values)
        if node.kind == "Scale":
            return _times(x, np.asarray(values["scale"], dtype=np.float64))
        if node.kind == "Flatten":
            first, last = int(values.get("start_dim", 0)), int(values.get("end_dim", -1))
            end = last % len(x.view) + 1
            view = (*x.view[:first], math.prod(x.view[first:end]), *x.view[end:])
            return replace(x, view=view)
        return self.image(name, node, x)

    def of_input(self, name: str, node: Node) -> Expression:
        shape = tuple(int(n) for n in np.atleast_1d(node.values["shape"]))
        shape = (shape[0], 1, shape[1]) if len(shape) == 2 else shape  # rows are images of height 1
        if len(shape) not in (1, 3) or min(shape) < 1 or math.prod(shape) > 2**28:
            raise self.refusal(
                name,
                f"has shape {shape}",
                "allowed are (values,), (channels, length) and (channels, height, width), without time and batch",
            )
        return expressions.of_population(INPUT, shape, shape)

    def dense(self, name: str, x: Expression, values: Mapping[str, Any]) -> Expression:
        weight = np.asarray(values["weight"], dtype=np.float64)
        if weight.ndim != 2 or x.view != weight.shape[1:]:
            raise self.refusal(
                name,
                f"has weights of shape {weight.shape} for an input of shape {x.view}",
                "flatten the input before it",
            )
        if expressions.makes_enormous_matrix(x, weight):
            raise NotComposableError
        y = expressions.multiplied(x, weight)
        return expressions.shifted(y, np.asarray(values["bias"], dtype=np.float64)) if "bias" in values else y

    def image(self, name: str, node: Node, x: Expression) -> Expression:
        """A convolution, or a pooling, which is a convolution of each channel by itself."""
        if not x.is_image:
            raise self.refusal(name, f"has an input of shape {x.view}", "images are (channels, height, width)")
        weight, groups = _kernel(node, x.shape[0])
        stride, dilation = _pair(node.values["stride"], node), _pair(node.values.get("dilation", 1), node)
        reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        before, both = _padding(node, reach)
        size = tuple((n + p - r - 1) // s + 1 for n, p, r, s in zip(x.shape[1:], both, reach, stride, strict=True))
        fits = weight.ndim == 4 and weight.shape[1] * groups == x.shape[0] and weight.shape[0] % groups == 0
        if not fits or min(*size, *stride, *dilation, groups) < 1 or min(before) < 0:
            raise self.refusal(
                name,
                f"with weights of shape {weight.shape} does not fit its input of shape {x.shape}",
                "export it again",
            )
        padded = x.shape[0] * math.prod(n + p for n, p in zip(x.shape[1:], both, strict=True))
        if max(padded, weight.shape[0] * math.prod(size)) > MAX_PADDED:
            raise self.refusal(name, f"pads its input to {padded:,} values", f"at most {MAX_PADDED:,} are allowed")
        for term in x.terms:
            if isinstance(term.linear, Convolution) and _composed_size(term.linear, weight, reach) > LARGEST_MATRIX:
                raise NotComposableError
        conv = Convolution(weight, x.shape, (size[0], size[1]), stride, before, dilation, groups)
        y = expressions.convolved(x, conv)
        if "bias" not in node.values:
            return y
        return expressions.shifted(y, np.asarray(node.values["bias"], dtype=np.float64).reshape(-1, 1, 1))

    def population(self, name: str, node: Node, x: Expression) -> Expression:
        """The spikes of neurons that receive x; thresholds that differ become factors of the weights."""
        gain, decays = self.gain(name, node, x)
        if node.kind in ("I", "LI"):
            v_init = float(node.metadata.get("v_init", 0.0))
            made = self.append(name, _times(x, gain), Neurons(1.0, "none", v_init), decays)
            return expressions.of_population(made, x.shape, x.view)
        thresholds = _parameter(self.graph, name, node, "v_threshold")
        if np.any(_parameter(self.graph, name, node, "v_reset")):
            raise self.refusal(
                name, "resets to another potential than 0", "train it with v_reset 0, or with a soft reset"
            )
        if not (np.isfinite(thresholds).all() and (thresholds > 0).all()):
            raise self.refusal(name, "has thresholds that are not positive", "train it again")
        uniform = np.unique(thresholds).size == 1
        threshold = float(thresholds.reshape(-1)[0]) if uniform else 1.0
        x = _times(x, gain if uniform else gain / thresholds)
        said = node.metadata.get("reset")
        reset: Any = self.reset or ("hard" if said is None else str(said))
        check_choice("reset", reset, SpikingReset)
        v_init = float(node.metadata.get("v_init", 0.0))
        made = self.append(name, x, Neurons(threshold, reset, v_init), decays)
        return expressions.of_population(made, x.shape, x.view)

    def gain(self, name: str, node: Node, x: Expression) -> tuple[np.ndarray, Decays | None]:
        """What a potential grows by for an input of 1, and what currents and potentials lose, if they do."""
        r = _parameter(self.graph, name, node, "r")
        if node.kind in ("I", "IF"):
            return _rounded(r * self.dt), None
        tau = _parameter(self.graph, name, node, "tau_mem" if node.kind == "CubaLIF" else "tau")
        with np.errstate(invalid="ignore"):
            gain = np.where(np.isinf(r), 1.0, r * self.dt / tau)  # both are infinite: r = tau / dt
        voltage, current = self.decay(name, x, self.dt / tau), np.array(NO_MEMORY)
        if voltage.any() and np.any(_parameter(self.graph, name, node, "v_leak")):
            raise self.refusal(name, "leaks to another potential than 0", "train it with v_leak 0")
        if node.kind == "CubaLIF":
            share = self.dt / _parameter(self.graph, name, node, "tau_syn")
            current = self.decay(name, x, share)
            gain = gain * _parameter(self.graph, name, node, "w_in") * share
        if not (np.isfinite(gain) & (gain > 0)).all():
            raise self.refusal(
                name, "takes nothing of its input, or has no finite r / tau", "train it with a finite one"
            )
        return _rounded(gain), Decays(current, voltage) if voltage.any() or (current != NO_MEMORY).any() else None

    def decay(self, name: str, x: Expression, shares: np.ndarray) -> np.ndarray:
        """What is lost in a time step, in 1/4096: of all neurons, of those of a channel, or of each."""
        found = np.rint(NO_MEMORY * shares)
        if not ((found >= 0) & (found <= NO_MEMORY)).all():
            raise self.refusal(
                name, f"loses {np.max(shares):.3g} in each time step of {self.dt:g}", "a share of 0 to 1 is allowed"
            )
        factor = _by_unit(x, found).astype(np.int64)
        if factor.ndim == 0:
            return factor
        return factor[:, 0, 0] if factor.shape[1:] == (1, 1) else factor.reshape(x.shape)

    def append(self, name: str, x: Expression, neurons: Neurons, decays: Decays | None = None) -> str:
        """Make a layer; its name is the node's, without what a name here may not have."""
        name = "".join(c if c.isprintable() and c != "/" else "_" for c in name).strip(" .") or "layer"
        taken = {INPUT, *(layer.name for layer in self.layers)}
        while name in taken:
            name += "_"
        synapses = expressions.synapses(x)
        if not synapses:
            raise ValueError("it does not depend on the input")
        self.layers.append(Layer(name, x.shape, synapses, neurons.replace(bias=compact(x.bias))))
        if decays is not None:
            self.decays[name] = decays
        return name


def _kernel(node: Node, channels: int) -> tuple[np.ndarray, int]:
    """Weights and groups of a convolution, or of the one that a pooling of so many channels is."""
    if "weight" in node.values:
        weight = np.asarray(node.values["weight"], dtype=np.float64)
        return weight[:, :, None] if node.kind == "Conv1d" else weight, int(node.values["groups"])
    size = _pair(node.values["kernel_size"], node)
    area = 1.0 if node.kind == "SumPool2d" else math.prod(size)
    return np.full((channels, 1, *size), 1 / area), channels


def _padding(node: Node, reach: list[int]) -> tuple[tuple[int, int], list[int]]:
    """Zeros before the rows and columns, and zeros on both sides; `reach` is the kernel's size less 1, dilated."""
    padding = node.values["padding"]
    if not isinstance(padding, str):
        before = _pair(padding, node, 0)
        return before, [2 * p for p in before]
    return ((reach[0] // 2, reach[1] // 2), reach) if padding == "same" else ((0, 0), [0, 0])


def _composed_size(first: Convolution, weight: np.ndarray, reach: list[int]) -> int:
    """Weights of the one convolution that two are together."""
    sides = [
        (k - 1) * d + s * r + 1 for k, d, s, r in zip(first.kernel, first.dilation, first.stride, reach, strict=True)
    ]
    return len(weight) * first.source_shape[0] * math.prod(sides)


def _pair(values: Any, node: Node, least: int = 1) -> tuple[int, int]:
    """(height, width) of one number for both or of two; a single one of a Conv1d is its width."""
    numbers = [int(n) for n in np.atleast_1d(values)]
    if node.kind == "Conv1d":
        return (least, numbers[0])
    return (numbers[0], numbers[-1])


def _by_unit(x: Expression, values: np.ndarray) -> np.ndarray:
    """A parameter of the units of x: (), (channels, 1, 1), or of the shape of x's view."""
    values = np.asarray(values.reshape(-1)[0]) if np.unique(values).size == 1 else np.broadcast_to(values, x.view)
    uniform = values.ndim == 3 and bool((values == values[:, :1, :1]).all())
    return values[:, :1, :1] if uniform else values


def _times(x: Expression, factor: np.ndarray) -> Expression:
    factor = _by_unit(x, factor)
    unit = factor.ndim == 0 and factor == 1
    return x if unit else expressions.scaled(x, expressions.structural(x, factor))


def _rounded(gain: np.ndarray) -> np.ndarray:
    """Gains that are 1 but for the rounding of time constants as 1."""
    return np.where(np.abs(gain - 1) <= _ROUNDING, 1.0, gain)
