"""I/O adapters of a board, with reading of states and probes. Imports Lava. Never run on hardware."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.variable import Var
from lava.magma.core.run_configs import RunConfig

from ...processes.io import Delay, MessageSource, SpikeSink, StateSink
from ...processes.io_models import PyDelayFixed, PyMessageSourceFixed, PySpikeSinkFixed, PyStateSink
from ..board import Board
from ..lava.adapters import Adapters, Models
from ..lava.job import Probe, Reading
from . import api

ON_THE_HOST: Models = {
    MessageSource: PyMessageSourceFixed,
    SpikeSink: PySpikeSinkFixed,
    Delay: PyDelayFixed,
    StateSink: PyStateSink,
}
"""Processes that belong on the host, with their models. All others run on the chip or not at all."""


class ChipAdapters(Adapters):
    """Adapters between the host and neuro-cores; each takes one step (lava-dl, pilotnet_snn/run.ipynb).

    Raises
    ------
    BackendUnavailableError
        If lava-loihi differs from the contract, or the board cannot be reached.
    """

    as_on_chip = True
    reads_variables = False  # whether Vars can be read after a run is not public

    def __init__(self, board: Board, probe: Probe | None) -> None:
        super().__init__()
        api.require()
        self.kind = probe
        self.where = api.select_board(board)
        self.measured: Any = None

    def enter(self, port: OutPort, message_bits: int, *, convolution: bool) -> OutPort:
        return api.into_chip(port, message_bits, convolution=convolution)

    def leave(self, port: OutPort) -> OutPort:
        return api.out_of_chip(port)

    def probe(self, membrane: Var, path: str, *, samples: int, steps: int, period: int, lead_in: int) -> None:
        read = api.state_out_of_chip(membrane, period, lead_in + steps)
        shape = membrane.shape
        sink = StateSink(shape=shape, path=path, samples=samples, steps=steps, period=period, lead_in=lead_in)
        read.connect(sink.a_in)

    def run_config(self, models: Models, steps: int) -> RunConfig:
        probes = []
        if self.kind is not None:
            self.measured = api.probe(self.kind, steps)
            probes.append(self.measured)
        return api.run_config(ON_THE_HOST, probes, models)

    def execution(self) -> str:
        return f"{self.where}, lava-loihi {version('lava-loihi')}, lava-nc {version('lava-nc')}"

    def reading(self) -> Reading:
        return {} if self.kind is None else api.reading(self.kind, self.measured)
