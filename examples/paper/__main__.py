"""The command: `python -m examples.paper` measures what is not measured yet, and writes tables, figures and the page."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rmp_lava.errors import UsageError
from rmp_lava.files import check_writable, write_atomically
from rmp_lava.report.tables import console

from . import figures, page
from .commands import called, chosen
from .latency import WAYS, measure_latency
from .lossless import measure_lossless
from .material import bring_images, bring_network, trained_accuracy
from .neuron import measure_neuron
from .resets import ALPHAS, measure_resets
from .store import Store
from .tables import write_csv

EXPERIMENTS = ("neuron", "resets", "lossless", "latency")


def main(
    network: Annotated[
        list[str] | None, typer.Option(help="NAME=CHECKPOINT of `rmp-lava train`; once for each network.")
    ] = None,
    tuned: Annotated[
        list[str] | None, typer.Option(help="NAME=NET that `rmp-lava tune` has made of the network of that name.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Of the data set that the networks were trained on.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(EXPERIMENTS)}; all if omitted.")] = None,
    images: Annotated[int | None, typer.Option(help="Test images; all if omitted.")] = None,
    calibration: Annotated[int, typer.Option(help="Training images for thresholds and biases.")] = 512,
    reset_steps: Annotated[int, typer.Option(help="T of the reset curves, up to which each step is shown.")] = 2048,
    reset_images: Annotated[
        int | None, typer.Option(help="Test images of the reset curves; --images if omitted.")
    ] = None,
    alpha: Annotated[list[float] | None, typer.Option(help=f"On the paper's thresholds; {ALPHAS} if omitted.")] = None,
    lossless_steps: Annotated[int, typer.Option(help="T after which rates should have lost next to nothing.")] = 512,
    few_steps: Annotated[list[int] | None, typer.Option(help="T of the low-latency tables; 4, 8, 16 and 32.")] = None,
    way: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(WAYS)}; all if omitted.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of measurements, tables and figures.")] = Path("exports/paper"),
    results_page: Annotated[Path | None, typer.Option("--page", help="Also write this Markdown page.")] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown that the page begins with.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what is there already.")] = False,
) -> None:
    """Reproduce the experiments of the RMP-SNN paper in Loihi's integers; goes on where an earlier call was interrupted."""
    experiments = chosen(only, EXPERIMENTS, "experiment")
    ways = chosen(way, tuple(WAYS), "way")
    networks = [bring_network(name, path) for name, path in _pairs(network)]
    tuned_nets: dict[str, list[Path]] = {}
    for name, path in _pairs(tuned):
        if name not in [each.name for each in networks]:
            raise UsageError(f"--tuned names network {name!r}, which no --network brings; give both the same name")
        tuned_nets.setdefault(name, []).append(path)
    for place in (output / "results.json", *([results_page] if results_page else [])):
        check_writable(place)
    store, out = Store(output, again), console()
    results: dict[str, Any] = {"networks": {}}
    drawn: list[Path] = []
    if "neuron" in experiments:
        results["neuron"] = measure_neuron(store)
        drawn += figures.draw_neuron(results["neuron"], output)
    material = bring_images(networks, data_dir, images, calibration) if networks else None
    for trained in networks:
        name = trained.name
        result = results["networks"][name] = {"identity": trained.identity | material.identity}
        result["trained"] = trained_accuracy(store, trained, material)
        accuracy = result["trained"]["accuracy"]
        out.print(f"{name}: {accuracy:.2%} of {len(material.test):,} test images ({material.source})")
        if "latency" in experiments:
            rows = measure_latency(
                store,
                trained,
                material,
                few_steps or (4, 8, 16, 32),
                ways=ways,
                tuned=tuned_nets.get(name, ()),
                on_row=lambda row, accuracy=accuracy: out.print(_row_sentence(row, accuracy)),
            )
            result["latency"] = rows
            drawn += figures.draw_latency(name, accuracy, rows, output)
            write_csv(output / f"{name}-latency.csv", list(rows[0]), [list(row.values()) for row in rows])
        if "lossless" in experiments:
            curve = result["lossless"] = measure_lossless(store, trained, material, lossless_steps)
            lost = 100 * (curve["accuracy"][-1] - accuracy)
            out.print(
                f"  T = {lossless_steps}  {curve['accuracy'][-1]:.2%}  {lost:+.2f} points  paper's recipe, current"
            )
            _write_curves(output / f"{name}-lossless.csv", {"accuracy": curve})
        if "resets" in experiments:
            some = material.first(reset_images)
            measured = result["resets"] = measure_resets(
                store, trained, some, reset_steps, alphas=tuple(alpha or ALPHAS)
            )
            drawn += figures.draw_resets(name, measured, output)
            drawn += figures.draw_activity(name, measured, output)
            _write_curves(output / f"{name}-resets.csv", measured["curves"])
            for pair in measured["pairs"]:
                out.print(_sentence(pair))
        _write_results(output, results)
    _write_results(output, results)
    if results_page is not None:
        command = "python -m examples.paper " + shlex.join(sys.argv[1:])
        # The page shows pictures that lie beside it, because exports/ is not under version control.
        beside = [
            _copied(path, results_page.parent / f"results-{path.name}") for path in drawn if path.suffix == ".png"
        ]
        text = page.render(store, results, command, beside, results_page, notes)
        write_atomically(results_page, text.encode())
    out.print(
        f"{len(drawn)} figures, results.json and tables in {output}" + (f"; {results_page}" if results_page else "")
    )


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


def _sentence(pair: dict[str, Any]) -> str:
    soft = "never" if pair["soft_steps"] is None else f"at T = {pair['soft_steps']}"
    return (
        f"  alpha {pair['alpha']:g}: hard reset's best, {pair['hard_best']:.2%}, at T = {pair['hard_steps']}; soft reset reaches "
        f"it {soft}; soft reset's best {pair['soft_best']:.2%}"
    )


def _row_sentence(row: dict[str, Any], trained: float) -> str:
    return f"  T = {row['steps']:3}  {row['accuracy']:7.2%}  {100 * (row['accuracy'] - trained):+6.2f} points  {row['way']}"


def _write_curves(path: Path, curves: dict[str, Any]) -> None:
    columns = [curve["accuracy"] for curve in curves.values()]
    write_csv(path, ["T", *curves], [[t, *values] for t, values in enumerate(zip(*columns, strict=True), 1)])


def _write_results(folder: Path, results: dict[str, Any]) -> None:
    write_atomically(folder / "results.json", (json.dumps(results, indent=1) + "\n").encode())


def _copied(source: Path, target: Path) -> Path:
    return write_atomically(target, source.read_bytes())


if __name__ == "__main__":
    called(main)
