"""From images to the messages that enter a network: Poisson spikes, a rate code, or the pixel as a current.

Poisson encoding is seeded per sample, so every backend and every batch size gets the same spikes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import DataError
from .network import Encoding, Input, Neurons, SigmaDelta

PIXEL_LEVELS = 255
MAX_EVENTS = 127
"""Events of one step and pixel that one graded message counts; int8 holds them."""
_OVERSHOOT = 0.3
"""Interpolation with bicubic kernels exceeds the range of the pixels by less."""


def make_input(encoding: Encoding, shape: tuple[int, ...], levels: int | None = None) -> Input:
    """The `Input` of an encoding.

    Rate encoding is an RMP neuron driven by the 8-bit pixel, with threshold 255 and initial potential 127: pixel p gives
    T p / 255 spikes, rounded (a remainder of 128/255 is rounded down).

    Parameters
    ----------
    encoding : {"poisson", "rate", "current", "spikes"}
    shape : tuple of int
        Shape of one image, (channels, height, width) or (values,).
    levels : int or None
        Largest message of current encoding, where None keeps real values, for float networks; or of events, 1 if None.
    """
    if encoding == "rate":
        neurons = Neurons(threshold=PIXEL_LEVELS, reset="soft", v_init=PIXEL_LEVELS // 2)
        return Input(shape, "rate", levels=PIXEL_LEVELS, neurons=neurons)
    if encoding == "current":
        return Input(shape, "current", levels=levels)
    return Input(shape, encoding, levels=(levels or 1) if encoding == "spikes" else 1)


def pixel_values(images: np.ndarray) -> np.ndarray:
    """Images as float32 values: those of uint8 pixels are pixel / 255, those of other numbers stay as they are."""
    if images.dtype == np.uint8:
        values = images.astype(np.float32)
        values /= PIXEL_LEVELS
        return values
    return images.astype(np.float32, copy=False)


def event_counts(events: np.ndarray) -> np.ndarray:
    """Events per step and pixel as int8; unlike uint8 pixels they are no shares of 255.

    Raises
    ------
    DataError
        If they are no integers in 0 .. `MAX_EVENTS`.
    """
    events = np.asarray(events)
    if events.dtype.kind not in "fiub" or not events.size:
        raise DataError(f"events are {events.dtype} of shape {events.shape}; pass integers, at least one sample")
    low, high = float(events.min()), float(events.max())
    if not (low >= 0 and high <= MAX_EVENTS) or events.dtype.kind == "f" and (events != np.rint(events)).any():
        raise DataError(
            f"events have values in [{low:g}, {high:g}]; they are numbers of events per step and pixel, integers in 0 .. "
            f"{MAX_EVENTS}"
        )
    return events.astype(np.int8, copy=False)


def drawn_events(frames: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """Random events (samples, steps, *shape) of which frames (samples, *shape) are the means per step.

    Spikes with the frame as probability where no mean is above 1, else numbers with a Poisson distribution.

    Raises
    ------
    DataError
        If means are negative or not finite.
    """
    low, high = float(frames.min()), float(frames.max())
    if not (low >= 0 and high <= MAX_EVENTS):
        raise DataError(
            f"mean frames have values in [{low:g}, {high:g}]; they are mean numbers of events, 0 .. {MAX_EVENTS}"
        )
    random, shape = np.random.default_rng(seed), (len(frames), steps, *frames.shape[1:])
    if high <= 1:
        return (random.random(shape, dtype=np.float32) < frames[:, None]).astype(np.int8)
    counts: np.ndarray = np.minimum(random.poisson(np.broadcast_to(frames[:, None], shape)), MAX_EVENTS)
    return counts.astype(np.int8)


def mean_frames(events: np.ndarray) -> np.ndarray:
    """Means over time, float32 (samples, *shape), of events (samples, steps, *shape)."""
    return events.mean(axis=1, dtype=np.float32)


def unsuitable_values(images: np.ndarray) -> tuple[str, str] | None:
    """What is wrong with the values of images (numbers, at least one), and what to do; None if they are pixels in [0, 1].

    uint8 pixels in 0 .. 255 represent pixel / 255. Their values tell 8-bit pixels of other types from standardised images.
    """
    low, high = float(images.min()), float(images.max())
    found = f"values in [{low:g}, {high:g}]"
    if images.dtype == np.uint8:
        remedy = "pass values that are in [0, 1] already as float32, or multiply them by 255"
        return (f"uint8 {found}, which would be nearly black", remedy) if high == 1 else None
    if low >= 0 and high <= 1:
        return None
    if np.isnan(low) or np.isnan(high):
        return "NaN", "pass finite values in [0, 1]"
    if not (np.isfinite(low) and np.isfinite(high)):
        return "infinite values", "pass finite values in [0, 1]"
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return found, "clip them to [0, 1], as interpolated pixels may lie beyond"
    if low < 0:
        return found, (
            "if they are normalised, pass the pixels from before that, and put mean and std inside the network, or pass them to "
            "convert (--mean, --std); else pass (images - low) / (high - low), and input_range=(low, high) to convert "
            "(--input-range)"
        )
    if high <= PIXEL_LEVELS:
        return found, "divide 8-bit pixels by 255, or pass them as uint8"
    return found, "divide the pixels by their largest possible value, such as 65535 for 16 bits"


def same_elements(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes of an image differ in axes of size 1 only, so that elements have the same order in both.

    Volumes (channels, depth, height, width) may have their planes as channels.
    """
    shape, other = ((each[0] * each[1], *each[2:]) if len(each) == 4 else each for each in (shape, other))
    return [n for n in shape if n != 1] == [n for n in other if n != 1]


