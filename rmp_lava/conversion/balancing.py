"""How thresholds are found: the options of `balance`, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..network import SpikingNetwork
from .refine import SHARES

THRESHOLDS = ("v_in", "activation", "error", "tuned")
CALIBRATIONS = ("none", "bias")
_SHARES = {"zero": (0.0,), "half": (0.5,), "best": SHARES}
"""Of the threshold, from which an initial potential is chosen."""


@dataclass(frozen=True)
class Balancing:
    """How thresholds are found.

    Parameters
    ----------
    thresholds : {"v_in", "activation", "error", "tuned"}
        "v_in": a percentile of V_in (the paper). "activation": a percentile of the trained network's activations (Rueckauer
        et al., Frontiers in Neuroscience 2017). "error": the least squared error of T steps' rates against activations (as
        Li et al., ICML 2021, "A free lunch from ANN"). "tuned": what `tune` has recorded.
    percentile : float
        Of positive values, 0 < percentile <= 100; 100 is the maximum. Of "v_in" and "activation".
    alpha : float or mapping
        Factor on each threshold, or by layer name (missing names: 1). Where the trained activation is clipped, the threshold
        that it is a factor on, and the product, are the clip at most.
    v_init : {"zero", "half", "best"}
        Initial potential 0, half the threshold (Bu et al., AAAI 2022, "Optimized potential initialization"), or the share of
        it with which each layer's simulated rates are best, with thresholds "error" only.
    reset : {"soft", "hard"}
        Of the spiking layers; hard is the baseline that the paper compares with.
    channelwise : bool
        A threshold for each channel of a convolution, folded into its weights. Not with "v_in" and "tuned".
    calibrate : {"none", "bias"}
        "bias": move each channel's bias by what its rate is short of the mean activation (Li et al., ICML 2021).

    Raises
    ------
    UsageError
        If a value is not allowed.
    """

    thresholds: str = "v_in"
    percentile: float = 100.0
    alpha: float | Mapping[str, float] = 1.0
    v_init: str = "zero"
    reset: str = "soft"
    channelwise: bool = False
    calibrate: str = "none"

    def __post_init__(self) -> None:
        if isinstance(self.alpha, Mapping):
            object.__setattr__(self, "alpha", dict(self.alpha))
        for name, allowed in (
            ("thresholds", THRESHOLDS),
            ("v_init", tuple(_SHARES)),
            ("reset", ("soft", "hard")),
            ("calibrate", CALIBRATIONS),
        ):
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(map(repr, allowed))}")
        if not 0 < self.percentile <= 100:
            raise UsageError(f"percentile is {self.percentile}; allowed are 0 < percentile <= 100")
        if self.v_init == "best" and self.thresholds != "error":
            raise UsageError(
                f"v_init 'best' is found with thresholds 'error', not with {self.thresholds!r}; choose 'half' or 'zero'"
            )
        if self.channelwise and self.thresholds not in ("activation", "error"):
            raise UsageError(
                f"channelwise thresholds come from activations, not from {self.thresholds!r}; choose thresholds "
                "'activation' or 'error'"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the threshold, from which the initial potential is chosen."""
        return _SHARES[self.v_init]

    def factors(self, network: SpikingNetwork) -> dict[str, float]:
        """Alpha by layer name."""
        given = self.alpha if isinstance(self.alpha, Mapping) else {layer.name: self.alpha for layer in network}
        for name, factor in given.items():
            if not np.isfinite(factor) or factor <= 0:
                raise UsageError(f"alpha of layer {name!r} is {factor}; it must be a positive number")
            if name not in network.depths:
                raise UsageError(
                    f"alpha names layer {name!r}, which does not exist; layers are {', '.join(network.depths)}"
                )
            if isinstance(self.alpha, Mapping) and network[name].neurons.reset == "none":
                raise UsageError(f"alpha names layer {name!r}, which integrates and has no threshold; leave it out")
        return {layer.name: float(given.get(layer.name, 1.0)) for layer in network}
