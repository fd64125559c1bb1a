"""Runs of the network for the report, in memory that depends neither on the number of samples nor on T."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...backends import run
from ...conversion.rates import Rates, compare_rates
from ...conversion.tracing.reading import Model
from ...encoding import check_images, shaped
from ...network import SpikingNetwork
from ...plot.spikes import SAMPLES
from ...results import Run
from ...scores import Score, has_pixels

RASTER_STEPS = 256
"""Most steps that a raster shows; more cannot be told apart on a page."""
_RASTER_BYTES = 2**28
_LOOKED_AT = 64
"""First samples among which those of a raster are chosen."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Recorded spikes of some samples, in their first steps.

    Attributes
    ----------
    result : Run
        Of the first samples.
    images : numpy.ndarray
        Of these: (samples, *input shape), or (samples, steps, *input shape) where the input takes spikes.
    samples : tuple of int
        Which of them are drawn.
    """

    result: Run
    images: np.ndarray
    samples: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Measured:
    """What the report shows of the network on images.

    Attributes
    ----------
    result : Run
        On all images.
    score : Score or None
        Of that run, against the labels.
    labels : numpy.ndarray or None
        The classes of the images, where they have one each and outputs to tell them apart.
    what : str
        The images in words.
    rates : Rates
        Against activations, or why they are missing.
    """

    network: SpikingNetwork
    result: Run
    score: Score | None
    labels: np.ndarray | None
    what: str
    raster: Raster
    rates: Rates
    seed: int

    @property
    def classifies(self) -> bool:
        """Whether the prediction of a sample is one of several outputs."""
        return classifies(self.network, self.score)

    @property
    def steps(self) -> int:
        """T."""
        return self.result.schedule.steps


def measure(
    network: SpikingNetwork,
    images: np.ndarray,
    labels: np.ndarray | None,
    what: str,
    steps: int,
    trained: Model | str,
    *,
    seed: int = 0,
) -> Measured:
    """Run a network on images and keep what the report shows; the parameters are those of `make_page`.

    Raises
    ------
    UsageError, DataError
        As `rmp_lava.run` does.
    """
    images = shaped(np.asarray(images), network.input)
    result = run(network, images, steps, seed=seed, progress=True)
    score = None if labels is None else result.score(network, labels)
    if isinstance(trained, str):
        rates = Rates(missing=trained)
    else:
        rates = compare_rates(network, trained, images, labels, steps=steps, seed=seed)
    classes = labels if classifies(network, score) else None
    raster = _raster(network, images, classes, steps, seed)
    return Measured(network, result, score, classes, what, raster, rates, seed)


def classifies(network: SpikingNetwork, score: Score | None) -> bool:
    """Whether outputs that reached this score, if it is known, tell classes of images apart."""
    shape = network.output.shape
    return shape[0] > 1 and not has_pixels(shape) and (score is None or score.kind == "classification")


def _raster(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray | None, steps: int, seed: int) -> Raster:
    """Record a shorter run, equal to the first steps of the long one: Poisson spikes are drawn sample by sample, step by step."""
    per_step = network.neuron_count + 4 * int(np.prod(network.input.shape))
    fit = _RASTER_BYTES // (per_step * min(steps, RASTER_STEPS))
    looked_at = int(np.clip(fit, 1, min(_LOOKED_AT, len(images))))
    steps = int(np.clip(_RASTER_BYTES // (per_step * min(looked_at, SAMPLES)), 1, min(steps, RASTER_STEPS)))
    samples = _different(None if labels is None else labels[:looked_at], looked_at)
    over_time = images.ndim == 2 + len(network.input.shape)
    some = images[: samples[-1] + 1]
    some = some[:, :steps] if over_time else some
    result = run(network, some, steps, seed=seed, record={"spikes"})
    shown = check_images(some, network.input)
    shown = shown[:, -1] if over_time and network.is_sigma_delta else shown
    return Raster(result, shown, samples)


def _different(labels: np.ndarray | None, number: int) -> tuple[int, ...]:
    """The first samples, of different classes where that is possible; in their order."""
    first = [] if labels is None else sorted(np.unique(labels, return_index=True)[1].tolist())
    chosen = [*first, *(i for i in range(number) if i not in first)][:SAMPLES]
    return tuple(sorted(chosen))