def shaped(images: np.ndarray, source: Input) -> np.ndarray:
    """Images in the input's shape, (samples, *shape); (samples, steps, *shape) for encoding "spikes", and of frames over time.

    Axes of size 1 may be missing: (N, H, W) are images of one channel, (N, C, L) rows, which are images of height 1.

    Raises
    ------
    DataError
        If they have another shape.
    """
    takes_frames = isinstance(source.neurons, SigmaDelta) and (
        images.ndim == 2 + len(source.shape) or not same_elements(images.shape[1:], source.shape)
    )
    steps = 1 if source.encoding == "spikes" or takes_frames else 0
    if images.ndim < 2 + steps or not same_elements(images.shape[1 + steps :], source.shape):
        expected = ("samples", "frames" if takes_frames else "steps")[: 1 + steps] + source.shape
        raise DataError(
            f"images have shape {images.shape}; the network takes ({', '.join(map(str, expected))}), "
            "channels first; reshape or choose the data set it was trained on"
        )
    return images.reshape(*images.shape[: 1 + steps], *source.shape)


def check_images(images: np.ndarray, source: Input) -> np.ndarray:
    """Images as float32 (samples, *shape), or (samples, steps, *shape) messages as they are for encoding "spikes".

    Images are values in [0, 1], or uint8 pixels in 0 .. 255, which represent pixel / 255; axes of size 1 may be missing.
    Sigma-delta networks take frames over time too, (samples, frames, *shape): such images, or the integers of encoding "frames".

    Raises
    ------
    DataError
        If the shape, type or range does not fit the input.
    """
    images = np.asarray(images)
    if images.dtype.kind not in "fiub":
        raise DataError(f"images have dtype {images.dtype}; expected numbers in [0, 1], or uint8 pixels")
    images = shaped(images, source)
    if not images.size:
        raise DataError("there are no images; pass at least one")
    if source.encoding == "spikes":
        return _checked_messages(images, 0, source.levels or 1)
    if source.encoding == "frames":
        return _checked_messages(images, -(source.levels or 1), source.levels or 1)
    unsuitable = unsuitable_values(images)
    if unsuitable is not None:
        found, remedy = unsuitable
        raise DataError(f"images contain {found}; expected [0, 1], so {remedy}")
    return pixel_values(images)


