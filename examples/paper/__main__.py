"""The command `python -m examples.paper`: makes the missing measurements and writes tables, figures and the page."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import rmp_lava
from rmp_lava.errors import UsageError
from rmp_lava.files import check_writable, write_atomically
from rmp_lava.report.tables import console
from rmp_lava.study.cluster import Cluster, pool
from rmp_lava.study.pool import InProcess
from rmp_lava.study.store import Store

from . import figures, page
from .commands import called, chosen
from .lab import BLOCK, Lab, Trained, load_network
from .latency import CONVERSIONS, measure_latency
from .lossless import measure_lossless
from .neuron import measure_neuron
from .resets import ALPHAS, THRESHOLDS, measure_resets
from .tables import write_csv
from .waiting import WAITS, measure_waiting

EXPERIMENTS = ("neuron", "waiting", "resets", "lossless", "settled", "latency", "tuned")
"""waiting: few time steps with neurons that wait, and the networks of --tuned in the same way.

lossless: many time steps with the paper's thresholds; settled: with those of least error.

latency: conversions for few time steps, and the networks of --tuned; tuned: the latter alone.
"""
FEW_STEPS = (4, 8, 16, 32)
ENCODINGS = ("poisson", "rate", "current")


def main(
    network: Annotated[
        list[str] | None, typer.Option(help="NAME=CHECKPOINT of `rmp-lava train`, or NAME=NET; may be repeated.")
    ] = None,
    tuned: Annotated[
        list[str] | None, typer.Option(help="NAME=NET that `rmp-lava tune` made from the network of that name.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the data set that the networks were trained on.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(EXPERIMENTS)}, of all networks or, as NAME:EXPERIMENT, of one; all if omitted."
        ),
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Test images; all if omitted.")] = None,
    calibration: Annotated[int, typer.Option(min=1, help="Training images for thresholds and biases.")] = 512,
    reset_steps: Annotated[int, typer.Option(min=1, help="T of the reset curves; each step up to it is shown.")] = 2048,
    reset_images: Annotated[
        int | None, typer.Option(min=1, help="Test images of the reset curves; --images if omitted.")
    ] = None,
    alpha: Annotated[
        list[float] | None, typer.Option(help=f"Factor on the paper's thresholds; {ALPHAS} if omitted.")
    ] = None,
    reset_encoding: Annotated[
        str, typer.Option(help=f"Encoding of the reset curves, one of {', '.join(ENCODINGS)}.")
    ] = "poisson",
    hard_thresholds: Annotated[
        list[str] | None,
        typer.Option(
            help="Thresholds of hard reset: own, or soft (those of soft reset, so that only the reset differs); both if omitted."
        ),
    ] = None,
    lossless_steps: Annotated[
        int, typer.Option(min=1, help="T after which firing rates should match the activations closely.")
    ] = 512,
    lossless_images: Annotated[
        int | None, typer.Option(min=1, help="Test images for --lossless-steps; --images if omitted.")
    ] = None,
    wait: Annotated[
        list[int] | None, typer.Option(min=0, help=f"As well as T, of neurons that wait; {WAITS} if omitted.")
    ] = None,
    waiting_images: Annotated[
        int,
        typer.Option(
            min=BLOCK,
            help=f"Test images where neurons wait for fewer than T steps, in blocks of {BLOCK}; else --images.",
        ),
    ] = 2000,
    few_steps: Annotated[
        list[int] | None, typer.Option(min=1, help=f"T of the tables of few time steps; {FEW_STEPS} if omitted.")
    ] = None,
    conversion: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(CONVERSIONS)}; all if omitted.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of measurements, tables and figures.")] = Path("exports/paper"),
    results_page: Annotated[Path | None, typer.Option("--page", help="Also write this Markdown page.")] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown file that the page starts with.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Where jobs run, as for `rmp-lava sweep`; this process if omitted.")
    ] = None,
) -> None:
    """Reproduce the experiments of the RMP-SNN paper in Loihi's integers. Continues an interrupted run."""
    conversions = chosen(conversion, tuple(CONVERSIONS), "conversion")
    chosen([reset_encoding], ENCODINGS, "encoding")
    thresholds = chosen(hard_thresholds, tuple(THRESHOLDS), "thresholds")
    networks = [load_network(name, path) for name, path in _pairs(network)]
    wanted = _wanted(only, [each.name for each in networks])
    tuned_nets = _tuned(tuned, wanted)
    if notes is not None and not notes.is_file():
        raise UsageError(f"notes file {notes} does not exist; name a Markdown file")
    for place in (output / "results.json", *([results_page] if results_page else [])):
        check_writable(place)
    with ExitStack() as stack:
        workers = InProcess(output)
        if cluster is not None:
            workers, dashboard = stack.enter_context(pool(cluster, Cluster(), output))
            print(f"Dashboard: {dashboard}", file=sys.stderr)
        work = _Work(Lab(Store(output), workers, data_dir, images, calibration), output, console())
        results: dict[str, Any] = {"networks": {}}
        if "neuron" in wanted[None]:
            results["neuron"] = measure_neuron(work.lab.store)
            work.drawn += figures.draw_neuron(results["neuron"], output)
        for trained in networks:
            result = results["networks"][trained.name] = _trained(work, trained)
            nets = tuned_nets.get(trained.name, ())
            if "waiting" in wanted[trained.name]:
                options = {"waits": tuple(wait or WAITS), "some": waiting_images // BLOCK * BLOCK, "tuned": nets}
                result["waiting"] = _waiting(work, trained, few_steps or FEW_STEPS, **options)
            here = conversions if "latency" in wanted[trained.name] else ()
            if here or (nets and "tuned" in wanted[trained.name]):
                result["latency"] = _latency(work, trained, few_steps or FEW_STEPS, here, nets)
            for experiment in ("lossless", "settled"):
                if experiment in wanted[trained.name]:
                    result[experiment] = _lossless(work, trained, lossless_steps, experiment, lossless_images)
            if "resets" in wanted[trained.name]:
                options = {"alphas": tuple(alpha or ALPHAS), "encoding": reset_encoding, "thresholds": thresholds}
                result["resets"] = _resets(work, trained, reset_steps, images=reset_images, **options)
            _write_results(output, results)
    _write_results(output, results)
    if results_page is not None:
        command = "python -m examples.paper " + shlex.join(sys.argv[1:])
        # The page shows copies of the pictures next to it, because exports/ is not under version control.
        pictures = [path for path in work.drawn if path.suffix == ".png"]
        copies = [_copied(path, results_page.parent / f"results-{path.name}") for path in pictures]
        text = page.render(work.lab.store, results, command, copies, results_page, notes)
        write_atomically(results_page, text.encode())
    written = f"{len(work.drawn)} figures, results.json and tables in {output}"
    work.out.print(written + (f"; {results_page}" if results_page else ""))


@dataclass
class _Work:
    """What measures, the folder of figures, the console, and the figures drawn so far."""

    lab: Lab
    folder: Path
    out: Console
    drawn: list[Path] = field(default_factory=list)


def _trained(work: _Work, trained: Trained) -> dict[str, Any]:
    """Identity and accuracy of a trained network."""
    plan, source = work.lab.plan(trained), work.lab.source(trained)
    accuracy = work.lab.accuracy(trained)
    work.out.print(f"{trained.name}: {accuracy:.2%} of {plan.images:,} test images ({source})")
    identity = {"images": plan.images, "calibration": work.lab.calibration}
    return {"identity": identity, "trained": {"accuracy": accuracy, "source": source, "training": trained.training}}


def _latency(
    work: _Work, trained: Trained, steps: Sequence[int], conversions: Sequence[str], tuned: Sequence[Path]
) -> list[dict[str, Any]]:
    accuracy = work.lab.accuracy(trained)

    def show(row: dict[str, Any]) -> None:
        work.out.print(_row_sentence(row["steps"], row["accuracy"], accuracy, row["conversion"]))

    rows = measure_latency(work.lab, trained, steps, conversions=conversions, tuned=tuned, on_row=show)
    work.drawn += figures.draw_latency(trained.name, accuracy, rows, work.folder)
    path = work.folder / f"{trained.name}-latency.csv"
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows])
    return rows


