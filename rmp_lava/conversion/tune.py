"""Fine-tune a trained network for few time steps and 8-bit weights: training in which everything is rounded as after conversion.

With dynamics "spikes" the neurons are unrolled over T steps and trained through time with a surrogate gradient (Neftci et al.,
IEEE Signal Processing Magazine 2019). With "rates" each ReLU is replaced by the firing rate of T steps of constant input (QCFS:
Bu et al., ICLR 2022); this costs as much as training the analog network, but ignores that spikes arrive unevenly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..choices import Augmentation, Dynamics, Precision, ThresholdForm
from ..encoding import check_images
from ..errors import DataError, UsageError
from ..files import StrPath
from ..hardware import Profile, load_profile
from ..network import INPUT, SpikingNetwork
from ..progress import Progress
from ..schedule import Schedule
from ..training.data.lazy_images import Images, LazyImages
from ..training.loop import (
    EpochRecord,
    evaluate,
    run_epochs,
)
from ..training.resume import check_checkpoint_path, plain_history
from . import tune_session as session
from .analog import AnalogNetwork
from .distillation import Labelled, image_batch, run_epoch
from .tunable import make_tunable
from .tune_session import TuneSettings, TuneState

_CALIBRATION_IMAGES = 256
_EVALUATION_BATCH = 100
"""Images whose spikes have to fit into memory."""


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
    *,
    dynamics: Dynamics = "spikes",
    wait: int = 0,
    epochs: int = 5,
    learning_rate: float = 1e-4,
    batch_size: int = 128,
    profile: str | Profile = "loihi2",
    threshold_form: ThresholdForm = "stock",
    augmentation: Augmentation = "none",
    precision: Precision = "float32",
    seed: int = 0,
    validation: Labelled | None = None,
    teacher: SpikingNetwork | None = None,
    progress: bool = False,
    checkpoint_path: StrPath | None = None,
    resume: bool = False,
    device: str = "cpu",
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> Tuned:
    """Fine-tune weights, biases and thresholds with Adam and a learning rate that falls to zero along half a cosine.

    As reproducible, and as safe to interrupt, as `rmp_lava.training.train.train`, which explains `progress`, `checkpoint_path`,
    `resume`, `device` and `on_epoch`.

    Parameters
    ----------
    network : SpikingNetwork
        In analog form (see `rmp_lava.conversion.analog`), with current encoding, or events, and an integrating read-out.
        Activation scales start from those of its spiking layers, which an earlier `tune` or `unscale` sets; without them, from
        those with the least squared error.
    images : numpy.ndarray or LazyImages
        Training images, (N, *input shape): float in [0, 1], or uint8 that means value / 255; events (N, T, *input shape) as
        `rmp_lava.encoding.event_counts` returns them where the network takes them.
    labels : numpy.ndarray
        Integers, shape (N,), each an index of the outputs.
    steps : int
        T.
    dynamics : {"rates", "spikes"}
        "spikes" costs up to T times as much time and memory as "rates", and gains more with each batch. For one after the
        other, call `tune` two times.
    wait : int
        Time steps that neurons integrate before they may spike, 0 .. T. With T the spikes are those of "rates", which costs less.
    epochs, learning_rate, batch_size, augmentation, precision
        See `rmp_lava.training.recipe.Recipe`; `learning_rate` is that of the first step.
    profile, threshold_form
        As for `rmp_lava.conversion.quantize.quantize` afterwards.
    seed : int
        Seed of the order of images and of augmentation.
    validation : tuple of (images, labels), optional
        Measured after each epoch, with the dynamics that are trained; nothing is chosen by it.
    teacher : SpikingNetwork, optional
        In analog form, with the same input and outputs: the trained network before rounding. Its outputs are learned as well
        as the labels, see `rmp_lava.conversion.distillation`.

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
    profile = load_profile(profile)
    _check_network(network)
    _check_labelled(images, labels, network, "images")
    if validation is not None:
        _check_labelled(*validation, network, "validation images")
    if teacher is not None:
        _check_teacher(teacher, network)
    if augmentation != "none" and len(network.input.shape) != 3:
        raise UsageError(
            f"network {network.name!r} takes {network.input.shape} values, but crop-flip needs images (channels, height, width); "
            "tune with augmentation 'none'"
        )
    if augmentation != "none" and network.input.encoding == "spikes":
        raise UsageError(
            f"augmentation is {augmentation!r}, which is for images, not for events; tune with augmentation 'none'"
        )
    settings = TuneSettings(
        network=session.network_checksum(network),
        data=session.checksum(images, labels),
        validation=None if validation is None else session.checksum(*validation),
        steps=steps,
        dynamics=dynamics,
        wait=wait,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        profile=profile.name,
        threshold_form=threshold_form,
        augmentation=augmentation,
        precision=precision,
        seed=seed,
        device=device,
        teacher=None if teacher is None else session.network_checksum(teacher),
    )
    Schedule(steps, 1, wait=wait)  # refuses a wait that is longer
    check_checkpoint_path(checkpoint_path, resume)
    state = _start(network, teacher, images, profile, settings)
    if resume and checkpoint_path is not None:
        session.resume(checkpoint_path, state, settings)
    _run(state, settings, (images, labels), validation, checkpoint_path, progress, on_epoch)
    tuned = state.model.to_network()
    entry: dict[str, Any] = asdict(settings) | {"history": plain_history(state.history)}
    log = dict(tuned.provenance)
    return Tuned(tuned.replace(provenance=log | {"tune": [*log.get("tune", []), entry]}), tuple(state.history))


