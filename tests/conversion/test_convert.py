"""Conversion: the traced network computes what the model computes, and thresholds are those of the paper."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import partial
from types import MappingProxyType

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from rmp_lava import neuron
from rmp_lava.backends import run
from rmp_lava.backends.fast.batching import Batching
from rmp_lava.conversion.activation_scales import Histogram
from rmp_lava.conversion.analog import AnalogNetwork, activations
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import Balancing, candidates_for
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert, converting
from rmp_lava.conversion.quantization import Quantization
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.scale import unscale
from rmp_lava.encoding import encode, make_input
from rmp_lava.errors import ConversionError, DataError, UsageError
from rmp_lava.hardware import load_profile
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork

conv, linear = partial(nn.Conv2d, bias=False), partial(nn.Linear, bias=False)


# Obstacles


def test_conversion_names_every_obstacle():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.GroupNorm(1, 2), nn.Flatten(), linear(72, 3))
    images = np.full((1, 1, 8, 8), 255.0)
    with pytest.raises(ConversionError) as caught:
        convert(model, images)
    obstacles = check(model, images).obstacles
    assert [f.where for f in obstacles] == ["input", "1", "2"]
    for finding in obstacles:
        assert repr(finding.where) in str(caught.value) and finding.found in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "option", [{"pooling": "max"}, {"encoding": "events"}, {"readout": "first"}, {"percentile": 0}, {"percentile": 101},
               {"percentile": 99, "thresholds": "error"}, {"percentile": 99},
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
    return SpikingNetwork("small", make_input("poisson", (5,)), layers, "analog", readout)


def by_brute_force(network, images, steps, *, alpha=1.0, half=False, hard=False, percentile=None):
    """V_in of every layer, one image, step and layer after the other, as in the paper's algorithm 1."""
    streams = []
    for i, image in enumerate(images):
        streams.append(encode(network.input, image[None], steps, seed=3, first_sample=i)[0].astype(np.float64))
    found = []
    for layer in network:
        weight = layer.synapses[0].weight.astype(np.float64)
        sums = [stream @ weight.T for stream in streams]
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
            streams[i] = spikes * threshold  # activation of one spike
    return found


IMAGES = np.random.default_rng(1).random((20, 5)).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.6}, {"v_init": "half"}, {"reset": "hard"}])
def test_threshold_is_the_largest_input_with_the_layers_before_balanced(options):
    network = balance(small(), IMAGES, 25, Balancing(**options), seed=3)
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
    found = balance(network, images, 60, Balancing(percentile=percentile), seed=3)["first"].neurons.threshold
    assert found == pytest.approx(by_brute_force(network, images, 60, percentile=percentile)[0], rel=2e-3)


def test_alpha_by_layer():
    all_one, one_less = (balance(small(), IMAGES, 25, Balancing(alpha=alpha)) for alpha in (1.0, {"first": 0.5}))
    assert one_less["first"].neurons.threshold == all_one["first"].neurons.threshold / 2
    assert one_less["third"].record["alpha"] == 1.0
    assert one_less["first"].record["alpha"] == 0.5
    # Any mapping is allowed, but a layer without a threshold takes no alpha.
    frozen = Balancing(alpha=MappingProxyType({"first": 0.5}))
    assert balance(small(), IMAGES, 25, frozen).provenance["balance"]["alpha"] == {"first": 0.5}
    with pytest.raises(UsageError, match="'third', which integrates and has no threshold"):
        balance(small(readout="potential"), IMAGES, 25, Balancing(alpha={"third": 0.5}))


def test_images_sorted_by_class_are_mixed(monkeypatch):
    seen = []

    def remember(network, images, *_, **__):
        seen.append(images)
        return balance(network, images, 4)

    monkeypatch.setattr(converting, "balance_best", remember)
    images = np.sort(np.random.default_rng(0).random((64, 3)), axis=0).astype(np.float32)
    convert(nn.Sequential(linear(3, 2)), images)
    mixed, *_ = seen  # a diagnosis converts again
    assert not np.array_equal(mixed, images) and np.array_equal(np.sort(mixed, axis=0), images)
    assert mixed[:8].std() > 0.15  # not those of one end


