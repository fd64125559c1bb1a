"""The networks under exports/reference: the format stays readable, and the paper's central claim holds on them."""

from pathlib import Path

import numpy as np
import pytest

import rmp_lava
from rmp_lava.ann.data import load as load_data

FOLDER = Path(__file__).resolve().parents[1] / "exports" / "reference"
STEPS = 128
EXPECTED_CORRECT = {"soft": 440, "hard": 411}
EXPECTED_SPIKES = {
    "soft": {"input": 1878144, "conv1": 3852124, "pool1": 924583, "conv2": 341051, "pool2": 102110, "dense": 5928},
    "hard": {"input": 1878144, "conv1": 3325696, "pool1": 579579, "conv2": 139581, "pool2": 16131, "dense": 1110},
}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def runs(digits):
    return {
        reset: rmp_lava.run(rmp_lava.load(FOLDER / f"digits-{reset}.net"), digits.test_images, STEPS)
        for reset in ("soft", "hard")
    }


def test_soft_reset_reaches_the_best_hard_reset_accuracy_in_at_most_half_the_steps(runs, digits):
    soft, hard = (runs[reset].accuracy_at(digits.test_labels) for reset in ("soft", "hard"))
    first_best = int(hard.argmax()) + 1
    reached = int(np.flatnonzero(soft >= hard.max())[0]) + 1
    assert reached <= first_best / 2
    assert soft[-1] >= 0.97


def test_predictions_are_those_of_the_day_they_were_made(runs, digits):
    # Integers, deterministic input: any change of neuron, time convention or format shows here, on every machine.
    correct = {reset: int((run.predictions == digits.test_labels).sum()) for reset, run in runs.items()}
    spikes = {reset: run.spike_counts for reset, run in runs.items()}
    assert correct == EXPECTED_CORRECT
    assert spikes == EXPECTED_SPIKES


def test_reference_and_fast_agree_on_a_trained_network(digits):
    for reset in ("soft", "hard"):
        network = rmp_lava.load(FOLDER / f"digits-{reset}.net")
        a, b = (
            rmp_lava.run(network, digits.test_images[:20], 40, backend, record=("spikes", "potentials"))
            for backend in ("reference", "fast")
        )
        for layer in network:
            assert np.array_equal(a.spikes[layer.name], b.spikes[layer.name])
            assert np.array_equal(a.potentials[layer.name], b.potentials[layer.name])


@pytest.mark.lava
@pytest.mark.parametrize("realisation", ["native", "stock"])
def test_lava_agrees_on_a_trained_network(digits, realisation):
    network = rmp_lava.load(FOLDER / "digits-soft.net")
    images, options = digits.test_images[:50], {"realisation": realisation, "record": ("spikes", "potentials")}
    expected = rmp_lava.run(network, images, 24, "reference", **options)
    found = rmp_lava.run(network, images, 24, "lava", time_limit=600, **options)
    for layer in network:
        assert np.array_equal(expected.spikes[layer.name], found.spikes[layer.name])
        assert np.array_equal(expected.potentials[layer.name], found.potentials[layer.name])
