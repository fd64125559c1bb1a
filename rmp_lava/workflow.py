"""Steps that the commands share: bring a network and images, convert a checkpoint with its stages measured, compare."""

from __future__ import annotations

import hashlib
import importlib
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from torch import nn

from . import __version__
from .ann.checkpoint import load_model
from .ann.data import Dataset, load, split_validation
from .ann.models import model_spec
from .ann.train import evaluate
from .backends import run
from .conversion import convert
from .conversion.quantize import quantize
from .errors import DataError, UsageError
from .network import SpikingNetwork
from .report.tables import percent, table
from .results import Run

MAX_IMAGE_BYTES = 2**33


@dataclass(frozen=True)
class Stage:
    """Accuracy of one form of the network on the same images."""

    name: str
    images: int
    accuracy: float
    note: str = ""


@dataclass(frozen=True)
class Conversion:
    """A converted checkpoint: both networks and what each stage reaches on validation images."""

    floating: SpikingNetwork
    integer: SpikingNetwork
    stages: tuple[Stage, ...]
    steps: int

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "steps": self.steps,
            "stages": [
                {"name": s.name, "images": s.images, "accuracy": s.accuracy, "note": s.note} for s in self.stages
            ],
            "layers": {layer.name: dict(layer.record) for layer in self.integer},
        }


def stage_table(conversion: Conversion) -> Table:
    """The stages of a conversion, one below the other."""
    title = f"Accuracy on validation images, T = {conversion.steps}"
    rows = [(s.name, s.note or "none", f"{s.images:,}", percent(s.accuracy)) for s in conversion.stages]
    return table(title, ("stage", "limits reached", "images", "accuracy"), rows, text_columns=2)


def convert_checkpoint(
    checkpoint: Path,
    *,
    data_directory: Path | None,
    calibration: int,
    profile: str,
    threshold_form: str,
    strict: bool,
    options: dict[str, Any],
) -> Conversion:
    """Convert a checkpoint with its own data set, and measure each stage on validation images.

    Thresholds are balanced on `calibration` training images; neither those nor the validation images are test images.
    `options` go to `rmp_lava.convert`.
    """
    model, metadata = load_model(checkpoint)
    dataset = load(model_spec(metadata["model"]).dataset, data_directory)
    return convert_model(
        model,
        dataset,
        name=metadata["model"],
        provenance={"checkpoint_sha256": _sha256(checkpoint), "checkpoint": checkpoint.name},
        calibration=calibration,
        profile=profile,
        threshold_form=threshold_form,
        strict=strict,
        options=options,
    )


def convert_model(
    model: nn.Module,
    dataset: Dataset,
    *,
    name: str,
    provenance: dict[str, Any],
    calibration: int = 256,
    profile: str = "loihi2",
    threshold_form: str = "stock",
    strict: bool = False,
    options: dict[str, Any],
) -> Conversion:
    """As `convert_checkpoint`, for a model in memory."""
    split = split_validation(dataset)
    if not 1 <= calibration <= len(split.train_images):
        raise UsageError(f"calibration takes {calibration} images; allowed are 1..{len(split.train_images)}")
    floating = convert(
        model,
        split.train_images[:calibration],
        name=name,
        class_names=tuple(dataset.class_names),
        progress=True,
        **options,
    )
    provenance = provenance | {
        "rmp_lava": __version__,
        "dataset": dataset.name,
        "data_source": dataset.source,
        "encoding": options["encoding"],
    }
    floating = floating.replace(provenance=dict(floating.provenance) | provenance)
    integer = quantize(floating, profile, threshold_form=threshold_form, strict=strict)
    images, labels = split.validation_images, split.validation_labels
    stages = [Stage("trained ANN", len(images), evaluate(model, images, labels))]
    for stage, network in (("float SNN", floating), ("integer SNN", integer)):
        result = run(network, images, options["steps"], seed=options["seed"], strict=strict, progress=True)
        stages.append(Stage(stage, len(images), result.accuracy(labels), describe_saturation(result)))
    return Conversion(floating, integer, tuple(stages), options["steps"])


def describe_saturation(result: Run) -> str:
    """What overflowed, layer by layer, or nothing."""
    found = [f"{name}: {count:,} saturated updates" for name, count in result.saturations.items() if count]
    found += [f"{name}: {count:,} inputs beyond 2^17" for name, count in result.large_inputs.items() if count]
    return ", ".join(found)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_network(target: str, shape: str | None) -> tuple[nn.Module, np.ndarray]:
    """A PyTorch network and an example input, from a checkpoint or from `package.module:function`.

    Raises
    ------
    UsageError, CheckpointError
        If the target cannot be meant.
    """
    if ":" not in target:
        model, metadata = load_model(Path(target))
        return model, np.zeros((1, *model_spec(metadata["model"]).input_shape), dtype=np.float32)
    if shape is None:
        raise UsageError(f"{target} needs the shape of one input; pass it, for example --shape 3,32,32")
    try:
        sizes = tuple(int(n) for n in shape.split(","))
        example = np.zeros((1, *sizes), dtype=np.float32)
    except (ValueError, MemoryError, OverflowError):
        raise UsageError(
            f"shape {shape!r} is not understood or too large; write whole numbers, such as 3,32,32"
        ) from None
    return _call(target), example


