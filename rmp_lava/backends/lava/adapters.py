"""Where a built network meets the world: what enters, who observes, what runs it. Imports Lava.

The network between these ends is the same everywhere. On the CPU simulator sources, sinks and probes connect to it directly;
on a board (`loihi2.ends`) through adapters, which take a step each. `AdaptedEnds` has that timing on the simulator.
"""

from __future__ import annotations

from importlib.metadata import version
from platform import python_version
from typing import Any

from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.variable import Var
from lava.magma.core.run_configs import Loihi2SimCfg, RunConfig
from lava.proc.sparse.process import Sparse
from scipy.sparse import identity

from ...network import Conv, SpikingNetwork
from ...processes.conv_models import BLAS_CONV
from ...processes.io import Delay, StateProbe, StateReader, StateSink
from .build import Entry
from .population import Population


class Ends:
    """The ends of a network on the CPU simulator.

    Attributes
    ----------
    steps_in, steps_out : int
        Steps that messages take from the source to where Lava's own would be, and from a population to its observer.
    """

    steps_in = 0
    steps_out = 0

    def __init__(self, network: SpikingNetwork, job: dict[str, Any]) -> None:
        self.network, self.job = network, job
        self.tag = "fixed_pt" if network.is_integer else "floating_pt"
        self.entry = Entry()

    def spikes(self, population: Population) -> OutPort:
        """The port from which an observer receives a population's spikes."""
        return population.s_out

    def probe(self, membrane: Var, path: str, timing: dict[str, int]) -> None:
        """Write a membrane's potential at the end of each window into a file."""
        StateProbe(var=membrane, path=path, **timing)

    def run_config(self, models: dict, steps: int) -> RunConfig:
        """What chooses the ProcessModels of a run of so many steps; `models` are the user's own choices."""
        blas = BLAS_CONV[self.tag] if self.job["conv_model"] == "blas" else {}
        return Loihi2SimCfg(select_tag=self.tag, exception_proc_model_map=blas | models)

    def execution(self) -> str:
        """What runs the network, in words."""
        words = f"Lava {version('lava-nc')} CPU simulator, {self.tag}, Python {python_version()}"
        if any(isinstance(synapse, Conv) for layer in self.network for synapse in layer.synapses):
            own = self.job["conv_model"] == "lava"
            words += ", convolutions by Lava's own model" if own else ", convolutions by BLAS"
        return words

    def readings(self) -> dict[str, Any]:
        """What the ends have measured; plain numbers by name."""
        return {}


class AdaptedEntry(Entry):
    """Messages that pass an adapter; what its subclasses say it is.

    An adapter feeds synapses, so the input's neurons get one of weight 1 each.
    """

    def adapter(self, port: OutPort, message_bits: int, *, convolution: bool) -> OutPort:
        """The port behind an adapter that receives what `port` sends."""
        raise NotImplementedError

    def to_synapse(self, port: OutPort, message_bits: int, *, convolution: bool) -> OutPort:
        return self.adapter(port, message_bits, convolution=convolution)

    def to_neurons(self, port: OutPort, message_bits: int, population: Population) -> None:
        behind = self.adapter(port.flatten(), message_bits, convolution=False)
        synapse = Sparse(weights=identity(behind.size, dtype="int32", format="csr"), num_message_bits=message_bits)
        behind.connect(synapse.s_in)
        synapse.a_out.reshape(population.shape).connect(population.a_in)


def adapted_steps_in(network: SpikingNetwork) -> int:
    """Steps that messages take more through an `AdaptedEntry`: one in the adapter, one in a synapse of the input's neurons."""
    return 1 if network.input.neurons is None else 2


class _DelayedEntry(AdaptedEntry):
    on_chip = True

    def adapter(self, port: OutPort, message_bits: int, *, convolution: bool) -> OutPort:
        return _one_step_later(port)


class AdaptedEnds(Ends):
    """The CPU simulator with the timing and the relays of a board: each adapter is a step's delay. Integers only."""

    steps_out = 1

    def __init__(self, network: SpikingNetwork, job: dict[str, Any]) -> None:
        super().__init__(network, job)
        self.steps_in = adapted_steps_in(network)
        self.entry = _DelayedEntry()

    def spikes(self, population: Population) -> OutPort:
        return _one_step_later(population.s_out)

    def probe(self, membrane: Var, path: str, timing: dict[str, int]) -> None:
        reader = StateReader(var=membrane, interval=timing["period"], step=timing["lead_in"] + timing["steps"])
        reader.out.connect(StateSink(shape=membrane.shape, path=path, **timing).a_in)

    def execution(self) -> str:
        return super().execution() + ", adapters as delays"


def _one_step_later(port: OutPort) -> OutPort:
    delay = Delay(shape=port.shape, steps=1)
    port.connect(delay.s_in)
    return delay.s_out
