"""Passes from a PyTorch network to a quantised spiking one, one verb per file; `convert` is the way through."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..encoding import check_images, make_input
from ..errors import UsageError
from ..network import Encoding, Readout, SpikingNetwork
from .balancing import Balancing
from .choose import balance_best
from .search import make_objective
from .search import search as search_thresholds
from .trace import trace
from .tracing.reading import Model

_LEAST_ERROR = Balancing(thresholds="error", v_init="best", calibrate="bias")
METHODS = {
    "paper": (Balancing(),),
    "low-latency": (dataclasses.replace(_LEAST_ERROR, channelwise=True), _LEAST_ERROR),
}
"""How thresholds are found: as Han, Srinivasan and Roy do (CVPR 2020), or so that few steps suffice. Of several ways the one
is kept that `balance_best` finds best."""
ENCODINGS = {"paper": "poisson", "low-latency": "current"}
"""What the input is unless the caller says otherwise."""


def convert(
    model: Model,
    images: np.ndarray,
    *,
    steps: int = 16,
    method: str = "low-latency",
    encoding: Encoding | None = None,
    pooling: str = "fold",
    readout: Readout = "potential",
    search: str | None = None,
    labels: np.ndarray | None = None,
    seed: int = 0,
    name: str = "network",
    class_names: tuple[str, ...] = (),
    progress: bool = False,
    **changes: Any,
) -> SpikingNetwork:
    """Convert a PyTorch network to a float RMP spiking network.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
        Any feed-forward network that `rmp_lava.check` finds nothing against.
    images : numpy.ndarray
        Training images (N, C, H, W) in [0, 1] for the thresholds, of all classes, in any order; never test images.
    steps : int
        T, for which the thresholds are chosen.
    method : {"low-latency", "paper"}
        See `METHODS`.
    encoding : {"current", "poisson", "rate"} or None
        None: what the method says in `ENCODINGS`.
    pooling : {"fold", "layer"}
        See `rmp_lava.conversion.trace.trace`.
    readout : {"potential", "count"}
        Integrate the last layer's input, or let it spike and count.
    search : {"outputs", "accuracy"} or None
        What thresholds and initial potentials are then searched for, see `rmp_lava.conversion.search`; takes several times
        as long.
    labels : numpy.ndarray, optional
        int64 (N,) classes of the images; only a search for accuracy needs them.
    seed : int
    name, class_names
        Kept in the network.
    progress : bool
        Show a progress bar on a terminal.
    **changes
        Fields of `rmp_lava.conversion.balancing.Balancing` that differ from the method's: thresholds, percentile, alpha,
        v_init, reset, channelwise, calibrate.

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
    ways = choose_ways(method, **changes)
    encoding = ENCODINGS[method] if encoding is None else encoding
    if encoding not in ("poisson", "rate", "current"):
        raise UsageError(f"encoding is {encoding!r}; choose 'poisson', 'rate' or 'current'")
    if readout not in ("potential", "count"):
        raise UsageError(f"readout is {readout!r}; choose 'potential' or 'count'")
    images = np.asarray(images)
    source = make_input(encoding, images.shape[1:])
    network = trace(model, source, images, pooling=pooling, readout=readout)
    network = network.replace(name=name, class_names=class_names)
    images = check_images(images, source)
    # Some passes look at the first of them only, and the caller's may be sorted by class.
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order], labels if labels is None else np.asarray(labels)[order]
    objective = None if search is None else make_objective(search, network, images, labels)
    balanced = balance_best(network, images, steps, ways, seed=seed, progress=progress)
    if objective is None:
        return balanced
    return search_thresholds(balanced, objective, steps, seed=seed, progress=progress)


def choose_ways(method: str, **changes: Any) -> tuple[Balancing, ...]:
    """The ways of a method with some fields changed, each once.

    Raises
    ------
    UsageError
        For what is not allowed, or would change nothing and so was meant otherwise.
    """
    if method not in METHODS:
        raise UsageError(f"method is {method!r}; choose one of {', '.join(map(repr, METHODS))}")
    ways = METHODS[method]
    if changes.get("thresholds", ways[0].thresholds) != "error" and ways[0].v_init == "best":
        changes.setdefault("v_init", "half")  # the best one is found with least-error thresholds only
    if changes.get("thresholds") in ("v_in", "tuned"):
        changes.setdefault("channelwise", False)  # these are of whole layers
    changed = [dataclasses.replace(way, **changes) for way in ways]
    thresholds = changed[0].thresholds
    if "percentile" in changes and thresholds not in ("v_in", "activation"):
        raise UsageError(
            f"percentile is given, but thresholds {thresholds!r} take none; choose thresholds 'activation' or 'v_in' with it"
        )
    return tuple(way for i, way in enumerate(changed) if way not in changed[:i])
