"""Headroom: the membrane potentials for which a board's stock neurons need room in their register."""

from __future__ import annotations

import numpy as np

from ..backends import run
from ..backends.loihi2 import deployed_schedule
from ..backends.stock import reset_interval
from ..choices import Record
from ..network import SpikingNetwork
from ..neuron import Range, union
from ..registers import REGISTER_LIMIT
from ..stock_weights import QUIET

IMAGES = 256
"""Images whose potentials decide where nothing wraps."""


def native_ranges(network: SpikingNetwork, images: np.ndarray, steps: int, *, seed: int = 0) -> dict[str, Range]:
    """Smallest and largest membrane potential of each layer of a network that waits, for `quantize`; empty if it does not.

    The potential of native neurons saturates, which rarely matters while they spike, but a neuron that waits gathers many times
    its threshold. Parameters are those of `board_ranges`.
    """
    if not network.wait:
        return {}
    record: tuple[Record, ...] = ("waiting",)
    found = run(network, images[:IMAGES], steps, seed=seed, record=record)
    waiting = found.waiting_ranges
    return {name: union(waiting.get(name), limits) for name, limits in found.potential_ranges.items()}


def board_ranges(network: SpikingNetwork, images: np.ndarray, steps: int, *, seed: int = 0) -> dict[str, Range]:
    """Smallest and largest membrane potential of each layer in stock neurons, for `quantize`.

    Lower limits are stretched if the pulse that keeps neurons quiet adds to them: if there is no reset between the window and
    the period's last step, which is the case unless T is a power of two. While neurons wait, that pulse holds them, and half
    of the register is left to either side.

    Parameters
    ----------
    network : SpikingNetwork
        Of stage "balanced": in real numbers nothing saturates, so potentials beyond the register show.
    images, steps, seed
        Calibration images, or messages, as `rmp_lava.run` takes them.
    """
    record: tuple[Record, ...] = ("waiting",)
    found = run(network, images, steps, seed=seed, record=record)
    ranges = dict(found.potential_ranges)
    plan = deployed_schedule(network, steps)
    stretch = REGISTER_LIMIT / (REGISTER_LIMIT - QUIET)
    # Where neurons wait, they are silenced right after their window: the pulse always adds to what is left of potentials.
    if plan.wait or reset_interval(plan) == plan.period:
        ranges = {name: (low * stretch if low < 0 else low, high) for name, (low, high) in ranges.items()}
    for name, (low, high) in found.waiting_ranges.items():
        ranges[name] = union(ranges[name], (low * stretch, high * REGISTER_LIMIT / QUIET))
    return ranges
