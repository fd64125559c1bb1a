"""Average pooling where folding it would cost bits of the weights: a population of its own again.

A pooling of p x p that is folded into the weights after it makes them p x p times smaller, next to a threshold, a bias or the
potential of a read-out that stay as they are. Registers limit those, so weights of many such layers would use a few of their 8
bits only: every network that ends in a global average and a dense layer. Where blocks are averaged by neurons of their own, the
weights are as large as the trained ones. Blocks are no larger than necessary, as each rate has T + 1 values only, and what is
left of the pooling averages them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..choices import ThresholdForm
from ..hardware import Profile
from ..network import Conv, Dense, Layer, Neurons, SpikingNetwork, Synapse
from ..network.pooling import as_convolution
from .analog import channel_peaks
from .limits import ReadoutLimits, Sums, bias_limit, threshold_limit
from .scale import source_values

_IMAGES = 64
"""Calibration images on which activations are observed; only their order of magnitude matters."""
_TOLERATED = 1.5
"""A pooling stays folded while it makes weights at most this much smaller than 8 bits allow."""

Pool = tuple[int, int]


@dataclass(frozen=True)
class _Kept:
    """Blocks of one source that get neurons of their own."""

    source: str
    block: Pool

    @property
    def name(self) -> str:
        return f"{self.source}.pool{self.block[0]}x{self.block[1]}"


def unfold_pooling(
    network: SpikingNetwork, images: np.ndarray, profile: Profile, form: ThresholdForm
) -> SpikingNetwork:
    """Give folded poolings a population each where the weights would lose bits otherwise; exact in analog form.

    Parameters
    ----------
    network : SpikingNetwork
        Of stage "analog".
    images : numpy.ndarray
        (N, *input shape) in [0, 1], training images, for the size of activations.
    profile : Profile
        Its registers decide.
    form : {"stock", "free", "dense_rec"}
        Of the thresholds.

    Returns
    -------
    SpikingNetwork
        The same functions of the images; new layers have "pooling" in their record.
    """
    pooled = {s.source for layer in network for s in layer.synapses if s.pool is not None}
    if not pooled & {layer.name for layer in network}:
        return network
    largest = channel_peaks(network, images[:_IMAGES])
    return _unfolded(network, lambda layer, synapse: _block(layer, synapse, network, largest, profile, form))


def unfold_all(network: SpikingNetwork) -> SpikingNetwork:
    """Give every folded pooling of an analog network a population, but for the input's."""
    hidden = {layer.name for layer in network}
    return _unfolded(network, lambda layer, synapse: synapse.pool if synapse.source in hidden else None)


def unfold_like(network: SpikingNetwork, other: SpikingNetwork) -> SpikingNetwork:
    """Give those poolings of an analog network a population that have one in another network of the same layers."""
    populations = {layer.name: layer for layer in other}

    def block(layer: Layer, synapse: Synapse) -> Pool | None:
        if synapse.pool is None or layer.name not in populations:
            return None
        for source in (s.source for s in populations[layer.name].synapses):
            between = populations[source].synapses if source in populations else ()
            if len(between) == 1 and between[0].source == synapse.source and isinstance(between[0], Conv):
                stride = between[0].stride
                if source == _Kept(synapse.source, stride).name and not any(
                    pool % side for pool, side in zip(synapse.pool, stride, strict=True)
                ):
                    return stride
        return None

    return _unfolded(network, block)


def _unfolded(network: SpikingNetwork, block_of: Callable[[Layer, Synapse], Pool | None]) -> SpikingNetwork:
    layers: list[Layer] = []
    made: set[_Kept] = set()
    for layer in network:
        synapses = []
        for synapse in layer.synapses:
            block = block_of(layer, synapse)
            if block is not None:
                kept = _Kept(synapse.source, block)
                if kept not in made:
                    layers.append(_averaging(kept, network[synapse.source]))
                    made.add(kept)
                synapse = _over_blocks(synapse, kept, network[synapse.source].shape)
            synapses.append(synapse)
        layers.append(layer.replace(synapses=tuple(synapses)))
    return network.replace(layers=tuple(layers)) if made else network


def _block(
    layer: Layer,
    synapse: Synapse,
    network: SpikingNetwork,
    largest: dict[str, np.ndarray],
    profile: Profile,
    form: ThresholdForm,
) -> Pool | None:
    """The smallest block that leaves the weights their bits, or None where the pooling stays folded."""
    if synapse.pool is None or synapse.source not in largest:
        return None
    conv = as_convolution(synapse, network[synapse.source].shape)
    assert conv is not None  # as it has a pool
    # Largest activations are roughly the activation scales.
    weights = np.abs(conv.weight) * source_values(conv, largest[synapse.source])
    excess = _excess(layer, float(weights.max()), float(largest[layer.name].max()), profile, form)
    if excess <= _TOLERATED:
        return None
    height, width = synapse.pool
    blocks = [(h, w) for h in _divisors(height) for w in _divisors(width) if h * w > 1]
    blocks.sort(key=lambda block: (block[0] * block[1], abs(block[0] - block[1])))
    return next((block for block in blocks if block[0] * block[1] >= excess), synapse.pool)


def _excess(layer: Layer, weight: float, activation: float, profile: Profile, form: ThresholdForm) -> float:
    """How much smaller than 8 bits allow a layer's weights become; arguments in units of its activation."""
    if weight == 0 or activation == 0:
        return 1.0
    if layer.neurons.reset == "none":
        sums = Sums(-activation, activation, 1)
        limit = ReadoutLimits.of(profile, form).scale(sums, layer.neurons, reads_total=True)
    else:
        bias = 0.0 if layer.neurons.bias is None else float(np.abs(layer.neurons.bias).max())
        limit = min(threshold_limit(profile, form) / activation, bias_limit(profile) / max(bias, 1e-30))
    return profile["weight_mixed_max"] / weight / limit


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _averaging(kept: _Kept, source: Layer) -> Layer:
    channels, height, width = source.shape
    h, w = kept.block
    weight = np.full((channels, 1, h, w), 1 / (h * w), np.float32)
    synapse = Conv(source.name, weight, stride=kept.block, groups=channels)
    record = {"pooling": f"average of {h}x{w} by neurons of its own"}
    return Layer(kept.name, (channels, height // h, width // w), (synapse,), Neurons(1.0), record=record)


def _over_blocks(synapse: Synapse, kept: _Kept, shape: tuple[int, ...]) -> Synapse:
    """The synapse that reads averages of blocks instead of single neurons."""
    conv = as_convolution(synapse, shape)
    assert conv is not None and synapse.pool is not None
    h, w = kept.block
    weight = np.ascontiguousarray(conv.weight[:, :, ::h, ::w]) * np.float32(h * w)
    left = (synapse.pool[0] // h, synapse.pool[1] // w)
    pool = left if left != (1, 1) else None
    if isinstance(synapse, Dense):
        return Dense(kept.name, weight.reshape(len(weight), -1), pool=pool)
    return Conv(
        kept.name,
        weight,
        pool=pool,
        stride=(conv.stride[0] // h, conv.stride[1] // w),
        padding=(conv.padding[0] // h, conv.padding[1] // w),
        groups=conv.groups,
    )
