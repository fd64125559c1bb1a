"""From a trained network to graded changes: an analog network as integers of lava-dl's sigma-delta neurons.

A neuron's state is finer than its messages by its state exponent e. So with s_l what a message unit of layer l represents, an
integer weight is 2^e W s_in / s_out. e is 6 in every layer of a chain, as lava-dl's loader sets it; the loader runs no other
network, and these get 7, the most that three bits hold, with messages of one bit less. Each channel's scale is the finest at
which its messages fit on the calibration images, sums fit their registers, and weights have 7 bits and a sign, which Lava's
synapses neither round nor clip. Where that leaves a layer few bits, `compensated` rounding keeps its sums, and biases their
means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..choices import Reset
from ..encoding import PIXEL_LEVELS, check_images
from ..network import INPUT, SDNN_EXPONENT, Conv, Input, Layer, SigmaDelta, SpikingNetwork, Synapse, WeightError
from ..network.pooling import per_block, repeat_in_blocks
from ..network.values import per_row
from ..registers import MAX_CONV_SUM, MAX_SDNN_EXPONENT, MAX_SDNN_STATE, to_state_units
from .analog import AnalogLayer, AnalogNetwork
from .calibration import calibration_images
from .ceilings import without_ceilings
from .compensated import compensated
from .scale import source_values

MESSAGE_BITS = 14
"""Of the largest message on calibration images in a chain; others may be twice as large within 16 signed bits."""
MAX_WEIGHT = 127
_SUM_MARGIN = 2
_QUIET = 0.05
"""Share of the mean peak of a layer's units below which a unit is as if it had that: it decides no scale."""
_OBSERVATIONS = 4
"""Inputs to round a row of weights by, for each of its weights."""
_OFFSET_MARGIN = 0.5
"""Share of the range of outputs on calibration images that the offset leaves below the smallest of them."""


def sigma_delta(
    analog: SpikingNetwork, images: np.ndarray, *, smallest_change: float = 0.0, seed: int = 0
) -> SpikingNetwork:
    """The integers of a sigma-delta network that computes what a network in analog form does.

    After depth + 1 steps of a still image, its output is that of the analog network, but for rounding.

    Parameters
    ----------
    analog : SpikingNetwork
        As `trace` returns it.
    images : numpy.ndarray
        Calibration images, (N, *input shape) in [0, 1].
    smallest_change : float
        Change that is sent, as a share of the largest activation of a layer; 0: every change.
    seed : int
        Of the choice of what weights are rounded by.

    Returns
    -------
    SpikingNetwork
        Of stage "integer". An output layer with biases has sigma-delta neurons, with a bias that all outputs share, the
        `output_offset`, so that its ReLU cuts none; its messages add up to the outputs. Without biases it is Lava's Sigma.
    """
    images = check_images(images, analog.input)
    plain, parents = without_ceilings(analog, images)
    peaks = _peaks(plain, images)
    form = _Form() if plain.is_chain else _Form(SDNN_EXPONENT - 1, MAX_SDNN_EXPONENT, MESSAGE_BITS - 1)
    random = np.random.default_rng(seed)
    layers, offset = [], 0
    some = images[: calibration_images(plain)]
    scale = np.full(plain.input.shape[0], float(PIXEL_LEVELS << form.spike_exponent))
    pixels = torch.from_numpy(np.rint(some * PIXEL_LEVELS) * np.float32(1 << form.spike_exponent))
    sources = {INPUT: _Source(scale, torch.from_numpy(some), pixels)}
    last_use = {s.source: layer.name for layer in plain for s in layer.synapses}
    for module in AnalogNetwork(plain):
        name, is_output = module.layer.name, module.layer is plain.output
        scale = _scale(module, form, sources, peaks[name], parents[name], same=is_output)
        layer, sources[name], offset = _layer(
            module, form, sources, scale, peaks[name], smallest_change, random, is_output=is_output
        )
        layers.append(layer)
        sources = {source: each for source, each in sources.items() if last_use.get(source) != name}
    threshold = int(np.rint(smallest_change * PIXEL_LEVELS))
    integrates = layers[-1].neurons.reset == "none"
    per_unit = float(1 / scale[0])
    return analog.replace(
        input=Input(plain.input.shape, "current", PIXEL_LEVELS, form.neurons(threshold)),
        layers=tuple(layers),
        stage="integer",
        readout="potential" if integrates else "count",
        # A potential is in state units, of which a message unit has 2^e here, and a weight unit always as many.
        output_scale=to_state_units(per_unit / form.unit) if integrates else per_unit,
        output_offset=offset,
        balanced_steps=plain.depth + 1,
        wait=0,
    )


def with_8_bits(analog: SpikingNetwork) -> SpikingNetwork:
    """A network in analog form whose weights are rounded to 8 bits, with a scale for each channel or neuron."""

    def rounded(synapse: Synapse) -> Synapse:
        rows = synapse.weight.reshape(len(synapse.weight), -1)
        step = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-30) / MAX_WEIGHT
        return synapse.replace(weight=(np.rint(rows / step) * step).astype(np.float32).reshape(synapse.weight.shape))

    return analog.map_layers(lambda layer: layer.replace(synapses=tuple(map(rounded, layer.synapses))))


