"""What a chip's registers allow: thresholds, biases, and the sums of a read-out.

Everything here is in weight units, except where it says state units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..choices import ThresholdForm
from ..hardware.profiles import Profile
from ..network import Neurons
from ..registers import STATE_SHIFT, to_state_units
from ..stock_weights import MAX_VALUE as MAX_STOCK_THRESHOLD

MAX_DENSE_REC_THRESHOLD = 254
POTENTIAL_MARGIN = 2
"""A read-out gets headroom for this many times the largest potential seen while balancing."""
_NARROWEST = 1e-4
"""Outputs are expected to vary by at least this share of their magnitude, however little calibration images vary."""


def threshold_limit(profile: Profile, form: ThresholdForm) -> int:
    """The largest threshold of a form."""
    limits = {"stock": MAX_STOCK_THRESHOLD, "free": profile["threshold_max"], "dense_rec": MAX_DENSE_REC_THRESHOLD}
    return min(profile["threshold_max"], limits[form])


def representable(threshold: int, form: ThresholdForm) -> int:
    """The largest threshold of a form that is not above this one."""
    if form == "dense_rec":
        return threshold & ~1
    if form == "stock":
        exponent = max(0, threshold.bit_length() - 8)
        return (threshold >> exponent) << exponent
    return threshold


def bias_limit(profile: Profile) -> int:
    """The largest bias."""
    return (profile["bias_mantissa_max"] << profile["bias_exponent_max"]) >> STATE_SHIFT


@dataclass(frozen=True)
class Sums:
    """What a read-out sums up per time step: smallest and largest mean input, with bias, in units of the float network.

    `steps` is the T of the longest run for which its potential has to fit.
    """

    low: float
    high: float
    steps: int

    @property
    def centre(self) -> float:
        """What all outputs have in common."""
        return (self.low + self.high) / 2

    @property
    def spread(self) -> float:
        """The largest distance from the centre that there must be room for."""
        narrowest = _NARROWEST * max(abs(self.low), abs(self.high), 1e-30)
        return POTENTIAL_MARGIN * max((self.high - self.low) / 2, narrowest)


@dataclass(frozen=True)
class ReadoutLimits:
    """Registers of an integrating read-out's neurons.

    threshold : Of a read-out whose total is read: large, so that it seldom spikes, and far from the potential's limit.
    bias, potential : Largest values.
    unit : State units by which biases may be moved: those of the largest bias exponent.
    """

    threshold: int
    bias: int
    potential: int
    unit: int

    @classmethod
    def of(cls, profile: Profile, form: ThresholdForm) -> ReadoutLimits:
        """The limits of a chip."""
        potential = profile["potential_max"]
        threshold = representable(min(threshold_limit(profile, form), potential // 4), form)
        return cls(threshold, bias_limit(profile), potential, 1 << profile["bias_exponent_max"])

    def scale(self, sums: Sums, neurons: Neurons, *, reads_total: bool) -> float:
        """The largest potential scale at which a read-out fits once what all outputs have in common is in its offset.

        Of a total, mean inputs per step are at most what one threshold takes off, and the offset keeps them from being negative.
        """
        bias = 0.0 if neurons.bias is None else neurons.bias
        apart = float(np.abs(bias - sums.centre).max())
        room = self.bias - (self.unit >> STATE_SHIFT)  # as the offset is rounded
        if reads_total:
            return min(self.threshold / (2 * sums.spread), room / (apart + sums.spread))
        return min(self.potential / (sums.spread * sums.steps), room / max(apart, 1e-30))

    def offset(self, sums: Sums, scale: float, *, reads_total: bool) -> int:
        """State units per step that are added to every bias."""
        wanted = (sums.spread if reads_total else 0.0) - sums.centre
        return int(np.ceil(to_state_units(wanted * scale) / self.unit)) * self.unit
