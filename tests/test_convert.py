"""Conversion: the traced network computes what the model computes, and thresholds are what the paper says they are."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rmp_lava import neuron
from rmp_lava.ann.models import MODELS
from rmp_lava.backends import run
from rmp_lava.backends.fast.batching import Batching
from rmp_lava.conversion import convert
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.check import check
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import encode, make_input
from rmp_lava.errors import ConversionError, DataError, UsageError
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork


def conv(inputs, outputs, kernel, **changed) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, bias=False, **changed)


def linear(inputs, outputs) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def as_linear_network(network: SpikingNetwork, images: torch.Tensor) -> torch.Tensor:
    """The traced synapses with a ReLU behind each but the last, instead of spikes."""
    streams = {INPUT: images}
    for layer in network:
        total = 0
        for s in layer.synapses:
            weight = torch.tensor(s.weight, dtype=images.dtype)
            if isinstance(s, Dense):
                total = total + streams[s.source].flatten(1) @ weight.T
            else:
                total = total + torch.conv2d(streams[s.source], weight, None, s.stride, s.padding, s.dilation, s.groups)
        assert total.shape[1:] == layer.shape
        streams[layer.name] = total if layer is network.output else total.relu()
    return streams[network.output.name]


def assert_traced_exactly(model: nn.Module, shape: tuple[int, ...], pooling: str) -> SpikingNetwork:
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    assert check(model, images).convertible
    network = trace(model, make_input("current", shape), pooling=pooling)
    with torch.no_grad():
        expected = model.eval()(images)
    found = as_linear_network(network, images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(expected.abs().max())))
    return network


@st.composite
def models(draw):
    """Sequential networks of convolutions, poolings of all kinds, nested containers, and dense layers at the end."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    shape = channels, height, width = draw(st.integers(1, 3)), draw(st.integers(3, 11)), draw(st.integers(3, 11))
    modules: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        block: list[nn.Module] = []
        if draw(st.booleans()):
            kernel = draw(st.tuples(st.integers(1, min(3, height)), st.integers(1, min(3, width))))
            stride, padding = draw(st.integers(1, 2)), draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
            groups = draw(st.sampled_from([1, channels]))
            outputs = groups * draw(st.integers(1, 2))
            block += [conv(channels, outputs, kernel, stride=stride, padding=padding, groups=groups), nn.ReLU()]
            channels = outputs
            height = (height + 2 * padding[0] - kernel[0]) // stride + 1
            width = (width + 2 * padding[1] - kernel[1]) // stride + 1
        if draw(st.booleans()):
            kernel = draw(st.tuples(st.integers(1, min(3, height)), st.integers(1, min(3, width))))
            stride = draw(st.sampled_from([kernel, (1, 1), (2, 2), (3, 1)]))
            block += [nn.AvgPool2d(kernel, stride)]
            height, width = (height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1
        block += [nn.Dropout(0.5)] if draw(st.booleans()) else []
        modules += [nn.Sequential(*block)] if draw(st.booleans()) else block
    modules += [nn.Flatten()]
    size = channels * height * width
    if draw(st.booleans()):
        modules += [linear(size, 5), nn.ReLU(), nn.Identity()]
        size = 5
    return nn.Sequential(*modules, linear(size, 3)), shape


@settings(max_examples=80)
@given(models(), st.sampled_from(["fold", "layer"]))
def test_the_traced_network_computes_what_the_model_computes(case, pooling):
    model, shape = case
    assert_traced_exactly(model, shape, pooling)


@pytest.mark.parametrize("pooling", ["fold", "layer"])
@pytest.mark.parametrize(
    "pool, padding",
    [
        (2, 1),
        (3, 1),
        (nn.AvgPool2d(3, 2), 0),
        (nn.AvgPool2d(3, 2), 1),
        (nn.AvgPool2d(2, 3), 1),
        (nn.AvgPool2d((1, 2)), (0, 1)),
    ],
)
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_pooling_before_a_convolution(pool, padding, size, pooling):
    pool = nn.AvgPool2d(pool) if isinstance(pool, int) else pool
    features = nn.Sequential(conv(2, 3, 3, padding=1), nn.ReLU(), pool, conv(3, 4, (2, 3), padding=padding), nn.ReLU())
    outputs = features(torch.zeros(1, 2, *size)).numel()
    assert_traced_exactly(nn.Sequential(*features, nn.Flatten(), linear(outputs, 3)), (2, *size), pooling)


def test_folding_leaves_no_layer_where_it_is_exact():
    model = MODELS["digits-cnn"].build()
    assert len(assert_traced_exactly(model, (1, 8, 8), "fold").layers) == 3
    assert [layer.name for layer in assert_traced_exactly(model, (1, 8, 8), "layer")] == [
        "conv1",
        "pool1",
        "conv2",
        "pool2",
        "dense",
    ]


def test_a_pooling_that_cannot_be_folded_becomes_a_layer_and_says_so():
    # 7 pixels pooled by 2 leave one out, on which the padding's zeros would fall.
    model = nn.Sequential(
        conv(1, 2, 1), nn.ReLU(), nn.AvgPool2d(2), conv(2, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), linear(18, 2)
    )
    network = assert_traced_exactly(model, (1, 7, 7), "fold")
    assert [layer.name for layer in network] == ["0", "2", "3", "6"]
    assert "2 cannot be folded" in network["3"].record["pooling"]


def test_poolings_one_after_the_other_and_before_everything():
    model = nn.Sequential(
        nn.AvgPool2d(2), conv(1, 2, 1), nn.ReLU(), nn.AvgPool2d(2), nn.AvgPool2d(2), nn.Flatten(), linear(8, 2)
    )
    assert_traced_exactly(model, (1, 16, 16), "fold")
    assert_traced_exactly(model, (1, 16, 16), "layer")


def test_a_module_used_twice_is_two_layers():
    torch.manual_seed(0)
    shared, relu = conv(2, 2, 3, padding=1), nn.ReLU()
    model = nn.Sequential(shared, relu, shared, relu, nn.Flatten(), linear(32, 2))
    network = assert_traced_exactly(model, (2, 4, 4), "fold")
    assert [layer.name for layer in network] == ["0", "2", "5"]


def test_nested_modules_keep_their_names():
    model = nn.Sequential(
        nn.Sequential(conv(1, 1, 1), nn.Sequential(nn.ReLU(), conv(1, 1, 1))), nn.ReLU(), nn.Flatten(), linear(16, 2)
    )
    network = assert_traced_exactly(model, (1, 4, 4), "fold")
    assert [layer.name for layer in network] == ["0.0", "0.1.1", "3"]


def test_features_without_height_and_width():
    assert_traced_exactly(nn.Sequential(linear(6, 4), nn.ReLU(), linear(4, 2)), (6,), "fold")


def test_the_read_out():
    model = nn.Sequential(linear(6, 4), nn.ReLU(), linear(4, 2))
    source = make_input("poisson", (6,))
    assert trace(model, source, readout="potential").output.neurons.reset == "none"
    assert trace(model, source, readout="count").output.neurons.reset == "soft"


# What stands in the way


def test_every_obstacle_at_once():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3, bias=False)
    )
    report = check(model, np.full((1, 1, 8, 8), 255.0))
    assert not report.convertible
    found = {
        (f.layer, word)
        for f in report.obstacles
        for word in ("bias", "batch norm", "activation", "maximum", "255")
        if word in f.found
    }
    assert found == {("0", "bias"), ("1", "batch norm"), ("2", "activation"), ("3", "maximum"), ("input", "255")}
    assert all(f.remedy for f in report.obstacles)
    with pytest.raises(ConversionError) as caught:
        convert(model, np.full((1, 1, 8, 8), 255.0))
    for finding in report.obstacles:
        assert repr(finding.layer) in str(caught.value) and finding.found in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "images, found",
    [
        (np.full((1, 1, 8, 8), 1.5), "[1.5, 1.5]"),
        (np.full((1, 1, 8, 8), -0.5), "[-0.5, -0.5]"),
        (np.full((1, 1, 8, 8), np.nan), "nan"),
        (np.zeros((1, 8, 8)), "has shape (1, 8, 8)"),
        (np.zeros((0, 1, 8, 8)), "has shape (0, 1, 8, 8)"),
        (np.zeros((1, 3, 8, 8)), "does not fit the network"),
        (np.zeros((1, 1, 4, 4)), "does not fit the network"),
        (np.array(["a"]), "has dtype"),
    ],
)
def test_images_that_do_not_fit(images, found):
    model = MODELS["digits-cnn"].build()
    assert any(found in f.found and f.layer == "input" for f in check(model, images).obstacles)
    with pytest.raises(ConversionError, match="input"):
        convert(model, images)


