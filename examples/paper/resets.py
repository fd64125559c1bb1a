"""Soft and hard reset: accuracy over time steps at several thresholds, and the spikes needed.

As in Han, Srinivasan and Roy (CVPR 2020, section 5): the threshold is alpha times the largest input sum on training
images, initial potentials are 0, pixels are Poisson spikes or, on request, currents. Here the networks hold Loihi's
integers; one pair is also run in floating point, as the paper did. Hard reset is run twice: with thresholds that were balanced
with its own spikes, and with those of soft reset, so that only the reset differs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rmp_lava.study.sweep import Row

from .lab import Lab, Trained, curve

ALPHAS = (1.0, 0.7, 0.5, 0.3)
THRESHOLDS = {"own": "hard", "soft": "shared"}
"""Thresholds of hard reset, balanced with its own spikes or those of soft reset -> `reset` of the grid."""
SHARES = (0.5, 0.75, 0.9, 0.95)
"""Shares of the trained network's accuracy at which the resets are compared."""
BALANCING = {"method": "paper", "balanced_steps": 256, "calibration": 64}
"""Time steps over which the largest input sums are searched, as Poisson spikes reach deep layers late; and images for it."""


def measure_resets(
    lab: Lab,
    trained: Trained,
    steps: int,
    *,
    images: int | None = None,
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
    options = BALANCING | {"images": images, "steps": steps, "encoding": encoding}
    resets = ("soft", *(THRESHOLDS[kind] for kind in thresholds))
    found = lab.rows(trained, "resets", alpha=alphas, reset=resets, **options)
    found += lab.rows(trained, "soft reset in float", alpha=alphas[0], reset="soft", form="float", **options)
    rows = {f"{row.axes['reset']}-{row.axes['alpha']:g}-{row.axes['form']}": row for row in found}
    accuracy, shown = found[0].trained, lab.plan(trained, images=images).labels
    chance = float(np.bincount(shown).max() / len(shown))
    return {
        "images": found[0].images,
        "encoding": encoding,
        "trained": accuracy,
        "curves": {name: curve(row) for name, row in rows.items()},
        "pairs": [
            {"thresholds": kind}
            | compare(
                alpha, rows[f"soft-{alpha:g}-integer"], rows[f"{THRESHOLDS[kind]}-{alpha:g}-integer"], accuracy, chance
            )
            for alpha in alphas
            for kind in thresholds
        ],
    }


def compare(alpha: float, soft: Row, hard: Row, trained: float, chance: float = 0.0) -> dict[str, Any]:
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
    best = float(hard.mean.max())
    better_than_chance = float(np.nextafter(chance, 1))
    hard_steps = _first(hard, best) if best > chance else None
    soft_steps = _first(soft, max(best, better_than_chance))
    return {
        "alpha": alpha,
        "hard_best": best,
        "hard_steps": hard_steps,
        "soft_steps": soft_steps,
        "step_ratio": _ratio(hard_steps, soft_steps),
        "step_ratio_at": {
            f"{share:g}": _ratio(_first(hard, share * trained), _first(soft, share * trained)) for share in SHARES
        },
        "soft_best": float(soft.mean.max()),
        "soft_rate": sum(soft.rates.values()) / len(soft.rates),
        "hard_rate": sum(hard.rates.values()) / len(hard.rates),
    }


def _first(row: Row, accuracy: float) -> int | None:
    """The first time step with at least this accuracy, None if there is none."""
    reached = np.flatnonzero(row.mean >= accuracy)
    return int(reached[0]) + 1 if len(reached) else None


def _ratio(hard_steps: int | None, soft_steps: int | None) -> float | None:
    return None if hard_steps is None or soft_steps is None else hard_steps / soft_steps
