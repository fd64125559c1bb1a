"""Constrained networks that convert to RMP-SNNs without loss of structure.

The constraints are those under which Han, Srinivasan and Roy (RMP-SNN, CVPR 2020, arXiv:2003.01811) train the networks
that they convert: no batch normalisation and no bias, ReLU as the only activation, dropout as the regulariser, average
instead of maximum pooling. Inputs lie in [0, 1], because they become firing rates.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training with Adam and a cosine schedule.

    Attributes
    ----------
    epochs : int
        Passes over the training images.
    batch_size : int
        Images per step.
    learning_rate : float
        Learning rate of the first step; it falls to zero along half a cosine.
    """

    epochs: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class ModelSpec:
    """An entry of `MODELS`.

    Attributes
    ----------
    build : callable
        Takes no argument, returns a freshly initialised `nn.Sequential` from images (N, C, H, W) to logits (N, K).
    input_shape : tuple of int
        Shape (C, H, W) of one image, float32 in [0, 1].
    classes : int
        Number K of logits.
    dataset : str
        Name of the data set that the network is meant for, as `rmp_lava.ann.data.load` takes it.
    recipe : Recipe
        Hyperparameters that are used unless the caller gives others.
    """

    build: Callable[[], nn.Sequential]
    input_shape: tuple[int, int, int]
    classes: int
    dataset: str
    recipe: Recipe


def digits_cnn() -> nn.Sequential:
    """Two convolutions and a dense layer for 1x8x8 digits: (N, 1, 8, 8) to logits (N, 10), 3,660 weights.

    Constraints as in the module's docstring. It is small because Lava's CPU simulator calls one scipy convolution per
    pair of channels and time step.
    """
    return _initialise(
        nn.Sequential(
            OrderedDict(
                conv1=_conv3x3(1, 12),
                relu1=nn.ReLU(),
                pool1=nn.AvgPool2d(2),
                dropout1=nn.Dropout(0.2),
                conv2=_conv3x3(12, 24),
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

    Constraints as in the module's docstring; 18,944 spiking neurons between input and output if pooling is folded.
    """
    return _initialise(
        nn.Sequential(
            OrderedDict(
                conv1=_conv3x3(1, 16),
                relu1=nn.ReLU(),
                pool1=nn.AvgPool2d(2),
                dropout1=nn.Dropout(0.2),
                conv2=_conv3x3(16, 32),
                relu2=nn.ReLU(),
                pool2=nn.AvgPool2d(2),
                dropout2=nn.Dropout(0.2),
                flatten=nn.Flatten(),
                dense1=nn.Linear(32 * 7 * 7, 128, bias=False),
                relu3=nn.ReLU(),
                dropout3=nn.Dropout(0.2),
                dense2=nn.Linear(128, 10, bias=False),
            )
        )
    )


MODELS: dict[str, ModelSpec] = {
    "digits-cnn": ModelSpec(digits_cnn, (1, 8, 8), 10, "digits", Recipe(80, 32, 5e-3)),
    "fashion-cnn": ModelSpec(fashion_cnn, (1, 28, 28), 10, "fashion-mnist", Recipe(15, 128, 2e-3)),
}


def model_spec(name: str) -> ModelSpec:
    """The entry of `MODELS` with this name; raises `UsageError` if there is none."""
    if name not in MODELS:
        raise UsageError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def _conv3x3(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False)


def _initialise(network: nn.Sequential) -> nn.Sequential:
    """Draw weights from a normal distribution with variance 2 / fan-in (He et al., ICCV 2015).

    Without batch normalisation nothing else keeps the activations' scale from layer to layer; the RMP-SNN paper
    initialises its bias-free networks in the same manner.
    """
    for module in network:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network
