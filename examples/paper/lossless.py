"""Many time steps: accuracy against the trained network's once firing rates in Loihi's integers have settled.

Pixels are currents: the claim is about the neuron, and the noise of Poisson spikes would hide a loss of a few tenths of a
point. The paper's thresholds, as in `resets` at alpha 1, are the largest input sums. Where these are far above typical sums,
rates are low and settle late, so there is a second experiment, with this package's thresholds of least squared error.
"""

from __future__ import annotations

from typing import Any

from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.quantize import quantize
from rmp_lava.network import SpikingNetwork

from .curves import simulate
from .dataset import Images, Trained, trained_accuracy
from .store import Store

BALANCED_OVER = {"lossless": 64, "settled": 256}
"""Time steps over which thresholds are balanced. Currents are constant, so few steps reach the largest sums."""
LEAST_ERROR_IMAGES = 64
"""Calibration images that are simulated for `BALANCED_OVER` steps."""


def measure_lossless(
    store: Store, trained: Trained, data: Images, steps: int, experiment: str = "lossless"
) -> dict[str, Any]:
    """JSON values of the `Curve` over `steps` time steps: integers, 8-bit weights, soft reset, current encoding.

    `experiment` is 'lossless' for the paper's thresholds, 'settled' for those of least error. "trained" is the accuracy of the
    trained network on the same images.
    """
    key, over = f"{trained.name}/{experiment}", BALANCED_OVER[experiment]
    settings = {"over": over, "steps": steps}
    options: dict[str, Any] = {"method": "paper"}
    images = data.calibration
    if experiment == "settled":
        options, images = {}, images[:LEAST_ERROR_IMAGES]
        settings["of"] = len(images)

    def make() -> SpikingNetwork:
        conversion = convert(
            trained.model, images, steps=over, encoding="current", name=trained.name, progress=True, **options
        )
        return quantize(conversion.floating, steps=steps)

    network, identity = store.network(f"{key}/network", trained.identity | data.calibrated | settings, make)
    accuracy = trained_accuracy(store, trained, data)["accuracy"]
    return simulate(store, key, network, data, steps, identity).plain() | {"trained": accuracy}
