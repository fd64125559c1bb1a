"""Layer fidelity agrees with sums over whole arrays, and the sentence names the layer that was broken, and how."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from foreign_models import MobileNetV2, ResNet, settle
from torch import nn

from rmp_lava.backends import run
from rmp_lava.conversion import fidelity
from rmp_lava.conversion.analog import AnalogNetwork, activations
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import candidates_for
from rmp_lava.conversion.fidelity import clipped, measure_layers
from rmp_lava.conversion.layer_fidelity import LayerFidelity, begins_at, first_loss
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import DataError, UsageError
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.report.tables import fidelity_table


def images_for(shape=(3, 16, 16), count=10, seed=1) -> np.ndarray:
    """Blobs, some of them dark: images that a network can tell apart without being trained."""
    rng = np.random.default_rng(seed)
    blobs = rng.random((count, *(-(-n // 4) if i else n for i, n in enumerate(shape))), dtype=np.float32)
    for axis in range(2, blobs.ndim):
        blobs = blobs.repeat(4, axis=axis)
    images = blobs[(slice(None), *map(slice, shape))]
    return images * rng.random((count, *[1] * len(shape)), dtype=np.float32)


def stages(
    model, steps, *, encoding="current", method="low-latency", readout="potential", shape=(3, 16, 16), **changes
):
    """(analog, balanced, integer) of a conversion."""
    images = images_for(shape, 16, seed=2)
    analog = trace(settle(model), make_input(encoding, shape), images, readout=readout)
    balanced = balance(analog, images, steps, candidates_for(method, **changes)[0])
    return analog, balanced, quantize(balanced)


def seeded(build, *arguments) -> nn.Module:
    torch.manual_seed(0)
    return build(*arguments)


def telling() -> nn.Sequential:
    """Three convolutions without bias: whatever the weights, its activations follow the images."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(n, 8, 3, padding=1, bias=False) for n in (3, 8, 8)]
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight)
    first, second, third = convolutions
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 256, 5))


def single(weight, threshold=1.0, *, pixels=1, encoding="current", bias=None, reset="soft"):
    """(analog, balanced) of one layer by hand, with initial potential 0."""
    layer = Layer("only", (len(weight),), (Dense(INPUT, np.array(weight, np.float32)),), Neurons(1.0, reset, bias=bias))
    readout = "count" if reset == "soft" else "potential"
    analog = SpikingNetwork("single", make_input(encoding, (pixels,)), (layer,), "analog", readout)
    scale = None if reset == "none" else threshold
    layer = layer.replace(neurons=layer.neurons.replace(threshold=np.mean(threshold)), activation_scale=scale)
    return analog, analog.replace(layers=(layer,), stage="balanced", output_scale=1.0)


# What is measured


def whole(analog, balanced, network, images, steps, backend) -> dict[str, tuple]:
    """The same numbers from whole arrays: correlations, error, silent, saturated, shares of silent and saturated."""
    result = run(network, images, steps, backend, record=("counts",))
    found = {}
    for _, name, values in activations(analog, images, batch=len(images)):
        values, counts = values.numpy().astype(np.float64), result.neuron_counts[name]
        layer = balanced[name]
        if layer.neurons.reset == "none":
            represented = result.output / steps * network.output_scale / (64 if network.is_integer else 1)
            error = np.sqrt(((represented - values) ** 2).mean() / (values**2).mean())
            found[name] = (*both_correlations(represented, values), error, None, None, 0, 0)
            continue
        value = np.broadcast_to(layer.activation_scale, layer.shape[:1])
        represented = counts / steps * value.reshape(-1, *[1] * (len(layer.shape) - 1))
        squared = (represented - values) ** 2
        silent = (counts.max(axis=0) == 0) & (values.max(axis=0) > 0)
        found[name] = (
            *both_correlations(represented, values),
            np.sqrt(squared.mean() / (values**2).mean()),
            silent.mean(),
            (counts == steps).mean(),
            squared[:, silent].sum() / squared.sum(),
            squared[counts == steps].sum() / squared.sum(),
        )
    return found


