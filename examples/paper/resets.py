"""Soft and hard reset: accuracy over time steps at several thresholds, and the spikes needed.

As in Han, Srinivasan and Roy (CVPR 2020, section 5): the threshold is alpha times the largest input sum on training
images, initial potentials are 0, pixels are Poisson spikes or, on request, currents. Here the networks hold Loihi's
integers; one pair is also run in floating point, as the paper did. Hard reset is run twice: with thresholds that were balanced
with its own spikes, and with those of soft reset, so that only the reset differs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.quantize import quantize
from rmp_lava.network import Layer, SpikingNetwork

from .curves import Curve, simulate
from .dataset import Images, Trained, trained_accuracy
from .store import Store

ALPHAS = (1.0, 0.7, 0.5, 0.3)
THRESHOLDS = {"own": "hard", "soft": "shared"}
"""Thresholds of hard reset, balanced with its own spikes or those of soft reset -> prefix of the names of its curves."""
SHARES = (0.5, 0.75, 0.9, 0.95)
"""Shares of the trained network's accuracy at which the resets are compared."""
BALANCED_OVER = 256
"""Time steps over which the largest input sums are searched; Poisson spikes reach deep layers late."""
BALANCED_IMAGES = 64
"""Calibration images that are simulated for `BALANCED_OVER` steps."""


def measure_resets(
    store: Store,
    trained: Trained,
    data: Images,
    steps: int,
    *,
    alphas: tuple[float, ...] = ALPHAS,
    encoding: str = "poisson",
    thresholds: tuple[str, ...] = tuple(THRESHOLDS),
) -> dict[str, Any]:
    """Curves of both resets in integers at each alpha, and of soft reset in floating point at the first alpha.

    `thresholds` are keys of `THRESHOLDS`: the thresholds that hard reset runs with.

    Returns
    -------
    dict
        "images": how many; "encoding"; "trained": accuracy of the trained network on them; "curves": name -> JSON values of the
        curve; "pairs": for each alpha one entry for each kind of thresholds, see `compare`.
    """
    accuracy = trained_accuracy(store, trained, data)["accuracy"]
    curves: dict[str, Curve] = {}
    folder = f"{trained.name}/resets-{encoding}"
    pairs = []
    chance = float(np.bincount(data.labels).max() / len(data.labels))

    def balanced(alpha: float, reset: str) -> tuple[SpikingNetwork, dict[str, Any]]:
        settings = {"alpha": alpha, "reset": reset, "over": BALANCED_OVER, "of": BALANCED_IMAGES}
        return store.network(
            f"{folder}/{reset}-{alpha:g}/network",
            trained.identity | data.calibrated | settings,
            lambda: _convert(trained, data, alpha, reset, encoding),
        )

    def simulated(name: str, network: SpikingNetwork, identity: dict[str, Any]) -> Curve:
        curves[name] = simulate(store, f"{folder}/{name}", network, data, steps, identity)
        return curves[name]

    for alpha in alphas:
        floating, identity = balanced(alpha, "soft")
        soft_network = quantize(floating, steps=steps)
        soft = simulated(f"soft-{alpha:g}-integer", soft_network, identity)
        if alpha == alphas[0]:
            simulated(f"soft-{alpha:g}-float", floating, identity)
        for kind in thresholds:
            name = f"{THRESHOLDS[kind]}-{alpha:g}-integer"
            if kind == "own":
                floating, own = balanced(alpha, "hard")
                hard = simulated(name, quantize(floating, steps=steps), own)
            else:
                hard = simulated(name, with_hard_reset(soft_network), identity | {"then": "hard"})
            pairs.append({"thresholds": kind} | compare(alpha, soft, hard, accuracy, chance))
    return {
        "images": len(data.test),
        "encoding": encoding,
        "trained": accuracy,
        "curves": {name: curve.plain() for name, curve in curves.items()},
        "pairs": pairs,
    }


def with_hard_reset(network: SpikingNetwork) -> SpikingNetwork:
    """The same integer network with hard reset, except for a read-out that integrates."""

    def change(layer: Layer) -> Layer:
        if layer.neurons.reset != "soft" or (layer is network.output and network.integrates):
            return layer
        return layer.replace(neurons=layer.neurons.replace(reset="hard"))

    return network.map_layers(change)


def _convert(trained: Trained, data: Images, alpha: float, reset: str, encoding: str) -> SpikingNetwork:
    return convert(
        trained.model,
        data.calibration[:BALANCED_IMAGES],
        steps=BALANCED_OVER,
        method="paper",
        alpha=alpha,
        reset=reset,
        encoding=encoding,
        name=trained.name,
        progress=True,
    ).floating


def compare(alpha: float, soft: Curve, hard: Curve, trained: float, chance: float = 0.0) -> dict[str, Any]:
    """The time step at which soft reset reaches the best accuracy of hard reset.

    `chance` is the accuracy of always predicting the same class. A curve that never exceeds it has no step of best accuracy.

    Returns
    -------
    dict
        "hard_best" and "hard_steps": the best accuracy of hard reset and the first step at which it is reached, None if that
        is chance; "soft_steps": the first step at which soft reset reaches it and is better than chance, None if there is none;
        "step_ratio": hard_steps / soft_steps; "step_ratio_at": the same ratio at each of `SHARES` of the trained network's
        accuracy, which depends less on noise than the best of many steps; "soft_best": of all steps;
        "soft_rate", "hard_rate": spikes per neuron and step, the mean over layers.
    """
    best = float(hard.accuracy.max())
    better_than_chance = float(np.nextafter(chance, 1))
    hard_steps = hard.first_reaching(best) if best > chance else None
    soft_steps = soft.first_reaching(max(best, better_than_chance))
    return {
        "alpha": alpha,
        "hard_best": best,
        "hard_steps": hard_steps,
        "soft_steps": soft_steps,
        "step_ratio": _ratio(hard_steps, soft_steps),
        "step_ratio_at": {
            f"{share:g}": _ratio(hard.first_reaching(share * trained), soft.first_reaching(share * trained))
            for share in SHARES
        },
        "soft_best": float(soft.accuracy.max()),
        "soft_rate": sum(soft.rates.values()) / len(soft.rates),
        "hard_rate": sum(hard.rates.values()) / len(hard.rates),
    }


def _ratio(hard_steps: int | None, soft_steps: int | None) -> float | None:
    return None if hard_steps is None or soft_steps is None else hard_steps / soft_steps
