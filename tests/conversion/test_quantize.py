"""Quantisation: ranges are kept, the threshold is exact, every loss is counted, and the spikes stay almost the same."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from rmp_lava.backends import run
from rmp_lava.choices import ThresholdForm, options
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import Balancing
from rmp_lava.conversion.quantize import quantize
from rmp_lava.encoding import make_input
from rmp_lava.errors import ConversionError, RmpLavaWarning, UsageError
from rmp_lava.hardware import load_profile
from rmp_lava.hardware.demand import weight_bits
from rmp_lava.network import INPUT, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.netx import lava_dl_obstacles
from rmp_lava.stock_weights import is_one_weight


def one_layer(weight, threshold=1.0, *, source="poisson", record=None, **neurons) -> SpikingNetwork:
    weight = np.asarray(weight, dtype=np.float32)
    layer = Layer("a", weight.shape[:1], (Dense(INPUT, weight),), Neurons(threshold, **neurons), record or {})
    readout = "potential" if neurons.get("reset") == "none" else "count"
    return SpikingNetwork("one", make_input(source, weight.shape[1:]), (layer,), "analog", readout)


def quantized(network, form="free", **options) -> Layer:
    return quantize(network, threshold_form=form, **options).layers[0]


@st.composite
def weights(draw):
    """Of one sign or two, over the whole range of float32 that a training could leave."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    weight = rng.normal(size=(draw(st.integers(1, 5)), draw(st.integers(1, 6))))
    kind = draw(st.sampled_from(["mixed", "positive", "negative", "skewed", "sparse"]))
    if kind in ("positive", "negative"):
        weight = np.abs(weight) * (1 if kind == "positive" else -1)
    elif kind == "skewed":
        weight = np.where(weight > 0, weight, weight / 1000)
    elif kind == "sparse":
        weight = np.where(rng.random(weight.shape) < 0.3, weight, 0)
    return (weight * 10.0 ** draw(st.integers(-30, 30))).astype(np.float32)


@given(
    weights(), st.floats(0.05, 200), st.sampled_from(options(ThresholdForm)), st.sampled_from(["poisson", "current"])
)
def test_ranges_are_kept_and_the_threshold_is_exact(weight, ratio, form, source):
    assume(weight.any())
    network = one_layer(weight, float(ratio * np.abs(weight).max()), source=source)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = quantize(network, threshold_form=form)
    if said:
        # A threshold of at most 254 that holds a pixel's levels too leaves a small weight nothing.
        assert "all weights of layer 'a' are rounded to zero next to a threshold" in str(said[0].message)
        assert (form, source) == ("dense_rec", "current") and ratio > 10
        return
    layer, levels = result.layers[0], result.input.largest_message
    found, threshold, scale = layer.synapses[0].weight, layer.neurons.threshold, layer.record["scale"]
    if weight.min() < 0 < weight.max():
        assert not (found % 2).any() and found.min() >= -256 and found.max() <= 254
        step = 2
    else:
        step, largest = (2, 254) if form == "dense_rec" else (1, 255)
        assert np.abs(found).max() <= largest and not (step == 2 and (found % 2).any())
    # Rounding is all that happens to a weight; clipping happens to none.
    assert np.abs(found - weight.astype(np.float64) * scale).max() <= step / 2 + 1e-6
    assert ((found == 0) | (np.sign(found) == np.sign(weight))).all()
    assert scale * network.layers[0].neurons.threshold * levels == pytest.approx(threshold, rel=1e-12)
    assert {"stock": is_one_weight(threshold), "dense_rec": threshold % 2 == 0 and threshold <= 254, "free": True}[form]
    assert 1 <= threshold <= 2**17 - 1


@given(weights(), st.floats(0.5, 20))
def test_weights_use_their_bits_fully(weight, ratio):
    assume(weight.any())
    network = one_layer(weight, float(ratio * np.abs(weight).max()))
    for form, least in (("free", 1.0), ("stock", 1 - 1 / 128)):
        found = quantized(network, form).synapses[0].weight
        # One threshold step (of at least 127) is lost to the floor; the largest weight then rounds by one step.
        low, high = float(weight.min()), float(weight.max())
        if low < 0 < high:
            used = max(found.max() / 254, found.min() / -256)
        else:
            used = np.abs(found).max() / 255
        assert used >= least * (1 - 1 / 100) - 1 / 127


