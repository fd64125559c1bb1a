"""Functions that are exact when written with ReLUs: maximum pooling, leaky ReLUs, clips, signed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from profiles import examples
from torch import nn
from torch.nn import functional
from traced import Both, Function, Head, traced

from rmp_lava.backends import run
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.trace import trace
from rmp_lava.conversion.tracing.prepared import prepared
from rmp_lava.encoding import make_input
from rmp_lava.errors import NetworkError
from rmp_lava.hardware import estimate, map_network
from rmp_lava.netx import load as load_net, save
from rmp_lava.report.hardware import describe_estimate
from rmp_lava.training.data import load


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(5)


@st.composite
def poolings(draw):
    """A maximum pooling of any options and an image that it fits."""
    kernel, dilation, stride, padding, size = [], [], [], [], []
    for _ in range(2):
        k, d = draw(st.integers(1, 5)), draw(st.integers(1, 3))
        extent = (k - 1) * d + 1
        p = draw(st.integers(0, k // 2))
        kernel.append(k)
        dilation.append(d)
        padding.append(p)
        stride.append(draw(st.integers(1, 4)))
        size.append(draw(st.integers(max(1, extent - 2 * p), extent + 7)))
    options = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)}
    return nn.MaxPool2d(tuple(kernel), **options, ceil_mode=draw(st.booleans())), (2, *size)


@settings(max_examples=examples(80))
@given(poolings(), st.sampled_from(["image", "rectified", "signed", "concatenated", "resized", "repeated", "dense"]))
def test_maximum_pooling_of_any_kind(case, before):
    pool, shape = case
    torch.manual_seed(0)
    if not bool(pool(torch.zeros(1, *shape)).isfinite().all()):
        report = check(Head(pool, shape), torch.rand(2, *shape))
        assert [f.found for f in report.obstacles] == ["is maximum pooling with windows of nothing but padding"]
        return
    conv = nn.Conv2d(2, 3, 3, padding=1)
    modules = {
        "image": nn.Identity(),
        "signed": conv,
        "rectified": nn.Sequential(conv, nn.ReLU()),
        "concatenated": Both(nn.Sequential(conv, nn.ReLU()), nn.Conv2d(2, 2, 1)),
        # No images any more: pixels are picked one by one.
        "resized": nn.Upsample(scale_factor=2, mode="bilinear"),
        "repeated": nn.Sequential(conv, nn.Upsample(scale_factor=2)),
        "dense": nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), math.prod(shape)), nn.Unflatten(1, shape)),
    }
    traced(Head(pool, shape, modules[before]), shape)


def by_channel() -> nn.PReLU:
    act = nn.PReLU(3)
    with torch.no_grad():
        act.weight.copy_(torch.tensor([0.25, -0.5, 1.5]))
    return act


ACTIVATIONS = {
    "LeakyReLU": lambda: nn.LeakyReLU(0.1),
    "PReLU": nn.PReLU,
    "PReLU by channel": by_channel,
    "RReLU": nn.RReLU,
    "Hardtanh": nn.Hardtanh,
    "Hardtanh above zero": lambda: nn.Hardtanh(0.1, 0.3),
    "Hardsigmoid": nn.Hardsigmoid,
    "Softshrink": lambda: nn.Softshrink(0.1),
    "Threshold": lambda: nn.Threshold(-0.1, -0.1),
    "abs": lambda: Function(torch.abs),
    "abs of a method": lambda: Function(lambda x: x.abs_()),
    "leaky_relu": lambda: Function(functional.leaky_relu),
    "clamp from below": lambda: Function(lambda x: x.clamp(min=-0.2)),
    "clamp from above": lambda: Function(lambda x: x.clamp(max=0.2)),
    "clamp below zero": lambda: Function(lambda x: x.clamp(-0.3, -0.1)),
    "max with a constant": lambda: Function(lambda x: torch.maximum(x, torch.full((), -0.1))),
    "min with constants": lambda: Function(lambda x: torch.minimum(x, torch.tensor([-0.1, 0, 0.2])[:, None, None])),
    "max with constants": lambda: Function(lambda x: torch.max(torch.tensor([-0.1, 0, 0.2])[:, None, None], x)),
    "maxout": lambda: Function(lambda x: x.amax(1, keepdim=True)),
    "largest of channels": lambda: Function(lambda x: x.max(1)[0]),
    "smallest of channels": lambda: Function(lambda x: x.min(dim=1).values),
    "largest pixel": lambda: Function(lambda x: x.amax((2, 3))),
    "largest of pairs": lambda: Function(lambda x: x.unflatten(2, (3, 2)).amax(3)),
    "smallest of a stack": lambda: Function(lambda x: torch.stack([x, 0.3 - x, 2 * x], 1).min(1)[0]),
    "largest of two images": lambda: Function(lambda x: torch.stack([x[:, :, :3], x[:, :, 3:]]).max(0)[0]),
    "largest of each row of features": lambda: Function(lambda x: x.flatten(2).max(2)[0]),
    "less its largest pixel": lambda: Function(lambda x: functional.relu(x) - x.amax((2, 3), keepdim=True)),
    "smallest row": lambda: Function(lambda x: x.amin(2, keepdim=True)),
    "global": lambda: nn.AdaptiveMaxPool2d(1),
    "adaptive": lambda: nn.AdaptiveMaxPool2d((3, 2)),
    "uneven": lambda: nn.AdaptiveMaxPool2d((4, 5)),
    "upwards": lambda: nn.AdaptiveMaxPool2d((7, 4)),
    "with indices": lambda: Function(lambda x: functional.max_pool2d(x, 2, return_indices=True)[0]),
    "maximum": lambda: Function(lambda x: torch.maximum(functional.relu(x), 1 - 2 * x)),
    "minimum": lambda: Function(lambda x: torch.minimum(x, 0.5 - x)),
    "maximum of poolings": lambda: Function(
        lambda x: torch.max(functional.avg_pool2d(x, 3, 1, 1), functional.max_pool2d(x, 3, 1, 1))
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("export", [False, True], ids=["fx", "export"])
def test_activations_and_maxima(name, export):
    if export and name in ("RReLU", "Softshrink"):
        pytest.skip("torch.export takes them apart")
    before = nn.Conv2d(2, 3, 3, padding=1)
    model = Head(ACTIVATIONS[name](), (2, 6, 6), before).eval()
    if export:
        program = torch.export.export(model, (torch.rand(2, 2, 6, 6),))
        images = torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(1))
        network = trace(program, make_input("current", (2, 6, 6)), images)
        with torch.no_grad():
            torch.testing.assert_close(AnalogNetwork(network)(images), model(images), rtol=0, atol=1e-4)
    else:
        traced(model, (2, 6, 6))


def test_a_randomized_leaky_relu_in_training_mode_is_refused():
    body = Function(lambda x: functional.rrelu(x - 0.5, training=True))
    found = [f.found for f in check(Head(body, (2, 4, 4)), torch.rand(2, 2, 4, 4)).obstacles]
    assert "has random slopes even in evaluation" in found


def test_what_never_is_negative_needs_no_neurons():
    layers = [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.LeakyReLU(), Function(torch.abs), nn.Hardtanh(-1, float("inf"))]
    assert len(traced(Head(nn.Sequential(*layers), (2, 6, 6)), (2, 6, 6)).layers) == 2


# Signed values that no layer of synapses can pass on


class ReZero(nn.Module):
    """x + gain * f(x), without a ReLU on the way of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.gain = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        return x + self.gain * self.conv2(functional.relu(self.conv1(x)))


