"""Headroom: smaller scales for layers whose membrane potentials would overflow in stock neurons; others keep their integers."""

from __future__ import annotations

import numpy as np

from ..backends import run
from ..backends.loihi2 import deployed_schedule
from ..backends.stock import QUIET, reset_interval
from ..errors import UsageError
from ..hardware import Profile, load_profile
from ..network import Layer, Neurons, SpikingNetwork
from ..neuron import Range
from ..registers import REGISTER_LIMIT
from .quantize import RANGE_SHARE, real_bias, shrunk


def board_ranges(network: SpikingNetwork, images: np.ndarray, steps: int, *, seed: int = 0) -> dict[str, Range]:
    """Smallest and largest membrane potential of each layer in stock neurons, for `quantize`.

    Lower limits are stretched if the pulse that keeps neurons quiet adds to them: if there is no reset between the window and
    the period's last step, which is the case unless T is a power of two.

    Parameters
    ----------
    network : SpikingNetwork
        Float.
    images, steps, seed
        As `add_headroom` takes them.
    """
    ranges = run(network, images, steps, seed=seed).potential_ranges
    plan = deployed_schedule(network, steps)
    if reset_interval(plan) != plan.period:
        return dict(ranges)
    stretch = REGISTER_LIMIT / (REGISTER_LIMIT - QUIET)
    return {name: (low * stretch if low < 0 else low, high) for name, (low, high) in ranges.items()}


def add_headroom(
    network: SpikingNetwork, images: np.ndarray, steps: int, profile: str | Profile = "loihi2", *, seed: int = 0
) -> SpikingNetwork:
    """Shrink the integers of layers whose potentials take more than `RANGE_SHARE` of the register of stock neurons.

    This rounds weights a second time; `quantize` with `ranges`, from the float network, rounds them once.

    Parameters
    ----------
    network : SpikingNetwork
        Integer, without leaky neurons.
    images : numpy.ndarray
        (N, *input shape) calibration images in [0, 1], or messages.
    steps : int
        T.
    profile : str or Profile
    seed : int
        Of the Poisson encoding.

    Returns
    -------
    SpikingNetwork
        The record of each shrunk layer has the factor ("shrunk").

    Raises
    ------
    UsageError
        If the network holds real numbers or leaky neurons.
    ConversionError
        If a threshold would fall below one weight unit.
    """
    if not network.is_integer:
        raise UsageError(f"network {network.name!r} holds real numbers; quantise it with ranges instead")
    leaky = [layer.name for layer in network if layer.neurons.is_leaky]
    if leaky:
        raise UsageError(
            f"layer {leaky[0]!r} has leaky neurons, which do not keep their membrane potential in the current"
        )
    profile = load_profile(profile)
    # Real numbers do not saturate, so the ranges include potentials beyond the register.
    real = network.replace(layers=tuple(_real(layer) for layer in network), stage="balanced")
    ranges = board_ranges(real, images, steps, seed=seed)
    limit = RANGE_SHARE * profile["current_max"]

    def change(layer: Layer) -> Layer:
        largest = max(map(abs, ranges[layer.name]))
        too_large = layer.neurons.reset == "soft" and largest > limit
        return shrunk(layer, network.input, limit / largest, profile) if too_large else layer

    return network.map_layers(change)


def _real(layer: Layer) -> Layer:
    neurons = layer.neurons.replace(bias=real_bias(layer.neurons), bias_exponent=Neurons.bias_exponent)
    synapses = tuple(synapse.replace(weight=synapse.weight.astype(np.float32)) for synapse in layer.synapses)
    return layer.replace(synapses=synapses, neurons=neurons)
