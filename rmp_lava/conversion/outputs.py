"""Outputs of the trained network and of its analog forms on many images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from ..encoding import pixel_values
from ..errors import ConversionError, first_line
from ..network import SpikingNetwork
from ..progress import Progress
from .analog import AnalogNetwork
from .tracing.export_front import batch_limits
from .tracing.prepared import Prepared
from .tracing.reading import Model
from .tracing.undisturbed import tensor_like, undisturbed, unwrapped

_BATCH = 100


def trained_outputs(model: Model, images: np.ndarray) -> np.ndarray:
    """(N, outputs) of the trained network, as it returns them; or of the float network that was restored from integers."""
    model = unwrapped(model)
    with undisturbed(model):
        return _outputs(*_caller(model), images)


def analog_outputs(network: SpikingNetwork, images: np.ndarray) -> np.ndarray:
    """(N, outputs) of a network in analog form: activations instead of spikes."""
    analog = AnalogNetwork(network)
    return _outputs(lambda batch: analog(torch.from_numpy(batch)), (1, _BATCH), images)


def _caller(model: Model) -> tuple[Callable[[np.ndarray], torch.Tensor], tuple[int, int]]:
    """A trained network in evaluation mode as a function of float32 images, and its smallest and largest batch."""
    if isinstance(model, Prepared) and isinstance(model.trained, ExportedProgram):
        run, limits = _caller(model.trained)
        return lambda images: run(model.prepare(images)), limits
    call: nn.Module = model.module() if isinstance(model, ExportedProgram) else model
    limits = (1, _BATCH)
    if isinstance(model, ExportedProgram):
        fewest, most = batch_limits(model)
        limits = (fewest, max(fewest, min(most, _BATCH)))
    like = tensor_like(model)
    return lambda images: call(torch.from_numpy(images).to(like.device, like.dtype)), limits


def _why(call: Callable[[np.ndarray], torch.Tensor], images: np.ndarray, fewest: int, error: Exception) -> str:
    """What to tell of a network that fails on some images: whether their number or their shape is the reason."""
    few = images[:fewest]
    try:
        takes_few = len(few) < len(images) and call(few.copy()) is not None
    except Exception:  # as above
        takes_few = False
    if takes_few:
        return (
            f"the trained network fails on {len(images)} images at once ({first_line(error)}); it has to take any number of "
            "them; export a program with dynamic_shapes"
        )
    return (
        f"the trained network fails on images of shape {images.shape[1:]} ({first_line(error)}); pass images like those that it "
        "was trained on"
    )


@torch.no_grad()
def _outputs(call: Callable[[np.ndarray], torch.Tensor], limits: tuple[int, int], images: np.ndarray) -> np.ndarray:
    """(N, outputs) float32 of a function of images that takes batches within the limits."""
    fewest, size = limits
    found = []
    with Progress("running the trained network, images", len(images)) as bar:
        for start in range(0, len(images), size):
            some = np.array(pixel_values(images[start : start + size]), order="C")  # a copy, which forward may change
            filled = some if len(some) >= fewest else np.resize(some, (fewest, *some.shape[1:]))
            try:
                outputs = call(filled)
            except Exception as error:  # it is the user's network
                raise ConversionError(_why(call, filled, fewest, error)) from None
            # Outputs may have the shape of an image, or none of their own where there is one for each image.
            found.append(outputs.reshape(len(filled), -1).float().cpu().numpy()[: len(some)])
            bar.advance(len(some))
    return np.concatenate(found)
