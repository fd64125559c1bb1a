"""Mapping: the compiler's printed tables, limits that are kept, and answers that change with the profile."""

from __future__ import annotations

import dataclasses
import time
from math import prod
from pathlib import Path

import numpy as np
import pytest
from compiled_networks import mnist, pilotnet, weights
from hypothesis import given, strategies as st

from rmp_lava.backends.loihi2 import lowering_report
from rmp_lava.encoding import make_input
from rmp_lava.errors import ProfileError, UsageError
from rmp_lava.hardware import Profile, load_profile, map_network, savings
from rmp_lava.hardware.demand import weight_bits
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.report.hardware import describe_mapping

LOIHI2 = load_profile("loihi2")
OLDER = LOIHI2.with_compiler("older")
RESOURCES = ("neurons", "synapse_words", "axons_in", "axons_out", "groups", "input_entries", "all_entries")


def changed(profile: Profile, **values) -> Profile:
    """A profile with other numbers in its section `cores`."""
    cores = {
        key: dataclasses.replace(quantity, value=values.get(key, quantity.value))
        for key, quantity in profile.sections["cores"].items()
    }
    return dataclasses.replace(profile, sections={**profile.sections, "cores": cores})


def network_of(shape, *layers: Layer, readout="count") -> SpikingNetwork:
    return SpikingNetwork("n", make_input("poisson", shape), layers, "integer", readout)


def dense(name, source, inputs, outputs, **neurons) -> Layer:
    return Layer(name, (outputs,), (Dense(source, weights((outputs, inputs), -256, 254)),), Neurons(500, **neurons))


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


def test_both_compilers_are_compared():
    mapping = map_network(pilotnet(), "oheo_gulch")
    assert mapping.profile.compiler == "older" and mapping.cores == 74
    assert {name: sum(layer.cores for layer in layers) for name, layers in mapping.others.items()} == {"newer": 77}
    assert mapping.differing == ("input", "conv1", "conv2", "dense1")
    newer = map_network(pilotnet(), "oheo_gulch", compiler="newer")
    assert newer.cores == 77 and [x.cores for x in newer.layers] == [x.cores for x in mapping.others["newer"]]
    assert sum(x.cores for x in newer.others["older"]) == 74 and newer.differing == mapping.differing
    assert map_network(pilotnet(), "loihi1").others == {}
    with pytest.raises(ProfileError, match="loihi1 has no compiler 'newer'; choose one of nxtf"):
        map_network(pilotnet(), "loihi1", compiler="newer")
    with pytest.raises(UsageError, match="compiler is 'new'; choose one of nxtf, older, newer"):
        map_network(pilotnet(), "loihi2", compiler="new")


