"""Residual networks (He et al., CVPR 2016) in the form that the RMP-SNN paper converts.

Two changes are those of Sengupta et al. (Frontiers in Neuroscience 13:95, 2019), whose networks the paper uses: a stack of
three 3x3 convolutions with dropout between them ("pre-processing") replaces the first wide convolution, so that the first
addition does not come too early for spikes, and pooling is average pooling. A shortcut is the identity, or a 1x1 convolution
where the shape changes; a ReLU follows the addition. With normalisation there is dropout only before the dense layer.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from .layers import activation, conv3x3, initialise, normalisation, scaled, which_norm

_STAGES = (64, 128, 256, 512)


def resnet(
    blocks: tuple[int, ...],
    first_stride: int,
    last_pool: int,
    positions: int,
    *,
    width: float,
    batch_norm: bool,
    scale_norm: bool,
    classes: int,
    dropout: float,
    levels: int,
) -> nn.Sequential:
    """A stack of three convolutions, pooling, four stages of blocks, and a dense layer.

    With two blocks per stage for (N, 3, 32, 32) it is the ResNet-20 that the authors' group published with its hybrid training
    (Rathi et al., ICLR 2020, arXiv:2005.01807). He's ResNet-20 for CIFAR-10 has three stages of 16, 32 and 64 channels; width
    0.25 is closest to it.

    `blocks` is their number per stage, `first_stride` that of the stack, `last_pool` the side of the average pooling before the
    dense layer (0 for none), `positions` height times width after it. For the options see `ModelSpec`.
    """
    norm = which_norm(batch_norm, scale_norm)
    channels = scaled(_STAGES[0], width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stack"] = _stack(channels, first_stride, norm, dropout, levels)
    layers["pool1"] = nn.AvgPool2d(2)
    for stage, (size, count) in enumerate(zip(_STAGES, blocks, strict=True), 1):
        made = []
        for place in range(count):
            before, channels = channels, scaled(size, width)
            made.append(Block(before, channels, 2 if stage > 1 and place == 0 else 1, norm, dropout, levels))
        layers[f"stage{stage}"] = nn.Sequential(*made)
    if last_pool:
        layers["pool2"] = nn.AvgPool2d(last_pool)
    layers["flatten"] = nn.Flatten()
    if norm:
        layers["dropout"] = nn.Dropout(dropout)
    layers["dense"] = nn.Linear(channels * positions, classes, bias=norm == "batch")
    network = nn.Sequential(layers)
    return network if norm else _initialise(network, sum(blocks))


class Block(nn.Module):
    """Two 3x3 convolutions in parallel with a shortcut: (N, C, H, W) to (N, K, H / stride, W / stride).

    Without normalisation, dropout follows the first ReLU.
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, norm: str | None, dropout: float, levels: int
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels_in, channels_out, stride)
        self.bn1 = normalisation(channels_out, norm)
        self.relu1 = activation(levels)
        self.dropout = nn.Identity() if norm else nn.Dropout(dropout)
        self.conv2 = conv3x3(channels_out, channels_out)
        self.bn2 = normalisation(channels_out, norm)
        self.shortcut = _shortcut(channels_in, channels_out, stride, norm)
        self.relu2 = activation(levels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        branch = self.dropout(self.relu1(self.bn1(self.conv1(images))))
        branch = self.bn2(self.conv2(branch))
        return self.relu2(branch + self.shortcut(images))


def _stack(channels: int, stride: int, norm: str | None, dropout: float, levels: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for place in (1, 2, 3):
        first = place == 1
        layers[f"conv{place}"] = conv3x3(3 if first else channels, channels, stride if first else 1)
        if norm:
            layers[f"bn{place}"] = normalisation(channels, norm)
        layers[f"relu{place}"] = activation(levels)
        if place < 3 and not norm:
            layers[f"dropout{place}"] = nn.Dropout(dropout)
    return nn.Sequential(layers)


def _shortcut(channels_in: int, channels_out: int, stride: int, norm: str | None) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(channels_in, channels_out, kernel_size=1, stride=stride, bias=False)
    if norm:
        layers["bn"] = normalisation(channels_out, norm)
    return nn.Sequential(layers)


def _initialise(network: nn.Sequential, blocks: int) -> nn.Sequential:
    """As `initialise`, with the last convolution of each block divided by the square root of the number of blocks.

    Otherwise each addition adds the variances of both paths, and activations grow exponentially with depth (Zhang,
    Dauphin, Ma: Fixup, ICLR 2019, section 2).
    """
    initialise(network)
    for module in network.modules():
        if isinstance(module, Block):
            with torch.no_grad():
                module.conv2.weight *= blocks**-0.5
    return network
