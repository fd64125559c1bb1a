"""Balance a network in each of several ways, and keep the one whose outputs come closest to the trained network's.

No way is best for every network: thresholds for each channel help where channels differ, and lose where the training has
made them alike; what is best layer by layer need not be best at the read-out. Outputs are compared, so no labels are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..backends import run
from ..errors import UsageError
from ..network import SpikingNetwork
from .analog import activations
from .balance import balance
from .balancing import Balancing

COMPARED_IMAGES = 256
"""Of the calibration images, whose outputs are compared."""


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
        differ, and "divergence", see `output_divergence`.

    Raises
    ------
    UsageError, ConversionError
        As `balance` does.
    """
    if len(ways) == 1:
        return balance(network, images, steps, ways[0], seed=seed, progress=progress)
    tried = []
    for how in ways:
        balanced = balance(network, images, steps, how, seed=seed, progress=progress)
        tried.append(
            _Tried(balanced, how, output_divergence(network, balanced, images[:COMPARED_IMAGES], steps, seed=seed))
        )
    best = min(tried, key=lambda each: each.divergence).network
    differ = [name for name in vars(ways[0]) if len({repr(getattr(how, name)) for how in ways}) > 1]
    record = [{name: getattr(t.how, name) for name in differ} | {"divergence": t.divergence} for t in tried]
    provenance = dict(best.provenance)
    provenance["balance"] = dict(provenance["balance"]) | {"tried": record}
    return best.replace(provenance=provenance)


def output_divergence(
    analog: SpikingNetwork, balanced: SpikingNetwork, images: np.ndarray, steps: int, *, seed: int = 0
) -> float:
    """How far a float spiking network's outputs after T steps are from the trained network's; 0 if they are the same.

    The mean Kullback-Leibler divergence of their softmax in nats: what distilling one network into another minimises
    (Hinton, Vinyals, Dean, 2015), because it counts differences that could change a decision. Of a single output, which
    decides nothing, the mean squared difference over the mean square.

    Raises
    ------
    UsageError
        If the outputs do not mean the trained network's (a last layer that spikes but is read by its potential).
    """
    if "output_scale" not in balanced.provenance:
        raise UsageError(
            f"network {balanced.name!r} is read by the potential of neurons that spike, which says little of its outputs; "
            "use readout 'count', or balance it in one way only"
        )
    output = analog.output.name
    wanted = torch.cat([v for _, name, v in activations(analog, images) if name == output]).flatten(1).double()
    result = run(balanced, images, steps, seed=seed)
    said = torch.from_numpy(result.output) * (balanced.provenance["output_scale"] / steps)
    said = said.double().flatten(1)
    if wanted.shape[1] == 1:
        return float((wanted - said).square().mean() / wanted.square().mean())
    wanted, said = wanted.log_softmax(dim=1), said.log_softmax(dim=1)
    return float((wanted.exp() * (wanted - said)).sum(dim=1).mean())
