"""The neuron parameters of one population."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..choices import Reset, listed, options
from ..errors import NetworkError
from .values import Value, frozen_array

NO_MEMORY = 4096
"""A decay of 4096/4096: the state is forgotten within one step."""


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

    def bias_per_neuron(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """The bias broadcast to the population's shape, or None."""
        if self.bias is None:
            return None
        bias = self.bias
        if bias.ndim == 1 and len(shape) == 3 and bias.shape[0] == shape[0]:
            bias = bias[:, None, None]
        return np.broadcast_to(bias, shape)
