"""Many time steps: what is left of the trained network's accuracy when rates in Loihi's integers have had time to settle.

The paper's recipe as in `resets`, at alpha 1, but with the pixel as a current: the claim is about the neuron, and Poisson spikes
would add the noise of their own that hides a loss of a few tenths of a point.
"""

from __future__ import annotations

from typing import Any

from rmp_lava.conversion import convert
from rmp_lava.conversion.quantize import quantize
from rmp_lava.network import SpikingNetwork

from .curves import simulate
from .material import Material, Trained
from .store import Store

BALANCED_OVER = 64
"""Steps over which the largest input sums are looked for; a current is the same in each."""


def measure_lossless(store: Store, trained: Trained, material: Material, steps: int) -> dict[str, Any]:
    """JSON values of the `Curve` over `steps` time steps: integers, 8-bit weights, soft reset, current encoding."""
    key = f"{trained.name}/lossless"
    network, identity = store.network(
        f"{key}/network",
        trained.identity | material.calibrated | {"over": BALANCED_OVER, "steps": steps},
        lambda: _convert(trained, material, steps),
    )
    return simulate(store, key, network, material, steps, identity).plain()


def _convert(trained: Trained, material: Material, steps: int) -> SpikingNetwork:
    network = convert(
        trained.model,
        material.calibration,
        steps=BALANCED_OVER,
        method="paper",
        encoding="current",
        name=trained.name,
        progress=True,
    )
    return quantize(network, steps=steps)