def _checked_messages(messages: np.ndarray, least: int, largest: int) -> np.ndarray:
    low, high = float(messages.min()), float(messages.max())
    if not (low >= least and high <= largest):
        found = "NaN" if np.isnan(low) or np.isnan(high) else f"values in [{low:g}, {high:g}]"
        raise DataError(f"messages contain {found}; the network takes integers in [{least}, {largest}]")
    if messages.dtype.kind == "f" and (messages != np.rint(messages)).any():
        raise DataError("messages contain fractions; the network takes integers, so encode the images first")
    return messages


class Encoder:
    """Messages of a batch of samples, in consecutive stretches of time.

    images : As `check_images` returns them: (samples, *shape), or (samples, steps, *shape) for encoding "spikes" and for frames,
        of which the last one stays.
    steps : T, time steps of the window.
    seed : Seed of the Poisson spikes; sample i draws from a generator seeded with (seed, first_sample + i).
    first_sample : Index of the first image within the run.

    dtype : Of the messages: uint8 or uint16 levels, int32 for encoding "frames", or float32 if the input has no levels.
    is_constant : Whether the messages are equal in every step.

    Raises
    ------
    DataError
        If the images do not fit the input.
    """

    def __init__(self, source: Input, images: np.ndarray, steps: int, *, seed: int = 0, first_sample: int = 0) -> None:
        self.source, self.steps, self.images = source, steps, images
        self._frames = self.images.shape[1] if self.images.ndim == 2 + len(source.shape) else 0
        self.is_constant = not self._frames and source.encoding != "poisson"
        self.dtype: np.dtype[Any] = np.dtype(np.uint8 if (source.levels or 0) <= 255 else np.uint16)
        if source.encoding == "spikes" and self._frames != steps:
            raise DataError(
                f"the images hold spikes of {self._frames} steps, but the run has {steps}; pass steps={self._frames}"
            )
        if self._frames > steps:
            raise DataError(f"the images hold {self._frames} frames, but the run has {steps} steps; pass more steps")
        if source.encoding == "poisson":
            self._random = [np.random.default_rng([seed, first_sample + i]) for i in range(len(images))]
            self._next = 0
        elif source.encoding == "frames":
            self.dtype = np.dtype(np.int32)
            self.images = self.images.astype(self.dtype)
        elif source.levels is None:
            self.dtype = np.dtype(np.float32)
        elif source.encoding != "spikes":
            self.images = np.rint(self.images * source.levels).astype(self.dtype)

    def keep(self, rows: np.ndarray) -> None:
        """Drop all samples but the given rows."""
        self.images = self.images[rows]
        if self.source.encoding == "poisson":
            self._random = [self._random[row] for row in rows]

    def messages(self, start: int, stop: int) -> np.ndarray:
        """Messages of steps start .. stop - 1, from 0; Poisson spikes are drawn in order, each step once.

        Returns
        -------
        numpy.ndarray
            (samples, stop - start, *shape); constant encodings return a read-only broadcast view.
        """
        shape = (len(self.images), stop - start, *self.source.shape)
        if self.is_constant:
            return np.broadcast_to(self.images[:, None], shape)
        if self._frames:
            last = np.minimum(np.arange(start, stop), self._frames - 1)
            return self.images[:, last].astype(self.dtype, copy=False)
        if start != self._next:
            raise ValueError(f"Poisson spikes of step {start} were requested, but step {self._next} is next")
        self._next = stop
        messages = np.empty(shape, dtype=np.uint8)
        for i, image in enumerate(self.images):
            messages[i] = self._random[i].random(shape[1:], dtype=np.float32) < image
        return messages


def encode(source: Input, images: np.ndarray, steps: int, *, seed: int = 0, first_sample: int = 0) -> np.ndarray:
    """(samples, steps, *shape) messages, before any input neurons; see `Encoder`."""
    images = check_images(images, source)
    return Encoder(source, images, steps, seed=seed, first_sample=first_sample).messages(0, steps)
