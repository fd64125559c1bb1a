"""Say everything that is in the way of a conversion, all at once and before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from ..ann.constraints import Violation, violations
from ..encoding import make_input
from ..errors import ConversionError, RmpLavaError
from .trace import trace


@dataclass(frozen=True)
class Finding:
    """One obstacle, or one change that conversion makes.

    Parameters
    ----------
    severity : {"obstacle", "information"}
    layer : str
        Name of the module, or "input" / "model".
    found : str
    remedy : str
        What to do about an obstacle; what is done about information.
    """

    severity: Literal["obstacle", "information"]
    layer: str
    found: str
    remedy: str


@dataclass(frozen=True)
class CheckReport:
    """Everything that `check` found."""

    findings: tuple[Finding, ...]

    @property
    def obstacles(self) -> tuple[Finding, ...]:
        """What has to change before the network converts."""
        return tuple(f for f in self.findings if f.severity == "obstacle")

    @property
    def convertible(self) -> bool:
        """Whether nothing is in the way."""
        return not self.obstacles

    def raise_if_blocked(self) -> None:
        """Raise `ConversionError` with every obstacle if there is one."""
        if self.obstacles:
            listed = "; ".join(f"layer {f.layer!r} {f.found}: {f.remedy}" for f in self.obstacles)
            raise ConversionError(f"the network cannot be converted: {listed}")


def check(model: nn.Module, example: np.ndarray | torch.Tensor) -> CheckReport:
    """Look for everything that keeps a network from being converted, and for everything that conversion will change.

    Parameters
    ----------
    model : torch.nn.Module
    example : array
        (N, C, H, W) or (N, features): one or more inputs in [0, 1].

    Returns
    -------
    CheckReport
        Nothing is changed, and nothing is raised for what is found.
    """
    findings = [_obstacle(violation) for violation in violations(model)]
    findings += _check_input(example)
    if not findings:
        findings += _check_forward(model, example)
    return CheckReport(tuple(findings + _information(model)))


def _obstacle(violation: Violation) -> Finding:
    return Finding("obstacle", violation.layer, violation.found, violation.remedy)


def _check_input(example: np.ndarray | torch.Tensor) -> list[Finding]:
    values = np.asarray(example.detach().cpu() if isinstance(example, torch.Tensor) else example)
    found = []
    if values.dtype.kind not in "fiub":
        return [Finding("obstacle", "input", f"has dtype {values.dtype}", "pass numbers in [0, 1]")]
    if values.ndim not in (2, 4) or not values.size:
        remedy = "pass images as (N, C, H, W) or features as (N, F)"
        found.append(Finding("obstacle", "input", f"has shape {values.shape}", remedy))
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        text = f"has values in [{values.min():g}, {values.max():g}]"
        remedy = "scale to [0, 1] without subtracting a mean: inputs become firing rates"
        found.append(Finding("obstacle", "input", text, remedy))
    return found


def _check_forward(model: nn.Module, example: np.ndarray | torch.Tensor) -> list[Finding]:
    weights = [p for p in model.parameters()]
    if not weights:
        return [Finding("obstacle", "model", "has no weights", "pass a network with convolutions or linear layers")]
    if not all(torch.isfinite(p).all() for p in weights):
        return [
            Finding("obstacle", "model", "has NaN or infinite weights", "train it again, or load another checkpoint")
        ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(torch.as_tensor(example[:1]).to(weights[0]))
    except (RuntimeError, ValueError, TypeError) as error:
        text = f"does not fit the network ({str(error).splitlines()[0]})"
        return [Finding("obstacle", "input", text, "pass an example of the shape it was trained on")]
    finally:
        model.train(was_training)
    try:
        trace(model, make_input("current", tuple(example.shape[1:])))
    except RmpLavaError as error:
        return [Finding("obstacle", "model", f"cannot be traced ({error})", "build it from plain layers in Sequential")]
    return []


def _information(model: nn.Module) -> list[Finding]:
    found = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            found.append(Finding("information", name, "is dropout", "left out: it acts during training only"))
        elif isinstance(module, nn.AvgPool2d):
            remedy = "folded into the next layer's weights, or a spiking layer of its own (pooling='layer')"
            found.append(Finding("information", name, "is average pooling", remedy))
    return found
