"""Spiking networks as NIR graphs: weights, integrate-and-fire neurons and pooling, with thresholds and resets as they are.

NIR's neuron resets to a potential. A soft reset and an initial potential are stated in the nodes' metadata, which `from_nir`
reads; a warning tells that other readers do not.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..conversion.quantize import real_bias
from ..errors import ConversionError, NetFileError, RmpLavaWarning, UsageError
from ..files import StrPath, write_atomically
from ..network import INPUT, NO_MEMORY, Conv, Dense, Layer, SpikingNetwork, Synapse
from ..network.pooling import per_block
from ..network.values import per_neuron
from ..registers import to_weight_units


def save_nir(network: SpikingNetwork, path: StrPath) -> Path:
    """Write the NIR file of a network, whole or not at all; parameters, errors and warnings are those of `to_nir`.

    Raises
    ------
    NetFileError
        If the file cannot be written.
    """
    import_nir().write(buffer := io.BytesIO(), to_nir(network))
    return write_atomically(path, buffer.getbuffer(), NetFileError)


def to_nir(network: SpikingNetwork) -> Any:
    """The `nir.NIRGraph` of a network, in which r = 1 and a time step has length 1.

    Messages are the input's: pixels in [0, 1] of encoding "current" times its levels, or spikes. A read-out that integrates
    becomes weights without neurons, whose sum over time is its potential.

    Parameters
    ----------
    network : SpikingNetwork
        Balanced or integer. Integer weights and biases appear in weight units.

    Raises
    ------
    ConversionError
        If it holds what NIR cannot: sigma-delta neurons, graded spikes, neurons that wait, an input population,
        a bias that differs between the pixels of a channel, or a kernel whose output nir 1.0.8 takes for another shape.
    UsageError
        If thresholds are not set, or the package nir is missing.

    Warns
    -----
    RmpLavaWarning
        If the metadata state a soft reset or initial potentials.
    """
    nir = import_nir()
    _check(network)
    return _Writing(nir, network).graph()


def import_nir() -> Any:
    """The package nir; raises `UsageError` if it is missing."""
    try:
        import nir
    except ImportError:
        raise UsageError('the package nir is missing; install it with: pip install ".[nir]"') from None
    return nir


def _check(network: SpikingNetwork) -> None:
    where = f"network {network.name!r}"
    if network.stage == "analog":
        raise UsageError(f"{where} has no thresholds yet; convert it first")
    if network.is_sigma_delta:
        raise ConversionError(
            f"{where} has sigma-delta neurons, which NIR does not define; convert it with spiking neurons"
        )
    if network.is_graded:
        raise ConversionError(f"{where} has graded spikes, which NIR does not define; convert it without spike_bits")
    if network.wait:
        raise ConversionError(
            f"{where} has neurons that wait {network.wait} steps, which NIR does not define; convert it without wait"
        )
    if network.input.neurons is not None:
        raise ConversionError(
            f"{where} has an input population (encoding {network.input.encoding!r}), which no NIR graph begins with; convert it "
            "with encoding 'current' or 'poisson'"
        )
    for layer in network:
        neurons = layer.neurons
        if neurons.has_memory:
            unsaid = {
                "a bias that its current does not remember": neurons.bias is not None,
                "a current that never decays": bool(np.any(neurons.current_decay == 0)),
                "a current with memory, but never spikes": neurons.reset == "none",
            }
            found = next((text for text, holds in unsaid.items() if holds), None)
            if found is not None:
                raise ConversionError(
                    f"layer {layer.name!r} of {where} has {found}, which no NIR neuron does; export a network without it"
                )
    silent = next((layer.name for layer in network.layers[:-1] if layer.neurons.reset == "none"), None)
    if silent is not None:
        raise ConversionError(
            f"layer {silent!r} of {where} never spikes, but others read it; only the last layer may integrate"
        )
    late = next((layer.name for layer in network if layer.late), None)
    if late is not None:
        raise ConversionError(
            f"layer {late!r} of {where} has recurrent synapses or delays, which are not exported; export a network without them"
        )
    firing = network.layers[:-1] if network.integrates else network.layers
    beyond = [
        text
        for text, holds in (
            ("soft resets (the threshold is subtracted)", any(layer.neurons.reset == "soft" for layer in firing)),
            ("initial potentials", any(layer.neurons.v_init for layer in network)),
        )
        if holds
    ]
    if beyond:
        warnings.warn(
            f"NIR defines no {' and no '.join(beyond)}: the metadata of the neurons state them, which other libraries do not "
            "read; set their neurons accordingly there",
            RmpLavaWarning,
            stacklevel=3,
        )
    if any(layer.neurons.is_leaky for layer in network):
        warnings.warn(
            f"{where} leaks in Loihi's integers, which drop fractions; real numbers keep them, so spikes may differ in other "
            "libraries",
            RmpLavaWarning,
            stacklevel=3,
        )


class _Writing:
    """The nodes and edges of a network so far; `spiking` names the node whose spikes are those of the input or a layer."""

    def __init__(self, nir: Any, network: SpikingNetwork) -> None:
        self.nir, self.network = nir, network
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.spiking = {INPUT: "input"}

    def graph(self) -> Any:
        nir, network, source = self.nir, self.network, self.network.input
        said: dict[str, Any] = {"encoding": source.encoding, "dt": 1.0}
        if source.levels is not None:
            said["levels"] = source.levels
        self.nodes["input"] = nir.Input(np.array(source.shape), metadata=said)
        for layer in network:
            ends = self.add_synapses(layer)
            if layer is network.output and network.integrates and not layer.neurons.is_leaky:
                name, node = "output", nir.Output(np.array(layer.shape), metadata=_initial(layer))
            else:
                name, node = self.free(layer.name), self.population(layer)
                self.spiking[layer.name] = name
            self.add(name, node, ends)
        if "output" not in self.nodes:
            output = nir.Output(np.array(network.output.shape), metadata={"readout": network.readout})
            self.add("output", output, [self.spiking[network.output.name]])
        return nir.NIRGraph(self.nodes, self.edges)

    def add(self, name: str, node: Any, before: list[str]) -> None:
        self.nodes[name] = node
        self.edges += [(end, name) for end in before]

    def free(self, name: str) -> str:
        while name in self.nodes or name in ("input", "output"):
            name += "_"
        return name

    def add_synapses(self, layer: Layer) -> list[str]:
        """Add the nodes of a layer's synapses; the names of those that reach its neurons. The first one has the bias."""
        ends = []
        bias = _bias(layer, self.network.is_integer, self.network.output_offset if layer is self.network.output else 0)
        for i, synapse in enumerate(layer.synapses):
            end, shape = self.spiking[synapse.source], self.network.source_shape(synapse.source)
            base = f"{layer.name}.synapses" if len(layer.synapses) == 1 else f"{layer.name}.synapses{i}"
            if isinstance(synapse, Conv) and synapse.pool is not None:
                pool = np.array(synapse.pool)
                end = self.append(f"{base}.pool", self.nir.SumPool2d(pool, pool, np.zeros(2, dtype=int)), end)
                shape = (shape[0], *(n // p for n, p in zip(shape[1:], synapse.pool, strict=True)))
                synapse = per_block(synapse)
            if isinstance(synapse, Dense) and len(shape) == 3:
                end = self.append(f"{base}.flatten", self.nir.Flatten({"input": np.array(shape)}, 0, -1), end)
            ends.append(self.append(base, self.weights(layer, synapse, shape, bias if i == 0 else None), end))
        return ends

    def append(self, name: str, node: Any, before: str) -> str:
        """Add a node after one other; its name."""
        name = self.free(name)
        self.add(name, node, [before])
        return name

    def weights(self, layer: Layer, synapse: Synapse, shape: tuple[int, ...], bias: np.ndarray | None) -> Any:
        # nir 1.0.8 takes those of a group for all input channels.
        weight = synapse.ungrouped().shifted_weight.astype(np.float32)
        if isinstance(synapse, Dense):
            return self.nir.Linear(weight) if bias is None else self.nir.Affine(weight, bias)
        assert isinstance(synapse, Conv)
        weight, padding = _square(layer.name, weight, synapse)
        return self.nir.Conv2d(
            input_shape=(shape[1], shape[2]),
            weight=weight,
            stride=synapse.stride,
            padding=padding,
            dilation=synapse.dilation,
            groups=1,
            bias=np.zeros(len(weight), np.float32) if bias is None else bias,
        )

    def population(self, layer: Layer) -> Any:
        nir, neurons = self.nir, layer.neurons
        zeros, ones = np.zeros(layer.shape), np.ones(layer.shape)
        given: dict[str, Any] = {"metadata": {"reset": neurons.reset, **_initial(layer)}}
        if neurons.reset != "none":
            given |= {"v_threshold": per_neuron(neurons.threshold, layer.shape).astype(np.float64), "v_reset": zeros}
        if not neurons.is_leaky:
            return nir.IF(r=ones, **given)
        with np.errstate(divide="ignore"):
            tau_syn, tau_mem = (
                NO_MEMORY / decay.astype(np.float64) for decay in neurons.decays_per_neuron(layer.shape)
            )
        given |= {"r": tau_mem, "v_leak": zeros}
        if not neurons.has_memory:
            return (nir.LI if neurons.reset == "none" else nir.LIF)(tau=tau_mem, **given)
        return nir.CubaLIF(tau_mem=tau_mem, tau_syn=tau_syn, w_in=tau_syn, **given)


def _initial(layer: Layer) -> dict[str, Any]:
    return {"v_init": float(layer.neurons.v_init)} if layer.neurons.v_init else {}


def _bias(layer: Layer, integer: bool, offset: int) -> np.ndarray | None:
    """In weight units per step: float32, one value per channel or neuron; None without one.

    The offset, in state units, is what is taken off the read-out's potential in each step.
    """
    given = real_bias(layer.neurons) if integer else layer.neurons.bias
    if given is None and not offset:
        return None
    bias = (0.0 if given is None else given.astype(np.float64)) - np.asarray(to_weight_units(offset))
    if bias.shape == layer.shape and len(layer.shape) == 3:
        if (bias != bias[:, :1, :1]).any():
            raise ConversionError(
                f"layer {layer.name!r} has a bias that differs between the pixels of a channel, which NIR's Conv2d has not; "
                "export a network whose convolutions have one for each channel"
            )
        bias = bias[:, 0, 0]
    return np.broadcast_to(bias, layer.shape[:1]).astype(np.float32)


def _square(name: str, weight: np.ndarray, synapse: Conv) -> tuple[np.ndarray, tuple[int, int]]:
    """Weights and padding of a convolution with a kernel of equal sides, as nir 1.0.8 computes both sizes from its height."""
    (height, width), (first, second) = weight.shape[2:], synapse.padding
    if height == width:
        return weight, synapse.padding
    difference = abs(height - width)
    short = 0 if height < width else 1
    if difference % 2:
        raise ConversionError(
            f"layer {name!r} has a kernel of {height} x {width}, whose output nir takes for another shape; train it with a "
            "kernel of equal sides"
        )
    added = difference // 2
    widths = [(0, 0)] * 4
    widths[2 + short] = (added, added)
    padding = (first, second + added * synapse.dilation[1]) if short else (first + added * synapse.dilation[0], second)
    return np.pad(weight, widths), padding
