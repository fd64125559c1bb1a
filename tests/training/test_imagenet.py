"""Images in class folders that do not fit into memory: decoded on demand, as torchvision does, and treated as untrusted."""

from __future__ import annotations

import io
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from memory import memory_below

from rmp_lava.cli import app
from rmp_lava.conversion.distillation import Learning
from rmp_lava.conversion.trace import trace
from rmp_lava.conversion.tune import tune
from rmp_lava.encoding import make_input
from rmp_lava.errors import DataError, UsageError
from rmp_lava.sources.images import from_dataset, images_for
from rmp_lava.training.checkpoint import load_model
from rmp_lava.training.data import Dataset, as_float, imagenet, lazy_images, load, split_validation
from rmp_lava.training.data.lazy_images import LazyImages
from rmp_lava.training.data.reading import DATA_VARIABLE
from rmp_lava.training.loop import evaluate
from rmp_lava.training.train import train

Image = pytest.importorskip("PIL.Image")

CLASSES = ("n01440764", "n01443537", "n02084071")


@pytest.fixture(autouse=True)
def no_data_elsewhere(monkeypatch, one_thread):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write(folder, files: dict[str, bytes]):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def files(images: int = 6, part: str = "val") -> dict[str, bytes]:
    """Images of three classes, different ones in each part."""
    return {
        f"{where}/{name}/{name}_{i}.JPEG": encoded(photograph(50 + 10 * i, 60, seed=100 * (where == part) + 10 * k + i))
        for where in ("train", part)
        for k, name in enumerate(CLASSES)
        for i in range(images)
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("imagenet"), files())


@pytest.fixture
def decoded(monkeypatch):
    """Names of what was decoded."""
    names, decode = [], imagenet.decode

    def count(reader, content, what):
        names.append(what)
        return decode(reader, content, what)

    monkeypatch.setattr(imagenet, "decode", count)
    return names


def refused(place) -> str:
    with pytest.raises(DataError) as caught:
        load("imagenet", place)
    message = str(caught.value)
    assert "\n" not in message and not message.endswith(".")
    return message


# --- one image


@pytest.mark.parametrize(
    ("width", "height"), [(500, 375), (375, 500), (224, 224), (301, 256), (40, 61), (1, 1), (900, 9)]
)
def test_images_are_resized_and_cropped_as_torchvision_evaluates(width, height):
    image = photograph(width, height)
    found = imagenet.decode(Image, encoded(image, "PNG"), "a")
    # transforms.Resize(256) and CenterCrop(224) of an image, as documented.
    scale = 256 / min(width, height)
    size = (256, int(scale * height)) if width <= height else (int(scale * width), 256)
    resized = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    top, left = (int(round((n - 224) / 2.0)) for n in resized.shape[:2])
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, resized[top : top + 224, left : left + 224].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG")]
)
def test_photographs_of_other_modes_are_taken_too(mode, kind):
    found = imagenet.decode(Image, encoded(photograph(300, 260).convert(mode), kind), "a")
    assert found.shape == (3, 224, 224)
    if mode == "L":
        assert (found[0] == found[1]).all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be decoded"),
        (encoded(photograph(300, 260))[:900], "cannot be decoded"),
        (encoded(photograph(300, 260), "GIF"), "cannot be decoded"),
        (encoded(photograph(1, 101), "PNG"), "has 1x101 pixels"),
    ],
)
def test_files_that_are_not_photographs_are_refused(content, words):
    with pytest.raises(DataError, match="image photo.*" + words):
        imagenet.decode(Image, content, "photo")


