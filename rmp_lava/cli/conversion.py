"""Commands from a trained network to a spiking one without training: `check` and `convert`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .common import (
    TARGETS,
    Calibration,
    Data,
    DataDirectory,
    ForBoard,
    ForLavaDl,
    Json,
    Pooling,
    PoolingOption,
    Profile,
    SearchOption,
    Seed,
    Shape,
    Strict,
    TargetArgument,
    ThresholdForm,
    ThresholdFormOption,
    TrainingImages,
    TrainingLabels,
    Validation,
    Weights,
    console_for,
    plain,
    write_json,
)
from .finish import bring, finish, measuring, place, quantising


class Method(str, Enum):
    low_latency = "low-latency"
    paper = "paper"


class Encoding(str, Enum):
    poisson = "poisson"
    rate = "rate"
    current = "current"


class Reset(str, Enum):
    soft = "soft"
    hard = "hard"


class Readout(str, Enum):
    potential = "potential"
    count = "count"


class Thresholds(str, Enum):
    v_in = "v_in"
    activation = "activation"
    error = "error"


class InitialPotential(str, Enum):
    zero = "zero"
    half = "half"
    best = "best"


class CalibrationOf(str, Enum):
    none = "none"
    bias = "bias"


def check(
    target: Annotated[str, typer.Argument(help=f"{TARGETS}.")],
    weights: Weights = None,
    shape: Shape = None,
    pooling: PoolingOption = Pooling.fold,
    json_path: Json = None,
) -> None:
    """List what keeps a network from converting.

    Everything at once; exit code 2 if there is anything. Also what conversion will change.
    """
    import numpy as np

    from ..conversion.check import CheckReport
    from ..conversion.check import check as run_check
    from ..findings import findings_table
    from ..sources.models import load_target, shape_for

    if Path(target).suffix == ".net":
        raise UsageError(f"{target} is converted already; `rmp-lava info {target}` shows it")
    network = load_target(target, weights)
    # Not zeros, of which a network without biases makes zeros whatever it does.
    example = np.random.default_rng(0).random((2, *shape_for(network, shape)), dtype=np.float32)
    report = run_check(network.model, example, pooling=pooling.value)
    report = CheckReport(report.obstacles + report.information)
    console = console_for(json_path)
    if report.findings:
        console.print(findings_table(report.findings, "Check"))
    count = len(report.obstacles)
    console.print("This network converts." if not count else f"{count} obstacle{'s' if count > 1 else ''} in the way.")
    findings = [
        {"severity": f.severity, "where": f.where, "found": f.found, "remedy": f.remedy} for f in report.findings
    ]
    write_json(json_path, {"convertible": report.convertible, "findings": findings})
    if count:
        raise typer.Exit(2)


def convert(
    target: TargetArgument,
    output: Annotated[
        Path | None, typer.Option(help="The .net file; beside the target's file, or in exports, if omitted.")
    ] = None,
    weights: Weights = None,
    shape: Shape = None,
    data: Data = None,
    images: TrainingImages = None,
    labels: TrainingLabels = None,
    data_dir: DataDirectory = None,
    steps: Annotated[int, typer.Option(help="T, time steps that the network is meant for.")] = 16,
    method: Annotated[
        Method, typer.Option(help="How thresholds are found: for few steps, or as the RMP paper does.")
    ] = Method.low_latency,
    encoding: Annotated[
        Encoding | None,
        typer.Option(
            help="Pixels p as random spikes, as pT evenly spaced spikes, or as a number in each step.",
            show_default="low-latency: current; paper: poisson",
        ),
    ] = None,
    thresholds: Annotated[
        Thresholds | None,
        typer.Option(
            help="From the percentile of V_in or of activations, or the least error.", show_default="the method's"
        ),
    ] = None,
    percentile: Annotated[
        float | None, typer.Option(help="Of V_in or activations; 100 is the maximum.", show_default="100")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Factor on every threshold; below 1 for less latency.", show_default="1")
    ] = None,
    search: SearchOption = None,
    v_init: Annotated[
        InitialPotential | None, typer.Option(help="Initial potential.", show_default="the method's")
    ] = None,
    channelwise: Annotated[
        bool | None,
        typer.Option(
            "--channelwise/--no-channelwise", help="A threshold for each channel.", show_default="the method's"
        ),
    ] = None,
    calibrate: Annotated[
        CalibrationOf | None,
        typer.Option(help="Move biases so that rates meet mean activations.", show_default="the method's"),
    ] = None,
    reset: Annotated[Reset | None, typer.Option(help="soft is RMP, hard the baseline.", show_default="soft")] = None,
    pooling: PoolingOption = Pooling.fold,
    readout: Annotated[Readout, typer.Option(help="What the prediction is taken from.")] = Readout.potential,
    threshold_form: ThresholdFormOption = ThresholdForm.stock,
    profile: Profile = "loihi2",
    calibration: Calibration = None,
    validation: Validation = None,
    for_lava_dl: ForLavaDl = False,
    for_board: ForBoard = False,
    strict: Strict = False,
    seed: Seed = 0,
    json_path: Json = None,
) -> None:
    """Convert a trained network and write a .net file.

    Shows the accuracy of each stage, and layer by layer how well rates say activations. The trained network is kept beside.
    """
    from ..conversion.pipeline import convert_model

    network, material = bring(target, weights, shape, data, data_dir, images, labels)
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
    changes = {name: plain(value) for name, value in given.items() if value is not None}
    conversion = convert_model(
        network.model,
        material,
        steps=steps,
        method=method.value,
        encoding=plain(encoding),
        pooling=pooling.value,
        readout=readout.value,
        name=network.name,
        provenance=network.provenance,
        quantising=quantising(profile, threshold_form, strict, for_board),
        measuring=measuring(calibration, validation, seed),
        search=plain(search),
        **changes,
    )
    finish(conversion, network, material, path, for_lava_dl, json_path)
