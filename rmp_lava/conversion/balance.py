"""Set the thresholds, layer after layer, each with the layers before it already balanced and spiking.

The paper's way (Han, Srinivasan and Roy, CVPR 2020, section 4): a layer's threshold is an upper bound of V_in, its weighted
input sum at any one time step, over training images and time; a factor alpha then scales it down for latency. Other ways
take the threshold from the trained network's activations, and reach the same accuracy in far fewer steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..backends.fast.batching import choose_batching
from ..backends.fast.layers import Prepared
from ..backends.fast.synapses import from_memory, memory_shape
from ..encoding import check_images
from ..errors import ConversionError, UsageError
from ..network import Layer, SpikingNetwork
from ..progress import Progress
from ..schedule import Schedule, schedule
from .analog import activations
from .histogram import Histogram
from .replay import Replay
from .scale import scale_synapses, set_threshold

THRESHOLDS = ("v_in", "activation", "error", "tuned")
CALIBRATIONS = ("none", "bias")
CALIBRATION_IMAGES = 128
"""Images whose spikes set the biases: each correction takes one more simulation of the layer."""


@dataclass(frozen=True)
class Balancing:
    """How thresholds are found.

    Parameters
    ----------
    thresholds : {"v_in", "activation", "error", "tuned"}
        "v_in": a percentile of V_in (the paper). "activation": a percentile of the trained network's activations (Rueckauer
        et al., Frontiers in Neuroscience 2017). "error": the least squared error of T steps' rates against activations (as
        Li et al., ICML 2021, "A free lunch from ANN"). "tuned": what `tune` has recorded.
    percentile : float
        Of positive values, 0 < percentile <= 100; 100 is the maximum. Of "v_in" and "activation".
    alpha : float or mapping
        Factor on each threshold, or by layer name (missing names: 1).
    v_init : {"zero", "half"}
        Initial potential 0, or half the threshold (Bu et al., AAAI 2022, "Optimized potential initialization").
    reset : {"soft", "hard"}
        Of the spiking layers; hard is the baseline that the paper compares with.
    channelwise : bool
        A threshold for each channel of a convolution, folded into its weights. Not with "v_in" and "tuned".
    calibrate : {"none", "bias"}
        "bias": move each channel's bias by what its rate is short of the mean activation (Li et al., ICML 2021).

    Raises
    ------
    UsageError
        If a value is not allowed.
    """

    thresholds: str = "v_in"
    percentile: float = 100.0
    alpha: float | Mapping[str, float] = 1.0
    v_init: str = "zero"
    reset: str = "soft"
    channelwise: bool = False
    calibrate: str = "none"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("thresholds", THRESHOLDS),
            ("v_init", ("zero", "half")),
            ("reset", ("soft", "hard")),
            ("calibrate", CALIBRATIONS),
        ):
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(map(repr, allowed))}")
        if not 0 < self.percentile <= 100:
            raise UsageError(f"percentile is {self.percentile}; allowed are 0 < percentile <= 100")
        if self.channelwise and self.thresholds not in ("activation", "error"):
            raise UsageError(
                f"channelwise thresholds come from activations, not from {self.thresholds!r}; choose thresholds "
                "'activation' or 'error'"
            )

    def factors(self, network: SpikingNetwork) -> dict[str, float]:
        """Alpha by layer name."""
        given = self.alpha if isinstance(self.alpha, Mapping) else {layer.name: self.alpha for layer in network}
        for name, factor in given.items():
            if not np.isfinite(factor) or factor <= 0:
                raise UsageError(f"alpha of layer {name!r} is {factor}; it must be a positive number")
            if name not in network.depths:
                raise UsageError(
                    f"alpha names layer {name!r}, which does not exist; layers are {', '.join(network.depths)}"
                )
        return {layer.name: float(given.get(layer.name, 1.0)) for layer in network}


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
        With thresholds, initial potentials, weights scaled by their source's spike value (see `scale`), and on each layer
        the record of what was observed. `provenance["output_scale"]` says what the read-out means.

    Raises
    ------
    UsageError
        If the network is balanced already, or an option does not fit it.
    ConversionError
        If a layer would never spike, so that no threshold can be found.
    """
    if network.is_integer:
        raise UsageError("thresholds are balanced before quantisation, but the network holds integers already")
    if "balance" in network.provenance:
        raise UsageError(
            f"network {network.name!r} is balanced already, and its weights carry their sources' spike values; balance "
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
    if isinstance(how.alpha, Mapping):
        record["alpha"] = dict(how.alpha)
    provenance = dict(network.provenance) | {"balance": record}
    scale = 1.0 if network.readout == "potential" else layers[-1].neurons.threshold
    if network.readout == "count" or layers[-1].neurons.reset == "none":  # else the potential forgets what was fired
        provenance["output_scale"] = scale
    return network.replace(layers=tuple(layers), provenance=provenance)


class _Balancer:
    """Balances layer after layer; keeps the spikes and the spike values of those before."""

    def __init__(self, network: SpikingNetwork, images: np.ndarray, plan: Schedule, how: Balancing, seed: int) -> None:
        self.how, self.plan, self.output = how, plan, network.output
        self.prepared = Prepared(network, torch.device("cpu"))
        self.values: dict[str, np.ndarray] = {}
        self.known = _Activations(network, images, how) if self._needs_activations() else None
        self.replays = self._make_replays(network, images, seed)

    def _needs_activations(self) -> bool:
        return self.how.thresholds in ("activation", "error") or self.how.calibrate != "none"

    def _make_replays(self, network: SpikingNetwork, images: np.ndarray, seed: int) -> list[Replay]:
        # Spikes are simulated where V_in is observed or biases are moved, and for the range of an integrating read-out.
        if self.how.thresholds != "v_in":
            images = images[:CALIBRATION_IMAGES]
        batching = choose_batching(network, self.plan, len(images), device="cpu", threads=1)
        return [
            Replay(
                self.prepared,
                images[i : i + batching.samples],
                self.plan,
                batching,
                seed=seed,
                first_sample=i,
            )
            for i in range(0, len(images), batching.samples)
        ]

    def balance(self, layer: Layer, factor: float) -> Layer:
        """The layer with its threshold; advances the spikes past it."""
        trained, layer = layer, scale_synapses(layer, self.values)
        self.prepared.prepare(layer)
        record = {"balanced_over_steps": self.plan.steps}
        if self.how.thresholds == "v_in" or layer.neurons.reset == "none":
            seen = _observe(layer, self.replays)
            record |= {"v_in_max": seen.largest, "potential_peak": seen.peak}
        if layer.neurons.reset == "none":
            layer = self._calibrated_read_out(layer)
            return layer.replace(record=dict(layer.record) | record)
        bound = self._bound(trained, seen if self.how.thresholds == "v_in" else None)
        value = factor * bound
        clip = layer.record.get("clip")
        if clip is not None:
            value = np.minimum(value, clip)  # a rate of 1 then is the clipped activation
        record |= {"spike_value": value.tolist(), "threshold_bound": bound.tolist(), "alpha": factor}
        if self.how.thresholds in ("v_in", "activation"):
            record["percentile"] = self.how.percentile
        layer = set_threshold(layer, value, reset=self.how.reset, half=self.how.v_init == "half")
        self.prepared.prepare(layer)
        self.values[layer.name] = value
        layer = self._advance(layer, value)
        return layer.replace(record=dict(layer.record) | record)

    def release(self, layer: Layer) -> None:
        """Forget what no layer after this one needs."""
        for replay in self.replays:
            replay.release(layer)

    def _bound(self, layer: Layer, seen: _Seen | None) -> np.ndarray:
        """() or (channels,) threshold before alpha."""
        if self.how.thresholds == "tuned":
            value = layer.record.get("threshold")
            if value is None:
                raise UsageError(f"layer {layer.name!r} has no tuned threshold; tune the network first")
            return np.asarray(value, dtype=np.float64)
        if seen is not None:
            found = seen.histogram.percentile(self.how.percentile)
        elif self.how.thresholds == "error":
            found = self.known.histograms[layer.name].least_error(self.plan.steps)
        else:
            found = self.known.histograms[layer.name].percentile(self.how.percentile)
        if found.max() <= 0:
            raise ConversionError(
                f"layer {layer.name!r} receives no positive input on the calibration images, so it would never spike; "
                "use more images, or train the network again"
            )
        # A channel that is silent on these images gets the mean threshold of the others.
        found = np.where(found > 0, found, found[found > 0].mean())
        return found if len(found) > 1 else found[0]

    def _advance(self, layer: Layer, value: np.ndarray) -> Layer:
        """Let the replays simulate the layer, after its biases were moved where that is asked for."""
        counts = self._simulate(layer)
        if self.how.calibrate != "bias":
            return layer
        said = _channel_means(counts) * value / self.plan.steps
        missing = self.known.means[layer.name] - said
        factor = layer.neurons.threshold / np.broadcast_to(value, missing.shape)
        layer = _add_bias(layer, missing * factor)
        self._simulate(layer)
        return layer

    def _simulate(self, layer: Layer) -> np.ndarray:
        """Mean number of spikes of each neuron, (*shape)."""
        total = sum(replay.advance(layer) for replay in self.replays)
        return total / sum(len(replay.images) for replay in self.replays)

    def _calibrated_read_out(self, layer: Layer) -> Layer:
        if self.how.calibrate != "bias":
            return layer
        total = torch.zeros(layer.size, dtype=torch.float64)
        for replay in self.replays:
            for currents, steps in replay.currents(layer, with_bias=True):
                total += currents.double().sum(dim=(0, 1)) * (steps / len(currents))
        said = total.numpy() / sum(len(replay.images) for replay in self.replays) / self.plan.steps
        said = from_memory(said.reshape(memory_shape(layer.shape)), 0)
        return _add_bias(layer, self.known.means[layer.name] - _channel_means(said))


class _Activations:
    """The trained network's activations on the images: distributions, and means by channel."""

    def __init__(self, network: SpikingNetwork, images: np.ndarray, how: Balancing) -> None:
        self.histograms = {
            layer.name: Histogram(layer.shape[0] if how.channelwise and _may_differ(layer, network) else 1)
            for layer in network
        }
        self.means = {layer.name: np.zeros(layer.shape[0]) for layer in network}
        # Means are compared with spikes of the same images.
        compared = min(len(images), CALIBRATION_IMAGES) if how.thresholds != "v_in" else len(images)
        for samples, name, values in activations(network, images):
            channels = values.movedim(1, 0).flatten(1)
            histogram = self.histograms[name]
            if how.thresholds in ("activation", "error") and network[name].neurons.reset != "none":
                histogram.add(channels if histogram.channels > 1 else channels.flatten()[None])
            within = values[: max(0, compared - samples.start)]
            if len(within):
                self.means[name] += (
                    within.double()
                    .sum(dim=0)
                    .flatten(1 if within.ndim > 2 else 0)
                    .cpu()
                    .numpy()
                    .reshape(len(self.means[name]), -1)
                    .mean(axis=1)
                )
        self.means = {name: mean / compared for name, mean in self.means.items()}


def _may_differ(layer: Layer, network: SpikingNetwork) -> bool:
    """Whether channels may have thresholds of their own: those of the read-out are compared with each other."""
    return len(layer.shape) == 3 and layer is not network.output


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

    largest : V_in^max; histogram : of the positive V_in; peak : largest |sum over time| of any neuron.
    """

    largest: float
    histogram: Histogram
    peak: float


def _observe(layer: Layer, replays: list[Replay]) -> _Seen:
    histogram, peak = Histogram(), 0.0
    for replay in replays:
        total = torch.zeros(())
        for currents, steps in replay.currents(layer, with_bias=True):
            repeated = steps if len(currents) == 1 else 1
            histogram.add(currents.reshape(1, -1), repeated=repeated)
            for t in range(steps):  # one by one, so that rounding does not depend on how time is cut
                total = total + currents[t if repeated == 1 else 0]
                peak = max(peak, *(abs(limit.item()) for limit in torch.aminmax(total)))
    return _Seen(float(histogram.largest[0]), histogram, peak)
