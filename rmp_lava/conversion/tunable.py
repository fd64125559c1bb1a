"""A network as it is fine-tuned: its weights as the chip will hold them, its neurons as they spike within T steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import nn

from ..hardware import Profile
from ..network import INPUT, Layer, SpikingNetwork
from .activation_scales import least_error_spike_values
from .analog import AnalogNetwork, activations
from .fake_quantize import attach_quantizers, image_levels
from .spike_activations import ClipFloor, Integrate, MeanOverTime, SpikeValue

Dynamics = Literal["rates", "spikes"]
DYNAMICS = ("rates", "spikes")


class TunableNetwork(nn.Module):
    """From images, float32 (N, *input shape) in [0, 1], to the mean input of the integrating read-out, (N, outputs).

    Parameters
    ----------
    network : SpikingNetwork
        Float, in analog form, with an integrating read-out.
    steps : int
        T.
    spike_values : mapping of str to float
        To begin with, by the names of the spiking layers.
    output_peak : float
        Largest |output| that is expected; it limits the read-out's scale.
    profile, threshold_form
        See `quantize`.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        steps: int,
        spike_values: Mapping[str, float],
        output_peak: float,
        profile: Profile,
        threshold_form: str,
    ) -> None:
        super().__init__()
        self.steps, self.output_peak, self.profile, self.form = steps, output_peak, profile, threshold_form
        self.analog = AnalogNetwork(network)
        self.spike_values = nn.ModuleList(SpikeValue(v) for v in spike_values.values())
        # Layers' names may hold dots, which PyTorch's names may not.
        self._by_name = dict(zip(spike_values, self.spike_values, strict=True))
        self.follow_levels()
        self.use("rates")

    def use(self, dynamics: Dynamics) -> None:
        """Compute rates of constant inputs (fast, timing ignored), or every spike of T steps."""
        for module in self.analog.layers:
            layer = module.layer
            constant = all(synapse.source == INPUT for synapse in layer.synapses)
            if layer.neurons.reset != "none":
                value = self._by_name[layer.name]
                module.activation = (
                    ClipFloor(value, self.steps) if dynamics == "rates" else Integrate(value, self.steps, constant)
                )
            else:
                module.activation = MeanOverTime(1 if dynamics == "rates" or constant else self.steps)

    def follow_levels(self) -> None:
        """Round images and weights to what the present weights and spike values lead to, as far as it moves in jumps."""
        self.levels = image_levels(self.to_network(), self.profile, self.form)
        attach_quantizers(
            self.analog, self.levels, self._spike_value, self.output_peak * self.steps, self.profile, self.form
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.analog(torch.round(images * self.levels) / self.levels)

    @property
    def is_finite(self) -> bool:
        """Whether all weights and spike values are numbers that can be computed with."""
        values = [value().detach() for value in self.spike_values]
        positive = all(bool(value > 0) for value in values)
        return positive and all(bool(torch.isfinite(each).all()) for each in (*values, *self.parameters()))

    def to_network(self) -> SpikingNetwork:
        """The network in analog form, with its spike values as thresholds, clips and in the records of its layers."""
        return self.analog.to_network().map_layers(self._with_spike_value)

    def _spike_value(self, name: str) -> float:
        return 1.0 if name == INPUT else float(self._by_name[name]().detach())

    def _with_spike_value(self, layer: Layer) -> Layer:
        if layer.name not in self._by_name:
            return layer
        value = self._spike_value(layer.name)
        record = dict(layer.record) | {"threshold": value, "clip": value}
        return layer.replace(neurons=layer.neurons.replace(threshold=value), record=record)


def make_tunable(
    network: SpikingNetwork, images: np.ndarray, steps: int, profile: Profile, threshold_form: str
) -> TunableNetwork:
    """A network ready to be tuned, with spike values from its records or else the best for some training images.

    `images` are float32 (N, *input shape) in [0, 1]; for the rest see `TunableNetwork`.
    """
    analog = AnalogNetwork(network)
    spiking = [layer for layer in network if layer.neurons.reset != "none"]
    if all("threshold" in layer.record for layer in spiking):
        values = {layer.name: float(layer.record["threshold"]) for layer in spiking}
    else:
        values = least_error_spike_values(analog, images, steps)
    output = network.output.name
    peak = max(float(v.abs().max()) for _, name, v in activations(analog, images) if name == output)
    return TunableNetwork(network, steps, values, peak, profile, threshold_form)
