"""Placement: layers as the compiler printed them, and limits of a core that are kept."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest
from compiled_networks import pilotnet, weights
from hypothesis import given, strategies as st
from mapped_networks import LOIHI2, OLDER, changed, dense, network_of

from rmp_lava.hardware import load_profile, map_network
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons
from rmp_lava.report.hardware import describe_mapping

RESOURCES = ("neurons", "synapse_words", "axons_in", "axons_out", "groups", "input_entries", "all_entries")
# lava-dl, netx/pilotnet_snn/benchmark.ipynb: AxonIn, Neurons, Synapses, AxonMap as printed (whole part of the mean), Cores.
PILOTNET = {
    "input": (1, 3168, 0, 1015, 13),
    "conv1": (2, 3072, 81, 253, 25),
    "conv2": (2, 2160, 864, 113, 13),
    "conv3": (2, 2688, 1620, 112, 3),
    "conv4": (1, 2048, 2160, 29, 3),
    "conv5": (1, 2048, 2880, 1280, 2),
    "dense1": (2560, 8, 7253, 8, 12),
    "dense2": (100, 50, 1300, 50, 1),
    "dense3": (50, 10, 150, 10, 1),
    "dense4": (10, 1, 10, 1, 1),
}


def assert_as_printed(mapping, names) -> None:
    assert mapping.cores == 74 and mapping.fits and mapping.chips == 1
    for layer, name in zip(mapping.layers, names, strict=True):
        axons, neurons, words, axon_map, cores = PILOTNET[name]
        usage = layer.usage
        assert layer.cores == cores, name
        assert int(usage["axons_in"].mean) == axons, name
        assert int(usage["synapse_words"].mean) == words, name
        assert int(usage["axons_out"].mean) == axon_map, name
        # Of convolutions the compiler prints a full block, of dense layers the mean.
        assert (usage["neurons"].largest if len(layer.shape) == 3 else int(usage["neurons"].mean)) == neurons, name


def test_pilotnet_as_the_compiler_placed_it():
    assert_as_printed(map_network(pilotnet(), "oheo_gulch"), PILOTNET)


@pytest.mark.lava
def test_lava_dls_pilotnet_file_as_the_compiler_placed_it():
    import importlib.util

    import rmp_lava

    site = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
    network = rmp_lava.load(site / "tests/lava/lib/dl/netx/gts/pilotnet_lif/network.net")
    assert_as_printed(map_network(network, "oheo_gulch"), PILOTNET)


@pytest.mark.parametrize(
    ("compiler", "neurons", "blocks"),
    [
        # Blocks start at 4095 and are divided by the ratio to the limit: by 3 and 2, 4095 .. 50, 25; by 2, 4095 .. 31.
        ("older", 128, [25, 25, 25, 25, 25, 3]),
        ("older", 94, [31, 31, 31, 1]),
        ("newer", 128, [50, 50, 28]),
        ("newer", 47, [47]),
        ("newer", 94, [31, 31, 31, 1]),
        ("newer", 60, [60]),
    ],
)
def test_blocks_are_divided_from_the_neurons_of_a_core(compiler, neurons, blocks):
    mapping = map_network(network_of((784,), dense("a", INPUT, 784, neurons)), "oheo_gulch", compiler=compiler)
    usage = mapping["a"].usage["neurons"]
    assert (mapping["a"].cores, usage.largest) == (len(blocks), max(blocks))
    assert usage.mean == pytest.approx(sum(blocks) / len(blocks))


def test_words_of_one_core_as_the_mnist_table_prints_them():
    mapping = map_network(network_of((784,), dense("a", INPUT, 784, 50)), LOIHI2)
    assert mapping["a"].cores == 1
    assert mapping["a"].usage["synapse_words"].largest / 16000 == 0.784


def test_the_entries_of_a_core_have_a_limit_together():
    """12,000 inputs and words are within their own limits, but not together with the rest."""
    network = network_of((12000,), dense("a", INPUT, 12000, 10))
    for compiler in ("older", "newer"):
        mapping = map_network(network, "oheo_gulch", compiler=compiler)
        assert not mapping["a"].fits and mapping["a"].obstacles["all_entries"] == 2 * 12000 + 1 + 1 + 1
    mapping = map_network(network, "oheo_gulch")
    assert "needs 24,003 entries of all kinds together even for a single neuron" in describe_mapping(mapping)[1]
    mapping = map_network(network_of((7990,), dense("a", INPUT, 7990, 10)), "oheo_gulch")
    assert mapping["a"].fits


def test_an_image_is_not_divided_because_its_words_are_too_many():
    """512 -> 512 channels of 2 x 2: 299,520 words, a ratio of 18.7; 16 divides channels to 32, another 2 to 16."""
    conv = Conv(INPUT, weights((512, 512, 3, 3), -256, 254), padding=(1, 1))
    layer = Layer("a", (512, 2, 2), (conv,), Neurons(500))
    found = map_network(network_of((512, 2, 2), layer), LOIHI2)["a"]
    assert (found.block, found.cores, found.passes) == ((16, 2, 2), 32, 3)
    assert found.usage["synapse_words"].largest == 512 * 9 * 3


@st.composite
def chains(draw):
    """Networks of a few convolutions and dense layers, with profiles so small that they have to be split."""
    shape = (draw(st.integers(1, 5)), draw(st.integers(3, 12)), draw(st.integers(3, 20)))
    layers, source, at = [], INPUT, shape
    for i in range(draw(st.integers(0, 3))):
        channels, kernel, stride = draw(st.integers(1, 20)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
        groups = draw(st.sampled_from([1, at[0]]))
        weight = np.full((channels * groups, at[0] // groups, kernel, kernel), 3)
        conv = Conv(source, weight, (stride, stride), (1, 1), groups=groups)
        at = conv.output_shape(at)
        layers.append(Layer(f"c{i}", at, (conv,), Neurons(10)))
        source = f"c{i}"
    outputs = draw(st.integers(1, 50))
    layers.append(Layer("d", (outputs,), (Dense(source, np.full((outputs, prod(at)), 3)),), Neurons(10)))
    profile = changed(
        draw(st.sampled_from([LOIHI2, OLDER, load_profile("loihi1")])),
        neurons=draw(st.integers(16, 500)),
        synapse_words=draw(st.integers(50, 3000)),
        axons_out=draw(st.integers(20, 500)),
        input_entries=draw(st.integers(50, 3000)),
        all_entries=draw(st.integers(100, 4000)),
    )
    return network_of(shape, *layers), profile


@given(chains(), st.sampled_from(["native", "stock"]))
def test_every_neuron_is_placed_once_and_every_limit_is_kept(drawn, implementation):
    network, profile = drawn
    mapping = map_network(network, profile, implementation)
    assert [layer.name for layer in mapping.layers if layer.role != "pulses"] == [layer.name for layer in network]
    for layer in mapping.layers:
        assert layer.usage["neurons"].mean * layer.cores == pytest.approx(layer.size)
        assert layer.usage["neurons"].largest <= prod(layer.block)
        for name in RESOURCES:
            use = layer.usage[name]
            assert 0 <= use.mean <= use.largest
            assert layer.fits == all(u.limit is None or u.largest <= u.limit for u in layer.usage.values())
    assert mapping.fits == (all(layer.fits for layer in mapping.layers) and mapping.cores <= mapping.cores_available)


@pytest.mark.parametrize(
    "name, number, layers",
    [
        ("neurons", 1000, {"input", "conv1", "conv2", "conv3", "conv4", "conv5"}),
        ("synapse_words", 2600, {"dense1"}),
        ("axons_out", 100, {"input", "conv1", "conv2", "conv3", "conv5"}),
        ("all_entries", 5200, {"conv5", "dense1"}),
        ("index_bits_dense", 30, {"dense1"}),
    ],
)
def test_a_changed_limit_changes_the_layers_that_it_binds(name, number, layers):
    before, after = (map_network(pilotnet(), profile) for profile in (OLDER, changed(OLDER, **{name: number})))
    more = {b.name for b, a in zip(before.layers, after.layers, strict=True) if a.cores > b.cores}
    assert more == layers and after.cores > before.cores
