"""Set the thresholds, layer after layer, each with the layers before it already balanced and spiking.

The paper's way (Han, Srinivasan and Roy, CVPR 2020, section 4): a layer's threshold is an upper bound of V_in, its weighted
input sum at any one time step, over training images and time; a factor alpha then scales it down for latency. Other ways
take the threshold from the trained network's activations, and reach the same accuracy in far fewer steps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..backends.fast.layerwise import LayerBatch, Layerwise, from_memory, memory_shape
from ..encoding import check_images
from ..errors import ConversionError, UsageError
from ..hardware import load_profile
from ..network import Layer, Readout, SpikingNetwork
from ..progress import Progress
from ..registers import to_weight_units
from ..schedule import Schedule, schedule
from .activation_scales import distributions
from .analog import AnalogNetwork
from .balancing import Balancing
from .histogram import Histogram
from .refine import Refined, refine
from .scale import scale_synapses, set_threshold

CALIBRATION_IMAGES = 128
"""Images whose spikes are compared with activations; distributions are those of all images."""
_CALIBRATION_BYTES = 2**28
_CURRENTS_BYTES = 2**30
_LARGEST_OVER_MEDIAN = 2
"""Of channels' largest weights once they are divided by their spike values: one bit at most is lost to the largest."""
_CORRECTIONS = 2
"""Of biases: a correction moves spikes in time, and so does not have the whole effect at once."""


def balance(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    how: Balancing = Balancing(),  # noqa: B008 - frozen
    *,
    seed: int = 0,
    progress: bool = False,
) -> SpikingNetwork:
    """Set every threshold of a float network in analog form, as `trace` or `tune` returns it.

    Parameters
    ----------
    network : SpikingNetwork
        Float, thresholds not set yet.
    images : numpy.ndarray
        Training images (never test images), as `rmp_lava.run` takes them.
    steps : int
        T, steps for which the thresholds are meant and over which V_in is observed.
    how : Balancing
    seed : int
        Of the Poisson encoding.

    Returns
    -------
    SpikingNetwork
        Balanced: with thresholds, initial potentials, activation scales, and weights multiplied by the activation scale of
        their source (see `scale`); with its `output_scale` and `balanced_steps`.

    Raises
    ------
    UsageError
        If the network is balanced already, or an option does not fit it.
    ConversionError
        If a layer would never spike, so that no threshold can be found.
    """
    if network.is_integer:
        raise UsageError("thresholds are balanced before quantisation, but the network holds integers already")
    if network.stage == "balanced":
        raise UsageError(
            f"network {network.name!r} is balanced already, and its weights carry their sources' activation scales; balance "
            "what trace or tune returned"
        )
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be 0 or more")
    factors = how.factors(network)
    images = check_images(images, network.input)
    plan = schedule(network, steps)
    with torch.no_grad(), Progress("balancing thresholds", len(network.layers), shown=progress) as bar:
        balancer = _Balancer(network, images, plan, how, seed)
        layers = []
        for layer in network:
            layers.append(balancer.balance(layer, factors[layer.name]))
            balancer.release(layer)
            bar.advance()
    record = asdict(how) | {"images": len(images), "steps": steps, "seed": seed}
    provenance = dict(network.provenance) | {"balance": record}
    return network.replace(
        layers=tuple(layers),
        stage="balanced",
        output_scale=_output_scale(layers[-1], network.readout),
        balanced_steps=steps,
        provenance=provenance,
    )


def _output_scale(last: Layer, readout: Readout) -> float | None:
    if readout == "count":
        return float(last.neurons.threshold)
    return 1.0 if last.neurons.reset == "none" else None  # a potential forgets the spikes that were subtracted from it


