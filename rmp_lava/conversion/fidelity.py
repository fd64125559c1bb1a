"""Gates: layer by layer, how well a spiking network's rates say the activations that they stand for.

A rate times the layer's spike value stands for an activation (see `scale`). Where the two part, accuracy is lost; the
layer in which that begins, and what its worst neurons do, say what to change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..backends import run
from ..encoding import check_images
from ..errors import UsageError
from ..network import SpikingNetwork
from ..progress import Progress
from .analog import AnalogNetwork, activations
from .layer_fidelity import LayerComparison, LayerGate

__all__ = ["LayerGate", "begins_at", "clipped", "first_loss", "measure_layers"]

LOWEST_CORRELATION = 0.9
LARGEST_DROP = 0.05
LARGEST_ERROR = 0.5
"""Limits of `begins_at`."""
_MAJORITY = 0.5
"""Share of the squared error that makes something the reason."""
FLOAT_IMAGES = 64
"""Images on which an integer network is compared with itself in float, which takes several times longer."""
_COUNTS_AT_ONCE = 2**24
"""Neurons times images whose spikes are counted together: 128 MiB."""


def measure_layers(
    analog: SpikingNetwork,
    balanced: SpikingNetwork,
    integer: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    *,
    seed: int = 0,
    progress: bool = False,
) -> tuple[LayerGate, ...]:
    """Run a network and its analog form on the same images and compare them layer by layer, in bounded memory.

    An integer network is run in float as well, on a few of the images, to tell what rounding does from what spikes do.

    Parameters
    ----------
    analog : SpikingNetwork
        As `trace` returns it.
    balanced : SpikingNetwork
        As `balance` returns it: it says what one spike of each layer stands for.
    integer : SpikingNetwork
        The network whose spikes are counted: as `quantize` returns it, or `balanced` itself.
    images : numpy.ndarray
        (N, *input shape) in [0, 1].
    steps : int
        T.
    seed : int
        Of the Poisson encoding.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    tuple of LayerGate
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
            return tuple(each.gate(0.0) for each in compared.values())
        with_it = compared if len(few) == len(images) else _compare(model, balanced, integer, few, steps, seed)
        without = _compare(model, balanced, balanced, few, steps, seed)
    return tuple(
        each.gate(_excess(with_it[name].squared_error, without[name].squared_error)) for name, each in compared.items()
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
    batch = max(1, _COUNTS_AT_ONCE // network.neuron_count)
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        # Every run counts its samples from 0, so with one seed all batches would draw the same spikes.
        result = run(network, some, steps, seed=seed + start, record=("counts",))
        for _, name, values in activations(model, some, batch=len(some)):
            found[name].add(values.double().cpu().numpy(), result.neuron_counts[name], result.output)
        if bar is not None:
            bar.advance(len(some))
    return found


def _excess(error: float, without: float) -> float:
    """Share of an error that is not there without its cause."""
    return max(0.0, 1 - without / error) if error else 0.0


def begins_at(gates: Sequence[LayerGate]) -> LayerGate | None:
    """The first layer with a loss, or None.

    That is a correlation over images below 0.9, or more than 0.05 below that of the layer before (1 for the input), or an
    error of more than half of the activation.
    """
    before = 1.0
    for gate in gates:
        correlation = before if gate.image_correlation is None else gate.image_correlation
        if correlation < max(LOWEST_CORRELATION, before - LARGEST_DROP) or (gate.error or 0.0) > LARGEST_ERROR:
            return gate
        before = correlation
    return None


def first_loss(gates: Sequence[LayerGate]) -> str | None:
    """A sentence on the layer where the loss begins (see `begins_at`): why, as far as can be told, and what helps.

    The reason is what has at least half of the layer's squared error: rounding, or else saturated or silent neurons.
    Otherwise rates are too coarse.
    """
    gate = begins_at(gates)
    if gate is None:
        return None
    found = []
    if gate.image_correlation is not None:
        found.append(f"correlate by {gate.image_correlation:.2f} over the images")
    if gate.error is not None:
        found.append(f"differ by {gate.error:.0%}")
    return (
        f"The loss begins at layer {gate.layer!r}, where rates and activations {' and '.join(found)}: {_reason(gate)}."
    )


def clipped(analog: SpikingNetwork, balanced: SpikingNetwork) -> SpikingNetwork:
    """The analog network with every activation cut off at its layer's spike value, which is what a rate of 1 says.

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
            f"network {analog.name!r} is balanced or quantised, so it has no activations; pass what trace returned"
        )
    shapes = [{layer.name: layer.shape for layer in network} for network in (analog, balanced, integer)]
    for what, network, found in (("balanced", balanced, shapes[1]), ("integer", integer, shapes[2])):
        if found != shapes[0] or network.output.neurons.reset != analog.output.neurons.reset:
            raise UsageError(
                f"the {what} network {network.name!r} has other layers than the traced one {analog.name!r}; pass stages of "
                "one conversion"
            )
    if balanced.is_integer or any(
        layer.neurons.reset != "none" and layer.activation_scale is None for layer in balanced
    ):
        raise UsageError(
            f"network {balanced.name!r} does not say in float what its spikes stand for; pass what balance returned"
        )
    for network in (balanced, integer):
        if network.output.neurons.reset == "none" and network.output_scale is None:
            raise UsageError(
                f"network {network.name!r} does not say what its read-out means in units of the trained network; convert "
                "it with this version"
            )


def _reason(gate: LayerGate) -> str:
    if gate.rounding_error >= _MAJORITY:  # first, as it can make neurons silent or saturate them
        return (
            f"{gate.rounding_error:.0%} of the squared error comes from rounding to integers, so fine-tune the network"
        )
    if gate.saturated_error >= max(_MAJORITY, gate.silent_error):
        return (
            f"neurons that spike in every step have {gate.saturated_error:.0%} of the squared error, so raise its threshold "
            "with a larger alpha"
        )
    if gate.silent_error >= _MAJORITY:
        return (
            f"neurons that never spike have {gate.silent_error:.0%} of the squared error, so lower its threshold with a "
            "smaller alpha, or take more steps"
        )
    return "rates of so few steps are too coarse, so take more steps"
