"""Threshold balancing, layer after layer: the layers before the current one are balanced and spike already.

In the paper (Han, Srinivasan and Roy, CVPR 2020, section 4) a layer's threshold is an upper bound of V_in, its weighted
input sum at any one time step, over training images and time; a factor alpha then scales it down for latency. Other methods
take the threshold from the trained network's activations and reach the same accuracy in far fewer time steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..backends.fast.layerwise import LayerBatch, Layerwise, from_memory, memory_shape
from ..encoding import check_images
from ..errors import UsageError
from ..hardware import Profile, load_profile
from ..network import Layer, Readout, SpikingNetwork
from ..network.values import per_row
from ..progress import Progress
from ..registers import to_weight_units
from ..schedule import Schedule, schedule
from .activation_scales import Histogram, LayerActivations, distributions
from .analog import AnalogNetwork
from .balancing import Balancing
from .calibration import CURRENTS_BYTES, calibration_images, channel_means
from .refine import Refined, refine
from .scale import scale_synapses, set_threshold
from .silent import ACTIVE_RATE, clip_silent, row_sizes

_LARGEST_OVER_TYPICAL = 2
"""Limit on a unit's largest scaled weight, relative to the median unit's, or to the largest of live units where all units share
an activation scale: it costs the others one bit at most."""
_CORRECTIONS = 2
"""Bias corrections: each one moves spikes in time, so a single one does not have its full effect."""


def balance(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    how: Balancing = Balancing(),  # noqa: B008 - frozen
    *,
    profile: str | Profile = "loihi2",
    seed: int = 0,
    progress: bool = False,
) -> SpikingNetwork:
    """Set every threshold of an analog network, as `trace` or `tune` returns it.

    Parameters
    ----------
    network : SpikingNetwork
        Of stage "analog".
    images : numpy.ndarray
        Training images (never test images), as `rmp_lava.run` takes them.
    steps : int
        T, the time steps that the thresholds are for and over which V_in is observed.
    how : Balancing
    profile : str or Profile
        The chip that will quantise the network: its registers decide how small the activation scale of a channel may be.
    seed, progress
        As `rmp_lava.run` takes them.

    Returns
    -------
    SpikingNetwork
        Balanced: with thresholds, initial potentials, activation scales, and weights multiplied by the activation scale of
        their source (see `scale`); with its `output_scale` and `balanced_steps`.

    Raises
    ------
    UsageError
        If the network is balanced already, or an option does not fit it."""
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
    plan = schedule(network.replace(wait=how.wait), steps)
    with torch.no_grad(), Progress("balancing thresholds", len(network.layers), shown=progress) as bar:
        balancer = _Balancer(network, images, plan, how, _largest_bias_over_weight(profile), seed)
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
        wait=how.wait,
        provenance=provenance,
    )


def _output_scale(last: Layer, readout: Readout) -> float | None:
    if readout == "count":
        return float(last.neurons.threshold)
    return 1.0 if last.neurons.reset == "none" else None  # a potential forgets the spikes that were subtracted from it


class _Balancer:
    """Balances layer after layer; keeps the spikes and the activation scales of the earlier ones."""

    def __init__(
        self,
        network: SpikingNetwork,
        images: np.ndarray,
        plan: Schedule,
        how: Balancing,
        largest_bias: float,
        seed: int,
    ) -> None:
        self.how, self.plan, self.largest_bias = how, plan, largest_bias
        self.output = network.output.name
        self.waits = {layer.name: plan.wait if network.waits(layer) else 0 for layer in network}
        self.values: dict[str, np.ndarray] = {}
        self.observed: dict[str, dict[str, float]] = {}
        self.largest: dict[str, np.ndarray] = {}
        self.hardly: dict[str, np.ndarray] = {}
        self.activations: dict[str, LayerActivations] = {}
        if how.thresholds in ("activation", "error"):
            neuronwise = how.channelwise or how.thresholds == "error"
            self.activations = distributions(network, images, channelwise=how.channelwise, neuronwise=neuronwise)
        # V_in is observed on all images; spikes are compared with activations on some.
        simulated = images if how.thresholds == "v_in" else images[: calibration_images(network)]
        self.layerwise = Layerwise(network, simulated, plan, memory=CURRENTS_BYTES, seed=seed)
        compares = how.thresholds == "error" or how.calibrate != "none"
        self.walk = AnalogNetwork(network).walk(torch.from_numpy(np.array(simulated))) if compares else None

    def balance(self, layer: Layer, factor: float) -> Layer:
        """The layer with its threshold, or unchanged but for its bias where it only integrates; advances the spikes past it."""
        activation = None if self.walk is None else next(self.walk)[2]
        trained_scale, layer = layer.activation_scale, layer.replace(activation_scale=None)
        layer = scale_synapses(layer, self.values)
        if layer.neurons.reset == "none":
            layer = clip_silent(layer, self.hardly, np.ones(()))
            self.layerwise.set_layer(layer)
            return self._integrating(layer, activation)
        suggested = self._suggested(layer, trained_scale)
        layer = clip_silent(layer, self.hardly, suggested)
        self.layerwise.set_layer(layer)
        refined = self._refined(layer, suggested, activation)
        # A firing rate of 1 is the clip at most; alpha is a factor on that, or it would have no effect above it.
        clip = np.asarray(np.inf) if layer.clip is None else layer.clip
        natural = np.minimum(refined.values, clip)
        fitting = self._fitting(layer, natural, refined.share)
        # A silent unit may have a scale above the clip already, which its activations do not reach.
        scale = np.minimum(factor * fitting, np.maximum(fitting, clip))
        record = dict(layer.record) | self.observed.get(layer.name, {}) | {"alpha": factor}
        if self.how.thresholds in ("v_in", "activation"):
            record["percentile"] = self.how.percentile
        layer = clip_silent(layer, self.hardly, scale)
        layer = set_threshold(layer, scale, reset=self.how.reset, share=refined.share)
        self.layerwise.set_layer(layer)
        self.values[layer.name] = scale
        layer = self._advance(layer, scale, activation)
        if layer.name in self.largest:
            record["silent_units"] = int(self._silent(layer, scale, refined.share).sum())
            raised = (fitting > natural) & (self.largest[layer.name] < ACTIVE_RATE * fitting)
            self.hardly[layer.name] = raised | self._silent(layer, fitting, refined.share)
        return layer.replace(activation_scale=scale, record=record)

    def _integrating(self, layer: Layer, activation: torch.Tensor | None) -> Layer:
        seen = _observe(layer, self.layerwise.batches)
        moved = np.zeros(layer.shape[:1])
        if self.how.calibrate == "bias":
            moved = channel_means(_mean(activation) - seen.mean)
            layer = _add_bias(layer, moved)
        by_channel = per_row(moved, len(layer.shape))
        mean_input = float((seen.low + by_channel).min()), float((seen.high + by_channel).max())
        record = dict(layer.record) | {"v_in_max": seen.largest}
        return layer.replace(potential_peak=seen.peak, mean_input=mean_input, record=record)

    def release(self, layer: Layer) -> None:
        """Forget what no later layer needs."""
        self.layerwise.release(layer)

    def _suggested(self, layer: Layer, trained_scale: np.ndarray | None) -> np.ndarray:
        """Activation scales by the method, () or (units,), positive, before simulation and alpha."""
        if self.how.thresholds == "tuned":
            if trained_scale is None:
                raise UsageError(f"layer {layer.name!r} has no tuned activation scale; tune the network first")
            return trained_scale
        if self.how.thresholds == "v_in":
            self.layerwise.set_layer(layer)
            seen = _observe(layer, self.layerwise.batches)
            self.observed[layer.name] = {"v_in_max": seen.largest}
            self.largest[layer.name] = seen.largest_by_unit
            found = seen.histogram.percentile(self.how.percentile)
        else:
            distribution = self.activations[layer.name].distribution
            self.largest[layer.name] = self.activations[layer.name].largest
            if self.how.thresholds == "error":
                found = distribution.least_error(self.plan.steps)
            else:
                found = distribution.percentile(self.how.percentile)
        return self._with_silent(layer, found)

    def _with_silent(self, layer: Layer, found: np.ndarray) -> np.ndarray:
        """Scales in which units that are silent on these images, and have 0, get one that suits their weights."""
        sizes = row_sizes(layer, self.hardly, self.largest_bias)
        ratio = _median_ratio(sizes, found)
        if found.shape == (1,):
            return found[0] if found[0] > 0 else np.asarray(sizes.max() / ratio or 1.0)
        usual = found[found > 0].mean() if found.any() else 1.0
        return np.where(found > 0, found, np.where(sizes > 0, sizes / ratio, usual))

    def _refined(self, layer: Layer, suggested: np.ndarray, activation: torch.Tensor | None) -> Refined:
        """Activation scales, () or (units,), before alpha, and the initial potential as a share of the threshold."""
        shares = self.how.shares
        if self.how.thresholds != "error" or activation is None:
            return Refined(suggested, shares[0])
        return refine(
            layer,
            self.layerwise.batches,
            activation,
            suggested,
            shares=shares,
            centred=self.how.calibrate == "bias",
            reset=self.how.reset,
            wait=self.waits[layer.name],
        )

    def _fitting(self, layer: Layer, scale: np.ndarray, share: float) -> np.ndarray:
        """Activation scales at which no unit's weights are so large, relative to its scale, that all others lose bits.

        This concerns units that are silent or hardly active; with a larger scale their activations use fewer of the T steps.
        Where all units share a scale, only silent ones get another. Outputs keep theirs, as their spikes are compared.
        """
        # A tuned network was trained for the largest weights that it has.
        if self.how.thresholds == "tuned" or layer.name == self.output:
            return scale
        sizes = row_sizes(layer, self.hardly, self.largest_bias)
        silent = self._silent(layer, scale, share)
        if not scale.ndim:
            limit = sizes[~silent].max(initial=0.0)
            large = silent & (sizes > _LARGEST_OVER_TYPICAL * limit)
            return np.where(large, scale * sizes / limit, scale) if limit and large.any() else scale
        smallest = sizes / (_LARGEST_OVER_TYPICAL * _median_ratio(sizes, np.where(silent, 0, scale)))
        if layer.clip is not None:
            smallest = np.where(silent, smallest, np.minimum(smallest, layer.clip))
        return np.maximum(scale, smallest)

    def _silent(self, layer: Layer, scale: np.ndarray, share: float) -> np.ndarray:
        """(units,) bool: whose activations are too small for a single spike in T steps on any image."""
        return self.largest[layer.name] * self.plan.steps <= (1 - share) * scale

    def _advance(self, layer: Layer, scale: np.ndarray, activation: torch.Tensor | None) -> Layer:
        """Simulate the layer; with calibrate "bias", move its biases by what the rates miss and simulate it again."""
        counts = self.layerwise.advance(layer)
        if self.how.calibrate != "bias":
            return layer.replace(mean_rate=channel_means(counts) / self.plan.steps)
        wanted = channel_means(_mean(activation))
        factor = layer.neurons.threshold / np.broadcast_to(scale, wanted.shape)
        for _ in range(_CORRECTIONS):
            rates = channel_means(counts) * scale / self.plan.steps
            layer = _add_bias(layer, (wanted - rates) * factor)
            counts = self.layerwise.advance(layer)
        return layer.replace(mean_rate=channel_means(counts) / self.plan.steps)


def _median_ratio(sizes: np.ndarray, scale: np.ndarray) -> float:
    """The median unit's largest weight over its activation scale; units with a scale or a weight of 0 do not count."""
    used = (sizes > 0) & (scale > 0)
    return float(np.median((sizes / np.where(used, scale, 1.0))[used])) if used.any() else 1.0


