"""Images are values in [0, 1] or 8-bit pixels; anything else is refused with what to do about it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import rmp_lava
from rmp_lava.encoding import check_images, make_input
from rmp_lava.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 1, 5, 5), dtype=np.uint8)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))


def test_8_bit_pixels_give_what_their_values_in_0_to_1_give():
    values = PIXELS.astype(np.float32) / 255
    found, expected = (rmp_lava.convert(model(), images, steps=8) for images in (PIXELS, values))
    assert found.integer == expected.integer
    runs = [rmp_lava.run(found.integer, images, 8) for images in (PIXELS, values)]
    assert np.array_equal(runs[0].output, runs[1].output)
    labels = np.arange(40) % 3
    measured = [found.measure(images, labels) for images in (PIXELS, values)]
    assert measured[0] == measured[1]
    assert rmp_lava.check(model(), PIXELS).convertible and rmp_lava.check(model(), torch.from_numpy(PIXELS)).convertible


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (PIXELS.astype(np.float32), "divide 8-bit pixels by 255, or pass them as uint8"),
        (PIXELS.astype(np.int64), "divide 8-bit pixels by 255, or pass them as uint8"),
        (PIXELS.astype(np.uint16) * 257, "divide the pixels by their largest possible value"),
        (
            (PIXELS / 255 - 0.45) / 0.22,
            "put mean and std inside the network, or pass them to convert (--mean, --std)",
        ),
        (PIXELS / 127.5 - 1, "pass (images - low) / (high - low), and input_range=(low, high) to convert"),
        (PIXELS / 255 * 1.1 - 0.05, "clip them to [0, 1]"),
        ((PIXELS > 127).astype(np.uint8), "pass values that are in [0, 1] already as float32"),
        (np.full((2, 1, 5, 5), np.nan), "pass finite values"),
        (np.full((2, 1, 5, 5), np.inf), "pass finite values"),
    ],
)
def test_other_values_are_refused_with_their_remedy(images, remedy):
    with pytest.raises(DataError) as error:
        check_images(images, make_input("current", (1, 5, 5)))
    assert remedy in str(error.value)
    (finding,) = rmp_lava.check(model(), images).obstacles
    assert finding.where == "input" and remedy in finding.remedy


@pytest.mark.slow
def test_the_remedies_lead_to_a_conversion():
    class Standardised(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model()

        def forward(self, x):
            return self.inner((x - 0.45) / 0.22)

    assert rmp_lava.convert(Standardised(), PIXELS, steps=4).integer.is_integer
    for images in (PIXELS.astype(np.float64) / 255, np.clip(PIXELS / 255 * 1.1 - 0.05, 0, 1), PIXELS > 127):
        assert rmp_lava.convert(model(), images, steps=4).integer.is_integer


def test_black_8_bit_images_are_images():
    assert not check_images(np.zeros((2, 1, 5, 5), np.uint8), make_input("rate", (1, 5, 5))).any()


def test_a_network_that_divides_pixels_itself_is_told_that_images_are_in_0_to_1():
    class Divides(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model()

        def forward(self, x):
            return self.inner(x.float() / 255.0)

    (finding,) = rmp_lava.check(Divides(), PIXELS).obstacles
    assert "divides the image by 255" in finding.found and "remove the division" in finding.remedy
