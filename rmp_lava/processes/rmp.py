"""The residual-membrane-potential neuron as a Lava Process."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from rmp_lava.choices import Reset, listed, options


class RMP(AbstractProcess):
    """Population of integrate-and-fire neurons that subtract their threshold when they spike.

    The dynamics are those of `rmp_lava.neuron`; fixed-point and floating-point models are in `rmp_models`.

    Parameters
    ----------
    shape : tuple of int
        Of the population, Lava order (width, height, channels) or (neurons,).
    threshold : int or float
        In weight units; fixed point: 17-bit mantissa.
    reset : {"soft", "hard", "none"}
        At a spike, subtract the threshold or set to zero; or integrate without spiking.
    v_init : int or float
        Membrane potential at the start and after each periodic reset, in weight units.
    bias_mant, bias_exp : int or numpy.ndarray
        Added each step. Fixed point: `bias_mant << bias_exp` in 1/64 of a weight unit; floating point: bias_mant in
        weight units, bias_exp ignored.
    reset_interval : int or None
        Steps between two resets of all states to v_init; None: no reset.
    reset_offset : int
        The reset happens at the start of steps t with (t - 1 - reset_offset) % reset_interval == 0, before the input of
        that step is integrated.
    wait : int
        Steps after each reset in which the neurons integrate, but do not spike.
    steps : int or None
        Steps after each reset in which input and bias are integrated; the neurons spike for as many steps after they have waited,
        and in no others. None: they integrate and spike in every step.
    largest_spike : int
        Most spikes that a message stands for; above 1 in fixed point with soft reset only.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        threshold: int | float,
        reset: Reset = "soft",
        v_init: int | float = 0,
        bias_mant: int | float | np.ndarray = 0,
        bias_exp: int = 6,
        reset_interval: int | None = None,
        reset_offset: int = 0,
        wait: int = 0,
        steps: int | None = None,
        largest_spike: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            shape=shape,
            reset=reset,
            v_init=v_init,
            reset_interval=reset_interval,
            reset_offset=reset_offset,
            wait=wait,
            steps=steps,
            largest_spike=largest_spike,
            **kwargs,
        )
        if reset not in options(Reset):
            raise ValueError(f"reset is {reset!r}; choose one of {listed(Reset)}")
        if reset_interval is not None and reset_interval < 1:
            raise ValueError(f"reset_interval is {reset_interval}; it must be at least 1, or None")
        if steps is None and wait:
            raise ValueError(f"neurons wait for {wait} steps, but steps are None; pass how long input is integrated")
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.v = Var(shape=shape, init=0)
        self.vth = Var(shape=(1,), init=threshold)
        self.bias_mant = Var(shape=shape, init=np.broadcast_to(bias_mant, shape))
        self.bias_exp = Var(shape=(1,), init=bias_exp)