class _Balancer:
    """Balances layer after layer; keeps the spikes and the spike values of those before."""

    def __init__(self, network: SpikingNetwork, images: np.ndarray, plan: Schedule, how: Balancing, seed: int) -> None:
        self.how, self.plan = how, plan
        self.values: dict[str, np.ndarray] = {}
        self.histograms: dict[str, Histogram] = {}
        if how.thresholds in ("activation", "error"):
            self.histograms = distributions(network, images, _channels(network, how.channelwise))
        # Spikes of all images where V_in is observed; of some where they are compared with activations.
        simulated = images if how.thresholds == "v_in" else images[: _calibration_images(network)]
        self.layerwise = Layerwise(network, simulated, plan, memory=_CURRENTS_BYTES, seed=seed)
        compares = how.thresholds == "error" or how.calibrate != "none"
        self.walk = AnalogNetwork(network).walk(torch.from_numpy(np.array(simulated))) if compares else None

    def balance(self, layer: Layer, factor: float) -> Layer:
        """The layer with its threshold; advances the spikes past it."""
        activation = None if self.walk is None else next(self.walk)[2]
        trained_scale, layer = layer.activation_scale, layer.replace(activation_scale=None)
        layer = scale_synapses(layer, self.values)
        self.layerwise.set_layer(layer)
        seen = None
        if self.how.thresholds == "v_in" or layer.neurons.reset == "none":
            seen = _observe(layer, self.layerwise.batches)
            layer = layer.replace(record=dict(layer.record) | {"v_in_max": seen.largest})
        if layer.neurons.reset == "none":
            if self.how.calibrate == "bias":
                layer = _add_bias(layer, _channel_means(activation.mean(dim=0).numpy() - seen.mean))
            return layer.replace(potential_peak=seen.peak)
        refined = self._refined(layer, seen, trained_scale, activation)
        # A rate of 1 is the clipped activation at most; alpha counts from there, or it would have no effect above it.
        clip = np.inf if layer.clip is None else layer.clip
        value = np.minimum(factor * np.minimum(refined.values, clip), clip)
        record: dict[str, float] = {"alpha": factor}
        if self.how.thresholds in ("v_in", "activation"):
            record["percentile"] = self.how.percentile
        layer = set_threshold(layer, value, reset=self.how.reset, share=refined.share)
        self.layerwise.set_layer(layer)
        self.values[layer.name] = value
        layer = self._advance(layer, value, activation)
        return layer.replace(activation_scale=value, record=dict(layer.record) | record)

    def release(self, layer: Layer) -> None:
        """Forget what no layer after this one needs."""
        self.layerwise.release(layer)

    def _refined(
        self, layer: Layer, seen: _Seen | None, trained_scale: np.ndarray | None, activation: torch.Tensor | None
    ) -> Refined:
        """Spike values, () or (channels,), before alpha, and where the potential starts."""
        shares = self.how.shares
        if self.how.thresholds == "tuned":
            if trained_scale is None:
                raise UsageError(f"layer {layer.name!r} has no tuned activation scale; tune the network first")
            return Refined(trained_scale, shares[0])
        if self.how.thresholds == "error":
            found = self.histograms[layer.name].least_error(self.plan.steps)
        else:
            histogram = seen.histogram if self.how.thresholds == "v_in" else self.histograms[layer.name]
            found = histogram.percentile(self.how.percentile)
        if found.max() <= 0:
            raise ConversionError(
                f"layer {layer.name!r} receives no positive input on the calibration images, so it would never spike; "
                "use more images, or train the network again"
            )
        # A channel that is silent on these images gets the mean threshold of the others.
        found = np.where(found > 0, found, found[found > 0].mean())
        refined = Refined(found if len(found) > 1 else found[0], shares[0])
        if self.how.thresholds == "error":
            centred = self.how.calibrate == "bias"
            refined = refine(
                layer,
                self.layerwise.batches,
                activation,
                refined.values,
                shares=shares,
                centred=centred,
                reset=self.how.reset,
            )
        if not refined.values.ndim:
            return refined
        smallest = _smallest_spike_values(layer, refined.values)
        return Refined(np.maximum(refined.values, smallest), refined.share)

    def _advance(self, layer: Layer, value: np.ndarray, activation: torch.Tensor | None) -> Layer:
        """Simulate the layer, after its biases were moved where that is asked for."""
        counts = self.layerwise.advance(layer)
        if self.how.calibrate != "bias":
            return layer
        wanted = _channel_means(activation.mean(dim=0).numpy())
        factor = layer.neurons.threshold / np.broadcast_to(value, wanted.shape)
        for _ in range(_CORRECTIONS):
            said = _channel_means(counts) * value / self.plan.steps
            layer = _add_bias(layer, (wanted - said) * factor)
            counts = self.layerwise.advance(layer)
        return layer


