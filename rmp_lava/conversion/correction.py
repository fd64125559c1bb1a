"""Bias correction after quantisation: rounded weights shift each channel's mean input, and a bias takes the shift back.

As Nagel et al. (ICCV 2019, "Data-free quantization through weight equalization and bias correction") correct activations, and
Li et al. (ICML 2021) firing rates. Balancing does the same in real numbers (`Balancing.calibrate`); what rounding adds is left.
"""

from __future__ import annotations

import numpy as np
import torch

from ..backends import run
from ..backends.fast.layerwise import Layerwise
from ..network import Layer, SpikingNetwork
from ..network.values import per_row
from ..registers import MAX_BIAS, MIN_BIAS, STATE_SHIFT, to_state_units
from ..schedule import schedule
from .analog import AnalogNetwork
from .calibration import CURRENTS_BYTES, calibration_images, channel_means


def correct_biases(
    network: SpikingNetwork, analog: SpikingNetwork, images: np.ndarray, steps: int, *, seed: int = 0
) -> SpikingNetwork:
    """Move each channel's bias by what the mean rate of its integer neurons misses of the mean activation.

    Layer by layer, each after the layers before it are corrected.

    Parameters
    ----------
    network : SpikingNetwork
        Integers, as `quantize` returns them.
    analog : SpikingNetwork
        The same network in analog form.
    images, steps, seed
        Calibration images, as `rmp_lava.run` takes them.
    """
    images = images[: calibration_images(network)]
    layerwise = Layerwise(network, images, schedule(network, steps), memory=CURRENTS_BYTES, seed=seed)
    walk = AnalogNetwork(analog).walk(torch.from_numpy(np.array(images)))
    layers: list[Layer] = []
    outputs = np.zeros(0)
    for layer in network:
        with torch.no_grad():
            wanted = next(walk)[2].double().mean(dim=0).numpy()  # (*shape)
        if layer is network.output and network.integrates:
            outputs = wanted
        else:
            rates = layerwise.advance(layer) / steps
            layer = _corrected(layer, wanted, rates)
            layerwise.advance(layer)
        layers.append(layer)
        layerwise.release(layer)
    corrected = network.replace(layers=tuple(layers))
    return corrected if not network.integrates else _correct_output(corrected, outputs, images, steps, seed)


def _corrected(layer: Layer, wanted: np.ndarray, rates: np.ndarray) -> Layer:
    scale = layer.activation_scale
    assert scale is not None  # balancing gave it to every layer that spikes
    missing = channel_means(wanted) / scale - channel_means(rates)  # spikes per step
    return _with_bias(layer, missing * float(layer.neurons.threshold))


def _correct_output(
    network: SpikingNetwork, wanted: np.ndarray, images: np.ndarray, steps: int, seed: int
) -> SpikingNetwork:
    """The network with the read-out's bias corrected; it only integrates, so once is enough."""
    if network.output_scale is None:
        return network
    outputs = run(network, images, steps, seed=seed).in_trained_units(network)
    missing = (wanted.reshape(-1) - outputs.mean(axis=0)) / network.output_scale  # weight units per step
    last = network.output
    return network.replace(layers=(*network.layers[:-1], _with_bias(last, channel_means(missing.reshape(last.shape)))))


def _with_bias(layer: Layer, change: np.ndarray) -> Layer:
    """The layer with (channels,) weight units added to its bias, rounded and kept within the register."""
    neurons, bias = layer.neurons, layer.neurons.bias_by_unit(layer.shape)
    exponent = STATE_SHIFT if neurons.bias is None else neurons.bias_exponent
    steps = np.rint(to_state_units(change) / (1 << exponent))
    changed = bias.astype(np.float64) + per_row(steps, bias.ndim)
    mantissa = np.clip(changed, MIN_BIAS, MAX_BIAS).astype(np.int16)
    return layer.replace(neurons=neurons.replace(bias=mantissa, bias_exponent=exponent))
