"""List every obstacle to a conversion at once, before anything is converted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..choices import TrainedEncoding
from ..encoding import event_counts, mean_frames, pixel_values, unsuitable_values
from ..errors import ConversionError
from ..findings import Finding, findings_table, grouped, of_severity
from ..network import Layer
from ..tables import Table, Tabular
from .image_encoding import NO_COMMON_SCALE, of_image_and_spikes
from .tracing.analysis import Analysis, analyse
from .tracing.prepared import Values, prepared, takes_events
from .tracing.reading import Model, Reading, read

_AXES = (2, 3, 4, 5)
"""Of features, rows or images without channels, images, and volumes."""


@dataclass(frozen=True, repr=False)
class CheckReport(Tabular):
    """Everything that `check` found.

    A finding's `where` is the name of a module, "input" or "model"; a function is named after the module that calls it.
    Its severity is "obstacle" or "information".
    """

    findings: tuple[Finding, ...]

    def table(self) -> Table:
        """Obstacles, then what conversion changes; what is said of several layers is one row."""
        obstacles = len(self.obstacles)
        verdict = f"{obstacles} obstacle{'s' if obstacles > 1 else ''}" if obstacles else "the network converts"
        return findings_table(grouped(self.obstacles + self.information), f"Check: {verdict}")

    @property
    def obstacles(self) -> tuple[Finding, ...]:
        """What has to change before the network converts."""
        return of_severity(self.findings, "obstacle")

    @property
    def information(self) -> tuple[Finding, ...]:
        """What conversion changes."""
        return of_severity(self.findings, "information")

    @property
    def convertible(self) -> bool:
        """Whether there is no obstacle."""
        return not self.obstacles

    def raise_if_blocked(self) -> None:
        """Raise `ConversionError` with every obstacle if there is one."""
        if self.obstacles:
            listed = "; ".join(f"layer {f.where!r} {f.found}: {f.remedy}" for f in self.obstacles)
            raise ConversionError(f"the network cannot be converted: {listed}")


def check(
    model: Model,
    example: np.ndarray | torch.Tensor,
    *,
    pooling: str = "fold",
    encoding: TrainedEncoding | None = None,
    input_range: tuple[float, float] | None = None,
    mean: Values | None = None,
    std: Values | None = None,
) -> CheckReport:
    """List everything that prevents the conversion of a network, and everything that conversion will change.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
    example : array
        (N, C, H, W), (N, H, W), (N, C, L) or (N, features): one or more inputs in [0, 1], or uint8 pixels, which represent
        pixel / 255.
    pooling : {"fold", "layer"}
        As for `trace`.
    encoding, input_range, mean, std
        As for `convert`; for encoding "spikes" the example holds events, or their means.

    Returns
    -------
    CheckReport
        All obstacles, including those downstream of other obstacles. Nothing is changed.

    Raises
    ------
    UsageError, DataError
        If the range or the statistics are invalid, or the events are none.
    """
    example, counts = _as_array(example), encoding == "spikes"
    if counts and takes_events(model, example):
        example = mean_frames(event_counts(example))
    ready = prepared(model, example, input_range=input_range, mean=mean, std=std)
    return CheckReport(examine(ready, example, pooling, counts=counts)[1].findings)


def examine(
    model: Model, example: np.ndarray | torch.Tensor, pooling: str, *, counts: bool = False
) -> tuple[Reading | None, Analysis]:
    """Run a network and analyse its calls; the analysis has all findings, including those about the example.

    `counts`: the example holds mean numbers of events, which may be above 1.
    """
    example = _as_array(example)
    findings = tuple(_unsuitable_example(example, counts))
    example = pixel_values(example) if example.dtype == np.uint8 else example
    if example.dtype.kind not in "fiub" or example.ndim not in _AXES or not example.size:
        return None, Analysis((), findings, None)
    reading = read(prepared(model, example), example)
    findings += reading.findings
    if reading.calls is None:
        return reading, Analysis((), findings, None)
    analysis = analyse(reading.calls, pooling=pooling, prepared=reading.prepared)
    findings = tuple(dict.fromkeys(findings + analysis.findings)) + tuple(_mixed_sources(analysis.layers))
    if not reading.agrees and not of_severity(findings, "obstacle"):
        found = "does not compute what its layers compute"
        remedy = "remove forward hooks, randomness, and state that is kept between calls; what register_layer got must be exact"
        findings += (Finding("obstacle", "model", found, remedy),)
    return reading, replace(analysis, findings=findings)


def _as_array(example: np.ndarray | torch.Tensor) -> np.ndarray:
    """An example as a numpy array; half precision becomes float32."""
    if isinstance(example, torch.Tensor):
        example = example.detach().cpu()
        return (example.float() if example.is_floating_point() else example).numpy()
    example = np.asarray(example)
    return example.astype(np.float32) if example.dtype.kind == "f" else example


def _unsuitable_example(values: np.ndarray, counts: bool) -> Iterator[Finding]:
    """Obstacles in an example, whatever the network."""
    if values.dtype.kind not in "fiub":
        yield Finding("obstacle", "input", f"has dtype {values.dtype}", "pass numbers in [0, 1]")
        return
    if values.ndim not in _AXES or not values.size:
        remedy = "pass images as (N, C, H, W) or (N, H, W), rows as (N, C, L), or features as (N, F)"
        yield Finding("obstacle", "input", f"has shape {values.shape}", remedy)
    unsuitable = unsuitable_values(values) if values.size and not counts else None
    if unsuitable is not None:
        found, remedy = unsuitable
        yield Finding("obstacle", "input", f"has {found}", remedy)


def _mixed_sources(layers: tuple[Layer, ...]) -> Iterator[Finding]:
    """Layers that cannot be quantised with current encoding."""
    for layer in of_image_and_spikes(layers):
        yield Finding(
            "information",
            layer.record.get("module", layer.name),
            "receives both the image and spikes",
            f"converted with encoding 'rate' instead of 'current', as {NO_COMMON_SCALE}",
        )
