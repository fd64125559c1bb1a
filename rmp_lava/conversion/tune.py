"""Fine-tune a trained network for few time steps and 8-bit weights: training in which everything is rounded as after conversion.

With dynamics "spikes" the neurons are unrolled over T steps and trained through time with a surrogate gradient (Neftci et al.,
IEEE Signal Processing Magazine 2019). With "rates" each ReLU is replaced by the firing rate of T steps of constant input (QCFS:
Bu et al., ICLR 2022); this costs as much as training the analog network, but ignores that spikes arrive unevenly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..choices import Dynamics, ThresholdForm
from ..encoding import check_images
from ..errors import DataError, UsageError
from ..files import StrPath
from ..hardware import Profile, load_profile
from ..network import INPUT, SpikingNetwork
from ..neuron import Range
from ..schedule import Schedule
from ..scores import check_truth
from ..training.data.lazy_images import Images, LazyImages
from ..training.loop import EpochRecord
from ..training.resume import check_checkpoint_path, check_settings, plain_history
from .analog import AnalogNetwork
from .distillation import Labelled, Learning, MeanOutput, image_batch, learn
from .learning_session import TUNING, State, checksum, network_checksum
from .tunable import make_tunable

_CALIBRATION_IMAGES = 256


@dataclass(frozen=True)
class Tuned:
    """A tuned network, and one record per epoch, including those before an interruption."""

    network: SpikingNetwork
    history: tuple[EpochRecord, ...]


def tune(
    network: SpikingNetwork,
    images: Images,
    labels: np.ndarray,
    steps: int,
    learning: Learning = Learning(),  # noqa: B008 - frozen
    *,
    dynamics: Dynamics = "spikes",
    wait: int = 0,
    profile: str | Profile = "loihi2",
    threshold_form: ThresholdForm = "stock",
    ranges: Mapping[str, Range] | None = None,
    validation: Labelled | None = None,
    teachers: Sequence[SpikingNetwork] = (),
    progress: bool = False,
    checkpoint_path: StrPath | None = None,
    resume: bool = False,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> Tuned:
    """Fine-tune weights, biases and thresholds.

    As reproducible, and as safe to interrupt, as `rmp_lava.training.train.train`, which explains `progress`, `checkpoint_path`,
    `resume` and `on_epoch`.

    Parameters
    ----------
    network : SpikingNetwork
        In analog form (see `rmp_lava.conversion.analog`), with current encoding, or events, and an integrating read-out.
        Activation scales start from those of its spiking layers, which an earlier `tune` or `unscale` sets; without them, from
        those with the least squared error.
    images, labels
        As `rmp_lava.tune` takes them; events int8, as `rmp_lava.encoding.event_counts` returns them.
    steps : int
        T.
    learning : Learning
    dynamics : {"rates", "spikes"}
        "spikes" costs up to T times as much time and memory as "rates", and gains more with each batch. For one after the
        other, call `tune` two times.
    wait : int
        Time steps that neurons integrate before they may spike, 0 .. T. With T the spikes are those of "rates", which costs less.
    profile, threshold_form, ranges
        As for `rmp_lava.conversion.quantize.quantize` afterwards. With other ranges that would round to other numbers than those
        that were trained.
    validation : tuple of (images, labels), optional
        Measured after each epoch, with the dynamics that are trained; nothing is chosen by it.
    teachers : sequence of SpikingNetwork
        In analog form, with the same input and outputs: the trained network before rounding, or several networks. The mean of
        their outputs is learned as well as the labels, see `rmp_lava.conversion.distillation`.

    Returns
    -------
    Tuned
        The network is in analog form, not rounded. Each spiking layer has its trained activation scale, and the same number
        as clip, because activations do not go beyond it. For the result to hold, neurons have to start from half their
        thresholds. `provenance["tune"]` lists settings and history of all tunings.

    Raises
    ------
    UsageError
        If an argument is out of range, if the network is of another form, if the checkpoint comes from other arguments,
        or if the tuning diverges.
    DataError
        If images or labels do not fit, or the teacher has another input or other outputs.
    ConversionError
        If a layer never gets a positive activation, or its weights cannot be quantised.
    CheckpointError
        If the checkpoint cannot be read or written.
    """
    profile, augmentation = load_profile(profile), learning.augmentation
    check_settings(steps=steps, dynamics=dynamics, threshold_form=threshold_form)
    _check_network(network)
    _check_labelled(images, labels, network, "images")
    if validation is not None:
        _check_labelled(*validation, network, "validation images")
    for each in teachers:
        _check_teacher(each, network)
    if augmentation != "none" and len(network.input.shape) != 3:
        raise UsageError(
            f"network {network.name!r} takes {network.input.shape} values, but crop-flip needs images (channels, height, width); "
            "tune with augmentation 'none'"
        )
    if augmentation != "none" and network.input.encoding == "spikes":
        raise UsageError(
            f"augmentation is {augmentation!r}, which is for images, not for events; tune with augmentation 'none'"
        )
    settings: dict[str, Any] = asdict(learning) | {
        "network": network_checksum(network),
        "data": checksum(images, labels),
        "validation": None if validation is None else checksum(*validation),
        "steps": steps,
        "dynamics": dynamics,
        "wait": wait,
        "profile": profile.name,
        "threshold_form": threshold_form,
        "ranges": None if ranges is None else {name: list(map(float, limits)) for name, limits in ranges.items()},
        "teachers": [network_checksum(each) for each in teachers],
    }
    Schedule(steps, 1, wait=wait)  # refuses a wait that is longer
    check_checkpoint_path(checkpoint_path, resume)
    # Evenly over all images, which may be sorted by class.
    chosen = np.unique(np.linspace(0, len(images) - 1, _CALIBRATION_IMAGES).astype(int))
    calibration = image_batch(images, chosen, "cpu").numpy()
    model = make_tunable(network, calibration, steps, profile, threshold_form, ranges).to(learning.device)
    teacher = MeanOutput(map(AnalogNetwork, teachers)).to(learning.device) if teachers else None
    state = State(model, torch.optim.Adam(model.parameters(), lr=learning.learning_rate), teacher)
    if resume and checkpoint_path is not None:
        TUNING.resume(checkpoint_path, state, settings)
    model.use(dynamics, wait)
    learn(
        state,
        learning,
        (images, labels),
        validation,
        what=f"tuning for {steps} time steps",
        is_finite=model.is_finite,
        follow=model.follow_levels,
        save=None if checkpoint_path is None else lambda: TUNING.save(checkpoint_path, state, settings),
        on_epoch=on_epoch,
        progress=progress,
    )
    tuned = model.to_network()
    log = dict(tuned.provenance)
    entry = settings | {"history": plain_history(state.history)}
    return Tuned(tuned.replace(provenance=log | {"tune": [*log.get("tune", []), entry]}), tuple(state.history))


def _check_network(network: SpikingNetwork) -> None:
    name = f"network {network.name!r}"
    if network.is_integer:
        raise UsageError(f"{name} has integer weights; tune the float network, then quantise it")
    if network.input.encoding not in ("current", "spikes"):
        raise UsageError(
            f"{name} has {network.input.encoding} encoding, but tuning needs an input that is constant over time, or events; "
            "convert with encoding 'current' or 'spikes'"
        )
    if network.output.neurons.reset != "none":
        raise UsageError(f"{name} reads out spikes, but tuning needs real outputs; convert with readout 'potential'")
    for layer in network:
        if len({synapse.source == INPUT for synapse in layer.synapses}) > 1:
            raise UsageError(
                f"layer {layer.name!r} receives the image and spikes, for which `quantize` has no common scale; put a layer "
                "between the image and it"
            )
        if layer.neurons.reset == "hard":
            raise UsageError(
                f"layer {layer.name!r} uses hard reset; tuning supports soft reset only, so convert with reset='soft'"
            )


def _check_teacher(teacher: SpikingNetwork, network: SpikingNetwork) -> None:
    shapes = [f"{each.input.shape} to {each.output.shape}" for each in (teacher, network)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"teacher {teacher.name!r} maps {shapes[0]}, but network {network.name!r} maps {shapes[1]}; give a teacher with the "
            "same input and outputs"
        )


def _check_labelled(images: Images, labels: np.ndarray, network: SpikingNetwork, what: str) -> None:
    if isinstance(images, LazyImages) or images.dtype == np.uint8:
        images_to_check = np.asarray(images[:1]) > 0  # every uint8 value is allowed, so only the shape is checked
    else:
        images_to_check = images
    check_images(images_to_check, network.input)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"labels of {what} are {labels.dtype} of shape {labels.shape}; expected integers of shape ({len(images)},)"
        )
    check_truth(labels, network.output.shape, f"network {network.name!r}")
