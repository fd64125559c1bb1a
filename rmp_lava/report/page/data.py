"""What each picture of the page shows, as columns of values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...conversion.points import Point
from ...conversion.rates import Rates
from ...hardware import Estimate, Mapping
from ...hardware.energy import COEFFICIENTS
from ...hardware.placement import RESOURCES
from ...network import INPUT, SpikingNetwork
from ...plot.clouds import histogram
from ...plot.core_map import load
from ...plot.spikes import neurons_shown, sent
from ...results import Run
from ...words import shape, synapses, wilson
from .measure import Raster
from .parts import Data


def network_data(network: SpikingNetwork) -> Data:
    """A row per layer."""
    rows = [
        (
            layer.name,
            " ".join(each.source for each in layer.synapses),
            synapses(layer),
            shape(layer.shape),
            layer.size,
            sum(each.weight.size for each in layer.synapses),
        )
        for layer in network
    ]
    return Data(("layer", "sources", "synapses", "shape", "neurons", "weights"), rows)


def accuracy_data(result: Run, labels: np.ndarray | None) -> Data:
    """A row per T, with the bounds of the 95 % interval."""
    share = result.accuracy_at(result.predictions if labels is None else labels)
    rows = [(t, value, *wilson(value, result.samples)) for t, value in enumerate(share.tolist(), 1)]
    return Data(("T", "agreement" if labels is None else "accuracy", "low", "high"), rows)


def frontier_data(points: Sequence[Point]) -> Data:
    """A row per conversion."""
    figures = tuple(dict.fromkeys(name for point in points for name in point.score.figures))
    columns = ("steps", "wait", "spikes", "synaptic_operations", "latency", "period")
    rows = [
        (*(getattr(point, name) for name in columns), *(point.score.figures.get(name) for name in figures))
        for point in points
    ]
    return Data(("T", *columns[1:], *figures), rows)


def raster_data(network: SpikingNetwork, raster: Raster) -> Data:
    """A row per neuron that is drawn, with the steps of its spikes, from 1."""
    chosen = list(raster.samples)
    spikes = {name: found[chosen] for name, found in raster.result.spikes.items()}
    rows: list[tuple[int | str, ...]] = []
    for name, which in neurons_shown(network, spikes).items():
        fired = sent(spikes, name, which)
        rows += [
            (sample + 1, name, int(neuron), " ".join(map(str, np.flatnonzero(fired[i, :, j]) + 1)))
            for i, sample in enumerate(chosen)
            for j, neuron in enumerate(which)
        ]
    return Data(("sample", "layer", "neuron", "steps"), rows)


def rates_data(rates: Rates) -> Data:
    """A row per cell of a layer's histogram that holds pairs of neuron and image; the cell's lower edges, and its side."""
    rows: list[tuple[str | float, ...]] = []
    for each in rates.layers:
        cells, edges = histogram(each)
        side = float(edges[1] - edges[0])
        rows += [
            (each.layer.name, float(edges[x]), float(edges[y]), side, int(cells[x, y]))
            for x, y in zip(*np.nonzero(cells), strict=True)
        ]
    return Data(("layer", "activation from", "rate from", "side", "pairs"), rows)


def activity_data(network: SpikingNetwork, result: Run) -> Data:
    """A row per layer, per inference."""
    spikes, operations = result.spikes_per_neuron(network), result.operations_per_sample
    rows = [(layer.name, layer.size, spikes.get(layer.name), operations.get(layer.name)) for layer in network]
    return Data(("layer", "neurons", "spikes per neuron", "synaptic operations"), rows)


def cores_data(mapping: Mapping) -> Data:
    """A row per population; cores are None where no core holds a part."""
    rows = [
        (
            layer.name,
            layer.demand.origin or (layer.name if layer.name != INPUT else ""),
            layer.cores if layer.fits else None,
            RESOURCES[layer.binding],
            load(layer),
        )
        for layer in mapping.layers
    ]
    return Data(("population", "layer", "cores", "scarcest", "used on average"), rows)


def energy_data(found: Estimate) -> Data:
    """A row per component of the whole and of each layer, in J, with its bounds."""
    whole = [("all", COEFFICIENTS[key], e.value, e.low, e.high) for key, e in found.parts_between.items()]
    layers = [
        (layer.name, COEFFICIENTS[key], e.value, e.low, e.high)
        for layer in found.layers
        for key, e in layer.between.items()
    ]
    return Data(("layer", "component", "J", "low", "high"), [*whole, *layers])