def _call(target: str) -> nn.Module:
    module_name, _, function_name = target.partition(":")
    sys.path.insert(0, "")  # as `python -m` does: modules of the current folder
    try:
        function: Callable[[], Any] = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # it is the user's module, which may raise anything
        raise UsageError(f"{target} cannot be found ({error}); write package.module:function") from None
    finally:
        sys.path.remove("")
    try:
        model = function()
    except Exception as error:  # the function is the user's, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{target}() failed ({reason}); it is called without arguments") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"{target} returns {type(model).__name__}; it must return a torch.nn.Module")
    return model


def images_for(
    network: SpikingNetwork,
    data: str | None,
    data_directory: Path | None,
    images: Path | None,
    labels: Path | None,
    samples: int | None,
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """(images, labels or None, what they are): a data set's test images, or the user's own arrays."""
    if samples is not None and samples < 1:
        raise UsageError(f"samples are {samples}; run at least 1")
    if images is None and labels is not None:
        raise UsageError("labels are given without images; a data set brings its own, so pass --images too or neither")
    if images is not None and data is not None:
        raise UsageError(f"both images and the data set {data!r} are given; pass one of them")
    if images is not None:
        values, truth, what = _load_array(images), None, f"images of {images.name}"
        if labels is not None:
            truth = _load_array(labels)
            if truth.shape != (len(values),):
                raise DataError(f"{labels} has shape {truth.shape}; expected one label per image, ({len(values)},)")
    else:
        name = data or network.provenance.get("dataset")
        if not isinstance(name, str):
            raise UsageError(f"network {network.name!r} names no data set; pass --data or --images")
        dataset = load(name, data_directory)
        values, truth, what = dataset.test_images, dataset.test_labels, f"test images of {name}"
    count = len(values) if samples is None else min(samples, len(values))
    return values[:count], None if truth is None else truth[:count], f"first {count:,} {what}"


def _load_array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file; pass a .npy file")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is not a readable .npy file ({str(error).splitlines()[0]}); save it with numpy.save"
        ) from None
    if not isinstance(array, np.ndarray) or array.nbytes > MAX_IMAGE_BYTES or not array.ndim:
        raise DataError(f"{path} is no array of at most {MAX_IMAGE_BYTES >> 30} GiB; save one array with numpy.save")
    return array


def steps_for(network: SpikingNetwork, steps: int | None) -> int:
    """T from the user, or the one that the network was balanced for; `UsageError` if neither is known."""
    if steps is not None:
        return steps
    balanced = network.provenance.get("balance")
    if isinstance(balanced, dict) and isinstance(balanced.get("steps"), int):
        return balanced["steps"]
    raise UsageError(f"network {network.name!r} does not say for how many steps it is meant; pass --steps")


def describe_run(result: Run, what: str, accuracy: float | None) -> list[str]:
    """What ran, on what, with which result, in sentences."""
    lines = [f"Ran {what} on: {result.execution}, {result.seconds:.1f} s"]
    if accuracy is not None:
        lines.append(f"Accuracy: {percent(accuracy)}")
    if result.steps_used is not None:
        used = result.steps_used
        lines.append(
            f"Left as soon as confident: {used.mean():.1f} of {result.schedule.steps} steps of input on average, "
            f"{np.median(used):g} in the median; {percent((used == result.schedule.steps).mean())} of the samples stayed"
        )
    saturation = describe_saturation(result)
    if saturation:
        lines.append(f"Limits reached: {saturation}")
    if result.realisation == "stock":
        crossing = {name: count for name, count in result.boundary_spikes.items() if count}
        lines.append(
            "Stock neurons: "
            + (
                "spikes in a sample's last step cross the reset into the next one: "
                + ", ".join(f"{name} in {count:,} samples" for name, count in crossing.items())
                + "; more --blank steps avoid it"
                if crossing
                else "no spike crosses a reset"
            )
        )
    return lines


def compare_with_reference(
    network: SpikingNetwork, images: np.ndarray, result: Run, options: dict[str, Any]
) -> list[str]:
    """Where a run recorded with spikes and potentials differs from the reference's; empty if nowhere."""
    expected = run(
        network,
        images,
        result.schedule.steps,
        "reference",
        realisation=result.realisation,
        record=("spikes", "potentials"),
        progress=True,
        **options,
    )
    differences = []
    for name, spikes in expected.spikes.items():
        count = int((spikes != result.spikes[name]).sum())
        if count:
            differences.append(f"layer {name!r}: {count:,} spikes differ")
    for name, potentials in expected.potentials.items():
        count = int((potentials != result.potentials[name]).sum())
        if count:
            differences.append(f"layer {name!r}: {count:,} final potentials differ")
    return differences