SIGNED = {
    "padded convolutions": lambda: nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)),
    "padded pooling": lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.Conv2d(3, 2, 3, padding=1), nn.ReLU()),
    "ReZero": lambda: nn.Sequential(ReZero(3), ReZero(3)),
    "two readers": lambda: Both(nn.Conv2d(3, 2, 3, padding=1), nn.AvgPool2d(3, 1, 1)),
}


@pytest.mark.parametrize("name", SIGNED)
def test_signed_values_are_held_by_two_populations(name):
    before = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3))
    model = Head(SIGNED[name](), (2, 6, 6), before)
    traced(model, (2, 6, 6))
    found = [f for f in check(model, torch.rand(2, 2, 6, 6)).information if "two populations" in f.remedy]
    assert len(found) == {"two readers": 1}.get(name, 2)
    assert "relu(x) and relu(-x): 216 neurons" in found[0].remedy


def test_expressions_that_differ_by_a_constant_are_held_apart():
    conv = nn.Conv2d(2, 3, 3, padding=1)
    body = Function(lambda x: functional.avg_pool2d(x, 3, 1, 1) + functional.avg_pool2d(x + 1, 3, 1, 1))
    traced(Head(body, (2, 6, 6), nn.Sequential(conv, nn.Conv2d(3, 3, 3, padding=1))), (2, 6, 6))


