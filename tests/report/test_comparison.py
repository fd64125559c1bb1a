"""Two networks on one page: the differences that it lists are those of their weights and spikes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

import rmp_lava
from rmp_lava import run
from rmp_lava.encoding import make_input
from rmp_lava.errors import UsageError
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.report.page.comparison import mcnemar
from rmp_lava.report.page.page import Page, write_page
from rmp_lava.report.page.parts import Section

IMAGES = np.random.default_rng(1).random((6, 3), dtype=np.float32)
LABELS = np.array([0, 1, 0, 1, 0, 1])
STEPS = 5


@pytest.fixture(scope="module")
def first() -> SpikingNetwork:
    weights = np.random.default_rng(0).integers(-50, 90, (2, 4, 4)).astype(np.int16)
    layers = (
        Layer("a", (4,), (Dense(INPUT, weights[0][:, :3]),), Neurons(2000)),
        Layer("b", (2,), (Dense("a", weights[1][:2]),), Neurons(90, reset="none")),
    )
    return SpikingNetwork("n", make_input("current", (3,), levels=15), layers, "integer", balanced_steps=STEPS)


@pytest.fixture(scope="module")
def second(first) -> SpikingNetwork:
    """Two weights of the first layer, and its threshold, are others."""
    layer = first["a"]
    weight = layer.synapses[0].weight.copy()
    weight[0, :2] += 60
    changed = layer.replace(synapses=(layer.synapses[0].replace(weight=weight),), neurons=Neurons(1900))
    return first.replace(name="m", layers=(changed, first["b"]))


def compared(own: SpikingNetwork, *others: SpikingNetwork, labels=None) -> dict[str, Section]:
    page = rmp_lava.make_page(own, IMAGES, labels, steps=STEPS, compare=others)
    assert "<h2" in page.html
    return {section.key: section for section in page.sections}


@pytest.mark.slow
def test_differences_are_those_of_the_weights_and_spikes(first, second):
    found = compared(first, second, labels=LABELS)
    predictions, layers, spikes = (sheet.table.rows for sheet in found["differences-1"].sheets)
    assert layers[0][3:] == ("2,000", "1,900", "2", "60.0") and layers[1][-2:] == ("0", "0")
    runs = [run(network, IMAGES, STEPS, record={"spikes"}) for network in (first, second)]
    differ = runs[0].spikes["a"] != runs[1].spikes["a"]
    assert differ.any()
    every = sum(int(each.spikes["a"].sum()) for each in runs)
    step = str(np.flatnonzero(differ.any(axis=(0, 2)))[0] + 1)
    assert spikes[0][-3:] == (str(differ.sum()), f"{100 * differ.sum() / every:.1f} %", step)
    right = [each.predictions == LABELS for each in runs]
    assert [int(row[1]) for row in predictions] == [
        (r & s).sum() for r in (right[0], ~right[0]) for s in (right[1], ~right[1])
    ]
    (picture,) = found["side"].pictures
    assert [row[2] for row in picture.data.rows] == [share for each in runs for share in each.accuracy_at(LABELS)]


@pytest.mark.slow
def test_a_network_does_not_differ_from_itself(first):
    found = compared(first, first.replace(balanced_steps=None), first.replace(wait=STEPS))
    same, *_ = (found[f"differences-{number}"] for number in (1, 2))
    assert same.title == "n (2) against n" and same.text == (
        "Of 6 samples, 0 are predicted differently.",
        "Shapes, thresholds and weights of all layers are the same.",
        "All of these spikes are the same.",
    )
    (sheet,) = found["side"].sheets  # without labels there is no accuracy
    assert sheet.table.columns == ("", "n", "n (2)", "ratio", "n (3)", "ratio")
    rows = {row[0]: row[1:] for row in sheet.table.rows}
    assert rows["reached"] == ("–",) * 5 and rows["wait"] == ("0", "0", "–", "5", "–")
    assert rows["latency, steps"] == ("7", "7", "× 1.00", "12", "× 1.71")  # the read-out does not wait


def test_networks_of_other_images_are_not_compared(first):
    other = first.replace(
        input=make_input("current", (4,), levels=15),
        layers=(first["a"].replace(synapses=(Dense(INPUT, np.ones((4, 4), np.int16)),)), first["b"]),
    )
    with pytest.raises(UsageError, match=r"shape \(3,\) and \(4,\); only networks for the same images"):
        compared(first, other)


def test_a_page_takes_names_that_are_no_unicode(tmp_path):
    write_page(Page("n\udcff", "a title", "", (), (), ()), tmp_path / "a.html")
    assert "n?" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_chance_is_mcnemars():
    # Of 10 samples on which one alone is right, 1 and 9: 2 (1 + 10) / 2^10.
    assert "p = 0.021" in mcnemar(1, 9) and "more than chance" in mcnemar(1, 9)
    assert "p = 1)" in mcnemar(3, 3) and "same samples" in mcnemar(0, 0)
