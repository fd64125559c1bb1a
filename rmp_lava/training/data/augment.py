"""Data augmentation: random changes that keep an image's label, and one that mixes two images and their labels."""

from __future__ import annotations

import torch
from torch.nn import functional

from ...choices import Augmentation

PADDING = 4
"""Pixels of zeros on each side before a crop, as He et al. (CVPR 2016, section 4.2) train on CIFAR-10."""

HOLE = 1 / 2
"""Side of the square that is cut out, as a fraction of the image's: 16 of 32 pixels, as DeVries and Taylor use for CIFAR-10."""

MIXED = 0.5
"""Fraction of the images that CutMix mixes, as Yun et al. (ICCV 2019, section 4.1.2) use for CIFAR."""


def augment(images: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Augmented images; arguments and result as for `crop_flip`."""
    if how == "none":
        return images
    images = crop_flip(images, generator)
    return cut_out(images, generator) if how == "crop-flip-cutout" else images


def cut_out(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Set a square of each image to zero, at a random place that may lie partly outside (arXiv:1708.04552).

    Arguments and result as for `crop_flip`; the images are changed in place.
    """
    side = torch.full((len(images), 1), HOLE)
    rows, columns = (_near(size, side, generator) for size in images.shape[2:])
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None].to(images.device), 0)


def crop_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pad with zeros, crop to the old size at a random position, and flip each image left to right with probability 1/2.

    Parameters
    ----------
    images : torch.Tensor
        (N, C, H, W), any dtype.
    generator : torch.Generator
        On the CPU, so that positions and flips are the same on every device.

    Returns
    -------
    torch.Tensor
        (N, C, H, W) as given, in channels-last memory order.
    """
    count, _, height, width = images.shape
    device = images.device
    padded = functional.pad(images, (PADDING,) * 4).permute(0, 2, 3, 1)
    top, left = torch.randint(0, 2 * PADDING + 1, (2, count, 1), generator=generator).to(device)
    flipped = (torch.rand(count, 1, generator=generator) < 0.5).to(device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    columns = torch.where(flipped, columns.flip(1), columns)
    samples = torch.arange(count, device=device)[:, None, None]
    return padded[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cut_mix(images: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Put a rectangle of another image into some images (CutMix: Yun et al., ICCV 2019, arXiv:1905.04899).

    Image n of the batch, whose order is random anyway, is mixed with image N - 1 - n. Sizes and positions are drawn as in the
    paper, but for each image separately: the fraction of the area uniformly, the centre anywhere, so that part of the
    rectangle may be outside. Arguments as for `crop_flip`.

    Returns the images, and of each the fraction that is still its own, float32 (N,) on the device of the images. It weights the
    image's label in the loss; the rest is the other image's.
    """
    count, _, height, width = images.shape
    mixed = torch.rand(count, 1, generator=generator) < MIXED
    side = torch.rand(count, 1, generator=generator).sqrt()
    rows, columns = (_near(size, side, generator) for size in (height, width))
    taken = (mixed & rows)[:, :, None] & columns[:, None, :]
    kept = 1 - taken.float().mean(dim=(1, 2))
    return torch.where(taken[:, None].to(images.device), images.flip(0), images), kept.to(images.device)


def _near(size: int, side: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(N, size), bool: positions within half a side (a fraction of the size) of a random centre."""
    centre = torch.randint(0, size, (len(side), 1), generator=generator)
    return (torch.arange(size) - centre).abs() < side * size / 2
