"""Records and provenance are logs: with both emptied after each pass, the whole pipeline gives the same networks and figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import rmp_lava
from rmp_lava.backends.loihi2 import lowering_report
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import Balancing
from rmp_lava.conversion.distillation import Learning
from rmp_lava.conversion.fidelity import measure_layers
from rmp_lava.conversion.headroom import board_ranges
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.restore import restore
from rmp_lava.conversion.scale import unscale
from rmp_lava.conversion.search import make_objective, search
from rmp_lava.conversion.trace import trace
from rmp_lava.conversion.tune import tune
from rmp_lava.encoding import make_input
from rmp_lava.hardware import estimate, map_network
from rmp_lava.network import SpikingNetwork

IMAGES = np.random.default_rng(0).random((24, 1, 8, 8), dtype=np.float32)
LABELS = np.arange(24) % 4
STEPS = 6


def emptied(network: SpikingNetwork) -> SpikingNetwork:
    return network.map_layers(lambda layer: layer.replace(record={})).replace(provenance={})


def kept(network: SpikingNetwork) -> SpikingNetwork:
    return network


def model() -> nn.Module:
    torch.manual_seed(1)
    layers = (nn.Conv2d(1, 6, 3, padding=1), nn.ReLU6(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 4)).eval()


def whole_way(after, folder) -> list:
    """Every pass once, each on what the one before it left after `after`."""
    source = make_input("current", (1, 8, 8))
    analog = after(trace(model(), source, IMAGES))
    balanced = after(balance(analog, IMAGES, STEPS, Balancing(thresholds="error", v_init="best", calibrate="bias")))
    searched = after(search(balanced, make_objective("outputs", analog, IMAGES, None), STEPS))
    tuned = tune(unscale(searched), IMAGES, LABELS, STEPS, Learning(epochs=1, batch_size=8), teachers=[analog])
    again = after(balance(after(tuned.network), IMAGES, STEPS, Balancing(thresholds="tuned", v_init="half")))
    integer = after(quantize(again, ranges=board_ranges(again, IMAGES, STEPS), steps=4 * STEPS))
    rmp_lava.save(integer, folder / "a.net")
    loaded = after(rmp_lava.load(folder / "a.net"))
    restored = after(restore(loaded))
    result = rmp_lava.run(loaded, IMAGES, STEPS, rmp_lava.Fast(confidence=0.6), record=("spikes", "potentials"))
    fidelity = measure_layers(tuned.network, again, integer, IMAGES, STEPS)
    networks = [analog, balanced, searched, again, integer, loaded, restored]
    figures = [
        map_network(loaded, "oheo_gulch"),
        estimate(loaded, result, "oheo_gulch"),
        lowering_report(loaded, STEPS),
    ]
    return [*map(emptied, networks), result, fidelity, *figures]


@pytest.mark.slow
def test_passes_decide_by_fields_alone(tmp_path):
    for one, other in zip(whole_way(kept, tmp_path), whole_way(emptied, tmp_path), strict=True):
        assert one == other, type(one).__name__
