"""Plots draw what they are given, into a new figure or given axes, and leave the user's matplotlib alone."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import rmp_lava
from rmp_lava import run
from rmp_lava.encoding import make_input
from rmp_lava.errors import DataError, UsageError
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork

pytest.importorskip("matplotlib")

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from rmp_lava import plot
from rmp_lava.conversion.frontier import Frontier, Point
from rmp_lava.conversion.rates import Rates, compare_rates
from rmp_lava.plot import style
from rmp_lava.scores import Score

IMAGES = np.random.default_rng(1).random((6, 3), dtype=np.float32)
LABELS = np.array([0, 1, 0, 1, 0, 1])


@pytest.fixture(scope="module")
def network() -> SpikingNetwork:
    weights = np.random.default_rng(0).integers(-50, 90, (2, 4, 4)).astype(np.int16)
    layers = (
        Layer("a", (4,), (Dense(INPUT, weights[0][:, :3]),), Neurons(300)),
        Layer("b", (2,), (Dense("a", weights[1][:2]),), Neurons(90, reset="none")),
    )
    return SpikingNetwork("n", make_input("current", (3,), levels=15), layers, "integer", balanced_steps=5)


@pytest.fixture(scope="module")
def result(network):
    return run(network, IMAGES, 5, record={"spikes"})


@pytest.fixture(scope="module")
def points() -> Frontier:
    reached = ((4, 0, 0.90, 100.0, 6), (4, 4, 0.95, 100.0, 14), (8, 0, 0.85, 200.0, 10))
    return Frontier(
        tuple(
            Point(t, wait, Score("classification", share), 50.0, cost, latency, t)
            for t, wait, share, cost, latency in reached
        ),
        (),
    )


@pytest.fixture(scope="module")
def draws(network, result, points):
    """A call of each plot."""
    mapping = rmp_lava.map_network(network, "oheo_gulch")
    estimate = rmp_lava.estimate(network, result, "oheo_gulch")
    return {
        "network": lambda **how: plot.network(network, **how),
        "accuracy": lambda **how: plot.accuracy(result, LABELS, trained=0.9, **how),
        "raster": lambda **how: plot.raster(network, result, **how),
        "activity": lambda **how: plot.activity(network, result, **how),
        "cores": lambda **how: plot.cores(mapping, **how),
        "energy": lambda **how: plot.energy(estimate, **how),
        "frontier": lambda **how: plot.frontier(points, "latency", **how),
    }


def settings() -> dict[str, object]:
    return {
        key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"
    }  # reading that imports pyplot


@pytest.mark.slow
def test_nothing_of_the_users_matplotlib_changes_and_pyplot_is_not_asked(draws, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would fail
    with matplotlib.rc_context({"font.size": 30, "xtick.labelsize": 30, "axes.facecolor": "red"}):
        before = settings()
        for name, draw in draws.items():
            figure = draw()
            figure.draw_without_rendering()
            assert max(text.get_fontsize() for text in figure.findobj(Text)) < 10, name
        assert settings() == before


@pytest.mark.slow
def test_given_axes_are_drawn_into(draws, result):
    figure = Figure(figsize=(12, 3 * len(draws)))
    for axes, draw in zip(figure.subplots(len(draws)), draws.values(), strict=True):
        empty = len(axes.get_children())
        assert draw(ax=axes) is figure and len(axes.get_children()) > empty
    figure.draw_without_rendering()
    assert plot.accuracy(result, LABELS)._repr_png_().startswith(b"\x89PNG")  # in a notebook


def test_a_curve_is_the_accuracy_of_the_run(result):
    (line, *_) = plot.accuracy(result, LABELS).axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 6))
    np.testing.assert_allclose(line.get_ydata(), 100 * result.accuracy_at(LABELS))
    figure = plot.accuracy({"first": result, "second": result}, LABELS)
    ends = [text.get_text() for text in figure.axes[0].texts]
    assert ends == [f"{name} {100 * result.accuracy(LABELS):.1f} %" for name in ("first", "second")]
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 2


def test_marks_of_a_raster_are_the_spikes_of_the_run(network, result):
    figure = plot.raster(network, result, samples=[4])
    (axes,) = figure.axes[0].child_axes  # the read-out and the input of constant messages do not spike
    (marks,) = [patch.get_path().vertices for patch in axes.patches if patch.get_gid() is None]
    found = sorted((int(x), int(y)) for x, y in marks[::2])
    step, neuron = np.nonzero(result.spikes["a"][4])
    assert found == sorted(zip((step + 1).tolist(), neuron.tolist(), strict=True)) and found


def test_what_a_point_of_the_frontier_shows_is_measured(points):
    notes = plot.frontier(points, "latency").notes
    assert notes["note1"] == "T = 4, wait = 4: 95.00 %; 14 steps"
    marks = [
        line
        for line in plot.frontier(points, "energy").axes[0].lines
        if line.get_marker() != "None" and len(line.get_xdata())
    ]
    assert [line.get_markerfacecolor() == "none" for line in marks] == [True, False, True]  # of equal cost, the better


def test_colours_can_be_told_apart_without_hue():
    def lightness(colour: str) -> float:
        red, green, blue = (((x + 0.055) / 1.055) ** 2.4 for x in matplotlib.colors.to_rgb(colour))
        return 116 * (0.2126 * red + 0.7152 * green + 0.0722 * blue) ** (1 / 3) - 16

    for terms in (style.TERMS, style._DARK_TERMS):
        assert min(np.diff(sorted(map(lightness, terms)))) > 5
    ramp = [lightness(colour) for colour in style.palette([f"l{i}" for i in range(10)]).layers.values()]
    assert min(np.diff(ramp)) > 2


def test_what_cannot_be_drawn_is_named(network, result, points):
    with pytest.raises(DataError, match='record={"spikes"}'):
        plot.raster(network, run(network, IMAGES, 5))
    with pytest.raises(DataError, match="choose some of 0 .. 5"):
        plot.raster(network, result, samples=[6])
    with pytest.raises(UsageError, match="no rates to draw: the trained network is gone"):
        plot.rates(Rates(missing="the trained network is gone"))
    with pytest.raises(UsageError, match="1 estimates for 3 points"):
        plot.frontier(points, estimates=[None])


def test_why_rates_are_not_compared(network):
    found = compare_rates(network, network, IMAGES, steps=5)
    assert found.missing == "the file does not record the activation scale of each layer; convert it with this version"
