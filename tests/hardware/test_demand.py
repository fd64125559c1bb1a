"""Demand: bits of weights, stored words, and what stock neurons and compartments take."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_networks import weights
from hypothesis import given, strategies as st
from mapped_networks import LOIHI2, changed, dense, network_of

from rmp_lava.hardware import map_network
from rmp_lava.hardware.demand import weight_bits
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons


@given(
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.integers(0, 5),
)
def test_weight_bits_hold_the_weights_and_no_fewer_do(a, b, shift):
    array = np.array([a, b], dtype=np.int16) << shift
    bits = weight_bits(array, 99)
    if not array.any():
        assert bits == 99
        return
    step = int(np.gcd.reduce(array))
    step &= -step
    low, high = int(array.min()) // step, int(array.max()) // step

    def held(n: int) -> bool:
        if low < 0 < high:
            return -(2 ** (n - 1)) <= low and high < 2 ** (n - 1)
        return max(abs(low), abs(high)) < 2**n

    assert held(bits) and not held(bits - 1)


@pytest.mark.lava
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 9, 30, 127]))
def test_weight_bits_are_lava_dls_for_mixed_weights(seed, largest):
    from lava.lib.dl.netx.utils import optimize_weight_bits

    rng = np.random.default_rng(seed)
    array = (2 * rng.integers(-largest, largest + 1, 40)).astype(np.int16)
    if array.min() < 0 < array.max():
        assert weight_bits(array, 8) == optimize_weight_bits(array.copy())[1]


def test_real_weights_take_all_bits():
    assert weight_bits(np.array([0.5, -0.25], dtype=np.float32), 8) == 8


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
