"""From a trained to a quantised spiking network without training it further."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace as with_changes
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from ... import __version__
from ...choices import ConvertReadout, Method, NeuronKind, Pooling, SearchFor, TrainedEncoding, check_choice
from ...encoding import check_images, drawn_events
from ...errors import ConversionError, RmpLavaWarning, UsageError
from ...findings import Finding
from ...network import SpikingNetwork
from ...netx.lava_dl_loader import lava_dl_obstacles
from ...scores import check_classes
from ...training.data import draw
from ..balancing import Balancing, candidates_for, usual_waits
from ..calls import Calls, here
from ..conversion import Conversion
from ..diagnosis import diagnose_rounding
from ..divergence import COMPARED_IMAGES, balance_best
from ..graded import MAX_SPIKE_BITS, graded
from ..image_encoding import with_encoding
from ..pooling import unfold_pooling
from ..quantization import Quantization
from ..quantize import layer_profiles
from ..search import make_objective, search as search_thresholds
from ..sigma_delta import sigma_delta
from ..tracing.prepared import Values, prepared
from ..tracing.reading import Model
from .preparing import check_early, described, example, given, refuse_for_lava_dl, taking_events, traced_network
from .quantizer import Quantizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..balancing import BalancingChanges


log = logging.getLogger(__name__)


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
    wait: int | Literal["auto"] = 0,
    spike_bits: int | None = None,
    diagnose: bool = True,
    calls: Calls = here,
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
        Of the images: int64 (N,) classes are required by a search for accuracy. Real targets make outputs be compared by squared
        differences, where thresholds are chosen, rather than as scores of classes. Other kinds (see `rmp_lava.scores`) are only
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
        Show on standard error how far it is, see `rmp_lava.progress`.
    wait : int or "auto"
        Time steps that neurons integrate before they may spike, see `Balancing`. "auto": 0, 1, 2 or T, whichever brings the
        integers closest to the trained network; `rmp_lava.conversion.frontier` shows what each costs.
    spike_bits : int, optional
        2..7: RMP neurons send graded spikes of so many bits, each for up to 2^bits - 1 spikes, in a single time step; see
        `rmp_lava.conversion.graded`. The steps follow, there is no wait, the input is a current, and the reset soft.
    diagnose : bool
        Look for a remedy where rounding costs accuracy, for which the network is converted again, several times.
    calls : Calls
        Where ways to balance and changes of a search are tried: here, or on a cluster (`rmp_lava.study.cluster.calls`), with the
        same result bit for bit if PyTorch has as many threads in all processes.
    **changes
        Fields of `rmp_lava.conversion.balancing.Balancing` that differ from the method's: thresholds, percentile, alpha, v_init,
        reset, channelwise, calibrate.

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
        With `diagnose`, if rounding to integers loses more than a point of agreement with the trained network on calibration
        images; with the layer, the cause, and an option that was tried and helps (see `rmp_lava.conversion.diagnosis`).
    """
    check_choice("neurons", neurons, NeuronKind)
    if neurons == "rmp" and smallest_change:
        raise UsageError("smallest_change is for neurons='sigma-delta', which send changes; leave it out")
    levels = None if spike_bits is None else _levels(spike_bits, neurons, steps, wait, encoding, quantization, changes)
    if levels is not None:
        steps = wait = levels
    images = given(model, np.asarray(images), encoding)
    request = _Request(
        model=prepared(model, example(images), input_range=input_range, mean=mean, std=std),
        images=images,
        steps=16 if steps is None else steps,
        method=method,
        encoding=encoding,
        pooling=pooling,
        readout=readout,
        search=search,
        labels=labels,
        quantization=quantization,
        seed=seed,
        shuffle=shuffle,
        name=name,
        class_names=class_names,
        classes=classes,
        dataset=dataset,
        validation_fraction=validation_fraction,
        provenance=provenance or {},
        progress=progress,
        wait=wait,
        changes=changes,
        calls=calls,
    )
    if neurons == "sigma-delta":
        if steps is not None:
            raise UsageError(
                f"steps are {steps}; those of sigma-delta neurons follow from the depth, so leave them out"
            )
        return request.convert_to_sigma_delta(smallest_change)
    conversion = request.convert()
    diagnosis = diagnose_rounding(conversion, request) if diagnose else None
    if diagnosis is not None:
        warnings.warn(str(diagnosis), RmpLavaWarning, stacklevel=2)
    if levels is not None:
        return with_changes(conversion, integer=graded(conversion.integer), steps=1, diagnosis=diagnosis)
    later = with_changes(request, calls=here)  # a cluster may be gone when somebody converts again
    return with_changes(conversion, diagnosis=diagnosis, request=later)