def both_correlations(represented: np.ndarray, values: np.ndarray) -> list[float]:
    parts = (
        [represented.ravel(), (represented - represented.mean(axis=0)).ravel()],
        [values.ravel(), (values - values.mean(axis=0)).ravel()],
    )
    return [np.corrcoef(a, b)[0, 1] if a.std() else 0.0 for a, b in zip(*parts, strict=True)]


def assert_measured(layer: LayerFidelity, expected: tuple) -> None:
    shares = (layer.silent_error, layer.saturated_error)
    measured = (layer.correlation, layer.image_correlation, layer.error, layer.silent, layer.saturated, *shares)
    for found, value in zip(measured, expected, strict=True):
        assert found == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-9)), layer.layer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "options"),
    [
        (ResNet, {}),
        (MobileNetV2, {"readout": "count", "v_init": "half"}),
        (telling, {"encoding": "rate", "method": "paper", "alpha": 0.3}),
    ],
)
def test_gates_are_what_whole_arrays_say(build, options, monkeypatch):
    analog, balanced, integer = stages(seeded(build), 6, **options)
    images, sizes = images_for(), []
    expected = whole(analog, balanced, integer, images, 6, "reference")
    in_float = whole(analog, balanced, balanced, images, 6, "fast")
    few = [whole(analog, balanced, each, images[:7], 6, "fast") for each in (integer, balanced)]
    monkeypatch.setattr(fidelity, "FLOAT_IMAGES", 7)
    monkeypatch.setattr(fidelity, "_COUNTS_AT_ONCE", 4 * integer.neuron_count)
    monkeypatch.setattr(fidelity, "run", lambda net, some, *a, **k: sizes.append(len(some)) or run(net, some, *a, **k))
    found = measure_layers(analog, balanced, integer, images, 6)
    assert sizes == [4, 4, 2, 4, 3, 4, 3]  # no more than fit
    assert [layer.layer for layer in found] == list(expected)
    for layer in found:
        assert_measured(layer, expected[layer.layer])
        assert layer.weight_error == integer[layer.layer].weight_error.rms > 0
        more = 1 - (few[1][layer.layer][2] / few[0][layer.layer][2]) ** 2
        assert layer.rounding_error == pytest.approx(max(0, more), abs=1e-5)
    assert any(layer.silent for layer in found) and any(layer.saturated for layer in found)
    for layer in measure_layers(analog, balanced, balanced, images, 6):
        assert_measured(layer, in_float[layer.layer])
        assert layer.weight_error is None and layer.rounding_error == 0


def test_silent_and_saturated_neurons_by_hand():
    """Rates 1/4 for 0.5 (strictly above the threshold), 1 for 2, none for 0.05 and -1; the second image is black."""
    analog, balanced = single([[0.5], [2.0], [0.05], [-1.0]])
    (layer,) = measure_layers(analog, balanced, balanced, np.array([[1.0], [0.0]]), 4)
    error = 0.25**2 + 1 + 0.05**2
    assert layer.silent == 1 / 4  # the last one's activation is never positive
    assert layer.saturated == 1 / 8
    assert layer.error == pytest.approx(np.sqrt(error / (0.25 + 4 + 0.05**2)))
    assert layer.silent_error == pytest.approx(0.05**2 / error)
    assert layer.saturated_error == pytest.approx(1 / error)


def test_a_neuron_that_spikes_for_one_image_is_not_silent(monkeypatch):
    monkeypatch.setattr(fidelity, "_COUNTS_AT_ONCE", 1)  # in a batch before, or after
    analog, balanced = single([[0.3], [0.3]])
    for images in ([[1.0], [0.1]], [[0.1], [1.0]]):
        assert measure_layers(analog, balanced, balanced, np.array(images), 4)[0].silent == 0


