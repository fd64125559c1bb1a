"""Which board to use: a SLURM partition or node, or a host in the network; and the stepping of its chips.

Lava reads these from environment variables (lava-nc 0.10.0, lava/utils/loihi.py and slurm.py): SLURM or NOSLURM, PARTITION,
BOARD, NXSDKHOST, HOST_BINARY, LOIHI_GEN. `Board.from_environment` reads the same ones.
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
"""What sinfo, srun and ping are given: nothing that they could interpret as an option."""
_PATH = re.compile(r"[A-Za-z0-9._~/][A-Za-z0-9._~/-]{0,1023}")


@dataclass(frozen=True)
class Board:
    """A board, and what differs on it.

    Parameters
    ----------
    partition, node : str or None
        SLURM: any board of a partition ("oheogulch", "kp", ...), or one board by name ("ncl-ext-og-01"). At most one of them;
        with neither, SLURM chooses.
    host : str or None
        Instead of SLURM: a board's host in the network, by name or address.
    host_binary : str
        Path of the driver on that host.
    generation : {"N3B2", "N3B3", "N3C1", "N3D1"}
    leak : {0, 1}
        1 if the smallest decay of the current that the board supports is du = 0: membranes then lose 1/4096 per step.

    Raises
    ------
    UsageError
        If a value is invalid, or more than one of partition, node and host is given.
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
                f"chip generation {self.generation!r} is not a Loihi 2; choose one of {', '.join(GENERATIONS)}"
            )
        if self.leak not in (0, 1):
            raise UsageError(f"leak is {self.leak}; allowed are 0 (du = -1) and 1 (du = 0), in 1/4096 per step")
        if sum(each is not None for each in (self.partition, self.node, self.host)) > 1:
            raise UsageError("a board is chosen by SLURM partition, SLURM node or host; pass only one of them")
        for what, value in (("partition", self.partition), ("node", self.node), ("host", self.host)):
            if value is not None and not _NAME.fullmatch(value):
                raise UsageError(f"{what} {value!r} is not a valid name; allowed are letters, digits and . _ : -")
        if not _PATH.fullmatch(self.host_binary):
            raise UsageError(
                f"host binary {self.host_binary!r} is not a valid path; allowed are letters, digits and . _ ~ / -"
            )

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] = os.environ,
        *,
        partition: str | None = None,
        node: str | None = None,
        host: str | None = None,
        generation: str | None = None,
        leak: int | None = None,
    ) -> Board:
        """The board that the environment names; arguments that are not None take precedence.

        Raises
        ------
        UsageError
            If a value is invalid, or variables or arguments contradict each other.
        """
        if partition is node is host is None:
            partition, node, host = _place(environment)
        return cls(
            partition,
            node,
            host,
            host_binary=environment.get("HOST_BINARY") or HOST_BINARY,
            generation=generation or environment.get("LOIHI_GEN") or cls.generation,
            leak=leak or 0,
        )

    @property
    def uses_slurm(self) -> bool:
        """Whether SLURM allocates the board."""
        return self.host is None

    def describe(self) -> str:
        """In words."""
        if self.host is not None:
            where = f", host {self.host}"
        elif self.node is not None:
            where = f", SLURM node {self.node}"
        else:
            where = f", SLURM partition {self.partition}" if self.partition else ", SLURM"
        return f"Loihi 2 {self.generation}{where}" + (", membranes with leak (du = 0)" if self.leak else "")


def _place(environment: Mapping[str, str]) -> tuple[str | None, str | None, str | None]:
    """Partition, node and host, as Lava reads them from the environment; at most one of them."""
    slurm, host = environment.get("SLURM"), environment.get("NXSDKHOST")
    if host and slurm and slurm != "0" and "NOSLURM" not in environment:
        raise UsageError("both SLURM and NXSDKHOST are set; unset one of them, or pass a partition, node or host")
    if host:
        return None, None, host
    if environment.get("BOARD"):
        return None, environment["BOARD"], None  # a node takes precedence, as in lava/utils/slurm.py
    return environment.get("PARTITION") or None, None, None
