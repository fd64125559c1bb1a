"""Search alpha, the factor on each layer's threshold, against the accuracy that a balanced network has at T steps.

The RMP-SNN paper (Han, Srinivasan and Roy, CVPR 2020, section 4) chooses alpha by hand: a smaller one makes neurons spike
earlier and oftener, at the price of activations that are cut off. Here one factor is tried on all layers together, then
each layer its own, in the order of the layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..backends import run
from ..errors import UsageError
from ..network import SpikingNetwork
from ..progress import Progress
from .scale import multiply_spike_value

FACTORS = (0.7, 0.85, 1.2, 1.4)
"""Tried on alpha, beside 1."""


@dataclass(frozen=True)
class _Candidate:
    network: SpikingNetwork
    correct: np.ndarray
    """(samples,) bool"""

    def is_better_than(self, other: _Candidate) -> bool:
        """Whether more images are gained than chance would: by one standard deviation of as many fair coins."""
        gained = int((self.correct & ~other.correct).sum())
        lost = int((other.correct & ~self.correct).sum())
        return gained - lost > np.sqrt(gained + lost)


def search_alpha(
    network: SpikingNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    *,
    seed: int = 0,
    progress: bool = False,
) -> SpikingNetwork:
    """Change the thresholds of a balanced network where more images are then classified correctly.

    Parameters
    ----------
    network : SpikingNetwork
        Float, as `balance` returns it.
    images, labels : numpy.ndarray
        Training images (never test images), as `rmp_lava.run` takes them, and int64 (N,) classes.
    steps : int
        T at which the accuracy counts.
    seed : int
        Of the Poisson encoding.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    SpikingNetwork
        Each layer's record has the new "alpha" and "spike_value"; `provenance["search"]` says what was gained. The network
        itself where no change helps beyond chance.

    Raises
    ------
    UsageError
        If the network is not balanced, or quantised already.
    DataError
        If images or labels do not fit.
    """
    if network.is_integer or "balance" not in network.provenance:
        raise UsageError(
            f"alpha is searched between balancing and quantising, but network {network.name!r} is "
            f"{'quantised' if network.is_integer else 'not balanced yet'}"
        )
    labels = np.asarray(labels)
    spiking = [layer.name for layer in network if layer.neurons.reset != "none"]
    groups = [tuple(spiking), *((name,) for name in spiking)] if len(spiking) > 1 else [tuple(spiking)]

    def measure(candidate: SpikingNetwork) -> _Candidate:
        result = run(candidate, images, steps, seed=seed)
        result.accuracy(labels)  # refuses labels that do not fit
        bar.advance()
        return _Candidate(candidate, result.predictions == labels)

    with Progress("searching alpha", 1 + len(groups) * len(FACTORS), shown=progress) as bar:
        best = start = measure(network)
        for names in groups:
            tried = [measure(_multiplied(best.network, names, factor)) for factor in FACTORS]
            favourite = max(tried, key=lambda candidate: candidate.correct.sum())
            if favourite.is_better_than(best):
                best = favourite
    record = {
        "steps": steps,
        "images": len(images),
        "seed": seed,
        "accuracy_before": float(start.correct.mean()),
        "accuracy_after": float(best.correct.mean()),
    }
    return best.network.replace(provenance=dict(best.network.provenance) | {"search": record})


def _multiplied(network: SpikingNetwork, names: tuple[str, ...], factor: float) -> SpikingNetwork:
    for name in names:
        network = multiply_spike_value(network, name, factor)
    return network
