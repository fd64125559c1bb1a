"""What the networks share: convolutions without bias, scaled channels, and the initialisation without normalisation."""

from __future__ import annotations

from torch import nn


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps height and width at stride 1."""
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False)


def scaled(channels: int, width: float) -> int:
    """Channels at a width factor, at least one."""
    return max(1, round(channels * width))


def initialise(network: nn.Module) -> nn.Module:
    """Draw weights from a normal distribution with variance 2 / fan-in (He et al., ICCV 2015).

    Without batch normalisation nothing else keeps the activations' scale from layer to layer; the RMP-SNN paper
    initialises its bias-free networks in the same manner.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network