def test_balancing_does_not_depend_on_the_batch_size(monkeypatch):
    expected = balance(small(), IMAGES, 25)
    one_by_one = Batching(1, 3, 1, block_bytes=1)
    monkeypatch.setattr("rmp_lava.backends.fast.layerwise.choose_batching", lambda *_, **__: one_by_one)
    assert balance(small(), IMAGES, 25) == expected


@pytest.mark.parametrize("how", [Balancing(), Balancing("activation"), *candidates_for("low-latency")])
def test_a_layer_that_never_gets_positive_input_never_spikes(how):
    network = small()
    silent = network.layers[1].replace(synapses=(Dense("first", -np.ones((4, 4))),))
    balanced = balance(network.replace(layers=(network.layers[0], silent, network.layers[2])), IMAGES, 25, how)
    assert balanced["second"].record["silent_units"] == 4
    assert not run(quantize(balanced), IMAGES, 25, record=("counts",)).neuron_counts["second"].any()


def test_an_integrating_read_out_keeps_its_peak():
    network = balance(small(readout="potential"), IMAGES, 25, seed=3)
    reached = run(network, IMAGES, 25, "reference", seed=3, record=("potentials",)).potentials["third"]
    assert network.output.potential_peak >= np.abs(reached).max() - 1e-4
    assert network.output.neurons.reset == "none"


def test_integers_are_not_balanced_again():
    integer = quantize(balance(small(), IMAGES, 25))
    with pytest.raises(UsageError, match="before quantisation"):
        balance(integer, IMAGES, 25)


def test_a_balanced_network_is_not_balanced_again():
    # Its weights carry their sources' activation scales, which a second balancing would multiply again.
    with pytest.raises(UsageError, match="balanced already"):
        balance(balance(small(), IMAGES, 25), IMAGES, 25)


@pytest.mark.parametrize(
    ("option", "found"),
    [({"thresholds": "mean"}, "thresholds is 'mean'"), ({"calibrate": "weights"}, "calibrate is 'weights'"),
     ({"channelwise": True}, "not from 'v_in'"), ({"thresholds": "tuned"}, "no tuned activation scale")],
)  # fmt: skip
def test_ways_to_balance_that_do_not_exist(option, found):
    with pytest.raises(UsageError, match=found):
        balance(small(), IMAGES, 25, Balancing(**option))


def convolutional(seed=0) -> SpikingNetwork:
    """Two convolutions, a shortcut past the second, and channels of very different size."""
    rng = np.random.default_rng(seed)
    size = np.array([0.1, 1, 10, 1])[:, None, None, None]
    first = (rng.normal(0.1, 0.4, (4, 2, 3, 3)) * size).astype(np.float32)
    second = (rng.normal(0.05, 0.3, (4, 4, 3, 3)) / size.reshape(1, 4, 1, 1)).astype(np.float32)
    shortcut = np.eye(4, dtype=np.float32)[:, :, None, None] / size
    bias = np.array([0.02, -0.3, 1.0, 0.2], np.float32)
    layers = (
        Layer("first", (4, 6, 6), (Conv(INPUT, first, padding=(1, 1)),), Neurons(1.0, bias=bias)),
        Layer("second", (4, 6, 6), (Conv("first", second, padding=(1, 1)), Conv("first", shortcut)), Neurons(1.0)),
        Layer("read", (3,), (Dense("second", rng.normal(size=(3, 144))),), Neurons(1.0, "none")),
    )
    return SpikingNetwork("convolutional", make_input("current", (2, 6, 6)), layers)


PICTURES = np.random.default_rng(5).random((40, 2, 6, 6)).astype(np.float32)


def error_of(network, steps=8):
    """Root mean square of what the read-out per step misses of the trained network's outputs, over their size."""
    with torch.no_grad():
        wanted = AnalogNetwork(convolutional())(torch.tensor(PICTURES[20:])).numpy()
    found = run(network, PICTURES[20:], steps).in_trained_units(network)
    return np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean())


def test_thresholds_per_channel_lose_least_where_channels_differ():
    candidates = [
        Balancing(),
        Balancing("activation", 99.9, v_init="half"),
        Balancing("error", v_init="half"),
        Balancing("error", v_init="half", channelwise=True),
    ]
    *others, channelwise = (error_of(balance(convolutional(), PICTURES[:20], 8, how)) for how in candidates)
    assert channelwise < 0.3 * min(others)


