"""The demo's claims, measured by the demo itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fingerprints import STORED, fingerprint, weights_digest

from rmp_lava.backends.lava import simulator
from rmp_lava.netx import load
from rmp_lava.training.checkpoint import load_model

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    command = [
        sys.executable,
        "-m",
        "rmp_lava",
        "demo",
        "--output",
        str(folder / "exports"),
        "--json",
        str(folder / "demo.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=folder, env=environment())
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "demo.json").read_text()) | {"text": done.stdout}


def environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }


def accuracy(summary: dict, stage: str) -> float:
    return next(s["accuracy"] for s in summary["stages"] if s["name"] == stage)


def test_digits_are_learned_and_kept_in_integers(summary):
    assert accuracy(summary, "trained ANN") >= 0.97
    assert accuracy(summary, "integer SNN") >= accuracy(summary, "trained ANN") - 0.01
    assert len(summary["accuracy_at"]["exported network"]) == 64


def test_the_network_that_the_demo_names_is_there(summary):
    assert os.path.isfile(summary["net"])
    assert os.path.basename(summary["net"]) in summary["text"]


def test_the_demos_network_gives_the_stored_spikes(summary):
    trained, _ = load_model(Path(summary["net"]).with_suffix(".pt"))
    stored = STORED["demo"].get(weights_digest(trained.state_dict()))
    if stored is None:
        pytest.skip(f"PyTorch {torch.__version__} trains other weights on this processor than those with stored spikes")
    found = fingerprint(load(summary["net"]))
    assert found == {key: stored[key] for key in found}


def test_soft_reset_reaches_hard_resets_best_earlier(summary):
    # How much earlier depends on the training, and so on the machine; test_reference_networks.py has it in numbers.
    assert summary["soft_steps_to_hard_best"] < summary["hard_best_steps"]


@pytest.mark.lava
@pytest.mark.parametrize("stage", ["Lava, RMP neurons", "Lava, stock LIF neurons"])
def test_fifty_digits_on_lava_equal_the_reference_spike_by_spike(summary, stage):
    found = next(s for s in summary["stages"] if s["name"] == stage)
    assert found["images"] >= 50
    assert found["note"] == "every spike and final potential equals the reference"


def test_without_lava_the_demo_reports_that_it_did_not_run(summary):
    if simulator.availability() is None:
        assert summary["lava_missing"] is None
    else:
        assert summary["lava_missing"] in summary["text"].replace("\n", " ") or "not run" in summary["text"]
        assert not any(s["name"].startswith("Lava") for s in summary["stages"])
