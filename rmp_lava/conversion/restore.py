"""Back from integers: the analog network that an integer spiking network stands for.

A `.net` is all that is left of many networks. Its integers say what they were made of up to their rounding: a population's
activation is its rate times its threshold, so weights divided by the threshold of their source give the sums that the
trained network had. From there a network is converted or tuned again, for other time steps, another reset or encoding.
"""

from __future__ import annotations

from ..encoding import make_input
from ..errors import UsageError
from ..network import INPUT, Input, Layer, SpikingNetwork
from .quantize import real_bias
from .scale import unscale


def restore(network: SpikingNetwork) -> SpikingNetwork:
    """The float network in analog form that an integer network's rates approach.

    What tuning, calibration or rounding has changed stays changed: this is not the network that was trained, but the one
    that the integers say. A rate is 1 at most, so each activation is cut off at its threshold.

    Parameters
    ----------
    network : SpikingNetwork
        Integers, of neurons without leak.

    Returns
    -------
    SpikingNetwork
        Float, in analog form as `trace` returns it; each layer's record says the "clip" of its activation, and nothing of
        the earlier passes. The last layer integrates. The input keeps its encoding, with real pixels where they are currents.

    Raises
    ------
    UsageError
        If the network is in float, takes spikes instead of images, or has neurons with a decaying current or potential,
        whose rates say no ReLU.
    """
    if not network.is_integer:
        raise UsageError(f"network {network.name!r} is in floating point, with nothing to restore; convert its model")
    if network.input.encoding == "spikes":
        raise UsageError(f"network {network.name!r} takes spikes, which have no activations; give it another encoding")
    leaky = [layer.name for layer in network if layer.neurons.is_leaky]
    if leaky:
        raise UsageError(
            f"layers {', '.join(leaky)} have neurons with decays, whose rates say no activation; restore networks of RMP or "
            "integrate-and-fire neurons"
        )
    *hidden, last = (_floating(layer, network.input) for layer in network)
    # A read-out that spikes rectifies its sums, which the trained network does not.
    last = last.replace(neurons=last.neurons.replace(reset="none"))
    floating = network.replace(
        input=make_input(network.input.encoding, network.input.shape),
        layers=(*hidden, last),
        number_format="float",
        readout="potential",
    )
    return unscale(floating).map_layers(_clipped)


def _floating(layer: Layer, source: Input) -> Layer:
    """The layer with its integers as real numbers; a pixel, which comes as `levels` messages, is one unit again."""
    synapses = tuple(
        s.replace(weight=s.weight * float(source.largest_message if s.source == INPUT else 1)) for s in layer.synapses
    )
    neurons = layer.neurons
    neurons = neurons.replace(threshold=float(neurons.threshold), v_init=0.0, bias=real_bias(neurons))
    return layer.replace(synapses=synapses, neurons=neurons, record={})


def _clipped(layer: Layer) -> Layer:
    if layer.neurons.reset == "none":
        return layer
    return layer.replace(record={"clip": layer.record["threshold"]})