@pytest.mark.parametrize("at_once", [1, 2**20])
def test_poisson_spikes_differ_between_batches(at_once, monkeypatch):
    """Two steps miss a pixel of 0.5 in a quarter of the cases; eight times the same spikes would miss it in all eight."""
    monkeypatch.setattr(fidelity, "_COUNTS_AT_ONCE", at_once)
    analog, balanced = single(np.eye(200), 0.9, pixels=200, encoding="poisson")
    (layer,) = measure_layers(analog, balanced, balanced, np.full((8, 200), 0.5), 2)
    assert layer.silent < 0.01


def test_read_out_is_in_units_of_the_trained_network():
    analog, balanced, integer = stages(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), 3, shape=(3, 4, 4))
    images = images_for((3, 4, 4))
    (in_float,), (layer,) = (measure_layers(analog, balanced, each, images, 3) for each in (balanced, integer))
    assert in_float.error < 1e-5 and layer.error < 0.1
    assert layer.correlation > 0.99 and in_float.silent is None and in_float.saturated is None
    assert layer.rounding_error > 0.99  # a linear network is exact in float


@pytest.mark.parametrize(
    ("weight", "threshold", "bias", "expected"),
    [
        (0.0, 4.0, 2.0, (None, 0.2, 0)),  # activations of 2, of which 5 steps at a threshold of 4 represent 1.6
        (1.0, 1e6, None, (0, 1, 1)),
        (-1.0, 1.0, None, (None, None, 0)),
    ],
    ids=["constant", "never spikes", "never active"],
)
def test_what_does_not_vary_has_no_correlation(weight, threshold, bias, expected):
    analog, balanced = single([[weight]], threshold, bias=bias)
    (layer,) = measure_layers(analog, balanced, balanced, images_for((1,)), 5)
    expected = [x if x is None else pytest.approx(x) for x in expected]
    assert [layer.correlation, layer.image_correlation, layer.error, layer.silent] == [expected[0], *expected]


def test_differences_between_neurons_are_not_those_between_images():
    """Both neurons represent their mean for any image: no correlation over images is left, but nearly all of the overall one."""
    analog, balanced = single([[0.1], [0.2]], bias=[1.0, 3.0])
    only = balanced.layers[0]
    deaf = balanced.replace(layers=(only.replace(synapses=(Dense(INPUT, np.zeros((2, 1), np.float32)),)),))
    deaf = deaf.replace(layers=(deaf.layers[0].replace(activation_scale=4.0),))
    (layer,) = measure_layers(analog, deaf, deaf, images_for((1,)), 16)
    assert layer.correlation > 0.99 and layer.image_correlation == 0
    assert begins_at([layer]) is layer
    (one,) = measure_layers(analog, deaf, deaf, images_for((1,), 1), 16)
    assert one.correlation > 0.99 and one.image_correlation is None


# Where the loss begins


def layer(layer, correlation, **changes) -> LayerFidelity:
    return LayerFidelity(layer, 0.99, correlation, 0.3, 0.0, 0.0, **changes)


@pytest.mark.parametrize(
    ("correlations", "expected"),
    [
        ([0.99, 0.97, 0.95, 0.92, 0.9], None),
        ([0.99, 0.95, 0.91, 0.89, 0.5], 3),
        ([0.99, 0.98, 0.92, 0.5], 2),
        ([0.94, 0.94], 0),
        ([0.99, None, 0.97], None),
        ([0.97, None, 0.91], 2),
        ([None, None], None),
        ([0.99, -0.5], 1),
        ([], None),
    ],
)
def test_loss_begins_at_the_first_layer_that_is_low_or_drops(correlations, expected):
    measured = [layer(f"layer{i}", correlation) for i, correlation in enumerate(correlations)]
    found = begins_at(measured)
    assert found is (None if expected is None else measured[expected])
    sentence = first_loss(measured)
    assert sentence is None if expected is None else f"begins at layer 'layer{expected}'" in sentence


