"""How thresholds are found: the options of `balance`, each with its source, and the methods that combine them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from ..choices import BiasCalibration, ImageEncoding, InitialPotential, Method, SpikingReset, Thresholds, check_choice
from ..errors import UsageError
from ..network import SpikingNetwork
from .refine import SHARES

if TYPE_CHECKING:
    from typing_extensions import Unpack

_SHARES: dict[InitialPotential, tuple[float, ...]] = {"zero": (0.0,), "half": (0.5,), "best": SHARES}
"""Candidates for the initial potential, as shares of the threshold."""


@dataclass(frozen=True)
class Balancing:
    """How thresholds are found.

    Parameters
    ----------
    thresholds : {"v_in", "activation", "error", "tuned"}
        "v_in": a percentile of V_in (the paper). "activation": a percentile of the trained network's activations (Rueckauer
        et al., Frontiers in Neuroscience 2017). "error": the least squared error of the rates over T steps against the
        activations (as Li et al., ICML 2021, "A free lunch from ANN"). "tuned": what `tune` has found.
    percentile : float
        Percentile of the positive values, 0 < percentile <= 100; 100 is the maximum. For "v_in" and "activation".
    alpha : float or mapping
        Factor on each threshold, or by layer name (missing names: 1). The clip of a trained activation limits the threshold,
        before and after multiplication.
    v_init : {"zero", "half", "best"}
        Initial potential: 0, half the threshold (Bu et al., AAAI 2022, "Optimized potential initialization"), or the share of
        the threshold that gives each layer's simulated rates the least error; "best" requires thresholds "error".
    reset : {"soft", "hard"}
        Of the spiking layers; hard reset is the baseline that the paper compares with.
    channelwise : bool
        One activation scale per channel of a convolution and per neuron of a dense layer, folded into its weights. Not with
        "v_in" and "tuned". Neurons of hidden dense layers have one each with "error" in any case.
    calibrate : {"none", "bias"}
        "bias": correct each channel's bias by the difference between mean activation and mean rate (Li et al., ICML 2021).
    wait : int
        Time steps that neurons integrate before they may spike, 0 .. T, see `rmp_lava.schedule`: fewer errors of spikes that come
        before the inhibition that would have prevented them, for a longer latency. Only with soft reset.

    Raises
    ------
    UsageError
        If a value is not allowed.
    """

    thresholds: Thresholds = "v_in"
    percentile: float = 100.0
    alpha: float | Mapping[str, float] = 1.0
    v_init: InitialPotential = "zero"
    reset: SpikingReset = "soft"
    channelwise: bool = False
    calibrate: BiasCalibration = "none"
    wait: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.alpha, Mapping):
            object.__setattr__(self, "alpha", dict(self.alpha))
        check_choice("thresholds", self.thresholds, Thresholds)
        check_choice("v_init", self.v_init, InitialPotential)
        check_choice("reset", self.reset, SpikingReset)
        check_choice("calibrate", self.calibrate, BiasCalibration)
        if isinstance(self.wait, bool) or not isinstance(self.wait, Integral) or self.wait < 0:
            raise UsageError(f"wait is {self.wait!r}; allowed are integers from 0 to the number of time steps")
        if self.wait and self.reset == "hard":
            raise UsageError(
                f"wait is {self.wait} with reset 'hard', which drops what neurons gather while they wait; choose reset "
                "'soft', or wait 0"
            )
        if not isinstance(self.percentile, Real) or not 0 < self.percentile <= 100:
            raise UsageError(f"percentile is {self.percentile!r}; allowed are 0 < percentile <= 100")
        for factor in self.alpha.values() if isinstance(self.alpha, Mapping) else (self.alpha,):
            if not isinstance(factor, Real) or not 0 < factor < np.inf:
                raise UsageError(f"alpha is {self.alpha!r}; give positive numbers")
        if not isinstance(self.channelwise, bool | np.bool_):
            raise UsageError(f"channelwise is {self.channelwise!r}; choose True or False")
        if self.v_init == "best" and self.thresholds != "error":
            raise UsageError(
                f"v_init 'best' requires thresholds 'error', not {self.thresholds!r}; choose v_init 'half' or 'zero'"
            )
        if self.channelwise and self.thresholds not in ("activation", "error"):
            raise UsageError(
                f"channelwise thresholds come from activations, not from {self.thresholds!r}; choose thresholds "
                "'activation' or 'error'"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Candidates for the initial potential, as shares of the threshold."""
        return _SHARES[self.v_init]

    def factors(self, network: SpikingNetwork) -> dict[str, float]:
        """Alpha by layer name."""
        given = self.alpha if isinstance(self.alpha, Mapping) else {layer.name: self.alpha for layer in network}
        for name in given:
            if name not in network.depths:
                raise UsageError(
                    f"alpha names layer {name!r}, which does not exist; layers are {', '.join(network.depths)}"
                )
            if isinstance(self.alpha, Mapping) and network[name].neurons.reset == "none":
                raise UsageError(f"alpha names layer {name!r}, which integrates and has no threshold; leave it out")
        return {layer.name: float(given.get(layer.name, 1.0)) for layer in network}


class BalancingChanges(TypedDict, total=False):
    """Fields of `Balancing`, as keyword arguments."""

    thresholds: Thresholds
    percentile: float
    alpha: float | Mapping[str, float]
    v_init: InitialPotential
    reset: SpikingReset
    channelwise: bool
    calibrate: BiasCalibration


_LEAST_ERROR = Balancing(thresholds="error", v_init="best", calibrate="bias")
METHODS: dict[Method, tuple[Balancing, ...]] = {
    "paper": (Balancing(),),
    "low-latency": (dataclasses.replace(_LEAST_ERROR, channelwise=True), _LEAST_ERROR),
}
"""As Han, Srinivasan and Roy find thresholds (CVPR 2020), or for few time steps. Of several candidates, `balance_best` keeps the
best."""
ENCODINGS: dict[Method, ImageEncoding] = {"paper": "poisson", "low-latency": "current"}
"""The encoding of the input unless the caller chooses one."""


def usual_waits(steps: int) -> tuple[int, ...]:
    """Waits for T steps that are worth a comparison: none, one or two steps, and all."""
    return tuple(sorted({0, min(1, steps), min(2, steps), steps}))


def candidates_for(method: Method, *, wait: int = 0, **changes: Unpack[BalancingChanges]) -> tuple[Balancing, ...]:
    """The candidates of a method for neurons that wait, with some fields changed, without duplicates.

    Raises
    ------
    UsageError
        If a value is not allowed, or would have no effect.
    """
    check_choice("method", method, Method)
    candidates = METHODS[method]
    thresholds = changes.get("thresholds", candidates[0].thresholds)
    if thresholds != "error" and candidates[0].v_init == "best":
        changes.setdefault("v_init", "half")  # "best" requires least-error thresholds
    if thresholds in ("v_in", "tuned") and "thresholds" in changes:
        changes.setdefault("channelwise", False)  # these are per layer
    changed = [dataclasses.replace(each, wait=wait, **changes) for each in candidates]
    if "percentile" in changes and thresholds not in ("v_in", "activation"):
        raise UsageError(
            f"percentile is given, but thresholds {thresholds!r} take none; choose thresholds 'activation' or 'v_in' with it"
        )
    return tuple(each for i, each in enumerate(changed) if each not in changed[:i])
