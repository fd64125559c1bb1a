"""The ends of a network on a board: adapters, reading of states, probes. Imports Lava. Never run on hardware."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.variable import Var

from ...network import SpikingNetwork
from ...processes.io import Delay, MessageSource, SpikeSink, StateSink
from ...processes.io_models import PyDelayFixed, PyMessageSourceFixed, PySpikeSinkFixed, PyStateSink
from ..board import Board
from ..lava.adapters import AdaptedEntry, Ends, adapted_steps_in
from ..lava.population import Population
from . import api

ON_THE_HOST = {
    MessageSource: PyMessageSourceFixed,
    SpikeSink: PySpikeSinkFixed,
    Delay: PyDelayFixed,
    StateSink: PyStateSink,
}
"""Processes that belong on the host, with their models; all others run on the chip or not at all."""


class _ChipEntry(AdaptedEntry):
    on_chip = True

    def adapter(self, port: OutPort, message_bits: int, *, convolution: bool) -> OutPort:
        return api.into_chip(port, message_bits, convolution=convolution)


class ChipEnds(Ends):
    """The ends of a network on a board; its messages take a step more in each adapter (lava-dl, pilotnet_snn/run.ipynb)."""

    steps_out = 1

    def __init__(self, network: SpikingNetwork, job: dict[str, Any]) -> None:
        super().__init__(network, job)
        api.require()
        self.board = Board(**job["board"])
        self.where = api.select_board(self.board)
        self.steps_in = adapted_steps_in(network)
        self.entry = _ChipEntry()
        self.measured = None

    def spikes(self, population: Population) -> OutPort:
        return api.out_of_chip(population.s_out)

    def probe(self, membrane: Var, path: str, timing: dict[str, int]) -> None:
        read = api.state_out_of_chip(membrane, timing["period"], timing["lead_in"] + timing["steps"])
        sink = StateSink(shape=membrane.shape, path=path, **timing)
        read.connect(sink.a_in)

    def run_config(self, models: dict, steps: int) -> Any:
        probes = []
        if self.job["measure"] is not None:
            self.measured = api.probe(self.job["measure"], steps)
            probes.append(self.measured)
        return api.run_config(ON_THE_HOST, probes, models)

    def execution(self) -> str:
        return f"{self.where}, lava-loihi {version('lava-loihi')}, lava-nc {version('lava-nc')}"

    def readings(self) -> dict[str, Any]:
        return {} if self.measured is None else {"reading": api.reading(self.job["measure"], self.measured)}
