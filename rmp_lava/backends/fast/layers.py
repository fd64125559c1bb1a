"""A layer of a batch: its synapses, prepared once for all batches, and its neurons' states."""

from __future__ import annotations

import numpy as np
import torch

from ...choices import Kernel
from ...network import INPUT, Layer, SpikingNetwork
from ...registers import REGISTER_LIMIT
from ..synapses import largest_sum
from .neurons import make_population
from .streams import ConstantStream, Stream
from .synapses import EXACT_FLOAT32, Arithmetic, Sums, make_sums


class Prepared:
    """A network's synapses on a device, ready for any number of batches, in any number of threads.

    sums : Layer name -> `Sums` of its synapses, in order.
    dtypes : Layer name -> dtype of its input sums.
    bounds : Layer name -> bound of |input sum| in weight units; 0 in float networks, which do not need it.
    """

    def __init__(self, network: SpikingNetwork, device: torch.device, kernel: Kernel = "float32") -> None:
        self.network, self.device = network, device
        self.kernel = kernel
        self.sums: dict[str, list[Sums]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        self.bounds: dict[str, int] = {}
        for layer in network:
            self.prepare(layer)

    def prepare(self, layer: Layer) -> None:
        """Prepare a layer, or replace its weights."""
        network = self.network
        self.bounds[layer.name] = largest_sum(network, *layer.synapses) if network.is_integer else 0
        exact = self.bounds[layer.name] < EXACT_FLOAT32
        self.dtypes[layer.name] = torch.float32 if exact else torch.float64
        # A float network's largest input message is unknown.
        entering = network.input.largest_message if network.is_integer else 255
        self.sums[layer.name] = [
            make_sums(
                s,
                network.source_shape(s.source),
                Arithmetic(
                    self.device, self.dtypes[layer.name], self.kernel, largest=entering if s.source == INPUT else 1
                ),
            )
            for s in layer.synapses
        ]

    def describe(self) -> str:
        """The kernel of each layer's sums, in words."""
        layers: dict[str, list[str]] = {}
        for name, sums in self.sums.items():
            layers.setdefault(" and ".join(sorted({s.kernel for s in sums})), []).append(name)
        most = max(layers, key=lambda kernel: len(layers[kernel]))
        others = [f"{kernel} in {', '.join(names)}" for kernel, names in layers.items() if kernel != most]
        return f"{most} sums" + (f" ({'; '.join(others)})" if others else "")


class LayerSimulation:
    """One layer of a batch: its neurons' state, and the sums of its synapses.

    block_size : Four-byte numbers that one step of one sample takes between sources and neurons.
    large_inputs : Neuron updates whose input reached +-2^17 weight units.
    """

    def __init__(self, layer: Layer, prepared: Prepared, samples: int) -> None:
        self.layer, self.sums, self.dtype = layer, prepared.sums[layer.name], prepared.dtypes[layer.name]
        self.device = prepared.device
        self.population = make_population(
            layer.neurons,
            layer.shape,
            samples,
            integer=prepared.network.is_integer,
            device=prepared.device,
            largest_input=prepared.bounds[layer.name],
        )
        # A step of a sample costs its sums, or its messages if a kernel has to convert them.
        converted = [int(np.prod(sums.shape)) for sums in self.sums if sums.kernel != "int8"]
        self.block_size = max([layer.size, *converted]) * (2 if self.dtype == torch.float64 else 1)
        self.counts_large = prepared.bounds[layer.name] >= REGISTER_LIMIT
        self.large_inputs = 0

    def currents(self, streams: dict[str, Stream], steps: slice, rows: slice) -> torch.Tensor:
        """(steps or 1, samples, neurons) input of some samples in some of the chunk's steps, in weight units.

        A single step is the input of all these steps.
        """
        total = None
        for synapse, sums in zip(self.layer.synapses, self.sums, strict=True):
            current = self._current(streams[synapse.source], sums, steps, rows)
            if current is None:
                continue
            if total is None:
                total = current
            elif len(total) >= len(current):
                total += current
            else:
                total = current.add_(total)
        if total is None:
            return torch.zeros((1, rows.stop - rows.start, self.layer.size), dtype=self.dtype, device=self.device)
        if self.counts_large:
            repeated = 1 if len(total) > 1 else steps.stop - steps.start
            self.large_inputs += int(torch.count_nonzero(total.abs() >= REGISTER_LIMIT)) * repeated
        return total

    def _current(self, stream: Stream, sums: Sums, steps: slice, rows: slice) -> torch.Tensor | None:
        """Input through one synapse; None if it carries no message."""
        first, last = steps.start, steps.stop
        start, stop = stream.active(first, last)
        if start == stop:
            return None
        messages = stream.messages[start:stop, rows]
        current = sums(messages.flatten(0, 1)).view(*messages.shape[:2], -1)
        if isinstance(stream, ConstantStream) or stop - start == last - first:
            return current
        padded = torch.zeros((last - first, *current.shape[1:]), dtype=self.dtype, device=self.device)
        padded[start - first : stop - first] = current
        return padded
