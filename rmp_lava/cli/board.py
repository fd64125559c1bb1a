"""Options that choose a Loihi 2 board, and the part of `fit` that says what differs on it."""

from __future__ import annotations

from typing import Annotated

import typer

from ..choices import MeasuredInput

Partition = Annotated[str | None, typer.Option(help="SLURM partition to take a Loihi 2 board from (backend loihi2).")]
Node = Annotated[str | None, typer.Option(help="SLURM node: this board and no other (backend loihi2).")]
Host = Annotated[str | None, typer.Option(help="Host of a board in the network, instead of SLURM (backend loihi2).")]
Generation = Annotated[str | None, typer.Option(help="Chips: N3B2, N3B3, N3C1 or N3D1.", show_default="N3B3")]
Leak = Annotated[
    int | None, typer.Option(help="1: the board takes no smaller decay than du = 0.", min=0, max=1, show_default="0")
]
NeuronProgram = Annotated[
    str | None,
    typer.Option(help="package.module:ProcessModel of RMP, your own (backends lava, loihi2). Its code runs."),
]


Measure = Annotated[
    MeasuredInput | None,
    typer.Option(help="Measure the first sample on the board: input held by the chip, or sent by the host."),
]


def chosen_board(partition: str | None, node: str | None, host: str | None, generation: str | None, leak: int | None):
    """The board that options name, else the environment; None where nothing was chosen."""
    from ..backends.loihi2 import Board

    chosen = {"partition": partition, "node": node, "host": host, "generation": generation, "leak": leak}
    if all(value is None for value in chosen.values()):
        return None
    return Board.from_environment(**chosen)
