"""The way from a trained network to a quantised spiking one, with every stage measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..backends import run
from ..encoding import make_input
from ..errors import UsageError
from ..hardware.profiles import load_profile
from ..network import SpikingNetwork
from ..schedule import Schedule
from ..sources.images import Material, check_classes
from . import ENCODINGS, choose_ways
from .balance import balance
from .balancing import Balancing
from .choose import balance_best
from .fidelity import LayerGate, clipped, first_loss, measure_layers
from .headroom import board_ranges
from .quantize import quantize
from .scale import unscale
from .search import make_objective
from .search import search as search_thresholds
from .stages import Stage, analog_stage, spiking_stage, trained_stage
from .trace import trace
from .tracing.reading import Model
from .tune import tune
from .tune_session import TuneRecord, check_values

GATE_IMAGES = 256
NOTICEABLE_LOSS = 0.01
BEFORE_TUNING = choose_ways("low-latency", v_init="half")
TUNED = Balancing(thresholds="tuned", v_init="half")
"""What `tune` starts from, and what it has trained for: neurons that start from half their thresholds."""


@dataclass(frozen=True)
class Quantising:
    """Of the integers, see `rmp_lava.quantize`.

    strict : a state that saturates while stages are measured is an error.
    for_board : scales at which no potential of the calibration images wraps in stock neurons, which a board has. Tuning trains on
        the grid of scales without it.
    """

    profile: str = "loihi2"
    threshold_form: str = "stock"
    strict: bool = False
    for_board: bool = False


@dataclass(frozen=True)
class Measuring:
    """How many images are drawn, None for the usual; and the seed of everything random."""

    calibration: int | None = None
    validation: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Conversion:
    """A converted network in each of its forms, and what each reaches on validation images.

    `stages` is empty where the images have no labels.
    """

    analog: SpikingNetwork
    floating: SpikingNetwork
    integer: SpikingNetwork
    steps: int
    stages: tuple[Stage, ...] = ()
    gates: tuple[LayerGate, ...] = ()
    tuning: tuple[TuneRecord, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "steps": self.steps,
            "stages": [vars(stage) for stage in self.stages],
            "gates": [vars(gate) for gate in self.gates],
            "first_loss": first_loss(self.gates),
            "loss": describe_loss(self) if self.gates else None,
            "tuning": [vars(record) for record in self.tuning],
            "layers": {layer.name: dict(layer.record) for layer in self.integer},
        }


def describe_loss(conversion: Conversion) -> str:
    """A sentence on the layer where the loss begins, or on what is lost although no single layer begins it."""
    named = first_loss(conversion.gates)
    if named is not None:
        return named
    known = [gate for gate in conversion.gates if gate.correlation is not None]
    worst = min(known, key=lambda gate: gate.correlation, default=None)
    if worst is None:
        return "No layer's activations vary on these images, so nothing can be said about its rates."
    where = f"the lowest correlation is {worst.correlation:.4f}, of layer {worst.layer!r}"
    if conversion.stages:
        lost = conversion.stages[0].accuracy - conversion.stages[-1].accuracy
        if lost > NOTICEABLE_LOSS:
            return (
                f"{100 * lost:.1f} points are lost, but no single layer begins it: errors of the rates add up over the layers "
                f"({where}), so take more steps, or tune the network."
            )
    return f"No layer begins a loss: {where}."


def convert_model(
    model: Model,
    material: Material,
    *,
    steps: int,
    method: str = "low-latency",
    encoding: str | None = None,
    pooling: str = "fold",
    readout: str = "potential",
    name: str = "network",
    provenance: dict[str, Any] | None = None,
    quantising: Quantising = Quantising(),  # noqa: B008 - frozen
    measuring: Measuring = Measuring(),  # noqa: B008 - frozen
    stages: bool = True,
    search: str | None = None,
    **changes: Any,
) -> Conversion:
    """Convert a network as `rmp_lava.convert` does, quantise it, and measure each stage.

    Thresholds are set with training images, stages measured on validation images; `material` has no test images.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
    material : Material
    steps, method, encoding, pooling, readout, name, **changes
        As `rmp_lava.convert` takes them.
    provenance : dict, optional
        Where the network comes from; JSON values.
    quantising, measuring
        See there.
    stages : bool
        Whether to measure stages and layers at all.
    search : {"accuracy", "outputs"} or None
        What each layer's alpha and initial potential are then searched for, see `conversion.search`; None: they are not.

    Raises
    ------
    ConversionError, UsageError, DataError
        As the passes do.
    """
    ways = choose_ways(method, **changes)
    encoding = ENCODINGS[method] if encoding is None else encoding
    Schedule(steps, 1)  # refuses steps that are out of range
    load_profile(quantising.profile)  # refuses one that there is not, before work that takes long
    calibration, calibration_labels = material.calibration(measuring.calibration, measuring.seed)
    images, labels = material.validation(measuring.validation, measuring.seed)
    analog = _trace(model, material, calibration, encoding, pooling, readout, name)
    analog = _with_provenance(analog, material, provenance, {"method": method, "encoding": encoding})
    objective = None if search is None else make_objective(search, analog, calibration, calibration_labels)
    floating = balance_best(analog, calibration, steps, ways, seed=measuring.seed, progress=True)
    if objective is not None:
        floating = search_thresholds(floating, objective, steps, seed=measuring.seed, progress=True)
    conversion = _quantized(analog, floating, steps, quantising, calibration, measuring.seed)
    if not stages:
        return conversion
    return _measured(conversion, model, images, labels, quantising.strict, measuring.seed)


def tune_model(
    model: Model,
    material: Material,
    *,
    steps: int,
    name: str = "network",
    pooling: str = "fold",
    provenance: dict[str, Any] | None = None,
    quantising: Quantising = Quantising(),  # noqa: B008 - frozen
    measuring: Measuring = Measuring(),  # noqa: B008 - frozen
    distill: bool = True,
    search: str | None = None,
    checkpoint_path: Path | None = None,
    on_epoch: Callable[[TuneRecord], None] | None = None,
    **settings: Any,
) -> Conversion:
    """Fine-tune a network for T steps as `rmp_lava.conversion.tune.tune` does, then convert, quantise and measure it.

    Parameters
    ----------
    model, material, steps, name, pooling, provenance, quantising, measuring
        As for `convert_model`.
    distill : bool
        Whether the trained network's outputs are learned beside the labels, see `teacher` of `tune`.
    search
        As for `convert_model`, after the tuning; outputs are compared with those of the network before it.
    checkpoint_path, on_epoch, **settings
        As `tune` takes them: epochs, learning_rate, batch_size, augmentation, precision, device, resume.

    Raises
    ------
    ConversionError, UsageError, DataError, CheckpointError
        As the passes do.
    """
    if material.train_labels is None:
        raise UsageError("tuning trains the network, which needs labels; pass --labels too")
    Schedule(steps, 1)  # refuses steps that are out of range
    # What is wrong with the settings is said before work that takes long.
    load_profile(quantising.profile)
    check_values(settings)
    if settings.get("resume") and not (checkpoint_path and checkpoint_path.is_file()):
        raise UsageError(
            f"checkpoint {checkpoint_path} does not exist, so there is nothing to resume; leave resume out"
        )
    calibration, calibration_labels = material.calibration(measuring.calibration, measuring.seed)
    images, labels = material.validation(measuring.validation, measuring.seed)
    analog = _trace(model, material, calibration, "current", pooling, "potential", name)
    analog = _with_provenance(analog, material, provenance, {"method": "tune", "encoding": "current"})
    objective = None if search is None else make_objective(search, analog, calibration, calibration_labels)
    # From where conversion by itself ends: tuning then needs a fraction of the images.
    converted = balance_best(analog, calibration, steps, BEFORE_TUNING, seed=measuring.seed, progress=True)
    tuned = tune(
        unscale(converted),
        material.train_images,
        material.train_labels,
        steps,
        dynamics="spikes",
        profile=quantising.profile,
        threshold_form=quantising.threshold_form,
        seed=measuring.seed,
        validation=(images, labels),
        teacher=analog if distill else None,
        checkpoint_path=checkpoint_path,
        on_epoch=on_epoch,
        progress=True,
        **settings,
    )
    floating = balance(tuned.network, calibration, steps, TUNED, seed=measuring.seed, progress=True)
    if objective is not None:
        floating = search_thresholds(floating, objective, steps, seed=measuring.seed, progress=True)
    conversion = _quantized(tuned.network, floating, steps, quantising, calibration, measuring.seed)
    measured = _measured(conversion, model, images, labels, quantising.strict, measuring.seed, tuned=True)
    return Conversion(**vars(measured) | {"tuning": tuned.history})


def _trace(
    model: Model, material: Material, calibration: np.ndarray, encoding: str, pooling: str, readout: str, name: str
) -> SpikingNetwork:
    source = make_input(encoding, material.shape)
    network = trace(model, source, calibration, pooling=pooling, readout=readout).replace(name=name)
    for labels in (material.train_labels, material.validation_labels):
        check_classes(network, labels, material.class_names)
    return network.replace(class_names=material.class_names or network.class_names)


def _with_provenance(
    network: SpikingNetwork, material: Material, provenance: dict[str, Any] | None, more: dict[str, Any]
) -> SpikingNetwork:
    added = (provenance or {}) | {"rmp_lava": __version__} | material.provenance | more
    return network.replace(
        dataset=material.dataset,
        validation_fraction=material.validation_fraction,
        provenance=dict(network.provenance) | added,
    )


def _quantized(
    analog: SpikingNetwork,
    floating: SpikingNetwork,
    steps: int,
    quantising: Quantising,
    calibration: np.ndarray,
    seed: int,
) -> Conversion:
    ranges = board_ranges(floating, calibration, steps, seed=seed) if quantising.for_board else None
    integer = quantize(floating, quantising.profile, threshold_form=quantising.threshold_form, ranges=ranges)
    return Conversion(analog, floating, integer, steps)


def _measured(
    conversion: Conversion,
    model: Model,
    images: np.ndarray,
    labels: np.ndarray | None,
    strict: bool,
    seed: int,
    *,
    tuned: bool = False,
) -> Conversion:
    """The conversion with its stages, where there are labels, and its layers; kept in the integers' provenance too."""
    analog, floating, integer, steps = conversion.analog, conversion.floating, conversion.integer, conversion.steps
    stages = []
    if labels is not None:
        what = ", tuned" if tuned else ""
        stages.append(trained_stage(model, images, labels))
        if not tuned:  # tuned activations are cut off already
            stages.append(analog_stage("folded", analog, images, labels))
        stages.append(analog_stage(f"clipped{what}", clipped(analog, floating), images, labels))
        for form, network in (("float SNN", floating), ("integer SNN", integer)):
            stages.append(spiking_stage(f"{form}{what}", network, images, labels, steps, seed=seed, strict=strict))
    elif strict:  # stages would have found what saturates
        run(integer, images, steps, seed=seed, strict=True, progress=True)
    gates = measure_layers(analog, floating, integer, images[:GATE_IMAGES], steps, seed=seed, progress=True)
    kept = {"stages": [vars(stage) for stage in stages], "gates": [vars(gate) for gate in gates]}
    integer = integer.replace(provenance=dict(integer.provenance) | kept)
    return Conversion(analog, floating, integer, steps, tuple(stages), gates)
