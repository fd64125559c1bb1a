"""Linear operations that put pixels between pixels, read rows of features, or count pixels differently at the border."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from profiles import examples
from torch import nn
from torch.nn import functional
from traced import Both, Function, Head, assert_program_traced, traced

from rmp_lava.conversion.check import check
from rmp_lava.conversion.tracing import dense, maps
from rmp_lava.network import Conv


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(5)


class Autoencoder(nn.Module):
    """An image through a small code and back."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.ReLU())
        self.up = nn.Sequential(
            nn.Linear(6, 64), nn.ReLU(), nn.Unflatten(1, (4, 4, 4)), nn.ConvTranspose2d(4, 3, 3, 2, 1, 1), nn.ReLU(),
            nn.Conv2d(3, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, x):
        return self.up(self.down(x))


class UNet(nn.Module):
    """Down, up, and across."""

    def __init__(self, up: nn.Module) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.low = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        self.up = up
        self.last = nn.Sequential(nn.Conv2d(10, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def forward(self, x):
        x = self.first(x)
        return self.last(torch.cat([x, self.up(self.low(x))], 1))


UPWARDS = {
    "nearest": lambda: nn.Upsample(scale_factor=2),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear by corners": lambda: nn.UpsamplingBilinear2d(scale_factor=2),
    "nearest exact": lambda: nn.Upsample(scale_factor=2, mode="nearest-exact"),
    "to a size": lambda: Function(lambda x: functional.interpolate(x, (8, 8), mode="bicubic")),
    "transposed": lambda: nn.ConvTranspose2d(6, 6, 2, 2),
    "transposed with padding": lambda: nn.ConvTranspose2d(6, 6, 4, 2, 1, groups=2),
    "shuffled": lambda: nn.Sequential(nn.Conv2d(6, 24, 1), nn.PixelShuffle(2)),
}


@pytest.mark.parametrize("name", UPWARDS)
def test_a_u_net_gives_an_image(name):
    traced_as_image(UNet(UPWARDS[name]()), (1, 8, 8))


@pytest.mark.parametrize("name", UPWARDS)
def test_a_u_net_from_a_file(name):
    assert_program_traced(UNet(UPWARDS[name]()), (1, 8, 8))


def traced_as_image(model: nn.Module, shape: tuple[int, ...]) -> None:
    traced(nn.Sequential(model, nn.Flatten()).eval(), shape)


def test_an_autoencoder():
    traced_as_image(Autoencoder().eval(), (1, 8, 8))


class Mixer(nn.Module):
    """A block of an MLP-Mixer: linear layers over tokens, then over channels."""

    def __init__(self, channels: int, tokens: int) -> None:
        super().__init__()
        self.tokens = nn.Sequential(nn.Linear(tokens, 6), nn.ReLU(), nn.Linear(6, tokens))
        self.channels = nn.Sequential(nn.Linear(channels, 6), nn.ReLU(), nn.Linear(6, channels))

    def forward(self, x):
        x = x + self.tokens(x)
        return functional.relu(x + self.channels(x.transpose(1, 2)).transpose(1, 2))


ROWS = {
    "one convolution": lambda: nn.Conv1d(4, 3, 3, stride=2, padding=1),
    "keywords": lambda: nn.Sequential(
        nn.Conv1d(4, 6, 5, padding=2), nn.BatchNorm1d(6), nn.ReLU(), nn.AvgPool1d(2), nn.Conv1d(6, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
    ),
    "upwards": lambda: nn.ConvTranspose1d(4, 2, 2, 2),
    "same size": lambda: nn.Conv1d(4, 2, 3, padding="same", dilation=2, groups=2),
    "largest": lambda: nn.Sequential(nn.Conv1d(4, 3, 3), nn.MaxPool1d(3, 2, 1), nn.Conv1d(3, 2, 3, padding=1)),
    "largest with dilation": lambda: nn.MaxPool1d(3, 1, dilation=2, ceil_mode=True),
    "padded averages": lambda: nn.AvgPool1d(3, 2, 1, count_include_pad=False),
    "uneven averages": lambda: nn.AdaptiveAvgPool1d(5),
    "uneven maxima": lambda: nn.AdaptiveMaxPool1d(5),
    "side by side": lambda: Both(nn.Conv1d(4, 2, 3, padding=1), nn.MaxPool1d(3, 1, 1)),
    "linear on the last axis": lambda: nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 6)),
    "tokens and channels": lambda: nn.Sequential(Mixer(4, 12), Mixer(4, 12)),
    "mean over time": lambda: nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU(), Function(lambda x: x.mean(2))),
    "mean over channels": lambda: nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU(), Function(lambda x: x.mean(1))),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("shape", [(1, 4, 12), (4, 1, 12), (48,)], ids=str)
def test_rows_of_features(name, shape):
    traced(Head(ROWS[name](), shape, Function(lambda x: x.reshape(-1, 4, 12))), shape)


@pytest.mark.parametrize("name", ["keywords", "largest"])
def test_rows_of_features_from_a_file(name):
    assert_program_traced(Head(ROWS[name](), (4, 1, 12), Function(lambda x: x.squeeze(2))), (4, 1, 12))


def test_rows_of_features_stay_convolutions():
    network = traced(Head(ROWS["keywords"](), (4, 1, 12), Function(lambda x: x.squeeze(2))), (4, 1, 12))
    assert all(isinstance(synapse, Conv) for layer in network.layers[:-1] for synapse in layer.synapses)


# Borders and parts of any kind

BORDERS = {
    "reflected": lambda: nn.ReflectionPad2d((2, 1, 0, 3)),
    "repeated": lambda: nn.ReplicationPad2d(2),
    "from the other side": lambda: Function(lambda x: functional.pad(x, (1, 2, 2, 0), mode="circular")),
    "constant": lambda: nn.ConstantPad2d((1, 0, 2, 1), -0.5),
    "of a convolution": lambda: nn.Conv2d(3, 2, 3, padding=1, stride=2, padding_mode="reflect"),
    "of rows": lambda: nn.Sequential(
        nn.Flatten(2), nn.ReflectionPad1d(3), nn.Conv1d(3, 2, 5, padding=2, padding_mode="replicate")
    ),
    "of constant rows": lambda: nn.Sequential(nn.Flatten(2), nn.ConstantPad1d((2, 0), 0.25)),
    "of channels": lambda: Function(lambda x: functional.pad(x, (0, 0, 0, 1, 1, 0), value=1.0)),
    "of what is no image": lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1)),
}
PARTS = {
    "along height": lambda x: torch.cat([x, 1 - x[:, :, :2]], 2),
    "of rows": lambda x: torch.cat([x.flatten(2), x[:, :, 0]], 2),
    "and constants": lambda x: torch.cat([x, torch.linspace(-1, 1, 4).expand(x.shape[0], 1, 4, 4)], 1),
    "and a constant": lambda x: torch.cat([torch.ones(x.shape[0], 1), x.flatten(1)], 1),
    "and coordinates as the image": lambda x: torch.cat([x, torch.arange(4).expand(x.shape[0], 1, 4, 4).to(x)], 1),
    "stacked": lambda x: torch.stack([x, 1 - x], 2).flatten(1, 2),
    "stacked and averaged": lambda x: torch.stack([x, 1 - x], 1).mean(2),
    "stacked at the end": lambda x: torch.stack([x, -x, x * x.new_tensor(2.0)], -1).sum(-1),
    "averaged in groups": lambda x: x.unflatten(2, (2, 2)).mean((1, 3)),
    "spread over the image": lambda x: x + x.mean((2, 3), keepdim=True),
}


