"""Files of format version 1: what their JSON logs held is in typed fields once they are read, and stays there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rmp_lava
from rmp_lava.encoding import make_input
from rmp_lava.errors import NetworkError
from rmp_lava.network import INPUT, Companion, Conv, Dense, Layer, Neurons, SpikingNetwork, WeightError
from rmp_lava.netx.version1 import upgraded

REFERENCE = Path(__file__).resolve().parents[2] / "exports" / "reference"


@pytest.mark.parametrize(
    ("name", "steps", "dataset", "scaled"),
    [
        ("digits-deep", 16, None, True),
        ("digits-soft", 128, "digits", False),
    ],
)
def test_the_committed_files_have_their_fields(name, steps, dataset, scaled, tmp_path):
    network = rmp_lava.load(REFERENCE / f"{name}.net")
    assert (network.stage, network.balanced_steps, network.dataset) == ("integer", steps, dataset)
    assert (network.output_scale is not None) == scaled
    spiking = [layer for layer in network if layer.neurons.reset != "none"]
    assert all((layer.activation_scale is not None) == scaled for layer in spiking)
    assert all(layer.weight_error is not None for layer in network)
    rmp_lava.save(network, tmp_path / "again.net")
    assert rmp_lava.load(tmp_path / "again.net") == network


def old(provenance=None, record=None, stage="integer", **more) -> SpikingNetwork:
    weight = np.repeat(np.repeat([[[[3, -4]]]], 2, axis=-2), 2, axis=-1).astype(
        np.int16 if stage == "integer" else float
    )
    layers = (
        Layer("a", (1, 2, 1), (Conv(INPUT, weight, stride=(2, 2)),), Neurons(9), record or {}),
        Layer("b", (2,), (Dense("a", np.ones((2, 2), weight.dtype)),), Neurons(1, "none")),
    )
    return SpikingNetwork(
        "old", make_input("current", (1, 4, 4), 3), layers, stage, provenance=provenance or {}, **more
    )


def test_logs_become_fields():
    log = {"output_scale": 2, "balance": {"steps": 4}, "dataset": "digits", "validation_fraction": 0.2}
    files = {
        "ann": {"file": "old.ann.pt", "sha256": "1"},
        "onnx": {"file": "old.onnx", "sha256": "2"},
        "function": "m:f",
    }
    found = upgraded(old(log | files, {"spike_value": [0.5], "clip": 3.0, "weight_error": 0.1, "module": "x"}))
    assert (found.output_scale, found.balanced_steps, found.dataset, found.validation_fraction) == (
        2.0,
        4,
        "digits",
        0.2,
    )
    assert found.companions == (Companion("ann", "old.ann.pt", "1", "m:f"), Companion("onnx", "old.onnx", "2"))
    first = found["a"]
    assert first.activation_scale.tolist() == [0.5] and first.clip == 3.0 and first.weight_error == WeightError(0.1)
    assert dict(first.record) == {"module": "x"} and first.synapses[0].pool == (2, 2)


def test_a_tuned_analog_network_keeps_its_trained_scale():
    assert upgraded(old(record={"threshold": 0.7}, stage="analog"))["a"].activation_scale == 0.7


@pytest.mark.parametrize(
    ("provenance", "record"),
    [
        ({"output_scale": "two"}, {}),
        ({"output_scale": -1.0}, {}),
        ({}, {"spike_value": {"a": 1}}),
        ({}, {"spike_value": [0.5, 0.0]}),
        ({}, {"clip": [[1.0]]}),
        ({}, {"weight_error": "small"}),
    ],
)
def test_logs_that_anyone_may_have_written_are_checked(provenance, record):
    with pytest.raises(NetworkError):
        upgraded(old(provenance, record))


@pytest.mark.parametrize("steps", ["many", -1, True, 10**9, None])
def test_impossible_steps_are_left_out(steps):
    assert upgraded(old({"balance": {"steps": steps}})).balanced_steps is None