@pytest.mark.parametrize("form", options(ThresholdForm))
def test_thresholds_that_fit_exactly_stay(form):
    layer = quantized(one_layer([[-2.56, 1.0]], 1.28), form)
    np.testing.assert_array_equal(layer.synapses[0].weight, [[-256, 100]])
    assert layer.neurons.threshold == 128


def test_stock_thresholds_cost_little():
    """Representable as one weight: 255 times a power of two up to 2^7; the weights follow the threshold exactly."""
    free, stock, rec = (quantized(one_layer([[2.54, -1.0]], 9.99), form) for form in ("free", "stock", "dense_rec"))
    assert (free.neurons.threshold, stock.neurons.threshold, rec.neurons.threshold) == (999, 996, 254)
    assert rec.weight_error.rms > stock.weight_error.rms


def test_dense_rec_networks_run_in_lava_dl():
    network = one_layer([[2.54, -1.0], [0.3, 0.7]], 9.99)
    assert not lava_dl_obstacles(quantize(network, threshold_form="dense_rec"))
    assert lava_dl_obstacles(quantize(network, threshold_form="free"))


@given(weights(), st.floats(0, 1), st.sampled_from(["poisson", "current"]))
def test_v_init_and_bias_scale_with_the_threshold(weight, share, source):
    assume(weight.any())
    threshold = float(3 * np.abs(weight).max())
    potential = {"v_init": share * threshold, "bias": np.full(len(weight), share * threshold)}
    neurons = quantized(one_layer(weight, threshold, source=source, **potential)).neurons
    assert abs(neurons.v_init - share * neurons.threshold) <= 0.5 + 1e-6
    bias = int(neurons.bias[0]) * 2.0 ** (neurons.bias_exponent - 6)
    assert abs(bias - share * neurons.threshold) <= 1 + 1e-6 * neurons.threshold
    assert isinstance(neurons.v_init, int)


# Graded messages


def test_current_levels_leave_the_threshold_its_bits():
    full, reduced = (
        quantize(one_layer([[1.0, -1.0]], t, source="current"), threshold_form="stock") for t in (0.1, 10.0)
    )
    assert full.input.levels == 255
    # 10 / 1 * 254 * 255 exceeds what one weight can represent (32,640); 15 levels nearly do.
    assert reduced.input.levels == 15
    assert reduced.layers[0].neurons.threshold <= 255 << 7
    assert reduced.layers[0].record["input_levels"] == 15
    assert quantize(one_layer([[1.0, -1.0]], 10.0, source="current"), threshold_form="free").input.levels == 31


def test_levels_that_are_given_stay():
    network = one_layer([[1.0, -1.0]], 0.1).replace(input=Input((2,), "current", 63))
    assert quantize(network).input.levels == 63


def test_messages_and_spikes_into_one_layer_have_no_joint_scale():
    first = one_layer([[1.0, -1.0], [0.5, 0.5]], source="current")
    both = Layer("b", (1,), (Dense("a", [[1.0, 1.0]]), Dense(INPUT, [[1.0, 1.0]])), Neurons(1.0))
    with pytest.raises(ConversionError, match="'b' receives graded messages and spikes"):
        quantize(first.replace(layers=(*first.layers, both)))


# Read-out and bias


def test_calibrated_potentials_of_a_read_out_fit():
    rng = np.random.default_rng(0)
    network = one_layer(rng.normal(size=(4, 30)), reset="none")
    images = rng.random((10, 30)).astype(np.float32)
    network = network.replace(
        layers=(network.layers[0].replace(synapses=(Dense(INPUT, np.abs(rng.normal(size=(4, 30)))),)),)
    )
    balanced = balance(network, images, 200)
    integer = quantize(balanced, threshold_form="dense_rec")
    assert integer.readout == "potential" and np.abs(integer.output.synapses[0].weight).max() < 100
    result = run(integer, images, 200, "reference", record=("potentials",))
    assert not result.saturations["a"]
    peak = np.abs(result.potentials["a"]).max() / 64
    assert 0.4 * (2**17 - 1) < peak < 0.6 * (2**17 - 1)  # headroom for twice what calibration saw, and use of it
    unscaled = run(quantize(network), images, 200, "reference")
    assert unscaled.saturations["a"]


