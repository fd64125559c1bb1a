"""Rounding errors of weights, measured where they matter: by how often a weight is used, and neuron by neuron."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..network import Layer, Synapse, WeightError
from .scale import source_values

Rates = Mapping[str, np.ndarray]
"""Source's name -> mean spikes per step of its units, () or (units,)."""


def weight_error(layer: Layer, integers: tuple[Synapse, ...], scale: float, rates: Rates) -> WeightError:
    """What rounding changed in a layer's weights.

    Parameters
    ----------
    layer : Layer
        Balanced, with the weights from before.
    integers : tuple of Synapse
        Its synapses with integer weights.
    scale : float
        Weight units per real unit.
    rates : mapping
        Sources that are missing, such as the input, count as if they sent a message in every step.
    """
    lost, power = np.zeros(layer.shape[0]), np.zeros(layer.shape[0])
    unused = all(s.source in rates and not rates[s.source].any() for s in layer.synapses)
    for before, after in zip(layer.synapses, integers, strict=True):
        weight = before.weight.astype(np.float64)
        used = np.ones(()) if unused or before.source not in rates else rates[before.source]
        by_weight = source_values(before, used) if used.ndim else used
        lost += _by_row((after.shifted_weight / scale - weight) ** 2 * by_weight)
        power += _by_row(weight**2 * by_weight)
    counted = power > 0
    if layer.mean_rate is not None and (live := counted & (layer.mean_rate > 0)).any():
        counted = live
    worst = float(np.sqrt((lost[counted] / power[counted]).max())) if counted.any() else 0.0
    return WeightError(float(np.sqrt(lost.sum() / (power.sum() or 1.0))), worst, _zeroed(layer.synapses, integers))


def _by_row(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).sum(axis=1)


def _zeroed(before: tuple[Synapse, ...], after: tuple[Synapse, ...]) -> float:
    weights = sum(int(np.count_nonzero(s.weight)) for s in before)
    lost = sum(int(np.count_nonzero((q.weight == 0) & (s.weight != 0))) for s, q in zip(before, after, strict=True))
    return lost / weights if weights else 0.0
