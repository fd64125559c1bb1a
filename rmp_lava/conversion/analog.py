"""The analog network that a spiking one approximates: what it would compute with activations in place of firing rates.

A network straight from `trace` is in analog form: weights and biases are the trained ones. The activation of a layer is
then ReLU(sum over its synapses of W activation(source) + bias), cut off at `Layer.clip` where there is one. A read-out that
only integrates has no ReLU. The input's activations are the image's values in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..encoding import check_images
from ..errors import UsageError
from ..network import INPUT, Conv, Dense, Layer, SpikingNetwork, Synapse
from ..network.pooling import per_block, repeat_in_blocks
from ..network.values import per_row


class AnalogLayer(nn.Module):
    """One layer: the weights of its synapses and its bias as parameters, and two places where passes reach in.

    Parameters
    ----------
    layer : Layer
        Of a float network in analog form.

    Attributes
    ----------
    weights : torch.nn.ParameterList
        One float32 tensor for each synapse, with the synapse's shape; a convolution with a folded pooling (`Synapse.pool`) has
        one weight for each block, so that the block's weights stay equal when they are trained.
    bias : torch.nn.Parameter or None
        float32, shape (), (channels,) or the population's.
    activation : callable
        From the summed input to the activation. Others may be put in its place.
    quantizer : callable or None
        If set, `quantizer(weights, bias)` returns what takes the place of weights and bias in the sums.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        self._pools = [s.pool if isinstance(s, Conv) else None for s in layer.synapses]
        self._summing = [per_block(s) if isinstance(s, Conv) else s for s in layer.synapses]
        self.weights = nn.ParameterList(_parameter(synapse.weight) for synapse in self._summing)
        self.bias = None if layer.neurons.bias is None else _parameter(layer.neurons.bias)
        self.activation: Callable[[torch.Tensor], torch.Tensor] = _activation(layer)
        self.quantizer: Callable[[list[torch.Tensor], torch.Tensor | None], tuple] | None = None

    def parameters_in_use(self) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Weights and bias as they enter the sums."""
        weights = list(self.weights)
        return (weights, self.bias) if self.quantizer is None else self.quantizer(weights, self.bias)

    def sums(self, sources: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Input of the neurons, (N, *shape), from the activations of the sources by name, each (N, *source shape)."""
        weights, bias = self.parameters_in_use()
        total = torch.zeros(())
        for synapse, pool, weight in zip(self._summing, self._pools, weights, strict=True):
            source = sources[synapse.source]
            if pool is not None:
                source = functional.avg_pool2d(source, pool, divisor_override=1)
            part = _propagate(synapse, weight, source)
            total = total + part if total.ndim else part
        if bias is not None:
            per_channel = bias.ndim == 1 and len(self.layer.shape) == 3
            total = total + (bias[:, None, None] if per_channel else bias)
        return total

    def to_layer(self) -> Layer:
        """The layer with the present weights and bias."""
        synapses = tuple(
            _with_weight(synapse, _numpy(weight) if pool is None else repeat_in_blocks(_numpy(weight), pool))
            for synapse, pool, weight in zip(self.layer.synapses, self._pools, self.weights, strict=True)
        )
        bias = None if self.bias is None else _numpy(self.bias)
        return self.layer.replace(synapses=synapses, neurons=self.layer.neurons.replace(bias=bias))