@pytest.mark.parametrize("rectified", [False, pytest.param(True, marks=[pytest.mark.slow])])
@pytest.mark.parametrize("name", BORDERS)
def test_borders(name, rectified):
    conv = nn.Conv2d(2, 3, 3, padding=1)
    before = nn.Sequential(conv, nn.ReLU()) if rectified else conv
    traced(Head(BORDERS[name](), (2, 4, 4), before), (2, 4, 4))


@pytest.mark.parametrize("name", PARTS)
def test_parts_that_become_one_tensor(name):
    traced(Head(Function(PARTS[name]), (2, 4, 4), nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU())), (2, 4, 4))


def test_a_reflected_border_costs_neurons_of_its_own_size_only():
    model = Head(
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), (2, 6, 6), nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
    )
    network = traced(model, (2, 6, 6))
    assert sorted(layer.size for layer in network.layers) == [3, 12, 12, 16, 16, 72]
    found = [f.remedy for f in check(model, torch.rand(2, 2, 6, 6)).information if "own pixels" in f.found]
    assert found == ["the border is held by 56 neurons; zeros need none, after training with them"]


def test_repeated_pixels_need_no_neurons():
    body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Upsample(scale_factor=2), nn.ReLU(), nn.MaxPool2d(2))
    network = traced(Head(body, (1, 6, 6)), (1, 6, 6))
    assert [layer.size for layer in network.layers] == [72, 3]


