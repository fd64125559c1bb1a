"""Small networks that run on Lava's CPU simulator in seconds to minutes."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from .layers import conv3x3, initialise


def digits_cnn() -> nn.Sequential:
    """Two convolutions and a dense layer for 1x8x8 digits: (N, 1, 8, 8) to logits (N, 10), 3,660 weights.

    Constraints as in the package's docstring. Small, because Lava's CPU simulator calls one scipy convolution per pair of
    channels and time step.
    """
    return initialise(
        nn.Sequential(
            OrderedDict(
                conv1=conv3x3(1, 12),
                relu1=nn.ReLU(),
                pool1=nn.AvgPool2d(2),
                dropout1=nn.Dropout(0.2),
                conv2=conv3x3(12, 24),
                relu2=nn.ReLU(),
                pool2=nn.AvgPool2d(2),
                flatten=nn.Flatten(),
                dropout2=nn.Dropout(0.2),
                dense=nn.Linear(24 * 2 * 2, 10, bias=False),
            )
        )
    )


def fashion_cnn() -> nn.Sequential:
    """Two convolutions and two dense layers for Fashion-MNIST: (N, 1, 28, 28) to logits (N, 10), 206,736 weights.

    Constraints as in the package's docstring; 18,944 spiking neurons between input and output if pooling is folded.
    """
    return _two_and_two(1, 7)


def nmnist_cnn() -> nn.Sequential:
    """The same for mean frames of N-MNIST, (N, 2, 34, 34), 268,320 weights."""
    return _two_and_two(2, 8)


def _two_and_two(channels: int, side: int) -> nn.Sequential:
    """Two convolutions of images of so many channels, after whose poolings they have this side, and two dense layers."""
    return initialise(
        nn.Sequential(
            OrderedDict(
                conv1=conv3x3(channels, 16),
                relu1=nn.ReLU(),
                pool1=nn.AvgPool2d(2),
                dropout1=nn.Dropout(0.2),
                conv2=conv3x3(16, 32),
                relu2=nn.ReLU(),
                pool2=nn.AvgPool2d(2),
                dropout2=nn.Dropout(0.2),
                flatten=nn.Flatten(),
                dense1=nn.Linear(32 * side * side, 128, bias=False),
                relu3=nn.ReLU(),
                dropout3=nn.Dropout(0.2),
                dense2=nn.Linear(128, 10, bias=False),
            )
        )
    )
