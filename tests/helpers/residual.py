"""The network of the tests of pictures and pages."""

from __future__ import annotations

import numpy as np

from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork


def small(
    *, name: str = "small", layer: str = "a", encoding: str = "current", steps: int = 6, **more
) -> SpikingNetwork:
    """A residual network of a few neurons, in integers."""
    rng = np.random.default_rng(0)
    weight = lambda *shape: (2 * rng.integers(-40, 60, shape)).astype(np.int16)  # noqa: E731
    layers = (
        Layer(
            layer,
            (3, 5, 5),
            (Conv(INPUT, weight(3, 1, 3, 3), padding=(1, 1)),),
            Neurons(900 if encoding == "current" else 60),
        ),
        Layer("b", (3, 5, 5), (Conv(layer, weight(3, 3, 3, 3), padding=(1, 1)),), Neurons(200)),
        Layer("c", (4,), (Dense("b", weight(4, 75)), Dense(layer, weight(4, 75))), Neurons(400, reset="none")),
    )
    source = make_input(encoding, (1, 5, 5), levels=15 if encoding == "current" else None)
    return SpikingNetwork(name, source, layers, "integer", balanced_steps=steps, **more)
