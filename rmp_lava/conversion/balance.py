"""Balance thresholds layer after layer, as RMP-SNN does (Han, Srinivasan and Roy, CVPR 2020, section 4).

A layer's threshold is an upper bound of V_in, its weighted input sum at any one time step, over training images and
time, with the layers before it already balanced and spiking. A factor alpha then scales it down for latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..backends.fast.batching import choose_batching
from ..backends.fast.layers import Prepared
from ..encoding import check_images
from ..errors import ConversionError, UsageError
from ..network import Layer, SpikingNetwork
from ..progress import Progress
from ..schedule import schedule
from .replay import Replay

# Logarithmic bins, 0.1 % wide: a percentile over 10^9 sums in constant memory.
_BINS_PER_E_FOLD = 1000
_LOWEST = np.log(1e-9)
_BIN_COUNT = int((np.log(1e9) - _LOWEST) * _BINS_PER_E_FOLD)


def balance(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    *,
    percentile: float = 100.0,
    alpha: float | Mapping[str, float] = 1.0,
    v_init: str = "zero",
    reset: str = "soft",
    seed: int = 0,
    progress: bool = False,
) -> SpikingNetwork:
    """Set every threshold of a float network.

    Parameters
    ----------
    network : SpikingNetwork
        Float.
    images : numpy.ndarray
        Training images (never test images), as `rmp_lava.run` takes them.
    steps : int
        Time steps over which V_in is observed.
    percentile : float
        100 takes the maximum, as the paper does; less ignores the largest sums (0 < percentile <= 100, counted over
        all positive sums).
    alpha : float or mapping
        Factor on each threshold, or by layer name (missing names: 1).
    v_init : {"zero", "half"}
        Initial potential 0, or half the threshold (Bu et al., AAAI 2022, "Optimized potential initialization").
    reset : {"soft", "hard"}
        Of the spiking layers; hard is the baseline that the paper compares with.
    seed : int
        Of the Poisson encoding.

    Returns
    -------
    SpikingNetwork
        With thresholds, initial potentials, and on each layer the record of what was observed.

    Raises
    ------
    ConversionError
        If a layer never receives a positive input, so that no threshold can be found.
    """
    factors = _check_options(network, percentile, alpha, v_init, reset, seed)
    plan = schedule(network, steps)
    images = check_images(images, network.input)
    layers: list[Layer] = []
    with torch.no_grad(), Progress("balancing thresholds", len(network.layers), shown=progress) as bar:
        prepared = Prepared(network, torch.device("cpu"))
        batching = choose_batching(network, plan, len(images), device="cpu", threads=1)
        replays = [
            Replay(prepared, images[i : i + batching.samples], plan, batching, seed=seed, first_sample=i)
            for i in range(0, len(images), batching.samples)
        ]
        for layer in network:
            seen = _observe(layer, replays)
            layer = _balanced(layer, seen, percentile, factors.get(layer.name, 1.0), v_init, reset, steps)
            layers.append(layer)
            for replay in replays:
                replay.advance(layer)
            bar.advance()
    provenance = dict(network.provenance) | {
        "balance": {
            "images": len(images),
            "steps": steps,
            "percentile": percentile,
            "alpha": alpha if isinstance(alpha, (int, float)) else dict(alpha),
            "v_init": v_init,
            "seed": seed,
        }
    }
    scale = _output_scale(network, layers)
    if scale is not None:
        provenance["output_scale"] = scale
    return network.replace(layers=tuple(layers), provenance=provenance)


def _output_scale(network: SpikingNetwork, layers: list[Layer]) -> float | None:
    """What one spike, or one unit of potential, per step of the read-out means in outputs of the trained network.

    A rate is an activation divided by all thresholds up to its layer, in a chain without biases, where scales pass through.
    """
    if not network.is_chain or any(layer.neurons.bias is not None for layer in layers):
        return None
    spiking = [layer.neurons.threshold for layer in layers if layer.neurons.reset != "none"]
    if network.readout == "potential" and layers[-1].neurons.reset != "none":
        return None  # its potential forgets what it has fired
    scale = float(np.prod(spiking))
    return scale if 0 < scale < np.inf else None


def _check_options(
    network: SpikingNetwork, percentile: float, alpha: float | Mapping[str, float], v_init: str, reset: str, seed: int
) -> Mapping[str, float]:
    if network.is_integer:
        raise UsageError("thresholds are balanced before quantisation, but the network holds integers already")
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be 0 or more")
    if not 0 < percentile <= 100:
        raise UsageError(f"percentile is {percentile}; allowed are 0 < percentile <= 100")
    factors = alpha if isinstance(alpha, Mapping) else {layer.name: alpha for layer in network}
    for name, factor in factors.items():
        if not np.isfinite(factor) or factor <= 0:
            raise UsageError(f"alpha of layer {name!r} is {factor}; it must be a positive number")
        if name not in network.depths:
            raise UsageError(
                f"alpha names layer {name!r}, which does not exist; layers are {', '.join(network.depths)}"
            )
    if v_init not in ("zero", "half"):
        raise UsageError(f"v_init is {v_init!r}; choose 'zero' or 'half'")
    if reset not in ("soft", "hard"):
        raise UsageError(f"reset is {reset!r}; choose 'soft' or 'hard'")
    return factors


@dataclass
class _Seen:
    """A layer's input over all images and steps.

    largest : V_in^max; histogram : of the positive V_in, logarithmic bins; peak : largest |sum over time| of any neuron.
    """

    largest: float
    histogram: np.ndarray
    peak: float


def _observe(layer: Layer, replays: list[Replay]) -> _Seen:
    seen = _Seen(-np.inf, np.zeros(_BIN_COUNT, dtype=np.int64), 0.0)
    for replay in replays:
        total = torch.zeros(())
        for currents, steps in replay.currents(layer):
            repeated = steps if len(currents) == 1 else 1
            seen.largest = max(seen.largest, float(currents.max()))
            bins = ((currents[currents > 0].log() - _LOWEST) * _BINS_PER_E_FOLD).long().clamp(0, _BIN_COUNT - 1)
            seen.histogram += torch.bincount(bins, minlength=_BIN_COUNT).numpy() * repeated
            for t in range(steps):  # one by one, so that rounding does not depend on how time is cut
                total = total + currents[t if repeated == 1 else 0]
                seen.peak = max(seen.peak, *(abs(limit.item()) for limit in torch.aminmax(total)))
    return seen


def _balanced(
    layer: Layer, seen: _Seen, percentile: float, factor: float, v_init: str, reset: str, steps: int
) -> Layer:
    record = dict(layer.record) | {"v_in_max": seen.largest, "potential_peak": seen.peak, "balanced_over_steps": steps}
    if layer.neurons.reset == "none":
        return layer.replace(record=record)
    if seen.largest <= 0:
        raise ConversionError(
            f"layer {layer.name!r} receives no positive input on the calibration images, so it would never spike; "
            "use more images, or train the network again"
        )
    bound = seen.largest
    if percentile < 100:
        needed = percentile / 100 * seen.histogram.sum()
        bound = float(np.exp(_LOWEST + (np.searchsorted(seen.histogram.cumsum(), needed) + 1) / _BINS_PER_E_FOLD))
        bound = min(bound, seen.largest)
    threshold = factor * bound
    record |= {"threshold_bound": bound, "percentile": percentile, "alpha": factor}
    neurons = layer.neurons.replace(threshold=threshold, reset=reset, v_init=threshold / 2 if v_init == "half" else 0.0)
    return layer.replace(neurons=neurons, record=record)