class AnalogNetwork(nn.Module):
    """A float `SpikingNetwork` in analog form as a trainable PyTorch module.

    Maps images, float32 (N, *input shape) in [0, 1], to the activations of the last layer, float32 (N, outputs). Of events
    (N, T, *input shape) it takes the mean over time. How the network encodes its input plays no other part.

    Parameters
    ----------
    network : SpikingNetwork
        Float, in analog form: as `trace` returns it, not balanced.

    Raises
    ------
    UsageError
        If the network holds integers.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__()
        if network.is_integer:
            raise UsageError(
                f"network {network.name!r} holds integers; its activations are those of the float network before "
                "quantisation, so pass that one"
            )
        self.network = network
        self.layers = nn.ModuleList(AnalogLayer(layer) for layer in network)
        self._last_use = {s.source: i for i, layer in enumerate(network) for s in layer.synapses}

    def __iter__(self) -> Iterator[AnalogLayer]:
        """The layers in their order."""
        return (module for module in self.layers if isinstance(module, AnalogLayer))

    def __getitem__(self, name: str) -> AnalogLayer:
        """A layer by name."""
        for module in self:
            if module.layer.name == name:
                return module
        raise KeyError(name)

    def walk(self, images: torch.Tensor) -> Iterator[tuple[AnalogLayer, torch.Tensor, torch.Tensor]]:
        """Layer by layer its module, its summed input and its activation, both (N, *shape).

        An activation is let go as soon as no later layer reads it.
        """
        if images.ndim == 2 + len(self.network.input.shape):  # events, of which it takes the mean over time
            images = images.mean(dim=1, dtype=torch.float32)
        values = {INPUT: _channels_last(images)}
        for i, module in enumerate(self):
            sums = module.sums(values)
            values[module.layer.name] = module.activation(sums)
            yield module, sums, values[module.layer.name]
            values = {name: value for name, value in values.items() if self._last_use.get(name, -1) > i}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for _, _, value in self.walk(images):
            output = value
        return output.flatten(1)

    def to_network(self) -> SpikingNetwork:
        """The spiking network, in analog form, with the present weights and biases."""
        return self.network.replace(layers=tuple(module.to_layer() for module in self))


def activations(
    network: SpikingNetwork | AnalogNetwork, images: np.ndarray, *, batch: int = 32
) -> Iterator[tuple[slice, str, torch.Tensor]]:
    """Activations of all layers, batch after batch and within a batch layer after layer, so that few are held at once.

    Parameters
    ----------
    network : SpikingNetwork or AnalogNetwork
        Float, in analog form.
    images : numpy.ndarray
        (N, *input shape) in [0, 1]; events (N, T, *input shape) where the network takes them.
    batch : int
        Images that are computed together, 1 or more.

    Yields
    ------
    (samples, name, activation)
        Which images, the layer's name, and its activations, float32 (images of the batch, *layer shape). Those of an
        integrating read-out are its sums, negative ones too.

    Raises
    ------
    UsageError
        If the network holds integers, or if `batch` is less than 1.
    DataError
        If the images do not fit the network's input.
    """
    analog = network if isinstance(network, AnalogNetwork) else AnalogNetwork(network)
    source = analog.network.input
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UsageError(f"batch is {batch!r}; give an integer of at least 1")
    return _stream(analog, check_images(images, source), batch)


def _stream(analog: AnalogNetwork, images: np.ndarray, batch: int) -> Iterator[tuple[slice, str, torch.Tensor]]:
    device = next(analog.parameters()).device
    for start in range(0, len(images), batch):
        samples = slice(start, min(start + batch, len(images)))
        walk = analog.walk(torch.from_numpy(np.ascontiguousarray(images[samples])).to(device))
        while True:
            # Gradients are switched off around each step, not around the whole generator, whose caller runs in between.
            with torch.no_grad():
                found = next(walk, None)
            if found is None:
                break
            module, _, value = found
            yield samples, module.layer.name, value


def channel_peaks(network: SpikingNetwork, images: np.ndarray) -> dict[str, np.ndarray]:
    """Layer name -> float64 (channels,) or (neurons,), the largest magnitude of its activations on images."""
    found: dict[str, np.ndarray] = {}
    for _, name, values in activations(network, images):
        peak = values.abs().amax(dim=[0, *range(2, values.ndim)]).double().cpu().numpy()
        found[name] = np.maximum(found.get(name, 0.0), peak)
    return found


def _activation(layer: Layer) -> Callable[[torch.Tensor], torch.Tensor]:
    if layer.neurons.reset == "none":
        return _unchanged
    clip = layer.clip
    if clip is None:
        return torch.relu
    if clip.ndim == 0:
        return partial(torch.clamp, min=0.0, max=float(clip))
    return _ClipByChannel(per_row(torch.tensor(clip, dtype=torch.float32), len(layer.shape)))


@dataclass(frozen=True)
class _ClipByChannel:
    """ReLU, cut off at `limits`, (channels, 1, 1) or (neurons,)."""

    limits: torch.Tensor

    def __call__(self, sums: torch.Tensor) -> torch.Tensor:
        return torch.minimum(sums.relu(), self.limits.to(sums.device, sums.dtype))


def _unchanged(sums: torch.Tensor) -> torch.Tensor:
    return sums


def _with_weight(synapse: Synapse, weight: np.ndarray) -> Synapse:
    """The synapse with trained weights; those of a dense layer need not stay equal where a pooling was folded into them."""
    trained = isinstance(synapse, Dense) and not np.array_equal(weight, synapse.weight)
    return synapse.replace(weight=weight, pool=None if trained else synapse.pool)


def _propagate(synapse: Synapse, weight: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    if isinstance(synapse, Conv):
        padding = synapse.padding
        extents = (d * (k - 1) + 1 for k, d in zip(weight.shape[2:], synapse.dilation, strict=True))
        if any(p >= extent for p, extent in zip(padding, extents, strict=True)):
            # PyTorch 2.3 (oneDNN, channels last) crashes where a window sees nothing but padding of its own making.
            source, padding = functional.pad(source, (padding[1], padding[1], padding[0], padding[0])), (0, 0)
        return functional.conv2d(source, weight, None, synapse.stride, padding, synapse.dilation, synapse.groups)
    return functional.linear(source.flatten(1), weight)


def _parameter(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(_channels_last(torch.tensor(values, dtype=torch.float32)))


def _channels_last(values: torch.Tensor) -> torch.Tensor:
    """In the memory order that convolutions on CPUs and GPUs are fastest in."""
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def _numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.float32).contiguous().numpy()
