"""The command `selftest`, for a board's first day."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..choices import SelftestBackend
from ..errors import UsageError
from ..progress import Progress
from . import options
from .output import console_for, write_json


def selftest(
    backend: Annotated[
        SelftestBackend, typer.Option(help="The Lava CPU simulator, or a board; no other backend is substituted.")
    ] = "lava",
    only: Annotated[list[str] | None, typer.Option(help="Run this rung only; may be repeated.")] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Continue after a rung that does not pass.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Run VGG-16 at half its width instead of a sixteenth.")] = False,
    time_limit: Annotated[float, typer.Option(help="Time limit for a rung in seconds.")] = 600.0,
    partition: options.Partition = None,
    node: options.Node = None,
    host: options.Host = None,
    generation: options.Generation = None,
    leak: options.Leak = None,
    json_path: options.Json = None,
) -> None:
    """Test every part of a deployed network, from one spike to VGG-16.

    Each experiment (rung) has its expected spikes. Stops at the first difference, explains it, and exits with code 1. The file
    of --json can be attached to a bug report.
    """
    if not 0 < time_limit < float("inf"):
        raise UsageError(f"time limit is {time_limit}; it must be a positive number of seconds")
    from rich.live import Live

    from ..report.selftest import describe_end, describe_result, selftest_table
    from ..selftest.execute import executor_for
    from ..selftest.ladder import RungResult, climb, ladder, passed, summary

    executor = executor_for(backend, options.chosen_board(partition, node, host, generation, None), leak)
    rungs = ladder(only or (), full=full, leak=executor.leak)
    console = console_for(json_path)
    results: list[RungResult] = []
    counting = Progress("self-test, rungs", len(rungs), shown=not sys.stderr.isatty())  # a table stands on terminals
    with Live(selftest_table(rungs, results, backend), console=console, auto_refresh=False) as live, counting:
        for result in climb(rungs, executor, keep_going=keep_going, time_limit=time_limit):
            results.append(result)
            counting.advance()
            live.update(selftest_table(rungs, results, backend), refresh=True)
            if str(json_path) != "-":  # results so far survive if the machine hangs later
                write_json(json_path, summary(rungs, results, executor))
    if not console.is_terminal:
        console.print()  # Live ends its line on terminals only
    for result in results:
        for line in describe_result(result):
            console.print(line)
    console.print(describe_end(results, backend))
    if str(json_path) == "-":
        write_json(json_path, summary(rungs, results, executor))
    if not passed(results):
        raise typer.Exit(1)
