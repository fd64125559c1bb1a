"""Soft against hard reset: accuracy over time steps at several thresholds, and what spikes it takes.

As in Han, Srinivasan and Roy (CVPR 2020, section 5): the threshold is alpha times the largest input sum on training
images, initial potentials are 0, pixels are Poisson spikes or, on request, currents. Here the networks that run are Loihi's
integers; one pair is also run in floating point, as the paper did.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rmp_lava.conversion import convert
from rmp_lava.conversion.quantize import quantize
from rmp_lava.network import SpikingNetwork

from .curves import Curve, simulate
from .material import Material, Trained, trained_accuracy
from .store import Store

ALPHAS = (1.0, 0.7, 0.5, 0.3)
BALANCED_OVER = 256
"""Steps over which the largest input sums are looked for: Poisson spikes reach deep layers late."""
BALANCED_IMAGES = 64
"""Calibration images that are simulated for so many steps."""


def measure_resets(
    store: Store,
    trained: Trained,
    material: Material,
    steps: int,
    *,
    alphas: tuple[float, ...] = ALPHAS,
    encoding: str = "poisson",
) -> dict[str, Any]:
    """Curves of both resets in integers at each alpha, and of the soft reset in real numbers at the first.

    Returns
    -------
    dict
        "images": how many; "encoding"; "trained": accuracy of the trained network on them; "curves": name -> JSON values of the
        curve; "pairs": one entry for each alpha, see `compare`.
    """
    accuracy = trained_accuracy(store, trained, material)["accuracy"]
    curves: dict[str, Curve] = {}
    folder = f"{trained.name}/resets-{encoding}"
    for alpha in alphas:
        for reset in ("soft", "hard"):
            floating, identity = store.network(
                f"{folder}/{reset}-{alpha:g}/network",
                trained.identity
                | material.calibrated
                | {"alpha": alpha, "reset": reset, "over": BALANCED_OVER, "of": BALANCED_IMAGES},
                lambda alpha=alpha, reset=reset: _convert(trained, material, alpha, reset, encoding),
            )
            for form in ("integer", "float") if alpha == alphas[0] and reset == "soft" else ("integer",):
                name = f"{reset}-{alpha:g}-{form}"
                network = quantize(floating, steps=steps) if form == "integer" else floating
                curves[name] = simulate(store, f"{folder}/{name}", network, material, steps, identity)
    chance = float(np.bincount(material.labels).max() / len(material.labels))
    pairs = [
        compare(alpha, curves[f"soft-{alpha:g}-integer"], curves[f"hard-{alpha:g}-integer"], accuracy, chance)
        for alpha in alphas
    ]
    return {
        "images": len(material.test),
        "encoding": encoding,
        "trained": accuracy,
        "curves": {name: curve.plain() for name, curve in curves.items()},
        "pairs": pairs,
    }


def _convert(trained: Trained, material: Material, alpha: float, reset: str, encoding: str) -> SpikingNetwork:
    return convert(
        trained.model,
        material.calibration[:BALANCED_IMAGES],
        steps=BALANCED_OVER,
        method="paper",
        alpha=alpha,
        reset=reset,
        encoding=encoding,
        name=trained.name,
        progress=True,
    )


def compare(alpha: float, soft: Curve, hard: Curve, trained: float, chance: float = 0.0) -> dict[str, Any]:
    """When soft reset is as good as hard reset ever becomes.

    `chance` is the accuracy of naming one class always. Hard reset that is never better has no step at which it is at its best.

    Returns
    -------
    dict
        "hard_best" and "hard_steps": the best accuracy of hard reset and the first step at which it is reached, None if that
        is chance; "soft_steps": the first step at which soft reset reaches it and is better than chance, None if there is none;
        "times_sooner": their ratio; "soft_best": of all steps;
        "soft_near", "hard_near": the first step within one point of the trained network, None if there is none;
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
        "times_sooner": None if None in (soft_steps, hard_steps) else hard_steps / soft_steps,
        "soft_best": float(soft.accuracy.max()),
        "soft_near": soft.first_reaching(trained - 0.01),
        "hard_near": hard.first_reaching(trained - 0.01),
        "soft_rate": sum(soft.rates.values()) / len(soft.rates),
        "hard_rate": sum(hard.rates.values()) / len(hard.rates),
    }
