"""Integers from a balanced network, as both pipelines and their searches make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...hardware.profiles import Profile
from ...network import SpikingNetwork
from ...neuron import Range
from ..correction import correct_biases
from ..headroom import board_ranges, native_ranges
from ..quantization import Quantization
from ..quantize import RANGE_SHARE, quantize

_KEPT = 3
"""Integer networks that are kept in case that they are the best."""


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Makes the integer network of a balanced one.

    `corrected` is the analog network where biases are corrected after rounding, else None. `ranges` are those for which a tuned
    network was trained; others would round its weights to another grid.
    """

    images: np.ndarray
    steps: int
    quantization: Quantization
    profile: Profile
    corrected: SpikingNetwork | None
    seed: int
    ranges: Mapping[str, Range] | None = None
    _made: list[tuple[SpikingNetwork, SpikingNetwork]] = field(default_factory=list)

    def __call__(self, floating: SpikingNetwork) -> SpikingNetwork:
        for known, integer in self._made:
            if known.layers is floating.layers:  # but for its log, which may say now what it was compared with
                return integer.replace(provenance={**integer.provenance, **floating.provenance})
        form, bits = self.quantization.threshold_form, self.quantization.weight_bits
        ranges = self.measured_ranges(floating)
        if ranges is not None and self.ranges is not None:
            ranges = {name: _settled(self.ranges[name], found) for name, found in ranges.items()}
        integer = quantize(floating, self.profile, threshold_form=form, ranges=ranges, weight_bits=bits)
        if self.corrected is not None:
            integer = correct_biases(integer, self.corrected, self.images, self.steps, seed=self.seed)
        self._made[:] = [*self._made[-_KEPT:], (floating, integer)]
        return integer

    def measured_ranges(self, floating: SpikingNetwork) -> dict[str, Range] | None:
        """Smallest and largest membrane potentials that need room, see `quantize`; None where none does."""
        ranges_of = board_ranges if self.quantization.for_board else native_ranges
        return ranges_of(floating, self.images, self.steps, seed=self.seed) or None


def _settled(trained: Range, found: Range) -> Range:
    """The range that was trained for, unless potentials have outgrown the register since."""
    largest, reached = (max(map(abs, limits)) for limits in (trained, found))
    return trained if reached * RANGE_SHARE <= largest else found
