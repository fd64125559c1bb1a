"""Which board: a SLURM partition or node, or a host in the network; and of which chips.

Lava reads it from environment variables (lava-nc 0.10.0, lava/utils/loihi.py and slurm.py): SLURM or NOSLURM, PARTITION,
BOARD, NXSDKHOST, HOST_BINARY, LOIHI_GEN. `Board.from_environment` takes what is set there already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UsageError

GENERATIONS = ("N3B2", "N3B3", "N3C1", "N3D1")
"""Steppings of Loihi 2 that lava-nc 0.10.0 knows; most INRC boards are N3B3."""
HOST_BINARY = "nxcore/bin/nx_driver_server"
"""lava-nc's default."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")
"""What is handed to sinfo, srun and ping: nothing that they could take for an option."""
_PATH = re.compile(r"[A-Za-z0-9._~/][A-Za-z0-9._~/-]{0,1023}")


@dataclass(frozen=True)
class Board:
    """A board, and what has to be respected on it.

    Parameters
    ----------
    partition, node : str or None
        SLURM: any board of a partition ("oheogulch", "kp", ...), or one by its name ("ncl-ext-og-01"). At most one of them;
        None for both leaves it to SLURM.
    host : str or None
        Instead of SLURM: a board's host in the network, by name or address.
    host_binary : str
        Path of the driver on that host.
    generation : {"N3B2", "N3B3", "N3C1", "N3D1"}
    leak : {0, 1}
        1 where no smaller decay of the current than du = 0 is taken: membranes then lose 1/4096 a step.

    Raises
    ------
    UsageError
        If that cannot be meant.
    """

    partition: str | None = None
    node: str | None = None
    host: str | None = None
    host_binary: str = HOST_BINARY
    generation: str = "N3B3"
    leak: int = 0

    def __post_init__(self) -> None:
        if self.generation not in GENERATIONS:
            raise UsageError(
                f"chip generation {self.generation!r} is no Loihi 2; choose one of {', '.join(GENERATIONS)}"
            )
        if self.leak not in (0, 1):
            raise UsageError(f"leak is {self.leak}; allowed are 0 (du = -1) and 1 (du = 0), in 1/4096 a step")
        if sum(each is not None for each in (self.partition, self.node, self.host)) > 1:
            raise UsageError("a board is chosen by SLURM partition, by SLURM node or by host; pass one of them only")
        for what, value in (("partition", self.partition), ("node", self.node), ("host", self.host)):
            if value is not None and not _NAME.fullmatch(value):
                raise UsageError(f"{what} {value!r} is no name; allowed are letters, digits and . _ : -")
        if not _PATH.fullmatch(self.host_binary):
            raise UsageError(f"host binary {self.host_binary!r} is no path; allowed are letters, digits and . _ ~ / -")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **chosen: str | int | None) -> Board:
        """The board that the environment names, with what was chosen (and is not None) instead.

        Raises
        ------
        UsageError
            If the two, or the variables among themselves, cannot be meant.
        """
        chosen = {name: value for name, value in chosen.items() if value is not None}
        found: dict[str, str | int] = {}
        if not chosen.keys() & {"partition", "node", "host"}:
            found = _place(environment)
        for name, variable in (("generation", "LOIHI_GEN"), ("host_binary", "HOST_BINARY")):
            if environment.get(variable):
                found[name] = environment[variable]
        return cls(**(found | chosen))

    @property
    def uses_slurm(self) -> bool:
        """Whether SLURM hands out the board."""
        return self.host is None

    def describe(self) -> str:
        """In words."""
        if self.host is not None:
            where = f" behind host {self.host}"
        elif self.node is not None:
            where = f", SLURM node {self.node}"
        else:
            where = f", SLURM partition {self.partition}" if self.partition else ", SLURM"
        return f"Loihi 2 {self.generation}{where}" + (", membranes with leak (du = 0)" if self.leak else "")


def _place(environment: Mapping[str, str]) -> dict[str, str]:
    """Partition, node or host, as Lava takes them from the environment."""
    slurm, host = environment.get("SLURM"), environment.get("NXSDKHOST")
    if host and slurm and slurm != "0" and "NOSLURM" not in environment:
        raise UsageError("both SLURM and NXSDKHOST are set; unset one of them, or pass a partition, node or host")
    if host:
        return {"host": host}
    if environment.get("BOARD"):
        return {"node": environment["BOARD"]}  # the node decides, as lava/utils/slurm.py has it
    return {"partition": environment["PARTITION"]} if environment.get("PARTITION") else {}
