"""Integers from a balanced network, as both pipelines and their searches make them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...hardware.profiles import Profile
from ...network import SpikingNetwork
from ..correction import correct_biases
from ..headroom import board_ranges, native_ranges
from ..quantization import Quantization
from ..quantize import quantize

_KEPT = 3
"""Integer networks that are kept in case that they are the best."""


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Makes the integer network of a balanced one.

    `corrected` is the analog network where biases are corrected after rounding, else None.
    """

    images: np.ndarray
    steps: int
    quantization: Quantization
    profile: Profile
    corrected: SpikingNetwork | None
    seed: int
    _made: list[tuple[SpikingNetwork, SpikingNetwork]] = field(default_factory=list)

    def __call__(self, floating: SpikingNetwork) -> SpikingNetwork:
        for known, integer in self._made:
            if known.layers is floating.layers:  # but for its log, which may say now what it was compared with
                return integer.replace(provenance={**integer.provenance, **floating.provenance})
        form = self.quantization.threshold_form
        ranges_of = board_ranges if self.quantization.for_board else native_ranges
        ranges = ranges_of(floating, self.images, self.steps, seed=self.seed) or None
        bits = self.quantization.weight_bits
        integer = quantize(floating, self.profile, threshold_form=form, ranges=ranges, weight_bits=bits)
        if self.corrected is not None:
            integer = correct_biases(integer, self.corrected, self.images, self.steps, seed=self.seed)
        self._made[:] = [*self._made[-_KEPT:], (floating, integer)]
        return integer
