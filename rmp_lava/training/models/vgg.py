"""VGG-16 (Simonyan, Zisserman, ICLR 2015) with average instead of maximum pooling, as the RMP-SNN paper converts it.

Dropout is placed as in Sengupta et al. (Frontiers in Neuroscience 13:95, 2019), whose networks the paper uses, in place of
batch normalisation: after every ReLU that is not followed by pooling. With normalisation it is only before the hidden dense
layers.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from .layers import activation, conv3x3, initialise, normalisation, scaled, which_norm

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16_cifar(
    *, width: float, batch_norm: bool, scale_norm: bool, classes: int, dropout: float, levels: int
) -> nn.Sequential:
    """VGG-16 for (N, 3, 32, 32), hidden dense layers of 512 neurons, 15.2 million weights at width 1."""
    return _vgg16(512, 1, width, which_norm(batch_norm, scale_norm), classes, dropout, levels)


def vgg16_imagenet(
    *, width: float, batch_norm: bool, scale_norm: bool, classes: int, dropout: float, levels: int
) -> nn.Sequential:
    """VGG-16 for (N, 3, 224, 224), hidden dense layers of 4,096 neurons, 138 million weights at width 1."""
    return _vgg16(4096, 7 * 7, width, which_norm(batch_norm, scale_norm), classes, dropout, levels)


def _vgg16(
    hidden: int,
    positions: int,
    width: float,
    norm: str | None,
    classes: int,
    dropout: float,
    levels: int,
) -> nn.Sequential:
    """13 convolutions and three dense layers; `positions` is height times width after the last pooling."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for stage, sizes in enumerate(_STAGES, 1):
        for place, size in enumerate(sizes, 1):
            name, before = f"{stage}_{place}", channels
            channels = scaled(size, width)
            layers[f"conv{name}"] = conv3x3(before, channels)
            if norm:
                layers[f"bn{name}"] = normalisation(channels, norm)
            layers[f"relu{name}"] = activation(levels)
            if not norm and place < len(sizes):
                layers[f"dropout{name}"] = nn.Dropout(dropout)
        layers[f"pool{stage}"] = nn.AvgPool2d(2)
    layers["flatten"] = nn.Flatten()
    features = channels * positions
    for place in (1, 2):
        neurons = scaled(hidden, width)
        if norm:
            layers[f"dropout{place}"] = nn.Dropout(dropout)
        layers[f"dense{place}"] = nn.Linear(features, neurons, bias=False)
        if norm:
            layers[f"bn{place}"] = normalisation(neurons, norm, flat=True)
        layers[f"relu{place}"] = activation(levels)
        if not norm:
            layers[f"dropout{place}"] = nn.Dropout(dropout)
        features = neurons
    layers["dense3"] = nn.Linear(features, classes, bias=norm == "batch")
    network = nn.Sequential(layers)
    return network if norm else initialise(network)
