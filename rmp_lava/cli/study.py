"""The command `sweep`: the measurements of a study, here or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BackendError, UsageError
from ..files import check_writable
from . import options
from .output import console_for, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from ..study.pool import Pool
    from ..study.study import Study
    from ..study.sweep import Outlook, Sweep

_INTERRUPTED = 130


def sweep(
    study: Annotated[Path, typer.Argument(help="A study, a .toml file: networks, data, and a grid of options.")],
    store: Annotated[
        Path | None,
        typer.Option(help="Folder of measurements and networks.", show_default="exports/studies/NAME"),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help=f"Where jobs run: {options.CLUSTERS}, and [cluster] of the study.",
            show_default="this process",
            callback=options.check_cluster,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what the store has of this study already.")] = False,
    merge: Annotated[
        list[Path] | None,
        typer.Option(help="First copy the measurements of another store into this one; may be given several times."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show how many jobs there are, and how long they may take.")
    ] = False,
    print_script: Annotated[
        bool, typer.Option("--print-script", help="Only print the job script that a batch system would get.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(help="Also write the accuracy after each step as CSV.", callback=options.result(".csv")),
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for figures as SVG and PNG files.")] = None,
    json_path: options.Json = None,
) -> None:
    """Measure a network for every combination of a grid: methods, time steps, waits, thresholds, encodings, seeds.

    Each measurement is stored once, so an interrupted sweep continues with --resume. Failed jobs are listed at the end, and the
    exit code is then 1.
    """
    from ..study.study import check_files, read_study

    asked = read_study(study)
    if print_script:
        from ..study.cluster import job_script

        print(job_script(cluster or "slurm", asked.cluster))
        return
    check_files(asked)
    folder = store or options.EXPORTS / "studies" / asked.name
    for place in (folder / "any.json", *([figures / "any.svg"] if figures else [])):
        check_writable(place, UsageError)
    from ..study.grid import Plan
    from ..study.store import Store
    from ..study.sweep import Sweep

    kept, console = Store(folder), console_for(json_path)
    for other in merge or ():
        copied, differing = kept.merge(other)
        console.print(
            f"{copied:,} measurements copied from {other}"
            + (f"; {differing:,} differ from those here, which stay" if differing else "")
        )
    plan = Plan(asked, folder)
    work = Sweep(plan, kept)
    outlook = work.outlook()
    if plan.left_out:
        console.print(
            f"{plan.left_out:,} combinations are left out, in which neurons would wait for more than T steps, or cannot wait, or "
            "not reset to 0"
        )
    if outlook.stored and not (resume or merge or dry_run):
        raise UsageError(
            f"{folder} has {outlook.stored:,} of {outlook.jobs:,} measurements already; pass --resume to keep them, or "
            "another --store"
        )
    with _pool(asked, folder, cluster, console, dry_run) as pool:
        console.print(_words(outlook, pool.workers))
        if dry_run:
            write_json(json_path, vars(outlook) | {"workers": pool.workers})
            return
        _measure(work, pool, outlook, folder)
    _show(asked, work, console, csv, figures, json_path)
    if work.failures:
        raise typer.Exit(1)


@contextmanager
def _pool(study: Study, folder: Path, cluster: str | None, console: Console, dry_run: bool) -> Iterator[Pool]:
    from ..study.pool import InProcess

    if cluster is None or dry_run:
        here = InProcess(folder, study.cluster.threads)
        if cluster is not None:
            from ..study.cluster import expected_workers

            here.workers = expected_workers(cluster, study.cluster)
        yield here
        return
    from ..study.cluster import pool

    with pool(cluster, study.cluster, folder) as (workers, dashboard):
        console.print(f"{workers.present} of {workers.workers} workers on {cluster}; dashboard: {dashboard}")
        yield workers


def _measure(work: Sweep, pool: Pool, outlook: Outlook, folder: Path) -> None:
    from ..progress import Progress, say
    from ..study.job import Job, Outcome

    with Progress("sweep, jobs", outlook.jobs, done=outlook.stored) as bar:

        def show(job: Job, outcome: Outcome) -> None:
            bar.advance()
            if outcome.content is None:
                say(f"failed: {job}: {outcome.error}")

        try:
            work.run(pool, show)
        except KeyboardInterrupt:
            say(f"interrupted; what was measured is in {folder}, continue with --resume")
            raise typer.Exit(_INTERRUPTED) from None
        except BackendError as error:
            raise BackendError(f"{error}; the store is {folder}") from None


def _show(
    study: Study, work: Sweep, console: Console, csv: Path | None, figures: Path | None, json_path: Path | None
) -> None:
    from ..files import write_atomically
    from ..report.sweep import sweep_csv, sweep_table

    rows = work.rows()
    if rows:
        console.print(sweep_table(study.name, rows, study.at))
    if csv is not None:
        write_atomically(csv, sweep_csv(rows).encode(), UsageError)
    if figures is not None and rows:
        from .. import plot
        from ..report.page.svg import to_png, to_svg

        for name in dict.fromkeys(row.network for row in rows):
            figure = plot.study([row for row in rows if row.network == name])
            for suffix, content in ((".svg", to_svg(figure)), (".png", to_png(figure))):
                write_atomically(figures / f"{study.name}-{name}{suffix}".replace("/", "-"), content, UsageError)
    failed = [
        {"job": str(each.job), "settings": dict(each.job.settings), "error": each.error, "trace": each.trace}
        for each in work.failures
    ]
    for failure in work.failures:
        console.print(f"Failed: {failure.job}: {failure.error}")
    write_json(json_path, {"study": study.name, "rows": [row.summary() for row in rows], "failed": failed})


def _words(outlook: Outlook, workers: int) -> str:
    jobs = f"{outlook.jobs:,} jobs, {outlook.stored:,} of them stored"
    if outlook.stored == outlook.jobs:
        return jobs
    if outlook.seconds is None:
        return f"{jobs}; how long the others take is unknown until one of each kind is measured"
    hours = outlook.seconds / 3600 / workers
    return f"{jobs}; about {hours:.2g} hours for the others on {workers} worker{'s' * (workers > 1)}"
