"""Loaders and splits: no hostile file gets through, no test image leaks."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from memory import memory_below

from rmp_lava.errors import DataError, UsageError
from rmp_lava.training.data import Dataset, as_float, fashion_mnist, load, split_validation
from rmp_lava.training.data.idx import read_idx
from rmp_lava.training.data.lazy_images import checksum
from rmp_lava.training.data.reading import DATA_VARIABLE


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_fashion(folder, count=20, suffix="", **changed):
    """A miniature of Fashion-MNIST; `changed` replaces the bytes of parts by name."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = changed.get(f"{part}_{kind[:6]}", idx_bytes(array))
            packed = gzip.compress(content) if suffix == ".gz" else content
            (folder / f"{part}-{kind}-ubyte{suffix}").write_bytes(packed)
    return images, labels


@pytest.fixture(autouse=True)
def no_data_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setattr(fashion_mnist, "_DEBIAN_FOLDER", tmp_path / "debian")


# --- digits


def test_digits_split_is_the_same_on_every_machine_and_version():
    # Pinned, because published accuracies refer to these very test images.
    digits = load("digits")
    assert digits.train_images.shape == (1347, 1, 8, 8)
    assert digits.test_images.shape == (450, 1, 8, 8)
    assert digits.fingerprint == 2597979894
    assert checksum(digits.test_labels, checksum(digits.test_images)) == 4283346484
    assert digits.train_images.min() == 0 and digits.train_images.max() == 1
    assert digits.class_names == tuple("0123456789")


def test_digits_test_part_is_stratified_and_disjoint():
    digits = load("digits")
    counts = np.bincount(digits.test_labels) / np.bincount(np.concatenate([digits.train_labels, digits.test_labels]))
    assert np.all(np.abs(counts - 0.25) < 0.005)
    train = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in train for image in digits.test_images)


def test_another_seed_holds_out_other_digits():
    assert load("digits", seed=1).fingerprint != load("digits", seed=0).fingerprint


# --- Fashion-MNIST: finding it


@pytest.mark.parametrize("layout", ["", "FashionMNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_loads_from_every_layout(tmp_path, layout, suffix):
    images, labels = write_fashion(tmp_path / layout, suffix=suffix)
    fashion = load("fashion-mnist", tmp_path)
    assert fashion.train_images.dtype == np.float32 and fashion.train_images.shape == (20, 1, 28, 28)
    np.testing.assert_array_equal(fashion.train_images[:, 0], images.astype(np.float32) / 255)
    np.testing.assert_array_equal(fashion.test_labels, labels)
    assert fashion.source == "Fashion-MNIST idx files" and fashion.place == tmp_path / layout


def test_variable_comes_before_debian_and_argument_before_both(tmp_path, monkeypatch):
    for folder, count in (("debian", 10), ("variable", 20), ("argument", 30)):
        write_fashion(tmp_path / folder, count)
    assert len(load("fashion-mnist").train_images) == 10
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "variable"))
    assert len(load("fashion-mnist").train_images) == 20
    assert len(load("fashion-mnist", tmp_path / "argument").train_images) == 30


def test_named_folder_without_data_never_falls_back(tmp_path):
    write_fashion(tmp_path / "debian")
    with pytest.raises(DataError) as caught:
        load("fashion-mnist", tmp_path / "typo")
    message = str(caught.value)
    assert str(tmp_path / "typo") in message and "debian" not in message.split(";")[0]
    assert "apt install dataset-fashion-mnist" in message and "--data-dir" in message


def test_incomplete_folder_names_the_missing_file(tmp_path):
    write_fashion(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="lacks t10k-labels-idx1-ubyte "):
        load("fashion-mnist", tmp_path)


def test_unknown_data_set_is_named_with_the_known_ones():
    with pytest.raises(
        UsageError, match="'mnist' is unknown; choose one of digits, fashion-mnist, cifar10, cifar100, imagenet"
    ):
        load("mnist")


def test_label_out_of_range_and_unequal_counts_are_refused(tmp_path):
    bad = np.full(20, 10, np.uint8)
    write_fashion(tmp_path / "a", train_labels=idx_bytes(bad))
    with pytest.raises(DataError, match=r"labels from 10 to 10; allowed are 0 to 9"):
        load("fashion-mnist", tmp_path / "a")
    write_fashion(tmp_path / "b", t10k_labels=idx_bytes(np.zeros(19, np.uint8)))
    with pytest.raises(DataError, match="test part.* has 20 images but 19 labels"):
        load("fashion-mnist", tmp_path / "b")


# --- idx files


@settings(deadline=None)
@given(st.data())
def test_idx_round_trip_and_every_truncation(tmp_path_factory, data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)))
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    whole = idx_bytes(array)
    cut = data.draw(st.integers(0, len(whole) - 1))
    pack = gzip.compress if data.draw(st.booleans()) else bytes
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(pack(whole))
    np.testing.assert_array_equal(read_idx(path, shape[1:]), array)
    path.write_bytes(pack(whole[:cut]))
    with pytest.raises(DataError, match="truncated|starts with"):
        read_idx(path, shape[1:])
    path.write_bytes(pack(whole + b"\0"))
    with pytest.raises(DataError, match="continues after"):
        read_idx(path, shape[1:])


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_crash_the_idx_reader(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("idx") / "file"
    for prefix in (b"", b"\x1f\x8b", b"\0\0\x08\x03"):
        path.write_bytes(prefix + content)
        with pytest.raises(DataError):
            read_idx(path, (28, 28))


def test_truncated_gzip_is_reported(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((100, 28, 28), np.uint8)))[:-20])
    with pytest.raises(DataError, match="damaged gzip"):
        read_idx(path, (28, 28))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_size_claimed_by_a_header_is_not_allocated(tmp_path, pack):
    path = tmp_path / "claims"
    path.write_bytes(pack(bytes((0, 0, 8, 1)) + struct.pack(">I", 200_000_000) + b"\0" * 100))
    with memory_below(2**23):
        with pytest.raises(DataError, match="truncated: 100 of 200,000,000"):
            read_idx(path, ())


