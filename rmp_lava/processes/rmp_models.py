"""ProcessModels of the RMP neuron: bit-accurate fixed point and floating point."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rmp_lava.processes.rmp import RMP


class _RmpModel(PyLoihiProcessModel):
    """Periodic reset, then one step of the dynamics; subclasses say in which numbers."""

    a_in = None
    s_out = None
    v = None

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.reset = proc_params["reset"]
        self.v_init = proc_params["v_init"]
        self.interval = proc_params["reset_interval"]
        self.offset = proc_params["reset_offset"]
        self.started = False

    def run_spk(self) -> None:
        a = self.a_in.recv()
        if not self.started:
            self.v[:] = self.initial_potential()
            self.started = True
        if self.interval is not None and (self.time_step - 1 - self.offset) % self.interval == 0:
            self.v[:] = self.initial_potential()
        self.integrate(a)
        if self.reset == "none":
            self.s_out.send(np.zeros(self.v.shape, dtype=bool))
            return
        threshold = self.threshold()
        spikes = self.v > threshold
        if self.reset == "soft":
            self.v[spikes] -= threshold
        else:
            self.v[spikes] = 0
        self.s_out.send(spikes)


@implements(proc=RMP, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class PyRmpModelFixed(_RmpModel):
    """24-bit potential, saturating; threshold, input and v_init aligned by six bits as in Lava's LIF."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    vth: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)
    bias_mant: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    bias_exp: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=3)

    def initial_potential(self) -> int:
        return int(self.v_init) << 6

    def threshold(self) -> int:
        return int(self.vth[0]) << 6

    def integrate(self, a: np.ndarray) -> None:
        limit = 2**23 - 1
        wide = self.v.astype(np.int64) + (a.astype(np.int64) << 6) + (self.bias_mant.astype(np.int64) << self.bias_exp)
        self.v[:] = np.clip(wide, -limit, limit)


@implements(proc=RMP, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyRmpModelFloat(_RmpModel):
    """The same in real numbers, without shifts and saturation."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    v: np.ndarray = LavaPyType(np.ndarray, float)
    vth: np.ndarray = LavaPyType(np.ndarray, float)
    bias_mant: np.ndarray = LavaPyType(np.ndarray, float)
    bias_exp: np.ndarray = LavaPyType(np.ndarray, float)

    def initial_potential(self) -> float:
        return float(self.v_init)

    def threshold(self) -> float:
        return float(self.vth[0])

    def integrate(self, a: np.ndarray) -> None:
        self.v += a + self.bias_mant
