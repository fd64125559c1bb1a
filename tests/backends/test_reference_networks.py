"""The networks under exports/reference: the format stays readable, and the paper's central claim holds on them."""

from pathlib import Path

import numpy as np
import pytest
import torch

import rmp_lava
from rmp_lava.backends import Lava, Reference
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.restore import restore
from rmp_lava.hardware import map_network
from rmp_lava.training.data import load as load_data

FOLDER = Path(__file__).resolve().parents[2] / "exports" / "reference"
STEPS = 128
EXPECTED_CORRECT = {"soft": 440, "hard": 411}
EXPECTED_SPIKES = {
    "soft": {"input": 1878144, "conv1": 3852124, "pool1": 924583, "conv2": 341051, "pool2": 102110, "dense": 5928},
    "hard": {"input": 1878144, "conv1": 3325696, "pool1": 579579, "conv2": 139581, "pool2": 16131, "dense": 1110},
}
VGG_OUTPUT = [
    [-3968, -62208, 229760, 69760, -44800, -24192, -37248, -41856, -53248, -70272],
    [94976, -92800, 107392, 42752, -22784, -12032, -63872, -68096, 63232, -89984],
]
VGG_SPIKES = {
    "input": 24064,
    "conv1_1": 78802,
    "conv1_2": 24422,
    "conv1_2.pool2x2": 7782,
    "conv2_1": 21802,
    "conv2_2": 10992,
    "conv2_2.pool2x2": 3670,
    "conv3_1": 5569,
    "conv3_2": 3978,
    "conv3_3": 2915,
    "conv3_3.pool2x2": 1211,
    "conv4_1": 2324,
    "conv4_2": 1500,
    "conv4_3": 1815,
    "conv4_3.pool2x2": 715,
    "conv5_1": 593,
    "conv5_2": 603,
    "conv5_3": 1001,
    "conv5_3.pool2x2": 411,
    "dense1": 471,
    "dense2": 340,
    "dense3": 0,
}
RESNET_OUTPUT = [
    [640128, -510848, -59136, 906368, -286080, -173568, -91648, -282496, 67968, -336000],
    [841216, -506880, -171264, 824448, -318080, 222592, -296576, -326912, -247552, -294912],
]
RESNET_SPIKES = {
    "input": 24064,
    "stack.conv1": 65786,
    "stack.conv2": 52775,
    "stack.conv3": 25752,
    "stage1.0.conv1": 13326,
    "stage1.0.conv2": 12825,
    "stage1.1.conv1": 7846,
    "stage1.1.conv2": 14208,
    "stage2.0.conv1": 3437,
    "stage2.0.conv2": 4345,
    "stage2.1.conv1": 3137,
    "stage2.1.conv2": 5696,
    "stage3.0.conv1": 1883,
    "stage3.0.conv2": 2274,
    "stage3.1.conv1": 1300,
    "stage3.1.conv2": 2392,
    "stage4.0.conv1": 800,
    "stage4.0.conv2": 708,
    "stage4.1.conv1": 583,
    "stage4.1.conv2": 968,
    "dense": 0,
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


@pytest.mark.slow
def test_steps_and_accuracies_that_the_readme_names(digits):
    soft, hard = (
        rmp_lava.run(rmp_lava.load(FOLDER / f"digits-{reset}.net"), digits.test_images, 512).accuracy_at(
            digits.test_labels
        )
        for reset in ("soft", "hard")
    )

    def first(curve: np.ndarray, digits_correct: int) -> int:
        return int(np.flatnonzero(np.rint(450 * curve) >= digits_correct)[0]) + 1

    assert [(first(soft, n), first(hard, n)) for n in (411, 438)] == [(39, 126), (67, 205)]
    assert (round(450 * soft.max()), first(soft, 441)) == (441, 95)
    assert (round(450 * hard.max()), first(hard, 442)) == (442, 390)


def test_predictions_are_those_that_were_stored(runs, digits):
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
@pytest.mark.parametrize("implementation", ["native", "stock"])
def test_lava_agrees_on_a_trained_network(digits, implementation):
    network = rmp_lava.load(FOLDER / "digits-soft.net")
    images, record = digits.test_images[:50], ("spikes", "potentials")
    expected = rmp_lava.run(network, images, 24, Reference(implementation), record=record)
    found = rmp_lava.run(network, images, 24, Lava(implementation, time_limit=600), record=record)
    for layer in network:
        assert np.array_equal(expected.spikes[layer.name], found.spikes[layer.name])
        assert np.array_equal(expected.potentials[layer.name], found.potentials[layer.name])


@pytest.mark.parametrize(
    ("name", "output", "spikes"),
    [("vgg16-cifar", VGG_OUTPUT, VGG_SPIKES), ("resnet20-cifar", RESNET_OUTPUT, RESNET_SPIKES)],
)
@pytest.mark.slow
def test_deep_networks_give_the_spikes_that_were_stored(name, output, spikes):
    # Patches of noise: CIFAR-10 does not come with this package.
    coarse = np.random.default_rng(0).random((2, 3, 4, 4), dtype=np.float32)
    network = rmp_lava.load(FOLDER / f"{name}.net")
    run = rmp_lava.run(network, coarse.repeat(8, axis=2).repeat(8, axis=3), 4)
    assert run.output.tolist() == output
    assert run.spike_counts == spikes


@pytest.mark.parametrize("name", ["vgg16-cifar", "resnet20-cifar"])
def test_deep_networks_fit_one_chip_and_can_be_restored(name):
    network = rmp_lava.load(FOLDER / f"{name}.net")
    assert map_network(network, "oheo_gulch").fits
    analog = AnalogNetwork(restore(network))
    images = torch.from_numpy(np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32))
    assert analog(images).shape == (2, 10)