@dataclass(frozen=True)
class _Form:
    """Exponents of all neurons, and bits of the largest message on calibration images."""

    spike_exponent: int = SDNN_EXPONENT
    state_exponent: int = SDNN_EXPONENT
    message_bits: int = MESSAGE_BITS

    def neurons(self, threshold: int, reset: Reset = "soft", bias: np.ndarray | None = None) -> SigmaDelta:
        """A population of these exponents."""
        return SigmaDelta(
            threshold, reset, bias=bias, spike_exponent=self.spike_exponent, state_exponent=self.state_exponent
        )

    @property
    def unit(self) -> float:
        """State units in a message unit."""
        return 2.0**self.state_exponent

    @property
    def bias_exponent(self) -> int:
        """Of the power of two by which a neuron multiplies its bias, in state units."""
        return self.spike_exponent + self.state_exponent


@dataclass
class _Source:
    """A converted population, with its activations and all that it has sent on calibration images, (N, *shape).

    scale : (channels,) or (neurons,) message units per unit of the activation.
    """

    scale: np.ndarray
    exact: torch.Tensor
    messages: torch.Tensor


@dataclass
class _Peaks:
    """Largest activation and largest |sum without bias| of each channel or neuron, and the smallest and largest output."""

    activation: np.ndarray
    sums: np.ndarray
    limits: tuple[float, float]


def _peaks(analog: SpikingNetwork, images: np.ndarray) -> dict[str, _Peaks]:
    found: dict[str, _Peaks] = {}
    network, batch = AnalogNetwork(analog), 32
    for start in range(0, len(images), batch):
        with torch.no_grad():
            for module, sums, value in network.walk(torch.from_numpy(images[start : start + batch])):
                bias = module.layer.neurons.bias_per_neuron(module.layer.shape)
                inner = sums if bias is None else sums - torch.tensor(bias)
                axes = [0, *range(2, value.ndim)]
                activation, reached = (each.abs().amax(dim=axes).double().numpy() for each in (value, inner))
                limits = value.min().item(), value.max().item()
                before = found.get(module.layer.name, _Peaks(activation, reached, limits))
                found[module.layer.name] = _Peaks(
                    np.maximum(before.activation, activation),
                    np.maximum(before.sums, reached),
                    (min(before.limits[0], limits[0]), max(before.limits[1], limits[1])),
                )
    return found


def _scale(
    module: AnalogLayer,
    form: _Form,
    sources: dict[str, _Source],
    peaks: _Peaks,
    parents: np.ndarray,
    *,
    same: bool,
) -> np.ndarray:
    """(channels,) or (neurons,) message units per unit of the activation."""
    largest = np.zeros(len(parents))
    for synapse, weight in zip(module.layer.synapses, _numbers(module), strict=True):
        relative = np.abs(weight / source_values(synapse, sources[synapse.source].scale))
        largest = np.maximum(largest, relative.reshape(len(weight), -1).max(axis=1))
    activation = np.maximum(peaks.activation, _QUIET * peaks.activation.mean() + 1e-30)
    limits = [2.0**form.message_bits / activation, MAX_WEIGHT / (form.unit * np.maximum(largest, 1e-30))]
    limits.append(MAX_CONV_SUM / _SUM_MARGIN / (form.unit * np.maximum(peaks.sums, 1e-30)))
    scale = np.min(limits, axis=0)
    np.minimum.at(scale, parents, scale.copy())
    scale = scale[parents]  # what is above a ceiling is rounded as the unit itself is
    return np.full(len(scale), scale.min()) if same else scale


def _numbers(module: AnalogLayer) -> list[np.ndarray]:
    """The weights as they are multiplied: of a folded pooling one for each block."""
    return [weight.detach().double().numpy() for weight in module.weights]


def _layer(
    module: AnalogLayer,
    form: _Form,
    sources: dict[str, _Source],
    scale: np.ndarray,
    peaks: _Peaks,
    smallest_change: float,
    random: np.random.Generator,
    *,
    is_output: bool,
) -> tuple[Layer, _Source, int]:
    """The integer layer, what it sends on calibration images, and the offset of outputs in message units."""
    layer, unit = module.layer, form.unit * scale
    synapses, integers, error = _synapses(module, sources, unit, random)
    with torch.no_grad():
        exact = module.sums({name: source.exact for name, source in sources.items()}).double()
        # The same sums of messages with integer weights, in state units.
        sums = _sums(module, integers, {name: source.messages for name, source in sources.items()})
    bias, offset = None, 0
    integrates = is_output and layer.neurons.reset == "none"
    if not integrates or layer.neurons.bias is not None:
        if integrates:
            low, high = peaks.limits
            offset = max(0, round(scale[0] * (_OFFSET_MARGIN * (high - low) - low)))
        bias = _bias(layer, form, unit, exact, sums, offset)
    threshold = int(np.rint(smallest_change * float((peaks.activation * scale).max()) / (1 << form.spike_exponent)))
    made = layer.replace(
        synapses=synapses,
        neurons=form.neurons(threshold, "soft" if bias is not None else "none", bias),
        activation_scale=1 / scale,
        clip=None,
        mean_rate=None,
        potential_peak=None,
        mean_input=None,
        weight_error=error,
    )
    act = sums
    full = made.neurons.bias_per_neuron(layer.shape)
    if full is not None:
        act = act + torch.from_numpy(full.astype(np.float64) * (1 << form.bias_exponent))
    messages = torch.floor(act.clamp(min=0) / form.unit)
    return made, _Source(scale, module.activation(exact.float()), messages.float()), offset


