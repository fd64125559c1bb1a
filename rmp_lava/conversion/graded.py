"""Graded spikes in place of waiting: one message for all spikes of T steps.

Neurons that wait for T steps spike min(T, max(0, ceil(v / threshold) - 1)) times, v being all that they received. With graded
spikes up to T, that is the one message of a single step: the same quantised activation of T levels, T steps and T times the
messages earlier. Sums, thresholds and initial potentials stay; what acts in every step acts once, so biases and the input's
messages become T times as large.
"""

from __future__ import annotations

import numpy as np

from ..errors import ConversionError
from ..network import Layer, SpikingNetwork
from ..registers import MAX_BIAS, MAX_BIAS_EXPONENT, MAX_GRADED_SPIKE, MAX_LAVA_BIAS, MAX_LEVELS

MAX_SPIKE_BITS = 7
"""Of a conversion: such messages still enter 8-bit products."""


def graded(network: SpikingNetwork) -> SpikingNetwork:
    """The network whose outputs after one step are those of `network` after T.

    Equal to the bit for uint8 pixels where the input has 255 levels, but for biases, which are rounded where they do not fit
    13 bits and an exponent exactly, or become 16 bits as on Lava's simulator. With fewer levels it is equal for pixels that they
    hold; others are finer than before, which may cost a network accuracy that was tuned for its levels.

    Parameters
    ----------
    network : SpikingNetwork
        Integers, of neurons that wait for the T steps that it was balanced for.

    Raises
    ------
    ConversionError
        If it is no such network, its input is no constant current, or a number does not fit its register.
    """
    steps, source, where = network.wait, network.input, f"network {network.name!r}"
    if not network.is_integer or not 2 <= steps <= MAX_GRADED_SPIKE or steps != network.balanced_steps:
        raise ConversionError(
            f"{where} waits for {steps} of {network.balanced_steps} steps; graded spikes replace those of integer neurons that "
            f"wait for all of 2..{MAX_GRADED_SPIKE} steps, so convert it with steps and wait equal"
        )
    if source.encoding != "current" or source.neurons is not None or source.levels is None:
        raise ConversionError(f"{where} takes {source.encoding!r} input; graded spikes need encoding 'current'")
    if network.readout == "total":
        raise ConversionError(f"{where} integrates more than one step's register holds; convert it for fewer levels")
    return network.replace(
        input=source.replace(levels=min(MAX_LEVELS, source.levels * steps)),
        layers=tuple(_graded(layer, steps) for layer in network),
        wait=0,
        balanced_steps=1,
        output_offset=network.output_offset * steps,
        output_scale=None if network.output_scale is None else network.output_scale / steps,
    )


def _graded(layer: Layer, steps: int) -> Layer:
    neurons = layer.neurons
    if neurons.bias is not None:
        state = (neurons.bias.astype(np.int64) << neurons.bias_exponent) * steps
        forms = [(MAX_BIAS, exponent) for exponent in range(MAX_BIAS_EXPONENT + 1)] + [
            (MAX_LAVA_BIAS, MAX_BIAS_EXPONENT)
        ]
        for largest, exponent in forms:
            bias = np.rint(state / 2.0**exponent).astype(np.int64)
            if np.abs(bias).max() <= largest:
                break
        else:
            raise ConversionError(
                f"layer {layer.name!r} has a bias that {steps} times exceeds its register; convert it for fewer levels"
            )
        neurons = neurons.replace(bias=bias, bias_exponent=exponent)
    if neurons.reset != "none":
        neurons = neurons.replace(largest_spike=steps)
    scale, mean = layer.activation_scale, layer.mean_input
    return layer.replace(
        neurons=neurons,
        activation_scale=None if scale is None else scale / steps,
        mean_input=None if mean is None else (mean[0] * steps, mean[1] * steps),
        mean_rate=None,  # of messages nothing is known
    )
