"""List every obstacle to a conversion at once, before anything is converted."""

from __future__ import annotations

import numpy as np
import torch

from .trace import as_array, examine
from .tracing.findings import CheckReport
from .tracing.reading import Model

__all__ = ["CheckReport", "check"]


def check(model: Model, example: np.ndarray | torch.Tensor, *, pooling: str = "fold") -> CheckReport:
    """List everything that prevents the conversion of a network, and everything that conversion will change.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
    example : array
        (N, C, H, W) or (N, features): one or more inputs in [0, 1].
    pooling : {"fold", "layer"}
        As for `trace`.

    Returns
    -------
    CheckReport
        All obstacles, including those downstream of other obstacles. Nothing is changed or raised.
    """
    _, analysis = examine(model, as_array(example), pooling)
    return CheckReport(analysis.findings)