# Average pooling by different numbers of pixels


@st.composite
def averages(draw):
    """An average pooling of any options and an image that it fits."""
    kernel = draw(st.tuples(*[st.integers(1, 4)] * 2))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(draw(st.integers(max(1, k - 2 * p), 7)) for k, p in zip(kernel, padding, strict=True))
    pool = nn.AvgPool2d(
        kernel,
        draw(st.tuples(*[st.integers(1, 3)] * 2)),
        padding,
        ceil_mode=draw(st.booleans()),
        count_include_pad=draw(st.booleans()),
        divisor_override=draw(st.sampled_from([None, None, 3])),
    )
    return pool, (2, *size)


@settings(max_examples=examples(80))
@given(averages(), st.sampled_from(["image", "rectified", "signed"]), st.booleans())
def test_average_pooling_of_any_kind(case, before, convolution_follows):
    pool, shape = case
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, 3, padding=1)
    modules = {"image": nn.Identity(), "signed": conv, "rectified": nn.Sequential(conv, nn.ReLU())}
    after = nn.Conv2d(2, 2, 3, padding=1) if convolution_follows else nn.Identity()
    traced(Head(nn.Sequential(pool, after), shape, modules[before]), shape)


def test_windows_that_are_divided_by_fewer_pixels_cost_neurons_of_the_border_only():
    model = Head(
        nn.AvgPool2d(3, 1, 1, count_include_pad=False), (1, 6, 6), nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    )
    network = traced(model, (1, 6, 6))
    assert sorted(layer.size for layer in network.layers) == [3, 12, 12, 12, 12, 72]
    found = [f.remedy for f in check(model, torch.rand(2, 1, 6, 6)).information if "fewer pixels" in f.found]
    assert found == ["what windows at the border lack is added by 48 neurons; count_include_pad=True needs none"]


@pytest.mark.parametrize("size", [(4, 5), (5, 3), (7, 4)])
def test_adaptive_average_pooling_to_any_size(size):
    before = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU())
    network = traced(Head(nn.AdaptiveAvgPool2d(size), (1, 6, 7), before), (1, 6, 7))
    assert len(network.layers) == 2
    traced(Head(nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Conv2d(3, 2, 3), nn.ReLU()), (1, 6, 7), before), (1, 6, 7))


def test_matrices_that_would_be_enormous_are_refused(monkeypatch):
    monkeypatch.setattr(dense, "LARGEST", 1000)
    monkeypatch.setattr(maps, "LARGEST_MATRIX", 1000)
    body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU())
    for after, found in [
        (
            nn.ConvTranspose2d(2, 1, 2, 2),
            "(ConvTranspose2d) would be a matrix of 32,768 weights; at most 1,000 are made",
        ),
        (Function(lambda x: x.transpose(2, 3) + x), "calculates with pixels that 'body.transpose' has rearranged"),
        (
            nn.Sequential(Function(lambda x: x.transpose(2, 3)), nn.MaxPool2d(2)),
            "(max_pool2d) compares 128 elements that are no image one by one, which makes matrices too large",
        ),
    ]:
        obstacles = check(Head(after, (1, 8, 8), body), torch.rand(2, 1, 8, 8)).obstacles
        assert [f.found for f in obstacles] == [found]
