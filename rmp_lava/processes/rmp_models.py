"""ProcessModels of the RMP neuron: bit-accurate fixed point and floating point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rmp_lava.processes.rmp import RMP
from rmp_lava.registers import MAX_STATE, STATE_SHIFT


class _RmpModel(PyLoihiProcessModel):
    """Periodic reset, then one step of the dynamics; subclasses define the arithmetic. It counts steps since the reset."""

    a_in: PyInPort
    s_out: PyOutPort
    v: np.ndarray
    vth: np.ndarray
    unit = 1
    """State units in a weight unit."""

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.reset = proc_params["reset"]
        self.v_init = proc_params["v_init"]
        self.interval = proc_params["reset_interval"]
        self.offset = proc_params["reset_offset"]
        self.wait, self.steps = proc_params["wait"], proc_params["steps"]
        self.largest_spike = proc_params["largest_spike"]

    def integrate(self, a: np.ndarray) -> None:
        """Add input (weight units) and bias to v."""
        raise NotImplementedError

    def run_spk(self) -> None:
        a = self.a_in.recv()
        step = self.time_step - 1 - self.offset
        if self.interval is not None:
            step %= self.interval
        if step == 0 and self.interval is not None or self.time_step == 1:
            self.v[:] = self.v_init * self.unit
        if self.steps is None or 0 <= step < self.steps:
            self.integrate(a)
        fires = self.steps is None or self.wait <= step < self.wait + self.steps
        if not fires or self.reset == "none":
            self.s_out.send(np.zeros(self.v.shape, dtype=np.bool_))
            return
        threshold = self.vth[0] * self.unit
        spikes = self.v > threshold
        if self.largest_spike > 1:
            spikes = np.clip((self.v - 1) // threshold, 0, self.largest_spike)
        if self.reset == "soft":
            self.v[:] -= spikes * threshold
        else:
            self.v[spikes] = 0
        self.s_out.send(spikes)


@implements(proc=RMP, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class PyRmpModelFixed(_RmpModel):
    """24-bit saturating potential; threshold, input and v_init are shifted by six bits, as in Lava's LIF."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    vth: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)
    bias_mant: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    bias_exp: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=3)

    unit = 1 << STATE_SHIFT

    def integrate(self, a: np.ndarray) -> None:
        bias = self.bias_mant.astype(np.int64) << self.bias_exp
        self.v[:] = np.clip(self.v + a.astype(np.int64) * self.unit + bias, -MAX_STATE, MAX_STATE)


@implements(proc=RMP, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyRmpModelFloat(_RmpModel):
    """Real numbers, without shifts and saturation."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    v: np.ndarray = LavaPyType(np.ndarray, float)
    vth: np.ndarray = LavaPyType(np.ndarray, float)
    bias_mant: np.ndarray = LavaPyType(np.ndarray, float)
    bias_exp: np.ndarray = LavaPyType(np.ndarray, float)

    def integrate(self, a: np.ndarray) -> None:
        self.v += a + self.bias_mant