# Each of these computes something that the traced network does not; a check that lets it pass would be a wrong network.
UNSUITABLE = {
    "pools before its ReLU": nn.Sequential(conv(1, 2, 3), nn.AvgPool2d(2), nn.ReLU(), nn.Flatten(), linear(18, 2)),
    "pools after the last weights": nn.Sequential(
        conv(1, 2, 3), nn.ReLU(), nn.AvgPool2d(2), conv(2, 2, 3), nn.AvgPool2d(1)
    ),
    "pads with a word": nn.Sequential(conv(1, 2, 3, padding="same"), nn.ReLU(), nn.Flatten(), linear(128, 2)),
    "pads with copies": nn.Sequential(
        conv(1, 2, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Flatten(), linear(128, 2)
    ),
    "pools with padding": nn.Sequential(
        conv(1, 2, 1), nn.ReLU(), nn.AvgPool2d(2, padding=1), nn.Flatten(), linear(50, 2)
    ),
    "pools with ceil_mode": nn.Sequential(
        conv(1, 2, 2), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True), nn.Flatten(), linear(32, 2)
    ),
    "pools with a divisor": nn.Sequential(
        conv(1, 2, 1), nn.ReLU(), nn.AvgPool2d(2, divisor_override=3), nn.Flatten(), linear(32, 2)
    ),
    "no ReLU between": nn.Sequential(conv(1, 2, 1), nn.Flatten(), linear(128, 2)),
    "ReLU at the end": nn.Sequential(nn.Flatten(), linear(64, 2), nn.ReLU()),
    "no weights": nn.Sequential(nn.Flatten()),
}


