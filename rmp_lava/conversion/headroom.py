"""Headroom: the membrane potentials for which a board's stock neurons need room in their register."""

from __future__ import annotations

import numpy as np

from ..backends import run
from ..backends.loihi2 import deployed_schedule
from ..backends.stock import QUIET, reset_interval
from ..network import SpikingNetwork
from ..neuron import Range
from ..registers import REGISTER_LIMIT


def board_ranges(network: SpikingNetwork, images: np.ndarray, steps: int, *, seed: int = 0) -> dict[str, Range]:
    """Smallest and largest membrane potential of each layer in stock neurons, for `quantize`.

    Lower limits are stretched if the pulse that keeps neurons quiet adds to them: if there is no reset between the window and
    the period's last step, which is the case unless T is a power of two.

    Parameters
    ----------
    network : SpikingNetwork
        Of stage "balanced": in real numbers nothing saturates, so potentials beyond the register show.
    images : numpy.ndarray
        (N, *input shape) calibration images in [0, 1], or messages.
    steps : int
        T.
    seed : int
        Of the Poisson encoding.
    """
    ranges = run(network, images, steps, seed=seed).potential_ranges
    plan = deployed_schedule(network, steps)
    if reset_interval(plan) != plan.period:
        return dict(ranges)
    stretch = REGISTER_LIMIT / (REGISTER_LIMIT - QUIET)
    return {name: (low * stretch if low < 0 else low, high) for name, (low, high) in ranges.items()}