def test_only_non_zero_weights_are_stored_where_asked():
    weight = weights((256, 1024), -256, 254)
    weight[np.random.default_rng(0).random(weight.shape) < 0.9] = 0
    layer = Layer("a", (256,), (Dense(INPUT, weight),), Neurons(500))
    every, found = (map_network(network_of((1024,), layer), LOIHI2, sparse=sparse)["a"] for sparse in (False, True))
    # By hand, list by list: 20 bits for each stored weight, 12 for a list that has any.
    words = 0
    for start in range(0, 256, found.block[0]):
        counts = np.count_nonzero(weight[start : start + found.block[0]], axis=0)
        words = max(words, sum(-(-(int(n) * 20 + 12) // 64) for n in counts if n))
    assert found.usage["synapse_words"].largest == words and found.cores < every.cores
    assert found.usage["axons_in"].largest == 1024


def test_savings_are_those_of_the_changed_network():
    layers = (dense("a", INPUT, 1000, 500), dense("b", "a", 500, 100))
    network = network_of((1000,), *layers)
    mapping = map_network(network, LOIHI2)
    found = {each.change: each.cores for each in savings(network, mapping)}
    assert found["non-zero weights only (0% are zero)"] == mapping.cores
    four = [x.replace(synapses=(Dense(x.synapses[0].source, x.synapses[0].weight // 32 * 32),)) for x in layers]
    assert found["weights of 4 bits"] == map_network(network.replace(layers=tuple(four)), LOIHI2).cores != mapping.cores
    pruned = []
    for x in layers:
        weight = x.synapses[0].weight
        small = np.abs(weight) <= np.quantile(np.abs(weight), 0.9)
        pruned.append(x.replace(synapses=(Dense(x.synapses[0].source, np.where(small, 0, weight)),)))
    key = "90% of dense weights pruned, non-zero weights only"
    assert found[key] == map_network(network.replace(layers=tuple(pruned)), LOIHI2, sparse=True).cores < mapping.cores
    pruned = network.replace(layers=tuple(pruned))
    changes = [each.change for each in savings(pruned, map_network(pruned, LOIHI2, sparse=True))]
    assert not any(change.startswith("non-zero") for change in changes)
    assert savings(pruned, map_network(pruned, LOIHI2))[0].change == "non-zero weights only (90% are zero)"
    images = [each.cores for each in savings(pilotnet(), map_network(pilotnet(), OLDER))]
    assert len(images) == 5 and min(images) < 74


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_stored_words_are_those_of_each_core(neurons, inputs, share, seed):
    weight = (np.random.default_rng(seed).random((neurons, inputs)) < share) * 2
    profile = changed(LOIHI2, synapse_words=40, index_bits_dense=20, neurons=64)
    layer = Layer("a", (neurons,), (Dense(INPUT, weight),), Neurons(500))
    found = map_network(network_of((inputs,), layer), profile, sparse=True)["a"]
    bits = weight_bits(weight, 8) + 20
    of_cores = [
        sum(
            -(-(int(n) * bits + 12) // 64)
            for n in np.count_nonzero(weight[start : start + found.block[0]], axis=0)
            if n
        )
        for start in range(0, neurons, found.block[0])
    ]
    usage = found.usage["synapse_words"]
    assert (found.cores, usage.largest) == (len(of_cores), max(of_cores))
    assert usage.mean == pytest.approx(sum(of_cores) / len(of_cores))
    assert found.fits == (max(of_cores) <= 40)


def test_chips_are_filled_in_the_order_of_the_layers():
    board = changed(load_profile("kapoho_point"), usable_per_chip=10)
    mapping = map_network(pilotnet(), board, compiler="older")
    firsts = [layer.first for layer in mapping.layers]
    assert firsts == [sum(x.cores for x in mapping.layers[:i]) for i in range(len(firsts))] and mapping.chips == 8
    # The twelve cores of dense1 follow those of conv5, cores 57 and 58: 59, 60 .. 69 and 70.
    conv5, dense1 = mapping["conv5"], mapping["dense1"]
    assert (conv5.first, conv5.cores, dense1.first, dense1.cores) == (57, 2, 59, 12)
    assert conv5.crossing == conv5.receivers - 1 == 11
    assert mapping["dense4"].crossing == 0
    assert all(0 <= layer.crossing <= layer.receivers for layer in mapping.layers)
    alone = map_network(pilotnet(), "hala_point")
    assert alone.chips == 1 and all(layer.crossing == 0 for layer in alone.layers)


@given(chains_of_cores=st.lists(st.integers(1, 40), min_size=2, max_size=4), per_chip=st.integers(1, 7))
def test_messages_between_chips_are_those_to_cores_of_other_chips(chains_of_cores, per_chip):
    """Dense layers, one neuron per core: every pair of cores, one by one."""
    layers, source, inputs = [], INPUT, 3
    for i, neurons in enumerate(chains_of_cores):
        layers.append(Layer(f"d{i}", (neurons,), (Dense(source, np.full((neurons, inputs), 2)),), Neurons(9)))
        source, inputs = f"d{i}", neurons
    profile = changed(LOIHI2, neurons=1, usable_per_chip=per_chip)
    mapping = map_network(network_of((3,), *layers), profile)
    for layer, following in zip(mapping.layers, mapping.layers[1:], strict=False):
        pairs = [
            (layer.first + i) // per_chip != (following.first + j) // per_chip
            for i in range(layer.cores)
            for j in range(following.cores)
        ]
        assert layer.crossing == pytest.approx(sum(pairs) / layer.cores)


def test_input_through_ethernet_runs_chips_up_to_the_link():
    mapping = map_network(pilotnet(), "vpx")
    assert (mapping.chips, mapping.chips_on_ethernet) == (1, 13)
    assert any("13 chips run" in line for line in describe_mapping(mapping))
    assert map_network(pilotnet(), "kapoho_point").chips_on_ethernet is None


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


def test_dense_zeros_are_stored_and_kernels_stored_once():
    full = np.full((100, 400), 8)
    sparse = full.copy()
    sparse[:, 1:] = 0
    of = {
        name: map_network(network_of((400,), Layer("a", (100,), (Dense(INPUT, w),), Neurons(9))), LOIHI2)["a"]
        for name, w in (("full", full), ("sparse", sparse))
    }
    assert of["full"].usage == of["sparse"].usage
    conv = Conv(INPUT, np.full((4, 2, 3, 3), 8), (1, 1), (1, 1))
    words = [
        map_network(network_of((2, n, n), Layer("a", (4, n, n), (conv,), Neurons(9))), LOIHI2)["a"].usage[
            "synapse_words"
        ]
        for n in (5, 90)
    ]
    assert words[0] == words[1]


def test_a_shortcut_with_an_exponent_shares_no_weights_and_a_dense_synapse_costs_the_same():
    def mapped(*exponents: int):
        conv = Conv("a", np.full((4, 4, 3, 3), 8), (1, 1), (1, 1))
        shortcut = Conv("a", np.full((4, 1, 1, 1), 8), groups=4, exponent=exponents[0])
        a = Layer("a", (4, 6, 6), (Conv(INPUT, np.full((4, 2, 3, 3), 8), (1, 1), (1, 1)),), Neurons(9))
        b = Layer("b", (4, 6, 6), (conv, shortcut), Neurons(9))
        c = Layer("c", (5,), (Dense("b", np.full((5, 144), 8), exponent=exponents[1]),), Neurons(9))
        return map_network(network_of((2, 6, 6), a, b, c), LOIHI2)

    plain, dense_only, shifted = mapped(0, 0), mapped(0, 4), mapped(5, 4)
    assert plain.layers == dense_only.layers
    # One axon and one list of one weight for each neuron, in place of those that a convolution's neurons share.
    axons, words = (
        [each["b"].usage[name].largest for each in (plain, shifted)] for name in ("axons_in", "synapse_words")
    )
    assert axons[1] - axons[0] == 144 - 1 and words[1] > words[0]
    assert shifted["a"].usage["axons_out"].largest > plain["a"].usage["axons_out"].largest + 100
    assert shifted["c"].usage == plain["c"].usage


def test_synapses_and_relays_of_stock_neurons_take_resources():
    a, b = dense("a", INPUT, 20, 30), dense("b", "a", 30, 10)
    skip = Dense("a", weights((10, 30), -256, 254))
    c = Layer("c", (10,), (Dense("b", weights((10, 10), -256, 254)), skip), Neurons(500))
    network = network_of((20,), a, b, c)
    native, stock = map_network(network, LOIHI2), map_network(network, LOIHI2, "stock")
    assert [layer.name for layer in stock.layers] == ["a", "a +1", "b", "c", "(clock)"]
    # Two pulses for the layers at each depth, each neuron to those of one depth only.
    assert stock["(clock)"].size == 6 and stock["(clock)"].usage["axons_out"].largest == 6
    # One synapse for each neuron to itself, and two lines for the pulse.
    assert stock["a"].usage["axons_in"].largest == native["a"].usage["axons_in"].largest + 30 + 2
    assert stock["a"].usage["axons_out"].largest == native["a"].usage["axons_out"].largest + 30
    relay = stock["a +1"]
    assert (relay.role, relay.size, relay.demand.origin, relay.usage["axons_in"].largest) == ("relay", 30, "a", 30)
    # A threshold that no single weight can represent takes two synapses.
    odd = network.replace(layers=(a.replace(neurons=Neurons(257)), b, c))
    assert map_network(odd, LOIHI2, "stock")["a"].usage["axons_in"].largest == 20 + 60 + 2
    with_bias = a.replace(neurons=Neurons(500, v_init=3, bias=np.array([1] * 30)))
    found = map_network(network.replace(layers=(with_bias, b, c)), LOIHI2, "stock")["a"]
    assert found.usage["axons_in"].largest == 20 + 30 + 2 + 1 + 1
    start = network.replace(layers=(a.replace(neurons=Neurons(500, "hard", v_init=3)), b, c))
    assert map_network(start, LOIHI2, "stock")["a"].usage["axons_in"].largest == 20 + 1


def test_chips_without_graded_messages_take_no_pixels_as_currents():
    network = network_of((8,), dense("a", INPUT, 8, 4)).replace(input=make_input("current", (8,), 127))
    assert map_network(network, "loihi2").fits
    found = map_network(network, "loihi1")
    assert (
        not found.fits
        and found.cores == 1
        and found.summary()["obstacles"] == [each.sentence() for each in found.obstacles]
    )
    sentence = (
        "input: sends messages up to 127; loihi1 supports messages up to 1; convert with --encoding rate or poisson"
    )
    assert describe_mapping(found)[0] == f"Does not fit: {sentence}."
    crowded = map_network(network, changed(load_profile("loihi1"), axons_in=4))
    assert not crowded.enough_cores and [each.sentence() for each in crowded.obstacles] == [sentence]
    assert map_network(network.replace(input=make_input("rate", (8,))), "loihi1").fits


def test_soft_reset_takes_two_neurons_on_loihi1():
    network = network_of((10,), dense("a", INPUT, 10, 600), dense("b", "a", 600, 5, reset="hard"))
    assert map_network(network, "loihi1")["a"].cores == 2
    hard = network.replace(layers=(dense("a", INPUT, 10, 600, reset="hard"), network.layers[1]))
    assert map_network(hard, "loihi1")["a"].cores == 1
    # Stock neurons have one compartment, and a self-synapse instead.
    network, hard = (
        network_of((10,), dense("a", INPUT, 10, 4000, reset=reset), dense("b", "a", 4000, 5, reset="hard"))
        for reset in ("soft", "hard")
    )
    (finding,) = map_network(network, "nahuku8").findings
    native, stock = map_network(network, "nahuku8").cores, map_network(network, "nahuku8", "stock").cores
    assert f"2 compartments, {native} cores in all; stock neurons take {stock}" in finding.found and stock < native
    assert map_network(hard, "nahuku8").findings == map_network(network, "nahuku8", "stock").findings == ()


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


def test_a_layer_that_does_not_fit_however_it_is_split():
    network = network_of((20000,), dense("a", INPUT, 20000, 4))
    mapping = map_network(network, "oheo_gulch")
    assert not mapping.fits and not mapping["a"].fits
    assert "'a' needs 20,000 synapse words even for a single neuron, and a core has 12,000" in mapping.remedies[0]
    mapping = map_network(network, changed(LOIHI2, synapse_words=10**6))
    assert not mapping.fits and mapping["a"].binding == "input_entries"
    assert "'a' needs 20,000 input axons" in mapping.remedies[0] and "16,000" in mapping.remedies[0]


def test_warnings_of_traps():
    wide = Conv(INPUT, np.full((1, 1, 3, 3), 8), (1, 1), (1, 1))
    network = network_of((1, 30, 256), Layer("a", (1, 30, 256), (wide,), Neurons(9)))
    width, large = map_network(network, LOIHI2).findings
    assert width.where == large.where == "a" and width.severity == large.severity == "caution"
    assert "images are 256 columns wide" in width.found and "column 255" in width.found
    assert "the input has 7,680 values" in large.found and "6,728" in large.found
    assert [each.kind for each in map_network(network, "loihi1").findings] == ["compartments"]
    cautions = {each.kind: each.found for each in lowering_report(network, 4).of("caution")}
    assert (cautions["width"], cautions["input"]) == (width.found, large.found)
    # At 255 columns the last one is next to the column that loses spikes.
    for columns, number in ((255, 1), (254, 0)):
        narrow = network_of((1, 26, columns), Layer("a", (1, 26, columns), (wide,), Neurons(9)))
        assert len(map_network(narrow, LOIHI2).findings) == number
    steps = network.replace(balanced_steps=48)
    mapping = map_network(steps, LOIHI2)
    # The backend lengthens the period itself, so this is no warning.
    period = mapping.findings[-1]
    assert period.severity == "information" and period.sentence() == (
        "network: T = 48 takes a period of 64 steps; the periodic reset needs a power of 2; T = 64 would take no longer"
    )
    steps = steps.replace(balanced_steps=64)
    assert not any(each.kind == "period" for each in map_network(steps, LOIHI2).findings)
    stock = "T = 64 with a blank step takes a period of 128 steps"
    period = map_network(steps, LOIHI2, "stock").findings[-1]
    assert period.found.startswith(stock) and period.remedy == ""
    steps = steps.replace(balanced_steps=63)
    assert not any(each.kind == "period" for each in map_network(steps, LOIHI2, "stock").findings)


def test_each_trap_is_where_the_profile_has_it():
    wide = Conv(INPUT, np.full((1, 1, 3, 3), 8), (1, 1), (1, 1))
    network = network_of((1, 4, 40), Layer("a", (1, 4, 40), (wide,), Neurons(9))).replace(balanced_steps=32)
    assert map_network(network, LOIHI2).findings == ()
    traps = {"conv_width_multiple": 32, "conv_input_neurons": 100}
    section = {key: dataclasses.replace(q, value=traps[key]) for key, q in LOIHI2.sections["traps"].items()}
    cores = changed(LOIHI2, reset_interval_base=3).sections["cores"]
    profile = dataclasses.replace(LOIHI2, sections={**LOIHI2.sections, "traps": section, "cores": cores})
    width, large, period = (each.sentence() for each in map_network(network, profile).findings)
    assert "column 31" in width and "from 100 on" in large and "a power of 3; T = 81 would" in period


def test_a_board_with_an_unknown_number_of_chips_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ndescription = "a board"\nchip = "loihi2"\n'
        '[board.chips]\nunit = "chip"\nkind = "unknown"\nsource = "none"\n'
    )
    with pytest.raises(ProfileError, match='mine: board.chips is unknown.*chip = "loihi2"') as caught:
        map_network(mnist(), str(path))
    assert "\n" not in str(caught.value)


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


def test_a_pooling_that_was_folded_into_a_dense_layer_multiplies_nothing():
    block = np.array([[[2, 4], [6, -8]], [[10, 2], [-4, 6]], [[6, 6], [8, 2]]])
    conv = Layer("a", (1, 4, 6), (Conv(INPUT, np.full((1, 1, 1, 1), 8)),), Neurons(9))
    for weight, pool, macs in (
        (np.ones((1, 2, 3), int).repeat(2, 1).repeat(2, 2) * 2, (2, 2), 6 * 1),
        (block[:, :1, :1].repeat(4, 1).repeat(6, 2), (4, 6), 3 * 1),
        (np.arange(48).reshape(2, 4, 6), None, 2 * 24),
    ):
        outputs = len(weight)
        read = Layer("b", (outputs,), (Dense("a", weight.reshape(outputs, 24), pool=pool),), Neurons(9))
        assert map_network(network_of((1, 4, 6), conv, read), LOIHI2)["b"].demand.macs == macs


def test_a_delay_beyond_what_synapses_have():
    layers = [dense("l0", INPUT, 4, 4)]
    layers += [dense(f"l{i}", f"l{i - 1}", 4, 4) for i in range(1, 10)]
    last = layers[-1]
    layers[-1] = last.replace(synapses=(*last.synapses, Dense("l0", weights((4, 4), -256, 254))))
    network = network_of((4,), *layers)
    assert map_network(network, "loihi2").findings == ()
    assert "a delay of 8 steps; synapses support up to 7" in map_network(network, "loihi1").findings[0].found


def test_invalid_arguments():
    with pytest.raises(UsageError, match="implementation is 'half'; choose one of native, stock"):
        map_network(mnist(), "oheo_gulch", "half")
    with pytest.raises(ProfileError, match="oheo_gulch"):
        map_network(mnist(), "oheo_gluch")