def test_loss_begins_where_the_error_is_more_than_half_of_the_activation():
    measured = [replace(layer("a", 0.98), error=0.5), replace(layer("b", 0.97), error=0.501)]
    assert begins_at(measured) is measured[1]
    assert (
        "at layer 'b', where rates and activations correlate by 0.97 over the images and differ by 50%"
        in first_loss(measured)
    )
    unknown = replace(layer("c", None), error=0.6)
    assert "rates and activations differ by 60%" in first_loss([unknown])
    assert begins_at([replace(unknown, error=None)]) is None


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({}, "few time steps are coarse"),
        ({"saturated_error": 0.4, "silent_error": 0.3}, "steps are coarse"),
        (
            {"saturated_error": 0.63, "silent_error": 0.3},
            "spike in every step .low threshold. cause 63%",
        ),
        ({"silent_error": 0.7, "rounding_error": 0.4}, "never spike .high threshold. cause 70%"),
        ({"silent_error": 1.0, "rounding_error": 0.9}, "90% .* rounding to integers"),
    ],
)
def test_reason_is_what_has_most_of_the_error(shares, words):
    assert re.search(words, first_loss([layer("a", 0.99, silent_error=1.0), layer("b", 0.7, **shares)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alpha", "words"), [(0.1, "spike in every step"), (60.0, "never spike")], ids=["saturated", "silent"]
)
def test_sentence_names_the_layer_with_a_wrong_threshold_and_why(alpha, words):
    model, images = telling(), images_for()
    analog, balanced, integer = stages(model, 32)
    assert first_loss(measure_layers(analog, balanced, integer, images, 32)) is None
    second = analog.layers[1].name
    analog, balanced, integer = stages(model, 32, alpha={second: alpha}, calibrate="none")
    sentence = first_loss(measure_layers(analog, balanced, integer, images, 32))
    assert f"begins at layer {second!r}" in sentence and words in sentence


def test_sentence_names_the_layer_whose_weights_do_not_survive_rounding():
    """Large weights from a channel that never spikes take all the bits; the error weighted by use shows it."""
    analog, balanced, _ = (silence(network) for network in stages(telling(), 32, channelwise=False, calibrate="none"))
    second = balanced.layers[1]
    weight = second.synapses[0].weight.copy()
    weight[:, 0] = 200 * np.abs(weight).max()
    second = second.replace(synapses=(second.synapses[0].replace(weight=weight),))
    balanced = balanced.replace(layers=(balanced.layers[0], second, *balanced.layers[2:]))
    assert first_loss(measure_layers(analog, balanced, balanced, images_for(), 32)) is None
    fine, coarse = (quantize(balanced, threshold_form=form) for form in ("stock", "dense_rec"))
    integer = fine.replace(layers=(fine.layers[0], coarse.layers[1], *fine.layers[2:]))
    measured = measure_layers(analog, balanced, integer, images_for(), 32)
    assert measured[1].weight_error > 0.5
    assert f"begins at layer {second.name!r}" in first_loss(measured) and "rounding" in first_loss(measured)


def silence(network: SpikingNetwork) -> SpikingNetwork:
    """With a first channel that is 0 for every image."""
    first = network.layers[0]
    weight = first.synapses[0].weight.copy()
    weight[0] = 0
    first = first.replace(synapses=(first.synapses[0].replace(weight=weight),))
    return network.replace(layers=(first, *network.layers[1:]))


# Clipped at activation scales


@pytest.mark.parametrize("channelwise", [False, True])
def test_clipped_network_is_cut_off_at_activation_scales(channelwise):
    analog, balanced, _ = stages(seeded(ResNet), 4, channelwise=channelwise)
    images = images_for()
    cut = clipped(analog, balanced)
    found = {name: values.numpy() for _, name, values in activations(cut, images)}
    sources = {INPUT: torch.from_numpy(images)} | {name: torch.from_numpy(values) for name, values in found.items()}
    reached = 0
    for layer, module in zip(analog, AnalogNetwork(analog).layers, strict=True):
        with torch.no_grad():
            expected = module.activation(module.sums(sources)).numpy()
        if layer.neurons.reset != "none":
            limit = np.asarray(balanced[layer.name].activation_scale, np.float32)
            assert (limit.ndim == 1) == (channelwise and len(layer.shape) == 3)
            limit = limit.reshape(-1, *[1] * (len(layer.shape) - 1)) if limit.ndim else limit
            reached += int((expected > limit).sum())
            expected = np.minimum(expected, limit)
        np.testing.assert_allclose(found[layer.name], expected, rtol=1e-5, atol=1e-5, err_msg=layer.name)
    assert reached > 100


def test_clips_by_channel_of_a_flat_population_and_gradients():
    analog, balanced = single([[1.0], [1.0], [-1.0]], [0.25, 0.5, 1.0])
    model = AnalogNetwork(clipped(analog, balanced))
    images = torch.tensor([[1.0], [0.4]], requires_grad=True)
    values = model(images)
    assert torch.equal(values, torch.tensor([[0.25, 0.5, 0.0], [0.25, 0.4, 0.0]]))
    values.sum().backward()
    assert torch.equal(images.grad, torch.tensor([[0.0], [1.0]]))


# Invalid arguments


def test_stages_of_something_else_are_refused():
    analog, balanced, integer = stages(nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2)), 3,
                                       shape=(3, 2, 2))  # fmt: skip
    images = images_for((3, 2, 2))
    for first in (balanced, integer):
        with pytest.raises(UsageError, match="is balanced or quantised.*pass the network from trace"):
            measure_layers(first, balanced, integer, images, 3)
    for second in (analog, integer):
        with pytest.raises(UsageError, match="has no activation scales in float; pass the network from balance"):
            measure_layers(analog, second, integer, images, 3)
    other = stages(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), 3, shape=(3, 2, 2))
    with pytest.raises(UsageError, match="the balanced network 'network' has other layers"):
        clipped(analog, other[1])
    with pytest.raises(UsageError, match="the integer network 'network' has other layers"):
        measure_layers(analog, balanced, other[2], images, 3)
    unknown = integer.replace(output_scale=None)
    with pytest.raises(UsageError, match="has no output scale"):
        measure_layers(analog, balanced, unknown, images, 3)
    with pytest.raises(DataError, match="images have shape"):
        measure_layers(analog, balanced, integer, images[:, :2], 3)


