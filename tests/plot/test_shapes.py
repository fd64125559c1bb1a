"""Diagrams and core maps of any network stay apart and within their figure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from profiles import examples
from residual import small

from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork

pytest.importorskip("matplotlib")

from rmp_lava import plot
from rmp_lava.hardware import load_profile, map_network
from rmp_lava.plot import core_map, diagram, style


def test_a_layer_has_one_colour_in_all_pictures():
    colours = style.palette([f"l{i}" for i in range(40)])
    assert len(set(colours.layers.values())) == 40
    assert not set(colours.layers.values()) & {style.INK, style.MUTED, style.RULE, style.PAPER, *style.TERMS}
    assert colours.marks(["l3", "relay of l3"]) == ("layer3", "ink")


@given(st.lists(st.sets(st.integers(0, 11), min_size=1, max_size=4), min_size=1, max_size=12))
@settings(max_examples=examples(60))
def test_arcs_of_any_graph_do_not_overlap(sources):
    names = [INPUT, *(f"n{i}" for i in range(1, len(sources) + 1))]
    layers = tuple(
        Layer(
            names[i],
            (2,),
            tuple(Dense(names[s], np.ones((2, 2), np.int16)) for s in {min(s, i - 1) for s in given}),
            Neurons(5),
        )
        for i, given in enumerate(sources, 1)
    )
    network = SpikingNetwork("n", make_input("poisson", (2,)), layers, "integer")
    found = diagram.lanes(network)
    rows = {name: i for i, name in enumerate(names)}
    assert set(found) == {
        (rows[s.source], rows[layer.name])
        for layer in layers
        for s in layer.synapses
        if rows[layer.name] - rows[s.source] > 1
    }
    for one, lane in found.items():
        for other, its_lane in found.items():
            assert one == other or lane != its_lane or one[1] <= other[0] or other[1] <= one[0]


def test_the_core_map_has_a_square_for_each_core():
    mapping = map_network(small(), "oheo_gulch")
    found = core_map.squares(mapping)
    assert len(found.layers) == mapping.cores and found.each == 1
    assert found.per_chip == load_profile("oheo_gulch")["cores.usable_per_chip"]
    assert [found.layers.count(i) for i in range(len(mapping.layers))] == [layer.cores for layer in mapping.layers]
    many = replace(mapping, layers=tuple(replace(layer, cores=5001) for layer in mapping.layers))
    found = core_map.squares(many)
    assert found.each > 1 and len(found.layers) <= core_map._MOST_SQUARES + len(many.layers)
    assert all(0 <= core_map.load(layer) <= 1 for layer in mapping.layers)


@pytest.mark.slow
@pytest.mark.parametrize("chips", [1, 2, 7, 30])
@pytest.mark.parametrize("wide", [True, False])
def test_core_maps_of_any_size_stay_within_their_figure(chips, wide):
    mapping = map_network(small(), "oheo_gulch")
    usable = mapping.profile["cores.usable_per_chip"]
    each = max(1, chips * usable // len(mapping.layers))
    many = replace(mapping, layers=tuple(replace(layer, cores=each) for layer in mapping.layers))
    figure = plot.cores(many, width=style.WIDE if wide else style.NARROW)
    (axes,) = figure.axes
    width, height = figure.get_size_inches()
    for patch in axes.patches:
        (left, top), (right, bottom) = patch.get_path().get_extents().get_points()
        assert -1e-6 <= left and right <= width + 1e-6 and -1e-6 <= top and bottom <= height + 1e-6