def test_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(1000, np.uint8)) + bytes(50_000_000)))
    with memory_below(2**23):
        with pytest.raises(DataError, match="continues after"):
            read_idx(path, ())


def test_absurd_dimensions_are_refused(tmp_path):
    path = tmp_path / "huge"
    path.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**32 - 1, 28, 28))
    with pytest.raises(DataError, match="at most 268,435,456"):
        read_idx(path, (28, 28))
    path.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", 0, 28, 28))
    with pytest.raises(DataError, match="allowed are N >= 1 x 28 x 28"):
        read_idx(path, (28, 28))


def test_labels_given_as_images_are_refused(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(idx_bytes(np.zeros(10, np.uint8)))
    with pytest.raises(DataError, match="starts with 00000801 where 00000803"):
        read_idx(path, (28, 28))


def test_missing_folder_and_pipe_do_not_hang_or_crash(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "missing", ())
    with pytest.raises(DataError, match="not a regular file"):
        read_idx(tmp_path, ())
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read_idx(tmp_path / "pipe", ())


# --- Dataset and split


def tiny(**changed) -> Dataset:
    images = np.linspace(0, 1, 40, dtype=np.float32).reshape(40, 1, 1, 1)
    labels = np.arange(40) % 2
    parts = dict(train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return Dataset(name="tiny", class_names=("a", "b"), source="made here", **{**parts, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(train_images=np.full((40, 1, 1, 1), 255, np.float32)), "pixels from 255.0 to 255.0"),
        (dict(train_images=np.full((40, 1, 1, 1), np.nan, np.float32)), "pixels from nan"),
        (dict(train_images=np.zeros((40, 1, 1, 1))), "images float64"),
        (dict(train_images=np.zeros((40, 1), np.float32)), "images float32"),
        (dict(test_images=np.zeros((0, 1, 1, 1), np.float32)), "non-empty"),
        (dict(test_images=np.zeros((40, 1, 2, 2), np.float32)), "must agree"),
        (dict(test_labels=np.full(40, -1)), "labels from -1"),
        (dict(test_labels=np.zeros(40, np.int32)), "labels int32"),
        (dict(train_images=[[0.5]]), "images list"),
        (dict(train_images=np.zeros((40, 1, 1, 1), np.int16)), "images int16"),
        (dict(train_images=np.zeros((40, 1, 1, 1), np.int8)), "events for training, but images for testing"),
    ],
)
def test_malformed_data_set_is_refused(changed, message):
    with pytest.raises(DataError, match=message):
        tiny(**changed)


@settings(deadline=None)
@given(st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_split_divides_the_training_part_and_nothing_else(fraction, seed):
    dataset = tiny(test_images=np.zeros((40, 1, 1, 1), np.float32))
    split = split_validation(dataset, fraction, seed)
    together = np.concatenate([split.train_images, split.validation_images]).ravel()
    np.testing.assert_array_equal(np.sort(together), dataset.train_images.ravel())
    assert abs(split.validation_labels.sum() * 2 - len(split.validation_labels)) == 0
    again = split_validation(dataset, fraction, seed)
    np.testing.assert_array_equal(split.validation_images, again.validation_images)


def test_labels_stay_with_their_images_in_a_split():
    dataset = tiny()
    label_of = dict(zip(dataset.train_images.ravel(), dataset.train_labels, strict=True))
    split = split_validation(dataset, 0.3, 5)
    assert [label_of[pixel] for pixel in split.validation_images.ravel()] == list(split.validation_labels)
    assert [label_of[pixel] for pixel in split.train_images.ravel()] == list(split.train_labels)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), 0.001])
def test_invalid_validation_fraction_is_refused(fraction):
    with pytest.raises(UsageError, match="validation fraction"):
        split_validation(tiny(), fraction)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(UsageError, match="split seed is .*; give an integer from 0 to 4,294,967,295"):
        split_validation(tiny(), 0.5, seed)


def test_fingerprint_sees_images_and_labels():
    dataset = tiny()
    labels = dataset.train_labels[::-1].copy()
    assert tiny(train_labels=labels).fingerprint != dataset.fingerprint == tiny().fingerprint


def test_bytes_and_values_are_the_same_images():
    pixels = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    values = as_float(pixels)
    assert values.dtype == np.float32 and pixels.dtype == np.uint8
    np.testing.assert_array_equal(values.ravel(), np.arange(256, dtype=np.float32) / np.float32(255))
    assert as_float(values) is values
    labels = np.arange(256) % 2
    stored = tiny(train_images=pixels, train_labels=labels, test_images=pixels, test_labels=labels)
    split = split_validation(stored)
    assert split.train_images.dtype == split.validation_images.dtype == np.uint8
