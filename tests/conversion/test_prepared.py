"""Images in other shapes, and normalisation, as parts of the conversion."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import fx, nn

from rmp_lava.backends import run
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert as convert_usually, tune
from rmp_lava.conversion.tracing.export_front import export
from rmp_lava.errors import DataError, UsageError

convert = partial(convert_usually, method="paper", encoding="current")
"""Takes a fifth of the time."""
LOW, HIGH, MEAN, STD = -1.0, 3.0, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def images(*shape, count=12):
    return np.random.default_rng(0).random((count, *shape), dtype=np.float32)


def padded(channels=3):
    torch.manual_seed(0)
    layers = (nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 9, 3))


class Inside(nn.Module):
    """The same network with its normalisation written by hand."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        mean, std = (torch.tensor(each).reshape(-1, 1, 1) for each in (MEAN, STD))
        return self.network((x * (HIGH - LOW) + LOW - mean) / std)


def test_a_normalisation_that_is_passed_equals_one_that_is_written_inside():
    pixels = images(3, 6, 6)
    passed = convert_usually(padded(), pixels, steps=4, input_range=(LOW, HIGH), mean=MEAN, std=STD)
    inside = convert_usually(Inside(padded()), pixels, steps=4)
    assert passed.integer["0"].neurons.bias.shape == (4, 6, 6)  # the border's zeros are not the mean
    for name in ("floating", "integer"):
        for one, other in zip(getattr(passed, name), getattr(inside, name), strict=True):
            assert one.neurons.threshold == pytest.approx(other.neurons.threshold, rel=1e-5)
            for a, b in zip(one.synapses, other.synapses, strict=True):
                np.testing.assert_allclose(a.weight, b.weight, atol=1e-5)
    found, expected = (run(each.integer, pixels, 4, record=["spikes"]) for each in (passed, inside))
    assert (found.output == expected.output).all()
    assert all(
        (found.spikes[a.name] == expected.spikes[b.name]).all()
        for a, b in zip(passed.integer, inside.integer, strict=True)
    )
    assert passed.stages(pixels)[1].score.error < 1e-5  # folded, against the trained network itself
    uint8 = (pixels * 255).astype(np.uint8)
    assert (run(passed.integer, uint8, 4).output == run(passed.integer, uint8 / np.float32(255), 4).output).all()


def test_a_program_may_be_normalised_too():
    program = export(padded(), torch.rand(2, 3, 6, 6))
    pixels = images(3, 6, 6)
    found = convert(program, pixels, steps=4, mean=MEAN, std=STD)
    assert found.stages(pixels)[1].score.error < 1e-5
    expected = convert(padded(), pixels, steps=4, mean=MEAN, std=STD)
    assert (run(found.integer, pixels, 4).output == run(expected.integer, pixels, 4).output).all()


def test_check_tells_where_a_normalisation_goes():
    (finding,) = (f for f in check(padded(), images(3, 6, 6), mean=0.5).findings if f.where == "input")
    assert finding.found == "is normalised" and finding.remedy == "folded into the weights of layer '0'"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"input_range": (1, 0)}, "input_range is (1, 0); give two finite numbers, the smaller one first"),
        ({"input_range": (0, np.nan)}, "input_range is (0, nan)"),
        ({"input_range": (0, 1, 2)}, "input_range is (0, 1, 2); give two finite numbers"),
        ({"input_range": 1}, "input_range is 1; give two finite numbers"),
        ({"mean": "a"}, "mean is 'a'; give numbers"),
        (
            {"mean": (1, 2)},
            "mean has 2 values, but the images have 3 channels; give one finite number, or one for each",
        ),
        ({"std": (1, 0, 1)}, "std has the value 0; standard deviations are positive"),
    ],
)
def test_statistics_that_are_none(options, message):
    with pytest.raises(UsageError) as error:
        check(padded(), images(3, 6, 6), **options)
    assert message in str(error.value)


@pytest.mark.parametrize("kind", ["transforms", "transforms.v2"])
def test_torchvisions_normalize_is_folded(kind):
    module = pytest.importorskip(f"torchvision.{kind}", reason="torchvision is not installed")
    pixels = images(3, 6, 6)
    found = convert(nn.Sequential(module.Normalize(MEAN, STD), *padded()), pixels, steps=4)
    expected = convert(padded(), pixels, steps=4, mean=MEAN, std=STD)
    assert (run(found.integer, pixels, 4).output == run(expected.integer, pixels, 4).output).all()


