"""Measure a conversion stage by stage, each on the same images: what the network loses, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table
from torch.export import ExportedProgram

from ..backends import run
from ..conversion.analog import AnalogNetwork
from ..conversion.tracing.export_front import batch_of
from ..conversion.tracing.reading import Model
from ..network import SpikingNetwork
from ..progress import Progress
from ..report.tables import percent, table
from .compare import describe_saturation

_BATCH = 100


@dataclass(frozen=True)
class Stage:
    """Accuracy of one form of the network on the same images."""

    name: str
    images: int
    accuracy: float
    note: str = ""


def stage_table(stages: tuple[Stage, ...], steps: int | None) -> Table:
    """The stages of a conversion, one below the other; `steps` is T where it is known."""
    rows = [(s.name, s.note or "none", f"{s.images:,}", percent(s.accuracy)) for s in stages]
    columns = ("stage", "limits reached", "images", "accuracy")
    known = "" if steps is None else f", T = {steps}"
    return table(f"Accuracy on validation images{known}", columns, rows, text_columns=2)


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
    return _stage(name, _predict(lambda batch: analog(torch.from_numpy(batch)), None, images), labels)


def spiking_stage(
    name: str, network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, steps: int, *, seed: int, strict: bool
) -> Stage:
    """The spiking network on backend fast."""
    result = run(network, images, steps, seed=seed, strict=strict, progress=True)
    return Stage(name, len(images), result.accuracy(labels), describe_saturation(result))


def caller_of(model: Model) -> tuple[Callable[[np.ndarray], torch.Tensor], int | None]:
    """A trained network as a function of float32 images, in evaluation mode, and the batch size that it insists on."""
    if isinstance(model, ExportedProgram):
        call, tensors, batch = model.module(), model.state_dict.values(), batch_of(model)
    else:
        call, tensors, batch = model.eval(), model.parameters(), None
    like = next((t for t in tensors if isinstance(t, torch.Tensor) and t.is_floating_point()), torch.zeros(()))
    return lambda images: call(torch.from_numpy(images).to(like.device, like.dtype)), batch


@torch.no_grad()
def _predict(call: Callable[[np.ndarray], torch.Tensor], batch: int | None, images: np.ndarray) -> np.ndarray:
    """(N,) indices of the largest outputs."""
    size, predictions = batch or _BATCH, []
    with Progress("running the trained network, images", len(images)) as bar:
        for start in range(0, len(images), size):
            some = np.ascontiguousarray(images[start : start + size])
            filled = some if batch is None else np.resize(some, (size, *some.shape[1:]))
            predictions.append(call(filled).argmax(dim=1).cpu().numpy()[: len(some)])
            bar.advance(len(some))
    return np.concatenate(predictions)


def _stage(name: str, predictions: np.ndarray, labels: np.ndarray) -> Stage:
    return Stage(name, len(labels), float(np.mean(predictions == labels)))