# What it costs


def cost(body: nn.Module, shape: tuple[int, ...] = (2, 8, 8)) -> str:
    model = Head(body, shape, nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU()))
    network = traced(model, shape)
    (finding,) = [f for f in check(model, torch.rand(2, *shape)).information if "written exactly" in f.remedy]
    added = sum(layer.size for layer in network.layers[1:-1])
    assert f" {added:,} neurons" in finding.remedy
    return finding.remedy


@pytest.mark.parametrize(
    ("pool", "neurons", "steps", "grown"),  # for each pixel of the result, what follows reads so many neurons
    [
        (nn.MaxPool2d(2), 4 * (4 * 8 + 4 * 4), 2, 4 + 2 + 1),
        (nn.MaxPool2d((4, 1)), 4 * 8 * (4 + 2), 2, 4 + 1 + 1),  # pairs of rows, then pairs of pairs
        (nn.MaxPool2d((4, 1), 1), 4 * 8 * (7 + 5), 2, (8 + 7 + 5) / 5),  # neighbouring windows share pairs
        (nn.MaxPool2d((3, 1), (2, 1)), 4 * 8 * (3 + 3), 2, (8 + 3) / 3),
        (nn.MaxPool2d((7, 1), 1), 4 * 8 * (7 + 5 + 2), 3, (8 + 7 + 5 + 2) / 2),
        (nn.MaxPool2d((1, 8)), 4 * 8 * (4 + 2 + 1), 3, 8 + 1 + 1 + 1),
    ],
    ids=str,
)
def test_what_maximum_pooling_costs(pool, neurons, steps, grown):
    assert cost(pool) == (
        f"written exactly with ReLUs: {neurons:,} neurons, {steps} more steps of latency, {grown:.2g} times as many weights "
        "after it; `tune --replace max-pooling` needs none"
    )


def test_multiply_accumulates_are_those_of_the_trained_network(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))
    images, source = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32), make_input("current", (1, 8, 8))
    program = torch.export.export(model.eval(), (torch.from_numpy(images),))
    by_hand = 4 * 64 * 9 + 64 * 10
    others = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1, groups=2), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, 2), nn.Flatten())
    assert trace(others.eval(), make_input("current", (4, 8, 8))).trained_macs == 8 * 16 * 2 * 9 + 8 * 16 * 3 * 4
    for each in (model, program, prepared(model, images, mean=0.5, std=0.2)):
        assert trace(each, source, images).trained_macs == by_hand
    network = trace(model, source, images)
    network = load_net(save(network, tmp_path / "n.net"))
    found = estimate(network, run(network, images, 2), "oheo_gulch")
    assert found.macs == by_hand and "those of the trained network" in " ".join(describe_estimate(found))
    # In files of earlier versions the rewritten layers count too.
    older = network.replace(trained_macs=None)
    found = estimate(older, run(older, images, 2), "oheo_gulch")
    assert found.macs > by_hand and "all layers that conversion adds" in " ".join(describe_estimate(found))
    with pytest.raises(NetworkError, match="multiply-accumulates are -1"):
        network.replace(trained_macs=-1)


def test_a_leaky_relu_costs_twice_the_neurons():
    body = nn.Sequential(nn.Conv2d(4, 4, 1), nn.LeakyReLU())
    found = cost(body)
    assert (
        "ReLUs: 512 neurons, 1 more step of latency, 2 times as many weights after it; `tune --replace leaky" in found
    )