@pytest.mark.parametrize("channelwise", [False, True])
def test_calibrated_biases_bring_mean_rates_to_the_mean_activations(channelwise):
    network = convolutional()
    how = Balancing("activation", 90.0, v_init="half", channelwise=channelwise)
    means = {
        name: a.mean(dim=(0, 2, 3)).numpy() for _, name, a in activations(network, PICTURES, batch=40) if a.ndim > 2
    }
    missing = {}
    for calibrate in ("none", "bias"):
        balanced = balance(network, PICTURES, 8, dataclasses.replace(how, calibrate=calibrate))
        counts = run(balanced, PICTURES, 8, record=("counts",)).neuron_counts
        for name, mean in means.items():
            value = np.asarray(balanced[name].activation_scale)
            rate = counts[name].mean(axis=(0, 2, 3)) / 8 * value
            missing[name, calibrate] = np.abs(rate - mean).sum() / mean.sum()
    for name in means:
        assert missing[name, "bias"] < 0.5 * missing[name, "none"] or missing[name, "bias"] < 0.01


def test_thresholds_per_channel_change_no_activation():
    network = convolutional()
    balanced = balance(network, PICTURES, 8, Balancing("activation", v_init="half", channelwise=True))
    assert len(balanced["first"].activation_scale) == 4
    again = unscale(balanced)
    with torch.no_grad():
        expected, found = (AnalogNetwork(each)(torch.tensor(PICTURES)).numpy() for each in (network, again))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    # Balancing by what was recorded leads back to the same spikes.
    tuned = balance(again, PICTURES, 8, Balancing("tuned", v_init="half"))
    one, other = (run(each, PICTURES, 8, record=("counts",)) for each in (balanced, tuned))
    for name in ("first", "second"):
        np.testing.assert_array_equal(one.neuron_counts[name], other.neuron_counts[name])


def test_a_clipped_activation_is_the_largest_threshold():
    network = convolutional().map_layers(lambda layer: layer.replace(clip=0.3) if layer.name == "second" else layer)
    for how in (Balancing(), Balancing("error", v_init="half", channelwise=True)):
        assert np.max(balance(network, PICTURES, 8, how)["second"].activation_scale) <= 0.3
    # Its largest input is above the clip, so alpha counts from the clip; above 1 no rate could represent more.
    for alpha, value in ((1.0, 0.3), (0.5, 0.15), (2.0, 0.3)):
        found = balance(network, PICTURES, 8, Balancing(alpha={"second": alpha}))["second"].activation_scale
        assert found == pytest.approx(value)


def test_a_histogram_knows_percentiles_and_the_least_error():
    values = np.random.default_rng(0).exponential(size=(2, 20_000)) * np.array([[1.0], [30.0]])
    histogram = Histogram(2)
    histogram.add(torch.tensor(np.concatenate([values, -values], axis=1), dtype=torch.float32))
    for percentile in (50, 99, 99.9):
        np.testing.assert_allclose(
            histogram.percentile(percentile), np.percentile(values, percentile, axis=1), rtol=0.02
        )
    np.testing.assert_allclose(histogram.percentile(100), values.max(axis=1), rtol=1e-6)
    best = histogram.least_error(8)
    grid = np.geomspace(0.3, 12, 400)

    def error(value, scale):
        rates = np.clip(np.floor(values[scale] / value * 8 + 0.5), 0, 8) / 8 * value
        return ((rates - values[scale]) ** 2).mean()

    for i, unit in enumerate((1.0, 30.0)):
        assert error(best[i], i) <= 1.03 * min(error(value * unit, i) for value in grid)
    assert Histogram(3).least_error(4).tolist() == [0, 0, 0]


def test_wrong_images_are_refused():
    with pytest.raises(DataError):
        balance(small(), IMAGES * 2, 25)


# The whole pipeline


