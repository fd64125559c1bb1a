"""The distance between a spiking network's outputs and the trained network's, and the choice of options that minimises it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..backends import run
from ..errors import UsageError
from ..hardware import Profile
from ..network import SpikingNetwork
from .analog import activations
from .balance import balance
from .balancing import Balancing

COMPARED_IMAGES = 256
"""Number of calibration images whose outputs are compared."""


class TrainedOutputs:
    """A trained network's outputs on some images, as a reference for spiking networks; no labels are needed.

    Parameters
    ----------
    analog : SpikingNetwork
        Float, in analog form.
    images : numpy.ndarray
        Training images (never test images), as `rmp_lava.run` takes them; the first `COMPARED_IMAGES` are used.
    """

    def __init__(self, analog: SpikingNetwork, images: np.ndarray) -> None:
        self.images = images[:COMPARED_IMAGES]
        output = analog.output.name
        found = [value for _, name, value in activations(analog, self.images) if name == output]
        self.outputs = torch.cat(found).flatten(1).double()

    def divergence(self, network: SpikingNetwork, steps: int, *, seed: int = 0) -> float:
        """Distance of a balanced network's outputs after T steps from the trained network's; 0 if they are equal.

        The mean Kullback-Leibler divergence of their softmax, in nats: the loss of distillation (Hinton, Vinyals, Dean, 2015),
        which weights differences that could change a decision. For a single output, the mean squared difference over the mean
        square.

        Raises
        ------
        UsageError
            If the outputs do not correspond to the trained network's (the membrane potential of a spiking read-out).
        """
        if network.output_scale is None:
            raise UsageError(
                f"network {network.name!r} reads out the membrane potential of a spiking layer, which does not reflect its "
                "outputs; use readout 'count', or give one candidate only"
            )
        result = run(network, self.images, steps, seed=seed)
        outputs, expected = torch.from_numpy(result.in_trained_units(network)), self.outputs  # (N, outputs)
        if expected.shape[1] == 1:
            return float((expected - outputs).square().mean() / expected.square().mean())
        expected, outputs = expected.log_softmax(dim=1), outputs.log_softmax(dim=1)
        return float((expected.exp() * (expected - outputs)).sum(dim=1).mean())


def balance_best(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    candidates: Sequence[Balancing],
    *,
    profile: str | Profile = "loihi2",
    seed: int = 0,
    progress: bool = False,
) -> SpikingNetwork:
    """Balance a network with each of several options, and keep the result whose outputs are closest to the trained network's.

    No option is best for every network: a threshold per channel helps where channels differ, and hurts where training has made
    them alike; what is best layer by layer need not be best at the read-out. No labels are needed.

    Parameters
    ----------
    network, images, steps, profile, seed, progress
        As `balance` takes them.
    candidates : sequence of Balancing
        A single one is applied without a comparison.

    Returns
    -------
    SpikingNetwork
        As `balance` returns it. `provenance["balance"]["tried"]` lists the candidates: the fields in which they differ, and
        "divergence", see `TrainedOutputs`.

    Raises
    ------
    UsageError, ConversionError
        As `balance` does.
    """
    if len(candidates) == 1:
        return balance(network, images, steps, candidates[0], profile=profile, seed=seed, progress=progress)
    trained = TrainedOutputs(network, images)
    balanced = [
        balance(network, images, steps, how, profile=profile, seed=seed, progress=progress) for how in candidates
    ]
    divergences = [trained.divergence(each, steps, seed=seed) for each in balanced]
    best = balanced[divergences.index(min(divergences))]
    differ = [name for name in vars(candidates[0]) if len({repr(getattr(how, name)) for how in candidates}) > 1]
    record = [
        {name: getattr(how, name) for name in differ} | {"divergence": divergence}
        for how, divergence in zip(candidates, divergences, strict=True)
    ]
    provenance = dict(best.provenance)
    provenance["balance"] = dict(provenance.get("balance", {})) | {"tried": record}
    return best.replace(provenance=provenance)
