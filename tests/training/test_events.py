"""Recordings of events are counted in time steps."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from signals import recordings

from rmp_lava.errors import DataError, UsageError
from rmp_lava.training.data import Dataset, bin_events, frames, load
from rmp_lava.training.train import train


def recording(*events: tuple[int, int, int, float], dtype: str = "<i8") -> np.ndarray:
    """Events (x, y, p, t)."""
    return np.array(list(events), dtype=[("x", "<u2"), ("y", "<u2"), ("p", "i1"), ("t", dtype)])


def test_events_are_counted_where_and_when_they_happen():
    random = np.random.default_rng(0)
    made = random.poisson(0.3, (3, 5, 2, 4, 6)).astype(np.uint8)
    made[:, 0, 0, 0, 0] = made[:, -1, 1, 3, 5] = 1
    found = [(events, label) for events, label in recordings(made, np.array([2, 0, 1]))]
    for events, _ in found:  # so that five steps of 1000 us are five equal parts
        events["t"][0], events["t"][-1] = 0, 5000
        events["x"][0] = events["y"][0] = events["p"][0] = 0
        events["x"][-1], events["y"][-1], events["p"][-1] = 5, 3, 1
    counts, labels = bin_events(found, 5, shape=(2, 4, 6))
    assert counts.dtype == np.int8 and counts.shape == (3, 5, 2, 4, 6) and labels.tolist() == [2, 0, 1]
    for sample, (events, _) in zip(counts, found, strict=True):
        expected = np.zeros(sample.shape, int)
        for x, y, p, t in events:
            expected[min(t // 1000, 4), int(p), y, x] += 1
        np.testing.assert_array_equal(sample, expected)


def test_a_duration_drops_what_is_later_and_starts_with_the_first_event():
    events = recording((0, 0, 1, 1000), (1, 0, 0, 1999), (2, 0, 1, 2000), (2, 0, 1, 3000))
    counts, _ = bin_events([(events, 0)], 2, shape=(2, 1, 3), duration=2000)
    assert np.argwhere(counts[0]).tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 2]]


@pytest.mark.parametrize("dtype", ["<i8", "<f4"])
def test_the_last_event_belongs_to_the_last_step(dtype):
    events = recording((0, 0, 1, 0), (0, 0, 1, 1), (0, 0, 1, 2), (0, 0, 1, 4), dtype=dtype)
    counts, _ = bin_events([(events, 0), (events[:0], 1), (events[:1], 2)], 4, shape=(1, 1, 1))
    assert counts.reshape(3, 4).tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]


class Cochlea:
    """As Tonic has SHD: no y, polarity 1, and the shape of the sensor."""

    sensor_size = (7, 1, 1)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.array([(0, 3, 1), (9, index, 1)], dtype=[("t", int), ("x", int), ("p", int)]), np.int64(index)


def test_one_dimensional_events_are_values():
    counts, labels = bin_events(Cochlea(), 3)
    assert counts.shape == (2, 3, 7) and labels.tolist() == [0, 1]
    assert counts[1, 0].tolist() == [0, 0, 0, 1, 0, 0, 0] and counts[1, 2].tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_counts_are_limited():
    many = recording(*((0, 0, p, 0) for p in (-1, 1) for _ in range(100)))
    assert bin_events([(many, 0)], 1, shape=(2, 1, 1))[0].reshape(-1).tolist() == [100, 100]
    assert bin_events([(many, 0)], 1, shape=(1, 1, 1))[0].reshape(-1).tolist() == [127]  # both polarities
    assert bin_events([(many, 0)], 1, shape=(2, 1, 1), binary=True)[0].reshape(-1).tolist() == [1, 1]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "steps is 0; give an integer of at least 1"),
        ({"duration": -1.0}, "duration is -1.0; give a positive number"),
        ({"shape": None}, "the recordings do not tell the shape of their events; pass shape="),
        ({"shape": (2, 0, 4)}, "shape is (2, 0, 4); give (polarities, height, width)"),
        ({"shape": (2, 3, 2)}, "recording 0 has x from 2 to 2; allowed are 0 to 1, so pass another shape"),
        ({"shape": (2, 2**20, 2**20)}, "1 recordings of 4 steps and shape (2, 1048576, 1048576) take 8192.0 GiB"),
    ],
)
def test_what_cannot_be_counted_is_refused(options, message):
    options = {"steps": 4, "shape": (2, 3, 3)} | options
    with pytest.raises((UsageError, DataError)) as error:
        bin_events([(recording((2, 1, 0, 0)), 0)], **options)
    assert message in str(error.value)


def test_recordings_without_a_field_or_with_wild_times_are_refused():
    with pytest.raises(
        DataError, match="recording 0 has no field 't' but no fields; give structured arrays with t, p, y, x"
    ):
        bin_events([(np.zeros((3, 4)), 0)], 2, shape=(2, 3, 3))
    with pytest.raises(DataError, match="recording 0 has times that are NaN or infinite"):
        bin_events([(recording((0, 0, 0, np.nan), dtype="<f8"), 0)], 2, shape=(2, 3, 3))


def test_known_data_sets_say_what_they_need(tmp_path, monkeypatch):
    monkeypatch.delenv("RMP_LAVA_DATA", raising=False)
    with pytest.raises(DataError, match="data set 'shd' needs its folder"):
        load("shd")
    if importlib.util.find_spec("tonic") is None:
        with pytest.raises(UsageError, match="is read by Tonic, which is missing"):
            load("nmnist", tmp_path)
    else:
        with pytest.raises(DataError, match="does not hold the files of data set 'nmnist' as Tonic stores them"):
            load("nmnist", tmp_path)


def test_spoken_digits_are_read_by_tonic(tmp_path):
    pytest.importorskip("tonic", reason="Tonic is not installed: it needs Python 3.11 or newer")
    import h5py

    folder = tmp_path / "SHD"
    folder.mkdir()
    for part, count in (("train", 4), ("test", 2)):
        (folder / f"shd_{part}.h5.zip").write_bytes(b"")
        with h5py.File(folder / f"shd_{part}.h5", "w") as file:
            times = file.create_dataset("spikes/times", (count,), dtype=h5py.vlen_dtype(np.float16))
            units = file.create_dataset("spikes/units", (count,), dtype=h5py.vlen_dtype(np.uint16))
            for i in range(count):
                times[i], units[i] = np.array([0, 0.5], np.float16), np.array([i, 699], np.uint16)
            file["labels"] = np.arange(count) % 2
            file["extra/keys"], file["extra/speaker"] = np.array([b"null", b"eins"]), np.zeros(count)
    found = load("shd", tmp_path, steps=3)
    assert found.takes_events and found.input_shape == (700,) and found.class_names == ("null", "eins")
    assert np.argwhere(found.train_images[3]).tolist() == [[0, 3], [2, 699]]


@pytest.mark.slow
def test_networks_learn_the_means_of_events():
    random = np.random.default_rng(0)
    labels = np.arange(40) % 10
    events = (random.random((40, 3, 2, 34, 34)) < 0.1).astype(np.int8)
    made = Dataset("made", events, labels, events[:4], labels[:4], tuple("0123456789"), "made here")
    assert made.input_shape == (2, 34, 34) and frames(made.test_images).dtype == np.float32
    found = train("nmnist-cnn", made, epochs=1, batch_size=20, validation_fraction=0.25, progress=False)
    assert 0 <= found.test_accuracy <= 1 and found.model[0].in_channels == 2
    with pytest.raises(DataError, match="has -1 events in a step; numbers of events are 0 or more"):
        Dataset("made", -events, labels, events[:4], labels[:4], tuple("0123456789"), "made here")
