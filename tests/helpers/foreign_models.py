"""Networks of users' own: definitions only, with random weights and batch normalisation that has seen data."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def settle(model: nn.Module, seed: int = 0) -> nn.Module:
    """Evaluation mode, with running statistics and affine parameters that are not the neutral ones."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
            ):
                if tensor is not None:
                    tensor.data = low + (high - low) * torch.rand(tensor.shape, generator=generator)
    return model.eval()


class BasicBlock(nn.Module):
    """A residual block as in ResNet: post-activation, in place, with a convolved shortcut where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class PreActivationBlock(nn.Module):
    """A residual block as in the second ResNet paper: its ReLUs overwrite what they are given."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None

    def forward(self, x):
        out = functional.relu(self.bn1(x), inplace=True)
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = self.conv1(out)
        out = self.conv2(torch.relu_(self.bn2(out)))
        return torch.add(out, shortcut)


class ResNet(nn.Module):
    """Three stages of residual blocks, global average, a linear layer with bias."""

    def __init__(self, block=BasicBlock, width: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(block(width, width), block(width, width))
        self.layer2 = nn.Sequential(block(width, 2 * width, 2), block(2 * width, 2 * width))
        self.bn = nn.BatchNorm2d(2 * width)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x):
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(self.relu(self.bn(x))), 1))


class OptionA(nn.Module):
    """The shortcut of CIFAR's ResNets without weights: every second pixel, and channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, 2, 1)
        self.linear = nn.Linear(8, 3)

    def forward(self, x):
        x = functional.relu(self.conv1(x))
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2), "constant", 0)
        x = functional.relu(self.conv2(x) + shortcut)
        x = functional.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Depthwise, then pointwise, with batch normalisation and ReLU after each."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def mobilenet_v1() -> nn.Sequential:
    """A depthwise-separable network."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()),
        separable(4, 8),
        separable(8, 8, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, 4),
    )


class Bottleneck(nn.Module):
    """MobileNetV2's inverted residual: no ReLU after the projection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = 3 * inputs
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Linear bottlenecks with ReLU6 and a mean written out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU6(inplace=True))
        self.blocks = nn.Sequential(Bottleneck(4, 6, 2), Bottleneck(6, 6, 1), Bottleneck(6, 6, 1))
        self.last = nn.Conv2d(6, 12, 1)
        self.classifier = nn.Linear(12, 4)

    def forward(self, x):
        x = functional.relu6(self.last(self.blocks(self.stem(x))) * 4.0)
        return self.classifier(x.mean([2, 3]))


def vgg_bn(pooling=nn.AvgPool2d) -> nn.Sequential:
    """VGG's pattern with batch normalisation; pooling may be any class."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), pooling(2, 2),
        nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), pooling(2, 2),
        nn.Flatten(), nn.Linear(6 * 16, 10), nn.BatchNorm1d(10), nn.ReLU(True), nn.Dropout(), nn.Linear(10, 4),
    )  # fmt: skip


class DenseNet(nn.Module):
    """Layers that see the concatenation of all before them, and a transition that pools without a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (4, 6, 4, 6))
        self.convs = nn.ModuleList(nn.Conv2d(n, 2, 3, padding=1, bias=False) for n in (4, 6, 4, 6))
        self.transition = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1, bias=False), nn.AvgPool2d(2))
        self.norm = nn.BatchNorm2d(8)
        self.classifier = nn.Linear(8, 3)

    def block(self, x, first: int):
        features = [x]
        for norm, conv in zip(self.norms[first : first + 2], self.convs[first : first + 2], strict=True):
            features.append(conv(functional.relu(norm(torch.cat(features, 1)))))
        return torch.cat(features, 1)

    def forward(self, x):
        x = self.block(self.transition(self.block(self.stem(x), 0)), 2)
        x = functional.adaptive_avg_pool2d(functional.relu(self.norm(x), inplace=True), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class Shuffle(nn.Module):
    """ShuffleNet's pattern: channels are halved, one half goes on, then all are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.last = nn.Conv2d(8, 4, 1, groups=2)
        self.linear = nn.Linear(4 * 16, 3)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        kept, changed = x.chunk(2, dim=1)
        x = torch.cat((kept, functional.relu(self.branch(changed))), dim=1)
        n, c, height, width = x.shape
        x = x.view(n, 2, c // 2, height, width).transpose(1, 2).contiguous().view(n, c, height, width)
        x = functional.relu(self.last(x))
        return self.linear(x.permute(0, 2, 3, 1).reshape(n, -1))


class Twice(nn.Module):
    """One convolution that is called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3 * 64, 2)

    def forward(self, x):
        for _ in range(3):
            x = self.conv(x).relu_()
        return self.linear(x.flatten(1))


class Normalised(nn.Module):
    """Normalises its input by buffers and then pads with zeros, which are no longer black."""

    def __init__(self, padding=1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1))
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=padding), nn.Conv2d(4, 4, 3, 2)
        self.linear = nn.Linear(4 * 9, 3)

    def forward(self, x):
        x = (x - self.mean) / self.std
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        return self.linear(x.flatten(1)) / 2 + 1


class Asking(nn.Module):
    """Asks for its input's size in a way that `torch.fx` cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.drop, self.conv2 = nn.Dropout(0.3), nn.Conv2d(4, 4, 3, 1, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))

    def forward(self, x):
        if x.shape[-1] != 8:
            raise ValueError("images are 8 pixels wide")
        x = self.drop(functional.relu(self.bn1(self.conv1(x)), inplace=True))
        x = functional.relu6(self.conv2(x) + x)
        return self.head(functional.avg_pool2d(x, 2))
