"""Scores against numbers found by hand, and truths that do not fit the outputs."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, strategies as st

import rmp_lava
from rmp_lava.encoding import make_input
from rmp_lava.errors import DataError, UsageError
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.scores import Score, agreement, check_truth, classes, score


def test_classification_is_the_share_of_right_images():
    outputs = np.array([[1, 2, 0], [5, -1, 2], [0, 0, 3], [-3, -2, -1]])
    found = score(outputs, (3,), np.array([1, 0, 1, 2], np.uint8))
    assert found == Score("classification", 0.75)
    assert str(found) == "75.00 %" and found.figures == {"accuracy": 0.75} and found.title == "Accuracy"
    assert score(outputs.reshape(4, 3, 1, 1), (3, 1, 1), np.array([1, 0, 1, 2])) == found


def test_the_sign_of_a_single_output_tells_two_classes_apart():
    outputs = np.array([[2.0], [-1.0], [0.0], [3.0]])
    for truth in (np.array([1, 0, 0, 0]), np.array([True, False, False, False])):
        assert score(outputs, (1,), truth) == Score("classification", 0.75)


def test_segmentation_by_hand():
    """Two images of two pixels in a row; classes 0, 1, 2, and class 3, which is nowhere."""
    predicted = np.array([[[0, 1]], [[1, 2]]])
    outputs = (predicted[:, None] == np.arange(4)[:, None, None]).astype(int)  # (2, 4, 1, 2)
    truth = np.array([[[0, 0]], [[1, 2]]])
    # Intersection over union: class 0 1/2, class 1 1/2, class 2 1/1.
    found = score(outputs.reshape(2, -1), (4, 1, 2), truth)
    assert found == Score("segmentation", 0.75, pytest.approx(2 / 3))
    assert str(found) == "pixels 75.00 %, mean IoU 66.67 %"
    for left_out in (255, -1, -100):
        truth = np.array([[[0, left_out]], [[1, 2]]])
        assert score(outputs, (4, 1, 2), truth) == Score("segmentation", 1.0, 1.0)
    # A class 255 that the network has counts.
    many = np.zeros((1, 256, 1, 2))
    many[0, 255, 0, 0] = many[0, 7, 0, 1] = 1
    assert score(many, (256, 1, 2), np.array([[[255, 7]]])) == Score("segmentation", 1.0, 1.0)


def test_a_map_of_one_channel_is_two_classes_by_its_sign():
    outputs = np.array([[3, -3, 0, 1]])
    truth = np.array([[[1, 0], [1, 255]]], np.uint8)
    assert score(outputs, (1, 2, 2), truth) == Score("segmentation", pytest.approx(2 / 3), pytest.approx(0.5))
    assert score(outputs, (1, 2, 2), truth == 1) == Score("segmentation", 0.5, pytest.approx((1 / 3 + 1 / 3) / 2))


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_segmentation_is_that_of_counted_pixels(seed, count):
    rng = np.random.default_rng(seed)
    outputs, truth = rng.integers(-3, 3, (3, count, 2, 3)), rng.integers(-1, count, (3, 2, 3))
    truth[0, 0, 0] = 0
    ious, right, known = {c: [0, 0] for c in range(count)}, 0, 0
    for n, y, x in product(range(3), range(2), range(3)):
        wanted, found = truth[n, y, x], int(outputs[n, :, y, x].argmax())
        if wanted >= 0:
            known, right = known + 1, right + (wanted == found)
            for each in {int(wanted), found}:
                ious[each][0] += wanted == found
                ious[each][1] += 1
    expected = np.mean([one / either for one, either in ious.values() if either])
    found = score(outputs, outputs.shape[1:], truth)
    assert found == Score("segmentation", pytest.approx(right / known), pytest.approx(expected))


def test_regression_by_hand():
    outputs, truth = np.array([[1.0], [2.0], [6.0]]), np.array([1.0, 3.0, 5.0])
    # Differences 0, -1, 1; deviations of the truth -2, 0, 2, of the outputs -2, -1, 3.
    found = score(outputs, (1,), truth)
    assert found == Score("regression", None, None, pytest.approx(0.5), pytest.approx(10 / np.sqrt(8 * 14)))
    assert str(found) == "error 50.0 %, correlation 0.9449" and list(found.figures) == ["error", "correlation"]
    assert found.correlation == pytest.approx(np.corrcoef(outputs[:, 0], truth)[0, 1])
    # Each output has its own mean: an offset between outputs is no deviation.
    two = score(np.hstack([outputs, outputs + 1000]), (2,), np.stack([truth, truth + 1000], axis=1))
    assert (two.error, two.correlation) == (pytest.approx(0.5), pytest.approx(found.correlation))
    # Without a unit.
    assert score(7 * outputs, (1,), 7 * truth[:, None]).error == pytest.approx(0.5)
    flat = np.full(3, 0.1)
    assert score(outputs, (1,), flat) == Score("regression") and str(Score("regression")).startswith("unknown")
    assert score(flat[:, None], (1,), truth).correlation == 0.0


def test_agreement_is_of_classes_and_values():
    trained = np.array([[1.0, 2.0], [4.0, 3.0], [0.0, 5.0]])
    assert agreement(trained, (2,), trained) == Score("agreement", 1.0, None, 0.0, pytest.approx(1.0))
    found = agreement(-trained, (2,), trained, same_unit=False)
    assert found == Score("agreement", 0.0) and found.title == "Agreement with the trained network"
    assert agreement(trained[:, :1], (1,), trained[:, :1]) == Score("agreement", None, None, 0.0, pytest.approx(1.0))
    maps = trained[:, :, None, None] * np.ones((1, 1, 2, 2))
    turned = maps.copy()
    turned[0, :, 0, 0] = [9, 0]
    assert agreement(turned, (2, 2, 2), maps).accuracy == 11 / 12


def test_what_is_lost_is_the_largest_loss():
    before, after = Score("segmentation", 0.9, 0.8), Score("segmentation", 0.89, 0.5)
    assert before.lost_to(after) == pytest.approx(0.3) and after.lost_to(before) == pytest.approx(-0.01)
    real = Score("regression", error=0.02, correlation=0.99)
    assert real.lost_to(Score("regression", error=0.5, correlation=0.8)) == pytest.approx(0.48)
    assert Score("regression").lost_to(real) == 0.0


@pytest.mark.parametrize(
    "truth, shape, found",
    [
        (
            np.zeros((5, 6, 6), int),
            (4,),
            "labels are integers of shape (5, 6, 6), but network 'n' has outputs of shape (4,)",
        ),
        (
            np.zeros(5, int),
            (4, 6, 6),
            "integers of shape (5, 6, 6) for the class of each pixel, or floats of shape (5, 4, 6, 6)",
        ),
        (np.zeros((5, 3, 3), int), (4, 6, 6), "integers of shape (5, 3, 3), but"),
        (
            np.zeros(5),
            (4,),
            "floats of shape (5,), but network 'n' has outputs of shape (4,): give integers of shape (5,) for",
        ),
        (np.zeros((5, 3)), (4,), "or floats of shape (5, 4) for a regression"),
        (np.zeros((5, 4), int), (4,), "integers of shape (5, 4), but"),
        (np.array(3), (4,), "integers of shape (), but"),
        (np.full(5, "a"), (4,), "of dtype <U1, of shape (5,), but"),
        (np.full((5, 1), np.nan), (1,), "NaN or infinity"),
        (np.array([0, -1]), (4,), "labels run from -1"),
        (np.array([1, 4]), (4,), "labels run from 1 to 4; count classes from 0, so subtract 1"),
        (np.array([1, 2]), (1,), "labels run from 1 to 2"),
        (np.array([0, 7]), (4,), "the images are of 8 classes, but network 'n' has 4 outputs"),
        (np.array([0, 7]), (1,), "integers up to 7, but network 'n' has 1 output, whose sign"),
        (np.full((2, 2, 2), 255), (4, 2, 2), "no pixel of the labels has a class"),
        (
            np.array([[[0, 255]]]),
            (1, 1, 2),
            "labels hold only 0 and 255, which leaves a pixel out; give the second class as 1",
        ),
        (np.array([[[0, 9]]]), (4, 1, 2), "of 10 classes, but network 'n' has 4 outputs"),
        (np.array([[[1, 4]]]), (4, 1, 2), "labels run from 1 to 4"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(truth, shape, found):
    with pytest.raises(DataError, match=re.escape(found)):
        check_truth(truth, shape, "network 'n'")


def test_as_many_labels_as_images():
    with pytest.raises(DataError, match="there are 3 labels for 4 images"):
        score(np.zeros((4, 2)), (2,), np.zeros(3, int))


@pytest.mark.parametrize(
    "shape, truth",
    [
        ((1,), (5,)),
        ((1,), (5, 1)),
        ((3,), (5, 3)),
        ((3, 1, 1), (5, 3)),
        ((1, 2, 2), (5, 2, 2)),
        ((2, 2, 2), (5, 2, 2, 2)),
    ],
)
def test_targets_have_the_shape_of_the_outputs(shape, truth):
    values = np.random.default_rng(0).random(truth, np.float32)
    assert score(values.reshape(5, -1), shape, values) == Score("regression", None, None, 0.0, pytest.approx(1.0))


# Of a run


def doubling(weight: int, shape=(1,), scale: float | None = 1 / 64) -> SpikingNetwork:
    """Outputs are `weight` times the input, times 64 weight units for each unit of the trained network."""
    if len(shape) == 3:
        synapse = Conv(INPUT, np.full((shape[0], 1, 1, 1), weight, np.int16))
    else:
        synapse = Dense(INPUT, np.full((*shape, 1), weight, np.int16))
    source = make_input("current", (1, *shape[1:]), 4)
    return SpikingNetwork(
        "n", source, (Layer("a", shape, (synapse,), Neurons(1, "none")),), "integer", output_scale=scale
    )


def test_a_run_is_scored_in_the_trained_networks_units():
    images = np.array([[0.0], [0.25], [1.0]])  # messages 0, 1, 4
    result = rmp_lava.run(doubling(128), images, 5)
    # Each step adds 2 trained units for each level.
    assert result.score(doubling(128), np.array([0.0, 2.0, 8.0])) == Score("regression", None, None, 0.0, 1.0)
    assert result.score(doubling(128), np.array([0, 1, 1])) == Score("classification", 1.0)
    assert result.agreement(doubling(128), np.array([[0.0], [2.0], [8.0]])).error == 0.0
    unknown = doubling(128, scale=None)
    with pytest.raises(UsageError, match="has no output_scale"):
        result.score(unknown, np.zeros(3))
    assert result.score(unknown, np.array([0, 1, 0])).accuracy == pytest.approx(2 / 3)
    assert result.agreement(unknown, np.zeros((3, 1))) == Score("agreement")
    with pytest.raises(DataError, match="1 output, which is always the largest; use Run.score"):
        result.accuracy(np.array([0, 1, 1]))


def test_a_run_of_maps_is_scored_by_pixel():
    network = doubling(16, (1, 2, 2))
    images = np.array([[[[0.0, 0.5], [1.0, 0.0]]]])
    result = rmp_lava.run(network, images, 3)
    assert result.score(network, np.array([[[0, 1], [1, 1]]])).accuracy == 0.75
    assert result.summary(network)["predictions"] is None
    assert classes(result.output, (1, 2, 2)).tolist() == [[[0, 1], [1, 0]]]


def test_flat_outputs_of_pixels_are_segmented():
    """As behind an upsampling, whose read-out is a dense layer."""
    truth = np.array([[[0, 0], [1, 2]]])
    outputs = (truth[:, None] == np.arange(3)[:, None, None]).astype(int).reshape(1, 12)
    assert check_truth(truth, (12,)) == "segmentation"
    assert score(outputs, (12,), truth) == score(outputs, (3, 2, 2), truth) == Score("segmentation", 1.0, 1.0)
    with pytest.raises(DataError, match="outputs of shape"):
        check_truth(truth, (13,))
