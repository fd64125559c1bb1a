"""VGG-16 and residual networks of the size of CIFAR and ImageNet on boards: cores, remedies, and how long it takes."""

from __future__ import annotations

import time
from math import prod

import numpy as np
import pytest
from compiled_networks import mnist

from rmp_lava.encoding import make_input
from rmp_lava.hardware import load_profile, map_network, savings
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork

CHANNELS = [1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8]
"""Of VGG-16's convolutions, in 64; 0 is average pooling."""


def vgg16(width: float = 64, *, fold: bool = False) -> SpikingNetwork:
    """VGG-16 at CIFAR size: average pooling as neurons of its own, or folded into 6 x 6 kernels with stride 2."""
    layers, shape, pooled = [], (3, 32, 32), False

    def add(synapse) -> None:
        nonlocal shape
        shape = synapse.output_shape(shape)
        layers.append(Layer(f"l{len(layers)}", shape, (synapse,), Neurons(1.0)))

    def source() -> str:
        return layers[-1].name if layers else INPUT

    for channels in CHANNELS:
        if channels == 0 and not fold:
            add(Conv(source(), np.ones((shape[0], 1, 2, 2), np.float32), (2, 2), groups=shape[0]))
        elif channels == 0:
            pooled = True
        else:
            kernel, stride, padding = ((6, 6), (2, 2), (2, 2)) if pooled else ((3, 3), (1, 1), (1, 1))
            weight = np.ones((round(channels * width), shape[0], *kernel), np.float32)
            add(Conv(source(), weight, stride, padding, pool=(2, 2) if pooled else None))
            pooled = False
    for outputs in (round(64 * width), round(64 * width), 10):
        add(Dense(source(), np.ones((outputs, prod(shape)), np.float32)))
    return SpikingNetwork("vgg16", make_input("poisson", (3, 32, 32)), tuple(layers), "analog", "count")


@pytest.mark.slow
def test_pooling_folded_into_wide_kernels_is_too_much_for_a_core():
    mapping = map_network(vgg16(fold=True), "hala_point")
    assert not mapping.fits and mapping.cores < mapping.cores_available
    # Of 256 channels: 36 lists each, of which none is shorter than two words.
    assert f"{256 * 36 * 2:,} synapse words even for a single neuron" in mapping.remedies[0]
    assert "--pooling layer" in mapping.remedies[0]
    assert map_network(vgg16(), "hala_point").fits


@pytest.mark.slow
def test_vgg16_is_mapped_quickly_and_its_remedies_hold():
    network = vgg16()
    started = time.perf_counter()
    mapping = map_network(network, "oheo_gulch")
    assert time.perf_counter() - started < 5
    assert not mapping.fits and mapping.chips > 1
    board, width = mapping.remedies
    larger = load_profile(board.split()[1])
    assert map_network(network, larger).fits
    assert f"the network takes {map_network(network, larger).cores:,} there" in board
    factor = float(width.split()[1])
    assert f"fits {mapping.cores_available:,} cores" in width
    narrow = map_network(vgg16(64 * factor), "oheo_gulch")
    assert narrow.fits and f"(takes {narrow.cores:,})" in width
    wider = map_network(vgg16(64 * (factor + 0.05)), "oheo_gulch")
    assert not wider.fits


@pytest.mark.slow
def test_a_residual_network_of_imagenet_size_takes_several_chips():
    from rmp_lava.conversion.trace import trace
    from rmp_lava.training.models import model_spec

    spec = model_spec("resnet34-imagenet")
    source = make_input("poisson", spec.input_shape)
    network = trace(spec.builder(**spec.settle({})).eval(), source, pooling="layer")
    started = time.perf_counter()
    mapping = map_network(network, "vpx")
    found = savings(network, mapping)
    assert time.perf_counter() - started < 10
    # As docs/hardware.md has it.
    assert (mapping.cores, mapping.chips, mapping.fits) == (1669, 14, True)
    assert sum(layer.cores for layer in mapping.others["older"]) == 1850
    assert {each.change: each.cores for each in found}["weights of 4 bits"] == 1587
    board, _ = map_network(network, "kapoho_point").remedies
    assert board == "board vpx has 1,952 cores on 16 chips, and the network takes 1,669 there"
    crossing = sum(layer.crossing * layer.size for layer in mapping.layers)
    assert crossing / sum(layer.size for layer in mapping.layers) == pytest.approx(1.4, abs=0.05)


@pytest.mark.slow
def test_residual_networks_are_mapped_quickly():
    from rmp_lava.conversion.trace import trace
    from rmp_lava.training.models import model_spec

    spec = model_spec("resnet20-cifar")
    network = trace(spec.builder(**spec.settle({})).eval(), make_input("poisson", spec.input_shape))
    started = time.perf_counter()
    native, stock = map_network(network, "kapoho_point"), map_network(network, "kapoho_point", "stock")
    assert time.perf_counter() - started < 5
    assert native.fits and stock.cores > native.cores
    assert {layer.role for layer in stock.layers} == {"layer", "relay", "pulses"}


@pytest.mark.slow
def test_cores_of_what_does_not_fit_are_not_counted_as_the_networks():
    mapping = map_network(vgg16(fold=True), "hala_point")
    assert mapping.cores_of_others == sum(layer.cores for layer in mapping.layers if layer.fits) < mapping.cores
    assert map_network(mnist(), "hala_point").cores_of_others is None


@pytest.mark.slow
def test_multiply_accumulates_are_the_trained_networks_where_pooling_was_folded_in():
    apart, folded = map_network(vgg16(), "hala_point"), map_network(vgg16(fold=True), "hala_point")
    pooled = {layer.name for layer in apart.layers if layer.shape[1:] == () or layer.demand.macs > layer.size * 4}
    assert sum(layer.demand.macs for layer in folded.layers) == sum(apart[name].demand.macs for name in pooled)
