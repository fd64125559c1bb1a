"""Compare a traced network with the network that it was traced from."""

from __future__ import annotations

import numpy as np
import torch

from ...errors import ConversionError
from ...network import SpikingNetwork
from ..analog import AnalogNetwork

TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Of networks in reduced precision, as a share of their largest output; `_FLOAT` for all others."""
_FLOAT = 1e-3


def verify(network: SpikingNetwork, images: np.ndarray, logits: torch.Tensor, precision: torch.dtype) -> None:
    """Raise `ConversionError` if a traced network does not compute what the original computes.

    Parameters
    ----------
    network : SpikingNetwork
        In analog form.
    images : numpy.ndarray
        float32 (N, ...).
    logits : torch.Tensor
        The original's outputs for them.
    precision : torch.dtype
        Of the original.
    """
    with torch.no_grad():
        found = AnalogNetwork(network)(torch.from_numpy(images)).numpy()
    expected = logits.detach().cpu().to(torch.float64).numpy().reshape(len(images), -1)
    scale = max(float(np.abs(expected).max()), 1e-6)
    error = float(np.abs(found - expected).max()) / scale
    if not error <= TOLERANCE.get(precision, _FLOAT):
        raise ConversionError(
            f"the traced network differs from the original (by {error:.1%} of its largest output), which is a defect of "
            "this package; please report the network's forward"
        )
