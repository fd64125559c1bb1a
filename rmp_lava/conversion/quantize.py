"""From real numbers to a chip's integers: one scale per layer, every choice recorded.

One factor takes a layer's weights, threshold, bias and initial potential to weight units, so that threshold / weight is
preserved. It is chosen so that the threshold is exactly an integer and the weights use all their bits. Where the synapses of a
layer differ much, as a convolution and an identity shortcut do, the larger weights get an exponent, so that the smaller ones use
all their bits too.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ..choices import ThresholdForm, check_choice
from ..errors import ConversionError, RmpLavaWarning, UsageError
from ..hardware import Profile, load_profile
from ..network import INPUT, Dense, Input, Layer, Neurons, SpikingNetwork, Synapse
from ..neuron import Range
from ..registers import MAX_WEIGHT_EXPONENT, STATE_SHIFT, to_state_units, to_weight_units
from .limits import POTENTIAL_MARGIN, ReadoutLimits, Sums, bias_limit, representable, threshold_limit
from .quantization import WeightBits
from .weight_error import Rates, weight_error

RANGE_SHARE = 0.8
"""Share of the current register that potentials of calibration images may take; other images may reach higher ones."""
MAX_SHIFTED_FAN_IN = 4
"""Non-zero weights of a neuron up to which a convolution may have an exponent (a shortcut, pooled 2x2 at most): Lava's Conv
ignores exponents, and a Sparse in its place stores each weight once per neuron."""
_WORTHWHILE = 2
"""How many times finer a layer's scale has to become: a bit more for smaller weights, for less than one of the larger ones."""
_FEWEST_LEVELS = 15
_FEWEST_LEVELS_FOR_BIAS = 63
"""A bias or a potential that does not fit takes two bits from the graded messages, then bits from the weights."""


def quantize(
    network: SpikingNetwork,
    profile: str | Profile = "loihi2",
    *,
    threshold_form: ThresholdForm = "stock",
    ranges: Mapping[str, Range] | None = None,
    steps: int | None = None,
    weight_bits: WeightBits = None,
) -> SpikingNetwork:
    """Quantise a balanced network to a chip's integers.

    Parameters
    ----------
    network : SpikingNetwork
        Of stage "balanced".
    profile : str or Profile
        Name or path of a hardware profile, whose limits are respected.
    threshold_form : {"stock", "free", "dense_rec"}
        "stock": thresholds that are representable as one 8-bit weight with an exponent (<= 7), so that stock LIF neurons
        with a self-synapse can run them; costs less than 0.8 % of the weights' range. "free": any threshold.
        "dense_rec": even and at most 254, as lava-dl's loader needs it for soft reset; costs weight resolution, and there are no
        weight exponents, which that loader ignores.
    ranges : mapping or None
        Layer name -> (smallest, largest) membrane potential of the float network on calibration images, from
        `board_ranges`. Soft-reset layers then get a scale at which these potentials take at most `RANGE_SHARE` of the
        chip's current register, which holds the potential of stock neurons and wraps. None: potentials may saturate, as those
        of native neurons do; for neurons that wait, `native_ranges` prevents that.
    steps : int or None
        T of the longest run for which an integrating read-out's potential must fit. None: the T that the network was
        balanced for; `POTENTIAL_MARGIN` then leaves headroom for twice as long. Where that costs bits of the read-out's
        weights, it gets a threshold and its total is read out, which fits at any T (see `rmp_lava.readout`). A read-out
        of form "dense_rec" only integrates, and loses these bits.
    weight_bits : int, mapping or None
        Bits of each weight, from 2 on: of all layers, or layer name -> bits, others keep all. None: as many as the chip has.
        Thresholds, biases and potentials keep theirs. Fewer bits take fewer synapse words, see `rmp_lava.hardware.savings`.

    Returns
    -------
    SpikingNetwork
        Of stage "integer". Each layer has its `weight_error`, and its record the scale, which is as small as weights, biases
        and thresholds need. Only weights of T thresholds and more are clipped, after which a neuron spikes in every step or in
        none anyway. Dense synapses and shortcuts whose weights are more than twice as large as others of their layer get an
        exponent.

    Raises
    ------
    ConversionError
        If a layer cannot be quantised.
    """
    if network.is_integer:
        raise UsageError(f"network {network.name!r} holds integers already")
    check_choice("threshold_form", threshold_form, ThresholdForm)
    profile = load_profile(profile)
    profiles = layer_profiles(network, profile, weight_bits)
    network, horizon = _expecting(network, steps)
    headrooms = headroom_of_layers(network, profile, ranges)
    source = quantize_input(network, profile, threshold_form, headrooms, horizon)
    scales = [
        choose_scale(layer, _levels(layer, source), each, threshold_form, headrooms[layer.name], horizon)
        for layer, each in zip(network, profiles, strict=True)
    ]
    rates = {layer.name: layer.mean_rate for layer in network if layer.mean_rate is not None}
    layers = tuple(
        _quantize_layer(layer, scale, each, threshold_form, rates)
        for layer, scale, each in zip(network, scales, profiles, strict=True)
    )
    provenance = dict(network.provenance) | {"quantize": {"profile": profile.name, "threshold_form": threshold_form}}
    output_scale, readout = network.output_scale, network.readout
    if output_scale is not None and readout == "potential":
        output_scale /= scales[-1].potential
    return network.replace(
        input=source,
        layers=layers,
        stage="integer",
        readout="total" if scales[-1].reads_total else readout,
        output_scale=output_scale,
        output_offset=scales[-1].offset,
        provenance=provenance,
    )


