"""Many time steps: what is left of the trained network's accuracy when rates in Loihi's integers have had time to settle.

The pixel is a current: the claim is about the neuron, and Poisson spikes would add noise of their own that hides a loss of a
few tenths of a point. The paper's thresholds, as in `resets` at alpha 1, are the largest input sums; where those lie far above
the others, rates stay low and settle late, so there is a second way, with this package's thresholds of least squared error.
"""

from __future__ import annotations

from typing import Any

from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.quantize import quantize
from rmp_lava.network import SpikingNetwork

from .curves import simulate
from .material import Material, Trained, trained_accuracy
from .store import Store

BALANCED_OVER = {"lossless": 64, "settled": 256}
"""Steps that thresholds are set with. A current is the same in each, so the largest sums need few."""
LEAST_ERROR_IMAGES = 64
"""Calibration images that are simulated for so many steps."""


def measure_lossless(
    store: Store, trained: Trained, material: Material, steps: int, experiment: str = "lossless"
) -> dict[str, Any]:
    """JSON values of the `Curve` over `steps` time steps: integers, 8-bit weights, soft reset, current encoding.

    `experiment` is 'lossless' for the paper's thresholds, 'settled' for those of least error. "trained" is the accuracy of the
    trained network on the same images.
    """
    key, over = f"{trained.name}/{experiment}", BALANCED_OVER[experiment]
    settings = {"over": over, "steps": steps}
    options: dict[str, Any] = {"method": "paper"}
    images = material.calibration
    if experiment == "settled":
        options, images = {}, images[:LEAST_ERROR_IMAGES]
        settings["of"] = len(images)

    def make() -> SpikingNetwork:
        conversion = convert(
            trained.model, images, steps=over, encoding="current", name=trained.name, progress=True, **options
        )
        return quantize(conversion.floating, steps=steps)

    network, identity = store.network(f"{key}/network", trained.identity | material.calibrated | settings, make)
    accuracy = trained_accuracy(store, trained, material)["accuracy"]
    return simulate(store, key, network, material, steps, identity).plain() | {"trained": accuracy}
