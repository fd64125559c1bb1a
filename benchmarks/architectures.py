"""Small networks in the shapes that people use, and images to train them on in seconds.

Each builder is a network of the published shape, narrowed to 16 x 16 images. `benchmarks.conversion` trains and converts them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CLASSES = 10
SHAPE = (3, 16, 16)


def patterns(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 3, 16, 16) float32 in [0, 1] of ten smooth patterns with noise, and their int64 labels."""
    smooth = torch.tensor(np.random.default_rng(1234).random((CLASSES, 3, 6, 6)))
    smooth = functional.interpolate(smooth, size=SHAPE[1:], mode="bilinear")
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    contrast, shift = rng.uniform(0.5, 1, (count, 1, 1, 1)), rng.uniform(0, 0.3, (count, 1, 1, 1))
    images = contrast * smooth.numpy()[labels] * 0.75 + shift + rng.normal(0, 0.15, (count, *SHAPE))
    return np.clip(images, 0, 1).astype(np.float32), labels


def train(model: nn.Module, steps: int = 120, batch: int = 48, learning_rate: float = 3e-3) -> nn.Module:
    """Train a network on patterns; in evaluation mode afterwards, with batch normalisation settled."""
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for step in range(steps):
        images, labels = (torch.from_numpy(each) for each in patterns(batch, 1000 + step))
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def _block(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs), activation())


