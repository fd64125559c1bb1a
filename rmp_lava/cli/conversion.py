"""Commands from a trained network to a spiking one: `check`, `convert` and `tune`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..choices import (
    Aim,
    Augmentation,
    BiasCalibration,
    ConvertReadout,
    InitialPotential,
    Method,
    NeuronKind,
    ObservedThresholds,
    Precision,
    Replaced,
    SpikingReset,
    TrainedEncoding,
    TunedEncoding,
    listed,
)
from ..errors import UsageError
from . import options
from .finish import finish, load, place
from .output import console_for, epoch_reporter, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from ..conversion.balancing import BalancingChanges
    from ..conversion.calls import Calls


def check(
    target: Annotated[str, typer.Argument(help=f"{options.TARGETS}.")],
    weights: options.Weights = None,
    shape: options.Shape = None,
    pooling: options.TracedPooling = "fold",
    input_range: options.InputRange = None,
    mean: options.Mean = None,
    std: options.Std = None,
    json_path: options.Json = None,
) -> None:
    """List every obstacle to converting a network.

    Also says what conversion will change. Exits with code 2 if there is an obstacle.
    """
    import numpy as np

    from ..sources.targets import check_target

    check_target(target)
    if Path(target).suffix == ".net":
        raise UsageError(f"{target} is converted already; `rmp-lava info {target}` shows it")
    prepared = options.preparation(input_range, mean, std)
    from ..conversion.check import CheckReport, check as run_check
    from ..findings import findings_table, grouped
    from ..sources.models import load_trained, parse_shape, shape_for

    network = load_trained(target, weights, None if shape is None else parse_shape(shape))
    # Not zeros, which a network without biases maps to zeros whatever it computes.
    example = np.random.default_rng(0).random((2, *shape_for(network, shape)), dtype=np.float32)
    report = run_check(network.model, example, pooling=pooling, **prepared)
    report = CheckReport(report.obstacles + report.information)
    console = console_for(json_path)
    if report.findings:
        console.print(findings_table(grouped(report.findings), "Check"))
    count = len(report.obstacles)
    console.print("This network converts." if not count else f"{count} obstacle{'s' if count > 1 else ''} found.")
    findings = [
        {"severity": f.severity, "where": f.where, "found": f.found, "remedy": f.remedy} for f in report.findings
    ]
    write_json(json_path, {"convertible": report.convertible, "findings": findings})
    if count:
        raise typer.Exit(2)


def convert(
    target: options.Target,
    output: Annotated[
        Path | None,
        typer.Option(help="The .net file; if omitted, next to the input file or in exports.", callback=options.claim),
    ] = None,
    weights: options.Weights = None,
    shape: options.Shape = None,
    data: options.Data = None,
    images: options.TrainingImages = None,
    labels: options.Labels = None,
    data_dir: options.DataDirectory = None,
    neurons: Annotated[
        NeuronKind,
        typer.Option(help="RMP neurons, which spike; or lava-dl's sigma-delta neurons, which send graded changes."),
    ] = "rmp",
    smallest_change: Annotated[
        float, typer.Option(help="Sigma-delta: the change that is sent, as a share of a layer's largest activation.")
    ] = 0.0,
    spike_bits: Annotated[
        int | None,
        typer.Option(
            help="Bits, 2 to 7, of graded spikes: one time step, in which a message stands for several spikes.",
            show_default="single spikes",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="T, the number of time steps to convert for.", show_default="16; sigma-delta: depth + 1"),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="Balancing method: for few time steps, or as in the RMP paper.")
    ] = "low-latency",
    encoding: Annotated[
        TrainedEncoding | None,
        typer.Option(
            help="A pixel p becomes random spikes (poisson), pT evenly spaced spikes (rate), or a constant current. spikes: "
            "--images are events, (samples, T, channels, height, width), and the network was trained on their means.",
            show_default="low-latency: current; paper: poisson; events: spikes",
        ),
    ] = None,
    thresholds: Annotated[
        ObservedThresholds | None,
        typer.Option(
            help="Thresholds from a percentile of the inputs V_in, a percentile of the activations, or by least error.",
            show_default="the method's",
        ),
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option(help="Percentile of V_in or of the activations; 100 is the maximum.", show_default="100"),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Factor on every threshold; below 1 lowers the latency.", show_default="1")
    ] = None,
    search: options.Search = None,
    v_init: Annotated[
        InitialPotential | None,
        typer.Option(
            help="Initial membrane potential: zero, half the threshold, or the best share of it per layer.",
            show_default="the method's",
        ),
    ] = None,
    channelwise: Annotated[
        bool | None,
        typer.Option("--channelwise/--no-channelwise", help="One threshold per channel.", show_default="the method's"),
    ] = None,
    calibrate: Annotated[
        BiasCalibration | None,
        typer.Option(help="Correct biases so that mean rates match mean activations.", show_default="the method's"),
    ] = None,
    reset: Annotated[
        SpikingReset | None,
        typer.Option(
            help="soft: subtract the threshold (RMP); hard: reset to zero, the baseline.", show_default="soft"
        ),
    ] = None,
    wait: Annotated[
        int | None,
        typer.Option(
            help="Time steps, up to T, that neurons integrate before they may spike: less loss, longer latency.",
            show_default="0",
        ),
    ] = None,
    aim: Annotated[
        Aim | None,
        typer.Option(
            help="Convert for half of --steps and for --steps, each with several waits, show what each reaches and costs on the "
            "held-out images, and keep the most accurate, or, of those within half a point, the one with the least energy or "
            "latency.",
            show_default="only --steps and --wait",
        ),
    ] = None,
    pooling: options.Pooling = "auto",
    input_range: options.InputRange = None,
    mean: options.Mean = None,
    std: options.Std = None,
    readout: Annotated[
        ConvertReadout, typer.Option(help="Predict from the last layer's spike counts or its membrane potential.")
    ] = "potential",
    threshold_form: options.ThresholdForm = "stock",
    weight_bits: options.WeightBits = None,
    profile: options.Profile = "loihi2",
    calibration: options.Calibration = None,
    validation: options.Validation = None,
    for_lava_dl: options.ForLavaDl = False,
    for_board: options.ForBoard = False,
    strict: options.Strict = False,
    diagnose: Annotated[
        bool,
        typer.Option(
            "--diagnose/--no-diagnose",
            help="Where rounding or spikes lose accuracy, find the layer and try what helps, which converts several times.",
        ),
    ] = True,
    cluster: Annotated[
        str | None,
        typer.Option(
            help=f"Where ways to balance and the changes of --search are tried: {options.CLUSTERS}. The result is that of one "
            "thread, bit for bit.",
            show_default="this process",
            callback=options.check_cluster,
        ),
    ] = None,
    seed: options.Seed = 0,
    json_path: options.Json = None,
) -> None:
    """Convert a trained network and write a .net file.

    Shows what each stage reaches, and for each layer how closely firing rates match the trained activations. Saves the
    trained network next to the .net file.
    """
    from ..sources.targets import check_target

    check_target(target)
    if aim is not None and wait is not None:
        raise UsageError("--aim tries several waits itself; leave --wait out, or convert without --aim")
    if aim is not None and spike_bits is not None:
        raise UsageError("--aim compares numbers of time steps, and graded spikes take one; leave one of the two out")
    ready = options.preparation(input_range, mean, std)
    if neurons == "sigma-delta" and aim is not None:
        raise UsageError(
            "--aim compares numbers of time steps, of which sigma-delta neurons have no choice; leave it out"
        )
    bits = options.weight_bits(weight_bits)
    options.check_profile(profile)
    from ..conversion import pipeline
    from ..conversion.frontier import frontier
    from ..conversion.quantization import Quantization

    network, split = load(target, weights, shape, data, data_dir, images, labels, steps or 16, encoding)
    path = place(output, network, "")
    given = {
        "thresholds": thresholds,
        "percentile": percentile,
        "alpha": alpha,
        "v_init": v_init,
        "channelwise": channelwise,
        "calibrate": calibrate,
        "reset": reset,
    }
    changes = cast("BalancingChanges", {name: value for name, value in given.items() if value is not None})
    some, some_labels = split.calibration(calibration, seed)
    held_out = split.validation(validation, seed)
    console = console_for(json_path)
    with _calls(cluster, console) as calls:
        conversion = pipeline.convert(
            network.model,
            some,
            neurons=neurons,
            smallest_change=smallest_change,
            spike_bits=spike_bits,
            steps=steps,
            wait=wait or 0,
            method=method,
            encoding="spikes" if split.takes_events else encoding,
            pooling=pooling,
            readout=readout,
            search=search,
            labels=some_labels,
            diagnose=diagnose,
            quantization=Quantization(profile, threshold_form, for_board, for_lava_dl, bits),
            seed=seed,
            shuffle=False,  # drawn at random
            classes=split.classes,
            progress=True,
            calls=calls,
            **split.names(network),
            **ready,
            **changes,
        )
        compared = None if aim is None else frontier(conversion, *held_out, progress=True, calls=calls)
    if aim is not None and compared is not None:
        conversion = compared.chosen(aim)
        console.print(compared.table())
        console.print(f"Kept: T = {conversion.steps}, wait = {conversion.integer.wait}.")
    measurement = conversion.measure(*held_out, strict=strict, diagnose=diagnose, progress=True)
    finish(conversion, measurement, network, split, path, for_lava_dl, json_path)


@contextmanager
def _calls(place: str | None, console: Console) -> Iterator[Calls]:
    """Calls in this process, or on a cluster; then this process has as many threads as each worker."""
    from ..conversion.calls import here

    if place is None:
        yield here
        return
    from ..study.cluster import Cluster, calls
    from ..threads import limited_to

    options = Cluster()
    with calls(place, options) as (there, dashboard), limited_to(options.threads):
        console.print(f"Workers on {place}; dashboard: {dashboard}")
        yield there


def tune(
    target: options.Target,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The .net file; NAME-tuned.net next to the network's own file if omitted.", callback=options.claim
        ),
    ] = None,
    weights: options.Weights = None,
    shape: options.Shape = None,
    data: options.Data = None,
    images: options.TrainingImages = None,
    labels: options.Labels = None,
    data_dir: options.DataDirectory = None,
    steps: Annotated[int, typer.Option(help="T, the number of time steps to tune for.")] = 8,
    wait: Annotated[
        int,
        typer.Option(
            help="Time steps, up to T, that neurons integrate before they may spike; T trains T levels without spikes."
        ),
    ] = 0,
    replace: Annotated[
        list[str] | None,
        typer.Option(
            help="First replace operations of a copy of the network, and train it with the original as teacher: "
            f"{listed(Replaced)}; may be given several times.",
            show_default="nothing",
            metavar="KIND",
        ),
    ] = None,
    replace_epochs: Annotated[int, typer.Option(help="Epochs of the training after --replace.")] = 5,
    encoding: Annotated[
        TunedEncoding,
        typer.Option(
            help="Pixels as currents; or events, --images of (samples, T, channels, height, width).",
            show_default="current; events: spikes",
        ),
    ] = "current",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 2,
    learning_rate: Annotated[float, typer.Option(help="Initial learning rate; it decays to zero.")] = 1e-4,
    batch_size: Annotated[int, typer.Option(help="Images per optimizer step.")] = 64,
    distill: Annotated[
        bool,
        typer.Option("--distill/--no-distill", help="Train on the trained network's outputs as well as on the labels."),
    ] = True,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="Train on the mean output of other trained networks instead, named like TARGET; may be given several times.",
            show_default="the network itself",
            metavar="TARGET",
        ),
    ] = None,
    augmentation: Annotated[Augmentation, typer.Option(help="Augmentation of the training images.")] = "none",
    precision: Annotated[Precision, typer.Option(help="Precision of the layers' arithmetic in training.")] = "float32",
    device: options.Device = "cpu",
    search: options.Search = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from NAME.tune.pt next to the output.")] = False,
    pooling: options.Pooling = "auto",
    input_range: options.InputRange = None,
    mean: options.Mean = None,
    std: options.Std = None,
    threshold_form: options.ThresholdForm = "stock",
    weight_bits: options.WeightBits = None,
    profile: options.Profile = "loihi2",
    calibration: options.Calibration = None,
    validation: options.Validation = None,
    for_lava_dl: options.ForLavaDl = False,
    for_board: options.ForBoard = False,
    strict: options.Strict = False,
    seed: options.Seed = 0,
    json_path: options.Json = None,
) -> None:
    """Fine-tune a trained network for few time steps.

    Also for 8-bit weights; writes a .net file. Trains through the spikes, or with --wait T through levels, on the training
    images. Writes NAME.tune.pt next to the output after each epoch.
    """
    from ..sources.targets import check_target

    for each in (target, *(teacher or [])):
        check_target(each)
    ready, bits = options.preparation(input_range, mean, std), options.weight_bits(weight_bits)
    options.check_profile(profile)
    if images is not None and labels is None:
        raise UsageError("tuning needs labels; pass --labels too")
    from ..conversion import pipeline
    from ..conversion.quantization import Quantization
    from ..sources.models import load_trained

    network, split = load(target, weights, shape, data, data_dir, images, labels, steps, encoding)
    teachers = [load_trained(each, shape=network.shape).model for each in teacher or []]
    path = place(output, network, "-tuned")
    if split.train_labels is None:
        raise UsageError("tuning needs labels; pass --labels too")
    held_out, held_out_labels = split.validation(validation, seed)
    conversion = pipeline.tune(
        network.model,
        split.train_images,
        split.train_labels,
        steps=steps,
        wait=wait,
        replace=cast("list[Replaced]", replace or []),  # checked there
        replace_epochs=replace_epochs,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        distill=distill,
        teachers=teachers,
        augmentation=augmentation,
        precision=precision,
        device=device,
        validation=None if held_out_labels is None else (held_out, held_out_labels),
        encoding="spikes" if split.takes_events else encoding,
        pooling=pooling,
        search=search,
        quantization=Quantization(profile, threshold_form, for_board, for_lava_dl, bits),
        calibration=calibration,
        checkpoint_path=path.with_suffix(".tune.pt"),
        resume=resume,
        on_epoch=epoch_reporter(console_for(json_path), epochs),
        seed=seed,
        progress=True,
        **split.names(network),
        **ready,
    )
    measurement = conversion.measure(held_out, held_out_labels, strict=strict, progress=True)
    finish(conversion, measurement, network, split, path, for_lava_dl, json_path)
