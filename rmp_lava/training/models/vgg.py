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


def vgg16(
    hidden: int,
    positions: int,
    *,
    width: float,
    batch_norm: bool,
    scale_norm: bool,
    classes: int,
    dropout: float,
    levels: int,
) -> nn.Sequential:
    """13 convolutions and three dense layers, two of them hidden with `hidden` neurons at width 1.

    `positions` is height times width after the last pooling; for the options see `ModelSpec`.
    """
    norm = which_norm(batch_norm, scale_norm)
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