def _largest_bias_over_weight(profile: str | Profile) -> float:
    """The largest bias over the largest weight of a chip, both in weight units."""
    chip = load_profile(profile)
    return to_weight_units(chip["bias_mantissa_max"] * 2 ** chip["bias_exponent_max"]) / chip["weight_mixed_max"]


def _mean(activation: torch.Tensor | None) -> np.ndarray:
    """(*shape) over the images; the activations are walked through whenever an option compares with them."""
    assert activation is not None
    return activation.mean(dim=0).numpy()


def _add_bias(layer: Layer, change: np.ndarray) -> Layer:
    """The layer with (channels,) added to its bias."""
    bias = layer.neurons.bias_by_unit(layer.shape)
    changed = (bias + per_row(change, bias.ndim)).astype(np.float32)
    return layer.replace(neurons=layer.neurons.replace(bias=changed))


@dataclass
class _Seen:
    """A layer's input over all images and steps, its bias included.

    largest, largest_by_unit : V_in^max, and that of each channel or neuron.
    histogram : Of the positive V_in.
    peak : Largest |sum over time| of any neuron.
    mean : (*shape) over images and steps.
    low, high : (*shape) smallest and largest mean over steps of any image.
    """

    largest: float
    largest_by_unit: np.ndarray
    histogram: Histogram
    peak: float
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _observe(layer: Layer, batches: Sequence[LayerBatch]) -> _Seen:
    histogram, peak, mean = Histogram(), 0.0, np.zeros(())
    highest = torch.full((layer.size,), -torch.inf)
    lowest_total, highest_total = torch.full((layer.size,), torch.inf), highest.clone()
    samples = sum(len(batch.images) for batch in batches)
    for batch in batches:
        total = torch.zeros(())
        for currents, steps in batch.currents(layer):
            repeated = steps if len(currents) == 1 else 1
            histogram.add(currents.reshape(1, -1), repeated=repeated)
            highest = torch.maximum(highest, currents.amax(dim=(0, 1)))
            for t in range(steps):  # one by one, so that rounding does not depend on how time is cut
                total = total + currents[t if repeated == 1 else 0]
                peak = max(peak, *(abs(limit.item()) for limit in torch.aminmax(total)))
        lowest_total = torch.minimum(lowest_total, total.amin(dim=0))
        highest_total = torch.maximum(highest_total, total.amax(dim=0))
        mean = mean + total.double().sum(dim=0).numpy() / (samples * batch.plan.steps)
    per_step = 1 / batches[0].plan.steps
    means = (mean, lowest_total.double().numpy() * per_step, highest_total.double().numpy() * per_step)
    mean, low, high, largest = (
        from_memory(each.reshape(memory_shape(layer.shape)), 0) for each in (*means, highest.double().numpy())
    )
    largest_by_unit = largest.reshape(len(largest), -1).max(axis=1)
    return _Seen(float(histogram.largest[0]), largest_by_unit, histogram, peak, mean, low, high)
