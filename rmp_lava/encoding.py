"""From images to the messages that enter a network: Poisson spikes, a rate code, or the pixel as a current.

Poisson encoding is seeded per sample, so that every backend and every batch size sees the same spikes.
"""

from __future__ import annotations

import numpy as np

from .errors import DataError
from .network import Encoding, Input, Neurons

PIXEL_LEVELS = 255


def make_input(encoding: Encoding, shape: tuple[int, ...], levels: int | None = None) -> Input:
    """The `Input` of an encoding.

    Rate encoding is an RMP neuron driven by the 8-bit pixel, with the largest pixel as threshold and half of it as
    initial potential: pixel p gives T p / 255 spikes, rounded (a remainder of 128/255 still goes down).

    Parameters
    ----------
    encoding : {"poisson", "rate", "current", "spikes"}
    shape : tuple of int
        Of one image, (channels, height, width) or (values,).
    levels : int or None
        Largest message of current encoding; None keeps real values, for float networks.
    """
    if encoding == "rate":
        neurons = Neurons(threshold=PIXEL_LEVELS, reset="soft", v_init=PIXEL_LEVELS // 2)
        return Input(shape, "rate", levels=PIXEL_LEVELS, neurons=neurons)
    if encoding == "current":
        return Input(shape, "current", levels=levels)
    return Input(shape, encoding, levels=1)


def check_images(images: np.ndarray, source: Input) -> np.ndarray:
    """Images as float32 (samples, *shape), or spikes as (samples, steps, *shape) where the input takes spikes.

    Raises
    ------
    DataError
        If shape, type or range is wrong.
    """
    images = np.asarray(images)
    if images.dtype.kind not in "fiub":
        raise DataError(f"images have dtype {images.dtype}; expected numbers in [0, 1]")
    steps = 1 if source.encoding == "spikes" else 0
    if images.ndim != 1 + steps + len(source.shape) or images.shape[1 + steps :] != source.shape:
        expected = ("samples", "steps")[: 1 + steps] + source.shape
        raise DataError(
            f"images have shape {images.shape}; the network takes ({', '.join(map(str, expected))}), "
            "channels first; reshape or choose the data set it was trained on"
        )
    if not len(images):
        raise DataError("there are no images; pass at least one")
    low, high = float(images.min()), float(images.max())
    largest = source.levels if source.encoding == "spikes" and source.levels else 1
    if not (low >= 0 and high <= largest):
        found = "NaN" if np.isnan(low) or np.isnan(high) else f"values in [{low:g}, {high:g}]"
        if source.encoding == "spikes":
            raise DataError(f"messages contain {found}; the network takes whole numbers in [0, {largest}]")
        raise DataError(f"images contain {found}; expected [0, {largest}], so divide 8-bit pixels by 255")
    if source.encoding == "spikes" and images.dtype.kind == "f" and (images != np.rint(images)).any():
        raise DataError("messages contain fractions; the network takes whole numbers, so encode the images first")
    return images if source.encoding == "spikes" else images.astype(np.float32, copy=False)


class Encoder:
    """The messages of a batch of samples, stretch by stretch in time.

    Parameters
    ----------
    source : Input
    images : numpy.ndarray
        (samples, *shape) in [0, 1]; for encoding "spikes" (samples, steps, *shape) messages. As `check_images` returns
        them.
    steps : int
        T, steps of the window.
    seed : int
        Of the Poisson spikes; sample i draws from the generator seeded with (seed, first_sample + i).
    first_sample : int
        Index of the first image within the whole run.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the messages: uint8 or uint16 levels, or float32 where the input has no levels.
    is_constant : bool
        Whether the messages are the same in every step.

    Raises
    ------
    DataError
        If the images do not fit the input.
    """

    def __init__(self, source: Input, images: np.ndarray, steps: int, *, seed: int = 0, first_sample: int = 0) -> None:
        self.source, self.steps, self.images = source, steps, images
        self.is_constant = source.encoding in ("rate", "current")
        self.dtype = np.dtype(np.uint8 if (source.levels or 0) <= 255 else np.uint16)
        if source.encoding == "spikes" and self.images.shape[1] != steps:
            raise DataError(f"spikes are given for {self.images.shape[1]} steps, but {steps} steps are to be run")
        if source.encoding == "poisson":
            self._random = [np.random.default_rng([seed, first_sample + i]) for i in range(len(images))]
            self._next = 0
        if self.is_constant and source.levels is not None:
            self.images = np.rint(self.images * source.levels).astype(self.dtype)
        elif self.is_constant:
            self.dtype = np.dtype(np.float32)

    def keep(self, rows: np.ndarray) -> None:
        """Forget all samples but those of the given rows."""
        self.images = self.images[rows]
        if self.source.encoding == "poisson":
            self._random = [self._random[row] for row in rows]

    def messages(self, start: int, stop: int) -> np.ndarray:
        """Messages of steps start .. stop - 1, counted from 0; Poisson spikes are drawn in order, each step once.

        Returns
        -------
        numpy.ndarray
            (samples, stop - start, *shape); constant encodings return a read-only broadcast view.
        """
        shape = (len(self.images), stop - start, *self.source.shape)
        if self.is_constant:
            return np.broadcast_to(self.images[:, None], shape)
        if self.source.encoding == "spikes":
            return self.images[:, start:stop].astype(self.dtype, copy=False)
        if start != self._next:
            raise ValueError(f"Poisson spikes of step {start} were asked for, but step {self._next} is next")
        self._next = stop
        messages = np.empty(shape, dtype=np.uint8)
        for i, image in enumerate(self.images):
            messages[i] = self._random[i].random(shape[1:], dtype=np.float32) < image
        return messages


def encode(source: Input, images: np.ndarray, steps: int, *, seed: int = 0, first_sample: int = 0) -> np.ndarray:
    """Messages (before input neurons) for each sample and step: (samples, steps, *shape); see `Encoder`."""
    images = check_images(images, source)
    return Encoder(source, images, steps, seed=seed, first_sample=first_sample).messages(0, steps)
