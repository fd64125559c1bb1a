"""From a sequential PyTorch network to a float `SpikingNetwork` with the same weights and thresholds of 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from ..errors import ConversionError
from ..network import INPUT, Conv, Dense, Input, Layer, Neurons, Readout, SpikingNetwork, Synapse
from .fold import Pooling, fold_pooling, pooling_synapse

_SKIPPED = (nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity, nn.ReLU)


def trace(model: nn.Module, source: Input, *, pooling: str = "fold", readout: Readout = "potential") -> SpikingNetwork:
    """The spiking network of a checked sequential model, not balanced yet.

    Parameters
    ----------
    model : torch.nn.Module
        That passed `rmp_lava.check`.
    source : Input
        Whose shape is an image's.
    pooling : {"fold", "layer"}
        Fold average pooling into the next layer's weights where that is exact, or keep it as a layer of its own RMP
        neurons, as the paper does.
    readout : {"potential", "count"}

    Returns
    -------
    SpikingNetwork
        Float. A pooling that cannot be folded exactly becomes a layer of its own; each layer's record names its module.
    """
    builder = _Builder(source, pooling)
    for name, module in _leaves("", model):
        builder.add(name, module)
    layers = builder.finish()
    output = layers[-1]
    reset = "none" if readout == "potential" else "soft"
    layers[-1] = output.replace(neurons=output.neurons.replace(reset=reset))
    return SpikingNetwork("network", source, tuple(layers), "float", readout)


def _leaves(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential):
        for child, part in module._modules.items():  # named_children leaves out a module's second use
            yield from _leaves(f"{name}.{child}" if name else child, part)
    else:
        yield name, module


class _Builder:
    """Collects layers; remembers a pooling until it meets the layer that it can be folded into."""

    def __init__(self, source: Input, pooling: str) -> None:
        self.layers: list[Layer] = []
        self.source, self.shape = INPUT, source.shape
        self.keep_pooling = pooling == "layer"
        self.pooling: Pooling | None = None

    def add(self, name: str, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            self._add_weighted(name, self._conv(name, module))
        elif isinstance(module, nn.Linear):
            self._add_weighted(name, Dense(self.source, _numpy(module.weight)))
        elif isinstance(module, nn.AvgPool2d):
            self._add_pooling(name, module)
        elif not isinstance(module, _SKIPPED):
            raise ConversionError(f"layer {name!r} ({type(module).__name__}) cannot be converted; see rmp_lava.check")

    def finish(self) -> list[Layer]:
        if self.pooling is not None:
            raise ConversionError(
                f"layer {self.pooling.name!r} pools after the last weights; put a Linear layer after it"
            )
        if not self.layers:
            raise ConversionError("the network has no layer with weights")
        return self.layers

    def _conv(self, name: str, module: nn.Conv2d) -> Conv:
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            raise ConversionError(
                f"layer {name!r} pads with {module.padding_mode if module.padding_mode != 'zeros' else module.padding!r}; "
                "use zeros and a number of pixels"
            )
        return Conv(self.source, _numpy(module.weight), module.stride, module.padding, module.dilation, module.groups)

    def _add_weighted(self, name: str, synapse: Synapse) -> None:
        record: dict = {"module": name}
        if self.pooling is not None:
            folded = fold_pooling(synapse, self.pooling)
            if folded is None:
                record["pooling"] = f"{self.pooling.name} cannot be folded exactly and is a layer of its own"
                self._append(self.pooling.name, pooling_synapse(self.pooling), {"module": self.pooling.name})
                synapse = synapse.replace(source=self.source)
            else:
                synapse = folded
                record["pooling"] = f"{self.pooling.name} is folded into the weights"
            self.pooling = None
        self._append(name, synapse, record)

    def _add_pooling(self, name: str, module: nn.AvgPool2d) -> None:
        pooling = Pooling.from_module(name, module, self.source, self.shape)
        if self.pooling is not None:
            self._append(self.pooling.name, pooling_synapse(self.pooling), {"module": self.pooling.name})
            self.pooling = None
            pooling = Pooling.from_module(name, module, self.source, self.shape)
        if self.keep_pooling or self.source == INPUT:
            self._append(name, pooling_synapse(pooling), {"module": name})
        else:
            self.pooling = pooling

    def _append(self, name: str, synapse: Synapse, record: dict) -> None:
        shape = synapse.output_shape(self.shape)
        name = name.replace("/", "_") or f"layer{len(self.layers)}"
        name = f"module_{name}" if name == INPUT else name
        self.layers.append(Layer(name, shape, (synapse,), Neurons(threshold=1.0), record))
        self.source, self.shape = name, shape


def _numpy(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().to("cpu", torch.float32).numpy()
