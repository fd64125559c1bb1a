"""What `convert` and `tune` share: loading their inputs, and writing and showing their result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .output import console_for, write_json

if TYPE_CHECKING:
    from ..choices import TrainedEncoding
    from ..conversion.conversion import Conversion, Measurement
    from ..sources.images import ImageSplit
    from ..sources.models import TrainedModel


def place(output: Path | None, target: TrainedModel, ending: str) -> Path:
    """Path of the .net file; raises `UsageError` if it would replace a user's file."""
    from ..sources.companions import check_places

    path = output or target.place.with_name(f"{target.place.name}{ending}.net")
    if target.kind == "net" and target.path and path.exists() and path.samefile(target.path):
        raise UsageError(f"output {path} is the input file; choose another --output")
    check_places(path, target.path)
    return path


def load(
    target: str,
    weights: Path | None,
    shape: str | None,
    data: str | None,
    data_dir: Path | None,
    images: Path | None,
    labels: Path | None,
    steps: int,
    encoding: TrainedEncoding | None,
) -> tuple[TrainedModel, ImageSplit]:
    """The network and the images to convert it with; the images determine the shape if nothing else does."""
    from ..sources.images import load_images
    from ..sources.models import load_trained, parse_shape

    given = None if shape is None else parse_shape(shape)
    network = load_trained(target, weights, given)
    if images is None and data is None:
        data = network.dataset
    wanted = given or network.shape
    split = load_images(
        data,
        data_dir,
        images,
        labels,
        wanted,
        network.validation_fraction,
        steps=steps,
        takes_events=encoding == "spikes",
    )
    return network, split


def finish(
    conversion: Conversion,
    measurement: Measurement,
    target: TrainedModel,
    split: ImageSplit,
    path: Path,
    for_lava_dl: bool,
    json_path: Path | None,
) -> None:
    """Write the network and its companions, and show what was measured."""
    from ..conversion.conversion import with_measurement
    from ..report.provenance import COMPANIONS
    from ..report.tables import fidelity_table, network_table, stage_table
    from ..sources.companions import save_with_ann

    target = replace(target, model=conversion.model)
    kept = save_with_ann(with_measurement(conversion.integer, measurement), path, target, for_lava_dl=for_lava_dl)
    console = console_for(json_path)
    if conversion.replacement is not None:
        console.print(conversion.replacement.table())
    for finding in conversion.findings:
        console.print(f"{finding.sentence()}.")
    if conversion.silent_units:
        console.print(conversion.silent_units)
    console.print(network_table(conversion.integer))
    if measurement.layer_fidelity:
        console.print(fidelity_table(measurement.layer_fidelity))
    console.print(stage_table(measurement.stages, conversion.steps))
    if split.validation_labels is None:
        console.print(
            f"The {split.what} have no labels, so each stage is compared with the trained network's outputs; pass --labels for "
            "the accuracy."
        )
    console.print(measurement.loss)
    console.print(f"Network: {kept.net}")
    for key, name in COMPANIONS.items():
        if key in kept.files:
            console.print(f"{name}: {kept.files[key]}")
    for sentence in kept.left_out:
        console.print(f"{sentence}.")
    files = {key: str(file) for key, file in kept.files.items()}
    written = {"net": str(kept.net), "left_out": list(kept.left_out)} | files
    write_json(json_path, written | conversion.summary() | measurement.summary())
