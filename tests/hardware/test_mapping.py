"""Mapping: its chips and the messages between them, both compilers, savings, and refused arguments."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_networks import mnist, pilotnet
from hypothesis import given, strategies as st
from mapped_networks import LOIHI2, OLDER, changed, dense, network_of

from rmp_lava.errors import ProfileError, UsageError
from rmp_lava.hardware import load_profile, map_network, savings
from rmp_lava.network import INPUT, Dense, Layer, Neurons
from rmp_lava.report.hardware import describe_mapping


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


def test_a_board_with_an_unknown_number_of_chips_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ndescription = "a board"\nchip = "loihi2"\n'
        '[board.chips]\nunit = "chip"\nkind = "unknown"\nsource = "none"\n'
    )
    with pytest.raises(ProfileError, match='mine: board.chips is unknown.*chip = "loihi2"') as caught:
        map_network(mnist(), str(path))
    assert "\n" not in str(caught.value)


def test_invalid_arguments():
    with pytest.raises(UsageError, match="implementation is 'half'; choose one of native, stock"):
        map_network(mnist(), "oheo_gulch", "half")
    with pytest.raises(ProfileError, match="oheo_gulch"):
        map_network(mnist(), "oheo_gluch")
