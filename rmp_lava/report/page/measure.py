"""Runs of the network for the report, in memory that depends neither on the number of samples nor on T."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...backends import run
from ...conversion.tracing.reading import Model
from ...encoding import check_images, shaped
from ...network import INPUT, SpikingNetwork
from ...results import Run
from ...scores import Score, has_pixels
from .rates import Rates, compare_rates

RASTER_SAMPLES = 3
RASTER_STEPS = 256
"""Most steps that a raster shows; more cannot be told apart on a page."""
_RASTER_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class Raster:
    """Recorded spikes of the first samples, in their first steps.

    Attributes
    ----------
    spikes : dict
        Layer name (and "input") -> (samples, steps, *shape).
    images : numpy.ndarray
        (samples, *input shape), or (samples, steps, *input shape) where the input takes spikes.
    """

    spikes: dict[str, np.ndarray]
    images: np.ndarray
    samples: int
    steps: int


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
        shape = self.network.output.shape
        return shape[0] > 1 and not has_pixels(shape) and (self.score is None or self.score.kind == "classification")

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
    raster = _raster(network, images, steps, seed)
    rates = compare_rates(network, trained, images, labels, steps, seed)
    measured = Measured(network, result, score, None, what, raster, rates, seed)
    return replace(measured, labels=labels) if measured.classifies else measured


def _raster(network: SpikingNetwork, images: np.ndarray, steps: int, seed: int) -> Raster:
    """Record a shorter run. It equals the first steps of the long one: Poisson spikes are drawn step by step."""
    per_step = network.neuron_count + 4 * int(np.prod(network.input.shape))
    samples = int(np.clip(_RASTER_BYTES // (per_step * min(steps, RASTER_STEPS)), 1, min(RASTER_SAMPLES, len(images))))
    steps = int(np.clip(_RASTER_BYTES // (per_step * samples), 1, min(steps, RASTER_STEPS)))
    over_time = images.ndim == 2 + len(network.input.shape)
    some = images[:samples, :steps] if over_time else images[:samples]
    result = run(network, some, steps, seed=seed, record={"spikes"})
    shown = check_images(some, network.input)
    shown = shown[:, -1] if over_time and network.is_sigma_delta else shown
    return Raster({name: result.spikes[name] for name in (INPUT, *network.depths)}, shown, samples, steps)
