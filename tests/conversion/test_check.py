"""The check lists every obstacle at once, by name, and everything that conversion changes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from foreign_models import BasicBlock, Normalised, ResNet, settle, vgg_bn
from torch import nn
from torch.nn import functional

import rmp_lava
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert, tune
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import ConversionError, UsageError


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((3, *shape), dtype=np.float32)


# Ten networks that do not convert


class SqueezeExcite(nn.Module):
    """Multiplies an image by gains that depend on it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x):
        gains = self.fc2(functional.silu(self.fc1(functional.adaptive_avg_pool2d(x, 1))))
        return x * torch.sigmoid(gains)


class EfficientNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 4, 3, 2, 1), nn.SiLU(inplace=True)
        self.se = SqueezeExcite(4)
        self.up = nn.Upsample(scale_factor=2)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.up(self.se(self.act(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(size), nn.MultiheadAttention(size, 2, batch_first=True)
        self.norm2, self.mlp = nn.LayerNorm(size), nn.Sequential(nn.Linear(size, 8), nn.GELU(), nn.Linear(8, size))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.blocks = nn.Conv2d(3, 4, 4, 4), nn.Sequential(Block(4), Block(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.blocks(self.patch(x).flatten(2).transpose(1, 2))
        return self.head(x.mean(1))


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(10, 4), nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0][:, -1])


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1)
        self.left, self.right = nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x):
        x = self.pool(torch.tanh(self.conv(x))).flatten(1)
        return {"left": self.left(x), "right": self.right(x)}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.pool = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.MaxPool2d(2)
        self.head = nn.Linear(36, 2)

    def forward(self, x, mask):
        return self.head(self.pool(self.norm(self.conv(x))).flatten(1)) * mask


class ByValue(nn.Module):
    """Branches on the values of a tensor, which no front end can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.norm = nn.Conv2d(3, 4, 3), nn.GELU(), nn.GroupNorm(2, 4)
        self.head = nn.Linear(144, 2)

    def forward(self, x):
        x = self.norm(self.act(self.conv(x)))
        if x.sum() > 0:
            x = -x
        return self.head(x.flatten(1))


class InsideSoftmax(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.softmax = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Softmax(dim=1)
        self.norm, self.head = nn.BatchNorm2d(4, track_running_stats=False), nn.Linear(64, 2)

    def forward(self, x):
        return self.head(self.norm(self.softmax(self.gate(functional.relu(self.conv(x))))).flatten(1))


def broken() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.PReLU(), nn.ConvTranspose2d(4, 2, 2, 2), nn.Hardtanh(), nn.PixelShuffle(1), nn.Dropout(),
        nn.InstanceNorm2d(2), nn.Flatten(), nn.Linear(288, 2), nn.Sigmoid(),
    )  # fmt: skip
    with torch.no_grad():
        model[8].weight[0, 0] = torch.nan
    return model


UNSUITABLE = {
    "EfficientNet": (
        EfficientNet,
        images(3, 8, 8),
        [
            ("act", "(SiLU) is an activation other than ReLU"),
            ("se.silu", "(silu) is an activation other than ReLU"),
            ("se.sigmoid", "(sigmoid) is an activation other than ReLU"),
            ("se.mul", "multiplies activations by a gate"),
        ],
    ),
    "vision transformer": (
        VisionTransformer,
        images(3, 8, 8),
        [
            ("blocks.0.norm1", "(LayerNorm)"),
            ("blocks.0.attention", "is attention"),
            ("blocks.0.norm2", "(LayerNorm)"),
            ("blocks.0.mlp.1", "(GELU)"),
            ("blocks.1.norm1", "(LayerNorm)"),
            ("blocks.1.attention", "is attention"),
            ("blocks.1.norm2", "(LayerNorm)"),
            ("blocks.1.mlp.1", "(GELU)"),
        ],
    ),
    "tokens": (
        Sequence,
        np.arange(6).reshape(1, 6),
        [("input", "[0, 5]"), ("embedding", "(Embedding)"), ("lstm", "(LSTM) is a recurrent layer")],
    ),
    "two outputs": (
        TwoHeads,
        images(3, 8, 8) * 255,
        [
            ("input", "has values in [0.0"),
            ("tanh", "(tanh) is an activation"),
            ("model", "returns 2 tensors in a dict"),
        ],
    ),
    "two inputs": (
        TwoInputs,
        images(3, 8, 8),
        [("model", "takes 2 inputs (x, mask)"), ("norm", "(GroupNorm)")],
    ),
    "decides by values": (
        ByValue,
        images(3, 8, 8),
        [("model", "cannot be followed"), ("act", "(GELU)"), ("norm", "(GroupNorm)")],
    ),
    "softmax inside": (
        InsideSoftmax,
        images(3, 8, 8),
        [("softmax", "softmax inside"), ("norm", "statistics of each batch")],
    ),
    "everything": (
        broken,
        images(3, 8, 8),
        [
            ("8", "NaN"),
            ("6", "(InstanceNorm2d)"),
        ],
    ),
}


@pytest.mark.parametrize("what", UNSUITABLE)
def test_every_obstacle_is_found_and_nothing_else(what):
    build, example, expected = UNSUITABLE[what]
    obstacles = check(build(), example).obstacles
    assert [f.where for f in obstacles] == [layer for layer, _ in expected], obstacles
    for finding, (_, text) in zip(obstacles, expected, strict=True):
        assert text in finding.found
        assert len(finding.remedy) > 10 and "\n" not in finding.found + finding.remedy


@pytest.mark.parametrize("what", UNSUITABLE)
def test_what_check_finds_stops_trace(what):
    build, example, expected = UNSUITABLE[what]
    model = build()
    with pytest.raises(ConversionError) as caught:
        trace(model, make_input("current", example.shape[1:]), example)
    for finding in check(model, example).obstacles:
        assert repr(finding.where) in str(caught.value) and finding.found in str(caught.value)
    assert "\n" not in str(caught.value)


class Head(nn.Module):
    """A convolution, a ReLU, and any function as the output."""

    def __init__(self, function) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3), function

    def forward(self, x):
        return self.function(functional.relu(self.conv(x)))


SINGLE = {
    "attention": (lambda x: functional.scaled_dot_product_attention(x, x, x), "is attention"),
    "product of matrices": (lambda x: torch.matmul(x, x), "multiplies two activations"),
    "square": (lambda x: x**2, "(pow)"),
    "always dropping": (lambda x: functional.dropout(x), "even in evaluation"),
    "mean over the batch": (lambda x: x - x.mean(0, keepdim=True), "different images of a batch"),
    "one image of the batch": (lambda x: x[:1].flatten(1), "different images of a batch"),
    "gain by pixel": (
        lambda x: functional.avg_pool2d(x * torch.rand(6, 6), 2),
        "multiplies each pixel by another factor",
    ),
    "comparison": (lambda x: (x > 0.5).float(), "(gt) compares activations"),
    "stack": (lambda x: torch.stack([x, x]).flatten(0, 1), "(flatten) is not supported"),
    "along the batch": (lambda x: torch.cat([x, x]), "makes one batch of several"),
    "constants of each image": (
        lambda x: torch.cat([x, torch.arange(4.0).view(2, 2, 1, 1).expand(2, 2, 6, 6)], 1),
        "from image to image",
    ),
    "unknown weights": (lambda x: functional.conv2d(x[:1], x[:, :, :3, :3]).flatten(1), "depend on the input"),
    "division": (lambda x: 1 / (x + 1), "(div) multiplies two activations"),
    "randomness": (lambda x: x + torch.randn_like(x), "(randn_like) draws random numbers"),
}


@pytest.mark.parametrize("what", SINGLE)
def test_a_single_unsupported_operation(what):
    function, text = SINGLE[what]
    obstacles = check(Head(function), images(3, 8, 8)).obstacles
    assert any(text in f.found for f in obstacles), obstacles
    assert len(obstacles) <= 2


@pytest.mark.parametrize(
    "example, found",
    [
        (np.full((1, 3, 8, 8), 1.5), "[1.5, 1.5]"),
        (np.full((1, 3, 8, 8), -0.5), "[-0.5, -0.5]"),
        (np.full((1, 3, 8, 8), np.nan), "NaN"),
        (np.zeros((3, 8, 8)), "does not fit the network"),
        (np.zeros((0, 3, 8, 8)), "has shape (0, 3, 8, 8)"),
        (np.zeros((1, 1, 8, 8)), "does not fit the network"),
        (np.zeros((1, 3, 4, 4)), "does not fit the network"),
        (np.array(["a"]), "has dtype"),
        (torch.full((1, 3, 8, 8), 255, dtype=torch.int32), "[255, 255]"),
    ],
)
def test_examples_that_do_not_fit(example, found):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    assert any(found in f.found and f.where == "input" for f in check(model, example).obstacles)


def test_the_remedy_for_values_out_of_range_works():
    low, high = -0.5, 0.5
    standardised = images(3, 8, 8) - 0.5
    (finding,) = check(Normalised(), standardised).obstacles
    assert "(images - low) / (high - low), and input_range=(low, high)" in finding.remedy
    assert check(Normalised(), (standardised - low) / (high - low), input_range=(low, high)).convertible


def test_networks_without_anything_to_convert():
    assert [f.found for f in check(nn.Sequential(nn.Flatten()), images(3, 8, 8)).obstacles] == ["has no weights"]
    assert [f.found for f in check(nn.Sequential(nn.AvgPool2d(8)), images(3, 8, 8)).obstacles] == ["has no weights"]

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x):
            return self.linear(torch.zeros_like(x))

    (finding,) = check(Constant(), images(4)).obstacles
    assert "nothing that depends on the input" in finding.found


def test_lazy_layers():
    (finding,) = check(nn.Sequential(nn.LazyLinear(3)), images(4)).obstacles
    assert "lazy" in finding.found


def test_what_changes_from_call_to_call_is_noticed():
    class Alternating(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.calls = nn.Linear(4, 2), 0

        def forward(self, x):
            self.calls += 1
            return self.linear(x) * self.calls

    (finding,) = check(Alternating(), images(4)).obstacles
    assert "does not compute what its layers compute" in finding.found
    with pytest.raises(ConversionError, match="state that is kept between calls"):
        trace(Alternating(), make_input("current", (4,)))


def test_an_example_of_another_shape_than_the_input():
    with pytest.raises(ConversionError, match=r"shape \(4,\), but the input is of shape \(5,\)"):
        trace(nn.Linear(4, 2), make_input("current", (5,)), images(4))
    with pytest.raises(UsageError, match="pooling is 'max'"):
        trace(nn.Linear(4, 2), make_input("current", (4,)), pooling="max")


# Changes


def information(model: nn.Module, *shape: int, **options) -> dict[str, str]:
    report = check(model, images(*shape), **options)
    assert report.convertible, report.obstacles
    return {f.where: f"{f.found}: {f.remedy}" for f in report.information}


def test_changes_of_a_residual_network():
    found = information(settle(ResNet(BasicBlock)), 3, 8, 8)
    assert "batch normalisation: folded into the weights of layer 'layer2.0.conv2'" in found["layer2.0.downsample.1"]
    assert len([text for text in found.values() if "batch normalisation" in text]) == 11
    assert "average pooling: folded into the weights of layer 'fc'" in found["avgpool"]


def test_changes_of_all_kinds():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.Dropout2d(), nn.ReLU6(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 2, 1), nn.ReLU(), nn.ReLU(), nn.AvgPool2d(3, 1, 1), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 2), nn.LogSoftmax(1),
    ).half()  # fmt: skip
    found = information(model, 3, 8, 8)
    for layer, text in {
        "model": "float16", "0": "pads with zeros: folded", "2": "dropout: left out", "3": "clipped at 6",
        "4": "average pooling: folded into the weights of layer '6'", "5": "not followed by a ReLU: folded",
        "8": "left out: it has no effect", "9": "a layer of its own", "14": "softmax at the end: left out",
    }.items():  # fmt: skip
        assert text in found[layer]
    assert set(found) == {"model", "0", "2", "3", "4", "5", "8", "9", "14"}
    assert "as requested" in information(model, 3, 8, 8, pooling="layer")["4"]


class ImageAndSpikes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 2, 8)

    def forward(self, x):
        return self.head(torch.cat([x, self.conv(x).relu()], dim=1)).flatten(1)


def test_a_layer_that_reads_image_and_spikes_is_converted_with_rate_encoding():
    found = information(ImageAndSpikes(), 3, 8, 8)
    assert "converted with encoding 'rate' instead of 'current'" in found["head"]
    values = images(3, 8, 8)
    conversion = convert(ImageAndSpikes(), values, steps=4)
    assert conversion.integer.is_integer and conversion.integer.input.encoding == "rate"
    (finding,) = conversion.findings
    assert finding.severity == "information" and "image and spikes both reach head" in finding.remedy
    assert "input is encoded as 'rate'" in repr(conversion)
    assert conversion.integer.provenance["choices"] == [finding.sentence()]
    with pytest.raises(ConversionError, match=r"layer 'head' receives both .* encoding 'rate' or 'poisson'"):
        convert(ImageAndSpikes(), values, encoding="current", steps=4)
    assert convert(ImageAndSpikes(), values, encoding="poisson", steps=4).findings == ()


def test_tuning_refuses_a_layer_that_reads_image_and_spikes_before_any_work():
    with pytest.raises(ConversionError, match=r"layer 'head' .* which tuning cannot train, .* use convert"):
        tune(ImageAndSpikes(), images(3, 8, 8), np.array([0, 1, 0]))


def test_the_table_groups_what_is_said_of_several_layers_and_begins_with_obstacles():
    report = check(settle(ResNet(BasicBlock)), images(3, 8, 8))
    lines = repr(report).splitlines()
    (row,) = [line for line in lines if "batch normalisation" in line]
    assert "11 layers, such as 'bn1'" in row and row.endswith("folded into the weights")
    assert len([f for f in report.findings if "batch normalisation" in f.found]) == 11
    model = nn.Sequential(nn.Dropout(), nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.SiLU())
    rows = [line.split()[0] for line in repr(check(model, images(3, 8, 8))).splitlines()[2:]]
    assert rows == ["obstacle", "information"]


def test_shared_weights_under_two_names():
    shared = nn.Linear(4, 4)
    found = information(nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(4, 2)), 4)
    assert "called 2 times (also as '2')" in found["0"]


def test_the_public_name():
    assert rmp_lava.check is check
    report = rmp_lava.check(nn.Linear(4, 2), images(4))
    assert report.findings == () and report.raise_if_blocked() is None


@pytest.mark.slow
def test_a_program_with_obstacles_from_a_file(tmp_path):
    model = settle(vgg_bn(lambda size, stride: nn.LPPool2d(3, size, stride)))
    torch.export.save(torch.export.export(model, (torch.rand(2, 3, 16, 16),), strict=False), tmp_path / "model.pt2")
    obstacles = check(torch.export.load(tmp_path / "model.pt2"), images(3, 16, 16)).obstacles
    assert list(dict.fromkeys(f.where for f in obstacles)) == ["3", "10"]
    obstacles = check(torch.export.load(tmp_path / "model.pt2"), images(3, 8, 8)).obstacles
    assert "does not fit" in obstacles[0].found


def test_a_program_exported_for_training():
    program = torch.export.export(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train(), (torch.rand(2, 1, 8, 8),)
    )
    before = {name: value.clone() for name, value in program.state_dict.items()}
    assert any("statistics of each batch" in f.found for f in check(program, images(1, 8, 8)).obstacles)
    assert all(torch.equal(before[name], value) for name, value in program.state_dict.items())


DECIDES = """
import torch
from torch import nn

class Decides(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.b(2 * x if x.sum() > 1 else x)
"""


NOISY = """
import torch
from torch import nn

class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 4, bias=False)

    def forward(self, x):
        return self.a(x) * torch.rand(1)
"""


@pytest.mark.slow
def test_the_command_sees_noise_in_a_network_that_makes_zeros_of_zeros(tmp_path):
    (tmp_path / "noisy_of_tests.py").write_text(NOISY)
    command = [sys.executable, "-m", "rmp_lava", "check", "noisy_of_tests:Noisy", "--shape", "8"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "does not compute what its layers compute" in done.stdout, done.stderr


@pytest.mark.slow
def test_graphs_that_pytorch_prints_where_it_gives_up_are_not_shown(tmp_path):
    (tmp_path / "decides_of_tests.py").write_text(DECIDES)
    command = [sys.executable, "-m", "rmp_lava", "check", "decides_of_tests:Decides", "--shape", "8"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "cannot be followed" in done.stdout
    assert "def forward" not in done.stdout
    assert all(line.startswith("rmp-lava check") for line in done.stderr.splitlines()), done.stderr  # that it works
