"""The pipelines from a trained to a quantised spiking network, without training (`convert`) and with it (`tune`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace as with_changes
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torch import nn

from .. import __version__
from ..choices import (
    Augmentation,
    ConvertReadout,
    Method,
    NeuronKind,
    Pooling,
    Precision,
    Replaced,
    SearchFor,
    ThresholdForm,
    TracedPooling,
    TrainedEncoding,
    TunedEncoding,
    check_choice,
)
from ..encoding import MAX_EVENTS, check_images, drawn_events, event_counts, make_input, mean_frames, shaped
from ..errors import ConversionError, DataError, RmpLavaWarning, UsageError
from ..hardware.profiles import Profile, load_profile
from ..network import Input, Layer, Neurons, SpikingNetwork
from ..netx.lava_dl_loader import lava_dl_obstacles
from ..schedule import Schedule
from ..scores import check_truth
from ..training.data import as_float, frames
from ..training.data.lazy_images import Images, LazyImages
from ..training.loop import EpochRecord
from ..training.resume import check_settings
from .balance import balance
from .balancing import Balancing, candidates_for
from .conversion import Conversion
from .correction import correct_biases
from .diagnosis import diagnose_rounding
from .distillation import Labelled
from .divergence import COMPARED_IMAGES, balance_best
from .headroom import board_ranges, native_ranges
from .image_encoding import NO_COMMON_SCALE, of_image_and_spikes, with_encoding
from .pooling import unfold_pooling
from .quantization import Quantization
from .quantize import layer_profiles, quantize
from .replace import ReplaceSettings, train_replaced
from .replacement import replaced
from .scale import unscale
from .search import make_objective, search as search_thresholds
from .sigma_delta import sigma_delta
from .trace import trace
from .tracing.prepared import Values, prepared, takes_events
from .tracing.reading import Model
from .tune import tune as tune_network

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .balancing import BalancingChanges

CALIBRATION_IMAGES = 512
"""Training images that `tune` takes for thresholds and biases unless the caller chooses a number."""
REPLACE_RATE = 10
"""A training after a replacement has more to change than a tuning."""
_BEFORE_TUNING = candidates_for("low-latency", v_init="half")
_KEPT = 3
"""Integer networks that are kept in case that they are the best."""
_TUNED = Balancing(thresholds="tuned", v_init="half")
"""A tuning starts from networks that are balanced like the former, and trains for neurons like the latter."""


def convert(
    model: Model,
    images: np.ndarray,
    *,
    neurons: NeuronKind = "rmp",
    steps: int | None = None,
    method: Method = "low-latency",
    encoding: TrainedEncoding | None = None,
    pooling: Pooling = "auto",
    readout: ConvertReadout = "potential",
    input_range: tuple[float, float] | None = None,
    mean: Values | None = None,
    std: Values | None = None,
    search: SearchFor | None = None,
    labels: np.ndarray | None = None,
    quantization: Quantization = Quantization(),  # noqa: B008 - frozen
    seed: int = 0,
    shuffle: bool = True,
    name: str = "network",
    class_names: tuple[str, ...] = (),
    classes: int = 0,
    dataset: str | None = None,
    validation_fraction: float | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = False,
    smallest_change: float = 0.0,
    **changes: Unpack[BalancingChanges],
) -> Conversion:
    """Convert a trained network to an RMP spiking network, without training it further.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
        Any feed-forward network without obstacles in `rmp_lava.check`.
    images : numpy.ndarray
        (N, C, H, W), (N, H, W), (N, C, L) or (N, features) in [0, 1], or uint8 pixels, which represent pixel / 255: training
        images of all classes, for thresholds and biases; never test images. Rows of length L become images of height 1.
    neurons : {"rmp", "sigma-delta"}
        "sigma-delta": lava-dl's neurons, which send changes of activations as graded messages, see
        `rmp_lava.conversion.sigma_delta`. The options of spikes have no meaning then: method, readout, search, encoding other
        than "current", all of `quantization` but `for_lava_dl`, and the fields of a balancing. Pooling "auto" is "layer".
    steps : int or None
        T, the time steps for which thresholds are chosen; None: 16. Of sigma-delta neurons always the depth of the network + 1.
    smallest_change : float
        Of sigma-delta neurons: change that is sent, as a share of a layer's largest activation. 0: every change.
    method : {"low-latency", "paper"}
        How thresholds are found, see `rmp_lava.conversion.balancing.METHODS`.
    encoding : {"current", "poisson", "rate", "spikes"} or None
        Of the input; None: the method's (see `rmp_lava.conversion.balancing.ENCODINGS`), or "rate" where a layer receives both
        the image and spikes, as pre-activation residual networks have it. "spikes": for a network that was trained on the mean
        of event frames, and that will run on the events. `images` are then the events, (N, T, *input shape) integers, which are
        spikes or, above 1, numbers of events that a graded message carries; or their means (N, *input shape), of which random
        events are drawn. Calibrate on the events themselves where there are any: their order in time counts.
    pooling : {"auto", "fold", "layer"}
        Fold average pooling into the weights after it ("fold"), keep it as a layer of neurons ("layer"), or fold it as far as
        that leaves the weights their 8 bits ("auto", see `rmp_lava.conversion.pooling`).
    readout : {"potential", "count"}
        Integrate the last layer's input, or count its spikes.
    input_range : (float, float), optional
        What the network was trained to take for a pixel of 0 and of 1 (uint8: of 0 and of 255), such as (-1, 1).
    mean, std : float or sequence of float, optional
        What was subtracted from these values in training, and what the difference was divided by: one number, or one for each
        channel. Range, mean and std become part of the first layer; images stay in [0, 1] here and in every run.
    search : {"outputs", "accuracy"} or None
        Whether thresholds and initial potentials are then searched, and for what, see `rmp_lava.conversion.search`. Takes
        several times as long.
    labels : numpy.ndarray, optional
        Of the images: int64 (N,) classes are required by a search for accuracy; other kinds (see `rmp_lava.scores`) are only
        checked.
    quantization : Quantization
    seed : int
        Of everything random.
    shuffle : bool
        Mix the images, as some passes use the first ones only; False for images that are in random order already.
    name, class_names, dataset, validation_fraction, provenance
        Stored in the network: the data set that it was trained on, the share of its training images that is held out for
        validation, and JSON values of any kind.
    classes : int
        Number of classes of the data, if known: more than the network has outputs are an error.
    progress : bool
        Show progress bars on a terminal.
    **changes
        Fields of `rmp_lava.conversion.balancing.Balancing` that differ from the method's: thresholds, percentile, alpha, v_init,
        reset, channelwise, calibrate, wait.

    Returns
    -------
    Conversion

    Raises
    ------
    ConversionError
        With every obstacle, if the network cannot be converted.
    DataError, UsageError, ProfileError
        If images or options are invalid.

    Warns
    -----
    RmpLavaWarning
        If rounding to integers loses more than a point of agreement with the trained network on calibration images; with the
        layer, the cause, and an option that was tried and helps (see `rmp_lava.conversion.diagnosis`).
    """
    check_choice("neurons", neurons, NeuronKind)
    if neurons == "rmp" and smallest_change:
        raise UsageError("smallest_change is for neurons='sigma-delta', which send changes; leave it out")
    images = _given(model, np.asarray(images), encoding)
    request = _Request(
        prepared(model, _example(images), input_range=input_range, mean=mean, std=std),
        images,
        16 if steps is None else steps,
        method,
        encoding,
        pooling,
        readout,
        search,
        labels,
        quantization,
        seed,
        shuffle,
        name,
        class_names,
        classes,
        dataset,
        validation_fraction,
        provenance or {},
        progress,
        changes,
    )
    if neurons == "sigma-delta":
        if steps is not None:
            raise UsageError(
                f"steps are {steps}; those of sigma-delta neurons follow from the depth, so leave them out"
            )
        return request.convert_to_sigma_delta(smallest_change)
    conversion = request.convert()
    diagnosis = diagnose_rounding(conversion, request)
    if diagnosis is not None:
        warnings.warn(str(diagnosis), RmpLavaWarning, stacklevel=2)
    return with_changes(conversion, diagnosis=diagnosis, request=request)


@dataclass(frozen=True, eq=False)
class _Request:
    """What `convert` is asked for; the fields are its parameters."""

    model: Model
    images: np.ndarray
    steps: int
    method: Method
    encoding: TrainedEncoding | None
    pooling: Pooling
    readout: ConvertReadout
    search: SearchFor | None
    labels: np.ndarray | None
    quantization: Quantization
    seed: int
    shuffle: bool
    name: str
    class_names: tuple[str, ...]
    classes: int
    dataset: str | None
    validation_fraction: float | None
    provenance: Mapping[str, Any]
    progress: bool
    changes: BalancingChanges

    def again(self, **changed: Any) -> Conversion:
        """The conversion with other parameters, those of its balancing among them, without progress bars."""
        own = {each.name for each in fields(self)}
        balancing = {name: value for name, value in changed.items() if name not in own}
        changes = cast("BalancingChanges", {**self.changes, **balancing})
        others = {name: value for name, value in changed.items() if name in own}
        return with_changes(self, progress=False, **({"changes": changes} | others)).convert()

    def some_images(self) -> np.ndarray:
        """Calibration images to compare networks on, drawn at random."""
        images = np.asarray(self.images)
        some = images[draw(len(images), None, COMPARED_IMAGES, self.seed, "comparison")]
        given_means = self.encoding == "spikes" and some.dtype.kind == "f"
        return drawn_events(some, self.steps, self.seed) if given_means else some

    def convert(self) -> Conversion:
        candidates = candidates_for(self.method, **self.changes)
        if self.encoding is not None:
            check_choice("encoding", self.encoding, TrainedEncoding)
        check_choice("pooling", self.pooling, Pooling)
        check_choice("readout", self.readout, ConvertReadout)
        steps, seed, labels, quantization = self.steps, self.seed, self.labels, self.quantization
        profile = _check_early(steps, self.search, quantization)
        images = np.asarray(self.images)
        traced = _trace(self.model, images, self.pooling, self.readout, self.name, self.encoding)
        analog, findings = with_encoding(traced, self.encoding, self.method)
        if self.encoding == "spikes":
            analog, images = _taking_events(analog, images, steps, seed)
        made = dict(self.provenance)
        made |= {"rmp_lava": __version__, "method": self.method, "encoding": analog.input.encoding}
        if findings:
            made["choices"] = [finding.sentence() for finding in findings]
        check_classes(analog, labels, self.class_names, self.classes)
        analog = _described(analog, self.class_names, self.dataset, self.validation_fraction, made)
        if quantization.for_lava_dl:
            _refuse_for_lava_dl(analog, candidates[0])
        images = check_images(images, analog.input)
        if self.shuffle:
            order = np.random.default_rng(seed).permutation(len(images))
            images, labels = images[order], None if labels is None else np.asarray(labels)[order]
        if self.pooling == "auto":
            analog = unfold_pooling(analog, images, profile, quantization.threshold_form)
        layer_profiles(analog, profile, quantization.weight_bits)  # refuses early
        objective = None if self.search is None else make_objective(self.search, analog, images, labels)
        progress = self.progress
        corrected = analog if candidates[0].calibrate == "bias" else None
        integers = _Quantizer(images, steps, quantization, profile, corrected, seed)
        floating = balance_best(
            analog, images, steps, candidates, integers=integers, profile=profile, seed=seed, progress=progress
        )
        if objective is not None:
            floating = search_thresholds(floating, objective, steps, integers=integers, seed=seed, progress=progress)
        integer = integers(floating)
        return Conversion(analog, floating, integer, steps, self.model, seed, findings=findings)

    def convert_to_sigma_delta(self, smallest_change: float) -> Conversion:
        """The conversion to lava-dl's sigma-delta neurons."""
        usual = Quantization(for_lava_dl=self.quantization.for_lava_dl)
        meaningless = {
            "method": self.method != "low-latency",
            "encoding": self.encoding not in (None, "current"),
            "readout": self.readout != "potential",
            "search": self.search is not None,
            "quantization": self.quantization != usual,
            **dict.fromkeys(self.changes, True),
        }
        if any(meaningless.values()):
            named = ", ".join(name for name, given in meaningless.items() if given)
            raise UsageError(f"{named}: for spikes, of which sigma-delta neurons have none; leave these options out")
        if not 0 <= smallest_change < 1:
            raise UsageError(
                f"smallest_change is {smallest_change}; it is a share of the largest activation, from 0 to below 1"
            )
        check_choice("pooling", self.pooling, Pooling)
        images = np.asarray(self.images)
        pooling: Pooling = "layer" if self.pooling == "auto" else self.pooling
        made = dict(self.provenance) | {"rmp_lava": __version__, "method": "sigma-delta"}
        traced = _trace(self.model, images, pooling, "potential", self.name, "current")
        check_classes(traced, self.labels, self.class_names, self.classes)
        analog = _described(traced, self.class_names, self.dataset, self.validation_fraction, made)
        images = check_images(images, analog.input)
        if self.shuffle:
            images = images[np.random.default_rng(self.seed).permutation(len(images))]
        integer = sigma_delta(analog, images, smallest_change=smallest_change, seed=self.seed)
        obstacles = lava_dl_obstacles(integer) if self.quantization.for_lava_dl else []
        if obstacles:
            raise ConversionError(f"lava-dl's loader cannot run network {integer.name!r}: {'; '.join(obstacles)}")
        return Conversion(analog, analog, integer, integer.depth + 1, self.model, self.seed)


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
        Time steps that neurons integrate before they may spike: 0 or `steps`, see `rmp_lava.schedule`.
    replace : collection of {"activations", "gates", "leaky-relu", "max-pooling"}
        Operations of a copy of the network that are replaced before anything else by those that spiking neurons compute, see
        `rmp_lava.conversion.replacement`. The copy is trained for `replace_epochs` epochs, with `REPLACE_RATE` times the learning
        rate and the original as teacher; `Conversion.replacement` has its accuracies.
    replace_epochs : int
        Of that training, which is not in the checkpoint: it is repeated where a tuning is resumed.
    epochs, learning_rate, batch_size, augmentation, precision, device, checkpoint_path, resume, on_epoch
        As `rmp_lava.conversion.tune.tune` takes them.
    encoding : {"current", "spikes"}
        Of the input: pixels, or events.
    distill : bool
        Learn the trained network's outputs as well as the labels.
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
    profile = _check_early(steps, search, quantization)
    if wait not in (0, steps):
        raise UsageError(
            f"wait is {wait!r} in a tuning for T = {steps}; choose 0, which is trained through spikes, or {steps}, for which "
            "rates are exact"
        )
    before_tuning, tuned_balancing = (
        [with_changes(each, wait=wait) for each in _BEFORE_TUNING],
        with_changes(_TUNED, wait=wait),
    )
    check_settings(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    check_settings(epochs=replace_epochs)
    check_settings(augmentation=augmentation, precision=precision, device=device)
    if resume and not (checkpoint_path and checkpoint_path.is_file()):
        raise UsageError(
            f"checkpoint {checkpoint_path} does not exist, so there is nothing to resume; leave resume out"
        )
    chosen = draw(len(images), calibration, CALIBRATION_IMAGES, seed, "calibration")
    check_choice("encoding", encoding, TunedEncoding)
    if encoding == "spikes":
        images = event_counts(np.asarray(images))
        some, some_labels = images[chosen], labels[chosen]
    else:
        some, some_labels = as_float(images[chosen]), labels[chosen]
    model = prepared(model, _example(some), input_range=input_range, mean=mean, std=std)
    made = dict(provenance or {}) | {"rmp_lava": __version__, "method": "tune", "encoding": encoding}
    check_choice("pooling", pooling, Pooling)

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
        analog = _described(analog, class_names, dataset, validation_fraction, made)
        if quantization.for_lava_dl:
            _refuse_for_lava_dl(analog, tuned_balancing)
        return analog

    student, changes = replaced(model, replace, _example(some)) if replace else (model, ())
    analog = _trace(student, some, pooling, "potential", name, encoding)
    if encoding == "spikes":
        analog, some = _taking_events(analog, some, steps, seed, largest=int(np.asarray(images).max()))
    some = shaped(some, analog.input)
    images = _shaped(images, analog.input)
    if validation is not None:
        held_out = event_counts(np.asarray(validation[0])) if encoding == "spikes" else validation[0]
        validation = (_shaped(held_out, analog.input), validation[1])
    analog, replacement = checked(analog), None
    if changes:
        assert isinstance(model, nn.Module) and isinstance(student, nn.Module)  # as `replaced` refuses programs
        how = (batch_size, augmentation, precision, seed, device, distill)
        measured = None if validation is None else (frames(validation[0]), validation[1])
        settings = ReplaceSettings(replace_epochs, REPLACE_RATE * learning_rate, *how)
        replacement = train_replaced(
            model, student, changes, (frames(images), labels), settings, validation=measured, progress=progress
        )
        made["replaced"] = replacement.summary()
        source = analog.input
        analog = checked(_trace(replacement.model, some, pooling, "potential", name, encoding).replace(input=source))
    objective = None if search is None else make_objective(search, analog, some, some_labels)
    integers = _Quantizer(some, steps, quantization, profile, None, seed)
    converted = balance_best(
        analog, some, steps, before_tuning, integers=integers, profile=profile, seed=seed, progress=progress
    )
    tuned = tune_network(
        unscale(converted),
        images,
        labels,
        steps,
        dynamics="rates" if wait else "spikes",
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        profile=quantization.profile if quantization.weight_bits is None else profile,
        threshold_form=quantization.threshold_form,
        augmentation=augmentation,
        precision=precision,
        seed=seed,
        validation=validation,
        teacher=analog if distill else None,
        progress=progress,
        checkpoint_path=checkpoint_path,
        resume=resume,
        device=device,
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
    integers: _Quantizer

    @property
    def quantization(self) -> Quantization:
        return self.integers.quantization

    def again(self, **changed: Any) -> Conversion:
        if set(changed) != {"quantization"}:
            raise UsageError(f"a tuning is not repeated to try {', '.join(changed)}; pass it to tune")
        integers = with_changes(self.integers, quantization=changed["quantization"], _made=[])
        return with_changes(self.conversion, integer=integers(self.conversion.floating))

    def some_images(self) -> np.ndarray:
        return self.integers.images[:COMPARED_IMAGES]


def draw(available: int, count: int | None, usual: int, seed: int, what: str) -> np.ndarray:
    """Indices of images drawn at random, because data sets may be sorted by class: `count`, or up to `usual` where it is None.

    Raises
    ------
    UsageError
        If there are fewer images.
    """
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be 0 or more")
    if count is not None and not 1 <= count <= available:
        raise UsageError(f"{what} takes {count} images; allowed are 1..{available}")
    count = min(usual, available) if count is None else count
    return np.random.default_rng(seed).permutation(available)[:count]


def check_classes(
    network: SpikingNetwork, labels: np.ndarray | None, class_names: tuple[str, ...], classes: int = 0
) -> None:
    """Raise `DataError` if labels do not fit the network's outputs, see `rmp_lava.scores`, or it has other classes than they."""
    shape, outputs = network.output.shape, network.output.size
    if labels is not None:
        check_truth(np.asarray(labels), shape, f"network {network.name!r}")
    found = len(class_names) or classes
    if (class_names and found != outputs) or found > max(2, shape[0]):
        raise DataError(
            f"the images are of {found} classes, but network {network.name!r} has {shape[0]} outputs; choose the data that it "
            "was trained on"
        )


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


def _check_early(steps: int, search: str | None, quantization: Quantization) -> Profile:
    """The profile; raises for options that later passes would refuse, before any work."""
    Schedule(steps, 1)
    if search is not None:
        check_choice("search", search, SearchFor)
    check_choice("threshold_form", quantization.threshold_form, ThresholdForm)
    profile, bits = load_profile(quantization.profile), quantization.weight_bits
    return profile.with_weight_bits(bits) if isinstance(bits, int) else profile


def _trace(
    model: Model,
    images: np.ndarray,
    pooling: Pooling,
    readout: ConvertReadout,
    name: str,
    encoding: TrainedEncoding | None,
) -> SpikingNetwork:
    images = _example(images)
    source = make_input("spikes" if encoding == "spikes" else "current", images.shape[1:])
    traced: TracedPooling = "layer" if pooling == "layer" else "fold"
    return trace(model, source, images, pooling=traced, readout=readout).replace(name=name)


def _given(model: Model, images: np.ndarray, encoding: TrainedEncoding | None) -> np.ndarray:
    """Images as they are; for encoding "spikes" events as int8, and their means as real numbers."""
    if encoding != "spikes":
        return images
    return event_counts(images) if takes_events(model, images) else images.astype(np.float32)


def _example(images: np.ndarray) -> np.ndarray:
    """What the trained network takes: images, or the means of events."""
    return mean_frames(images) if images.dtype == np.int8 and images.ndim > 2 else images


def _taking_events(
    analog: SpikingNetwork, images: np.ndarray, steps: int, seed: int, *, largest: int | None = None
) -> tuple[SpikingNetwork, np.ndarray]:
    """An analog network that takes events, and the events: those given, or random ones of given means.

    `largest` is the largest number of events, where more are known than these.
    """
    if images.dtype.kind == "f":
        images = drawn_events(images, steps, seed)
    elif images.shape[1] != steps:
        raise DataError(
            f"events have {images.shape[1]} time steps, but steps is {steps}; pass steps={images.shape[1]}, or bin them again"
        )
    levels = 1 if max(int(images.max()), largest or 0) <= 1 else MAX_EVENTS
    source = make_input("spikes", analog.input.shape, levels)
    return analog.replace(input=source), shaped(images, source)


def _shaped(images: Images, source: Input) -> Images:
    return images if isinstance(images, LazyImages) else shaped(images, source)


def _described(
    network: SpikingNetwork,
    class_names: tuple[str, ...],
    dataset: str | None,
    validation_fraction: float | None,
    provenance: dict[str, Any],
) -> SpikingNetwork:
    return network.replace(
        class_names=class_names or network.class_names,
        dataset=network.dataset if dataset is None else dataset,
        validation_fraction=network.validation_fraction if validation_fraction is None else validation_fraction,
        provenance=dict(network.provenance) | provenance,
    )


def _refuse_for_lava_dl(analog: SpikingNetwork, how: Balancing) -> None:
    """Raise `ConversionError` if no integers from these options run in lava-dl's unmodified loader.

    A stand-in with the structure of the result is examined: harmless weights and thresholds, but the result's resets, biases
    and initial potentials.
    """

    def stand_in(layer: Layer) -> Layer:
        neurons = layer.neurons
        spikes = neurons.reset != "none"
        has_bias = (neurons.bias is not None and np.any(neurons.bias)) or (spikes and how.calibrate == "bias")
        bias = np.ones(layer.shape[:1] if neurons.bias is None else neurons.bias.shape, np.int64) if has_bias else None
        v_init = int(spikes and how.v_init != "zero")
        reset = how.reset if spikes else "none"
        synapses = tuple(s.replace(weight=np.full(s.weight.shape, 2)) for s in layer.synapses)
        return layer.replace(synapses=synapses, neurons=Neurons(2, reset, v_init, bias))

    source = analog.input
    if source.encoding == "current":
        source = make_input("current", source.shape, 1)
    integers = analog.replace(input=source, layers=tuple(map(stand_in, analog)), stage="integer")
    obstacles = lava_dl_obstacles(integers)
    if obstacles:
        raise ConversionError(f"network {analog.name!r} cannot run in lava-dl's loader: {'; '.join(obstacles)}")


@dataclass(frozen=True, eq=False)
class _Quantizer:
    """Makes the integer network of a balanced one.

    `corrected` is the analog network where biases are corrected after rounding, else None.
    """

    images: np.ndarray
    steps: int
    quantization: Quantization
    profile: Profile
    corrected: SpikingNetwork | None
    seed: int
    _made: list[tuple[SpikingNetwork, SpikingNetwork]] = field(default_factory=list)

    def __call__(self, floating: SpikingNetwork) -> SpikingNetwork:
        for known, integer in self._made:
            if known.layers is floating.layers:  # but for its log, which may say now what it was compared with
                return integer.replace(provenance={**integer.provenance, **floating.provenance})
        form = self.quantization.threshold_form
        ranges_of = board_ranges if self.quantization.for_board else native_ranges
        ranges = ranges_of(floating, self.images, self.steps, seed=self.seed) or None
        bits = self.quantization.weight_bits
        integer = quantize(floating, self.profile, threshold_form=form, ranges=ranges, weight_bits=bits)
        if self.corrected is not None:
            integer = correct_biases(integer, self.corrected, self.images, self.steps, seed=self.seed)
        self._made[:] = [*self._made[-_KEPT:], (floating, integer)]
        return integer