def _calibration_images(network: SpikingNetwork) -> int:
    """Images whose spikes are compared with activations, fewer where a layer is very large."""
    largest = max(layer.size for layer in network)
    return int(np.clip(_CALIBRATION_BYTES // (4 * largest), 8, CALIBRATION_IMAGES))


def _smallest_spike_values(layer: Layer, values: np.ndarray) -> np.ndarray:
    """(channels,) below which a channel's weights, divided by its spike value, would take bits from all others.

    A channel that is hardly active would have them so large; its activations then use less of their T steps.
    """
    largest = np.max([np.abs(s.weight).reshape(len(values), -1).max(axis=1) for s in layer.synapses], axis=0)
    if layer.neurons.bias is not None:
        bias = np.abs(layer.neurons.bias_per_neuron(layer.shape)).reshape(len(values), -1).max(axis=1)
        largest = np.maximum(largest, bias / _largest_bias_over_weight())
    return largest / (_LARGEST_OVER_MEDIAN * np.median(largest / values))


def _largest_bias_over_weight() -> float:
    """The largest bias over the largest weight, both in weight units."""
    limits = load_profile("loihi2").limits
    bias = to_weight_units(limits["bias_mantissa_max"].value * 2.0 ** limits["bias_exponent_max"].value)
    return bias / limits["weight_mixed_max"].value


def _channels(network: SpikingNetwork, channelwise: bool) -> dict[str, int]:
    """How many thresholds each spiking layer has; one where it is read out, as its outputs are compared with each other."""
    return {
        layer.name: layer.shape[0] if channelwise and len(layer.shape) == 3 and layer is not network.output else 1
        for layer in network
        if layer.neurons.reset != "none"
    }


def _channel_means(values: np.ndarray) -> np.ndarray:
    """(channels,) means of (channels, height, width), or the values of a flat population."""
    return values.reshape(len(values), -1).mean(axis=1)


def _add_bias(layer: Layer, change: np.ndarray) -> Layer:
    """The layer with (channels,) added to its bias."""
    bias = layer.neurons.bias
    if bias is None:
        bias = np.zeros(layer.shape[0], dtype=np.float32)
    change = change[:, None, None] if bias.ndim == 3 else change
    return layer.replace(neurons=layer.neurons.replace(bias=(bias + change).astype(np.float32)))


@dataclass
class _Seen:
    """A layer's input over all images and steps, its bias included.

    largest : V_in^max; histogram : of the positive V_in; peak : largest |sum over time| of any neuron;
    mean : (*shape) over images and steps.
    """

    largest: float
    histogram: Histogram
    peak: float
    mean: np.ndarray


def _observe(layer: Layer, batches: list[LayerBatch]) -> _Seen:
    histogram, peak, mean = Histogram(), 0.0, 0.0
    samples = sum(len(batch.images) for batch in batches)
    for batch in batches:
        total = torch.zeros(())
        for currents, steps in batch.currents(layer):
            repeated = steps if len(currents) == 1 else 1
            histogram.add(currents.reshape(1, -1), repeated=repeated)
            for t in range(steps):  # one by one, so that rounding does not depend on how time is cut
                total = total + currents[t if repeated == 1 else 0]
                peak = max(peak, *(abs(limit.item()) for limit in torch.aminmax(total)))
        mean = mean + total.double().sum(dim=0).numpy() / (samples * batch.plan.steps)
    mean = from_memory(mean.reshape(memory_shape(layer.shape)), 0)
    return _Seen(float(histogram.largest[0]), histogram, peak, mean)
