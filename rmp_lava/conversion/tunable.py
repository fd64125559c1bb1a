"""The network that fine-tuning trains: weights rounded as on the chip, neurons that spike within T time steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ..choices import Dynamics, ThresholdForm
from ..hardware import Profile
from ..network import INPUT, Layer, SpikingNetwork
from ..neuron import Range
from .activation_scales import least_error_scales
from .analog import AnalogNetwork, activations
from .fake_quantize import attach_quantizers
from .quantize import headroom_of_layers, quantize_input
from .spike_activations import ActivationScale, ClipFloor, Integrate, MeanOverTime


class TunableNetwork(nn.Module):
    """Maps images, float32 (N, *input shape) in [0, 1], to the mean input of the integrating read-out, (N, outputs).

    A network of events takes (N, T, *input shape).
    `network` is a float one in analog form, with an integrating read-out; `scales` are the initial activation scales of its
    spiking layers by name; `output_peak` is the largest |output| that is expected, which limits the read-out's scale. For
    `profile`, `threshold_form` and `ranges` see `quantize`; ranges are in units of activations.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        steps: int,
        scales: Mapping[str, float],
        output_peak: float,
        profile: Profile,
        threshold_form: ThresholdForm,
        ranges: Mapping[str, Range] | None = None,
    ) -> None:
        super().__init__()
        self.steps, self.output_peak, self.profile, self.form = steps, output_peak, profile, threshold_form
        self.headrooms = headroom_of_layers(network, profile, ranges)
        self.analog, self.takes_events = AnalogNetwork(network), network.input.encoding == "spikes"
        # Names of layers may contain dots, which PyTorch's names may not.
        self._scales = {name: ActivationScale(value) for name, value in scales.items()}
        self.spike_values = nn.ModuleList(self._scales.values())  # the name in checkpoints
        self.follow_levels()
        self.use("rates")

    def use(self, dynamics: Dynamics, wait: int = 0) -> None:
        """Compute firing rates of constant inputs (fast, timing ignored), or every spike of T steps of neurons that wait."""
        self._dynamics = dynamics
        for layer in self.analog.network:
            module = self.analog[layer.name]
            constant = not self.takes_events and all(synapse.source == INPUT for synapse in layer.synapses)
            if layer.neurons.reset != "none":
                scale = self._scales[layer.name]
                module.activation = (
                    ClipFloor(scale, self.steps)
                    if dynamics == "rates"
                    else Integrate(scale, self.steps, constant, wait)
                )
            else:
                module.activation = MeanOverTime(1 if dynamics == "rates" or constant else self.steps)

    def follow_levels(self) -> None:
        """Update what follows from weights and activation scales in jumps: the input's levels and the quantizers."""
        self.levels = quantize_input(self.to_network(), self.profile, self.form, self.headrooms).full_scale
        attach_quantizers(
            self.analog,
            self.levels,
            self._scale_of,
            self.output_peak * self.steps,
            self.steps,
            self.profile,
            self.form,
            self.headrooms,
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.takes_events:
            images = torch.round(images * self.levels) / self.levels
        elif self._dynamics == "spikes":
            images = images.transpose(0, 1).flatten(0, 1)  # steps are the slow axis
        outputs: torch.Tensor = self.analog(images)
        return outputs

    def is_finite(self) -> bool:
        """Whether all weights are finite, and all activation scales finite and positive."""
        scales = [scale().detach() for scale in self._scales.values()]
        positive = all(bool(scale > 0) for scale in scales)
        return positive and all(bool(torch.isfinite(each).all()) for each in (*scales, *self.parameters()))

    def to_network(self) -> SpikingNetwork:
        """The network in analog form, with its trained activation scales, which are thresholds and clips too."""
        return self.analog.to_network().map_layers(self._with_scale)

    def _scale_of(self, name: str) -> float:
        return 1.0 if name == INPUT else float(self._scales[name]().detach())

    def _with_scale(self, layer: Layer) -> Layer:
        if layer.name not in self._scales:
            return layer
        scale = self._scale_of(layer.name)
        return layer.replace(neurons=layer.neurons.replace(threshold=scale), activation_scale=scale, clip=scale)


def make_tunable(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    profile: Profile,
    threshold_form: ThresholdForm,
    ranges: Mapping[str, Range] | None = None,
) -> TunableNetwork:
    """A network to tune, with the activation scales that it has, or else those of least squared error on some training images.

    `images` are float32 (N, *input shape) in [0, 1], or events; for the rest see `TunableNetwork`.
    """
    analog = AnalogNetwork(network)
    spiking = [layer for layer in network if layer.neurons.reset != "none"]
    tuned = {layer.name: layer.activation_scale for layer in spiking}
    values = {name: float(scale) for name, scale in tuned.items() if scale is not None}
    if len(values) < len(spiking):
        values = least_error_scales(analog, images, steps)
    output = network.output.name
    peak = max(float(v.abs().max()) for _, name, v in activations(analog, images) if name == output)
    return TunableNetwork(network, steps, values, peak, profile, threshold_form, ranges)