def layer_profiles(network: SpikingNetwork, profile: Profile, weight_bits: WeightBits) -> list[Profile]:
    """The profile with the limits of each layer's weights; `UsageError` for bits or layers that there are not."""
    if weight_bits is None:
        return [profile] * len(network.layers)
    if isinstance(weight_bits, int):
        return [profile.with_weight_bits(weight_bits)] * len(network.layers)
    names = [layer.name for layer in network]
    for name in weight_bits:
        if name not in names:
            raise UsageError(f"weight_bits has layer {name!r}, which the network has not; it has {', '.join(names)}")
    return [profile.with_weight_bits(weight_bits[name]) if name in weight_bits else profile for name in names]


def headroom_of_layers(
    network: SpikingNetwork, profile: Profile, ranges: Mapping[str, Range] | None
) -> dict[str, float]:
    """Largest potential scale of each layer that leaves its potentials room, see `quantize`; infinite where none is needed."""
    return {layer.name: _headroom(layer, profile, ranges) for layer in network}


def _headroom(layer: Layer, profile: Profile, ranges: Mapping[str, Range] | None) -> float:
    """Largest potential scale at which a layer's potentials keep within the register of stock neurons."""
    if ranges is None or layer.neurons.reset != "soft":
        return np.inf
    if layer.name not in ranges:
        raise UsageError(f"ranges have no layer {layer.name!r}; pass the potential_ranges of a run of this network")
    largest = max(abs(limit) for limit in ranges[layer.name])
    return RANGE_SHARE * profile["current_max"] / largest if largest else np.inf


def _expecting(network: SpikingNetwork, steps: int | None) -> tuple[SpikingNetwork, int | None]:
    """The network with its potential peaks extrapolated to a run of more time steps than it was balanced for, and their T."""
    balanced = network.balanced_steps
    if steps is None or balanced is None or steps <= balanced:
        return network, balanced
    factor = steps / balanced

    def change(layer: Layer) -> Layer:
        peak = layer.potential_peak
        return layer if peak is None else layer.replace(potential_peak=peak * factor)

    return network.map_layers(change), steps


def quantize_input(
    network: SpikingNetwork,
    profile: Profile,
    form: ThresholdForm,
    headrooms: Mapping[str, float] = MappingProxyType({}),
    steps: int | None = None,
) -> Input:
    """Graded messages get as many levels as leave the first threshold headroom next to weights of full range.

    `steps` is the T of the layers' potential peaks.
    """
    source = network.input
    if source.levels is not None:
        if source.encoding == "spikes" and source.levels > profile["message_max"]:
            raise ConversionError(
                f"events are counted up to {source.levels}, but messages of chip {profile.name!r} reach "
                f"{profile['message_max']}; convert with at most one event per step and pixel, np.minimum(events, 1)"
            )
        return source
    if profile["message_max"] < _FEWEST_LEVELS:
        raise ConversionError(
            f"chip {profile.name!r} sends messages up to {profile['message_max']}, too few levels for pixels as currents; "
            "convert with encoding 'rate' or 'poisson'"
        )
    limit = threshold_limit(profile, form)
    first = [layer for layer in network if any(s.source == INPUT for s in layer.synapses)]
    levels = min(255, profile["message_max"])
    while levels > _FEWEST_LEVELS and any(
        layer.neurons.reset != "none" and layer.neurons.threshold * _weight_scale(layer, profile, form) * levels > limit
        for layer in first
    ):
        levels >>= 1
    while levels > _FEWEST_LEVELS_FOR_BIAS and any(
        _weight_scale(layer, profile, form) * levels
        > min(_sum_scale(layer, profile, form, steps), headrooms.get(layer.name, np.inf))
        for layer in first
    ):
        levels >>= 1
    return source.replace(levels=levels)