def test_a_huge_image_is_refused_by_its_header():
    chunk = b"IHDR" + struct.pack(">2I5B", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    middling = bomb.replace(struct.pack(">2I", 50_000, 50_000), struct.pack(">2I", 9000, 9000))
    middling = middling[:-4] + struct.pack(">I", zlib.crc32(middling[12:-4]))
    with memory_below(2**23):
        for content in (bomb, middling):
            with pytest.raises(DataError, match="9000x9000 pixels; at most 67,108,864|cannot be decoded"):
                imagenet.decode(Image, content + bytes(100), "photo")


# --- the folder


def test_nothing_is_decoded_before_its_pixels_are_needed(folder, decoded):
    dataset = load("imagenet", folder)
    assert (dataset.name, dataset.input_shape, dataset.class_names) == ("imagenet", (3, 224, 224), CLASSES)
    assert dataset.source == "ImageNet in class folders (JPEG), val as test images" and dataset.place == folder
    assert len(dataset.train_images) == len(dataset.test_images) == 18
    np.testing.assert_array_equal(dataset.train_labels, np.repeat([0, 1, 2], 6))
    split = split_validation(dataset, 0.25)
    assert (len(split.train_images), len(split.validation_images)) == (12, 6)
    some = dataset.test_images[np.array([7, 2])]
    assert some.shape == (2, 3, 224, 224) and some.dtype == np.uint8 and not decoded
    values = as_float(some)
    assert values.dtype == np.float32 and len(decoded) == 2
    expected = imagenet.decode(Image, (folder / f"val/{CLASSES[1]}/{CLASSES[1]}_1.JPEG").read_bytes(), "a")
    np.testing.assert_array_equal(values[0], expected.astype(np.float32) / 255)
    np.testing.assert_array_equal(dataset.test_images[7], expected)
    np.testing.assert_array_equal(np.asarray(dataset.test_images[6:8])[1], expected)


@pytest.mark.parametrize("inner", ["", "imagenet", "ImageNet"])
def test_it_is_found_with_either_name_of_the_test_part(tmp_path, monkeypatch, inner):
    assert "--data-dir" in refused(None)
    assert f"not found in {tmp_path}" in refused(tmp_path)
    write(tmp_path / inner, files(1, "test") | {"train/.DS_Store": b"", f"train/{CLASSES[0]}/Thumbs.db": b""})
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert "test as test images" in load("imagenet").source
    # Test images without labels, as they are published, are left alone where there is `val`.
    write(tmp_path / inner, {name: content for name, content in files(1).items() if name.startswith("val")})
    write(tmp_path / inner, {"test/ILSVRC2012_test_00000001.JPEG": b""})
    assert "val as test images" in load("imagenet").source


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"val/n0/a.JPEG": b""}, "'val/n0/a.JPEG' in .* is misplaced; .* classes n01440764, n01443537, n02084071"),
        ({"val/a.JPEG": b""}, "'val/a.JPEG' in .* is misplaced"),
        ({f"val/{CLASSES[0]}/a.webp": b""}, "a.webp' in .* is misplaced"),
        ({"train/n03/a.JPEG": b""}, "no images in val/n03; fetch"),
    ],
)
def test_what_is_misplaced_is_named(tmp_path, change, words):
    write(tmp_path, files(1) | change)
    with pytest.raises(DataError, match=words):
        load("imagenet", tmp_path)


def test_folders_that_are_no_data_set_are_refused(tmp_path, monkeypatch):
    write(tmp_path / "one", {"train/a/1.jpg": b"", "val/a/1.jpg": b""})
    assert "contains 1 class folders; at least 2 are needed" in refused(tmp_path / "one")
    write(
        tmp_path / "many",
        {f"{part}/c{i:03}/1.jpg": b"" for part in ("train", "val") for i in range(30)} | {"val/x.jpg": b""},
    )
    assert "c008, c009 and 20 more" in refused(tmp_path / "many")
    (tmp_path / "many/val/x.jpg").unlink()
    monkeypatch.setattr(imagenet, "MAX_IMAGES", 59)
    assert "more than 59 images" in refused(tmp_path / "many")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "image files need Pillow" in refused(tmp_path / "many")