@pytest.mark.parametrize("what", UNSUITABLE)
def test_check_finds_what_conversion_would_refuse_or_get_wrong(what):
    model, images = UNSUITABLE[what], np.full((2, 1, 8, 8), 0.5, dtype=np.float32)
    with torch.no_grad():
        model(torch.tensor(images))  # it is a network that PyTorch runs
    assert not check(model, images).convertible
    with pytest.raises(ConversionError):
        convert(model, images, steps=4)


def test_check_changes_nothing():
    model = MODELS["digits-cnn"].build().train()
    before = [p.clone() for p in model.parameters()]
    check(model, np.zeros((1, 1, 8, 8), dtype=np.float32))
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    "option", [{"pooling": "max"}, {"encoding": "spikes"}, {"readout": "first"}, {"percentile": 0}, {"percentile": 101},
               {"alpha": 0}, {"alpha": -1.0}, {"alpha": float("nan")}, {"alpha": {"nobody": 1.0}}, {"v_init": "full"},
               {"reset": "none"}, {"steps": 0}],
)  # fmt: skip
def test_options_that_cannot_be_meant(option):
    with pytest.raises(UsageError):
        convert(nn.Sequential(linear(3, 2)), np.ones((2, 3), dtype=np.float32), **({"readout": "count"} | option))


