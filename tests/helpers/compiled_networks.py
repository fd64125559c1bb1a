"""The two networks whose placement on Loihi 2 is public, built by hand: shapes and ranges of weights, values at random."""

from __future__ import annotations

import numpy as np

from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork

RNG = np.random.default_rng(0)


def weights(shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Even weights, of which one each is the smallest and the largest."""
    values = 2 * RNG.integers(low // 2, high // 2 + 1, shape)
    values.flat[0], values.flat[-1] = low, high
    values[(0,) * (values.ndim - 1) + (1,)] = 2
    return values


def pilotnet() -> SpikingNetwork:
    """lava-dl's PilotNet LIF: shapes, strides and ranges of weights of its `network.net`."""
    neurons = Neurons(64, reset="hard")
    convs = [  # output shape, kernel (C_in, 3, 3), stride, padding, range
        ((24, 32, 99), 3, (2, 2), (0, 0), (-20, 18)),
        ((36, 15, 49), 24, (2, 2), (0, 0), (-12, 10)),
        ((48, 7, 24), 36, (2, 2), (0, 0), (-10, 8)),
        ((64, 4, 22), 48, (2, 1), (1, 0), (-8, 8)),
        ((64, 2, 20), 64, (1, 1), (0, 0), (-8, 8)),
    ]
    layers, source = [], INPUT
    for i, (shape, channels, stride, padding, (low, high)) in enumerate(convs, start=1):
        weight = weights((shape[0], channels, 3, 3), low, high)
        layers.append(Layer(f"conv{i}", shape, (Conv(source, weight, stride, padding),), neurons))
        source = f"conv{i}"
    for i, (inputs, outputs, low, high) in enumerate(
        [(2560, 100, -6, 6), (100, 50, -14, 10), (50, 10, -24, 20), (10, 1, -24, 42)], start=1
    ):
        layers.append(Layer(f"dense{i}", (outputs,), (Dense(source, weights((outputs, inputs), low, high)),), neurons))
        source = f"dense{i}"
    image = Input((3, 66, 200), "spikes", 1, Neurons(64, reset="hard"))
    return SpikingNetwork("pilotnet", image, tuple(layers), "integer", "count")


def mnist() -> SpikingNetwork:
    """784-128-64-10 with weights of eight bits, whose input has no neurons on the chip."""
    layers, source, inputs = [], INPUT, 784
    for name, outputs in (("a", 128), ("b", 64), ("c", 10)):
        synapse = Dense(source, weights((outputs, inputs), -256, 254))
        layers.append(Layer(name, (outputs,), (synapse,), Neurons(500, reset="hard")))
        source, inputs = name, outputs
    return SpikingNetwork("mnist", Input((784,), "spikes", 1), tuple(layers), "integer", "count")