@pytest.mark.parametrize("form", ["stock", "free"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.slow
def test_a_read_out_keeps_its_bits_by_its_total(form, sign):
    rng = np.random.default_rng(0)
    network = one_layer(rng.normal(size=(4, 30)) + 0.3 * sign, source="rate", reset="none")
    images = rng.random((10, 30)).astype(np.float32)
    balanced = balance(network, images, 512)
    integer = quantize(balanced, threshold_form=form)
    assert integer.readout == "total"
    assert np.abs(integer.output.synapses[0].weight).max() >= 254
    for steps in (512, 2048):  # with headroom for any number of steps, not only for the one that was asked for
        result = run(integer, images, steps)
        assert not result.limits_reached()
        outputs = result.output * integer.output_scale / steps / 64
        expected = run(balanced, images, steps).output / steps
        assert np.abs(outputs - expected).max() < 0.02 * np.abs(expected).max()


def test_a_read_out_has_room_for_the_longest_run_that_is_meant():
    images = np.random.default_rng(0).random((20, 12)).astype(np.float32)
    network = one_layer(np.random.default_rng(1).random((3, 12)), reset="none")
    balanced = balance(network, images, 8)
    usual, long = (quantize(balanced, threshold_form="dense_rec", steps=steps) for steps in (None, 256))
    assert quantize(balanced, threshold_form="dense_rec", steps=8) == usual
    assert run(usual, images, 14).saturations == {"a": 0}
    assert run(usual, images, 256).saturations["a"] > 0
    assert run(long, images, 256).saturations == {"a": 0}
    # Both mean the same in the trained network's units.
    outputs = [run(each, images, 8).in_trained_units(each) for each in (usual, long)]
    np.testing.assert_allclose(*outputs, rtol=0.05)


@pytest.mark.parametrize("bias, exponent", [(10.0, 6), (-10.0, 6), (20.0, 7), (-32.0, 7)])
def test_bias_within_its_bits(bias, exponent):
    neurons = quantized(one_layer([[1.0, -1.0]], 1.0, bias=np.array([bias]))).neurons
    assert neurons.bias_exponent == exponent
    found = neurons.bias[0] * 2.0**exponent / 64 / neurons.threshold
    assert found == pytest.approx(bias, abs=2.0**exponent / 64 / 254)


@pytest.mark.parametrize("form", options(ThresholdForm))
def test_a_bias_beyond_its_register_takes_bits_from_the_weights_and_is_not_clipped(form):
    # 100 units of 254 would be 25,400, and the register's limit is 4095 * 2 = 8,190.
    bias = np.array([100.0, 1.0, -100.0])
    layer = quantized(one_layer([[1.0, -1.0], [1.0, 1.0], [0.0, 1.0]], bias=bias), form)
    found = layer.neurons.bias * 2.0 ** (layer.neurons.bias_exponent - 6) / layer.neurons.threshold
    np.testing.assert_allclose(found, bias, atol=0.05)
    assert 60 <= layer.neurons.threshold <= 82


def test_a_bias_beyond_its_register_takes_levels_from_graded_messages_first():
    network = one_layer([[1.0, -1.0]], 1.0, source="current", bias=np.array([0.2]))
    assert quantize(network, threshold_form="free").input.levels == 127
    network = one_layer([[1.0, -1.0]], 1.0, source="current", bias=np.array([5.0]))
    integer = quantize(network, threshold_form="free")
    assert integer.input.levels == 63 and integer.layers[0].synapses[0].weight.max() < 30


# Refusals


def test_float_network_is_untouched():
    network = one_layer([[1.0, -0.3]], 0.7, bias=np.array([0.1]), v_init=0.2)
    copy = one_layer([[1.0, -0.3]], 0.7, bias=np.array([0.1]), v_init=0.2)
    quantize(network)
    assert network == copy


def test_a_read_out_that_keeps_no_weight_is_said():
    # A read-out of zeros has the accuracy of guessing, unless the biases decided everything before.
    weight = np.array([[0.5, -0.2]], dtype=np.float32)
    for peak, fits in ((1e3, True), (1e8, False)):
        layer = Layer("out", (1,), (Dense(INPUT, weight),), Neurons(1.0, "none"), potential_peak=peak)
        network = SpikingNetwork("long", make_input("rate", (2,)), (layer,), "analog")
        if fits:
            assert quantize(network).output.synapses[0].weight.any()
        else:
            with pytest.warns(
                RmpLavaWarning, match="all weights of layer 'out' are rounded to zero next to potentials"
            ):
                quantize(network)


def test_integers_are_not_quantised_again():
    with pytest.raises(UsageError, match="holds integers already"):
        quantize(quantize(one_layer([[1.0, -1.0]])))


def test_unknown_form():
    with pytest.raises(UsageError, match="stock, free, dense_rec"):
        quantize(one_layer([[1.0]]), threshold_form="exact")


def test_layers_that_cannot_be_quantised_are_named():
    with pytest.raises(ConversionError, match="layer 'a' has only zero weights"):
        quantize(one_layer([[0.0, 0.0]], 1.0))


@pytest.mark.parametrize("steps", [4, 16])
@pytest.mark.parametrize("threshold", [1e-4, 3e-3])
def test_weights_of_many_thresholds_are_clipped_without_changing_spikes(steps, threshold):
    """One message through such a weight makes a neuron spike in all steps that are left, or in none."""
    rng = np.random.default_rng(2)
    weight = np.where(rng.random((6, 8)) < 0.3, rng.choice([-1.0, 1.0], (6, 8)), threshold * rng.normal(0, 0.2, (6, 8)))
    network = one_layer(weight, threshold, source="spikes")
    integer = quantize(network.replace(balanced_steps=steps, stage="balanced"))
    shown = rng.integers(0, 2, (20, steps, 8))
    shown[:, 1:] = 0
    expected, found = (run(each, shown, steps, "reference").output for each in (network, integer))  # spike counts
    always, never = expected == steps, expected == 0
    assert always.mean() > 0.2 and never.mean() > 0.2
    assert found[always].min() >= steps - 1 and found[never].max() <= 1
    assert np.abs(found - expected)[~always & ~never].max(initial=0) <= 1
    assert integer.layers[0].neurons.threshold >= 254 // steps


def test_everything_is_recorded():
    layer = quantized(one_layer([[1.0, -0.001, 0.5]], 2.0), "stock")
    record = layer.record
    assert record["threshold_float"] == 2.0 and layer.weight_error.zeroed == 1 / 3
    found, weight = layer.synapses[0].weight, np.array([[1.0, -0.001, 0.5]], dtype=np.float32).astype(float)
    error = np.sqrt(((found / record["scale"] - weight) ** 2).sum() / (weight**2).sum())
    assert layer.weight_error.rms == pytest.approx(error)


@given(weights(), st.floats(0.05, 200), st.sampled_from(options(ThresholdForm)), st.integers(2, 8))
def test_weights_have_no_more_bits_than_asked_for(weight, ratio, form, bits):
    assume(weight.any())
    network = one_layer(weight, float(ratio * np.abs(weight).max()))
    try:
        layer = quantized(network, form, weight_bits=bits)
    except ConversionError as error:
        assert "all weights of layer 'a' would be rounded to zero" in str(error) and bits < 8
        return
    found, scale = layer.synapses[0].weight, layer.record["scale"]
    even = form == "dense_rec" or weight.min() < 0 < weight.max()
    step = (2 if even else 1) << 8 - bits
    # What the compiler stores: the range in two's complement, without the trailing zeros that all share.
    assert not found.any() or weight_bits(found, 8) <= bits
    assert not (found % step).any() and found.min() >= -256 and found.max() <= 256 - step
    assert np.abs(found - weight.astype(np.float64) * scale).max() <= step / 2 + 1e-6
    assert layer.record["weight_bits"] == bits
    # Only weights lose bits, not the threshold.
    assert scale * network.layers[0].neurons.threshold == pytest.approx(layer.neurons.threshold, rel=1e-12)


def test_bits_of_one_layer_leave_the_others_alone():
    chance = np.random.default_rng(0)
    first, second = (chance.normal(size=(5, n)).astype(np.float32) for n in (4, 5))
    layers = (
        Layer("a", (5,), (Dense(INPUT, first),), Neurons(2.0)),
        Layer("b", (5,), (Dense("a", second),), Neurons(2.0)),
    )
    network = SpikingNetwork("two", make_input("poisson", (4,)), layers, "analog", "count")
    every, one, both = (quantize(network, weight_bits=bits) for bits in (None, {"b": 3}, 3))
    assert one["a"] == every["a"] and one["b"] == both["b"] and both["a"] != every["a"]
    assert [weight_bits(layer.synapses[0].weight, 8) for layer in one] == [8, 3]
    assert quantize(network, load_profile("loihi2").with_weight_bits(3), weight_bits=3).layers == both.layers


@pytest.mark.parametrize(
    "bits, found",
    [
        (1, "weights of 1 bits are asked for; choose 2 to 8"),
        (9, "weights of 9 bits are asked for"),
        (True, "weights of True bits are asked for"),
        ({"a": 4.0}, "weights of 4.0 bits are asked for"),
        ({"b": 4}, "weight_bits has layer 'b', which the network has not; it has a"),
    ],
)
def test_bits_that_weights_cannot_have(bits, found):
    with pytest.raises(UsageError, match=found):
        quantize(one_layer([[1.0, -1.0]]), weight_bits=bits)


# What it is for


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form, least", [("free", 0.995), ("stock", 0.995), ("dense_rec", 0.9)])
def test_integer_rates_follow_float_rates(seed, form, least):
    rng = np.random.default_rng(seed)
    shapes, layers, source = [(60, 40), (50, 60), (10, 50)], [], INPUT
    for i, shape in enumerate(shapes):
        weight = rng.normal(size=shape) * np.sqrt(2 / shape[1])
        layers.append(Layer(f"layer{i}", shape[:1], (Dense(source, weight),), Neurons(1.0)))
        source = f"layer{i}"
    network = SpikingNetwork("random", make_input("poisson", (40,)), tuple(layers), "analog", "count")
    images = rng.random((20, 40)).astype(np.float32)
    network = balance(network, images, 100, Balancing(percentile=99.0))
    integer = quantize(network, threshold_form=form)
    one, other = (run(n, images, 100, seed=seed, record=("counts",)).neuron_counts for n in (network, integer))
    for layer in network:
        correlation = np.corrcoef(one[layer.name].ravel(), other[layer.name].ravel())[0, 1]
        assert correlation > least, layer.name


@pytest.mark.parametrize("sign", [1, -1])
def test_dense_rec_form_is_what_lava_dls_loader_runs_whatever_the_signs(sign):
    rng = np.random.default_rng(3)
    layers = (
        Layer("a", (5,), (Dense(INPUT, rng.random((5, 7), dtype=np.float32)),), Neurons(1.3)),
        Layer("b", (3,), (Dense("a", sign * rng.random((3, 5), dtype=np.float32)),), Neurons(0.9)),
    )
    network = SpikingNetwork("signs", make_input("poisson", (7,)), layers, "analog", "count")
    assert lava_dl_obstacles(quantize(network, threshold_form="dense_rec")) == []


def test_a_chip_without_graded_messages_takes_no_pixels_as_currents():
    with pytest.raises(ConversionError, match="chip 'loihi1' sends messages up to 1, .* encoding 'rate' or 'poisson'"):
        quantize(one_layer([[1.0, -0.5]], source="current"), "loihi1")
    for source in ("rate", "poisson"):
        assert quantize(one_layer([[1.0, -0.5]], source=source), "loihi1").is_integer


def test_ranges_leave_room_in_the_register_of_stock_neurons():
    """Else potentials that are far below zero wrap there and come out above the threshold."""
    source = make_input("current", (2,))
    weight = np.array([[1.0, -0.5], [-1.0, -0.9]], np.float32)
    first = Layer("a", (2,), (Dense(INPUT, weight),), Neurons(0.2))
    second = Layer("b", (1,), (Dense("a", weight[:1]),), Neurons(0.9))
    network = SpikingNetwork("deep", source, (first, second), readout="count")
    images = np.array([[1.0, 0.5], [0.2, 1.0]], np.float32)
    ranges = run(network, images, 8).potential_ranges
    assert ranges["a"][0] == pytest.approx(8 * -1.45)
    wide, fitting = quantize(network), quantize(network, ranges=ranges)
    assert run(wide, images, 8).potential_ranges["a"][0] == -(2**23) + 1  # saturated
    low = run(fitting, images, 8).potential_ranges["a"][0] / 64
    assert -0.81 * 2**17 < low < -0.7 * 2**17
    assert fitting["b"].replace(record={}) == wide["b"].replace(record={})  # it had headroom
    with pytest.raises(UsageError, match="ranges have no layer 'a'"):
        quantize(network, ranges={"b": (0, 1)})
