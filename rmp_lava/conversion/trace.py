"""Trace any feed-forward PyTorch network into a `SpikingNetwork` in analog form: same weights, thresholds of 1."""

from __future__ import annotations

import numpy as np
import torch

from ..choices import ConvertReadout, TracedPooling, check_choice
from ..encoding import same_elements
from ..errors import ConversionError
from ..network import Input, SpikingNetwork
from .analog import AnalogNetwork
from .check import CheckReport, examine
from .pooling import unfold_all
from .tracing.dead import alive, reached
from .tracing.reading import TOLERANCE, Model

_TOLERANCE = 1e-3
"""Of networks in full precision, as a share of their largest output."""


def trace(
    model: Model,
    source: Input,
    example: np.ndarray | torch.Tensor | None = None,
    *,
    pooling: TracedPooling = "fold",
    readout: ConvertReadout = "potential",
) -> SpikingNetwork:
    """The spiking network of a PyTorch network in analog form: trained weights and biases, thresholds not set.

    Every ReLU makes a population; everything linear between populations becomes their synapses and biases. The result
    is compared with the network's own output on the example before it is returned.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
        On any device and in any floating-point precision; not changed. An `AnalogNetwork` is in analog form already.
    source : Input
        Whose shape is an image's; examples for encoding "spikes" are means of events.
    example : array, optional
        (N, *source.shape) in [0, 1], or without axes of size 1; the first two are run. Random images if omitted.
    pooling : {"fold", "layer"}
        Fold average pooling into the next layer's weights where that is exact, or keep it as a layer of RMP neurons,
        as in the paper.
    readout : {"potential", "count"}
        Whether the last layer only integrates, or spikes.

    Returns
    -------
    SpikingNetwork
        In analog form. Layers have the clip of a clipped ReLU, in the units of the activation; their records name the module
        and what was folded ("pooling").

    Raises
    ------
    ConversionError
        With every obstacle, if the network cannot be converted; if the images or the traced network differ from it.
    """
    check_choice("pooling", pooling, TracedPooling)
    check_choice("readout", readout, ConvertReadout)
    if isinstance(model, AnalogNetwork):
        return _as_it_is(model.to_network(), source, pooling, readout)
    if example is None:
        example = np.random.default_rng(0).random((2, *source.shape), dtype=np.float32)
    reading, analysis = examine(model, example, pooling, counts=source.encoding == "spikes")
    CheckReport(analysis.findings).raise_if_blocked()
    assert reading is not None and analysis.logits is not None  # as there is no obstacle
    if not same_elements(reading.images.shape[1:], source.shape):
        raise ConversionError(
            f"the example has images of shape {reading.images.shape[1:]}, but the input is of shape {source.shape}; "
            "they must agree"
        )
    layers = list(analysis.layers)
    if readout == "potential":
        layers[-1] = layers[-1].replace(neurons=layers[-1].neurons.replace(reset="none"))
    source = source.replace(shape=analysis.input_shape)
    network = SpikingNetwork("network", source, tuple(layers), "analog", readout, trained_macs=reading.macs)
    # A spiking read-out rectifies, the original does not: compare with one that only integrates.
    plain = layers[-1].replace(neurons=layers[-1].neurons.replace(reset="none"))
    compared = network.replace(layers=(*layers[:-1], plain), readout="potential")
    _verify(compared, reading.images, analysis.logits, reading.precision)
    return network


def _as_it_is(network: SpikingNetwork, source: Input, pooling: str, readout: ConvertReadout) -> SpikingNetwork:
    """A network that is in analog form already, with the given input and read-out."""
    if not same_elements(source.shape, network.input.shape):
        raise ConversionError(f"images are of shape {source.shape}, but the network takes {network.input.shape}")
    *hidden, last = reached(alive(network.layers, network.input.shape).layers)
    if not last.synapses:
        raise ConversionError(
            f"network {network.name!r} gives the same output for every image, by its weights; convert the network that it "
            "was made from"
        )
    reset = "none" if readout == "potential" else "soft"
    last = last.replace(neurons=last.neurons.replace(reset=reset))
    found = network.replace(input=source.replace(shape=network.input.shape), layers=(*hidden, last), readout=readout)
    return unfold_all(found) if pooling == "layer" else found


def _verify(network: SpikingNetwork, images: np.ndarray, logits: torch.Tensor, precision: torch.dtype) -> None:
    """Raise `ConversionError` if a network in analog form does not compute the original's outputs `logits`."""
    with torch.no_grad():
        found = AnalogNetwork(network)(torch.from_numpy(images.reshape(-1, *network.input.shape))).numpy()
    expected = logits.detach().cpu().to(torch.float64).numpy().reshape(len(images), -1)
    scale = max(float(np.abs(expected).max()), 1e-6)
    error = float(np.abs(found - expected).max()) / scale
    if not error <= TOLERANCE.get(precision, _TOLERANCE):
        raise ConversionError(
            f"the traced network differs from the original (by {error:.1%} of its largest output), which is a defect of "
            "this package; please report the network's forward"
        )
