"""Rungs that run whole networks in their deployed form: what the small rungs have shown, all at once."""

from __future__ import annotations

import numpy as np

from ..network import SpikingNetwork
from .execute import Trial
from .rung import Rung

DIGITS_STEPS = 8
"""With as many blank steps, in the middle of which stock neurons are reset once more."""
VGG_STEPS = 6
"""With two blank steps a period of 8, without a second reset; more steps would lower the full network's potentials too far."""
NARROW, FULL = 1 / 16, 1 / 2
"""Widths of VGG-16."""
REASON = "the definition of the neuron gives these spikes (backend reference); it is independent of Lava and of self-synapses"
MEANS = "each part passed alone, so the cause is how they work together: the layer's size, or the order in which input arrives"


def digits() -> Rung:
    from .. import zoo
    from ..training.data import load

    return Rung(
        "digits",
        "a trained residual network of ten layers on two digits",
        Trial(zoo.load("digits-deep"), np.asarray(load("digits").test_images[:2]), DIGITS_STEPS),
        REASON,
        MEANS,
        "end the network before this layer and run it again; see docs/loihi.md, traps",
    )


def vgg16(width: float = NARROW) -> Rung:
    """Untrained, which does not matter to this test; balanced, so that every layer spikes."""
    return Rung(
        "vgg16",
        f"VGG-16 at {width:g} of its width, untrained, on one image",
        Trial(_vgg16(width), _blobs(1, seed=1), VGG_STEPS),
        REASON,
        MEANS,
        "run rmp-lava fit on a network of that size; see docs/loihi.md, traps",
    )


def _vgg16(width: float) -> SpikingNetwork:
    import torch

    from ..conversion.pipeline import convert
    from ..conversion.quantization import Quantization
    from ..training.models import MODELS

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS["vgg16-cifar"].build(width=width).eval()
    for_board = Quantization(for_board=True)
    images = _blobs(8, seed=0)
    return convert(model, images, steps=VGG_STEPS, encoding="rate", v_init="half", quantization=for_board).integer


def _blobs(count: int, seed: int) -> np.ndarray:
    """Images (count, 3, 32, 32) of coarse patches: a deep network averages out noise between pixels."""
    coarse = np.random.default_rng(seed).random((count, 3, 4, 4), dtype=np.float32)
    return coarse.repeat(8, axis=2).repeat(8, axis=3)
