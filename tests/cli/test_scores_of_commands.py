"""Segmentation and regression the whole way through the command line, from .npy files; and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run_main
from torch import nn
from torch.nn import functional

from rmp_lava.netx import load as load_net
from rmp_lava.report.page.page import make_page
from rmp_lava.training.data import load

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
STEPS = 64
IMAGES = 200
MODELS = """
from torch import nn

def pixels():
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))

def ink():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 2))
"""
NAMES = ["trained ANN", "folded", "clipped", "float SNN", "integer SNN"]


def digits() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Digits; the class of each pixel (paper, grey, ink; the border is left out), and the ink of both halves, in tenths."""
    images = load("digits").train_images[:IMAGES]
    classes = np.digitize(images[:, 0], [0.3, 0.7]).astype(np.uint8)
    classes[:, 0], classes[::2, -1] = 255, 255
    halves = np.stack([images[..., :4].mean(axis=(1, 2, 3)), images[..., 4:].mean(axis=(1, 2, 3))], axis=1)
    return images, {"pixels": classes, "ink": 10 * halves}


def trained(model: nn.Module, images: np.ndarray, truth: np.ndarray) -> nn.Module:
    target = torch.from_numpy(truth)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(150):
        outputs = model(torch.from_numpy(images))
        if truth.dtype == np.uint8:
            loss = functional.cross_entropy(outputs, target.long(), ignore_index=255)
        else:
            loss = functional.mse_loss(outputs, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with images, labels, and networks that were trained and converted with them."""
    folder = tmp_path_factory.mktemp("scores")
    images, truths = digits()
    np.save(folder / "x.npy", images)
    (folder / "scored.py").write_text(MODELS)
    made: dict = {}
    exec(MODELS, made)
    torch.manual_seed(0)
    for name, truth in truths.items():
        np.save(folder / f"{name}.npy", truth)
        torch.save(trained(made[name](), images, truth).state_dict(), folder / f"{name}.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in truths:
            arguments = (*convert_arguments(name), "--labels", f"{name}.npy", "--json", f"{name}.json")
            assert run_main(*arguments, "--output", f"{name}.net") == 0
    return folder


def convert_arguments(name: str, command: str = "convert") -> tuple:
    sizes = ("--calibration", 100, "--steps", STEPS)
    return (command, f"scored:{name}", "--weights", f"{name}.pt", "--images", "x.npy", *sizes)


@pytest.fixture
def call(work, call, monkeypatch):
    """The command line is called in the folder."""
    monkeypatch.chdir(work)
    return call


def stages(path: Path) -> list[dict]:
    return json.loads(path.read_text())["stages"]


def test_a_segmentation_network_is_measured_by_pixel(work, call):
    found = stages(work / "pixels.json")
    assert [stage["name"] for stage in found] == NAMES
    assert all(stage["kind"] == "segmentation" and "error" not in stage for stage in found)
    assert all(stage["accuracy"] > 0.9 and 0.8 < stage["mean_iou"] < stage["accuracy"] for stage in found)
    # The trained network's, counted here on the same held-out images.
    out = np.sort(np.random.RandomState(0).permutation(IMAGES)[: IMAGES // 10])
    images, truth = np.load(work / "x.npy")[out], np.load(work / "pixels.npy")[out]
    made: dict = {}
    exec(MODELS, made)
    model = made["pixels"]()
    model.load_state_dict(torch.load(work / "pixels.pt"))
    predicted = model(torch.from_numpy(images)).argmax(dim=1).numpy()
    assert found[0]["accuracy"] == pytest.approx((predicted == truth)[truth != 255].mean())
    code, output, _ = call("info", "pixels.net")
    assert code == 0 and "Segmentation on validation images, T = 64" in output
    assert f"pixels {100 * found[4]['accuracy']:.2f} %, mean IoU {100 * found[4]['mean_iou']:.2f} %" in output


def test_a_regression_is_measured_by_error_and_correlation(work, call):
    found = stages(work / "ink.json")
    assert [stage["name"] for stage in found] == NAMES
    assert all(stage["kind"] == "regression" and "accuracy" not in stage for stage in found)
    assert all(stage["error"] < 0.25 and stage["correlation"] > 0.97 for stage in found)
    assert found[4]["error"] != found[0]["error"]
    code, output, _ = call("info", "ink.net")
    assert code == 0 and "Regression on validation images, T = 64" in output and ", correlation 0.9" in output


@pytest.mark.parametrize(
    "name, key, title", [("pixels", "mean_iou", "Segmentation: "), ("ink", "error", "Regression: ")]
)
def test_run_and_estimate_score_all_images(call, name, key, title):
    options = (f"{name}.net", "--images", "x.npy", "--labels", f"{name}.npy", "--samples", 40, "--json", "found.json")
    code, output, _ = call("run", *options)
    ran = json.loads(Path("found.json").read_text())
    assert code == 0 and title in output
    assert ran["neurobench"]["correctness"][key] == ran[key] and (0.8 < ran[key] < 1 or ran[key] < 0.25)
    assert (ran["predictions"] is None) == (name == "pixels")
    code, _, _ = call("estimate", *options)
    assert code == 0 and json.loads(Path("found.json").read_text())[key] == ran[key]


@pytest.mark.parametrize("name, title", [("pixels", "Segmentation"), ("ink", "Regression")])
def test_the_page_has_the_score_in_its_headline_and_no_accuracy_over_time(work, name, title):
    pytest.importorskip("jinja2")
    network = load_net(work / f"{name}.net")
    images, truth = np.load(work / "x.npy")[:8], np.load(work / f"{name}.npy")[:8]
    made: dict = {}
    exec(MODELS, made)
    model = made[name]()
    model.load_state_dict(torch.load(work / f"{name}.pt"))
    page = make_page(network, images, truth, steps=STEPS, trained=model.eval())
    assert title in page.html and "the trained network: " in page.html and "→" not in page.html
    (over_time,) = (section for section in page.sections if section.key == "accuracy")
    assert "predictions of the class of an image" in over_time.missing
    assert "accuracy" not in page.figures and "raster" in page.figures


@pytest.mark.parametrize("name", ["pixels", "ink"])
def test_without_labels_stages_agree_with_the_trained_network(call, name):
    code, output, _ = call(*convert_arguments(name), "--output", "bare.net", "--json", "bare.json")
    found = stages(Path("bare.json"))
    assert code == 0 and "Agreement with the trained network on validation images" in output
    assert "The images of x.npy have no labels, so each stage is compared" in output
    assert found[0]["accuracy"] == 1.0 and found[0]["error"] == 0.0
    assert all(stage["accuracy"] > 0.9 and stage["error"] < 0.1 for stage in found)
    assert 0 < found[4]["error"] and found[4]["correlation"] < 1


@pytest.mark.parametrize(
    "name, labels, found",
    [
        ("pixels", np.zeros(IMAGES, int), "network 'pixels' has outputs of shape (3, 8, 8): give integers of shape ("),
        ("pixels", np.full((IMAGES, 8, 8), 3), "of 4 classes, but network 'pixels' has 3 outputs"),
        ("pixels", np.zeros((IMAGES, 4, 4), int), "integers of shape (100, 4, 4), but"),
        ("ink", np.zeros((IMAGES, 3)), "floats of shape (100, 3), but network 'ink' has outputs of shape (2,)"),
        ("ink", np.zeros((IMAGES - 1, 2)), "expected one label per image"),
    ],
)
def test_labels_that_do_not_fit_are_one_sentence(call, name, labels, found):
    np.save("bad.npy", labels)
    code, _, text = call(*convert_arguments(name), "--labels", "bad.npy", "--output", "bad.net")
    assert code == 2 and text.startswith("error: ") and text.count("\n") == 1 and found in text
    assert not Path("bad.net").exists()


@pytest.mark.parametrize("name, kind", [("pixels", "segmentation"), ("ink", "regression")])
def test_what_needs_classes_of_images_refuses_other_labels(call, name, kind):
    options = ("--labels", f"{name}.npy", "--output", "bad.net")
    code, _, text = call(*convert_arguments(name, "tune"), *options)
    assert code == 2 and f"the labels are for {kind}; convert the network without tuning it" in text
    code, _, text = call(*convert_arguments(name), *options, "--search", "accuracy")
    assert code == 2 and f"the labels are for {kind}; search for outputs" in text
