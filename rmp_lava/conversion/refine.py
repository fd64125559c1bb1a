"""Compare activation scales by simulation: spikes that come unevenly act as noise in later layers, which formulas ignore."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
    # Errors in units of the scales, so that a channel that is rescaled counts as before.
    found = [
        _errors(layer, batches, activation, suggested, share, centred, reset, wait) / suggested**2 for share in shares
    ]
    if len(layer.shape) == 1:
        found = [errors.sum(axis=1, keepdims=True) for errors in found]
    best = int(np.argmin([errors.min(axis=0).sum() for errors in found]))
    factors = np.asarray(FACTORS)[found[best].argmin(axis=0)]
    return Refined(suggested * (factors if len(factors) > 1 else factors[0]), shares[best])


def _errors(
    layer: Layer,
    batches: list[LayerBatch],
    activation: torch.Tensor,
    suggested: np.ndarray,
    share: float,
    centred: bool,
    reset: str,
    wait: int,
) -> np.ndarray:
    """(factors, channels) squared errors of the rates."""
    groups = suggested.size
    errors, means = (np.zeros((len(FACTORS), groups)) for _ in range(2))
    first = 0
    for batch in batches:
        wanted = activation[first : first + len(batch.images)]
        first += len(wanted)
        # Neurons in memory order: channels last.
        wanted = torch.from_numpy(to_memory(wanted.numpy(), 1).reshape(len(wanted), -1, groups))
        total = batch.total(layer)
        if total is None:
            found = iter(_rates(layer, batch, suggested, share, reset, wait))
        else:
            found = _whole_rates(layer, total, batch.plan.steps, suggested, share)
        for i, rates in enumerate(found):
            missing = wanted - rates.view(wanted.shape)
            errors[i] += missing.square().sum(dim=(0, 1), dtype=torch.float64).numpy()
            means[i] += missing.sum(dim=(0, 1), dtype=torch.float64).numpy()
    return errors - means**2 / (activation.numel() / groups) if centred else errors


def _thresholds(layer: Layer, suggested: np.ndarray) -> torch.Tensor:
    """(factors, neurons) float32, neurons in memory order."""
    value = torch.from_numpy(np.atleast_1d(suggested).astype(np.float32))
    return torch.stack([(value * factor).repeat(layer.size // len(value)) for factor in FACTORS])


def _whole_rates(
    layer: Layer, total: torch.Tensor, steps: int, suggested: np.ndarray, share: float
) -> Iterator[torch.Tensor]:
    """As `_rates`, of neurons that receive their whole input before they may spike, with soft reset."""
    for threshold in _thresholds(layer, suggested):
        counts = torch.ceil_(total / threshold + (share - 1)).clamp_(0, steps)
        yield counts.mul_(threshold / steps)


def _rates(
    layer: Layer, batch: LayerBatch, suggested: np.ndarray, share: float, reset: str, wait: int
) -> list[torch.Tensor]:
    """For each factor (samples, neurons): spikes per step times activation scale."""
    thresholds = _thresholds(layer, suggested)
    potentials = (thresholds * share)[:, None].repeat(1, len(batch.images), 1)
    counts = torch.zeros_like(potentials)
    total = 0
    for currents, steps in batch.currents(layer):
        waiting = min(max(0, wait - total), steps)
        total += steps
        if waiting:
            constant = len(currents) == 1
            potentials += currents[0] * waiting if constant else currents[:waiting].sum(dim=0)
            currents = currents if constant else currents[waiting:]
        _advance(currents, steps - waiting, thresholds, potentials, counts, reset)
    if wait:
        _advance(torch.zeros_like(potentials[:1]), wait, thresholds, potentials, counts, reset)
    return list(counts.mul_(thresholds[:, None] / total))


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
