"""A layer of a batch: its synapses, prepared once for all batches, and its neurons' states."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import torch

from ...choices import Kernel
from ...network import INPUT, Layer, SpikingNetwork, Synapse
from ...registers import REGISTER_LIMIT, to_weight_units
from ..synapses import largest_sum
from .neurons import make_population
from .streams import ConstantStream, Source
from .synapses import EXACT_FLOAT32, Arithmetic, Sums, make_sums

LONGEST_WINDOW = 127
"""Steps up to which all messages of a window are summed at once: counts of a neuron's messages are 8-bit numbers."""


class Prepared:
    """A network's synapses on a device, ready for any number of batches, in any number of threads.

    sums : Layer name -> `Sums` of its synapses, in order.
    dtypes : Layer name -> dtype of its input sums.
    bounds : Layer name -> bound of |input sum| in weight units; 0 in float networks, which do not need it.
    windows : Layer name -> `WindowSums`, of layers that wait until all messages have arrived.

    Parameters
    ----------
    steps : int or None
        T, if layers may take the messages of all steps at once.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        device: torch.device,
        kernel: Kernel = "float32",
        *,
        steps: int | None = None,
    ) -> None:
        self.network, self.device = network, device
        self.kernel = kernel
        self.steps = steps if steps is not None and steps == network.wait and steps <= LONGEST_WINDOW else None
        self.windows: dict[str, WindowSums] = {}
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
        if self.steps is not None and network.waits(layer):
            self.windows[layer.name] = WindowSums(self, layer, self.steps)

    def describe(self) -> str:
        """The kernel of each layer's sums, in words."""
        layers: dict[str, list[str]] = {}
        for name, sums in self.sums.items():
            layers.setdefault(" and ".join(sorted({s.kernel for s in sums})), []).append(name)
        most = max(layers, key=lambda kernel: len(layers[kernel]))
        others = [f"{kernel} in {', '.join(names)}" for kernel, names in layers.items() if kernel != most]
        whole = f", one for all {self.steps} steps where neurons wait for them" if self.windows else ""
        return f"{most} sums" + (f" ({'; '.join(others)})" if others else "") + whole


class WindowSums:
    """Sums of all messages of a window at once, and whether a potential could saturate while they arrive one after the other.

    Parameters
    ----------
    steps : int
        T.
    """

    def __init__(self, prepared: Prepared, layer: Layer, steps: int) -> None:
        network = prepared.network
        self.layer, self.steps, self.device, self.integer = layer, steps, prepared.device, network.is_integer
        bound = prepared.bounds[layer.name] * steps
        dtype = torch.float32 if bound < EXACT_FLOAT32 else torch.float64
        entering = network.input.largest_message if self.integer else 255
        largest = {s.source: steps * (entering if s.source == INPUT else 1) for s in layer.synapses}
        self.sums = [
            make_sums(
                s,
                network.source_shape(s.source),
                Arithmetic(prepared.device, dtype, prepared.kernel, largest=largest[s.source]),
            )
            for s in layer.synapses
        ]
        self.inputs_may_be_large = prepared.bounds[layer.name] >= REGISTER_LIMIT
        self.room = np.inf
        self._extents: list[Sums] | None = None
        if self.integer:
            self.room = REGISTER_LIMIT - 1 - abs(int(layer.neurons.v_init)) - steps * _largest_bias(layer)
        if bound >= self.room:
            # Any order of arrival stays between the sums of all positive and of all negative products.
            self._extents = [
                make_sums(
                    s.replace(weight=np.abs(s.weight)),
                    network.source_shape(s.source),
                    Arithmetic(prepared.device, dtype, "auto", largest=largest[s.source]),
                )
                for s in layer.synapses
            ]

    def total(self, streams: Mapping[str, Source], rows: slice) -> torch.Tensor | None:
        """(rows, neurons) input of all steps, in weight units; None if a potential might saturate or a step's input be large."""
        total = self._sum(self.sums, streams, rows)
        if self._extents is not None:
            # A constant input moves the potential one way.
            constant = all(isinstance(streams[s.source], ConstantStream) for s in self.layer.synapses)
            extent = total.abs() if constant else self._sum(self._extents, streams, rows)
            if self.inputs_may_be_large and extent.max().item() >= REGISTER_LIMIT:
                return None
            if (total.abs() + extent).max().item() / 2 >= self.room:
                return None
        return total

    def _sum(self, sums: list[Sums], streams: Mapping[str, Source], rows: slice) -> torch.Tensor:
        def current(synapse: Synapse, each: Sums) -> torch.Tensor:
            messages = streams[synapse.source].total(self.steps, rows)
            return each(messages.to(torch.uint8) if each.kernel == "int8" else messages)

        return reduce(torch.add, map(current, self.layer.synapses, sums))


def _largest_bias(layer: Layer) -> int:
    """Largest |bias| of integer neurons in weight units, rounded up."""
    bias = layer.neurons.bias
    if bias is None:
        return 0
    return int(np.ceil(to_weight_units(float(np.abs(bias.astype(np.int64)).max() << layer.neurons.bias_exponent))))


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

    def currents(self, streams: Mapping[str, Source], steps: slice, rows: slice) -> torch.Tensor:
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

    def _current(self, stream: Source, sums: Sums, steps: slice, rows: slice) -> torch.Tensor | None:
        """Input through one synapse; None if it carries no message."""
        first, last = steps.start, steps.stop
        start, stop = stream.active(first, last)
        if start == stop:
            return None
        messages = stream.read(start, stop, rows)
        current = sums(messages.flatten(0, 1)).view(*messages.shape[:2], -1)
        if isinstance(stream, ConstantStream) or stop - start == last - first:
            return current
        padded = torch.zeros((last - first, *current.shape[1:]), dtype=self.dtype, device=self.device)
        padded[start - first : stop - first] = current
        return padded
