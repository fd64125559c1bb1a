"""Layer fidelity: how closely a spiking network's firing rates match the trained activations, layer by layer.

A rate times the layer's activation scale represents an activation (see `scale`). Where the two differ, accuracy is lost; the
first layer with a loss, and what its worst neurons do, tell what to change.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..backends import run
from ..encoding import check_images
from ..errors import UsageError
from ..network import SpikingNetwork
from ..progress import Progress
from ..results import Run
from .analog import AnalogNetwork, activations
from .layer_fidelity import LayerComparison, LayerFidelity

FLOAT_IMAGES = 64
"""Images on which an integer network is compared with itself in float, which takes several times as long."""
_COUNTS_AT_ONCE = 2**24
"""Neurons times images per batch: their spike counts take 128 MiB."""


def measure_layers(
    analog: SpikingNetwork,
    balanced: SpikingNetwork,
    integer: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    *,
    seed: int = 0,
    progress: bool = False,
) -> tuple[LayerFidelity, ...]:
    """Run a network and its analog form on the same images and compare them layer by layer, in bounded memory.

    An integer network is also run in float, on a few of the images, to separate rounding errors from those of the rates.

    Parameters
    ----------
    analog : SpikingNetwork
        As `trace` returns it.
    balanced : SpikingNetwork
        As `balance` returns it, with the activation scale of each layer.
    integer : SpikingNetwork
        The network whose spikes are counted: as `quantize` returns it, or `balanced` itself.
    images, steps, seed, progress
        As `rmp_lava.run` takes them.

    Returns
    -------
    tuple of LayerFidelity
        In the order of the layers.

    Raises
    ------
    UsageError
        If the three are not the same network before balancing, balanced, and as it runs.
    DataError
        If the images do not fit.
    """
    _refuse_strangers(analog, balanced, integer)
    images = check_images(images, analog.input)
    model, few = AnalogNetwork(analog), images[:FLOAT_IMAGES]
    with Progress("comparing layers, images", len(images), shown=progress) as bar:
        compared = _compare(model, balanced, integer, images, steps, seed, bar)
        if not integer.is_integer:
            return tuple(each.result(0.0) for each in compared.values())
        with_it = compared if len(few) == len(images) else _compare(model, balanced, integer, few, steps, seed)
        without = _compare(model, balanced, balanced, few, steps, seed)
    return tuple(
        each.result(_excess(with_it[name].squared_error, without[name].squared_error))
        for name, each in compared.items()
    )


def _compare(
    model: AnalogNetwork,
    balanced: SpikingNetwork,
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    seed: int,
    bar: Progress | None = None,
) -> dict[str, LayerComparison]:
    found = {layer.name: LayerComparison(layer, balanced, network, steps) for layer in network}
    for name, values, result in side_by_side(model, network, images, steps, seed):
        found[name].add(values, result.neuron_counts[name], result.output)
        if bar is not None and name == network.output.name:
            bar.advance(len(values))
    return found


def side_by_side(
    model: AnalogNetwork, network: SpikingNetwork, images: np.ndarray, steps: int, seed: int
) -> Iterator[tuple[str, np.ndarray, Run]]:
    """Layer by layer and batch by batch its activations, float64, and the run of the network on the same images."""
    batch = max(1, _COUNTS_AT_ONCE // network.neuron_count)
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        # Every run counts its samples from 0, so with one seed all batches would draw the same spikes.
        result = run(network, some, steps, seed=seed + start, record=["counts"])
        for _, name, values in activations(model, some, batch=len(some)):
            yield name, values.double().cpu().numpy(), result


def _excess(error: float, without: float) -> float:
    """Share of an error that vanishes without its cause."""
    return max(0.0, 1 - without / error) if error else 0.0


def clipped(analog: SpikingNetwork, balanced: SpikingNetwork) -> SpikingNetwork:
    """The analog network with every activation clipped at its layer's activation scale, which a rate of 1 represents.

    Raises
    ------
    UsageError
        If the two are not the same network before and after balancing.
    """
    _refuse_strangers(analog, balanced, balanced)
    return analog.map_layers(
        lambda layer: (
            layer if layer.neurons.reset == "none" else layer.replace(clip=balanced[layer.name].activation_scale)
        )
    )


def _refuse_strangers(analog: SpikingNetwork, balanced: SpikingNetwork, integer: SpikingNetwork) -> None:
    if analog.stage != "analog":
        raise UsageError(
            f"network {analog.name!r} is balanced or quantised, so it has no activations; pass the network from trace"
        )
    shapes = [{layer.name: layer.shape for layer in network} for network in (analog, balanced, integer)]
    for what, network, found in (("balanced", balanced, shapes[1]), ("integer", integer, shapes[2])):
        if found != shapes[0] or network.integrates != analog.integrates:
            raise UsageError(
                f"the {what} network {network.name!r} has other layers than the traced one {analog.name!r}; pass networks of "
                "one conversion"
            )
    if balanced.is_integer or any(
        layer.neurons.reset != "none" and layer.activation_scale is None for layer in balanced
    ):
        raise UsageError(f"network {balanced.name!r} has no activation scales in float; pass the network from balance")
    for network in (balanced, integer):
        if network.integrates and network.output_scale is None:
            raise UsageError(
                f"network {network.name!r} has no output scale, which relates its read-out to the trained network; convert it "
                "with this version"
            )