def test_broken_files_are_named_when_they_are_read(tmp_path, monkeypatch):
    bad = f"train/{CLASSES[0]}/bad.JPEG"
    write(tmp_path, files(1) | {bad: b"no image"})
    images = load("imagenet", tmp_path).train_images
    with pytest.raises(DataError, match=rf"image '{bad}' in {tmp_path} cannot be decoded"):
        as_float(images)
    (tmp_path / bad).unlink()
    with pytest.raises(DataError, match="bad.JPEG is missing or not a regular file"):
        as_float(images)
    os.mkfifo(tmp_path / bad)
    with pytest.raises(DataError, match="bad.JPEG is missing or not a regular file"):
        as_float(images)
    monkeypatch.setattr(imagenet, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match="bytes; at most 10 are allowed"):
        as_float(load("imagenet", tmp_path).test_images)


def test_the_whole_is_never_in_memory(folder, monkeypatch, decoded):
    monkeypatch.setattr(lazy_images, "MAX_DECODED_BYTES", 6 * 3 * 224 * 224)
    dataset = load("imagenet", folder)
    with pytest.raises(DataError, match=r"18 images of imagenet would take 0.0 GiB; at most 6 are decoded at once"):
        np.asarray(dataset.train_images)
    split = from_dataset(dataset)
    images, labels = split.calibration(5, seed=3)
    assert images.shape == (5, 3, 224, 224) and images.dtype == np.float32 and len(labels) == len(decoded) == 5
    network = trace(tiny(), make_input("current", (3, 4, 4)))
    images, labels, what = images_for(network, "imagenet", folder, None, None, 3)
    assert len(images) == 3 and what == "3 of 18 test images of imagenet, drawn at random"
    with pytest.raises(DataError, match="take fewer"):
        images_for(network, "imagenet", folder, None, None, None)


def test_fingerprint_is_of_names_and_labels(tmp_path, folder, decoded):
    fingerprint = load("imagenet", folder).fingerprint
    write(tmp_path, files())
    assert load("imagenet", tmp_path).fingerprint == fingerprint
    os.rename(tmp_path / f"train/{CLASSES[0]}/{CLASSES[0]}_0.JPEG", tmp_path / f"train/{CLASSES[0]}/other.JPEG")
    assert load("imagenet", tmp_path).fingerprint != fingerprint
    assert not decoded


def test_warnings_of_decoders_are_hidden_and_filters_stay():
    def read(name: str) -> np.ndarray:
        warnings.warn("corrupt EXIF data", UserWarning, stacklevel=2)
        return np.zeros((1, 2, 2), np.uint8)

    images = LazyImages(np.array([str(i) for i in range(50)], dtype=object), read, (1, 2, 2), "these images")
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        assert np.asarray(images).shape == (50, 1, 2, 2)
    assert not caught and warnings.filters == before


# --- what is done with such images


def tiny() -> torch.nn.Module:
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()


def lazily(images: np.ndarray) -> LazyImages:
    names = np.array([str(i) for i in range(len(images))], dtype=object)
    return LazyImages(names, lambda name: images[int(name)], images.shape[1:], "these images")


def both_ways(count: int = 60, shape=(1, 8, 8), classes: int = 10) -> tuple[Dataset, Dataset]:
    """The same data set in memory and read when needed."""
    random = np.random.RandomState(0)
    images, labels = random.randint(0, 256, (count, *shape)).astype(np.uint8), np.arange(count) % classes
    names = tuple(str(i) for i in range(classes))
    whole = Dataset("digits", images, labels, images[:20], labels[:20], names, "made here")
    return whole, Dataset("digits", lazily(images), labels, lazily(images[:20]), labels[:20], names, "made here")


