"""Recordings of event cameras and cochleas as numbers of events per time step and pixel."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ...encoding import MAX_EVENTS
from ...errors import DataError, UsageError, first_line
from ...files import StrPath
from ...progress import Progress
from .dataset import Dataset
from .reading import DATA_VARIABLE, chosen_path

MAX_BYTES = 2**34
"""Of all binned events in memory."""
STEPS = 16
"""Time steps of a recording unless the user chooses a number."""
_AXES = {3: ("p", "y", "x"), 2: ("p", "x"), 1: ("x",)}
"""The fields of an event that are its place, by the axes of an image."""


class Recordings(Protocol):
    """Any indexable data set: recordings[i] is (events, label), events a structured array with fields t, x and maybe y and p."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Any]: ...


def bin_events(
    recordings: Recordings,
    steps: int = STEPS,
    *,
    shape: Sequence[int] | None = None,
    duration: float | None = None,
    binary: bool = False,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Count the events of each recording in time steps.

    Parameters
    ----------
    recordings : indexable
        Of (events, label), such as Tonic's data sets: structured arrays with fields t, x and, as the shape needs them, y and p
        (0 or 1, False or True, or -1 or 1); labels are integers.
    steps : int
        T. Each recording is divided into so many equal parts.
    shape : sequence of int, optional
        (polarities, height, width), (polarities, width) or (width,). With one polarity both are counted. Where the data set has
        Tonic's `sensor_size`, (width, height, polarities), it need not be given: sensors of height 1 are rows, or values if they
        have one polarity.
    duration : float, optional
        Time that is divided, from a recording's first event on, in units of t; later events are dropped. If omitted, all of each
        recording.
    binary : bool
        At most one event per step and pixel; otherwise up to `MAX_EVENTS`.
    progress : bool
        Show on standard error how far it is, see `rmp_lava.progress`.

    Returns
    -------
    events : numpy.ndarray
        int8 (N, T, *shape).
    labels : numpy.ndarray
        int64 (N,).

    Raises
    ------
    UsageError, DataError
        If an argument is out of range, or a recording is not as described, or all of them do not fit into memory.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UsageError(f"steps is {steps!r}; give an integer of at least 1")
    if duration is not None and not 0 < duration < math.inf:
        raise UsageError(f"duration is {duration!r}; give a positive number, in the units of the events' times")
    size, count = _shape(recordings, shape), len(recordings)
    needed = count * steps * math.prod(size)
    if not count or needed > MAX_BYTES:
        raise DataError(
            f"{count:,} recordings of {steps} steps and shape {size} take {needed / 2**30:.1f} GiB; allowed are at least one "
            f"recording and {MAX_BYTES >> 30} GiB, so take fewer recordings or steps"
        )
    counts, labels = np.zeros((count, steps, *size), np.int8), np.zeros(count, np.int64)
    with Progress("binning events, recordings", count, shown=progress) as bar:
        for i in range(count):
            events, label = recordings[i]
            found = _binned(np.asarray(events), f"recording {i}", steps, size, duration)
            counts[i] = np.minimum(found, 1 if binary else MAX_EVENTS)
            labels[i] = int(label)
            bar.advance()
    return counts, labels


def _shape(recordings: Recordings, given: Sequence[int] | None) -> tuple[int, ...]:
    if given is None:
        sensor = getattr(recordings, "sensor_size", None)
        if not isinstance(sensor, (tuple, list)) or len(sensor) != 3 or not all(isinstance(n, int) for n in sensor):
            raise UsageError(
                "the recordings do not tell the shape of their events; pass shape=(polarities, height, width) or (width,)"
            )
        width, height, polarities = sensor
        given = (polarities, height, width) if height > 1 else (polarities, width) if polarities > 1 else (width,)
    shape = tuple(int(n) for n in given)
    if len(shape) not in _AXES or min(shape) < 1:
        raise UsageError(
            f"shape is {shape}; give (polarities, height, width), (polarities, width) or (width,), all positive"
        )
    return shape


def _binned(events: np.ndarray, what: str, steps: int, shape: tuple[int, ...], duration: float | None) -> np.ndarray:
    """(steps, *shape) numbers of events."""
    names = events.dtype.names or ()
    axes = {axis: n for axis, n in zip(_AXES[len(shape)], shape, strict=True) if axis != "p" or n > 1}
    missing = [name for name in ("t", *axes) if name not in names]
    if missing:
        raise DataError(
            f"{what} has no field {missing[0]!r} but {', '.join(names) or 'no fields'}; give structured arrays with "
            f"{', '.join(('t', *axes))}"
        )
    if not len(events):
        return np.zeros((steps, *shape), np.int64)
    place = step = _steps_of(events, what, steps, duration)
    for name, n in axes.items():
        values = (events["p"] > 0 if name == "p" else events[name]).astype(np.int64)
        if values.min() < 0 or values.max() >= n:
            raise DataError(
                f"{what} has {name} from {values.min()} to {values.max()}; allowed are 0 to {n - 1}, so pass another shape"
            )
        place = place * n + values
    found: np.ndarray = np.bincount(place[step < steps], minlength=steps * math.prod(shape))
    return found.reshape(steps, *shape)


def _steps_of(events: np.ndarray, what: str, steps: int, duration: float | None) -> np.ndarray:
    """(events,) int64 time step of each, from 0; `steps` and more after the duration."""
    times = events["t"].astype(np.float64)  # microseconds of centuries are exact
    if not np.isfinite(times).all():
        raise DataError(f"{what} has times that are NaN or infinite; events have finite times")
    times -= times.min()
    span = duration or float(times.max())
    step = np.floor(times * (steps / span)).astype(np.int64) if span else np.zeros(len(times), np.int64)
    # The last event ends the recording, so it belongs to the last part.
    return np.minimum(step, steps - 1) if duration is None else step


EVENT_DATASETS = {"nmnist": "NMNIST", "dvs-gesture": "DVSGesture", "shd": "SHD"}
"""Names, and the classes of Tonic that read them."""


def read(name: str, directory: StrPath | None, steps: int) -> Dataset:
    """A data set of `EVENT_DATASETS`, binned, from files that are there already: nothing is downloaded.

    Raises
    ------
    UsageError
        If Tonic is not installed.
    DataError
        If the files are missing or malformed.
    """
    train, test = (_recordings(name, directory, train) for train in (True, False))
    try:
        (images, labels), (test_images, test_labels) = (
            bin_events(each, steps, progress=True) for each in (train, test)
        )
    except (DataError, UsageError):
        raise
    except Exception as error:  # Tonic reads each recording when it is asked for
        raise DataError(f"data set {name!r} in {chosen_path(directory)} is damaged ({first_line(error)})") from None
    names = tuple(each.decode() if isinstance(each, bytes) else str(each) for each in train.classes)
    return Dataset(
        name, images, labels, test_images, test_labels, names, f"{name} in {steps} time steps", chosen_path(directory)
    )


def _recordings(name: str, directory: StrPath | None, train: bool) -> Any:
    place = chosen_path(directory)
    if place is None:
        raise DataError(f"data set {name!r} needs its folder; pass it (--data-dir), or set {DATA_VARIABLE}")
    if importlib.util.find_spec("tonic") is None:
        raise UsageError(
            f'data set {name!r} is read by Tonic, which is missing; install it with: pip install ".[events]"'
        )
    known = getattr(importlib.import_module("tonic.datasets"), EVENT_DATASETS[name])

    def download(self: Any) -> None:
        raise DataError(
            f"{self.location_on_system} does not hold the files of data set {name!r} as Tonic stores them; let "
            f"tonic.datasets.{known.__name__}({os.fspath(place)!r}) download them once"
        )

    # Of the same name, which Tonic makes a folder of.
    local = type(known.__name__, (known,), {"download": download})
    try:
        return local(save_to=os.fspath(place), train=train)
    except DataError:
        raise
    except Exception as error:  # files may be anything
        raise DataError(f"{place} does not hold data set {name!r} ({first_line(error)}); download it again") from None
