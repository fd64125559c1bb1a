"""The large networks of the paper at a tiny width, as a study: measured, stored, validated."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import UsageError
from rmp_lava.study.store import Store
from rmp_lava.training.models import MODELS
from rmp_lava.training.train import train

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "examples").is_dir(), reason="examples/ is part of the repository only")


@pytest.fixture
def large(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from examples.paper import large

    return large


@pytest.fixture
def large_images(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from examples.paper import large_images

    return large_images


def call(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "examples.paper.large", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ["vgg16-cifar", "resnet20-cifar", "resnet34-imagenet"])
def test_all_layers_spike_and_a_second_call_measures_nothing(large, tmp_path, capsys, name, batch_norm):
    options = {"network": [name], "width": 1 / 16, "batch_norm": batch_norm, "images": 2, "calibration": 4}
    large.main(**options, output=tmp_path)
    shown = capsys.readouterr().out
    assert "as ANN" in shown and shown.count("low-latency") == 1 and shown.count("paper") >= 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    runs = Store(tmp_path).everything("simulation").values()
    assert len(before) == 5 and len(runs) == 2  # two conversions, two runs, and the trained network
    for each in runs:
        assert all(each["result"]["messages"][layer] for layer in each["result"]["neurons"]), each["result"]["messages"]
        assert each["peak_bytes"] > 2**20
    large.main(**options, output=tmp_path)
    assert capsys.readouterr().out == shown
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}


@pytest.mark.slow
def test_trained_network_on_real_images_has_accuracies(large, tmp_path, capsys, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    for part in ("train", "val"):
        for k, colour in enumerate(((250, 30, 30), (30, 250, 30), (30, 30, 250))):
            (tmp_path / part / f"n{k}").mkdir(parents=True)
            for i in range(6):
                content = io.BytesIO()
                image.new("RGB", (40 + i, 50), colour).save(content, "JPEG")
                (tmp_path / part / f"n{k}" / f"{i}.JPEG").write_bytes(content.getvalue())
    from rmp_lava.training.data import load as load_data

    options = {"width": 1 / 32, "batch_norm": True, "classes": 3}
    recipe = {"epochs": 1, "batch_size": 6, "precision": "float32", "learning_rate": 0.02, "progress": False}
    train(
        "vgg16-imagenet", load_data("imagenet", tmp_path), options=options, checkpoint_path=tmp_path / "a.pt", **recipe
    )
    weights = [f"vgg16-imagenet={tmp_path / 'a.pt'}"]
    options = {"network": ["vgg16-imagenet"], "method": ["low-latency"], "weights": weights, "output": tmp_path / "out"}
    large.main(**options, data_dir=tmp_path, steps=4, calibration=6)
    shown = capsys.readouterr().out
    assert "SNN" in shown and "%" in shown
    with pytest.raises(UsageError, match="trained networks need the images of their data set; give --data-dir"):
        large.main(**options)


def test_synthetic_images_are_seeded_and_of_every_scale(large_images):
    images = large_images.synthetic_images((3, 224, 224), 2, 5)
    assert images.dtype == np.float32 and images.shape == (2, 3, 224, 224)
    assert 0 <= images.min() and images.max() == 1
    np.testing.assert_array_equal(images, large_images.synthetic_images((3, 224, 224), 2, 5))
    assert not np.array_equal(images, large_images.synthetic_images((3, 224, 224), 2, 6))
    blobs = images.reshape(2, 3, 4, 56, 4, 56).mean(axis=(3, 5))
    assert blobs.std() > 0.05 and np.diff(images, axis=3).std() > 0.001


@pytest.mark.slow
def test_normalisation_gets_the_statistics_of_the_images(large_images):
    torch.manual_seed(0)
    model = MODELS["resnet20-cifar"].build(width=1 / 16, batch_norm=True)
    images = large_images.synthetic_images((3, 32, 32), 9, 0)  # a last batch of one image is left out
    large_images.settle(model, images)
    assert not model.training
    sums = model.stack.conv1(torch.from_numpy(images[:8]))
    torch.testing.assert_close(model.stack.bn1.running_mean, sums.mean(dim=(0, 2, 3)))
    with torch.no_grad():
        assert model(torch.from_numpy(images)).std(dim=0).max() > 0.01


@pytest.mark.slow
def test_fewer_images_are_taken_for_more_steps(large):
    assert large.calibration_images("resnet34-imagenet", 16) == 64
    images = large.calibration_images("vgg16-imagenet", 256)
    assert 16 < images < 64 and images * 256 * 64 * 224**2 / 8 <= 2**31
    assert large.calibration_images("vgg16-imagenet", 2048) == 16
    for name, largest in large._LARGEST_LAYER.items():
        module = MODELS[name].build(width=1 / 16)
        network = trace(module.eval(), make_input("current", MODELS[name].input_shape))
        assert 16 * max(layer.size for layer in network) == largest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--weights", "vgg16=a.pt"],
            "Error: weights are 'vgg16=a.pt'; give NAME=CHECKPOINT with a file and one of vgg16-cifar",
        ),
        (["--output", os.devnull], "cannot be written"),
        (["--network", "vgg16-cifar", "--data-dir", "nowhere"], "Error: CIFAR-100 was not found in "),
        (["--steps", "0"], "Invalid value for '--steps'"),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_sentence(arguments, words, tmp_path):
    output = [] if "--output" in arguments else ["--output", tmp_path]
    done = call(*arguments, *output)
    assert done.returncode and words in done.stderr and "Traceback" not in done.stderr
