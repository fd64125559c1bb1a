"""The ends of a circuit on a board. Imports Lava. Never run on hardware."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import RunConfig
from lava.proc.io.sink import PyReceiveModelFixed
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import PySendModelFixed
from lava.proc.io.source import RingBuffer as Source

from ..backends.board import Board
from ..backends.loihi2 import api
from .lava_ends import CpuEnds

ON_THE_HOST = {Source: PySendModelFixed, Sink: PyReceiveModelFixed}
"""Processes that belong on the host, with their models."""


class ChipEnds(CpuEnds):
    """Everything between adapters runs on the chip, or not at all."""

    steps_in = 1
    steps_out = 1

    def __init__(self, board: Board) -> None:
        api.require()
        self.where = api.select_board(board)

    def enter(self, port: OutPort, bits: int, *, convolution: bool) -> OutPort:
        return api.into_chip(port, bits, convolution=convolution)

    def leave(self, port: OutPort) -> OutPort:
        return api.out_of_chip(port)

    def run_config(self) -> RunConfig:
        return api.run_config(ON_THE_HOST, [])

    def execution(self) -> str:
        return f"{self.where}, lava-loihi {version('lava-loihi')}, lava-nc {version('lava-nc')}"

    def states(self, cells: dict[str, AbstractProcess]) -> dict[str, Any]:
        """None: whether Vars can be read after a run is not public, and spikes say enough."""
        return {}
