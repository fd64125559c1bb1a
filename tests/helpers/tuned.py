"""A network to tune, the spiking network that a tuned one stands for, and what that computes by definition."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from rmp_lava import neuron
from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.registers import to_weight_units


def residual(seed: int = 0) -> SpikingNetwork:
    """Convolutions with a residual sum, groups, a kernel of one sign, biases of each shape, an integrating read-out."""
    rng = np.random.default_rng(seed)

    def real(*shape, scale=1.0):
        return (scale * rng.normal(size=shape)).astype(np.float32)

    layers = (
        Layer("a.conv", (6, 6, 6), (Conv(INPUT, real(6, 2, 3, 3, scale=0.4), padding=(1, 1)),), Neurons(1.0)),
        Layer(
            "b",
            (6, 6, 6),
            (Conv("a.conv", real(6, 3, 3, 3, scale=0.3), padding=(1, 1), groups=2),),
            Neurons(1.0, bias=real(6, scale=0.1)),
        ),
        Layer(
            "c",
            (6, 3, 3),
            (
                Conv("b", real(6, 6, 2, 2, scale=0.3), stride=(2, 2)),
                Conv("a.conv", np.abs(real(6, 6, 1, 1, scale=0.2)), stride=(2, 2)),
            ),
            Neurons(1.0, bias=real(6, 3, 3, scale=0.1)),
        ),
        Layer("d", (5,), (Dense("c", real(5, 54, scale=0.4)),), Neurons(1.0, "none", bias=np.float32(0.05))),
    )
    return SpikingNetwork("residual", make_input("current", (2, 6, 6)), layers, "analog", "potential")


def as_spiking(network: SpikingNetwork, values: dict[str, float], output_peak: float = 0.0) -> SpikingNetwork:
    """The float spiking network of one in analog form: weights in their sources' spikes, neurons from half a threshold."""

    def change(layer):
        synapses = tuple(
            s.replace(weight=s.weight * np.float32(1 if s.source == INPUT else values[s.source]))
            for s in layer.synapses
        )
        if layer.neurons.reset == "none":
            return layer.replace(synapses=synapses, potential_peak=output_peak)
        value = values[layer.name]
        return layer.replace(synapses=synapses, neurons=layer.neurons.replace(threshold=value, v_init=value / 2))

    return network.map_layers(change)


def simulated(network: SpikingNetwork, images: np.ndarray, steps: int) -> np.ndarray:
    """Potential of the read-out after T local steps, by `rmp_lava.neuron` and PyTorch's float64 sums."""
    integer = network.is_integer
    messages = {INPUT: np.repeat(images.astype(np.float64)[None], steps, axis=0)}
    if integer:
        messages[INPUT] = np.rint(messages[INPUT] * network.input.levels)
    for layer in network:
        state = neuron.initial_state(layer.neurons, layer.shape, len(images), integer=integer)
        out = []
        for t in range(steps):
            total = sum(_sums(s, messages[s.source][t]) for s in layer.synapses)
            out.append(neuron.step(layer.neurons, state, total, integer=integer))
        messages[layer.name] = np.stack(out).astype(np.float64)
    return to_weight_units(state.v) if integer else state.v


def _sums(synapse, source: np.ndarray) -> np.ndarray:
    weight = torch.from_numpy(synapse.weight.astype(np.float64) * 2.0**synapse.exponent)
    source = torch.from_numpy(source)
    if isinstance(synapse, Dense):
        return functional.linear(source.flatten(1), weight).numpy()
    return functional.conv2d(
        source, weight, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups
    ).numpy()