def test_training_gives_the_same_weights_as_from_memory(monkeypatch):
    whole, lazy = both_ways()
    # Two batches at once do not fit.
    monkeypatch.setattr(lazy_images, "MAX_DECODED_BYTES", 25 * 64)
    monkeypatch.setattr("rmp_lava.training.loop.EVALUATION_BATCH", 20)
    results = [train("digits-cnn", data, epochs=2, batch_size=20, progress=False) for data in (whole, lazy)]
    first, second = (result.model.state_dict() for result in results)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [vars(record) for record in results[0].history] == [vars(record) for record in results[1].history]
    assert results[0].test_accuracy == results[1].test_accuracy
    assert evaluate(results[0].model, lazy.test_images, lazy.test_labels) == results[0].test_accuracy


def test_tuning_gives_the_same_network_as_from_memory(monkeypatch):
    whole, lazy = both_ways(40, (3, 4, 4), 3)
    monkeypatch.setattr(lazy_images, "MAX_DECODED_BYTES", 16 * 48)
    monkeypatch.setattr("rmp_lava.conversion.distillation.BATCH", 16)
    monkeypatch.setattr("rmp_lava.conversion.tune._CALIBRATION_IMAGES", 16)
    analog = trace(tiny(), make_input("current", (3, 4, 4)))

    def tuned(data: Dataset):
        validation = (data.test_images, data.test_labels)
        learning = Learning(epochs=1, batch_size=8)
        return tune(analog, data.train_images, data.train_labels, 2, learning, validation=validation).network

    first, second = tuned(whole), tuned(lazy)
    assert first.layers == second.layers


@pytest.mark.parametrize("images", [lazily(np.zeros((0, 1, 8, 8), np.uint8)), lazily(np.zeros((3, 1, 8, 8), np.uint8))])
def test_a_data_set_checks_what_it_can_see(images):
    labels = np.zeros(2, dtype=np.int64)
    with pytest.raises(DataError, match="images LazyImages|3 images but 2 labels"):
        Dataset("x", images, labels, images, labels, ("a", "b"), "made here")


@pytest.mark.slow
def test_the_network_trains_and_converts_by_name(folder, tmp_path, capsys):
    path = tmp_path / "a.pt"
    train_it = ["train", "vgg16-imagenet", "--width", "0.03", "--batch-norm", "--epochs", "1", "--batch-size", "5"]
    app([*train_it, "--precision", "float32", "--data-dir", str(folder), "--output", str(path)], standalone_mode=False)
    _, metadata = load_model(path)
    assert metadata["options"]["classes"] == 3 and metadata["dataset"] == "imagenet"
    images = ["--calibration", "6", "--validation", "1", "--data-dir", str(folder)]
    app(["convert", str(path), "--steps", "2", *images], standalone_mode=False)
    app(["run", str(tmp_path / "a.net"), "--samples", "2", "--data-dir", str(folder)], standalone_mode=False)
    assert "2 of 18 test images of imagenet" in " ".join(capsys.readouterr().out.split())


def test_other_data_than_the_models_own_are_named_with_data(tmp_path):
    with pytest.raises(DataError, match="CIFAR-100 was not found"):
        app(["train", "vgg16-cifar", "--data", "cifar100", "--data-dir", str(tmp_path)], standalone_mode=False)
    with pytest.raises(UsageError, match="data set 'cifar' is unknown; choose one of digits, .*, imagenet"):
        app(["train", "vgg16-cifar", "--data", "cifar"], standalone_mode=False)


@pytest.mark.slow
def test_third_party_weights_come_with_a_function_that_builds_their_network(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "elsewhere.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 32, stride=32), nn.ReLU(), nn.AvgPool2d(7), nn.Flatten(), nn.Linear(4, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import elsewhere

    torch.save(elsewhere.net().state_dict(), "net.pth")
    options = ["--weights", "net.pth", "--data", "imagenet", "--data-dir", str(folder), "--steps", "4"]
    app(["convert", "elsewhere:net", *options, "--output", "a.net"], standalone_mode=False)
    app(["run", "a.net", "--data-dir", str(folder)], standalone_mode=False)
    assert "all 18 test images of imagenet" in " ".join(capsys.readouterr().out.split())
