"""The accuracy of each stage of a conversion, all on the same images: how much the network loses, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from ..backends import run
from ..encoding import pixel_values
from ..errors import ConversionError, first_line
from ..network import SpikingNetwork
from ..progress import Progress
from .analog import AnalogNetwork
from .tracing.export_front import batch_limits
from .tracing.reading import Model
from .tracing.undisturbed import undisturbed, unwrapped

_BATCH = 100


@dataclass(frozen=True)
class Stage:
    """Accuracy of one form of the network, in [0, 1]; `images` is their number."""

    name: str
    images: int
    accuracy: float
    note: str = ""


class Stages(tuple[Stage, ...]):
    """Stages in the order of the conversion; prints as one line for each."""

    __slots__ = ()

    def __repr__(self) -> str:
        width = max((len(stage.name) for stage in self), default=0)
        return "\n".join(
            f"{stage.name:{width}}  {stage.accuracy:7.2%} of {stage.images:,} images  {stage.note}".rstrip()
            for stage in self
        )


def trained_stage(model: Model, images: np.ndarray, labels: np.ndarray) -> Stage:
    """The trained network itself, or the float network that was restored from integers."""
    name = "restored ANN" if isinstance(model, AnalogNetwork) else "trained ANN"
    model = unwrapped(model)
    with undisturbed(model):
        return _stage(name, *_caller(model), images, labels)


def analog_stage(name: str, network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> Stage:
    """A network in analog form: activations instead of spikes."""
    analog = AnalogNetwork(network)
    return _stage(name, lambda batch: analog(torch.from_numpy(batch)), (1, _BATCH), images, labels)


def spiking_stage(
    name: str, network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, steps: int, *, seed: int, strict: bool
) -> Stage:
    """The spiking network on backend fast."""
    result = run(network, images, steps, seed=seed, strict=strict, progress=True)
    return Stage(name, len(images), result.accuracy(labels), result.limits_reached())


def _caller(model: Model) -> tuple[Callable[[np.ndarray], torch.Tensor], tuple[int, int]]:
    """A trained network in evaluation mode as a function of float32 images, and its smallest and largest batch."""
    limits = (1, _BATCH)
    call: nn.Module
    tensors: Iterable[object]
    if isinstance(model, ExportedProgram):
        call, tensors = model.module(), model.state_dict.values()
        fewest, most = batch_limits(model)
        limits = (fewest, max(fewest, min(most, _BATCH)))
    else:
        call, tensors = model, model.parameters()
    like = next((t for t in tensors if isinstance(t, torch.Tensor) and t.is_floating_point()), torch.zeros(()))
    return lambda images: call(torch.from_numpy(images).to(like.device, like.dtype)), limits


@torch.no_grad()
def _stage(
    name: str,
    call: Callable[[np.ndarray], torch.Tensor],
    limits: tuple[int, int],
    images: np.ndarray,
    labels: np.ndarray,
) -> Stage:
    """The stage of a function of images that takes batches within the limits; the largest output is the prediction."""
    fewest, size = limits
    predictions = []
    with Progress("running the trained network, images", len(images)) as bar:
        for start in range(0, len(images), size):
            some = np.ascontiguousarray(pixel_values(images[start : start + size]))
            filled = some if len(some) >= fewest else np.resize(some, (fewest, *some.shape[1:]))
            try:
                outputs = call(filled)
            except Exception as error:  # it is the user's network
                raise ConversionError(
                    f"the trained network fails on {len(filled)} images at once ({first_line(error)}); it has to take any number "
                    "of them; export a program with dynamic_shapes"
                ) from None
            # Outputs may have the shape of an image of one pixel, or be the classes already.
            outputs = outputs.reshape(len(filled), -1)
            decided = not outputs.is_floating_point() and outputs.shape[1] == 1
            classes = outputs[:, 0] if decided else outputs.argmax(dim=1)
            predictions.append(classes.cpu().numpy()[: len(some)])
            bar.advance(len(some))
    return Stage(name, len(labels), float(np.mean(np.concatenate(predictions) == labels)))
