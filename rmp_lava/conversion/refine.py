"""Compare activation scales by simulation: spikes that come unevenly act as noise in later layers, which formulas ignore."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from ..backends.fast.layerwise import LayerBatch, to_memory
from ..network import Layer

try:
    from . import fused_neurons
except ImportError:  # numba comes with an extra
    fused_neurons = None  # type: ignore[assignment]

FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5)
"""On the activation scale that formulas suggest."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Initial potentials as shares of the threshold: half rounds best, less makes fewer neurons spike by mistake."""


@dataclass(frozen=True)
class Refined:
    """Activation scales, of the suggested shape, and the initial potential as a share of the threshold."""

    values: np.ndarray
    share: float


def refine(
    layer: Layer,
    batches: list[LayerBatch],
    activation: torch.Tensor,
    suggested: np.ndarray,
    *,
    shares: tuple[float, ...],
    centred: bool,
    reset: str,
    wait: int = 0,
) -> Refined:
    """The activation scales and the initial potential whose simulated rates are closest to the activations.

    Parameters
    ----------
    layer : Layer
        With scaled synapses, its threshold not set yet.
    batches : list of LayerBatch
        Whose spikes reach the layer.
    activation : torch.Tensor
        float32 (samples, *shape) of the same samples.
    suggested : numpy.ndarray
        () or (units,) activation scales, which `FACTORS` multiply: channel by channel, or all neurons of a dense layer alike, of
        which each alone has too few activations on some images.
    shares : tuple of float
        To choose from, for the whole layer.
    centred : bool
        Ignore the mean error of each channel, which a correction of its bias will remove.
    reset : {"soft", "hard"}
        Of the layer.
    wait : int
        Time steps in which the layer only integrates.
    """
    errors = _errors(layer, batches, activation, suggested, shares, centred, reset, wait)
    errors /= suggested**2  # in units of the scales, so that a channel that is rescaled counts as before
    if len(layer.shape) == 1:
        errors = errors.sum(axis=2, keepdims=True)
    best = int(errors.min(axis=1).sum(axis=1).argmin())
    factors = np.asarray(FACTORS)[errors[best].argmin(axis=0)]
    return Refined(suggested * (factors if len(factors) > 1 else factors[0]), shares[best])


def _errors(
    layer: Layer,
    batches: list[LayerBatch],
    activation: torch.Tensor,
    suggested: np.ndarray,
    shares: tuple[float, ...],
    centred: bool,
    reset: str,
    wait: int,
) -> np.ndarray:
    """(shares, factors, channels) squared errors of the rates."""
    groups = suggested.size
    thresholds = _thresholds(layer, suggested)
    errors, means = (np.zeros((len(shares), len(FACTORS), groups)) for _ in range(2))
    first = 0
    for batch in batches:
        wanted = activation[first : first + len(batch.images)]
        first += len(wanted)
        # Neurons in memory order: channels last.
        wanted = torch.from_numpy(to_memory(wanted.numpy(), 1).reshape(len(wanted), -1))
        squares, missing = _compared(layer, batch, thresholds, shares, wanted, groups, reset, wait)
        errors += squares
        means += missing
    return errors - means**2 / (activation.numel() / groups) if centred else errors


def _compared(
    layer: Layer,
    batch: LayerBatch,
    thresholds: torch.Tensor,
    shares: tuple[float, ...],
    wanted: torch.Tensor,
    groups: int,
    reset: str,
    wait: int,
) -> tuple[np.ndarray, np.ndarray]:
    """A batch's summands of the squared errors and of the errors, (shares, factors, channels)."""
    total = batch.total(layer)
    if fused_neurons is not None:
        blocks = [(total[None], batch.plan.steps)] if total is not None else list(islice(batch.currents(layer), 2))
        if len(blocks) == 1:  # the whole window
            return fused_neurons.rate_errors(
                blocks[0][0].numpy(),
                batch.plan.steps,
                wait,
                thresholds.numpy(),
                shares,
                wanted.numpy(),
                groups,
                torch.get_num_threads(),
                hard=reset == "hard",
                whole=total is not None,
            )
    squares, sums = (np.zeros((len(shares), len(thresholds), groups)) for _ in range(2))
    for i, share in enumerate(shares):
        for factor, rate in enumerate(_rates(layer, batch, thresholds, share, reset, wait)):
            missing = (wanted - rate).view(len(wanted), -1, groups)
            squares[i, factor] = missing.square().sum(dim=(0, 1), dtype=torch.float64).numpy()
            sums[i, factor] = missing.sum(dim=(0, 1), dtype=torch.float64).numpy()
    return squares, sums


def _thresholds(layer: Layer, suggested: np.ndarray) -> torch.Tensor:
    """(factors, neurons) float32, neurons in memory order."""
    value = torch.from_numpy(np.atleast_1d(suggested).astype(np.float32))
    return torch.stack([(value * factor).repeat(layer.size // len(value)) for factor in FACTORS])


def _rates(
    layer: Layer, batch: LayerBatch, thresholds: torch.Tensor, share: float, reset: str, wait: int
) -> list[torch.Tensor]:
    """For each threshold (samples, neurons): spikes per step times activation scale."""
    potentials = (thresholds * share)[:, None].repeat(1, len(batch.images), 1)
    counts = torch.zeros_like(potentials)
    total = batch.total(layer)
    if total is not None:
        potentials += total
    arrived = 0
    for currents, steps in batch.currents(layer) if total is None else ():
        waiting = min(max(0, wait - arrived), steps)
        arrived += steps
        if waiting:
            constant = len(currents) == 1
            potentials += currents[0] * waiting if constant else currents[:waiting].sum(dim=0)
            currents = currents if constant else currents[waiting:]
        _advance(currents, steps - waiting, thresholds, potentials, counts, reset)
    if wait:
        _advance(torch.zeros_like(potentials[:1]), wait, thresholds, potentials, counts, reset)
    return list(counts.mul_(thresholds[:, None] / batch.plan.steps))


def _advance(
    currents: torch.Tensor,
    steps: int,
    thresholds: torch.Tensor,
    potentials: torch.Tensor,
    counts: torch.Tensor,
    reset: str,
) -> None:
    """Count the spikes of (factors, samples, neurons), in place; `thresholds` is (factors, neurons)."""
    if fused_neurons is not None:
        fused_neurons.count(
            currents.numpy(),
            thresholds.numpy(),
            potentials.numpy(),
            counts.numpy(),
            steps,
            torch.get_num_threads(),
            hard=reset == "hard",
        )
        return
    for t in range(steps):
        current = currents[t if len(currents) > 1 else 0]
        for v, threshold, count in zip(potentials, thresholds, counts, strict=True):
            v += current
            spikes = (v > threshold).float()
            v.addcmul_(spikes, v if reset == "hard" else threshold, value=-1)
            count += spikes
