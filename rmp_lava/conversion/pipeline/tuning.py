"""From a trained to a quantised spiking network that is trained once more for its time steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace as with_changes
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ... import __version__
from ...choices import (
    Augmentation,
    Pooling,
    Precision,
    Replaced,
    SearchFor,
    TunedEncoding,
    check_choice,
)
from ...encoding import event_counts, shaped
from ...errors import ConversionError, DataError, RmpLavaWarning, UsageError
from ...network import Input, SpikingNetwork
from ...scores import check_classes, check_truth
from ...training.data import as_float, draw, frames
from ...training.data.lazy_images import Images, LazyImages
from ...training.loop import EpochRecord
from ..balance import balance
from ..balancing import Balancing, candidates_for
from ..calibration import THRESHOLD_IMAGES
from ..conversion import Conversion
from ..diagnosis import diagnose_rounding
from ..distillation import Labelled, Learning
from ..divergence import COMPARED_IMAGES, balance_best
from ..image_encoding import NO_COMMON_SCALE, of_image_and_spikes
from ..pooling import unfold_pooling
from ..quantization import Quantization
from ..quantize import layer_profiles
from ..replace import train_replaced
from ..replacement import replaced
from ..scale import unscale
from ..search import make_objective, search as search_thresholds
from ..tracing.prepared import Values, prepared
from ..tracing.reading import Model
from ..tune import tune as tune_network
from .preparing import (
    check_early,
    described,
    example,
    refuse_for_lava_dl,
    taking_events,
    traced_network,
)
from .quantizer import Quantizer

REPLACE_RATE = 10
"""A training after a replacement has more to change than a tuning."""
_BEFORE_TUNING = candidates_for("low-latency", v_init="half")
_TUNED = Balancing(thresholds="tuned", v_init="half")
"""A tuning starts from networks that are balanced like the former, and trains for neurons like the latter."""


def tune(
    model: Model,
    images: Images,
    labels: np.ndarray,
    *,
    steps: int = 8,
    wait: int = 0,
    replace: Collection[Replaced] = (),
    replace_epochs: int = 5,
    epochs: int = 2,
    learning_rate: float = 1e-4,
    batch_size: int = 64,
    distill: bool = True,
    teachers: Sequence[Model] = (),
    augmentation: Augmentation = "none",
    precision: Precision = "float32",
    device: str = "cpu",
    validation: Labelled | None = None,
    encoding: TunedEncoding = "current",
    pooling: Pooling = "auto",
    input_range: tuple[float, float] | None = None,
    mean: Values | None = None,
    std: Values | None = None,
    search: SearchFor | None = None,
    quantization: Quantization = Quantization(),  # noqa: B008 - frozen
    calibration: int | None = None,
    checkpoint_path: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    seed: int = 0,
    name: str = "network",
    class_names: tuple[str, ...] = (),
    dataset: str | None = None,
    validation_fraction: float | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Conversion:
    """Fine-tune a trained network for T time steps and 8-bit weights, and convert it.

    The network is converted first, so that tuning needs a fraction of the images; then it is trained through its spikes, or, for
    neurons that wait for T steps, through activations of T levels, which are exactly their rates; see
    `rmp_lava.conversion.tune.tune`.

    Parameters
    ----------
    model, steps, pooling, input_range, mean, std, quantization, seed
        As `convert` takes them.
    name, class_names, dataset, validation_fraction, provenance, progress
        As `convert` takes them.
    images : numpy.ndarray or LazyImages
        Training images, (N, *input shape): float in [0, 1], or uint8 that represents value / 255. For encoding "spikes" events
        (N, T, *input shape), as `convert` takes them.
    labels : numpy.ndarray
        int64 (N,) classes.
    wait : int
        Time steps that neurons integrate before they may spike, 0 to `steps`, see `rmp_lava.schedule`.
    replace : collection of {"activations", "gates", "leaky-relu", "max-pooling"}
        Operations of a copy of the network that are replaced before anything else by those that spiking neurons compute, see
        `rmp_lava.conversion.replacement`. The copy is trained for `replace_epochs` epochs, with `REPLACE_RATE` times the learning
        rate and the original as teacher; `Conversion.replacement` has its accuracies.
    replace_epochs : int
        Of that training, whose checkpoint NAME.replaced.pt lies next to NAME.tune.pt.
    epochs, learning_rate, batch_size, augmentation, precision
        See `rmp_lava.training.recipe.Recipe`; `learning_rate` is that of the first step.
    device, checkpoint_path, resume, on_epoch
        As `rmp_lava.training.train.train` takes them.
    encoding : {"current", "spikes"}
        Of the input: pixels, or events.
    distill : bool
        Learn the trained network's outputs as well as the labels.
    teachers : sequence of torch.nn.Module or ExportedProgram
        Learn the mean of these networks' outputs instead. Several together are often more accurate than the trained network,
        and worth more epochs. They take the same images, with the same `input_range`, `mean` and `std`.
    validation : tuple of (images, labels), optional
        Images that are not trained with, measured after each epoch.
    search
        As `convert` takes it, after the tuning; outputs are compared with those of the trained network.
    calibration : int, optional
        Training images for thresholds and biases, drawn at random; 512 if omitted, or all if there are fewer.

    Returns
    -------
    Conversion
        Its `analog` network has the tuned weights.

    Raises
    ------
    ConversionError, UsageError, DataError, ProfileError, CheckpointError
        As the passes do.

    Warns
    -----
    RmpLavaWarning
        As `convert` does; only other quantisations are tried.
    """
    labels = np.asarray(labels)
    profile = check_early(steps, wait, search, quantization)
    before_tuning = [with_changes(each, wait=wait) for each in _BEFORE_TUNING]
    tuned_balancing = with_changes(_TUNED, wait=wait)
    learning = Learning(epochs, learning_rate, batch_size, augmentation, precision, seed, device)
    relearning = with_changes(learning, epochs=replace_epochs, learning_rate=REPLACE_RATE * learning_rate)
    replaced_path = checkpoint_path and checkpoint_path.with_suffix("").with_suffix(".replaced.pt")
    resumes_replacement = bool(resume and replace and replaced_path and replaced_path.is_file())
    resumes_tuning = bool(resume and checkpoint_path and checkpoint_path.is_file())
    if resume and not (resumes_tuning or resumes_replacement):
        raise UsageError(
            f"checkpoint {checkpoint_path} does not exist, so there is nothing to resume; leave resume out"
        )
    chosen = draw(len(images), calibration, THRESHOLD_IMAGES, seed, "calibration")
    check_choice("encoding", encoding, TunedEncoding)
    if encoding == "spikes":
        images = event_counts(np.asarray(images))
        some, some_labels = images[chosen], labels[chosen]
    else:
        some, some_labels = as_float(images[chosen]), labels[chosen]
    model = prepared(model, example(some), input_range=input_range, mean=mean, std=std)
    made = dict(provenance or {}) | {"rmp_lava": __version__, "method": "tune", "encoding": encoding}
    check_choice("pooling", pooling, Pooling)
    if teachers and not distill:
        raise UsageError(
            "teachers were given, but distill is False, so nothing is learned from them; leave one of the two out"
        )

    def checked(analog: SpikingNetwork) -> SpikingNetwork:
        for layer in of_image_and_spikes(analog):
            raise ConversionError(
                f"layer {layer.name!r} receives both the image and spikes, which tuning cannot train, as it needs pixels as "
                f"currents and {NO_COMMON_SCALE}; use convert, or put a ReLU after the first layer and train again"
            )
        if pooling == "auto":
            analog = unfold_pooling(analog, some, profile, quantization.threshold_form)
        layer_profiles(analog, profile, quantization.weight_bits)  # refuses early
        for truth in (labels, None if validation is None else validation[1]):
            check_classes(analog, truth, class_names)
            _check_tunable(analog, truth)
        analog = described(analog, class_names, dataset, validation_fraction, made)
        if quantization.for_lava_dl:
            refuse_for_lava_dl(analog, tuned_balancing)
        return analog

    student, changes = replaced(model, replace, example(some)) if replace else (model, ())
    analog = traced_network(student, some, pooling, "potential", name, encoding)
    if encoding == "spikes":
        analog, some = taking_events(analog, some, steps, seed, largest=int(np.asarray(images).max()))
    some = shaped(some, analog.input)
    images = _shaped(images, analog.input)
    if validation is not None:
        held_out = event_counts(np.asarray(validation[0])) if encoding == "spikes" else validation[0]
        validation = (_shaped(held_out, analog.input), validation[1])
    analog, replacement = checked(analog), None

    def traced_teacher(teacher: Model, name: str) -> SpikingNetwork:
        try:
            teacher = prepared(teacher, example(some), input_range=input_range, mean=mean, std=std)
            return traced_network(teacher, some, "fold", "potential", name, encoding).replace(input=analog.input)
        except ConversionError as error:
            raise ConversionError(f"{name}: {error}") from None

    taught_by = [traced_teacher(teacher, f"teacher {i}") for i, teacher in enumerate(teachers, start=1)]
    if changes:
        assert isinstance(model, nn.Module) and isinstance(student, nn.Module)  # as `replaced` refuses programs
        measured = None if validation is None else (frames(validation[0]), validation[1])
        replacement = train_replaced(
            model,
            student,
            changes,
            (frames(images), labels),
            relearning,
            distill=distill,
            validation=measured,
            checkpoint_path=replaced_path,
            resume=resumes_replacement,
            progress=progress,
        )
        made["replaced"] = replacement.summary()
        source = analog.input
        analog = checked(
            traced_network(replacement.model, some, pooling, "potential", name, encoding).replace(input=source)
        )
    objective = None if search is None else make_objective(search, analog, some, some_labels)
    integers = Quantizer(some, steps, quantization, profile, None, seed)
    converted = balance_best(
        analog, some, steps, before_tuning, integers=integers, profile=profile, seed=seed, progress=progress
    )
    ranges = integers.measured_ranges(converted)
    integers = with_changes(integers, ranges=ranges, _made=[])
    tuned = tune_network(
        unscale(converted),
        images,
        labels,
        steps,
        learning,
        dynamics="rates" if wait == steps else "spikes",
        wait=wait,
        profile=quantization.profile if quantization.weight_bits is None else profile,
        threshold_form=quantization.threshold_form,
        ranges=ranges,
        validation=validation,
        teachers=taught_by or ([analog] if distill else []),
        progress=progress,
        checkpoint_path=checkpoint_path,
        resume=resumes_tuning,
        on_epoch=on_epoch,
    )
    floating = balance(tuned.network, some, steps, tuned_balancing, profile=profile, seed=seed, progress=progress)
    if objective is not None:
        floating = search_thresholds(floating, objective, steps, integers=integers, seed=seed, progress=progress)
    conversion = Conversion(
        tuned.network, floating, integers(floating), steps, model, seed, tuned.history, replacement=replacement
    )
    diagnosis = diagnose_rounding(conversion, _TunedRequest(conversion, integers))
    if diagnosis is not None:
        warnings.warn(str(diagnosis), RmpLavaWarning, stacklevel=2)
    return with_changes(conversion, diagnosis=diagnosis)


@dataclass(frozen=True, eq=False)
class _TunedRequest:
    """A tuned network that a diagnosis may quantise in other ways; it is not tuned again for that."""

    conversion: Conversion
    integers: Quantizer

    @property
    def quantization(self) -> Quantization:
        return self.integers.quantization

    @property
    def has_real_targets(self) -> bool:
        return False  # classes are tuned only

    def again(self, **changed: Any) -> Conversion:
        if set(changed) != {"quantization"}:
            raise UsageError(f"a tuning is not repeated to try {', '.join(changed)}; pass it to tune")
        integers = with_changes(self.integers, quantization=changed["quantization"], _made=[])
        return with_changes(self.conversion, integer=integers(self.conversion.floating))

    def some_images(self) -> np.ndarray:
        return self.integers.images[:COMPARED_IMAGES]


def _check_tunable(network: SpikingNetwork, labels: np.ndarray | None) -> None:
    """Raise `DataError` for labels that `tune` cannot learn from."""
    if labels is None:
        return
    kind = check_truth(np.asarray(labels), network.output.shape)
    if kind != "classification" or network.output.size == 1:
        what = "have a single output" if kind == "classification" else f"are for {kind}"
        raise DataError(
            f"tuning learns the class of each image from one output per class, but the labels {what}; convert the network "
            "without tuning it"
        )


def _shaped(images: Images, source: Input) -> Images:
    return images if isinstance(images, LazyImages) else shaped(images, source)
