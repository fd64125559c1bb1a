"""Plots of what the package computes, as functions of its own objects; the report draws with them.

    rmp_lava.plot.accuracy(result, labels)                      # accuracy against T, of one run or several
    rmp_lava.plot.raster(network, result, images=images)        # spikes of a run that recorded them
    rmp_lava.plot.rates(rmp_lava.compare_rates(network, model, images, steps=8))
    rmp_lava.plot.activity(network, result)                     # spikes and synaptic operations per layer
    rmp_lava.plot.network(network)                              # layers and synapses
    rmp_lava.plot.cores(rmp_lava.map_network(network, "oheo_gulch"))
    rmp_lava.plot.energy(rmp_lava.estimate(network, result, "oheo_gulch"))
    rmp_lava.plot.study(rows)                                   # accuracy of a study's rows against T, with spread
    rmp_lava.plot.frontier(found, "latency")                    # conversions for several (T, wait)

Each returns a matplotlib figure, which a notebook shows and `savefig` writes: a new one of `width` inches, for a phone below 5.5,
or the one of `ax`, a matplotlib.axes.Axes, inside which it draws. None of them needs pyplot or changes a setting of
matplotlib's. Layers have the same colour in all plots. They need the extra `report`.
"""

from __future__ import annotations

from ..errors import UsageError

try:
    import matplotlib  # noqa: F401
except ImportError:
    raise UsageError(
        'plots need matplotlib, which this Python does not have; install the extra: pip install ".[report]"'
    ) from None

from .bars import activity
from .clouds import rates
from .core_map import cores
from .curves import accuracy, frontier
from .diagram import network
from .energy_bars import energy
from .spikes import raster
from .studies import study

__all__ = ["accuracy", "activity", "cores", "energy", "frontier", "network", "raster", "rates", "study"]
