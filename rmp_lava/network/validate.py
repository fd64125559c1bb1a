"""Checks of the parts of a `SpikingNetwork`, which calls them whenever one is made, whatever it was made from."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import NetworkError
from ..registers import (
    MAX_BIAS_EXPONENT,
    MAX_DELAY,
    MAX_GRADED_SPIKE,
    MAX_LAVA_BIAS,
    MAX_LEVELS,
    MAX_SDNN_EXPONENT,
    MAX_SDNN_STATE,
    MAX_THRESHOLD,
    MAX_WEIGHT,
    MAX_WEIGHT_EXPONENT,
    MIN_WEIGHT,
)
from .layers import INPUT, Input, Layer, WeightError
from .neurons import NO_MEMORY, Neurons, SigmaDelta
from .pooling import is_folded
from .synapses import Dense, Synapse


def check_layers(layers: Sequence[Layer], source: Input, *, integer: bool) -> None:
    """Raise `NetworkError` at the first layer that contradicts itself, the layers before it, or the input."""
    shapes = {INPUT: source.shape}
    sends_changes = isinstance(source.neurons, SigmaDelta)
    for layer in layers:
        if isinstance(layer.neurons, SigmaDelta) != sends_changes:
            raise NetworkError(
                f"layer {layer.name!r} has {layer.neurons.kind} neurons, but the input {'has' if sends_changes else 'has no'} "
                "sigma-delta neurons; a network is sigma-delta from its input's neurons to its last layer, or not at all"
            )
        _check_layer(layer, shapes, integer)
        shapes[layer.name] = layer.shape


def check_input(source: Input, *, integer: bool) -> None:
    """Raise `NetworkError` if the input contradicts itself, or the stage of its network."""
    _check_shape(source.shape, "input")
    if source.levels is None:
        if integer or source.encoding != "current":
            raise NetworkError(
                "input levels are missing; only the current encoding of a float network takes real-valued messages"
            )
    elif type(source.levels) is not int or not 1 <= source.levels <= MAX_LEVELS:
        raise NetworkError(f"input levels are {source.levels!r}; allowed are integers 1..{MAX_LEVELS}")
    if source.encoding == "rate" and source.neurons is None:
        raise NetworkError("rate encoding needs input neurons that turn the pixel into spikes")
    if isinstance(source.neurons, SigmaDelta) and (source.encoding not in ("frames", "current") or not integer):
        raise NetworkError(
            f"the input's neurons are sigma-delta, encoding {source.encoding!r} at stage {'integer' if integer else 'float'}; "
            "they take 'frames' or 'current', in integer networks"
        )
    if source.encoding == "frames" and not isinstance(source.neurons, SigmaDelta):
        raise NetworkError("frames enter sigma-delta neurons of the input only; use encoding 'current' or 'spikes'")
    if source.encoding == "poisson" and source.neurons is None and source.levels != 1:
        raise NetworkError(f"{source.encoding} input sends single spikes, but levels are {source.levels}; expected 1")
    if source.neurons is not None:
        # Input neurons compute with integers at every stage: pixels come as 8-bit levels.
        _check_neurons(source.neurons, source.shape, "input", integer=True)
        if source.neurons.reset == "none":
            raise NetworkError("input neurons never spike (reset 'none'); use 'soft' or 'hard'")
        if source.neurons.largest_spike != 1:
            raise NetworkError("input neurons send graded spikes; use encoding 'current', whose messages are graded")


def _check_layer(layer: Layer, shapes: Mapping[str, tuple[int, ...]], integer: bool) -> None:
    if not layer.name.isprintable() or layer.name.strip() in ("", ".") or "/" in layer.name:
        raise NetworkError(f"layer name {layer.name!r} is not allowed; use printable characters without '/'")
    if layer.name in shapes:
        raise NetworkError(f"duplicate layer name {layer.name!r}; names are unique, and {INPUT!r} is the input's")
    _check_shape(layer.shape, layer.name)
    if not layer.synapses:
        raise NetworkError(f"layer {layer.name!r} has no synapses; nothing would ever reach it")
    shapes = {**shapes, layer.name: layer.shape} if integer else shapes
    for synapse in layer.synapses:
        if synapse.source not in shapes:
            raise NetworkError(
                f"layer {layer.name!r} has a synapse from {synapse.source!r}, which is not an earlier layer: "
                "it is missing, or the network has a cycle; list sources before their targets"
            )
        try:
            shape = synapse.output_shape(shapes[synapse.source])
        except NetworkError as error:
            raise NetworkError(f"layer {layer.name!r}: {error}") from None
        if shape != layer.shape:
            raise NetworkError(
                f"layer {layer.name!r} has shape {layer.shape}, but its synapses from {synapse.source!r} "
                f"give {shape}; they must agree"
            )
        _check_weight(synapse, layer.name, integer)
        _check_pool(synapse, layer.name, shapes[synapse.source])
        _check_delay(synapse, layer.name, integer)
    if not layer.forward:
        raise NetworkError(f"layer {layer.name!r} has recurrent synapses only; nothing would ever reach it")
    _check_neurons(layer.neurons, layer.shape, layer.name, integer)
    by_unit = (("activation scale", layer.activation_scale), ("clip", layer.clip), ("mean rate", layer.mean_rate))
    for what, scale in by_unit:
        if scale is not None and scale.shape not in ((), layer.shape[:1]):
            raise NetworkError(
                f"layer {layer.name!r}: {what} has shape {scale.shape}; expected one number or one per channel, {layer.shape[:1]}"
            )
    rounding = layer.weight_error
    if rounding is not None and not (isinstance(rounding, WeightError) and _is_number(rounding.rms)):
        raise NetworkError(
            f"layer {layer.name!r}: weight error is {str(rounding)[:40]}; expected a WeightError, or None"
        )
    numbers = {"potential peak": layer.potential_peak}
    if rounding is not None:
        numbers |= {f"weight error ({name})": number for name, number in vars(rounding).items()}
    for what, number in numbers.items():
        if number is not None and not (_is_number(number) and 0 <= number <= sys.float_info.max):
            raise NetworkError(
                f"layer {layer.name!r}: {what} is {str(number)[:40]}; expected a number of 0 or more, or None"
            )
    mean = layer.mean_input
    if mean is not None and not (len(mean) == 2 and all(map(_is_finite, mean)) and mean[0] <= mean[1]):
        raise NetworkError(
            f"layer {layer.name!r}: mean input is {str(mean)[:40]}; expected a smallest and a largest number, or None"
        )
    check_json(layer.record, f"record of layer {layer.name!r}")


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) not in (1, 3) or min(shape, default=0) < 1:
        raise NetworkError(
            f"{name!r} has shape {shape}; expected (channels, height, width) or (neurons,), all positive"
        )


def _check_weight(synapse: Synapse, layer: str, integer: bool) -> None:
    weight = synapse.weight
    where = f"layer {layer!r}, weights from {synapse.source!r}"
    largest = MAX_WEIGHT_EXPONENT if integer else 0
    if type(synapse.exponent) is not int or not 0 <= synapse.exponent <= largest:
        allowed = f"integers 0..{largest}" if integer else "0 in a float network"
        raise NetworkError(f"{where} have exponent {str(synapse.exponent)[:40]}; allowed are {allowed}")
    if integer:
        if weight.dtype.kind not in "iu":
            raise NetworkError(f"{where} are {weight.dtype}; an integer network needs integers")
        if weight.size and (weight.min() < MIN_WEIGHT or weight.max() > MAX_WEIGHT):
            worst = weight.min() if weight.min() < MIN_WEIGHT else weight.max()
            raise NetworkError(
                f"{where} contain {worst}; 8-bit weights are {MIN_WEIGHT}..{MAX_WEIGHT}, so quantise again"
            )
    elif weight.dtype.kind != "f":
        raise NetworkError(f"{where} are {weight.dtype}; a float network holds floating-point weights")
    elif not np.isfinite(weight).all():
        raise NetworkError(f"{where} contain NaN or infinity; train or load the network again")


def _check_pool(synapse: Synapse, layer: str, source_shape: tuple[int, ...]) -> None:
    if synapse.pool is not None and not is_folded(synapse, source_shape):
        raise NetworkError(
            f"layer {layer!r}, weights from {synapse.source!r}: they are not those of an average pooling by {synapse.pool} that "
            "was folded; set pool to None"
        )


def _check_delay(synapse: Synapse, layer: str, integer: bool) -> None:
    if not isinstance(synapse, Dense) or synapse.delay is None:
        return
    delay, where = synapse.delay, f"layer {layer!r}, delays from {synapse.source!r}"
    if not integer:
        raise NetworkError(f"{where} are in a float network; synaptic delays exist in integer networks only")
    fits = delay.ndim == 2 and all(n in (1, m) for n, m in zip(delay.shape, synapse.weight.shape, strict=True))
    if not fits or delay.dtype.kind != "i" or delay.min() < 0 or delay.max() > MAX_DELAY:
        raise NetworkError(
            f"{where} are {delay.dtype} of shape {delay.shape}, up to {np.abs(delay).max():g}; allowed are integers "
            f"0..{MAX_DELAY} that broadcast against the weights {synapse.weight.shape}"
        )


def _check_neurons(neurons: Neurons, shape: tuple[int, ...], layer: str, integer: bool) -> None:
    if isinstance(neurons, SigmaDelta):
        _check_sigma_delta(neurons, shape, layer, integer)
        return
    varied = isinstance(neurons.threshold, np.ndarray)
    if varied:
        _check_thresholds(neurons, shape, layer, integer)
    for name in ("v_init",) if varied else ("threshold", "v_init"):
        value = getattr(neurons, name)
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise NetworkError(f"layer {layer!r}: {name} is {value!r}; expected a number")
        if not math.isfinite(value):
            raise NetworkError(f"layer {layer!r}: {name} is {value}; expected a finite number")
        if integer and value != int(value):
            raise NetworkError(f"layer {layer!r}: {name} is {value}; an integer network needs integers")
    least = 1 - (neurons.reset == "hard") if integer else np.nextafter(0, 1)
    if not varied and not least <= neurons.threshold <= (MAX_THRESHOLD if integer else np.inf):
        allowed = f"{least}..{MAX_THRESHOLD} (17 bits)" if integer else "positive numbers"
        raise NetworkError(f"layer {layer!r}: threshold is {neurons.threshold}; allowed are {allowed}")
    if integer and abs(neurons.v_init) > MAX_THRESHOLD:
        raise NetworkError(
            f"layer {layer!r}: v_init is {neurons.v_init}; allowed are -{MAX_THRESHOLD}..{MAX_THRESHOLD}"
        )
    if neurons.is_leaky:
        if not integer:
            raise NetworkError(f"layer {layer!r} has current or voltage decay; leaky neurons exist in integers only")
        if neurons.reset == "soft":
            raise NetworkError(f"layer {layer!r} is leaky with a soft reset; lava-dl's CUBA neuron resets hard")
        for name in ("current_decay", "voltage_decay"):
            rate, what = np.asarray(getattr(neurons, name)), f"layer {layer!r}: {name} is"
            _check_by_unit(rate, shape, what)
            _check_within(rate, NO_MEMORY, what)
    _check_graded(neurons, layer, integer)
    _check_bias(neurons, shape, layer, integer)


def _check_graded(neurons: Neurons, layer: str, integer: bool) -> None:
    largest = neurons.largest_spike
    if not is_integer(largest) or not 1 <= largest <= MAX_GRADED_SPIKE:
        found = str(largest)[:40]
        raise NetworkError(
            f"layer {layer!r}: the largest spike is {found}; allowed are 1 and, of graded spikes, 2..{MAX_GRADED_SPIKE}"
        )
    if largest > 1 and (not integer or neurons.reset != "soft"):
        raise NetworkError(
            f"layer {layer!r} has graded spikes and {f'reset {neurons.reset!r}' if integer else 'real weights'}; only integer "
            "neurons with soft reset send them, so set largest_spike to 1"
        )


def _check_thresholds(neurons: Neurons, shape: tuple[int, ...], layer: str, integer: bool) -> None:
    """Those of neurons that differ in them."""
    values, where = np.asarray(neurons.threshold), f"layer {layer!r}: thresholds"
    if not integer or neurons.reset != "hard":
        raise NetworkError(f"{where} differ between neurons; only those of integer neurons with hard reset may")
    _check_by_unit(values, shape, f"{where} are")
    _check_within(values, MAX_THRESHOLD + 1, f"{where} contain")


def _check_sigma_delta(neurons: SigmaDelta, shape: tuple[int, ...], layer: str, integer: bool) -> None:
    where, plain = f"layer {layer!r}", Neurons(1)
    if not integer:
        raise NetworkError(f"{where} has sigma-delta neurons, which exist in integer networks only")
    if neurons.reset == "hard":
        raise NetworkError(
            f"{where} has sigma-delta neurons with a hard reset; they keep what they did not send, so use 'soft'"
        )
    if neurons.v_init or neurons.is_leaky or neurons.bias_exponent != plain.bias_exponent or neurons.largest_spike != 1:
        raise NetworkError(
            f"{where} has sigma-delta neurons with v_init, decay, bias exponent or largest spike; leave these at their defaults"
        )
    for name in ("spike_exponent", "state_exponent"):
        check_integer(getattr(neurons, name), 0, MAX_SDNN_EXPONENT, f"{where}: {name} is")
    check_integer(neurons.threshold, 0, MAX_THRESHOLD, f"{where}: threshold is")
    bias = neurons.bias
    if bias is None:
        return
    if neurons.reset == "none":
        raise NetworkError(f"{where} has a bias, but Lava's Sigma has none; make it a sigma-delta layer (reset 'soft')")
    _check_by_unit(bias, shape, f"{where}: bias is")
    largest, reached = MAX_SDNN_STATE >> neurons.exponent, int(np.abs(bias.astype(np.int64)).max())
    if reached > largest:
        raise NetworkError(
            f"{where}: bias reaches {reached}; at exponent {neurons.exponent}, -{largest}..{largest} are allowed"
        )


def _check_bias(neurons: Neurons, shape: tuple[int, ...], layer: str, integer: bool) -> None:
    bias = neurons.bias
    if bias is None:
        return
    if bias.shape not in ((), (shape[0],), shape):
        raise NetworkError(
            f"layer {layer!r}: bias has shape {bias.shape}; expected one value, one per channel {(shape[0],)} "
            f"or one per neuron {shape}"
        )
    if not integer:
        if bias.dtype.kind != "f" or not np.isfinite(bias).all():
            raise NetworkError(f"layer {layer!r}: bias must be finite floating-point numbers in a float network")
        return
    if bias.dtype.kind not in "iu":
        raise NetworkError(f"layer {layer!r}: bias is {bias.dtype}; an integer network needs integers")
    if bias.dtype != np.int16:
        raise NetworkError(
            f"layer {layer!r}: bias mantissa reaches {int(np.abs(bias).max())}; allowed are -{MAX_LAVA_BIAS + 1}.."
            f"{MAX_LAVA_BIAS} (16 bits on Lava's simulator, 13 on a chip)"
        )
    check_integer(neurons.bias_exponent, 0, MAX_BIAS_EXPONENT, f"layer {layer!r}: bias exponent is")


def _check_by_unit(values: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    """Raise `NetworkError` unless there is one integer, or one per channel or neuron of a population of this shape."""
    if values.dtype.kind not in "iu" or values.shape not in ((), (shape[0],), shape):
        found = f"{values.dtype} of shape {values.shape}" if values.ndim else str(values)
        raise NetworkError(
            f"{what} {found}; expected one integer, one per channel {(shape[0],)} or one per neuron {shape}"
        )


def _check_within(values: np.ndarray, high: int, what: str) -> None:
    worst = values.min() if values.min() < 0 else values.max()
    if not 0 <= worst <= high:
        raise NetworkError(f"{what} {worst}; allowed are 0..{high}")


def check_integer(value: object, low: int, high: int, what: str, otherwise: str = "") -> None:
    """Raise `NetworkError` unless a value is an integer within limits, or what is allowed `otherwise`, in words."""
    if not (isinstance(value, (int, np.integer)) and is_integer(value) and low <= value <= high):
        raise NetworkError(f"{what} {str(value)[:40]}; allowed are integers {low}..{high}{otherwise}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and _is_number(value) and abs(value) <= sys.float_info.max


def is_positive_or_none(value: object) -> bool:
    return value is None or isinstance(value, (int, float)) and _is_number(value) and 0 < value <= sys.float_info.max


def is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_json(mapping: Mapping[str, Any], what: str) -> None:
    try:
        same = json.loads(json.dumps(dict(mapping), allow_nan=False)) == dict(mapping)
    except (TypeError, ValueError, RecursionError) as error:
        raise NetworkError(f"{what} cannot be written as JSON ({error}); use plain numbers, strings, lists") from None
    if not same:
        raise NetworkError(f"{what} changes when written as JSON; use lists, not tuples, and strings as keys")
