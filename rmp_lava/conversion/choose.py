"""Balance a network in each of several ways, and keep the one whose outputs come closest to the trained network's.

No way is best for every network: thresholds for each channel help where channels differ, and lose where the training has
made them alike; what is best layer by layer need not be best at the read-out. Outputs are compared, so no labels are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..network import SpikingNetwork
from .balance import balance
from .balancing import Balancing
from .divergence import TrainedOutputs


@dataclass(frozen=True)
class _Tried:
    network: SpikingNetwork
    how: Balancing
    divergence: float


def balance_best(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    ways: Sequence[Balancing],
    *,
    seed: int = 0,
    progress: bool = False,
) -> SpikingNetwork:
    """Set every threshold in the way that keeps the outputs best.

    Parameters
    ----------
    network, images, steps, seed
        As `balance` takes them.
    ways : sequence of Balancing
        One of them is taken as it is, without any comparison.
    progress : bool
        Show progress bars on a terminal.

    Returns
    -------
    SpikingNetwork
        As `balance` returns it. `provenance["balance"]["tried"]` lists what was compared: the fields in which the ways
        differ, and "divergence", see `TrainedOutputs`.

    Raises
    ------
    UsageError, ConversionError
        As `balance` does.
    """
    if len(ways) == 1:
        return balance(network, images, steps, ways[0], seed=seed, progress=progress)
    trained = TrainedOutputs(network, images)
    tried = []
    for how in ways:
        balanced = balance(network, images, steps, how, seed=seed, progress=progress)
        tried.append(_Tried(balanced, how, trained.divergence(balanced, steps, seed=seed)))
    best = min(tried, key=lambda each: each.divergence).network
    differ = [name for name in vars(ways[0]) if len({repr(getattr(how, name)) for how in ways}) > 1]
    record = [{name: getattr(t.how, name) for name in differ} | {"divergence": t.divergence} for t in tried]
    provenance = dict(best.provenance)
    provenance["balance"] = dict(provenance.get("balance", {})) | {"tried": record}
    return best.replace(provenance=provenance)
