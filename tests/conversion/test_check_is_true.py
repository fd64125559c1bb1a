"""What `check` passes is converted, quantised, saved, loaded and run; what cannot be is refused by `check`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foreign_models import (
    Bottleneck,
    DenseNet,
    MobileNetV2,
    PreActivationBlock,
    ResNet,
    Shuffle,
    mobilenet_v1,
    separable,
    settle,
    vgg_bn,
)
from hypothesis import given, settings, strategies as st
from profiles import examples
from torch import nn
from torch.nn import functional

import rmp_lava
from rmp_lava.errors import ConversionError

STEPS = 4
CHANNELS = 8


def normalised(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Residual(nn.Module):
    """A residual block, of which a branch may be switched off, its end a ReLU or none."""

    def __init__(self, dead: str = "", last: bool = True) -> None:
        super().__init__()
        self.a, self.b = normalised(CHANNELS, CHANNELS), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.norm, self.dead, self.last = nn.BatchNorm2d(CHANNELS), dead, last

    def prune(self) -> None:
        if self.dead == "last gamma":
            self.norm.weight.data.zero_()
        elif self.dead == "first convolution":
            self.a[0].weight.data.zero_()
        elif self.dead == "all":
            for parameter in self.parameters():
                parameter.data.zero_()

    def forward(self, x):
        y = x + self.norm(self.b(self.a(x)))
        return functional.relu(y) if self.last else y


class Split(nn.Module):
    """A unit of ShuffleNet: half of the channels pass, and channels are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = normalised(CHANNELS // 2, CHANNELS // 2)

    def forward(self, x):
        left, right = x.chunk(2, dim=1)
        return torch.cat([left, self.branch(right)], 1).unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


class Dense(nn.Module):
    """Two layers that see the concatenation of all before them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = normalised(CHANNELS, 4), normalised(CHANNELS + 4, 4)
        self.out = nn.Conv2d(CHANNELS + 8, CHANNELS, 1)

    def forward(self, x):
        x = torch.cat([x, self.a(x)], 1)
        return functional.relu(self.out(torch.cat([x, self.b(x)], 1)))


class Fire(nn.Module):
    """SqueezeNet's module."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.left, self.right = normalised(CHANNELS, 3, 1), normalised(3, 4, 1), normalised(3, 4)

    def forward(self, x):
        x = self.squeeze(x)
        return torch.cat([self.left(x), self.right(x)], 1)


BLOCKS = {
    "plain": lambda: normalised(CHANNELS, CHANNELS),
    "residual": Residual,
    "residual without a ReLU": lambda: Residual(last=False),
    "zero gamma": lambda: Residual("last gamma"),
    "pruned": lambda: Residual("first convolution"),
    "pruned, without a ReLU": lambda: Residual("all", last=False),
    "pre-activation": lambda: PreActivationBlock(CHANNELS, CHANNELS),
    "separable": lambda: separable(CHANNELS, CHANNELS),
    "inverted residual": lambda: Bottleneck(CHANNELS, CHANNELS, 1),
    "split and shuffled": Split,
    "dense": Dense,
    "fire": Fire,
    "pooled": lambda: nn.AvgPool2d(2, 1, 1),
    "clipped": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Hardtanh(0, 0.5)),
    "maximum": lambda: nn.MaxPool2d(3, 1, 1),
    "other activation": nn.SiLU,
}
HEADS = {
    "global average": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5)),
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5)),
    "deep": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(12), nn.ReLU(), nn.LazyLinear(5), nn.Softmax(1)),
    "convolution": lambda: nn.Sequential(nn.LazyConv2d(5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "after a ReLU": lambda: nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(5)),
    "ends in a ReLU": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.ReLU()),
}  # fmt: skip
STEMS = {
    "with a ReLU": lambda: normalised(2, CHANNELS),
    "linear": lambda: nn.Conv2d(2, CHANNELS, 3, padding=1),
    "strided": lambda: normalised(2, CHANNELS, 5, 2),
}


@st.composite
def architectures(draw):
    torch.manual_seed(draw(st.integers(0, 2**16)))
    blocks = [BLOCKS[name]() for name in draw(st.lists(st.sampled_from(sorted(BLOCKS)), max_size=3))]
    stem, head = draw(st.sampled_from(sorted(STEMS))), draw(st.sampled_from(sorted(HEADS)))
    model = nn.Sequential(STEMS[stem](), *blocks, HEADS[head]())
    with torch.no_grad():
        model(torch.rand(2, 2, 6, 6))
    settle(model)
    for module in model.modules():
        if isinstance(module, Residual):
            module.prune()
    return model


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((24, *shape), dtype=np.float32)


def assert_true(model: nn.Module, some: np.ndarray, folder) -> bool:
    """Whether check passes the network: then all later steps succeed, else all refuse it at once."""
    report = rmp_lava.check(model, some)
    if not report.convertible:
        with pytest.raises(ConversionError, match="cannot be converted"):
            rmp_lava.convert(model, some, steps=STEPS)
        return False
    integer = rmp_lava.convert(model, some, steps=STEPS).integer
    back = rmp_lava.load(rmp_lava.save(integer, folder / "network.net"))
    found = [rmp_lava.run(each, some[:4], STEPS).output for each in (integer, back)]
    assert np.array_equal(*found)
    return True


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(architectures())
def test_whatever_blocks_a_network_is_built_of(tmp_path_factory, model):
    assert_true(model, images(2, 6, 6), tmp_path_factory.mktemp("nets"))


KNOWN = {
    "ResNet": (ResNet, (3, 8, 8)),
    "pre-activation ResNet": (lambda: ResNet(PreActivationBlock), (3, 8, 8)),
    "MobileNet": (mobilenet_v1, (3, 9, 9)),
    "MobileNetV2": (MobileNetV2, (3, 16, 16)),
    "VGG": (vgg_bn, (3, 16, 16)),
    "DenseNet": (DenseNet, (3, 8, 8)),
    "ShuffleNet": (Shuffle, (3, 8, 8)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_known_architectures(tmp_path, name):
    torch.manual_seed(0)
    build, shape = KNOWN[name]
    assert assert_true(settle(build()), images(*shape), tmp_path)
