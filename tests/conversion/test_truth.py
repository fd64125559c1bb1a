"""Stages of networks that end in a function which conversion leaves out: values are compared after it, classes before it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from traced import Function

from rmp_lava.conversion.conversion import Conversion
from rmp_lava.conversion.divergence import TrainedOutputs
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.trace import trace
from rmp_lava.conversion.truth import _ENDINGS, truth_of
from rmp_lava.encoding import make_input
from rmp_lava.scores import Score

IMAGES = np.random.default_rng(0).random((30, 1, 4, 4), dtype=np.float32)
STEPS = 32


class ArgMax(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.argmax(1)


def flat(outputs: int, *end: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    last = nn.Linear(24, outputs)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), last, *end).eval()
    with torch.no_grad():
        last.weight *= 6
        last.bias -= model[:4](torch.from_numpy(IMAGES)).mean(dim=0)  # of either sign
    return model


def maps(channels: int, *end: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, channels, 1), *end).eval()


def before(model: nn.Module) -> np.ndarray:
    """Outputs before the last module."""
    with torch.no_grad():
        return model[:-1](torch.from_numpy(IMAGES)).numpy()


def after(model: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(IMAGES)).numpy()


@pytest.mark.slow
def test_a_diagnosis_counts_pixels_of_maps_and_the_error_of_a_single_output():
    model = maps(4)
    conversion = converted(model)
    stages = conversion.stages(IMAGES)
    found = TrainedOutputs(conversion.analog, IMAGES)
    assert found.agreement(conversion.integer, STEPS) == pytest.approx(stages[4].score.accuracy)
    conversion = converted(flat(1))
    stages = conversion.stages(IMAGES)
    found = TrainedOutputs(conversion.analog, IMAGES).agreement(conversion.integer, STEPS)
    assert found == pytest.approx(1 - stages[4].score.error, abs=1e-4)


def converted(model: nn.Module) -> Conversion:
    return convert(model, IMAGES, steps=STEPS)


@pytest.mark.parametrize("name", [name for name in _ENDINGS if name != "none"])
def test_the_function_that_is_left_out_is_found_in_the_outputs(name):
    model = flat(3, Function(_ENDINGS[name]))
    analog = trace(model, make_input("current", (1, 4, 4)), IMAGES)
    truth = truth_of(model, analog, IMAGES, None, (3,))
    assert truth.ending == name and truth.score(truth.folded).error < 1e-4
    other = truth_of(model[:-1], analog, IMAGES, None, (3,))
    assert other.ending == "none" and other.score(other.folded).error < 1e-4


@pytest.mark.parametrize("end", [nn.Sigmoid(), nn.Softmax(1), nn.Tanh()])
def test_targets_and_trained_outputs_are_compared_after_the_end(end):
    model = flat(3, end)
    conversion = converted(model)
    for labels, kind in ((after(model), "regression"), (None, "agreement")):
        scores = [stage.score for stage in conversion.stages(IMAGES, labels)]
        assert all(each.kind == kind and each.error < 0.15 and each.correlation > 0.98 for each in scores)
        assert scores[0].error < 1e-6 < scores[4].error


@pytest.mark.parametrize("end", [nn.Sigmoid(), nn.Tanh(), nn.LogSigmoid()])
def test_two_classes_of_a_single_output_are_told_apart_before_the_end(end):
    model = flat(1, end)
    labels = (before(model)[:, 0] > 0).astype(int)
    assert 5 < labels.sum() < 25
    stages = converted(model).stages(IMAGES, labels)
    assert [stage.score for stage in stages[:2]] == [Score("classification", 1.0)] * 2
    assert stages[4].score.accuracy > 0.9


def test_pixels_of_one_channel_are_told_apart_before_the_end():
    model = maps(1, nn.Sigmoid())
    with torch.no_grad():
        model[2].bias -= float(np.median(before(model)))
    labels = (before(model)[:, 0] > 0).astype(np.uint8)
    conversion = converted(model)
    stages = conversion.stages(IMAGES, labels)
    assert stages[0].score == stages[1].score == Score("segmentation", 1.0, 1.0)
    assert stages[4].score.mean_iou > 0.9
    unlabelled = conversion.stages(IMAGES)
    assert unlabelled[4].score.accuracy is None and 0 < unlabelled[4].score.error < 0.15


@pytest.mark.parametrize("model", [flat(4, ArgMax()), maps(4, ArgMax())], ids=["flat", "maps"])
def test_a_network_that_returns_classes_is_compared_by_them(model):
    labels = before(model).argmax(axis=1)
    assert len(np.unique(labels)) > 1
    conversion = converted(model)
    kinds = {"classification", "segmentation"}
    stages = conversion.stages(IMAGES, labels)
    assert stages[0].score.kind in kinds and stages[0].score.accuracy == stages[1].score.accuracy == 1.0
    scores = [stage.score for stage in conversion.stages(IMAGES)]
    assert scores[:2] == [Score("agreement", 1.0)] * 2
    assert scores[4].accuracy == pytest.approx(stages[4].score.accuracy) and scores[4].error is None