# Balancing


def small(hidden=4, readout="count") -> SpikingNetwork:
    rng = np.random.default_rng(0)
    first, second, third = rng.normal(size=(hidden, 5)), rng.normal(size=(hidden, hidden)), rng.normal(size=(3, hidden))
    layers = (
        Layer("first", (hidden,), (Dense(INPUT, first),), Neurons(1.0)),
        Layer("second", (hidden,), (Dense("first", second),), Neurons(1.0)),
        Layer("third", (3,), (Dense("second", third),), Neurons(1.0, "none" if readout == "potential" else "soft")),
    )
    return SpikingNetwork("small", make_input("poisson", (5,)), layers, "float", readout)


def by_brute_force(network, images, steps, *, alpha=1.0, half=False, hard=False, percentile=None):
    """V_in of every layer, one image, step and layer after the other, as the paper's algorithm 1 says it."""
    streams = []
    for i, image in enumerate(images):
        stream = np.zeros((steps + network.depth, 5))
        stream[:steps] = encode(network.input, image[None], steps, seed=3, first_sample=i)[0]
        streams.append(stream)
    found = []
    for layer in network:
        weight = layer.synapses[0].weight.astype(np.float64)
        sums = [np.vstack([np.zeros(len(weight)), stream[:-1] @ weight.T]) for stream in streams]
        everything = np.concatenate(sums)
        bound = everything.max() if percentile is None else np.percentile(everything[everything > 0], percentile)
        threshold = alpha * bound
        found.append(bound)
        for i, inputs in enumerate(sums):
            v = np.full(len(weight), threshold / 2 if half else 0.0)
            spikes = np.zeros(inputs.shape)
            for t, a in enumerate(inputs):
                v = v + a
                spikes[t] = v > threshold
                v = np.where(v > threshold, 0 if hard else v - threshold, v)
            streams[i] = spikes
    return found


IMAGES = np.random.default_rng(1).random((20, 5)).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.6}, {"v_init": "half"}, {"reset": "hard"}])
def test_threshold_is_the_largest_input_with_the_layers_before_balanced(options):
    network = balance(small(), IMAGES, 25, seed=3, **options)
    alpha = options.get("alpha", 1.0)
    bounds = by_brute_force(
        small(), IMAGES, 25, alpha=alpha, half=options.get("v_init") == "half", hard=options.get("reset") == "hard"
    )
    for layer, bound in zip(network, bounds, strict=True):
        assert layer.neurons.threshold == pytest.approx(alpha * bound, rel=1e-5)
        assert layer.record["v_in_max"] == pytest.approx(bound, rel=1e-5)
        assert layer.neurons.v_init == (layer.neurons.threshold / 2 if options.get("v_init") == "half" else 0)
        assert layer.neurons.reset == options.get("reset", "soft")


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0, 99.9])
def test_percentile_is_over_positive_inputs(percentile):
    network = small(hidden=60)
    images = np.random.default_rng(2).random((60, 5)).astype(np.float32)
    found = balance(network, images, 60, seed=3, percentile=percentile)["first"].neurons.threshold
    assert found == pytest.approx(by_brute_force(network, images, 60, percentile=percentile)[0], rel=2e-3)


def test_alpha_by_layer():
    all_one, one_less = (balance(small(), IMAGES, 25, alpha=alpha) for alpha in (1.0, {"first": 0.5}))
    assert one_less["first"].neurons.threshold == all_one["first"].neurons.threshold / 2
    assert one_less["third"].record["alpha"] == 1.0
    assert one_less["first"].record["alpha"] == 0.5


def test_balancing_does_not_depend_on_the_batch_size(monkeypatch):
    expected = balance(small(), IMAGES, 25)
    one_by_one = Batching(1, 3, 1, block_bytes=1)
    # `rmp_lava.conversion.balance` is the function by now; the module has to be asked for by name.
    monkeypatch.setattr(sys.modules["rmp_lava.conversion.balance"], "choose_batching", lambda *_, **__: one_by_one)
    assert balance(small(), IMAGES, 25) == expected


