"""What keeps a network off a board, traps that it meets there, and remedies."""

from __future__ import annotations

import dataclasses

import numpy as np
from compiled_networks import weights
from mapped_networks import LOIHI2, changed, dense, network_of

from rmp_lava.backends.loihi2 import lowering_report
from rmp_lava.encoding import make_input
from rmp_lava.hardware import load_profile, map_network
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons
from rmp_lava.report.hardware import describe_mapping


def test_a_layer_that_does_not_fit_however_it_is_split():
    network = network_of((20000,), dense("a", INPUT, 20000, 4))
    mapping = map_network(network, "oheo_gulch")
    assert not mapping.fits and not mapping["a"].fits
    assert "'a' needs 20,000 synapse words even for a single neuron, and a core has 12,000" in mapping.remedies[0]
    mapping = map_network(network, changed(LOIHI2, synapse_words=10**6))
    assert not mapping.fits and mapping["a"].binding == "input_entries"
    assert "'a' needs 20,000 input axons" in mapping.remedies[0] and "16,000" in mapping.remedies[0]


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


def test_a_delay_beyond_what_synapses_have():
    layers = [dense("l0", INPUT, 4, 4)]
    layers += [dense(f"l{i}", f"l{i - 1}", 4, 4) for i in range(1, 10)]
    last = layers[-1]
    layers[-1] = last.replace(synapses=(*last.synapses, Dense("l0", weights((4, 4), -256, 254))))
    network = network_of((4,), *layers)
    assert map_network(network, "loihi2").findings == ()
    assert "a delay of 8 steps; synapses support up to 7" in map_network(network, "loihi1").findings[0].found
