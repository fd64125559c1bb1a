"""ProcessModels of the Processes in `io`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rmp_lava.processes.io import Delay, MessageSource, SpikeSink, StateProbe, StateReader, StateSink


class _Timed(PyLoihiProcessModel):
    """Maps the current time step to a sample and a step within it."""

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.steps, self.period, self.lead_in = (proc_params[name] for name in ("steps", "period", "lead_in"))

    def position(self) -> tuple[int, int]:
        """(sample, step within it from 0); the sample is negative during the lead-in."""
        return divmod(self.time_step - 1 - self.lead_in, self.period)


class _Writer(_Timed):
    """Writes something of each sample to files, channel-first."""

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.samples, self.shape = proc_params["samples"], tuple(proc_params["shape"])[::-1]

    def open(self, path: str, shape: tuple[int, ...], dtype: type) -> np.memmap:
        """A new `.npy` file."""
        return np.lib.format.open_memmap(path, mode="w+", shape=shape, dtype=dtype)


class _MessageSourceModel(_Timed):
    s_out: PyOutPort

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.messages = np.load(proc_params["path"], mmap_mode="r", allow_pickle=False)
        self.nothing = np.zeros(proc_params["shape"], dtype=self.messages.dtype)

    def run_spk(self) -> None:
        sample, step = self.position()
        if sample < 0 or sample >= len(self.messages) or step >= self.steps:
            self.s_out.send(self.nothing)
            return
        message = self.messages[sample, min(step, self.messages.shape[1] - 1)]
        self.s_out.send(np.ascontiguousarray(message.transpose()))


@implements(proc=MessageSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class PyMessageSourceFixed(_MessageSourceModel):
    """Integer messages."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)


@implements(proc=MessageSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyMessageSourceFloat(_MessageSourceModel):
    """Real-valued messages."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


class _DelayModel(PyLoihiProcessModel):
    s_in: PyInPort
    s_out: PyOutPort

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.waiting = [np.zeros(proc_params["shape"], dtype=np.int32)] * proc_params["steps"]

    def run_spk(self) -> None:
        self.waiting.append(np.array(self.s_in.recv()))
        self.s_out.send(self.waiting.pop(0))


@implements(proc=Delay, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class PyDelayFixed(_DelayModel):
    """Integer messages."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)


@implements(proc=Delay, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyDelayFloat(_DelayModel):
    """Floating-point messages."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


class _SpikeSinkModel(_Writer):
    a_in: PyInPort
    dtype: type = np.int32

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        shapes = {"spikes": (self.samples, self.steps, *self.shape), "done": (1,)}
        usual = (self.samples, *self.shape)
        self.files = {
            kind: self.open(path, shapes.get(kind, usual), self.dtype if kind == "spikes" else np.int64)
            for kind, path in proc_params["paths"].items()
        }
        self.wait, self.crosses = proc_params["wait"], frozenset(proc_params["crosses"])
        self.count, self.sum = np.zeros((2, *self.shape), dtype=np.int64)
        self.crossing = np.zeros(self.shape, dtype=bool)

    def run_spk(self) -> None:
        messages = self.a_in.recv().transpose()
        sample, step = self.position()
        if not 0 <= sample < self.samples:
            return
        if step == 0:
            self.count[:], self.sum[:], self.crossing[:] = 0, 0, False
        if step in self.crosses:
            self.crossing |= messages != 0
        if step == self.period - 1:
            self._write("crossing", sample, self.crossing)
        observed = step - self.wait
        if not 0 <= observed < self.steps:
            return
        self.count += messages != 0
        self.sum += messages.astype(np.int64)
        self._write("spikes", (sample, observed), messages)
        if observed == self.steps - 1:
            self._write("counts", sample, self.count)
            self._write("sums", sample, self.sum)
            self._write("last", sample, messages != 0)
            self._write("done", 0, sample + 1)

    def _write(self, kind: str, place: int | tuple[int, int], value: np.ndarray | int) -> None:
        if kind in self.files:
            self.files[kind][place] = value


@implements(proc=SpikeSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class PySpikeSinkFixed(_SpikeSinkModel):
    """Counts integer messages."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)


@implements(proc=SpikeSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PySpikeSinkFloat(_SpikeSinkModel):
    """Counts floating-point messages."""

    dtype = np.float32
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)


class _StateProbeModel(_Writer):
    state: PyRefPort
    dtype: type = np.int64

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.values = self.open(proc_params["path"], (self.samples, *self.shape), self.dtype)

    def post_guard(self) -> bool:
        sample, step = self.position()
        return 0 <= sample < self.samples and step == self.steps - 1

    def run_post_mgmt(self) -> None:
        self.values[self.position()[0]] = self.state.read().transpose()


@implements(proc=StateProbe, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class PyStateProbeFixed(_StateProbeModel):
    """Integer states."""

    state: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)


@implements(proc=StateProbe, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyStateProbeFloat(_StateProbeModel):
    """Real-valued states."""

    dtype = np.float64
    state: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, float)


@implements(proc=StateReader, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class PyStateReader(PyLoihiProcessModel):
    """Reads after a step, sends in the next one."""

    state: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.interval, self.step = proc_params["interval"], proc_params["step"]
        self.values: np.ndarray | None = None

    def run_spk(self) -> None:
        if self.values is not None:
            self.out.send(self.values)
            self.values = None

    def post_guard(self) -> bool:
        return (self.time_step - self.step) % self.interval == 0

    def run_post_mgmt(self) -> None:
        self.values = self.state.read()


@implements(proc=StateSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class PyStateSink(_Writer):
    """Receives only when something was sent: it would wait for ever otherwise."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.values = self.open(proc_params["path"], (self.samples, *self.shape), np.int64)

    def run_spk(self) -> None:
        sample, step = divmod(self.time_step - 1 - self.lead_in - self.steps, self.period)
        if step != 0 or self.time_step == 1:
            return
        values = np.asarray(self.a_in.recv()).astype(np.int32)
        if 0 <= sample < self.samples:
            # 24 bits arrive as an unsigned number (lava-nc, lava/networks/gradedvecnetwork.py).
            self.values[sample] = ((values << 8) >> 8).transpose()