def _levels(
    spike_bits: int,
    neurons: NeuronKind,
    steps: int | None,
    wait: int | Literal["auto"],
    encoding: TrainedEncoding | None,
    quantization: Quantization,
    changes: BalancingChanges,
) -> int:
    """The largest graded spike of so many bits; raises `UsageError` for options that it contradicts."""
    if not isinstance(spike_bits, int) or not 2 <= spike_bits <= MAX_SPIKE_BITS:
        raise UsageError(f"spike_bits is {spike_bits!r}; graded spikes have 2 to {MAX_SPIKE_BITS} bits")
    contradicted = {
        "neurons": neurons != "rmp",
        "steps": steps is not None,
        "wait": wait != 0,
        "reset": changes.get("reset", "soft") != "soft",
        "encoding": encoding not in (None, "current"),
        "quantization.for_lava_dl": quantization.for_lava_dl,
        "quantization.for_board": quantization.for_board,
    }
    named = [name for name, given in contradicted.items() if given]
    if named:
        raise UsageError(
            f"spike_bits gives RMP neurons with soft reset one step, a current as input and no wait, and graded spikes run on no "
            f"board and in no loader of lava-dl; leave out {', '.join(named)}, or spike_bits"
        )
    return (1 << spike_bits) - 1


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
    wait: int | Literal["auto"]
    changes: BalancingChanges
    calls: Calls

    def again(self, **changed: Any) -> Conversion:
        """The conversion with other parameters, those of its balancing among them, without progress bars."""
        own = {each.name for each in fields(self)}
        balancing = {name: value for name, value in changed.items() if name not in own}
        changes = cast("BalancingChanges", {**self.changes, **balancing})
        others = {name: value for name, value in changed.items() if name in own}
        return with_changes(self, progress=False, **({"changes": changes} | others)).convert()

    @property
    def has_real_targets(self) -> bool:
        return self.labels is not None and np.asarray(self.labels).dtype.kind == "f"

    def some_images(self) -> np.ndarray:
        """Calibration images to compare networks on, drawn at random."""
        images = np.asarray(self.images)
        some = images[draw(len(images), None, COMPARED_IMAGES, self.seed, "comparison")]
        given_means = self.encoding == "spikes" and some.dtype.kind == "f"
        return drawn_events(some, self.steps, self.seed) if given_means else some

    def convert(self) -> Conversion:
        candidates = self._candidates()
        if self.encoding is not None:
            check_choice("encoding", self.encoding, TrainedEncoding)
        check_choice("pooling", self.pooling, Pooling)
        check_choice("readout", self.readout, ConvertReadout)
        steps, seed, quantization = self.steps, self.seed, self.quantization
        profile = check_early(steps, candidates[-1].wait, self.search, quantization)
        analog, images, labels, findings = self._analog()
        if quantization.for_lava_dl:
            refuse_for_lava_dl(analog, candidates[0])
        if self.pooling == "auto":
            analog = unfold_pooling(analog, images, profile, quantization.threshold_form)
        layer_profiles(analog, profile, quantization.weight_bits)  # refuses early
        objective = None if self.search is None else make_objective(self.search, analog, images, labels)
        corrected = analog if candidates[0].calibrate == "bias" else None
        integers = Quantizer(images, steps, quantization, profile, corrected, seed)
        numbers = len(analog.layers), steps, len(images)
        log.info("converting %r: %d layers, T = %d, %d images, %s", self.name, *numbers, candidates)
        floating = balance_best(
            analog,
            images,
            steps,
            candidates,
            integers=integers,
            real=self.has_real_targets,
            profile=profile,
            seed=seed,
            progress=self.progress,
            calls=self.calls,
        )
        if objective is not None:
            how: dict[str, Any] = {"integers": integers, "seed": seed, "progress": self.progress, "calls": self.calls}
            floating = search_thresholds(floating, objective, steps, **how)
        integer = integers(floating)
        return Conversion(analog, floating, integer, steps, self.model, seed, findings=findings)

    def _analog(self) -> tuple[SpikingNetwork, np.ndarray, np.ndarray | None, tuple[Finding, ...]]:
        """The analog network, images and labels that fit it, and what was chosen for the caller."""
        images = np.asarray(self.images)
        traced = traced_network(self.model, images, self.pooling, self.readout, self.name, self.encoding)
        analog, findings = with_encoding(traced, self.encoding, self.method)
        if self.encoding == "spikes":
            analog, images = taking_events(analog, images, self.steps, self.seed)
        made = dict(self.provenance)
        made |= {"rmp_lava": __version__, "method": self.method, "encoding": analog.input.encoding}
        if findings:
            made["choices"] = [finding.sentence() for finding in findings]
        return (*self._ready(analog, images, made), findings)

    def _ready(
        self, traced: SpikingNetwork, images: np.ndarray, made: dict[str, Any]
    ) -> tuple[SpikingNetwork, np.ndarray, np.ndarray | None]:
        """The network with its description, and images and labels that fit it, mixed if that is asked for."""
        labels = self.labels
        check_classes(traced, labels, self.class_names, self.classes)
        analog = described(traced, self.class_names, self.dataset, self.validation_fraction, made)
        images = check_images(images, analog.input)
        if self.shuffle:
            order = np.random.default_rng(self.seed).permutation(len(images))
            images, labels = images[order], None if labels is None else np.asarray(labels)[order]
        return analog, images, labels

    def _candidates(self) -> tuple[Balancing, ...]:
        waits = usual_waits(self.steps) if self.wait == "auto" else (self.wait,)
        return tuple(how for wait in waits for how in candidates_for(self.method, wait=wait, **self.changes))

    def convert_to_sigma_delta(self, smallest_change: float) -> Conversion:
        """The conversion to lava-dl's sigma-delta neurons."""
        usual = Quantization(for_lava_dl=self.quantization.for_lava_dl)
        meaningless = {
            "method": self.method != "low-latency",
            "encoding": self.encoding not in (None, "current"),
            "readout": self.readout != "potential",
            "search": self.search is not None,
            "quantization": self.quantization != usual,
            "wait": self.wait != 0,
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
        traced = traced_network(self.model, images, pooling, "potential", self.name, "current")
        analog, images, _ = self._ready(traced, images, made)
        integer = sigma_delta(analog, images, smallest_change=smallest_change, seed=self.seed)
        obstacles = lava_dl_obstacles(integer) if self.quantization.for_lava_dl else []
        if obstacles:
            raise ConversionError(f"lava-dl's loader cannot run network {integer.name!r}: {'; '.join(obstacles)}")
        return Conversion(analog, analog, integer, integer.depth + 1, self.model, self.seed)
