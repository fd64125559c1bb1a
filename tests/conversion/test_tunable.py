"""The network that tuning trains has the numbers, the spikes and the outputs of the integer network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from profiles import examples
from strategies import networks, seeds
from tuned import as_spiking, residual, simulated

from rmp_lava.backends import run
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.fake_quantize import attach_quantizers
from rmp_lava.conversion.headroom import native_ranges
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.tunable import TunableNetwork
from rmp_lava.errors import ConversionError
from rmp_lava.hardware import load_profile
from rmp_lava.network import INPUT
from rmp_lava.network.pooling import repeat_in_blocks
from rmp_lava.registers import to_weight_units

pytestmark = pytest.mark.usefixtures("one_thread")

LOIHI2 = load_profile("loihi2")


@given(
    networks(integer=False, encodings=("current",), resets=("soft",)),
    seeds,
    st.sampled_from(["stock", "free"]),
    st.sampled_from([40.0, 400.0]),
    st.sampled_from([1, 20, 1000]),
    st.sampled_from([8, 4]),
)
@settings(max_examples=examples(80))
def test_fake_quantised_numbers_are_those_of_quantize(network, seed, form, peak, larger, bits):
    """Weights of some synapses are up to `larger` times as large, so that quantize gives them exponents."""
    rng = np.random.default_rng(seed)
    nonzero = lambda w: np.where(np.any(w), w, w + np.float32(0.5)) * np.float32(larger ** rng.choice([0, 1]))  # noqa: E731
    network = network.map_layers(
        lambda layer: layer.replace(synapses=tuple(s.replace(weight=nonzero(s.weight)) for s in layer.synapses))
    )
    assume(all(len({s.source == INPUT for s in layer.synapses}) == 1 for layer in network))
    values = {layer.name: float(np.float32(rng.uniform(0.3, 3))) for layer in network}
    profile = LOIHI2.with_weight_bits(bits)
    try:
        whole = quantize(as_spiking(network, values, peak).replace(balanced_steps=8), profile, threshold_form=form)
    except ConversionError:
        assume(False)  # too little is left of a layer, which `test_quantize` covers
    analog = AnalogNetwork(network)
    attach_quantizers(
        analog,
        whole.input.levels,
        lambda n: 1.0 if n == INPUT else values[n],
        peak,
        8,
        profile,
        form,
        dict.fromkeys(values, np.inf),
    )
    for module, layer in zip(analog.layers, whole, strict=True):
        weights, bias = module.parameters_in_use()
        scale, levels = layer.record["scale"], layer.record["input_levels"]
        for synapse, weight in zip(layer.synapses, weights, strict=True):
            value = 1.0 if synapse.source == INPUT else values[synapse.source]
            found = weight.detach().numpy() * value * scale
            if found.shape != synapse.weight.shape:
                found = repeat_in_blocks(found, synapse.weight.shape[-1] // found.shape[-1])
            np.testing.assert_allclose(found, synapse.shifted_weight, rtol=1e-5, atol=1e-3)
        if bias is not None:
            offset = whole.output_offset if layer is whole.output else 0
            units = to_weight_units(layer.neurons.bias * 2.0**layer.neurons.bias_exponent - offset)
            np.testing.assert_allclose(bias.detach().numpy() * scale * levels, units, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_unrolled_network_computes_what_the_integer_network_does(steps):
    """All of it at once: levels of the image, 8-bit weights, biases, thresholds, every spike, the read-out.

    Its thresholds happen to be even; half of an odd one is rounded, half a weight unit that tuning does not know of.
    """
    network, values = residual(), {"a.conv": 0.8, "b": 0.9, "c": 1.3}
    images = np.random.default_rng(1).random((20, 2, 6, 6), dtype=np.float32)
    peak = 12.0
    floating = as_spiking(network, values, peak * steps)
    ranges = native_ranges(floating.replace(wait=steps), images, steps)  # what a layer gathers in 7 steps needs room
    whole = quantize(floating, "loihi2", ranges=ranges)
    assert whole.input.levels < 255 and all(layer.neurons.threshold % 2 == 0 for layer in whole.layers[:-1])
    model = TunableNetwork(network, steps, values, peak, LOIHI2, "stock", ranges)
    assert model.levels == whole.input.levels
    thresholds = [[layer.neurons.threshold for layer in each] for each in (whole, quantize(floating, "loihi2"))]
    assert thresholds[0] != thresholds[1]
    model.use("spikes")
    output = whole.output.record
    scale = output["scale"] * output["input_levels"] * steps
    expected = simulated(whole, images, steps) / scale
    with torch.no_grad():
        found = model(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        for wait in range(1, steps):
            model.use("spikes", wait)
            found = model(torch.from_numpy(images)).numpy()
            output = to_weight_units(run(whole.replace(wait=wait), images, steps, "reference").output)
            np.testing.assert_allclose(found, output / scale, rtol=1e-4, atol=1e-4)
        model.use("rates")
        waiting = run(whole.replace(wait=steps), images, steps)
        reached = to_weight_units(waiting.output) / scale
        np.testing.assert_allclose(model(torch.from_numpy(images)).numpy(), reached, rtol=1e-4, atol=1e-4)
        assert not np.allclose(model(torch.from_numpy(images)).numpy(), expected, atol=1e-2) or steps == 1


def test_unrolled_network_without_rounding_is_the_float_definition():
    network, values = residual(3), {"a.conv": 0.75, "b": 1.0, "c": 1.25}
    images = np.random.default_rng(1).random((6, 2, 6, 6), dtype=np.float32)
    model = TunableNetwork(network, 5, values, 12.0, LOIHI2, "stock")
    model.use("spikes")
    for module in model.analog.layers:
        module.quantizer = None
    with torch.no_grad():
        found = model.analog(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, simulated(as_spiking(network, values), images, 5) / 5, rtol=1e-4, atol=1e-5)
