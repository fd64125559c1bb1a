"""What `convert` and `tune` share: what they begin with, and what they write and show in the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .common import ThresholdForm, console_for, write_json

if TYPE_CHECKING:
    from ..conversion.pipeline import Conversion
    from ..sources.companions import Kept
    from ..sources.images import Material
    from ..sources.models import Target


def quantising(profile: str, threshold_form: ThresholdForm, strict: bool, for_board: bool):
    """Options of the integers as the workflow takes them."""
    from ..conversion.pipeline import Quantising

    return Quantising(profile, threshold_form.value, strict, for_board)


def measuring(calibration: int | None, validation: int | None, seed: int):
    """Options of the images as the workflow takes them."""
    from ..conversion.pipeline import Measuring

    return Measuring(calibration, validation, seed)


def place(output: Path | None, target: Target, ending: str) -> Path:
    """Where the network is written, if nothing of the user's is replaced there."""
    from ..sources.companions import check_places

    path = output or target.place.with_name(f"{target.place.name}{ending}.net")
    if target.kind == "net" and path.exists() and path.samefile(target.path):
        raise UsageError(f"output is {path}, from which the network comes; choose another --output")
    check_places(path)
    return path


def bring(
    target: str,
    weights: Path | None,
    shape: str | None,
    data: str | None,
    data_dir: Path | None,
    images: Path | None,
    labels: Path | None,
) -> tuple[Target, Material]:
    """The network and the images to convert it with; the images say the shape where nothing else does."""
    from ..sources.images import material_for
    from ..sources.models import load_target, parse_shape

    network = load_target(target, weights)
    if images is None and data is None:
        data = network.dataset
    wanted = network.shape if shape is None else parse_shape(shape)
    return network, material_for(data, data_dir, images, labels, wanted, network.validation_fraction)


def finish(
    conversion: Conversion,
    target: Target,
    material: Material,
    path: Path,
    for_lava_dl: bool,
    json_path: Path | None,
) -> None:
    """Write the network and what belongs to it, and show what was measured."""
    from ..conversion.pipeline import describe_loss
    from ..report.tables import WIDE, fidelity_table, network_table, stage_table
    from ..sources.companions import save_with_ann

    kept = save_with_ann(conversion.integer, path, target, for_lava_dl=for_lava_dl)
    console = console_for(json_path)
    console.print(network_table(conversion.integer, wide=console.width >= WIDE))
    console.print(fidelity_table(conversion.gates))
    if conversion.stages:
        console.print(stage_table(conversion.stages, conversion.steps))
    else:
        console.print(f"No accuracy is measured, because {material.what} have no labels; pass --labels for it.")
    console.print(describe_loss(conversion))
    console.print(f"Network: {kept.net}")
    _show_kept(kept, console)
    files = {key: str(file) for key, file in kept.files.items()}
    write_json(json_path, {"net": str(kept.net), "left_out": list(kept.left_out)} | files | conversion.summary())


def _show_kept(kept: Kept, console) -> None:
    for key, name in (("ann", "Trained network"), ("onnx", "As ONNX")):
        if key in kept.files:
            console.print(f"{name}: {kept.files[key]}")
    for sentence in kept.left_out:
        console.print(f"{sentence}.")
