"""Options that choose a Loihi 2 board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..choices import MeasuredInput

if TYPE_CHECKING:
    from ..backends.board import Board

Partition = Annotated[
    str | None, typer.Option(help="SLURM partition to allocate a Loihi 2 board from (backend loihi2).")
]
Node = Annotated[str | None, typer.Option(help="SLURM node, for one particular board (backend loihi2).")]
Host = Annotated[str | None, typer.Option(help="Host name of a board to use without SLURM (backend loihi2).")]
Generation = Annotated[str | None, typer.Option(help="Chip generation: N3B2, N3B3, N3C1 or N3D1.", show_default="N3B3")]
Leak = Annotated[
    int | None, typer.Option(help="1 if the smallest decay of the board is du = 0.", min=0, max=1, show_default="0")
]
NeuronProgram = Annotated[
    str | None,
    typer.Option(
        help="Your own ProcessModel of the RMP neuron, package.module:class (backends lava, loihi2). Importing it runs its code."
    ),
]


Measure = Annotated[
    MeasuredInput | None,
    typer.Option(help="Also measure the first sample on the board, with input held by the chip or sent by the host."),
]


def chosen_board(
    partition: str | None, node: str | None, host: str | None, generation: str | None, leak: int | None
) -> Board | None:
    """The board that the options choose, completed from the environment; None without options."""
    from ..backends.board import Board

    if all(each is None for each in (partition, node, host, generation, leak)):
        return None
    return Board.from_environment(partition=partition, node=node, host=host, generation=generation, leak=leak)
