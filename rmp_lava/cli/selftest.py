"""The command of a board's first day: `selftest`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ..errors import UsageError
from .board import Generation, Host, Node, Partition, chosen_board
from .common import Json, console_for, write_json


class SelftestBackend(str, Enum):
    lava = "lava"
    loihi2 = "loihi2"


def selftest(
    backend: Annotated[
        SelftestBackend, typer.Option(help="The Lava CPU simulator, or a board; nothing else runs instead.")
    ] = SelftestBackend.lava,
    only: Annotated[list[str] | None, typer.Option(help="Run this rung only; may be given again.")] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Go on after a rung that does not pass.")] = False,
    full: Annotated[bool, typer.Option("--full", help="VGG-16 at half its width, not at a sixteenth.")] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds after which a rung is ended.")] = 600.0,
    partition: Partition = None,
    node: Node = None,
    host: Host = None,
    generation: Generation = None,
    json_path: Json = None,
) -> None:
    """Try what a deployed network relies on, in tiny steps.

    From one spike to VGG-16, each with its expected spikes. Stops at the first difference and says what it means; exit code 1
    then. The file of --json can be attached to a report.
    """
    if not 0 < time_limit < float("inf"):
        raise UsageError(f"time limit {time_limit} is not possible; it takes a positive number of seconds")
    from rich.live import Live

    from ..report.selftest import describe_end, describe_result, selftest_table
    from ..selftest.execute import executor_for
    from ..selftest.ladder import climb, ladder, passed, summary

    executor = executor_for(backend.value, chosen_board(partition, node, host, generation, None))
    rungs = ladder(only or (), full=full)
    console = console_for(json_path)
    results = []
    with Live(selftest_table(rungs, results, backend.value), console=console, auto_refresh=False) as live:
        for result in climb(rungs, executor, keep_going=keep_going, time_limit=time_limit):
            results.append(result)
            live.update(selftest_table(rungs, results, backend.value), refresh=True)
            if str(json_path) != "-":  # a machine that hangs later leaves what is known so far
                write_json(json_path, summary(rungs, results, executor))
    if not console.is_terminal:
        console.print()  # Live ends its line on terminals only
    for result in results:
        for line in describe_result(result):
            console.print(line)
    console.print(describe_end(results, backend.value))
    if str(json_path) == "-":
        write_json(json_path, summary(rungs, results, executor))
    if not passed(results):
        raise typer.Exit(1)
