"""Weight exponents: small weights of a layer keep 8 bits next to large ones; where no exponent is needed there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from profiles import examples
from strategies import Case, assert_same_run
from torch import nn

import rmp_lava
from rmp_lava.backends import Reference, run
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.restore import restore
from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork, Synapse
from rmp_lava.netx import lava_dl_obstacles


def real(*shape: int, scale: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(-scale, scale, shape)).astype(np.float32)


def identity(source: str, channels: int, gain: float) -> Conv:
    """A shortcut as `trace` makes it: a depthwise convolution of size 1."""
    return Conv(source, np.full((channels, 1, 1, 1), gain, np.float32), groups=channels)


def block(*into_last: Synapse, reset: str = "soft", threshold: float = 1.0) -> SpikingNetwork:
    """A layer "a" of 4 channels, and one that `into_last` reaches."""
    shape = (4, 5, 5)
    neurons = Neurons(threshold, reset)
    layers = (
        Layer("a", shape, (Conv(INPUT, real(4, 2, 3, 3, scale=0.5), padding=(1, 1)),), Neurons(0.7)),
        Layer("b", into_last[0].output_shape(shape), into_last, neurons),
    )
    readout = "potential" if reset == "none" else "count"
    return SpikingNetwork("block", make_input("rate", (2, 5, 5)), layers, "balanced", readout)


def small_conv(scale: float = 0.05) -> Conv:
    return Conv("a", real(4, 4, 3, 3, scale=scale, seed=1), padding=(1, 1))


def error(before: Synapse, after: Synapse, scale: float) -> float:
    """Root mean square of the rounding error over that of the weights, by hand."""
    found = after.weight.astype(np.float64) * 2**after.exponent / scale
    return float(np.sqrt(((found - before.weight) ** 2).sum() / (before.weight.astype(np.float64) ** 2).sum()))


def test_a_convolution_keeps_its_bits_next_to_a_shortcut_that_is_twenty_times_as_large():
    network = block(small_conv(), identity("a", 4, 1.0))
    layer = quantize(network)["b"]
    conv, shortcut = layer.synapses
    assert (conv.exponent, shortcut.exponent) == (0, 5)
    # One step of a stock threshold is lost at most.
    assert np.abs(conv.weight).max() >= 250 and shortcut.weight.max() >= 128
    before, scale = network["b"].synapses, layer.record["scale"]
    assert error(before[0], conv, scale) < 0.02
    assert error(before[1], shortcut, scale) < 0.004
    assert layer.neurons.threshold / scale == pytest.approx(1.0)
    # One scale for both, as a form without exponents has it, leaves the convolution 4 bits.
    plain = quantize(network, threshold_form="dense_rec")["b"]
    assert [s.exponent for s in plain.synapses] == [0, 0]
    assert error(before[0], plain.synapses[0], plain.record["scale"]) > 0.05
    assert layer.weight_error is not None and layer.weight_error.rms < 0.01


def test_the_integers_of_a_shortcut_follow_its_real_weights_on_every_backend():
    network = block(small_conv(), identity("a", 4, 1.0))
    integer = quantize(network)
    images = np.random.default_rng(2).random((4, 2, 5, 5), dtype=np.float32)
    case = Case(integer, images, 32)
    assert_same_run(case.run("fast"), case.run("reference"))
    stock = case.run(Reference("stock"))
    for layer in integer:
        np.testing.assert_array_equal(stock.spikes[layer.name], case.run("reference", blank=1).spikes[layer.name])
    counts = [run(each, images, 32, record=("counts",)).neuron_counts["b"] for each in (network, integer)]
    assert counts[0].max() > 16 and np.abs(counts[0] - counts[1]).max() <= 1
    restored = restore(integer)["b"]
    ratios = [np.abs(a.weight / b.weight).mean() for a, b in zip(restored.synapses, network["b"].synapses, strict=True)]
    assert ratios[0] == pytest.approx(ratios[1], rel=0.1)
    assert not any(s.exponent for s in restored.synapses)


@pytest.mark.parametrize(
    ("synapses", "exponents"),
    [
        ((small_conv(),), (0,)),
        ((small_conv(0.05), identity("a", 4, 0.09)), (0, 0)),  # less than a bit is not worth one
        ((small_conv(0.05), identity("a", 4, 0.11)), (0, 2)),
        ((small_conv(1.0), identity("a", 4, 0.05)), (0, 0)),  # convolutions have none
        ((small_conv(0.05), small_conv(1.0)), (0, 0)),
        (
            (small_conv(0.05), Conv("a", np.eye(4, dtype=np.float32)[..., None, None])),
            (0, 5),
        ),  # but a diagonal is a shortcut
        ((small_conv(1e-6), identity("a", 4, 1.0)), (0, 7)),  # as far as exponents reach
        ((Dense("a", real(3, 100, scale=0.1)), Dense("a", real(3, 100, scale=3.0))), (0, 5)),
    ],
)
def test_exponents_are_as_small_as_possible_and_only_where_lava_has_them(synapses, exponents):
    found = quantize(block(*synapses, threshold=0.05))["b"]
    assert tuple(s.exponent for s in found.synapses) == exponents
    if not any(exponents):
        assert found.synapses == quantize(block(*synapses, threshold=0.05), threshold_form="stock")["b"].synapses


def test_a_threshold_a_bias_or_a_register_limits_how_fine_weights_become():
    synapses = small_conv(0.01), identity("a", 4, 1.0)
    assert quantize(block(*synapses))["b"].synapses[1].exponent == 7
    wide = quantize(block(*synapses, threshold=40.0))["b"]
    assert wide.synapses[1].exponent == 2 and 16_000 < wide.neurons.threshold <= 255 << 7
    ranges = {"a": (-1.0, 1.0), "b": (-50.0, 50.0)}
    held = quantize(block(*synapses), ranges=ranges)["b"]
    assert held.synapses[1].exponent == 4 and 50 * held.record["scale"] <= 0.8 * (2**17 - 1)
    biased = block(*synapses)
    last = biased["b"]
    biased = biased.replace(layers=(biased["a"], last.replace(neurons=last.neurons.replace(bias=np.full(4, 8.0)))))
    assert quantize(biased)["b"].synapses[1].exponent == 2


def test_a_read_out_of_two_sources_has_exponents_too():
    network = block(Dense("a", real(3, 100, scale=0.02)), Dense(INPUT, real(3, 50, scale=1.0)), reset="none")
    found = quantize(network)["b"]
    assert [s.exponent for s in found.synapses] == [0, 6] and np.abs(found.synapses[0].weight).max() >= 250


def test_lava_dl_never_meets_an_exponent():
    layers = (
        Layer("a", (4,), (Dense(INPUT, real(4, 6, scale=1.0)),), Neurons(1.0)),
        Layer("b", (3,), (Dense("a", real(3, 4, scale=0.02)), Dense("a", real(3, 4, scale=1.0, seed=1))), Neurons(1.0)),
    )
    network = SpikingNetwork("two", make_input("poisson", (6,)), layers, "balanced", "count")
    assert quantize(network)["b"].synapses[1].exponent
    assert not any(s.exponent for s in quantize(network, threshold_form="dense_rec")["b"].synapses)
    assert any("weight exponent" in text for text in lava_dl_obstacles(quantize(network)))
    assert not any(
        "weight exponent" in text for text in lava_dl_obstacles(quantize(network, threshold_form="dense_rec"))
    )


@settings(max_examples=examples(60))
@given(
    st.lists(
        st.tuples(st.sampled_from(["conv", "shortcut", "positive"]), st.floats(1e-4, 1e4)), min_size=1, max_size=4
    ),
    st.floats(1e-2, 1e4),
    st.sampled_from(["stock", "free"]),
)
def test_every_weight_is_rounded_on_its_own_grid(kinds, threshold, form):
    synapses = []
    for i, (kind, scale) in enumerate(kinds):
        if kind == "conv":
            synapses.append(Conv("a", real(4, 4, 3, 3, scale=scale, seed=i), padding=(1, 1)))
        else:
            synapse = identity("a", 4, scale)
            sign = -1 if kind == "shortcut" else 1
            synapses.append(
                synapse.replace(weight=synapse.weight * np.array([1, 0.5, sign, 0.3], np.float32)[:, None, None, None])
            )
    layer = quantize(block(*synapses, threshold=threshold * max(scale for _, scale in kinds)), threshold_form=form)["b"]
    scale = layer.record["scale"]
    assert layer.neurons.threshold / scale == pytest.approx(threshold * max(s for _, s in kinds), rel=1e-6)
    for before, after in zip(synapses, layer.synapses, strict=True):
        mixed = before.weight.min() < 0
        step = (2 if mixed else 1) << after.exponent
        found = after.weight.astype(np.int64) << after.exponent
        # The largest weight may be clipped by a rounding error of float32.
        assert np.abs(found - before.weight.astype(np.float64) * scale).max() <= step / 2 * (1 + 1e-4) + 1e-3
        assert 0 <= after.exponent <= 7 and (before.fan_in <= 4 or not after.exponent)
        if after.exponent:  # a smaller one would not fit
            limit = 254 if mixed else 255
            assert np.abs(before.weight).max() * scale > limit << (after.exponent - 1)


class Bottleneck(nn.Module):
    """As in ResNet-50, around an identity; its branch is a tenth of its input, as in a trained deep network."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        sizes = ((channels, middle, 1), (middle, middle, 3), (middle, channels, 1))
        convs = [nn.Conv2d(i, o, k, padding=k // 2, bias=False) for i, o, k in sizes]
        norms = [nn.BatchNorm2d(conv.out_channels, momentum=None) for conv in convs]
        nn.init.constant_(norms[-1].weight, 0.1)
        relu = nn.ReLU()
        self.branch = nn.Sequential(convs[0], norms[0], relu, convs[1], norms[1], relu, convs[2], norms[2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.branch(x))


@pytest.mark.slow
def test_a_bottleneck_network_keeps_its_predictions():
    torch.manual_seed(1)
    stem = (nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16, momentum=None), nn.ReLU())
    model = nn.Sequential(*stem, *(Bottleneck(16, 8) for _ in range(4)), nn.Flatten(), nn.Linear(16 * 36, 10))
    images = np.random.default_rng(0).random((400, 1, 6, 6), dtype=np.float32)
    with torch.no_grad():
        model.train()(torch.from_numpy(images[:200]))
        # Without a common offset of each output, every class is predicted.
        model[-1].bias -= model.eval()(torch.from_numpy(images)).mean(dim=0)
        expected = model(torch.from_numpy(images[200:])).argmax(dim=1).numpy()
    assert np.bincount(expected, minlength=10).min() >= 10
    integer = rmp_lava.convert(model, images[:200], steps=256).integer
    shortcuts = [s for layer in integer for s in layer.synapses if len(layer.synapses) == 2 and s.groups == 16]
    assert [s.exponent for s in shortcuts] == [3, 3, 3, 3]
    assert max(layer.weight_error.rms for layer in integer if len(layer.synapses) == 2) < 0.003
    assert (run(integer, images[200:], 256).predictions == expected).mean() >= 0.98
