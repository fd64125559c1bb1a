"""Search each layer's threshold and initial potential against what the whole balanced network does at T steps.

The RMP-SNN paper (Han, Srinivasan and Roy, CVPR 2020, section 4) chooses alpha, the factor on thresholds, by hand: a smaller
one makes neurons spike earlier and more often, but clips activations. A larger initial potential makes
them spike earlier too. Balancing sets each layer by its own error; which errors matter only shows after the last layer.
Here a change is tried on all layers together, then on each layer, in the order of the layers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..backends import run
from ..choices import SearchFor, check_choice
from ..errors import ConversionError, UsageError
from ..network import SpikingNetwork
from ..progress import Progress
from ..scores import check_truth, classes
from .calls import Calls, here
from .divergence import Integers, TrainedOutputs
from .quantize import quantize
from .scale import multiply_scale, shift_initial_potential

log = logging.getLogger(__name__)

FACTORS = (0.7, 0.85, 1.2, 1.4)
"""Tried on alpha, as well as 1."""
SHIFTS = (-0.1, 0.1)
"""Tried on the initial potential if it is not 0, in units of the threshold."""
_WORTH = 0.995
"""An improved divergence is at most this share of the former one, as a smaller gain would be one on these images only."""
_Change = Callable[[SpikingNetwork, str, float], SpikingNetwork]


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on labelled training images: a gain counts if it exceeds one standard deviation of as many coin tosses.

    images, labels : as `rmp_lava.run` takes images, and int64 (N,) classes.
    """

    images: np.ndarray
    labels: np.ndarray
    name: str = "accuracy"

    def measure(self, network: SpikingNetwork, steps: int, seed: int) -> np.ndarray:
        """(N,) bool, which images are classified correctly."""
        result = run(network, self.images, steps, seed=seed)
        result.score(network, self.labels)  # refuses labels that do not fit
        return classes(result.output, network.output.shape) == self.labels

    def is_better(self, one: np.ndarray, other: np.ndarray) -> bool:
        gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
        return gained - lost > np.sqrt(gained + lost)


class Outputs(TrainedOutputs):
    """Outputs close to the trained network's; needs no labels, and is sensitive to changes that alter no prediction."""

    name = "outputs"

    def measure(self, network: SpikingNetwork, steps: int, seed: int) -> np.ndarray:
        """(), the divergence."""
        return np.asarray(self.divergence(network, steps, seed=seed))

    def is_better(self, one: np.ndarray, other: np.ndarray) -> bool:
        return bool(one < _WORTH * other)


Objective = Accuracy | Outputs


@dataclass(frozen=True, eq=False)
class _Trials:
    """What all measurements of a search share."""

    objective: Objective
    integers: Integers
    steps: int
    seed: int


def _measured(trials: _Trials, candidate: SpikingNetwork) -> np.ndarray | None:
    """The objective of a candidate's integer network; None where a change leaves no integers."""
    try:
        return trials.objective.measure(trials.integers(candidate), trials.steps, trials.seed)
    except ConversionError:
        return None


def make_objective(name: str, analog: SpikingNetwork, images: np.ndarray, labels: np.ndarray | None) -> Objective:
    """The objective of a name, "accuracy" or "outputs".

    Parameters
    ----------
    analog : SpikingNetwork
        The trained network, float, in analog form.
    images, labels : numpy.ndarray
        Training images and labels as `rmp_lava.scores.check_truth` takes them, None if unknown.

    Raises
    ------
    UsageError
        If the name is unknown, or labels are missing that it needs, or are no classes of images.
    DataError
        If labels do not fit the network.
    """
    check_choice("search", name, SearchFor)
    if name == "outputs":
        return Outputs(analog, images, real=labels is not None and np.asarray(labels).dtype.kind == "f")
    if labels is None:
        raise UsageError("a search for accuracy needs labels of the images; give them, or search for outputs")
    labels = np.asarray(labels)
    kind = check_truth(labels, analog.output.shape, f"network {analog.name!r}")
    if kind != "classification":
        raise UsageError(
            f"a search for accuracy needs a class of each image, but the labels are for {kind}; search for outputs"
        )
    return Accuracy(images, labels)


def search(
    network: SpikingNetwork,
    objective: Objective,
    steps: int,
    *,
    integers: Integers = quantize,
    seed: int = 0,
    progress: bool = False,
    calls: Calls = here,
) -> SpikingNetwork:
    """Change thresholds and initial potentials of a balanced network where the objective gains in its integer network.

    Parameters
    ----------
    network : SpikingNetwork
        Float, as `balance` returns it.
    objective : Accuracy or Outputs
        Of training images, never of test images.
    steps : int
        T at which it counts.
    integers : callable
        Quantises a balanced network as it will be quantised.
    seed, progress
        As `rmp_lava.run` takes them.
    calls : Calls
        Measures the changes of a layer, which all start from the best network of the layers before.

    Returns
    -------
    SpikingNetwork
        With the new activation scales; `provenance["search"]` records the gain. The network
        itself if no change helps.

    Raises
    ------
    UsageError
        If the network is not balanced, or quantised already.
    DataError
        If images or labels do not fit.
    """
    if network.stage != "balanced":
        raise UsageError(
            f"thresholds are searched between balancing and quantising, but network {network.name!r} is "
            f"{'quantised' if network.is_integer else 'not balanced yet'}"
        )
    rounds = [(names, _changes(names, network)) for names in _groups(network)]
    trials = _Trials(objective, integers, steps, seed)
    measurements = 1 + sum(len(changes) for _, changes in rounds)
    with Progress(f"searching for {objective.name}", measurements, shown=progress) as bar:
        best, reached = network, objective.measure(integers(network), steps, seed)
        before = reached
        bar.advance()
        for names, changes in rounds:
            candidates = [_changed(best, names, *each) for each in changes]
            found = calls(_measured, trials, candidates)
            for (change, amount), candidate, measured in zip(changes, candidates, found, strict=True):
                bar.advance()
                if measured is not None and objective.is_better(measured, reached):
                    best, reached = candidate, measured
                    log.info("search: %s by %g of %s improves %s", change.__name__, amount, names, objective.name)
    record = {
        "objective": objective.name,
        "steps": steps,
        "images": len(objective.images),
        "seed": seed,
        "before": float(before.mean()),
        "after": float(reached.mean()),
    }
    return best.replace(provenance=dict(best.provenance) | {"search": record})


def _changed(network: SpikingNetwork, names: tuple[str, ...], change: _Change, amount: float) -> SpikingNetwork:
    for name in names:
        network = change(network, name, amount)
    return network


def _groups(network: SpikingNetwork) -> list[tuple[str, ...]]:
    spiking = [layer.name for layer in network if layer.neurons.reset != "none"]
    return [tuple(spiking), *((name,) for name in spiking)] if len(spiking) > 1 else [tuple(spiking)]


def _changes(names: tuple[str, ...], network: SpikingNetwork) -> list[tuple[_Change, float]]:
    """What is tried on a group of layers: a change of each of them, by so much."""
    changes: list[tuple[_Change, float]] = [(multiply_scale, factor) for factor in FACTORS]
    if all(network[name].neurons.v_init for name in names):
        changes += [(shift_initial_potential, shift) for shift in SHIFTS]
    return changes
