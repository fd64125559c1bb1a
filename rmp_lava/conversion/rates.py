"""Firing rates against the trained activations that they represent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..choices import Encoding, TracedPooling
from ..encoding import event_counts, make_input, mean_frames
from ..errors import RmpLavaError
from ..network import Layer, SpikingNetwork
from ..network.populations import spread
from ..scores import Score
from .analog import AnalogNetwork
from .fidelity import side_by_side
from .layer_fidelity import LayerComparison, LayerFidelity
from .pooling import unfold_like
from .trace import trace
from .tracing.prepared import prepared
from .tracing.reading import Model
from .truth import truth_of

IMAGES = 64
NEURONS = 1000
"""Neurons drawn of each layer, evenly spread; the correlations are of all."""


@dataclass(frozen=True, eq=False)
class LayerRates:
    """One layer's rates and activations.

    Attributes
    ----------
    rates, activations : numpy.ndarray
        float32 (images, neurons of a subset). Of spiking neurons, spikes per step, and the activation over the activation
        scale, so that 1 is the largest rate; of an integrating read-out, outputs in units of the trained network.
    """

    layer: Layer
    integrates: bool
    fidelity: LayerFidelity
    rates: np.ndarray
    activations: np.ndarray


@dataclass(frozen=True, eq=False)
class Rates:
    """Layers compared, or `missing`: a sentence why not; `remark` is to be read with them.

    `trained` is the score of the trained network on all images of the report, where there are labels.
    """

    layers: tuple[LayerRates, ...] = ()
    images: int = 0
    trained: Score | None = None
    missing: str = ""
    remark: str = ""


def compare_rates(
    network: SpikingNetwork,
    trained: Model | SpikingNetwork,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    steps: int,
    seed: int = 0,
) -> Rates:
    """Compare a converted network's firing rates with the activations of the trained network.

    The first `IMAGES` images are compared, all are classified.

    Parameters
    ----------
    network : SpikingNetwork
        Balanced or integer.
    trained : torch.nn.Module, torch.export.ExportedProgram or SpikingNetwork
        What it was converted from, or the analog network of its conversion.
    images, steps, seed
        As `rmp_lava.run` takes them.
    labels : numpy.ndarray or None
        For the score of the trained network, which a conversion's analog form does not have.

    Returns
    -------
    Rates
        `missing` is a sentence if the trained network does not match.
    """
    if isinstance(trained, SpikingNetwork):
        some = images[:IMAGES]
        missing = _incomparable(network, trained)
        return Rates(missing=missing) if missing else Rates(_compare(network, trained, some, steps, seed), len(some))
    analog = _traced(network, trained)
    if isinstance(analog, str):
        return Rates(missing=analog)
    frames = images
    if network.input.encoding == "spikes":
        images = event_counts(images)
        frames = mean_frames(images)
    trained, some = prepared(trained, frames), images[:IMAGES]
    reached = None
    if labels is not None:
        reached = truth_of(trained, analog, frames, np.asarray(labels), network.output.shape).trained_score
    remark = ""
    if network.provenance.get("tune"):
        remark = "The network was tuned after training; activations are those of the trained network before that."
    return Rates(_compare(network, analog, some, steps, seed), len(some), reached, remark=remark)


def _traced(network: SpikingNetwork, trained: Model) -> SpikingNetwork | str:
    """The trained network in analog form, with the same layers; or why there is nothing to compare."""
    if network.is_sigma_delta:  # which are traced in another form
        return _incomparable(network, network)
    traced: tuple[TracedPooling, ...] = ("fold", "layer")
    for pooling in traced:
        try:
            encoding: Encoding = "spikes" if network.input.encoding == "spikes" else "current"
            source = make_input(encoding, network.input.shape, network.input.levels)
            analog = trace(
                trained, source, pooling=pooling, readout="count" if network.readout == "count" else "potential"
            )
        except RmpLavaError as error:
            return f"the trained network cannot be traced: {error}"
        analog = unfold_like(analog, network)
        if _layers(analog) == _layers(network):
            break
    return _incomparable(network, analog) or analog


def _incomparable(network: SpikingNetwork, analog: SpikingNetwork) -> str:
    """Why rates cannot be compared with the activations of the analog network; empty if they can."""
    if network.is_sigma_delta:
        return "the network sends changes of activations, not rates"
    if _layers(analog) != _layers(network):
        return "the trained network has other layers than this one"
    spiking = network.layers[:-1] if network.integrates else network.layers
    if any(layer.activation_scale is None for layer in spiking):
        return "the file does not record the activation scale of each layer; convert it with this version"
    if network.integrates and network.output_scale is None:
        return "the file does not record the output scale"
    return ""


def _layers(network: SpikingNetwork) -> list[tuple[str, tuple[int, ...]]]:
    return [(layer.name, layer.shape) for layer in network]


def _compare(
    network: SpikingNetwork, analog: SpikingNetwork, images: np.ndarray, steps: int, seed: int
) -> tuple[LayerRates, ...]:
    model = AnalogNetwork(analog)
    compared = {layer.name: LayerComparison(layer, network, network, steps) for layer in network}
    kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {layer.name: [] for layer in network}
    for name, found, result in side_by_side(model, network, images, steps, seed):
        counts = result.neuron_counts[name]
        compared[name].add(found, counts, result.output)
        kept[name].append(_drawn(compared[name], found, counts, result.output))
    return tuple(
        LayerRates(
            layer,
            compared[layer.name].integrates,
            compared[layer.name].result(0.0),
            *(np.concatenate(values) for values in zip(*kept[layer.name], strict=True)),
        )
        for layer in network
    )


def _drawn(
    comparison: LayerComparison, found: np.ndarray, counts: np.ndarray, output: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`LayerRates.rates` and `LayerRates.activations` of some images."""
    if comparison.integrates:
        rates, activations = output * comparison.per_count, found
    else:
        rates, activations = counts / comparison.steps, found / (comparison.per_count * comparison.steps)
    which = spread(comparison.layer.size, NEURONS)
    first, second = (each.reshape(len(found), -1)[:, which].astype(np.float32) for each in (rates, activations))
    return first, second
