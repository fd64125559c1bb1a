"""What both pipelines do before their passes: draw and shape images, trace, check early, name the network."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...choices import ConvertReadout, Pooling, SearchFor, ThresholdForm, TracedPooling, TrainedEncoding, check_choice
from ...encoding import MAX_EVENTS, drawn_events, event_counts, make_input, mean_frames, shaped
from ...errors import ConversionError, DataError
from ...hardware.profiles import Profile, load_profile
from ...network import Layer, Neurons, SpikingNetwork
from ...netx.lava_dl_loader import lava_dl_obstacles
from ...schedule import Schedule
from ..balancing import Balancing
from ..quantization import Quantization
from ..trace import trace
from ..tracing.prepared import takes_events
from ..tracing.reading import Model


def check_early(steps: int, wait: int, search: str | None, quantization: Quantization) -> Profile:
    """The profile; raises for options that later passes would refuse, before any work."""
    Schedule(steps, 1, wait=wait)
    if search is not None:
        check_choice("search", search, SearchFor)
    check_choice("threshold_form", quantization.threshold_form, ThresholdForm)
    profile, bits = load_profile(quantization.profile), quantization.weight_bits
    return profile.with_weight_bits(bits) if isinstance(bits, int) else profile


def traced_network(
    model: Model,
    images: np.ndarray,
    pooling: Pooling,
    readout: ConvertReadout,
    name: str,
    encoding: TrainedEncoding | None,
) -> SpikingNetwork:
    images = example(images)
    source = make_input("spikes" if encoding == "spikes" else "current", images.shape[1:])
    traced: TracedPooling = "layer" if pooling == "layer" else "fold"
    return trace(model, source, images, pooling=traced, readout=readout).replace(name=name)


def given(model: Model, images: np.ndarray, encoding: TrainedEncoding | None) -> np.ndarray:
    """Images as they are; for encoding "spikes" events as int8, and their means as real numbers."""
    if encoding != "spikes":
        return images
    return event_counts(images) if takes_events(model, images) else images.astype(np.float32)


def example(images: np.ndarray) -> np.ndarray:
    """What the trained network takes: images, or the means of events."""
    return mean_frames(images) if images.dtype == np.int8 and images.ndim > 2 else images


def taking_events(
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


def described(
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


def refuse_for_lava_dl(analog: SpikingNetwork, how: Balancing) -> None:
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
