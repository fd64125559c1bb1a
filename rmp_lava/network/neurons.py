"""The neuron parameters of one population."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..choices import Reset, listed, options
from ..errors import NetworkError
from .values import Value, frozen_array

NO_MEMORY = 4096
"""A decay of 4096/4096: the state is forgotten within one step."""
SDNN_EXPONENT = 6
"""Lava-dl's spike and state exponents of sigma-delta neurons, unless its user chooses another spike exponent."""


@dataclass(frozen=True, eq=False, repr=False)
class Neurons(Value):
    """One population's neuron parameters; the dynamics are defined in `rmp_lava.neuron`.

    The default is the residual-membrane-potential (RMP) neuron of Han, Srinivasan and Roy (CVPR 2020): integrate and
    fire, where a spike subtracts the threshold from the membrane potential.

    Parameters
    ----------
    threshold : float or int
        V_th in weight units; the integer is Loihi's 17-bit mantissa. A neuron that never spikes still carries one.
    reset : {"soft", "hard", "none"}
        At a spike: subtract the threshold, set to zero, or never spike at all (an integrating read-out).
    v_init : float or int
        Membrane potential at the first step of each sample, in weight units.
    bias : numpy.ndarray or None
        Added to the membrane potential at each step. Shape (), (channels,) or the population's. Real weight units in a
        float network; in an integer network the 13-bit mantissa of `bias << bias_exponent`, in 1/64 of a weight unit.
    bias_exponent : int
        0..7, integer networks only.
    current_decay, voltage_decay : int
        Loihi's 12-bit decays, in 1/4096 per step. RMP and plain integrate-and-fire neurons have 4096 (the current is
        just the input) and 0 (no leak). Other values are lava-dl's CUBA neuron and exist for integers only.
    """

    threshold: float | int
    reset: Reset = "soft"
    v_init: float | int = 0
    bias: np.ndarray | None = None
    bias_exponent: int = 6
    current_decay: int = NO_MEMORY
    voltage_decay: int = 0

    def __post_init__(self) -> None:
        if self.reset not in options(Reset):
            raise NetworkError(f"neuron reset {self.reset!r} is unknown; choose one of {listed(Reset)}")
        if self.bias is not None:
            object.__setattr__(self, "bias", frozen_array(self.bias))
        else:
            object.__setattr__(self, "bias_exponent", type(self).bias_exponent)  # without a bias it means nothing

    @property
    def is_leaky(self) -> bool:
        """Whether this is a CUBA neuron with memory in its current or a leak in its potential."""
        return self.current_decay != NO_MEMORY or self.voltage_decay != 0

    @property
    def kind(self) -> str:
        """What the neurons do, in words."""
        return "integrates" if self.reset == "none" else f"{self.reset} reset"

    def bias_per_neuron(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """The bias broadcast to the population's shape, or None."""
        if self.bias is None:
            return None
        bias = self.bias
        if bias.ndim == 1 and len(shape) == 3 and bias.shape[0] == shape[0]:
            bias = bias[:, None, None]
        return np.broadcast_to(bias, shape)


@dataclass(frozen=True, eq=False, repr=False)
class SigmaDelta(Neurons):
    """A population that sends changes of its activation as graded messages; see `rmp_lava.sigma_delta` for the dynamics.

    lava-dl's SDNN neuron. With reset "soft", a layer is Lava's `SigmaDelta` with a ReLU, and the input its `Delta` encoder;
    with reset "none", a read-out is its `Sigma`, which sends the sum of what it received. Integers only; v_init, decays and
    bias exponent keep their defaults.

    Parameters
    ----------
    threshold : int
        vThMant of lava-dl: a change is sent from this on; 0 sends every change. Units of `bias`.
    bias : numpy.ndarray or None
        Part of the activation, in units of 2^(spike_exponent + state_exponent) state units.
    spike_exponent : int
        Bits of a message after the point: a frame's value of 1 is a message of `1 << spike_exponent`.
    state_exponent : int
        Bits by which states are finer than messages.
    """

    spike_exponent: int = field(default=SDNN_EXPONENT, kw_only=True)
    state_exponent: int = field(default=SDNN_EXPONENT, kw_only=True)

    @property
    def kind(self) -> str:
        return "sigma" if self.reset == "none" else "sigma-delta"

    @property
    def exponent(self) -> int:
        """Bits from frames, biases and thresholds to states."""
        return self.spike_exponent + self.state_exponent
