"""Say everything that is in the way of a conversion, all at once and before anything is done."""

from __future__ import annotations

import numpy as np
import torch

from .trace import as_array, examine
from .tracing.findings import CheckReport, Finding
from .tracing.reading import Model

__all__ = ["CheckReport", "Finding", "check"]


def check(model: Model, example: np.ndarray | torch.Tensor, *, pooling: str = "fold") -> CheckReport:
    """Look for everything that keeps a network from being converted, and for everything that conversion will change.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
    example : array
        (N, C, H, W) or (N, features): one or more inputs in [0, 1].
    pooling : {"fold", "layer"}
        What `trace` is going to do with average pooling.

    Returns
    -------
    CheckReport
        All obstacles, those behind other obstacles too. Nothing is changed, and nothing is raised for what is found.
    """
    _, analysis = examine(model, as_array(example), pooling)
    return CheckReport(analysis.findings)