def _weight_scale(layer: Layer, profile: Profile, form: ThresholdForm) -> float:
    """Largest factor that keeps all of a layer's weights in their ranges."""
    return min(_synapse_scale(s, layer, profile, form) for s in layer.synapses)


def _largest_bias(layer: Layer) -> float:
    return 0.0 if layer.neurons.bias is None else float(np.abs(layer.neurons.bias).max())


def _bias_scale(layer: Layer, profile: Profile) -> float:
    """Largest potential scale at which a layer's biases keep within their register."""
    largest = _largest_bias(layer)
    return bias_limit(profile) / largest if largest else np.inf


def _synapse_scale(synapse: Synapse, layer: Layer, profile: Profile, form: ThresholdForm) -> float:
    low, high = float(synapse.weight.min()), float(synapse.weight.max())
    if low == high == 0:
        raise ConversionError(
            f"layer {layer.name!r} has only zero weights from {synapse.source!r}; leave that synapse out, as trace does"
        )
    if low < 0 < high:
        return min(profile["weight_mixed_max"] / high, profile["weight_mixed_min"] / low)
    if form == "dense_rec":
        return profile["weight_mixed_max"] / max(high, -low)
    return profile["weight_single_sign_max"] / max(high, -low)


def weight_grid(weight: np.ndarray, profile: Profile, form: ThresholdForm) -> tuple[int, int, int]:
    """Distance, smallest and largest of the integers that weights may become.

    Weights of mixed sign lose a bit to it; in a dense_rec layer all do, as they share their scale with the self-synapses.
    """
    even, limit = form == "dense_rec" or bool(weight.min() < 0 < weight.max()), profile["weight_single_sign_max"]
    low, high = (profile["weight_mixed_min"], profile["weight_mixed_max"]) if even else (-limit, limit)
    return profile.weight_step(even), low, high


def may_have_exponent(synapse: Synapse, form: ThresholdForm, fan_in: int | None = None) -> bool:
    """Whether Lava can apply a weight exponent to synapses at little cost, see `MAX_SHIFTED_FAN_IN`; None: their own `fan_in`."""
    if form == "dense_rec" or isinstance(synapse, Dense):
        return form != "dense_rec"
    return (synapse.fan_in if fan_in is None else fan_in) <= MAX_SHIFTED_FAN_IN


@dataclass(frozen=True)
class Scale:
    """Weight units per real unit, of weights; potentials are `levels` times finer where messages are graded.

    exponents : Of each synapse, whose stored weights are as many powers of two coarser.
    """

    weights: float
    levels: int
    threshold: int
    exponents: tuple[int, ...]
    offset: int = 0
    """State units per step that are added to every bias of a read-out, and taken off the output again."""
    reads_total: bool = False

    @property
    def potential(self) -> float:
        return self.weights * self.levels


def _quantize_layer(layer: Layer, scale: Scale, profile: Profile, form: ThresholdForm, rates: Rates) -> Layer:
    synapses = _quantize_synapses(layer, scale, profile, form)
    neurons = layer.neurons
    if scale.offset and neurons.bias is None:
        neurons = neurons.replace(bias=np.zeros(layer.shape[:1], np.float32))
    if scale.reads_total:
        neurons = neurons.replace(reset="soft")
    neurons = quantize_neurons(neurons, scale, profile)
    record = dict(layer.record) | {
        "scale": scale.weights,
        "input_levels": scale.levels,
        "threshold_float": float(layer.neurons.threshold),
        "weight_bits": profile["cores.weight_bits"],
    }
    error = weight_error(layer, synapses, scale.weights, rates)
    return layer.replace(synapses=synapses, neurons=neurons, weight_error=error, record=record)


