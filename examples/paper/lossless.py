"""Many time steps: accuracy against the trained network's once firing rates in Loihi's integers have settled.

Pixels are currents: the claim is about the neuron, and the noise of Poisson spikes would hide a loss of a few tenths of a
point. The paper's thresholds, as in `resets` at alpha 1, are the largest input sums. Where these are far above typical sums,
rates are low and settle late, so there is a second experiment, with this package's thresholds of least squared error.
"""

from __future__ import annotations

from typing import Any

from .lab import Lab, Trained, curve

OPTIONS: dict[str, dict[str, Any]] = {
    "lossless": {"method": "paper", "balanced_steps": 64},
    "settled": {"balanced_steps": 256, "calibration": 64},
}
"""Currents are constant, so 64 steps of balancing reach the largest sums; least errors are found on fewer images."""


def measure_lossless(
    lab: Lab, trained: Trained, steps: int, experiment: str = "lossless", images: int | None = None
) -> dict[str, Any]:
    """JSON values of a curve over `steps` time steps: integers, 8-bit weights, soft reset, current encoding.

    `experiment` is 'lossless' for the paper's thresholds, 'settled' for those of least error. "trained" is the accuracy of the
    trained network on the same images.
    """
    (row,) = lab.rows(trained, experiment, images=images, steps=steps, encoding="current", **OPTIONS[experiment])
    return curve(row) | {"trained": row.trained}