def _waiting(work: _Work, trained: Trained, steps: Sequence[int], **options: Any) -> list[dict[str, Any]]:
    def show(row: dict[str, Any]) -> None:
        name = f"{row['conversion']}, {row['form']}, wait {row['wait']}"
        work.out.print(_row_sentence(row["steps"], row["accuracy"], row["trained"], name))

    rows = measure_waiting(work.lab, trained, steps, **options, on_row=show)
    work.drawn += figures.draw_waiting(trained.name, work.lab.accuracy(trained), rows, work.folder)
    return rows


def _lossless(work: _Work, trained: Trained, steps: int, experiment: str, images: int | None) -> dict[str, Any]:
    curve = measure_lossless(work.lab, trained, steps, experiment, images)
    name = "paper's recipe, current" if experiment == "lossless" else "thresholds of least error, current"
    work.out.print(_row_sentence(steps, curve["accuracy"][-1], curve["trained"], name))
    _write_curves(work.folder / f"{trained.name}-{experiment}.csv", {"accuracy": curve})
    return curve


def _resets(work: _Work, trained: Trained, steps: int, **options: Any) -> dict[str, Any]:
    measured = measure_resets(work.lab, trained, steps, **options)
    work.drawn += figures.draw_resets(trained.name, measured, work.folder)
    work.drawn += figures.draw_activity(trained.name, measured, work.folder)
    _write_curves(work.folder / f"{trained.name}-resets.csv", measured["curves"])
    for pair in measured["pairs"]:
        work.out.print(_pair_sentence(pair))
    return measured