def _levels(layer: Layer, source: Input) -> int:
    """The message that stands for an activation of 1 of a layer's sources."""
    levels = {source.full_scale if s.source == INPUT else 1 for s in layer.synapses}
    if len(levels) > 1:
        raise ConversionError(
            f"layer {layer.name!r} receives graded messages and spikes, which no joint scale fits; use Poisson or rate encoding"
        )
    return levels.pop()


def real_bias(neurons: Neurons) -> np.ndarray | None:
    """The bias of integer neurons in weight units."""
    if neurons.bias is None:
        return None
    return to_weight_units(neurons.bias.astype(np.float64) * 2.0**neurons.bias_exponent)


def _sums(layer: Layer, steps: int | None, form: ThresholdForm) -> Sums | None:
    """What an integrating read-out sums up, or None if its potential alone may be read out, or nothing is known of it."""
    if layer.neurons.reset != "none" or not layer.potential_peak or steps is None or form == "dense_rec":
        return None
    peak = layer.potential_peak / steps
    return Sums(*(layer.mean_input or (-peak, peak)), steps)


def _potential_scale(layer: Layer, profile: Profile) -> float:
    """Largest potential scale at which an integrating layer's potential has the headroom that `POTENTIAL_MARGIN` asks for."""
    if layer.neurons.reset != "none" or not layer.potential_peak:
        return np.inf
    return profile["potential_max"] / (POTENTIAL_MARGIN * layer.potential_peak)


def _sum_scale(layer: Layer, profile: Profile, form: ThresholdForm, steps: int | None) -> float:
    """Largest potential scale at which a read-out's sums and biases fit, one way or the other; of other layers, the biases."""
    alone = min(_bias_scale(layer, profile), _potential_scale(layer, profile))
    sums = _sums(layer, steps, form)
    if sums is None:
        return alone
    limits = ReadoutLimits.of(profile, form)
    return max(alone, *(limits.scale(sums, layer.neurons, reads_total=total) for total in (False, True)))


def _readout_scale(
    layer: Layer,
    fits: Sequence[float],
    shifted: Sequence[bool],
    levels: int,
    profile: Profile,
    form: ThresholdForm,
    steps: int | None,
) -> Scale:
    """The scale of an integrating read-out: by its potential alone if that costs no bits of the weights.

    Else what all outputs have in common goes into the offset, and if that is not enough, the total is read out.
    """
    alone = _finest(fits, shifted, min(_bias_scale(layer, profile), _potential_scale(layer, profile)) / levels)
    found = Scale(alone, levels, profile["threshold_max"], _exponents(alone, fits, shifted))
    sums = _sums(layer, steps, form)
    if sums is None:
        return found
    limits = ReadoutLimits.of(profile, form)
    for reads_total in (False, True):
        scale = _finest(fits, shifted, limits.scale(sums, layer.neurons, reads_total=reads_total) / levels)
        if scale > found.weights * (1 + 1e-9):
            offset = limits.offset(sums, scale * levels, reads_total=reads_total)
            threshold = limits.threshold if reads_total else profile["threshold_max"]
            found = Scale(scale, levels, threshold, _exponents(scale, fits, shifted), offset, reads_total)
    return found


def choose_scale(
    layer: Layer,
    levels: int,
    profile: Profile,
    form: ThresholdForm,
    headroom: float = np.inf,
    steps: int | None = None,
    shifted: Sequence[bool] | None = None,
) -> Scale:
    """The scale of a layer; `levels` is the largest message that reaches it, `steps` the T of its potential peak.

    `headroom` is the largest potential scale that leaves its potentials room; `shifted` tells which synapses may have an exponent
    (None: see `may_have_exponent`).
    """
    if shifted is None:
        shifted = [may_have_exponent(synapse, form) for synapse in layer.synapses]
    fits = [_synapse_scale(synapse, layer, profile, form) for synapse in layer.synapses]
    if layer.neurons.reset == "none":
        return _readout_scale(layer, fits, shifted, levels, profile, form, steps)
    largest = threshold_limit(profile, form) / (float(layer.neurons.threshold) * levels)
    scale = _finest(fits, shifted, min(_bias_scale(layer, profile), headroom) / levels, largest)
    wanted = float(layer.neurons.threshold) * scale * levels
    # Rounded down, so that the weights, which follow the threshold, stay within their ranges.
    threshold = representable(int(min(wanted, threshold_limit(profile, form))), form)
    exponents = _exponents(min(scale, threshold / (float(layer.neurons.threshold) * levels) or scale), fits, shifted)
    # Larger weights are clipped: one message through them makes the neuron spike in all of T steps as it is, or in none.
    threshold = max(threshold, _smallest_threshold(profile, form, steps))
    return Scale(threshold / (float(layer.neurons.threshold) * levels), levels, threshold, exponents)


