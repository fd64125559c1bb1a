"""Where a circuit's Processes meet the world: what sends lines, what records spikes, what chooses ProcessModels. Imports Lava.

The circuit between these ends is the same everywhere. Adapters of a board take a step each.
"""

from __future__ import annotations

from importlib.metadata import version
from platform import python_version
from typing import Any

from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2SimCfg, RunConfig

from ..processes.io import Delay


class CpuEnds:
    """The CPU simulator: sources and sinks connect directly.

    Attributes
    ----------
    steps_in, steps_out : int
        Steps that messages take more than Lava's own on the way in and out.
    """

    steps_in = 0
    steps_out = 0

    def enter(self, port: OutPort, bits: int, *, convolution: bool) -> OutPort:
        """The port from which synapses receive what a port on the host sends."""
        return port

    def leave(self, port: OutPort) -> OutPort:
        """The port on the host that sends the spikes of a population."""
        return port

    def run_config(self) -> RunConfig:
        """What chooses the ProcessModels."""
        return Loihi2SimCfg(select_tag="fixed_pt")

    def execution(self) -> str:
        """What runs the circuit, in words."""
        return f"Lava {version('lava-nc')} CPU simulator, fixed_pt, Python {python_version()}"

    def states(self, cells: dict[str, AbstractProcess]) -> dict[str, Any]:
        """u of each population."""
        return {name: process.u.get() for name, process in cells.items()}


class AdaptedEnds(CpuEnds):
    """The CPU simulator with a board's timing: each adapter is a step's delay."""

    steps_in = 1
    steps_out = 1

    def enter(self, port: OutPort, bits: int, *, convolution: bool) -> OutPort:
        return _one_step_later(port)

    def leave(self, port: OutPort) -> OutPort:
        return _one_step_later(port)

    def execution(self) -> str:
        return super().execution() + ", adapters as delays"


def ends_of(job: dict[str, Any]) -> CpuEnds:
    """Ends for a job's target, "cpu", "adapted" or "loihi2"; the last one with its board."""
    if job["target"] == "loihi2":
        from ..backends.board import Board
        from .chip_ends import ChipEnds

        return ChipEnds(Board(**job["board"]))
    return {"cpu": CpuEnds, "adapted": AdaptedEnds}[job["target"]]()


def _one_step_later(port: OutPort) -> OutPort:
    delay = Delay(shape=port.shape, steps=1)
    port.connect(delay.s_in)
    return delay.s_out
