"""The neuron parameters of one population."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..choices import Reset, listed, options
from ..errors import NetworkError
from .values import Value, frozen_array, per_neuron

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
    threshold : float, int or numpy.ndarray
        V_th in weight units; the integer is Loihi's 17-bit mantissa. A neuron that never spikes still carries one. Integers of
        neurons with hard reset may differ, with the shapes of a bias; there 2^17 is one that is never reached.
    reset : {"soft", "hard", "none"}
        At a spike: subtract the threshold, set to zero, or never spike at all (an integrating read-out).
    v_init : float or int
        Membrane potential at the first step of each sample, in weight units.
    bias : numpy.ndarray or None
        Added to the membrane potential at each step. Shape (), (channels,) or the population's. Real weight units in a
        float network; in an integer network the mantissa of `bias << bias_exponent`, in 1/64 of a weight unit: 13 bits on
        Loihi, 16 on Lava's simulator.
    bias_exponent : int
        0..7, integer networks only.
    current_decay, voltage_decay : int or numpy.ndarray
        Loihi's 12-bit decays, in 1/4096 per step, of all neurons or of the shapes of a bias. RMP and plain integrate-and-fire
        neurons have 4096 (the current is just the input) and 0 (no leak). Other values are lava-dl's CUBA neuron and exist for
        integers only.
    largest_spike : int
        1, or the most spikes that a graded message stands for, each of which subtracts the threshold: 2..255, of integer neurons
        with soft reset.
    """

    threshold: float | int | np.ndarray
    reset: Reset = "soft"
    v_init: float | int = 0
    bias: np.ndarray | None = None
    bias_exponent: int = 6
    current_decay: int | np.ndarray = NO_MEMORY
    voltage_decay: int | np.ndarray = 0
    largest_spike: int = 1

    def __post_init__(self) -> None:
        if self.reset not in options(Reset):
            raise NetworkError(f"neuron reset {self.reset!r} is unknown; choose one of {listed(Reset)}")
        if self.bias is not None:
            object.__setattr__(self, "bias", frozen_array(self.bias))
        else:
            object.__setattr__(self, "bias_exponent", type(self).bias_exponent)  # without a bias it means nothing
        for name in ("threshold", "current_decay", "voltage_decay"):
            values = getattr(self, name)
            if isinstance(values, np.ndarray):  # equal ones are one
                same = bool(values.size) and (values == values.flat[0]).all()
                object.__setattr__(self, name, values.flat[0].item() if same else frozen_array(values))

    @property
    def is_uniform(self) -> bool:
        """Whether all neurons have the same threshold and decays."""
        return not any(
            isinstance(each, np.ndarray) for each in (self.threshold, self.current_decay, self.voltage_decay)
        )

    @property
    def is_leaky(self) -> bool:
        """Whether this is a CUBA neuron with memory in its current or a leak in its potential."""
        return self.has_memory or bool(np.any(self.voltage_decay))

    @property
    def has_memory(self) -> bool:
        """Whether any neuron's current has memory."""
        return bool(np.any(self.current_decay != NO_MEMORY))

    @property
    def kind(self) -> str:
        """What the neurons do, in words."""
        graded = f", up to {self.largest_spike} spikes in a message" if self.largest_spike > 1 else ""
        return "integrates" if self.reset == "none" else f"{self.reset} reset{graded}"

    def bias_per_neuron(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """The bias broadcast to the population's shape, or None."""
        return None if self.bias is None else per_neuron(self.bias, shape)

    def bias_by_unit(self, shape: tuple[int, ...]) -> np.ndarray:
        """The bias as (channels,) or, where pixels differ, of the population's shape; zeros where there is none."""
        bias = np.zeros((), np.float32) if self.bias is None else self.bias
        return np.broadcast_to(bias, shape[:1]) if bias.ndim == 0 else bias

    def decays_per_neuron(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The decays of current and voltage, broadcast to the population's shape."""
        return per_neuron(self.current_decay, shape), per_neuron(self.voltage_decay, shape)


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