def _smallest_threshold(profile: Profile, form: ThresholdForm, steps: int | None) -> int:
    """The threshold of which the largest weight is T times, or as many as its bits allow."""
    least = 2 if form == "dense_rec" else 1
    wanted = 1 if steps is None else -(-profile["weight_mixed_max"] // steps)
    return representable(max(least, wanted), form)


def _finest(fits: Sequence[float], shifted: Sequence[bool], limit: float, useful: float = np.inf) -> float:
    """The scale at which the smallest weights use all their bits, as far as exponents of larger ones and the limit allow.

    `fits` are the largest scales at which each synapse fits 8 bits; `useful` is the one at which the threshold reaches its limit.
    """
    coarse = min(*fits, limit)
    within = [fit * (1 << MAX_WEIGHT_EXPONENT if may else 1) for fit, may in zip(fits, shifted, strict=True)]
    fine = min(max(fits), *within, limit)
    return fine if min(fine, useful) >= _WORTHWHILE * min(coarse, useful) else coarse


def _exponents(scale: float, fits: Sequence[float], shifted: Sequence[bool]) -> tuple[int, ...]:
    """The smallest exponents with which weights fit 8 bits at this scale, where synapses may have one."""
    wanted = (max(0, math.ceil(math.log2(scale / fit) - 1e-9)) for fit in fits)
    return tuple(min(each, MAX_WEIGHT_EXPONENT) if may else 0 for each, may in zip(wanted, shifted, strict=True))


def _quantize_synapses(layer: Layer, scale: Scale, profile: Profile, form: ThresholdForm) -> tuple[Synapse, ...]:
    synapses = tuple(
        _quantize_synapse(synapse, exponent, scale.weights, profile, form)
        for synapse, exponent in zip(layer.synapses, scale.exponents, strict=True)
    )
    if not any(synapse.weight.any() for synapse in synapses):
        what = "potentials" if layer.neurons.reset == "none" else f"a threshold of form {form!r}"
        warnings.warn(
            f"all weights of layer {layer.name!r} are rounded to zero next to {what} and biases that fill their registers, so "
            "the layer's output is constant; encoding 'rate' or another threshold form leaves them more bits",
            RmpLavaWarning,
            stacklevel=4,
        )
    return synapses


def _quantize_synapse(synapse: Synapse, exponent: int, scale: float, profile: Profile, form: ThresholdForm) -> Synapse:
    weight = synapse.weight.astype(np.float64) * (scale / (1 << exponent))
    step, low, high = weight_grid(synapse.weight, profile, form)
    weight = np.clip(step * np.rint(weight / step), low, high)
    return synapse.replace(weight=weight.astype(np.int16), exponent=exponent)


def quantize_neurons(neurons: Neurons, scale: Scale, profile: Profile) -> Neurons:
    """Biases fit their register, or are clipped like weights that are many times the threshold (see `choose_scale`)."""
    v_init = int(np.rint(neurons.v_init * scale.potential))
    if neurons.bias is None:
        return neurons.replace(threshold=scale.threshold, v_init=v_init)
    limit, largest_exponent = profile["bias_mantissa_max"], profile["bias_exponent_max"]
    state = to_state_units(neurons.bias.astype(np.float64) * scale.potential) + scale.offset
    # From STATE_SHIFT on the bias is an integer number of weight units, which synapses of stock neurons can represent too.
    exponent = STATE_SHIFT
    while exponent < largest_exponent and np.abs(state).max() > limit << exponent:
        exponent += 1
    mantissa = np.clip(np.rint(state / (1 << exponent)), -limit - 1, limit).astype(np.int16)
    return neurons.replace(threshold=scale.threshold, v_init=v_init, bias=mantissa, bias_exponent=exponent)
