"""A study's own images: what a folder or a .npz file may hold, and that a hostile one is refused before memory is allocated."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rmp_lava.errors import DataError, UsageError
from rmp_lava.study.arrays import ARRAYS, read_arrays
from rmp_lava.study.study import Source, Study, check_files

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
LABELS = np.arange(12) % 3
FINE = dict(zip(ARRAYS, (IMAGES, LABELS, IMAGES[:5], LABELS[:5]), strict=True))


def written(folder: Path, kind: str, **arrays: np.ndarray) -> Path:
    if kind == "npz":
        np.savez_compressed(folder / "mine.npz", **arrays)
        return folder / "mine.npz"
    (folder / "mine").mkdir()
    for name, array in arrays.items():
        np.save(folder / "mine" / f"{name}.npy", array)
    return folder / "mine"


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_four_arrays_are_data(tmp_path, kind):
    data = read_arrays(written(tmp_path, kind, **FINE))
    assert np.array_equal(data.test_images, FINE["test_images"]) and data.train_labels.dtype == np.int64
    assert not data.takes_events
    split = data.split(0.25)
    assert len(split.train_images) == 9 and sorted(split.validation_labels) == [0, 1, 2] and split.class_names == ()


def test_five_axes_are_events_over_time(tmp_path):
    events, labels = np.ones((4, 3, 1, 2, 2), np.uint8), np.zeros(4, int)
    more = read_arrays(written(tmp_path, "npz", **dict(zip(ARRAYS, (events, labels) * 2, strict=True))))
    assert more.takes_events and more.train_images.dtype == np.int8


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"test_labels": None}, "has no array test_labels; save train_images, train_labels"),
        ({"test_labels": LABELS}, r"test_labels of .* is int64 \(12,\); give each of the 5 images"),
        ({"test_labels": LABELS[:5] - 1}, "give each of the 5 images the index of its class"),
        ({"train_labels": LABELS / 2}, "train_labels of .* is float64"),
        ({"train_images": IMAGES * 1.0}, r"train_images of .* contains values in \[0, 249\]; divide"),
        ({"train_images": np.array(["a"] * 12)}, "is <U1 .*; give numbers"),
        ({"test_images": IMAGES[:5, :3]}, "give both the same shape"),
        ({"train_images": np.array([None] * 12)}, "cannot be read .*array of numbers"),
    ],
)
def test_other_arrays_are_refused_in_a_sentence(tmp_path, changed, words):
    arrays = {name: array for name, array in (FINE | changed).items() if array is not None}
    with pytest.raises(DataError, match=words):
        read_arrays(written(tmp_path, "npz", **arrays))


@pytest.mark.parametrize("shape", ["(2, 1099511627776)", "(4611686018427387904, 8)", "(-1,)", "(12,)+(4,)*9**9"])
def test_sizes_that_a_header_only_claims_are_not_allocated(tmp_path, shape):
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
        archive.writestr(
            "train_images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"0" * 64
        )
    with pytest.raises(DataError, match="train_images of .* cannot be read"):
        read_arrays(tmp_path / "mine.npz")


def test_damaged_archives_are_refused(tmp_path):
    content = io.BytesIO()
    np.savez_compressed(content, **FINE)
    path = tmp_path / "mine.npz"
    for cut in (0, 10, 200, len(content.getvalue()) - 8):
        path.write_bytes(content.getvalue()[:cut])
        with pytest.raises(DataError, match="cannot be read"):
            read_arrays(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"mine:net cannot record the data set of the training; give data, such as data = .digits."),
        ({"data": "digts"}, "data is 'digts'; choose one of digits, .*, or give a folder of .npy files"),
        ({"data": "mine.py"}, "data is 'mine.py'"),
        ({"data": ".", "data_dir": "."}, "data_dir is for the data sets digits"),
        ({"networks": {"a": Source("a.pt")}, "data": "digits"}, "a.pt does not exist"),
        ({"networks": {"a": Source("mine:net", "a.pt")}, "data": "digits"}, "weights a.pt do not exist"),
        ({"nets": {"a": "a.net"}, "data": "digits"}, "net 'a', a.net, does not exist"),
    ],
)
def test_what_cannot_be_there_is_said_before_anything_is_read(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("raise AssertionError")
    study = Study(**{"name": "s", "networks": {"n": Source("mine:net")}, "nets": {}} | options)
    with pytest.raises(UsageError, match=words):
        check_files(study)