def test_a_layer_that_never_gets_positive_input_is_named():
    network = small()
    silent = network.layers[1].replace(synapses=(Dense("first", -np.ones((4, 4))),))
    with pytest.raises(ConversionError, match="'second' receives no positive input"):
        balance(network.replace(layers=(network.layers[0], silent, network.layers[2])), IMAGES, 25)


def test_an_integrating_read_out_keeps_its_peak():
    network = balance(small(readout="potential"), IMAGES, 25, seed=3)
    reached = run(network, IMAGES, 25, "reference", seed=3, record=("potentials",)).potentials["third"]
    assert network.output.record["potential_peak"] >= np.abs(reached).max() - 1e-4
    assert network.output.neurons.reset == "none"


def test_integers_are_not_balanced_again():
    integer = quantize(balance(small(), IMAGES, 25))
    with pytest.raises(UsageError, match="before quantisation"):
        balance(integer, IMAGES, 25)


def test_wrong_images_are_refused():
    with pytest.raises(DataError):
        balance(small(), IMAGES * 2, 25)


# The whole way


@pytest.mark.parametrize("encoding", ["poisson", "rate", "current"])
def test_spike_rates_follow_the_activations(encoding):
    """After many steps an RMP network computes what the model computes, in units of its thresholds."""
    torch.manual_seed(0)
    model = nn.Sequential(
        conv(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), linear(36, 8), nn.ReLU(), linear(8, 3)
    )
    images = np.random.default_rng(0).random((8, 1, 8, 8)).astype(np.float32)
    steps = 1000
    network = convert(model, images, steps=steps, encoding=encoding)
    found = run(network, images, steps).output / steps
    with torch.no_grad():
        expected = model(torch.tensor(images)).numpy()
    # One spike of the last hidden layer more or less, and Poisson noise, per step.
    scale = np.abs(expected).max()
    gain = np.prod([layer.neurons.threshold for layer in network.layers[:-1]])
    found = found * gain
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    np.testing.assert_allclose(found, expected, atol=0.15 * scale)


def counts_for(current: float, steps: int, reset: str) -> int:
    neurons = Neurons(1.0, reset)
    state = neuron.initial_state(neurons, (1,), 1, integer=False)
    return sum(int(neuron.step(neurons, state, np.full((1, 1), current), integer=False)[0, 0]) for _ in range(steps))


@given(st.floats(0, 1), st.integers(1, 200))
def test_soft_reset_codes_any_constant_input_within_one_spike(current, steps):
    count = counts_for(current, steps, "soft")
    assert abs(count - steps * current) <= 1 + 1e-9
    assert counts_for(current, steps, "hard") <= count


def test_hard_reset_loses_what_is_above_the_threshold():
    """The paper's point: the loss is systematic, and more steps do not help."""
    currents, steps = np.linspace(0.05, 0.95, 37), 400
    error = {reset: np.array([counts_for(a, steps, reset) / steps - a for a in currents]) for reset in ("soft", "hard")}
    assert np.abs(error["soft"]).max() <= 1 / steps + 1e-9
    assert error["hard"].max() <= 1 / steps and error["hard"].mean() < -0.1
    assert counts_for(0.7, steps, "hard") == steps // 2


def test_conv_is_traced_with_all_its_options():
    module = nn.Conv2d(4, 6, (2, 3), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, bias=False)
    model = nn.Sequential(module, nn.ReLU(), nn.Flatten(), linear(6 * 4 * 3, 2))
    network = assert_traced_exactly(model, (4, 6, 7), "fold")
    first = network.layers[0].synapses[0]
    assert isinstance(first, Conv) and (first.stride, first.padding, first.dilation, first.groups) == (
        (2, 1),
        (1, 0),
        (1, 2),
        2,
    )
