"""Back from integers: the analog network that an integer spiking network represents.

Of many networks only a `.net` is left. Its integers represent the trained network up to their rounding: a population's
activation is its firing rate times its activation scale, so weights divided by those of their source give the sums that the
trained network had. From there a network is converted or tuned again, for other time steps, another reset or encoding.
"""

from __future__ import annotations

import numpy as np

from ..encoding import make_input
from ..errors import UsageError
from ..network import INPUT, Input, Layer, Neurons, SpikingNetwork
from ..registers import to_weight_units
from .quantize import real_bias
from .scale import unscale

_KEPT = ("dataset", "data_source", "validation_fraction")
"""Of the provenance; the rest tells of passes and measurements of another network."""


def restore(network: SpikingNetwork) -> SpikingNetwork:
    """The float network in analog form that an integer network's rates approach.

    What tuning, calibration or rounding has changed stays changed: this is not the network that was trained, but the one
    that the integers represent. A firing rate is 1 at most, so each activation is cut off at its threshold.

    Parameters
    ----------
    network : SpikingNetwork
        Integers, of neurons without leak.

    Returns
    -------
    SpikingNetwork
        In analog form as `trace` returns it: the last layer integrates. Activations and outputs are in units of the trained
        network, as far as one number per layer gives them, or in weight units where the network has no `activation_scale` or no
        `output_scale`. Each layer has the clip of its activation. The input keeps its encoding, with real pixels where they are
        currents.

    Raises
    ------
    UsageError
        If the network is in float, takes spikes instead of images or has input neurons of its own, has neurons with a
        decaying current or potential, whose rates follow no ReLU.
    """
    if not network.is_integer:
        raise UsageError(f"network {network.name!r} is in floating point, with nothing to restore; convert its model")
    if network.is_sigma_delta:
        raise UsageError(
            f"network {network.name!r} is sigma-delta, not of rates; convert its trained network again instead"
        )
    if network.is_graded:
        raise UsageError(f"network {network.name!r} has graded spikes; convert its trained network again instead")
    source = make_input(network.input.encoding, network.input.shape)
    if source.encoding == "spikes" or network.input.neurons != source.neurons:
        found = "spikes" if source.encoding == "spikes" else "images through input neurons of its own"
        raise UsageError(
            f"network {network.name!r} takes {found}, which represent no activations; "
            "only networks that take images can be restored"
        )
    late = [layer.name for layer in network if layer.late]
    if late:
        raise UsageError(
            f"layers {', '.join(late)} have recurrent synapses or delays, which no activation represents; restore networks "
            "without them"
        )
    leaky = [layer.name for layer in network if layer.neurons.is_leaky]
    if leaky:
        raise UsageError(
            f"layers {', '.join(leaky)} have neurons with decays, whose rates represent no activation; restore networks of "
            "RMP or integrate-and-fire neurons"
        )
    *hidden, last = (_floating(layer, network.input) for layer in network)
    floating = network.replace(
        input=source,
        layers=(*hidden, _summing(last, network)),
        stage="balanced",
        readout="potential",
        output_offset=0,
        companions=(),
        provenance={key: network.provenance[key] for key in _KEPT if key in network.provenance},
    )
    return unscale(floating).map_layers(_clipped)


def _floating(layer: Layer, source: Input) -> Layer:
    """The layer with its integers as real numbers; a pixel, which comes as `levels` messages, is one unit again."""
    neurons, bias = layer.neurons, real_bias(layer.neurons)
    # Tuning's steps are of one size for all weights, so these have to be as large as trained ones.
    scale = None if neurons.reset == "none" else layer.activation_scale
    unit = 1.0 if scale is None else float(np.mean(scale)) / neurons.threshold
    synapses = tuple(
        s.replace(weight=s.shifted_weight * (unit * (source.largest_message if s.source == INPUT else 1)), exponent=0)
        for s in layer.synapses
    )
    neurons = neurons.replace(
        threshold=neurons.threshold * unit, v_init=0.0, bias=None if bias is None else bias * unit
    )
    return layer.replace(synapses=synapses, neurons=neurons, weight_error=None, mean_rate=None, record={})


def _summing(last: Layer, network: SpikingNetwork) -> Layer:
    """The read-out with sums in units of the trained network's outputs; one that spikes would rectify them."""
    unit = 1.0 if network.output_scale is None else network.output_scale
    if network.readout == "count":  # the scale is that of a spike
        unit /= float(last.neurons.threshold)
    bias = last.neurons.bias
    if bias is not None or network.output_offset:
        shared = to_weight_units(network.output_offset)
        bias = (np.zeros(last.shape[:1]) if bias is None else bias) - shared
        bias = bias * unit
    synapses = tuple(s.replace(weight=s.weight * unit) for s in last.synapses)
    return last.replace(synapses=synapses, neurons=Neurons(1.0, "none", bias=bias))


def _clipped(layer: Layer) -> Layer:
    if layer.neurons.reset == "none":
        return layer
    return layer.replace(clip=layer.activation_scale, activation_scale=None)
