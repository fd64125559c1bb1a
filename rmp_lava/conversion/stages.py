"""Measure a conversion stage by stage, each on the same images: what the network loses, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.export import ExportedProgram

from ..backends import run
from ..errors import ConversionError
from ..network import SpikingNetwork
from ..progress import Progress
from .analog import AnalogNetwork
from .tracing.export_front import batch_limits
from .tracing.reading import Model

_BATCH = 100


@dataclass(frozen=True)
class Stage:
    """Accuracy of one form of the network on the same images."""

    name: str
    images: int
    accuracy: float
    note: str = ""


def trained_stage(model: Model, images: np.ndarray, labels: np.ndarray) -> Stage:
    """The trained network itself; or what stands in its place, where only integers are left of it."""
    return _stage(
        "restored ANN" if isinstance(model, AnalogNetwork) else "trained ANN",
        _predict(*caller_of(model), images),
        labels,
    )


def analog_stage(name: str, network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> Stage:
    """The activations of a network in analog form."""
    analog = AnalogNetwork(network)
    return _stage(name, _predict(lambda batch: analog(torch.from_numpy(batch)), (1, _BATCH), images), labels)


def spiking_stage(
    name: str, network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, steps: int, *, seed: int, strict: bool
) -> Stage:
    """The spiking network on backend fast."""
    result = run(network, images, steps, seed=seed, strict=strict, progress=True)
    return Stage(name, len(images), result.accuracy(labels), result.limits_reached())


def caller_of(model: Model) -> tuple[Callable[[np.ndarray], torch.Tensor], tuple[int, int]]:
    """A trained network as a function of float32 images, in evaluation mode, and the fewest and most that it gets at once."""
    limits = (1, _BATCH)
    if isinstance(model, ExportedProgram):
        call, tensors = model.module(), model.state_dict.values()
        fewest, most = batch_limits(model)
        limits = (fewest, max(fewest, min(most, _BATCH)))
    else:
        call, tensors = model.eval(), model.parameters()
    like = next((t for t in tensors if isinstance(t, torch.Tensor) and t.is_floating_point()), torch.zeros(()))
    return lambda images: call(torch.from_numpy(images).to(like.device, like.dtype)), limits


@torch.no_grad()
def _predict(call: Callable[[np.ndarray], torch.Tensor], limits: tuple[int, int], images: np.ndarray) -> np.ndarray:
    """(N,) indices of the largest outputs."""
    (fewest, size), predictions = limits, []
    with Progress("running the trained network, images", len(images)) as bar:
        for start in range(0, len(images), size):
            some = np.ascontiguousarray(images[start : start + size])
            filled = some if len(some) >= fewest else np.resize(some, (fewest, *some.shape[1:]))
            try:
                outputs = call(filled)
            except Exception as error:  # it is the user's network
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise ConversionError(
                    f"the trained network fails on {len(filled)} images at once ({reason}); it has to take any number of them, "
                    "as torch.export writes with dynamic_shapes"
                ) from None
            # Outputs may still have the shape of an image, of one pixel.
            predictions.append(outputs.flatten(1).argmax(dim=1).cpu().numpy()[: len(some)])
            bar.advance(len(some))
    return np.concatenate(predictions)


def _stage(name: str, predictions: np.ndarray, labels: np.ndarray) -> Stage:
    return Stage(name, len(labels), float(np.mean(predictions == labels)))