def _synapses(
    module: AnalogLayer, sources: dict[str, _Source], unit: np.ndarray, random: np.random.Generator
) -> tuple[tuple[Synapse, ...], list[torch.Tensor], WeightError]:
    """Synapses with integer weights, these weights as they are multiplied, and their rounding error."""
    synapses, integers, errors = [], [], []
    for synapse, weight in zip(module.layer.synapses, _numbers(module), strict=True):
        source = sources[synapse.source]
        target = weight / source_values(synapse, source.scale) * per_row(unit, weight.ndim)
        rounded = _rounded(synapse, target, source.messages, random)
        integers.append(torch.from_numpy(rounded.astype(np.float32)))
        errors.append((rounded - target, target))
        stored = repeat_in_blocks(rounded, synapse.pool) if isinstance(synapse, Conv) and synapse.pool else rounded
        synapses.append(synapse.replace(weight=stored, exponent=0))
    return tuple(synapses), integers, _weight_error(errors)


def _bias(
    layer: Layer, form: _Form, unit: np.ndarray, exact: torch.Tensor, sums: torch.Tensor, offset: int
) -> np.ndarray:
    """Integer biases with which the mean sum of each channel or neuron is the exact one, plus the offset of outputs."""
    given = layer.neurons.bias_per_neuron(layer.shape)
    own = torch.zeros(()) if given is None else torch.from_numpy(given.astype(np.float64))
    per_unit = per_row(torch.from_numpy(unit), exact.ndim - 1)
    missing = (per_unit * (exact - own) - sums).mean(dim=[0, *range(2, exact.ndim)]).numpy()
    bias = layer.neurons.bias_by_unit(layer.shape).astype(np.float64)
    state = bias * per_row(unit, bias.ndim) + per_row(missing, bias.ndim) + offset * form.unit
    largest = MAX_SDNN_STATE >> form.bias_exponent
    return np.clip(np.rint(state / 2.0**form.bias_exponent), -largest, largest).astype(np.int64)


def _rounded(synapse: Synapse, target: np.ndarray, messages: torch.Tensor, random: np.random.Generator) -> np.ndarray:
    result = np.empty(target.shape, dtype=np.int64)
    for rows, inputs in _inputs(synapse, messages, random):
        found = compensated(target[rows].reshape(len(target[rows]), -1), inputs, MAX_WEIGHT)
        result[rows] = found.reshape(result[rows].shape)
    return result


def _inputs(
    synapse: Synapse, messages: torch.Tensor, random: np.random.Generator
) -> Iterator[tuple[slice, np.ndarray]]:
    """For the rows of each group, some of the inputs (observations, weights of a row) that they meet."""
    if not isinstance(synapse, Conv):
        yield slice(None), messages.flatten(1).numpy()
        return
    if synapse.pool is not None:
        messages = functional.avg_pool2d(messages, synapse.pool, divisor_override=1)
    conv = per_block(synapse)
    wanted = _OBSERVATIONS * conv.weight[0].size
    per_group, rows = conv.weight.shape[1], len(conv.weight) // conv.groups
    for group in range(conv.groups):
        part = messages[:, group * per_group : (group + 1) * per_group]
        per_image = -(-wanted // len(part))
        chosen = []
        for image in part:
            seen = functional.unfold(image[None], conv.weight.shape[2:], conv.dilation, conv.padding, conv.stride)[0].T
            some = random.permutation(len(seen))[:per_image]
            chosen.append(seen[some].numpy())
        yield slice(group * rows, (group + 1) * rows), np.concatenate(chosen)


def _sums(module: AnalogLayer, weights: list[torch.Tensor], messages: dict[str, torch.Tensor]) -> torch.Tensor:
    kept, module.quantizer = module.quantizer, lambda _weights, _bias: (weights, None)
    try:
        return module.sums(messages).double()
    finally:
        module.quantizer = kept


def _weight_error(errors: list[tuple[np.ndarray, np.ndarray]]) -> WeightError:
    rows = [[part.reshape(len(part), -1) for part in parts] for parts in errors]
    changed, target = (np.concatenate([each[i] for each in rows], axis=1) for i in (0, 1))
    of_rows = np.sqrt((changed**2).sum(axis=1) / np.maximum((target**2).sum(axis=1), 1e-30))
    zeroed = ((changed == -target) & (target != 0)).sum() / max(1, np.count_nonzero(target))
    rms = np.sqrt((changed**2).sum() / max((target**2).sum(), 1e-30))
    return WeightError(float(rms), float(of_rows.max()), float(zeroed))
