"""Tables of a file's provenance, whatever an untrusted file contains."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from rmp_lava.conversion.stages import Stage
from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.report.provenance import flattened, kept_layer_fidelity, kept_stages, provenance_tables
from rmp_lava.report.tables import console, network_table, stage_table
from rmp_lava.scores import Score

GATE = {
    "layer": "conv1",
    "correlation": 0.98,
    "image_correlation": 0.97,
    "error": 0.1,
    "silent": 0.0,
    "saturated": None,
}
STAGE = {"name": "trained ANN", "images": 1000, "accuracy": 0.894, "note": ""}
POINT = {
    "steps": 4,
    "wait": 2,
    "score": {"kind": "agreement", "accuracy": 0.9125},
    "spikes": 1234.0,
    "synaptic_operations": 5e6,
    "latency": 31,
    "period": 6,
}
TUNING = {"steps": 4, "history": [[1, 0.5, 0.8, 0.7], [2, 0.25, 0.9, None]]}


def shown(provenance) -> str:
    out = console()
    with out.capture() as text:
        for made in provenance_tables(provenance, 4):
            out.print(made)
    return text.get()


def test_each_part_has_its_table():
    text = shown(
        {
            "stages": [STAGE],
            "frontier": [POINT],
            "gates": [GATE],
            "tune": [TUNING],
            "balance": {"steps": 4, "tried": [{"channelwise": True}, {"channelwise": False}]},
            "method": "tune",
        }
    )
    for part in (
        "Accuracy on validation images, T = 4",
        "89.40 %",
        "91.25 %",
        "5,000,000",
        "conv1",
        "0.9800",
        "0.2500",
        "90.00 %",
    ):
        assert part in text
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    for row in (["tune.1.steps", "4"], ["balance.tried.2.channelwise", "false"], ["method", "tune"]):
        assert row in rows
    assert "history" not in text and "trained ANN" not in dict(row for row in rows if len(row) == 2).values()


@pytest.mark.parametrize(
    "provenance",
    [
        {"gates": [GATE | {"correlation": "x"}]},
        {
            "frontier": [
                POINT | {"latency": "x"},
                POINT | {"score": {"accuracy": 1}, "period": None},
                POINT | {"score": 3},
            ]
        },
        {"gates": [GATE | {"more": 1.0}]},
        {"gates": [{"layer": "a"}]},
        {"gates": {"layer": "a"}},
        {"stages": [STAGE | {"images": "many"}]},
        {"stages": [STAGE | {"accuracy": float("nan")}]},
        {"stages": [STAGE | {"accuracy": 10**400}]},
        {"stages": [STAGE | {"kind": "beauty"}]},
        {"stages": [STAGE | {"kind": ["classification"]}]},
        {"stages": [STAGE | {"correlation": None}]},
        {"stages": [{"name": "trained ANN", "images": 1000, "kind": "regression"}]},
    ],
)
def test_what_is_not_as_expected_is_left_out(provenance):
    assert not kept_layer_fidelity(provenance) and not kept_stages(provenance)
    assert shown(provenance) == ""


@pytest.mark.parametrize("error", ["abc", 10**400, None, [1], True])
def test_a_rounding_error_that_is_not_a_number_is_a_dash(error):
    layer = Layer("a", (1,), (Dense(INPUT, np.ones((1, 2), np.float32)),), Neurons(1.0), {"weight_error": error})
    (row,) = network_table(SpikingNetwork("n", make_input("poisson", (2,)), (layer,))).rows
    assert row[-1] == "–"


def test_an_unknown_form_of_history_is_shown_unchanged():
    assert '[["a"]]' in shown({"tune": [{"history": [["a"]]}]})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(["stages", "gates", "tune", "balance", "other"])


@given(st.dictionaries(keys, anything, max_size=5))
def test_no_provenance_stops_the_tables(provenance):
    provenance = json.loads(json.dumps(provenance))
    shown(provenance)
    assert all(isinstance(part, str) for row in flattened(provenance) for part in row)


def test_stages_of_every_kind_are_read_and_those_of_earlier_versions():
    later = {"name": "integer SNN", "images": 5, "note": "x"}
    of_pixels = Score("segmentation", 0.9, 0.75)
    real = Score("regression", error=0.03, correlation=0.999)
    stages = [STAGE, later | of_pixels.summary(), later | real.summary()]
    assert kept_stages({"stages": stages}) == (
        Stage("trained ANN", 1000, Score("classification", 0.894)),
        Stage("integer SNN", 5, of_pixels, "x"),
        Stage("integer SNN", 5, real, "x"),
    )
    assert Stage("integer SNN", 5, real, "x").summary() == stages[2]
    text = shown({"stages": stages[1:]})
    assert "Segmentation on validation images, T = 4" in text
    assert "pixels 90.00 %, mean IoU 75.00 %" in text and "error 3.0 %, correlation 0.9990" in text


def test_what_a_stage_costs_is_shown_where_the_file_has_it():
    cost = {"messages": 12.5, "synaptic_operations": 4321.0, "latency": 21}
    stages = kept_stages({"stages": [STAGE, STAGE | {"name": "integer SNN"} | cost]})
    assert [stage.cost and stage.cost._asdict() for stage in stages] == [None, cost]
    made = stage_table(stages, 4)
    assert [row[4:] for row in made.rows] == [("-", "-", "-"), ("12.5", "4,321", "21")]
    assert len(stage_table(stages[:1], 4).columns) == 4
    assert stages[1].summary() == STAGE | {"name": "integer SNN", "kind": "classification"} | cost