# The table


def test_table_marks_the_worst_row_and_says_what_is_not_known():
    measured = [
        LayerFidelity("conv1", 0.9996, 0.991, 0.12345, 0.5, 0.25, 0.0123),
        LayerFidelity("conv2", 0.99, 0.93, 0.3, 0.0, 0.0, None),
        LayerFidelity("conv3", None, None, None, 0.0, 0.0, None),
        LayerFidelity("dense", 0.5, 0.6, 0.9, None, None, 0.01),
    ]
    rows = {row[0]: list(row) for row in fidelity_table(measured).rows}
    assert rows["conv1"] == ["conv1", "0.9996", "0.9910", "12.3 %", "50.0 %", "25.0 %", "1.23 %", ""]
    assert rows["conv2"][-2:] == ["–", "loss begins"]
    assert rows["conv3"][1:4] == ["–", "–", "–"]
    assert rows["dense"][1:] == ["0.5000", "0.6000", "90.0 %", "–", "–", "1.00 %", "lowest over images"]
    assert (
        fidelity_table([LayerFidelity("a", 0.1, 0.2, 1.0, 0.0, 0.0)]).rows[0][-1] == "loss begins, lowest over images"
    )
    assert fidelity_table([LayerFidelity("a", 1.0, None, None, 0.0, 0.0)]).rows[0][-1] == ""
    # The page shows neither weights nor marks.
    assert [row[:6] for row in map(list, rows.values())] == [
        list(r) for r in fidelity_table(measured, weights=False).rows
    ]
