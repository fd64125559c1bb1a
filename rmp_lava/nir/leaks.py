"""Networks whose neurons leak, which exist in Loihi's integers only: lava-dl's CUBA neuron, see `rmp_lava.neuron`.

In each step u = u (4096 - du) / 4096 + a and v = v (4096 - dv) / 4096 + u, with decays du = 4096 dt / tau_syn and
dv = 4096 dt / tau_mem, rounded. Potentials drop fractions of 1/64 weight unit towards zero, which real numbers keep.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..conversion.quantize import quantize
from ..errors import ConversionError, RmpLavaWarning
from ..network import NO_MEMORY, Layer, SpikingNetwork, Synapse
from ..registers import MAX_BIAS, MAX_BIAS_EXPONENT, MAX_THRESHOLD, MAX_WEIGHT, MIN_BIAS, MIN_WEIGHT, STATE_SHIFT


class Decays(NamedTuple):
    """What currents and potentials lose in each step, in 1/4096: integers (), (channels,) or of the layer's shape."""

    current: np.ndarray
    voltage: np.ndarray


def with_leaks(network: SpikingNetwork, decays: Mapping[str, Decays]) -> SpikingNetwork:
    """The integer network of a balanced one, with the decays of its layers by name.

    Integers, such as those of lava-dl's networks, stay as they are; other weights are rounded to 8 bits.

    Raises
    ------
    ConversionError
        If a layer that leaks has a soft reset, or a bias that its current would have to remember.

    Warns
    -----
    RmpLavaWarning
        Of what is rounded.
    """
    for layer in network:
        leaks = decays.get(layer.name)
        if leaks is not None and layer.neurons.reset == "soft":
            raise ConversionError(
                f"layer {layer.name!r} leaks and has a soft reset, but neurons that leak reset to zero here; train it with reset "
                "to zero (snnTorch: reset_mechanism='zero'), or without leak"
            )
        if leaks is not None and (leaks.current != NO_MEMORY).any() and layer.neurons.bias is not None:
            raise ConversionError(
                f"layer {layer.name!r} has a bias and a current with memory, but biases are added to potentials here; train it "
                "with bias=False"
            )
    layers = [_as_integers(layer) for layer in network]
    if network.input.levels is not None and all(layer is not None for layer in layers):
        integer = network.replace(layers=tuple(layer for layer in layers if layer is not None), stage="integer")
    else:
        integer = quantize(network, threshold_form="free")
        worst = max((layer.weight_error.rms for layer in integer if layer.weight_error is not None), default=0.0)
        warnings.warn(
            f"network {network.name!r} leaks, which exists in Loihi's integers only: weights are rounded to 8 bits (by up to "
            f"{worst:.1%} of a layer's) and decays to 1/4096, so compare it with the original before use",
            RmpLavaWarning,
            stacklevel=4,
        )
    return integer.map_layers(lambda layer: _leaking(layer, decays.get(layer.name)))


def _leaking(layer: Layer, decays: Decays | None) -> Layer:
    if decays is None:
        return layer
    neurons = layer.neurons.replace(current_decay=decays.current, voltage_decay=decays.voltage)
    return layer.replace(neurons=neurons)


def _as_integers(layer: Layer) -> Layer | None:
    """A layer of real numbers that are Loihi's integers already; None if they are not."""
    neurons = layer.neurons
    synapses = [_integer_weights(synapse) for synapse in layer.synapses]
    numbers = (float(neurons.threshold), float(neurons.v_init))
    whole = all(number.is_integer() and abs(number) <= MAX_THRESHOLD for number in numbers)
    if not whole or any(synapse is None for synapse in synapses):
        return None
    bias, exponent = None, 0
    if neurons.bias is not None:
        units = neurons.bias.astype(np.float64) * 2**STATE_SHIFT
        for exponent in range(MAX_BIAS_EXPONENT + 1):
            bias = units / 2**exponent
            if MIN_BIAS <= bias.min() and bias.max() <= MAX_BIAS:
                break
        if bias is None or (bias != np.rint(bias)).any() or bias.min() < MIN_BIAS or bias.max() > MAX_BIAS:
            return None
        bias = bias.astype(np.int64)
    made = neurons.replace(
        threshold=int(neurons.threshold), v_init=int(neurons.v_init), bias=bias, bias_exponent=exponent
    )
    return layer.replace(synapses=tuple(s for s in synapses if s is not None), neurons=made)


def _integer_weights(synapse: Synapse) -> Synapse | None:
    weight = synapse.weight.astype(np.float64)
    mixed = weight.min() < 0 < weight.max()
    if (weight != np.rint(weight)).any() or (mixed and (weight % 2).any()):
        return None
    fits = MIN_WEIGHT <= weight.min() and weight.max() <= MAX_WEIGHT
    return synapse.replace(weight=weight.astype(np.int64)) if fits else None
