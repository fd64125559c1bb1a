"""Random changes of training images that leave their labels true."""

from __future__ import annotations

import torch
from torch.nn import functional

AUGMENTATIONS = ("none", "crop-flip", "crop-flip-cutout")

PADDING = 4
"""Pixels of zeros on each side before a crop, as He et al. (CVPR 2016, section 4.2) train on CIFAR-10."""


HOLE = 1 / 2
"""Side of the square that is cut out, over that of the image: 16 of 32 pixels, as DeVries and Taylor have it for CIFAR-10."""


def augment(images: torch.Tensor, how: str, generator: torch.Generator) -> torch.Tensor:
    """Change images as one of `AUGMENTATIONS` says; arguments and result as of `crop_flip`."""
    if how == "none":
        return images
    images = crop_flip(images, generator)
    return cut_out(images, generator) if how == "crop-flip-cutout" else images


def cut_out(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Set a square of each image to zero, at a random place that may lie partly outside (arXiv:1708.04552).

    Arguments and result as of `crop_flip`; the images are changed in place.
    """
    count, _, height, width = images.shape
    inside = []
    for size in (height, width):
        centre = torch.randint(0, size, (count, 1), generator=generator)
        inside.append(((torch.arange(size) - centre).abs() < size * HOLE / 2).to(images.device))
    return images.masked_fill_((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


def crop_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pad with zeros, crop at a random place to the old size, and flip every second image left to right.

    Parameters
    ----------
    images : torch.Tensor
        (N, C, H, W), any dtype.
    generator : torch.Generator
        On the CPU; decides places and flips, so that they are the same on every device.

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