def test_torchvisions_function_is_folded():
    functions = pytest.importorskip("torchvision.transforms.functional", reason="torchvision is not installed")

    class ByFunction(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = padded()

        def forward(self, x):
            return self.network(functions.normalize(x, MEAN, std=STD)) if isinstance(x, torch.Tensor | fx.Proxy) else x

    pixels = images(3, 6, 6)
    found = convert(ByFunction(), pixels, steps=4)
    expected = convert(padded(), pixels, steps=4, mean=MEAN, std=STD)
    assert (run(found.integer, pixels, 4).output == run(expected.integer, pixels, 4).output).all()


class Unsqueezed(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = padded(1)

    def forward(self, x):
        return self.network(x.unsqueeze(1))


def rows(channels):
    torch.manual_seed(0)
    layers = (nn.Conv1d(channels, 4, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 4, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 3))


SHAPES = {
    "rows": (lambda: rows(2), (2, 8), (2, 1, 8)),
    "rows that have a height": (lambda: rows(2), (2, 1, 8), (2, 1, 8)),
    "two rows": (lambda: rows(1), (8,), (1, 1, 8)),  # PyTorch would take them for one row without a batch
    "images without channels": (lambda: padded(1), (6, 6), (1, 6, 6)),
    "a network that adds the channels": (Unsqueezed, (6, 6), (1, 6, 6)),
    "a network that adds the channels to what has them": (Unsqueezed, (1, 6, 6), (1, 6, 6)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_images(name):
    make, given, held = SHAPES[name]
    model, pixels = make(), images(*given)
    assert check(model, pixels).convertible
    conversion = convert(model, pixels, steps=4, mean=0.5, std=0.25)
    assert conversion.integer.input.shape == held
    assert conversion.stages(pixels)[1].score.error < 1e-5
    expected = run(conversion.integer, pixels.reshape(-1, *held), 4).output
    assert (run(conversion.integer, pixels, 4).output == expected).all()


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = padded()

    def forward(self, x):
        return self.network(x.sub_(x.new_tensor(MEAN)[:, None, None]).div_(0.5))


def test_images_stay_what_they_are_where_forward_changes_its_own():
    pixels = images(3, 6, 6)
    before = pixels.copy()
    found = convert(InPlace(), pixels, steps=4)
    assert found.stages(pixels)[1].score.error < 1e-5 and (pixels == before).all()
    expected = convert(padded(), pixels, steps=4, mean=MEAN, std=0.5)
    assert (run(found.integer, pixels, 4).output == run(expected.integer, pixels, 4).output).all()


def test_a_network_that_takes_its_images_as_they_are_stays_itself():
    model = padded()
    assert convert(model, images(3, 6, 6), steps=2).model is model


def test_other_shapes_are_refused():
    network = convert(padded(1), images(6, 6), steps=2).integer
    with pytest.raises(DataError, match=r"images have shape \(12, 36\); the network takes \(samples, 1, 6, 6\)"):
        run(network, images(36), 2)
    with pytest.raises(DataError, match=r"images have shape \(6, 6\)"):
        run(network, images(6, 6)[0], 2)


def test_rows_are_tuned():
    pixels, labels = images(2, 8), np.arange(12) % 3
    held_out = pixels[:3, :, None], labels[:3]
    tuned = tune(rows(2), pixels, labels, steps=2, epochs=1, mean=0.5, std=0.25, validation=held_out)
    assert tuned.integer.input.shape == (2, 1, 8) and len(tuned.stages(pixels, labels)) == 4


@pytest.mark.lava
@pytest.mark.slow
def test_normalised_rows_spike_the_same_in_lava():
    from rmp_lava.backends import Lava, Reference
    from rmp_lava.conversion.quantization import Quantization

    pixels = images(2, 8, count=4)
    network = convert(rows(2), pixels, steps=4, mean=0.5, std=0.25, quantization=Quantization(for_board=True)).integer
    found, expected = (
        run(network, pixels, 4, options(implementation="stock"), record=["spikes", "potentials"])
        for options in (Lava, Reference)
    )
    for layer in network:
        assert (found.spikes[layer.name] == expected.spikes[layer.name]).all()
    assert (found.output == expected.output).all()
