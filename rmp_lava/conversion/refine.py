"""Compare spike values by what neurons really do with them: uneven spikes reach further layers as noise that no formula has."""

from __future__ import annotations

import numpy as np
import torch

from ..backends.fast.synapses import to_memory
from ..network import Layer
from .replay import Replay

FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5)
"""On the spike value that formulas suggest."""


def best_factors(
    layer: Layer, replays: list[Replay], activation: torch.Tensor, bound: np.ndarray, *, half: bool, centred: bool
) -> np.ndarray:
    """The factor on the spike value with which rates come closest to the activations, simulated with the real input.

    Parameters
    ----------
    layer : Layer
        With scaled synapses, its threshold not set yet.
    replays : list of Replay
        Whose spikes reach the layer.
    activation : torch.Tensor
        float32 (samples, *shape) of the same samples.
    bound : numpy.ndarray
        () or (channels,) spike values.
    half : bool
        Start from half a threshold.
    centred : bool
        Leave the mean error of each channel out, as its bias is going to be moved by it.

    Returns
    -------
    numpy.ndarray
        Of the shape of `bound`, each from `FACTORS`.
    """
    groups = bound.size
    errors = np.zeros((len(FACTORS), groups))
    means = np.zeros((len(FACTORS), groups))
    count = activation.numel() / groups
    first = 0
    for replay in replays:
        wanted = activation[first : first + len(replay.images)]
        first += len(wanted)
        # Neurons in memory order: channels last.
        wanted = torch.from_numpy(to_memory(wanted.numpy(), 1).reshape(len(wanted), -1, groups))
        for i, rates in enumerate(_rates(layer, replay, bound, half)):
            missing = wanted - rates.view(wanted.shape)
            errors[i] += missing.square().sum(dim=(0, 1), dtype=torch.float64).numpy()
            means[i] += missing.sum(dim=(0, 1), dtype=torch.float64).numpy()
    if centred:
        errors -= means**2 / count
    best = np.asarray(FACTORS)[errors.argmin(axis=0)]
    return best if bound.ndim else best[0]


def _rates(layer: Layer, replay: Replay, bound: np.ndarray, half: bool) -> list[torch.Tensor]:
    """For each factor (samples, neurons): spikes per step times spike value."""
    value = torch.from_numpy(np.atleast_1d(bound).astype(np.float32))
    thresholds = [(value * factor).repeat(layer.size // len(value)) for factor in FACTORS]
    samples = len(replay.images)
    states = [(t / 2 if half else torch.zeros_like(t)).repeat(samples, 1) for t in thresholds]
    fired = [torch.zeros((samples, layer.size)) for _ in thresholds]
    total = 0
    for currents, steps in replay.currents(layer, with_bias=True):
        total += steps
        for t in range(steps):
            current = currents[t if len(currents) > 1 else 0]
            for v, threshold, rate in zip(states, thresholds, fired, strict=True):
                v += current
                spikes = (v > threshold).float()
                v.addcmul_(spikes, threshold, value=-1)
                rate += spikes
    return [rate.mul_(threshold / total) for rate, threshold in zip(fired, thresholds, strict=True)]