def test_pooled_concatenations_stay_one_channel_to_one_channel():
    body = Both(nn.Sequential(nn.Conv2d(2, 8, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU()))
    network = traced(Head(nn.MaxPool2d(2), (2, 8, 8), body), (2, 8, 8))
    pooling = [layer for layer in network.layers if "pool" in layer.name or "body" in layer.name]
    assert len(pooling) == 4
    for layer in pooling:
        assert all(s.weight.shape[1] == 1 and s.groups == layer.shape[0] for s in layer.synapses)


# Spikes


def pooled() -> nn.Module:
    """Overlapping and padded maximum pooling, and leaky ReLUs."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pooled_digits():
    """Digits, and such a network trained on them."""
    digits, model = load("digits"), pooled()
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    for _ in range(5):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return digits, model.eval()


@pytest.mark.slow
def test_maximum_pooling_keeps_its_accuracy_without_training_again(pooled_digits):
    digits, model = pooled_digits
    with torch.no_grad():
        trained = (model(torch.from_numpy(digits.test_images)).argmax(1).numpy() == digits.test_labels).mean()
    conversion = convert(model, digits.train_images[:300], steps=16)
    result = run(conversion.integer, digits.test_images, 16)
    assert trained > 0.95
    assert result.accuracy(digits.test_labels) > trained - 0.01


@pytest.mark.slow
def test_firing_rates_converge_to_the_network(pooled_digits):
    digits, model = pooled_digits
    images = digits.test_images[:20]
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    errors = []
    for steps in (4, 40):
        floating = convert(model, digits.train_images[:20], steps=steps).floating
        errors.append(float(np.abs(run(floating, images, steps).output / steps - expected).mean()))
    assert errors[1] < errors[0] / 4 and errors[1] < 0.06 * np.abs(expected).mean(), errors


@pytest.mark.parametrize("backend", ["fast", pytest.param("lava", marks=pytest.mark.lava)])
def test_every_spike_of_maximum_pooling_is_the_reference_s(backend):
    digits = load("digits")
    network = convert(pooled().eval(), digits.train_images[:20], steps=4).integer
    images = digits.test_images[: 5 if backend == "fast" else 1]
    expected = run(network, images, 4, "reference", record=("spikes",))
    found = run(network, images, 4, backend, record=("spikes",))
    np.testing.assert_array_equal(found.output, expected.output)
    for name, spikes in expected.spikes.items():
        assert spikes.any() or name == network.output.name
        np.testing.assert_array_equal(found.spikes[name], spikes, err_msg=name)


class Constructions(nn.Module):
    """What is no layer of ReLUs, in one small network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.leaky = nn.Conv2d(1, 3, 3, padding=1), nn.PReLU(3)
        self.up, self.across, self.out = (
            nn.ConvTranspose2d(3, 2, 2, 2),
            nn.Conv1d(4, 3, 3),
            nn.Linear(72 + 48 + 12 + 27, 3),
        )

    def forward(self, x):
        x = self.leaky(self.stem(x))
        small = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)  # padded, of signed values
        y = torch.maximum(
            functional.hardtanh(self.up(small), -0.1, 0.4), functional.interpolate(small[:, :2], scale_factor=2)
        )
        pooled = functional.adaptive_max_pool2d(x, 4)
        z = self.across(functional.softshrink(x, 0.05).amax(2).repeat(1, 2, 1)[:, :4]).clamp(-0.2, 0.2)
        bordered = functional.max_pool2d(
            functional.pad(functional.interpolate(x, (4, 4), mode="bilinear"), (1, 1, 1, 1), "reflect"), 2
        )
        return self.out(torch.cat([y.abs().flatten(1), pooled.flatten(1), z.flatten(1), bordered.flatten(1)], 1))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["fast", pytest.param("lava", marks=pytest.mark.lava)])
def test_every_spike_of_every_construction_is_the_reference_s(backend):
    images = load("digits").train_images[:8, :, :6, :6]
    network = convert(Constructions().eval(), images, steps=4).integer
    some = images[:4] if backend == "fast" else images[:1]
    expected = run(network, some, 4, "reference", record=("spikes",))
    found = run(network, some, 4, backend, record=("spikes",))
    np.testing.assert_array_equal(found.output, expected.output)
    assert len(network.layers) > 10 and sum(spikes.any() for spikes in expected.spikes.values()) > 10
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[name], spikes, err_msg=name)
    placed = {layer.demand.name: layer.demand.shape for layer in map_network(network, "loihi2").layers}
    assert placed == {layer.name: layer.shape for layer in network.layers}  # `fit` counts all of them
