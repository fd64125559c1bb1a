"""What an integer network contains that Lava's Processes, or stock neurons, cannot represent: findings of severity "obstacle"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import BackendError
from ..findings import Finding
from ..network import INPUT, Conv, SpikingNetwork, populations
from ..registers import MAX_BIAS, MAX_CONV_SUM, MAX_DENSE_SUM, MIN_BIAS, STATE_SHIFT
from ..stock_weights import MAX_VALUE
from .synapses import largest_sum


def refuse(obstacles: Iterable[Finding], what: str) -> None:
    """Raise `BackendError` that names every obstacle if there is one; `what` cannot be done, in words."""
    listed = "; ".join(f"{each.where}: {each.found}, so {each.remedy}" for each in obstacles)
    if listed:
        raise BackendError(f"{what}: {listed}")


MAX_SPARSE_CONNECTIONS = 2**24
"""Of a convolution that becomes a Sparse: some 200 MB on the simulator, and more than a thousand cores of a chip."""


MAX_CONV_GEOMETRY = 127
"""Largest stride, padding and dilation of Lava's Conv, and of its own model the kernel and the groups: 8 signed bits there."""


def narrow_geometry(network: SpikingNetwork, *, own_model: bool) -> Iterator[Finding]:
    """Convolutions of a geometry that Lava would wrap to 8 bits; `own_model` of those that Lava's own model computes."""
    for layer in network:
        for synapse in layer.synapses:
            if not isinstance(synapse, Conv) or synapse.exponent:
                continue
            limited: dict[str, tuple[int, ...]] = {
                "stride": synapse.stride,
                "padding": synapse.padding,
                "dilation": synapse.dilation,
            }
            if own_model:
                limited |= {"groups": (synapse.groups,), "kernel": synapse.weight.shape[2:]}
            for what, values in limited.items():
                if max(values) > MAX_CONV_GEOMETRY:
                    found = (
                        f"its convolution from {synapse.source!r} has {what} {max(values)}, which Lava holds in 8 bits"
                    )
                    remedy = "choose conv_model 'blas'" if own_model else "simulate it on backend fast"
                    yield Finding("obstacle", layer.name, found, remedy, "convolution")


def late_messages(network: SpikingNetwork) -> Iterator[Finding]:
    """Delays and recurrent synapses: their messages would still be under way when the next sample begins."""
    for layer in network:
        if layer.late:
            found = f"it has {layer.late}, whose messages would reach into the next sample"
            yield Finding("obstacle", layer.name, found, "simulate it on backend fast or reference", "delay")


def beyond_chip(network: SpikingNetwork) -> Iterator[Finding]:
    """Values of lava-dl's networks that Lava's simulator holds and a chip does not."""
    for name, neurons, *_ in populations(network):
        if neurons.bias is not None and (neurons.bias.min() < MIN_BIAS or neurons.bias.max() > MAX_BIAS):
            found = f"bias mantissas reach {int(np.abs(neurons.bias.astype(int)).max())}, beyond 13 bits"
            yield Finding("obstacle", name, found, "simulate it, or scale weights, threshold and bias down", "bias")
        if not neurons.is_uniform:
            found = "its thresholds or decays differ between neurons, which LIF on a chip has once per population"
            yield Finding("obstacle", name, found, "simulate it, or train shared ones", "decay")


def unbuildable(network: SpikingNetwork) -> Iterator[Finding]:
    """What neither implementation can have of an integer network on Lava, besides real-valued weights."""
    yield from late_messages(network)
    yield from wrapping_sums(network)
    yield from narrow_geometry(network, own_model=False)
    for layer in network:
        for synapse in layer.synapses:
            if not isinstance(synapse, Conv) or not synapse.exponent:
                continue
            connections = int(synapse.fan_out(network.source_shape(synapse.source)).sum())
            if connections > MAX_SPARSE_CONNECTIONS:
                found = (
                    f"its convolution from {synapse.source!r} has weight exponent {synapse.exponent}, which Lava's Conv "
                    f"ignores, and {connections:,} connections, more than the {MAX_SPARSE_CONNECTIONS:,} of a Sparse"
                )
                remedy = (
                    "quantise again: only convolutions with few weights get exponents; or simulate it on backend fast"
                )
                yield Finding("obstacle", layer.name, found, remedy, "exponent")


def wrapping_sums(network: SpikingNetwork) -> Iterator[Finding]:
    """Sums that Lava would wrap silently. Wraps within stock neurons are modelled, and counted by backend reference."""
    remedy = "use fewer input levels"
    for layer in network:
        largest = largest_sum(network, *layer.synapses)
        if largest >= MAX_DENSE_SUM:
            found = f"sums can reach {largest}, which Lava wraps at {MAX_DENSE_SUM}"
            yield Finding("obstacle", layer.name, found, remedy, "sums")
        for synapse in layer.synapses:
            largest = largest_sum(network, synapse)
            if isinstance(synapse, Conv) and not synapse.exponent and largest >= MAX_CONV_SUM:
                found = f"a convolution can reach sums of {largest}, which Lava's Conv wraps at {MAX_CONV_SUM}"
                yield Finding("obstacle", layer.name, found, remedy, "convolution")


def leaky_starts(network: SpikingNetwork) -> Iterator[Finding]:
    """Initial potentials of leaky neurons: they arrive through a synapse, so they would stay in the current."""
    for each in populations(network):
        if each.neurons.is_leaky and each.neurons.v_init:
            found, remedy = f"leaky neurons start at v_init {each.neurons.v_init}", "set it to 0"
            yield Finding("obstacle", each.name, found, remedy, "v_init")


def restless_inputs(network: SpikingNetwork) -> Iterator[Finding]:
    """Neurons of the input that no pulse keeps quiet after T steps, when later layers may still spike."""
    neurons = network.input.neurons
    if network.wait and neurons is not None and neurons.reset != "soft":
        found = (
            f"its neurons with {neurons.reset} reset spike on after T steps, and later layers wait for {network.wait}"
        )
        yield Finding("obstacle", INPUT, found, "set wait to 0, or use native neurons", "reset")


def unrepresentable(network: SpikingNetwork) -> Iterator[Finding]:
    """Everything that prevents stock neurons, besides real-valued weights."""
    yield from leaky_starts(network)
    yield from restless_inputs(network)
    for name, neurons, shape, _ in populations(network):
        if abs(neurons.v_init) > MAX_VALUE:
            remedy = f"quantise it to +-{MAX_VALUE} at most"
            yield Finding("obstacle", name, f"v_init is {neurons.v_init}", remedy, "v_init")
        if neurons.reset != "soft":
            continue
        if neurons.threshold > MAX_VALUE:
            remedy = f"quantise it to {MAX_VALUE} at most (threshold form 'stock'), or use native neurons"
            yield Finding("obstacle", name, f"the threshold is {neurons.threshold}", remedy, "threshold")
        bias = neurons.bias_per_neuron(shape)
        state = np.zeros(1) if bias is None else bias.astype(np.int64) << neurons.bias_exponent
        if (state % (1 << STATE_SHIFT)).any():
            remedy = "quantise with bias_exponent 6 or more"
            yield Finding("obstacle", name, "its bias has fractions of a weight unit", remedy, "bias")
        elif np.abs(state).max() > MAX_VALUE << STATE_SHIFT:
            remedy = f"quantise it to +-{MAX_VALUE} weight units at most"
            yield Finding("obstacle", name, "its bias is larger than synapses can represent", remedy, "bias")
    yield from unbuildable(network)