@pytest.mark.parametrize("encoding", ["poisson", "rate", "current"])
def test_spike_rates_follow_the_activations(encoding):
    """After many steps the potential per step is the model's output."""
    torch.manual_seed(0)
    model = nn.Sequential(
        conv(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), linear(36, 8), nn.ReLU(), linear(8, 3)
    )
    images = np.random.default_rng(0).random((8, 1, 8, 8)).astype(np.float32)
    steps = 250
    network = convert(model, images, steps=steps, method="paper", encoding=encoding).floating
    found = run(network, images, steps).in_trained_units(network)
    with torch.no_grad():
        expected = model(torch.tensor(images)).numpy()
    # One spike of the last hidden layer more or less, and Poisson noise, per step.
    scale = np.abs(expected).max()
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


def test_balancing_respects_the_registers_of_the_chip_that_quantises():
    """A nearly inactive channel with a large bias gets a larger activation scale where biases have few bits."""
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Flatten(), linear(12, 2))
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([1.0, 1.0, -0.9]).reshape(3, 1, 1, 1)
        model[0].bias[:] = torch.tensor([0.0, 0.1, 0.3])
    images = np.random.default_rng(0).random((20, 1, 2, 2), dtype=np.float32)
    chip = load_profile("loihi2")
    limits = dict(chip.sections["limits"])
    limits["bias_mantissa_max"] = dataclasses.replace(limits["bias_mantissa_max"], value=10)
    small = dataclasses.replace(chip, sections={**chip.sections, "limits": limits})
    scales = [
        convert(model, images, steps=8, channelwise=True, quantization=Quantization(profile=profile)).floating.layers[0]
        for profile in ("loihi2", chip, small)
    ]
    same, other, changed = (np.broadcast_to(layer.activation_scale, 3) for layer in scales)
    np.testing.assert_array_equal(same, other)
    assert changed[2] > same[2]


def digest(network: SpikingNetwork) -> str:
    found = hashlib.sha256()
    for layer in network:
        for synapse in layer.synapses:
            found.update(np.ascontiguousarray(synapse.shifted_weight).astype(np.float64).tobytes())
        n = layer.neurons
        found.update(repr((float(n.threshold), n.v_init, n.reset, n.bias_exponent)).encode())
        found.update(b"" if n.bias is None else np.asarray(n.bias).astype(np.float64).tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"steps": 16, "pooling": "fold"}, "17aa76c95025a04e"),
        ({"steps": 16, "method": "paper", "seed": 3, "pooling": "layer", "readout": "count"}, "5d871b12a4de0b7e"),
    ],
)
def test_the_integers_are_those_of_before_the_redesign(options, expected):
    torch.manual_seed(3)
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 2), nn.ReLU(), nn.Flatten())
    model = nn.Sequential(*layers, nn.Linear(24, 5)).eval()
    images = np.random.default_rng(0).random((300, 1, 8, 8), dtype=np.float32)
    assert digest(quantize(convert(model, images, **options).floating)) == expected


@pytest.mark.slow
def test_a_network_trained_on_mean_event_frames_takes_the_events():
    rng = np.random.default_rng(0)
    means = np.where(rng.random((60, 2, 4, 4)) < 0.5, 0.1, 0.6)
    means[:30, :, :2] *= 0.2
    events = (rng.random((60, 16, 2, 4, 4)) < means[:, None]).astype(np.uint8)
    labels = np.repeat([0, 1], 30)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 2))
    frames, optimizer = torch.from_numpy(events.mean(1, dtype=np.float32)), torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(frames), torch.from_numpy(labels)).backward()
        optimizer.step()
    conversion = convert(model, events, steps=16, encoding="spikes")
    of_means = convert(model, frames.numpy(), steps=16, encoding="spikes").integer
    assert run(of_means, events, 16).accuracy(labels) >= 0.95
    assert conversion.integer.input.encoding == "spikes" and conversion.integer.provenance["encoding"] == "spikes"
    assert run(conversion.integer, events, 16).accuracy(labels) >= 0.95
    measured = conversion.measure(events, labels)
    assert [stage.score.accuracy >= 0.95 for stage in measured.stages] == [True] * 5 and len(
        measured.layer_fidelity
    ) == 2
    with pytest.raises(DataError, match=r"events have 16 time steps, but steps is 8; pass steps=16, or bin them again"):
        convert(model, events, steps=8, encoding="spikes")
    with pytest.raises(DataError, match=r"events have values in \[0, 0.5\]; they are numbers of events"):
        convert(model, 0.5 * events, steps=16, encoding="spikes")