def _start(
    network: SpikingNetwork,
    teacher: SpikingNetwork | None,
    images: Images,
    profile: Profile,
    settings: TuneSettings,
) -> TuneState:
    # Evenly over all images, which may be sorted by class.
    chosen = np.unique(np.linspace(0, len(images) - 1, _CALIBRATION_IMAGES).astype(int))
    calibration = image_batch(images, chosen, "cpu").numpy()
    model = make_tunable(network, calibration, settings.steps, profile, settings.threshold_form).to(settings.device)
    taught_by = None if teacher is None else AnalogNetwork(teacher).to(settings.device)
    return TuneState(model, torch.optim.Adam(model.parameters(), lr=settings.learning_rate), taught_by)


def _run(
    state: TuneState,
    settings: TuneSettings,
    data: Labelled,
    validation: Labelled | None,
    path: StrPath | None,
    progress: bool,
    on_epoch: Callable[[EpochRecord], None] | None,
) -> None:
    def tune_epoch(bar: Progress) -> EpochRecord:
        # Once per epoch, so that a resumed tuning has the same levels and quantizers.
        state.model.follow_levels()
        state.model.use(settings.dynamics, settings.wait)
        trained = (state.model, state.teacher, state.optimizer)
        loss, accuracy = run_epoch(*trained, settings, data, state.history, bar, state.model.is_finite, "tuning")
        state.model.follow_levels()
        validated = None
        if validation is not None:
            validated = evaluate(state.model, validation[0], validation[1].astype(np.int64), _EVALUATION_BATCH)
        return EpochRecord(len(state.history) + 1, loss, accuracy, validated)

    run_epochs(
        state.history,
        settings.epochs,
        math.ceil(len(data[0]) / settings.batch_size),
        tune_epoch,
        label=f"tuning for {settings.steps} time steps, batches",
        shown=progress,
        save=None if path is None else lambda: session.save(path, state, settings),
        on_epoch=on_epoch,
    )


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
            f"the teacher maps {shapes[0]}, but network {network.name!r} maps {shapes[1]}; give the network that it was made "
            "from"
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
    outputs = network.output.size
    if labels.min() < 0 or labels.max() >= outputs:
        raise DataError(
            f"labels of {what} reach from {labels.min()} to {labels.max()}, but the network has {outputs} outputs; "
            f"give 0 to {outputs - 1}"
        )
