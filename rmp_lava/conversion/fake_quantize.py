"""Weights, biases and images rounded as `quantize` rounds them, with straight-through gradients.

Fake quantisation as in Jacob et al., CVPR 2018: sums are computed with the rounded numbers, the real ones are trained. The grid
is that of `quantize`: weights are multiplied by their source's activation scale, the largest one fills the chip's range, and
the threshold becomes an integer that determines the exact scale of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..choices import ThresholdForm
from ..hardware import Profile
from ..network import INPUT, Conv, Dense, Layer, Neurons, Synapse
from ..registers import to_weight_units
from .analog import AnalogNetwork
from .quantize import Scale, choose_scale, may_have_exponent, quantize_neurons, weight_grid

ScaleOf = Callable[[str], float]
"""The activation scale of a layer by its name; 1 for the input."""


def round_through(values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """The rounded values, whose gradient passes to `values` unchanged (straight-through: Bengio et al., 2013)."""
    return rounded.detach() + (values - values.detach())  # in this order the sum is exact


@dataclass(frozen=True, eq=False)
class FakeQuantizer:
    """A quantizer of `AnalogLayer`: its weights and bias as rounded on the chip, in the layer's units.

    `levels` is the largest message of the layer's sources: the input's levels, or 1 for spikes. `scale_of` gives the activation
    scales of the layer itself (its threshold) and of its sources, at every call. `potential_peak` is the largest |potential|
    that an integrating read-out is expected to reach in `steps` time steps, in the layer's units; 0 if unknown. `headroom` is
    the largest scale that leaves potentials room. For the rest see `quantize`.
    """

    layer: Layer
    levels: int
    scale_of: ScaleOf
    potential_peak: float
    steps: int
    profile: Profile
    form: ThresholdForm
    headroom: float = math.inf

    def __call__(
        self, weights: list[torch.Tensor], bias: torch.Tensor | None
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        values = [self.scale_of(synapse.source) for synapse in self.layer.synapses]
        # float32 like the scaled weights of a balanced network.
        limits = [
            np.array([limit.item() for limit in torch.aminmax(weight.detach())], np.float32) * np.float32(value)
            for weight, value in zip(weights, values, strict=True)
        ]
        shifted = [
            self._may_have_exponent(synapse, weight)
            for synapse, weight in zip(self.layer.synapses, weights, strict=True)
        ]
        scale = self._scale(limits, shifted, bias)
        rounded = [
            round_through(weight, self._round(weight.detach(), value, limit, scale.weights / (1 << exponent)))
            for weight, value, limit, exponent in zip(weights, values, limits, scale.exponents, strict=True)
        ]
        return rounded, None if bias is None else round_through(bias, self._round_bias(bias.detach(), scale))

    def _may_have_exponent(self, synapse: Synapse, weight: torch.Tensor) -> bool:
        if len(self.layer.synapses) == 1:
            return False  # it would not get one
        stands_for = math.prod(synapse.pool or (1,)) if isinstance(synapse, Conv) else 1  # see `AnalogLayer.weights`
        fan_in = int(torch.count_nonzero(weight.detach().flatten(1), dim=1).max()) * stands_for
        return may_have_exponent(synapse, self.form, fan_in)

    def _scale(self, limits: list[np.ndarray], shifted: list[bool], bias: torch.Tensor | None) -> Scale:
        # The scale depends on the extremes of weights and biases only, so a layer that consists of these has the same scale.
        synapses = tuple(
            Dense(synapse.source, limit[None]) for synapse, limit in zip(self.layer.synapses, limits, strict=True)
        )
        largest = None if bias is None else bias.detach().abs().max().cpu().numpy()
        neurons = Neurons(self._threshold(), self.layer.neurons.reset, bias=largest)
        extremes = Layer(self.layer.name, self.layer.shape, synapses, neurons, potential_peak=self.potential_peak)
        return choose_scale(extremes, self.levels, self.profile, self.form, self.headroom, self.steps, shifted)

    def _threshold(self) -> float:
        return 1.0 if self.layer.neurons.reset == "none" else self.scale_of(self.layer.name)

    def _round(self, weight: torch.Tensor, value: float, limit: np.ndarray, scale: float) -> torch.Tensor:
        step, low, high = weight_grid(limit, self.profile, self.form)
        # In float64, as in `quantize`, so that both find the same nearest number of the grid.
        units = (weight * value).double().mul_(scale / step).round_().mul_(step).clamp_(low, high)
        return units.div_(scale * value).to(weight.dtype)

    def _round_bias(self, bias: torch.Tensor, scale: Scale) -> torch.Tensor:
        neurons = Neurons(self._threshold(), bias=bias.cpu().numpy())
        quantized = quantize_neurons(neurons, scale, self.profile)
        state = np.asarray(quantized.bias, np.float64) * 2.0**quantized.bias_exponent - scale.offset
        units = to_weight_units(state)
        return torch.from_numpy(np.asarray(units / scale.potential, np.float32)).to(bias.device)


def attach_quantizers(
    analog: AnalogNetwork,
    levels: int,
    scale_of: ScaleOf,
    potential_peak: float,
    steps: int,
    profile: Profile,
    threshold_form: ThresholdForm,
    headrooms: Mapping[str, float],
) -> None:
    """Give each layer of an analog network its quantizer; arguments as in `FakeQuantizer`, `levels` the input's."""
    for layer in analog.network:
        reads_input = any(synapse.source == INPUT for synapse in layer.synapses)
        analog[layer.name].quantizer = FakeQuantizer(
            layer,
            levels if reads_input else 1,
            scale_of,
            potential_peak,
            steps,
            profile,
            threshold_form,
            headrooms[layer.name],
        )
