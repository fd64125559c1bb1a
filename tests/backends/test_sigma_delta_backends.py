"""Sigma-delta networks: the reference, backend fast, Lava's own Processes and lava-dl's unmodified loader send equal messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import EVERYTHING, assert_same_run, networks, seeds

from rmp_lava.backends import Fast, run
from rmp_lava.network import Input, SigmaDelta, SpikingNetwork


@st.composite
def sigma_delta_networks(draw, **restrictions) -> SpikingNetwork:
    """The structures of `networks` with sigma-delta populations."""
    plain = draw(networks(encodings=("spikes",), resets=("soft",), **restrictions))
    random = np.random.default_rng(draw(seeds))
    exponents = {name: draw(st.sampled_from([6, 6, 0, 7])) for name in ("spike_exponent", "state_exponent")}

    def neurons(shape: tuple[int, ...], reset: str = "soft", biased: bool = True) -> SigmaDelta:
        shapes = [(), shape[:1], shape] if biased and reset == "soft" else []
        bias = random.integers(-40, 60, draw(st.sampled_from(shapes))) if shapes and draw(st.booleans()) else None
        return SigmaDelta(draw(st.sampled_from([0, 0, 1, 6, 300])), reset, bias=bias, **exponents)

    layers = [layer.replace(neurons=neurons(layer.shape)) for layer in plain]
    if draw(st.booleans()):
        layers[-1] = layers[-1].replace(neurons=neurons(layers[-1].shape, "none"))
    shape = plain.input.shape
    source = Input(shape, draw(st.sampled_from(["frames", "current"])), 255, neurons(shape, biased=False))
    readout = draw(st.sampled_from(["count", "potential"])) if layers[-1].neurons.reset == "soft" else "potential"
    return SpikingNetwork("random", source, tuple(layers), "integer", readout)


def frames_for(network: SpikingNetwork, frames: int, seed: int, samples: int = 2) -> np.ndarray:
    """Videos of which little changes from one frame to the next; still images for 0 frames."""
    random, shape = np.random.default_rng(seed), network.input.shape
    low = 0 if network.input.encoding == "current" else -255
    images = random.integers(low, 256, (samples, max(1, frames), *shape))
    still = random.random(images.shape) < 0.7
    for t in range(1, frames):
        images[:, t] = np.where(still[:, t], images[:, t - 1], images[:, t])
    images = images if frames else images[:, 0]
    return images / np.float32(255) if network.input.encoding == "current" else images


@pytest.mark.filterwarnings("ignore:sums of layer")
@given(sigma_delta_networks(), st.integers(0, 5), st.integers(0, 4), seeds)
def test_fast_equals_the_reference(network, frames, more, seed):
    images, steps = frames_for(network, frames, seed), max(1, frames + more)
    expected = run(network, images, steps, "reference", record=EVERYTHING)
    for backend in (Fast(),):
        result = run(network, images, steps, backend, record=EVERYTHING)
        assert_same_run(result, expected)
        np.testing.assert_array_equal(result.predictions_at, expected.predictions_at)
        assert dict(result.potential_ranges) == dict(expected.potential_ranges)
        assert result.limits_reached() == expected.limits_reached()
