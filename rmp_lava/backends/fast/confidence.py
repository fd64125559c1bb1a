"""Early exit: how probable a sample's prediction is after some steps."""

from __future__ import annotations

import numpy as np

from ...errors import UsageError
from ...network import SpikingNetwork
from ...readout import needs_potential
from ...registers import to_weight_units


def required_scale(network: SpikingNetwork) -> float:
    """The network's output scale; raises `UsageError` without one."""
    if network.output_scale is None:
        raise UsageError(
            f"network {network.name!r} has no output_scale, so its read-out has no confidence; convert it again, or set it"
        )
    return network.output_scale


def exit_probability(network: SpikingNetwork, scores: np.ndarray, steps: int) -> np.ndarray:
    """Probability of the prediction from the read-out after `steps` steps.

    The read-out per step, in units of the trained network's outputs (`SpikingNetwork.output_scale`), through a softmax:
    the trained network's own probability once rates have settled.

    Parameters
    ----------
    scores : numpy.ndarray
        (samples, outputs) spike counts, or potentials in state units (integers) or weight units.

    Returns
    -------
    numpy.ndarray
        (samples,) 0..1.
    """
    scale = required_scale(network)
    if network.is_integer and needs_potential(network):
        scale = to_weight_units(scale)
    outputs = scores.astype(np.float64) * (scale / steps)
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return 1 / powers.sum(axis=1)