def _wanted(only: list[str] | None, networks: Sequence[str]) -> dict[str | None, set[str]]:
    """Name of a network -> its experiments; None -> experiments without a network."""
    wanted: dict[str | None, set[str]] = {name: set() for name in (None, *networks)}
    for text in only or EXPERIMENTS:
        name, colon, experiment = text.rpartition(":")
        chosen([experiment], EXPERIMENTS, "experiment")
        if colon and name not in networks:
            raise UsageError(f"--only names network {name!r}, but no --network has that name; give both the same name")
        for each in [name] if colon else wanted:
            wanted[each].add(experiment)
    if not networks and only and wanted[None] != {"neuron"}:
        raise UsageError(
            "only experiment 'neuron' runs without a network; give --network NAME=CHECKPOINT for the others"
        )
    return wanted


def _tuned(tuned: list[str] | None, wanted: dict[str | None, set[str]]) -> dict[str, list[Path]]:
    """Name of a network -> its tuned files; opened now, not after hours of work."""
    found: dict[str, list[Path]] = {}
    for name, path in _pairs(tuned):
        if name not in wanted:
            raise UsageError(f"--tuned names network {name!r}, but no --network has that name; give both the same name")
        if not wanted[name] & {"waiting", "latency", "tuned"}:
            raise UsageError(
                f"--tuned names {path}, but --only excludes waiting, latency and tuned; omit --tuned, or add one of them"
            )
        if rmp_lava.load(path).balanced_steps is None:
            raise UsageError(
                f"{path} does not record the number of time steps that it was tuned for; give a file of `rmp-lava tune`"
            )
        found.setdefault(name, []).append(path)
    return found


def _pairs(given: list[str] | None) -> list[tuple[str, Path]]:
    pairs = []
    for text in given or []:
        name, equals, path = text.partition("=")
        if not equals or not name or not all(c.isalnum() or c in "-_" for c in name):
            raise UsageError(
                f"{text!r} is not NAME=FILE with a name of letters, digits, - and _; write vgg16=exports/vgg16.pt"
            )
        pairs.append((name, Path(path)))
    return pairs


def _pair_sentence(pair: dict[str, Any]) -> str:
    soft = "never" if pair["soft_steps"] is None else f"at T = {pair['soft_steps']}"
    hard = "is chance" if pair["hard_steps"] is None else f"at T = {pair['hard_steps']}"
    thresholds = "" if pair["thresholds"] == "own" else " (soft reset's thresholds)"
    return (
        f"  alpha {pair['alpha']:g}: hard reset's best{thresholds}, {pair['hard_best']:.2%}, {hard}; soft reset reaches it "
        f"{soft}; soft reset's best {pair['soft_best']:.2%}"
    )


def _row_sentence(steps: int, accuracy: float, trained: float, conversion: str) -> str:
    return f"  T = {steps:3}  {accuracy:7.2%}  {100 * (accuracy - trained):+6.2f} points  {conversion}"


def _write_curves(path: Path, curves: dict[str, Any]) -> None:
    columns = [curve["accuracy"] for curve in curves.values()]
    write_csv(path, ["T", *curves], [[t, *values] for t, values in enumerate(zip(*columns, strict=True), 1)])


def _write_results(folder: Path, results: dict[str, Any]) -> None:
    write_atomically(folder / "results.json", (json.dumps(results, indent=1) + "\n").encode())


def _copied(source: Path, target: Path) -> Path:
    return write_atomically(target, source.read_bytes())


if __name__ == "__main__":
    called(main)
