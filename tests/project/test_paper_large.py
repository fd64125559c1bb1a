"""The large networks of the paper at a tiny width, through all stages: measured in processes of their own, stored, validated."""

from __future__ import annotations

import io
import json
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
from rmp_lava.netx import load
from rmp_lava.training.models import MODELS
from rmp_lava.training.train import train

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "examples").is_dir(), reason="examples/ is part of the repository only")

SETTINGS = {
    "checkpoint": None,
    "real_images": False,
    "images": 2,
    "calibration": 4,
    "steps": 16,
    "methods": {"paper": {"alpha": 0.3}, "low-latency": {}},
    "pooling": "fold",
    "seed": 0,
}


@pytest.fixture
def large(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from examples.paper import large

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield large
    torch.set_num_threads(before)


@pytest.fixture
def large_job(large):
    from examples.paper import large_job

    return large_job


@pytest.fixture
def large_images(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from examples.paper import large_images

    return large_images


def job(folder: Path, name: str, places: dict | None = None, **changed) -> dict:
    data_set, classes = ("imagenet", 1000) if name.endswith("imagenet") else ("cifar100", 100)
    options = {"width": 1 / 16, "batch_norm": False, "classes": classes}
    settings = SETTINGS | {"model": name, "data_set": data_set, "options": options} | changed
    return {"settings": settings, "places": {"checkpoint": None, "data": None, "folder": str(folder)} | (places or {})}


def call(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "examples.paper.large", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ["vgg16-cifar", "resnet20-cifar", "resnet34-imagenet"])
def test_all_layers_spike_from_synthetic_images_to_the_file_and_back(large_job, tmp_path, name, batch_norm):
    options = {"width": 1 / 16, "batch_norm": batch_norm, "classes": 100}
    result = large_job.measure(job(tmp_path, name, options=options))
    assert result["data"] == "synthetic, untrained: no accuracy" and result["images"] == 2
    assert set(result["methods"]) == {"paper", "low-latency"}
    for method, made in result["methods"].items():
        network = load(tmp_path / f"{name}-{method}.net")
        assert (result["neurons"], result["weights"]) == (network.neuron_count, network.parameter_count)
        assert network.is_integer and "accuracy" not in made
        assert made["net_bytes"] == (tmp_path / f"{name}-{method}.net").stat().st_size
        assert set(made["seconds"]) == {"convert", "quantise", "save", "load", "run"}
        assert 0 < made["peak_bytes"] <= result["peak_bytes"]
        assert all(made["spikes_per_neuron"].values()), made["spikes_per_neuron"]
    # Normalised by few images, an untrained network makes much of small differences.
    assert result["methods"]["low-latency"]["output_error"] < (1 if batch_norm else 0.5)
    assert all(0 <= stage["cpu_seconds"] for stage in result["stages"].values())
    json.dumps(result, allow_nan=False)


@pytest.mark.slow
def test_each_network_has_a_process_and_a_file_that_is_kept(tmp_path):
    arguments = ("--network", "resnet20-cifar", "--width", 0.0625, "--method", "paper", "--output", tmp_path)
    first = call(*arguments)
    assert first.returncode == 0, first.stderr
    assert "resnet20-cifar: synthetic, untrained: no accuracy" in first.stdout and "SNN" not in first.stdout
    assert "paper: convert" in first.stderr
    path = tmp_path / "resnet20-cifar.json"
    kept = path.read_bytes()
    again = call(*arguments)
    assert again.returncode == 0 and again.stdout == first.stdout and "convert" not in again.stderr
    assert path.read_bytes() == kept
    # Asked for by other settings, it is another measurement.
    other = call(*arguments, "--steps", 20)
    assert other.returncode == 0 and json.loads(path.read_text())["result"]["methods"]["paper"]["steps"] == 20


@pytest.mark.slow
def test_trained_network_on_real_images_has_accuracies(large, large_job, large_images, tmp_path, monkeypatch, capsys):
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
    places = {"checkpoint": str(tmp_path / "a.pt"), "data": str(tmp_path)}
    wanted = {"checkpoint": "hash", "real_images": True, "images": None, "methods": {"low-latency": {}}, "steps": 4}
    with pytest.raises(UsageError, match="holds 'vgg16-imagenet' with 3 classes; expected 'vgg16-imagenet' with 1000"):
        large_job.measure(job(tmp_path, "vgg16-imagenet", places, **wanted))
    with pytest.raises(UsageError, match="has 3 classes, but 1000 are required"):
        large_job.measure(job(tmp_path, "vgg16-imagenet", places | {"checkpoint": None}, **wanted))
    wanted["options"] = options
    monkeypatch.setattr(large_images, "_BLOCK_BYTES", 4 * 7 * 3 * 224 * 224)  # blocks of 7, 7 and 4 images
    result = large_job.measure(job(tmp_path, "vgg16-imagenet", places, **wanted))
    assert result["data"] == "ImageNet in class folders (JPEG), val as test images, 18 of 18 test images"
    assert result["images"] == 18 and 0 <= result["trained_accuracy"] <= 1
    assert 0 <= result["methods"]["low-latency"]["accuracy"] <= 1
    large.show({"vgg16-imagenet": result})
    shown = capsys.readouterr().out
    assert "SNN" in shown and "%" in shown and "18 of 18 test images" in shown


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
        (["--network", "vgg16-cifar", "--data-dir", "nowhere"], "Error: CIFAR-100 was not found in nowhere"),
        (["--steps", "0"], "Invalid value for '--steps'"),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_sentence(arguments, words, tmp_path):
    output = [] if "--output" in arguments else ["--output", tmp_path]
    done = call(*arguments, *output)
    assert done.returncode and words in done.stderr and "Traceback" not in done.stderr
