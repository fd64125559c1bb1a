"""I/O adapters: how messages enter and leave a graph of Processes, and what chooses their ProcessModels. Imports Lava.

The graph between the adapters is the same everywhere. On the CPU simulator, sources, sinks and probes connect directly. On a
board (`loihi2.adapters`) they connect through adapters that take one step each; `DelayAdapters` has that timing on the simulator.
"""

from __future__ import annotations

from importlib.metadata import version
from platform import python_version

from lava.magma.core.model.model import AbstractProcessModel
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.run_configs import Loihi2SimCfg, RunConfig

from ...processes.io import Delay, StateProbe, StateReader, StateSink
from .job import Reading

Models = dict[type[AbstractProcess], type[AbstractProcessModel]]
"""ProcessModels in place of those that Lava would choose: its `exception_proc_model_map`."""


class Adapters:
    """Direct connections on the CPU simulator.

    tag : {"fixed_pt", "floating_pt"}. Lava's tag of the number format.

    as_on_chip : Whether the graph is built as for a board: an adapter on each path takes one step and feeds synapses only,
        and relay neurons delay spikes.
    reads_variables : Whether the Vars of a finished run can be read.
    """

    as_on_chip = False
    reads_variables = True

    def __init__(self, tag: str = "fixed_pt") -> None:
        self.tag = tag

    def enter(self, port: OutPort, message_bits: int, *, convolution: bool) -> OutPort:
        """The port from which a synapse receives what `port` on the host sends."""
        return port

    def leave(self, port: OutPort) -> OutPort:
        """The port from which the host receives what `port` sends."""
        return port

    def probe(self, membrane: Var, path: str, *, samples: int, steps: int, period: int, lead_in: int) -> None:
        """Write a membrane's potential at the end of each window to a file."""
        StateProbe(var=membrane, path=path, samples=samples, steps=steps, period=period, lead_in=lead_in)

    def run_config(self, models: Models, steps: int) -> RunConfig:
        """What chooses the ProcessModels of a run of `steps` steps; `models` take precedence."""
        return Loihi2SimCfg(select_tag=self.tag, exception_proc_model_map=models)

    def execution(self) -> str:
        """What runs the Processes, in words."""
        return f"Lava {version('lava-nc')} CPU simulator, {self.tag}, Python {python_version()}"

    def reading(self) -> Reading:
        """What was measured during the run."""
        return {}


class DelayAdapters(Adapters):
    """The CPU simulator with the timing and the relays of a board: each adapter is a delay of one step. Integers only."""

    as_on_chip = True

    def enter(self, port: OutPort, message_bits: int, *, convolution: bool) -> OutPort:
        return self.leave(port)

    def leave(self, port: OutPort) -> OutPort:
        delay = Delay(shape=port.shape, steps=1)
        port.connect(delay.s_in)
        return delay.s_out

    def probe(self, membrane: Var, path: str, *, samples: int, steps: int, period: int, lead_in: int) -> None:
        reader = StateReader(var=membrane, interval=period, step=lead_in + steps)
        shape = membrane.shape
        sink = StateSink(shape=shape, path=path, samples=samples, steps=steps, period=period, lead_in=lead_in)
        reader.out.connect(sink.a_in)

    def execution(self) -> str:
        return super().execution() + ", adapters as delays"
