"""The distance between a spiking network's outputs and the trained network's, and the choice of options that minimises it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..backends import run
from ..errors import ConversionError, UsageError
from ..hardware import Profile
from ..network import SpikingNetwork
from ..progress import Progress
from .analog import activations
from .balance import balance
from .balancing import Balancing
from .calls import Calls, here
from .quantize import quantize

log = logging.getLogger(__name__)

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
    real : bool
        Whether the outputs are real values, as of an autoencoder, rather than scores of classes. A single output always is.
    """

    def __init__(self, analog: SpikingNetwork, images: np.ndarray, *, real: bool = False) -> None:
        self.images = images[:COMPARED_IMAGES]
        output = analog.output.name
        found = [value for _, name, value in activations(analog, self.images) if name == output]
        self.outputs = torch.cat(found).flatten(1).double()
        self.real = real or self.outputs.shape[1] == 1

    def agreement(self, network: SpikingNetwork, steps: int, *, seed: int = 0) -> float:
        """Share of images, or pixels, with the trained network's prediction after T steps; of real outputs, 1 minus their error.

        See `rmp_lava.scores.Score` for the error.
        """
        found = run(network, self.images, steps, seed=seed).agreement(network, self.outputs.numpy())
        return 1 - (found.error or 0.0) if self.real or found.accuracy is None else found.accuracy

    def divergence(self, network: SpikingNetwork, steps: int, *, seed: int = 0) -> float:
        """Distance of a balanced or integer network's outputs after T steps from the trained network's; 0 if they are equal.

        The mean Kullback-Leibler divergence of their softmax, in nats: the loss of distillation (Hinton, Vinyals, Dean, 2015),
        which weights differences that could change a decision. For real outputs, the mean squared difference over the mean
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
        if self.real:
            return float((expected - outputs).square().mean() / expected.square().mean())
        expected, outputs = expected.log_softmax(dim=1), outputs.log_softmax(dim=1)
        return float((expected.exp() * (expected - outputs)).sum(dim=1).mean())


Integers = Callable[[SpikingNetwork], SpikingNetwork]
"""A balanced network -> its integer network."""


def balance_best(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    candidates: Sequence[Balancing],
    *,
    integers: Integers = quantize,
    real: bool = False,
    profile: str | Profile = "loihi2",
    seed: int = 0,
    progress: bool = False,
    calls: Calls = here,
) -> SpikingNetwork:
    """Balance a network with each of several options, and keep the one whose integer network is closest to the trained network.

    No option is best for every network: a threshold per channel helps where channels differ, and hurts where training has made
    them alike; what is best layer by layer need not be best at the read-out, nor in float what is best in integers. No labels
    are needed.

    Parameters
    ----------
    network, images, steps, profile, seed, progress
        As `balance` takes them.
    candidates : sequence of Balancing
        A single one, or those that are the same for this network, are applied without a comparison.
    integers : callable
        Quantises a balanced network as it will be quantised.
    real : bool
        Whether outputs are real values, see `TrainedOutputs`.
    calls : Calls
        Balances with the candidates.

    Returns
    -------
    SpikingNetwork
        As `balance` returns it. `provenance["balance"]["tried"]` lists the candidates: the fields in which they differ,
        "divergence" of the integer network, see `TrainedOutputs`, or None where it cannot be quantised, and "float_divergence".

    Raises
    ------
    UsageError, ConversionError
        As `balance` does, or `integers` for every candidate.
    """
    candidates = _distinct(candidates, network)
    if len(candidates) == 1:
        return balance(network, images, steps, candidates[0], profile=profile, seed=seed, progress=progress)
    trained = TrainedOutputs(network, images, real=real)
    comparison = _Comparison(network, images, steps, trained, integers, profile, seed, progress and calls is here)
    differ = [name for name in vars(candidates[0]) if len({repr(getattr(how, name)) for how in candidates}) > 1]
    record: list[dict[str, Any]] = []
    best: tuple[float, SpikingNetwork] | None = None
    refused: ConversionError | None = None
    with Progress("ways to balance", len(candidates), shown=progress) as bar:
        for how, tried in zip(candidates, calls(_tried, comparison, candidates), strict=True):
            refused = tried.refused or refused
            if tried.divergence is not None and (best is None or tried.divergence < best[0]):
                best = tried.divergence, tried.balanced
            fields = {name: getattr(how, name) for name in differ}
            record.append(fields | {"divergence": tried.divergence, "float_divergence": tried.in_float})
            log.info("balanced %r: %s", network.name, record[-1])
            bar.advance()
    if best is None:
        assert refused is not None
        raise refused
    _, balanced = best
    provenance = dict(balanced.provenance)
    provenance["balance"] = dict(provenance.get("balance", {})) | {"tried": record}
    return balanced.replace(provenance=provenance)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """What all candidates share."""

    network: SpikingNetwork
    images: np.ndarray
    steps: int
    trained: TrainedOutputs
    integers: Integers
    profile: str | Profile
    seed: int
    progress: bool


@dataclass(frozen=True, eq=False)
class _Tried:
    """A candidate's network, the divergence of its integers or why there are none, and its own."""

    balanced: SpikingNetwork
    divergence: float | None
    refused: ConversionError | None
    in_float: float


def _tried(shared: _Comparison, how: Balancing) -> _Tried:
    steps, seed = shared.steps, shared.seed
    balanced = balance(
        shared.network, shared.images, steps, how, profile=shared.profile, seed=seed, progress=shared.progress
    )
    divergence = refused = None
    try:
        divergence = shared.trained.divergence(shared.integers(balanced), steps, seed=seed)
    except ConversionError as error:
        refused = error
    return _Tried(balanced, divergence, refused, shared.trained.divergence(balanced, steps, seed=seed))


def _distinct(candidates: Sequence[Balancing], network: SpikingNetwork) -> tuple[Balancing, ...]:
    """The candidates that differ for this network: without hidden convolutions, least-error thresholds are not channelwise."""
    if any(len(layer.shape) == 3 and layer is not network.output for layer in network):
        return tuple(candidates)
    effects = [replace(how, channelwise=False) if how.thresholds == "error" else how for how in candidates]
    return tuple(how for i, how in enumerate(candidates) if effects[i] not in effects[:i])
