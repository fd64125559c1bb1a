"""Passes from a PyTorch network to a quantised spiking one, one verb per file; `convert` is the way through."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from ..encoding import check_images, make_input
from ..errors import UsageError
from ..network import Encoding, Readout, SpikingNetwork
from .balance import balance
from .check import check
from .trace import trace

DEFAULT_PERCENTILE = 100.0


def convert(
    model: nn.Module,
    images: np.ndarray,
    *,
    steps: int = 64,
    encoding: Encoding = "poisson",
    percentile: float = DEFAULT_PERCENTILE,
    alpha: float | Mapping[str, float] = 1.0,
    v_init: str = "zero",
    reset: str = "soft",
    pooling: str = "fold",
    readout: Readout = "potential",
    seed: int = 0,
    name: str = "network",
    class_names: tuple[str, ...] = (),
    progress: bool = False,
) -> SpikingNetwork:
    """Convert a constrained PyTorch network to a float RMP spiking network.

    The defaults are the paper's: Poisson input, the maximum of V_in as threshold, alpha = 1, v_init = 0.

    Parameters
    ----------
    model : torch.nn.Module
        A sequential network under the paper's constraints, see `rmp_lava.check`.
    images : numpy.ndarray
        Training images (N, C, H, W) in [0, 1] for threshold balancing; never test images.
    steps : int
        Time steps for balancing, best those of later use.
    encoding : {"poisson", "rate", "current"}
    percentile, alpha, v_init, reset
        See `rmp_lava.conversion.balance.balance`.
    pooling : {"fold", "layer"}
        See `rmp_lava.conversion.trace.trace`.
    readout : {"potential", "count"}
        Integrate the last layer's input, or let it spike and count.
    seed : int
    name, class_names
        Kept in the network.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    SpikingNetwork

    Raises
    ------
    ConversionError
        With every obstacle, if the network cannot be converted.
    DataError, UsageError
        If images or options cannot be meant.
    """
    if pooling not in ("fold", "layer"):
        raise UsageError(f"pooling is {pooling!r}; choose 'fold' or 'layer'")
    if encoding not in ("poisson", "rate", "current"):
        raise UsageError(f"encoding is {encoding!r}; choose 'poisson', 'rate' or 'current'")
    if readout not in ("potential", "count"):
        raise UsageError(f"readout is {readout!r}; choose 'potential' or 'count'")
    images = np.asarray(images)
    check(model, images).raise_if_blocked()
    source = make_input(encoding, images.shape[1:])
    images = check_images(images, source)
    network = trace(model, source, pooling=pooling, readout=readout).replace(name=name, class_names=class_names)
    return balance(
        network,
        images,
        steps,
        percentile=percentile,
        alpha=alpha,
        v_init=v_init,
        reset=reset,
        seed=seed,
        progress=progress,
    )