def _linear(inputs: int, outputs: int, kernel: int = 1, groups: int = 1, stride: int = 1) -> nn.Sequential:
    """A convolution with batch normalisation and no activation."""
    return nn.Sequential(_conv(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """What a residual block needs where its shape changes."""
    return None if stride == 1 and inputs == outputs else _linear(inputs, outputs, stride=stride)


def _head(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)


class Residual(nn.Module):
    """x + body(x), with a projection where shapes differ, and an activation after the sum."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, activation: bool = True) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut if shortcut is not None else nn.Identity()
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.activation(self.body(x) + self.shortcut(x))
        return result


class Branches(nn.Module):
    """Several modules on one input, concatenated over channels; `keep` adds the input itself."""

    def __init__(self, *branches: nn.Module, keep: bool = False) -> None:
        super().__init__()
        self.branches, self.keep = nn.ModuleList(branches), keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [branch(x) for branch in self.branches]
        return torch.cat([x, *found] if self.keep else found, dim=1)


class Summed(nn.Module):
    """Several modules on one input, summed."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *others = (branch(x) for branch in self.branches)
        return sum(others, first)


class Shuffle(nn.Module):
    """The unit of ShuffleNet V2: half of the channels pass, the other half is convolved, and channels are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(_block(half, half, 1), _linear(half, half, 3, half), _block(half, half, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passing, convolved = x.chunk(2, dim=1)
        return functional.channel_shuffle(torch.cat([passing, self.branch(convolved)], dim=1), 2)


def _basic(inputs: int, outputs: int, stride: int = 1) -> Residual:
    body = nn.Sequential(_block(inputs, outputs, 3, stride), _linear(outputs, outputs, 3))
    return Residual(body, _shortcut(inputs, outputs, stride))


def _bottleneck(inputs: int, outputs: int, stride: int = 1, groups: int = 1, shrink: int = 4) -> Residual:
    inner = max(outputs // shrink, groups)
    body = nn.Sequential(_block(inputs, inner, 1), _block(inner, inner, 3, stride, groups), _linear(inner, outputs))
    return Residual(body, _shortcut(inputs, outputs, stride))


def _preactivation(channels: int) -> Residual:
    body = nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        _conv(channels, channels),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        _conv(channels, channels),
    )
    return Residual(body, activation=False)


def _inverted(inputs: int, outputs: int, stride: int = 1, expansion: int = 4) -> nn.Module:
    inner = inputs * expansion
    body = nn.Sequential(
        _block(inputs, inner, 1, activation=nn.ReLU6),
        _block(inner, inner, 3, stride, inner, nn.ReLU6),
        _linear(inner, outputs),
    )
    return Residual(body, activation=False) if stride == 1 and inputs == outputs else body


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_block(inputs, inputs, 3, stride, inputs), _block(inputs, outputs, 1))


def _fire(inputs: int, squeeze: int, expand: int) -> nn.Sequential:
    wide = Branches(_block(squeeze, expand, 1), _block(squeeze, expand, 3))
    return nn.Sequential(_block(inputs, squeeze, 1), wide)


def _inception(inputs: int, each: int) -> Branches:
    pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=True), _block(inputs, each, 1))
    return Branches(_block(inputs, each, 1), _block(inputs, each, 3), _block(inputs, each, 5), pooled)


def _dense_layer(inputs: int, growth: int) -> Branches:
    return Branches(
        nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), _conv(inputs, growth)),
        keep=True,
    )


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(768, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, CLASSES)
    )


def mlp_batch_norm() -> nn.Module:
    hidden = [(768, 96), (96, 96)]
    layers = [m for a, b in hidden for m in (nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(96, CLASSES))


def gap() -> nn.Module:
    return nn.Sequential(_block(3, 16), _block(16, 32), *_head(32))


def network_in_network() -> nn.Module:
    return nn.Sequential(
        _block(3, 24, 5), _block(24, 16, 1), nn.AvgPool2d(2), _block(16, 32), nn.Conv2d(32, CLASSES, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def vgg() -> nn.Module:
    body = [
        _block(3, 16),
        _block(16, 16),
        nn.AvgPool2d(2),
        _block(16, 32),
        _block(32, 32),
        nn.AvgPool2d(2),
        _block(32, 64),
    ]
    return nn.Sequential(*body, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, CLASSES))


def vgg_dense_head() -> nn.Module:
    body = [_block(3, 16), nn.AvgPool2d(2), _block(16, 32), nn.AvgPool2d(2), _block(32, 64)]
    head = [nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, CLASSES)]
    return nn.Sequential(*body, nn.Flatten(), *head)


def resnet18() -> nn.Module:
    widths = [(8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    return nn.Sequential(_block(3, 8), *(_basic(*each) for each in widths), *_head(64))


def resnet50() -> nn.Module:
    blocks, inputs, layers = ((32, 3, 1), (64, 4, 2), (96, 6, 2), (128, 3, 1)), 16, []
    for outputs, count, stride in blocks:
        for i in range(count):
            layers.append(_bottleneck(inputs, outputs, stride if i == 0 else 1))
            inputs = outputs
    return nn.Sequential(_block(3, 16), *layers, *_head(128))


def resnext() -> nn.Module:
    widths = [(16, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    return nn.Sequential(_block(3, 16), *(_bottleneck(*each, groups=4, shrink=2) for each in widths), *_head(64))


def regnet() -> nn.Module:
    widths = [(16, 24, 2), (24, 24, 1), (24, 48, 2), (48, 48, 1), (48, 48, 1)]
    return nn.Sequential(_block(3, 16), *(_bottleneck(*each, groups=8, shrink=1) for each in widths), *_head(48))


def preactivation() -> nn.Module:
    return nn.Sequential(
        _conv(3, 16), _preactivation(16), _preactivation(16), nn.BatchNorm2d(16), nn.ReLU(), *_head(16)
    )


def wide_resnet() -> nn.Module:
    stages = [_preactivation(32), nn.Sequential(nn.BatchNorm2d(32), nn.ReLU(), _conv(32, 48, 3, 2)), _preactivation(48)]
    return nn.Sequential(_conv(3, 32), *stages, nn.BatchNorm2d(48), nn.ReLU(), *_head(48))


def mobilenet_v1() -> nn.Module:
    widths = [(16, 24, 1), (24, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    return nn.Sequential(_block(3, 16), *(_separable(*each) for each in widths), *_head(64))


def mobilenet_v2() -> nn.Module:
    widths = [(8, 12, 1), (12, 16, 2), (16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 24, 1)]
    last = _block(24, 64, 1, activation=nn.ReLU6)
    return nn.Sequential(_block(3, 8, activation=nn.ReLU6), *(_inverted(*each) for each in widths), last, *_head(64))


def densenet() -> nn.Module:
    layers: list[nn.Module] = [_dense_layer(16 + 8 * i, 8) for i in range(4)]
    transition = nn.Sequential(nn.BatchNorm2d(48), nn.ReLU(), _conv(48, 24, 1), nn.AvgPool2d(2))
    more = [_dense_layer(24 + 8 * i, 8) for i in range(4)]
    return nn.Sequential(_block(3, 16), *layers, transition, *more, nn.BatchNorm2d(56), nn.ReLU(), *_head(56))


def shufflenet() -> nn.Module:
    return nn.Sequential(_block(3, 24, 3, 2), *(Shuffle(24) for _ in range(4)), _block(24, 48, 1), *_head(48))


def squeezenet() -> nn.Module:
    body = [_block(3, 16), _fire(16, 8, 16), nn.AvgPool2d(2), _fire(32, 8, 24)]
    return nn.Sequential(*body, nn.Conv2d(48, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def googlenet() -> nn.Module:
    return nn.Sequential(_block(3, 16), _inception(16, 8), nn.AvgPool2d(2), _inception(32, 12), *_head(48))


def ds_cnn() -> nn.Module:
    return nn.Sequential(_block(3, 32, 5, 2), *(_separable(32, 32) for _ in range(4)), *_head(32))


def pilotnet() -> nn.Module:
    body = [nn.Conv2d(3, 24, 3, 2), nn.ReLU(), nn.Conv2d(24, 36, 3, 2), nn.ReLU(), nn.Conv2d(36, 64, 3), nn.ReLU()]
    head = [nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, CLASSES)]
    return nn.Sequential(*body, nn.Flatten(), *head)


def repvgg() -> nn.Module:
    def unit(channels: int) -> nn.Module:
        branches = Summed(_linear(channels, channels, 3), _linear(channels, channels, 1), nn.BatchNorm2d(channels))
        return nn.Sequential(branches, nn.ReLU())

    return nn.Sequential(_block(3, 24), unit(24), unit(24), nn.AvgPool2d(2), _block(24, 32), unit(32), *_head(32))


def conv_mixer() -> nn.Module:
    def unit(channels: int) -> nn.Module:
        return nn.Sequential(
            Residual(_block(channels, channels, 5, 1, channels), activation=False), _block(channels, channels, 1)
        )

    stem = nn.Sequential(nn.Conv2d(3, 32, 2, 2), nn.ReLU(), nn.BatchNorm2d(32))
    return nn.Sequential(stem, unit(32), unit(32), unit(32), *_head(32))


def efficientnet_lite() -> nn.Module:
    widths = [(16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1)]
    return nn.Sequential(
        _block(3, 16, activation=nn.ReLU6), *(_inverted(*each, expansion=6) for each in widths), *_head(40)
    )


def zero_branch() -> nn.Module:
    """A residual network whose second block has been pruned away (last batch normalisation of zero)."""
    return nn.Sequential(_block(3, 16), _basic(16, 16), _basic(16, 16), *_head(16))


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    each.__name__: each
    for each in (
        mlp, mlp_batch_norm, gap, network_in_network, vgg, vgg_dense_head, resnet18, resnet50, resnext, regnet,
        preactivation, wide_resnet, mobilenet_v1, mobilenet_v2, densenet, shufflenet, squeezenet, googlenet, ds_cnn,
        pilotnet, repvgg, conv_mixer, efficientnet_lite, zero_branch,
    )
}  # fmt: skip


_STEPS = {"gap": 400, "network_in_network": 250, "preactivation": 300, "shufflenet": 400, "squeezenet": 200}
"""Of training, where 120 are too few."""


def build(name: str, *, seed: int = 0, steps: int | None = None) -> nn.Module:
    """A trained network by its name."""
    torch.manual_seed(seed)
    model = train(ARCHITECTURES[name](), _STEPS.get(name, 120) if steps is None else steps)
    if name == "zero_branch":
        nn.init.zeros_(model[2].body[1][1].weight)
    return model
