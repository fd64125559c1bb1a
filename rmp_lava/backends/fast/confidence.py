"""Early exit: how probable a sample's prediction is after some steps."""

from __future__ import annotations

import numpy as np

from ...network import SpikingNetwork
from ...readout import output_unit


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
    outputs = scores.astype(np.float64) * (output_unit(network) / steps)
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return 1 / powers.sum(axis=1)
