"""The commands `profiles`, `fit` and `estimate`, which need no hardware."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from . import options
from .output import console_for, write_json

if TYPE_CHECKING:
    from ..hardware import Profile

_SAMPLES = 50


def profiles(
    name: Annotated[
        str | None, typer.Argument(help="Profile to show, a name or a .toml file; lists all if omitted.")
    ] = None,
    anchors: Annotated[
        bool,
        typer.Option("--anchors", help="Show published measurements next to what the profiles predict."),
    ] = False,
    json_path: options.Json = None,
) -> None:
    """List the hardware profiles.

    With a name, shows every number of that profile with its unit, kind and source.
    """
    from ..hardware import load_profile, profile_names
    from ..report.hardware import profile_page, profiles_table

    console = console_for(json_path)
    if anchors:
        _show_anchors(name, json_path)
        return
    if name is None:
        found = [load_profile(each) for each in profile_names()]
        console.print(profiles_table(found))
        console.print("Every number of a profile, with its source: rmp-lava profiles NAME")
        write_json(json_path, {"profiles": [_head(profile) for profile in found]})
        return
    profile = load_profile(name)
    console.print(profile_page(profile))
    values = {key: quantity.summary() | {"of_the_board": key in profile.own} for key, quantity in profile}
    write_json(json_path, _head(profile) | {"values": values})


def _show_anchors(name: str | None, json_path: Path | None) -> None:
    from ..hardware import check, load_profile, profile_names
    from ..report.hardware import anchors_table, describe_anchors

    console = console_for(json_path)
    chips = [load_profile(each) for each in reversed(profile_names())] if name is None else [load_profile(name)]
    own = [
        a for p in chips if name is not None or not p.is_board for a in p.anchors if not p.is_board or a.board == p.name
    ]
    if not own:
        console.print(f"No published measurement of {name} is known.")
    else:
        checks = [check(each) for each in own]
        console.print(anchors_table(checks))
        for line in describe_anchors(checks):
            console.print(line)
    write_json(json_path, {"anchors": [check(each).summary() for each in own]})


def _head(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "description": profile.description,
        "chip": profile.chip,
        "chips": profile.chips,
        "usable_cores": profile.usable_cores,
        "compiler": profile.compiler,
    }


def fit(
    net: options.Net,
    profile: options.Profile = "oheo_gulch",
    implementation: options.Implementation = "native",
    compiler: options.Compiler = None,
    sparse: options.SparseDense = False,
    steps: options.Steps = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"{options.DATA_NAMES}; with --data-dir only, the network's own; otherwise no images.",
            metavar="NAME",
            callback=options.check_data,
        ),
    ] = None,
    images: options.TestImages = None,
    data_dir: options.DataDirectory = None,
    samples: Annotated[
        int | None,
        typer.Option(help=f"{options.SAMPLES}; stock neurons are simulated on the first 4.", show_default="50"),
    ] = None,
    leak: options.Leak = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of Poisson spikes; it does not affect which images are drawn.", show_default="0"),
    ] = None,
    json_path: options.Json = None,
) -> None:
    """Check whether a network fits a board.

    Shows the cores of each layer and their scarcest resource, by the rules of both compilers where they differ, and for stock
    neurons what will differ on the board; with --data or --images, spikes are compared on images. Exits with code 1 if the
    network does not fit or cannot be deployed.
    """
    from .. import netx
    from ..backends.loihi2 import deployed_schedule, lowering_report
    from ..findings import findings_table
    from ..hardware import map_network, savings
    from ..report.board import describe_lowering, lowering_table
    from ..report.hardware import compilers_table, describe_mapping, mapping_table, savings_table
    from ..report.runs import steps_for
    from ..sources.images import images_for

    network = netx.load(net)
    stock = implementation == "stock"
    known = steps is not None or network.balanced_steps is not None
    plan = deployed_schedule(network, steps_for(network, steps)) if stock and known else None
    when = {} if plan is None else {"period": plan.period, "steps": plan.steps}
    mapping = map_network(network, profile, implementation, **when, compiler=compiler, sparse=sparse)
    if not stock and any(each is not None for each in (steps, data, images, data_dir, samples, leak, seed)):
        raise UsageError(
            "--steps, images, --samples, --leak and --seed apply to stock neurons only; pass --implementation stock too"
        )
    if samples is not None and data is None and images is None and data_dir is None:
        raise UsageError("--samples is given, but no images; pass --data, --data-dir or --images too")
    console = console_for(json_path)
    console.print(mapping_table(mapping))
    differing = compilers_table(mapping)
    if differing is not None:
        console.print(differing)
    changes = savings(network, mapping)
    saved = savings_table(mapping, changes)
    if saved is not None:
        console.print(saved)
    if mapping.findings:
        console.print(findings_table(mapping.findings, f"Findings on {mapping.profile.name}"))
    for line in describe_mapping(mapping):
        console.print(line)
    summary, fits = mapping.summary() | {"savings": [vars(each) for each in changes]}, mapping.fits
    if stock and not known:
        console.print("What differs on a board depends on T, which the file does not record; pass --steps.")
    elif stock:
        values = None
        if any(each is not None for each in (data, images, data_dir)):
            values, _, _ = images_for(
                network, data, data_dir, images, None, _SAMPLES if samples is None else samples, steps
            )
        report = lowering_report(network, steps_for(network, steps), values, leak=leak or 0, seed=seed or 0)
        console.print(lowering_table(report))
        console.print(describe_lowering(report))
        summary["lowering"] = report.summary()
        fits = fits and not report.of("obstacle")
    write_json(json_path, summary)
    if not fits:
        raise typer.Exit(1)


def estimate(
    net: options.Net,
    profile: options.Profile = "oheo_gulch",
    data: options.TestData = None,
    images: options.TestImages = None,
    labels: options.Labels = None,
    data_dir: options.DataDirectory = None,
    samples: Annotated[int, typer.Option(help=f"{options.SAMPLES}.")] = _SAMPLES,
    steps: options.Steps = None,
    implementation: options.Implementation = "native",
    compare: options.Compare = None,
    seed: options.SpikeSeed = 0,
    json_path: options.Json = None,
) -> None:
    """Estimate energy and time of an inference.

    Simulates test images on backend fast and multiplies the operations by the profile's figures. Nothing is measured on
    hardware.
    """
    from ..backends import run as run_network
    from ..hardware import estimate as make_estimate, load_profile, map_network
    from ..report import hardware as report
    from ..report.costs import Costs, check_comparable, measured_costs, side_by_side
    from ..report.runs import steps_for
    from ..schedule import schedule
    from ..sources.images import images_for

    network, *others = options.to_compare(net, compare)
    check_comparable(network, others)
    chosen = load_profile(profile)
    # Stock neurons send the same spikes, but need a blank step in each period.
    blank, count = int(implementation == "stock"), steps_for(network, steps)
    period = schedule(network, count, blank=blank).period
    mapping = map_network(network, chosen, implementation, period=period, steps=count)
    values, truth, what = images_for(network, data, data_dir, images, labels, samples, steps)
    result = run_network(network, values, count, "fast", blank=blank, seed=seed, progress=True)
    found = make_estimate(network, result, chosen, mapping)
    console = console_for(json_path)
    for shown in (report.estimate_table, report.steps_table, report.comparison_table):
        console.print(shown(found))
    for line in report.describe_estimate(found):
        console.print(line)
    if implementation == "stock":
        console.print(
            f"A period is {period} steps here; a board may take longer ones: see `rmp-lava fit --implementation stock`."
        )
    summary = found.summary() | {"data": what}
    if truth is not None:
        summary |= result.score(network, truth).figures
    if others:
        runs = [Costs(network, result, found, truth)]
        runs += [measured_costs(each, values, truth, chosen, steps=count, seed=seed) for each in others]
        console.print(side_by_side(runs))
        summary["compared"] = [each.summary() for each in runs]
    write_json(json_path, summary)
