"""Networks that were trained on the means of events, and take the events."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from signals import saccades, sounds, trained
from torch import nn

from rmp_lava.backends import Reference, run
from rmp_lava.conversion.check import check
from rmp_lava.conversion.frontier import frontier
from rmp_lava.conversion.pipeline import convert, tune
from rmp_lava.conversion.trace import trace
from rmp_lava.conversion.tunable import make_tunable
from rmp_lava.encoding import event_counts, make_input
from rmp_lava.errors import ConversionError, DataError, UsageError
from rmp_lava.hardware import load_profile
from rmp_lava.netx import load, save
from rmp_lava.training.data import load as load_data

quickly = partial(convert, method="paper", encoding="spikes")
"""Takes a fifth of the time."""


def counts(*shape: int, most: int = 3, seed: int = 0) -> np.ndarray:
    """Numbers of events of each step and pixel, uint8."""
    return np.minimum(np.random.default_rng(seed).poisson(0.5, shape), most).astype(np.uint8)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))


def rows() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))


def values() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("make, shape", [(small, (2, 4, 4)), (rows, (2, 8)), (values, (10,))])
def test_events_of_every_shape_or_their_means(make, shape):
    events = counts(30, 6, *shape)
    assert check(make(), events, encoding="spikes").convertible
    conversion = quickly(make(), events, steps=6)
    held = shape if len(shape) != 2 else (2, 1, 8)
    assert conversion.integer.input == make_input("spikes", held, 127)
    found = run(conversion.integer, events, 6, record=["spikes"])
    expected = run(conversion.integer, events, 6, Reference(), record=["spikes"])
    assert all((found.spikes[name] == expected.spikes[name]).all() for name in expected.spikes)
    assert (found.output == expected.output).all()
    assert conversion.stages(events)[1].score.error < 1e-5  # folded, against the trained network on the means
    of_means = quickly(make(), events.mean(axis=1), steps=6)
    assert of_means.integer.input.shape == held and of_means.floating.output_scale is not None
    assert len(conversion.layer_fidelity(events)) == 2


def test_an_event_counts_like_a_spike(tmp_path):
    events = counts(30, 4, 10)
    integer = quickly(values(), events, steps=4).integer
    assert load(save(integer, tmp_path / "a.net")) == integer
    first = integer.layers[0].synapses[0].weight.astype(int)
    spread, together = np.zeros((1, 4, 10), int), np.zeros((1, 4, 10), int)
    spread[0, :3, 5], together[0, 0, 5] = 1, 3
    quiet = integer.map_layers(lambda layer: layer.replace(neurons=layer.neurons.replace(reset="none", bias=None)))
    alone = quiet.replace(layers=quiet.layers[:1], readout="potential", class_names=())
    results = [run(alone, each, 4).output for each in (spread, together)]
    assert (results[0] == results[1]).all() and (
        results[0][0] >> 6 == 3 * first[:, 5] + alone.layers[0].neurons.v_init
    ).all()


def test_single_events_are_spikes():
    events = counts(30, 4, 10, most=1)
    integer = quickly(values(), events, steps=4).integer
    assert integer.input.levels == 1
    with pytest.raises(DataError, match=r"messages contain values in \[0, 2\]; the network takes integers in \[0, 1\]"):
        run(integer, 2 * events, 4)


def test_a_chip_without_graded_messages_takes_single_events():
    from rmp_lava.conversion.quantization import Quantization

    events, old = counts(30, 4, 10), Quantization("loihi1")
    with pytest.raises(
        ConversionError, match=r"messages of chip 'loihi1' reach 1; convert with .* np.minimum\(events, 1\)"
    ):
        quickly(values(), events, steps=4, quantization=old)
    assert quickly(values(), np.minimum(events, 1), steps=4, quantization=old).integer.input.levels == 1


def test_what_are_no_events_is_refused():
    for wrong, found in ((counts(9, 4, 10) * 0.5, r"in \[0, 1.5\]"), (-counts(9, 4, 10).astype(int), r"in \[-3, 0\]")):
        with pytest.raises(
            DataError, match=f"events have values {found}; they are numbers of events per step and pixel"
        ):
            quickly(values(), wrong, steps=4)
    with pytest.raises(DataError, match="mean frames have values in"):
        quickly(values(), -counts(9, 10).astype(np.float32), steps=4)
    with pytest.raises(UsageError, match="augmentation is 'crop-flip', which is for images, not for events"):
        tune(small(), counts(9, 4, 2, 4, 4), np.arange(9) % 3, steps=4, encoding="spikes", augmentation="crop-flip")


def test_events_without_their_encoding_get_a_hint():
    with pytest.raises(ConversionError, match="events over time are taken by encoding 'spikes'"):
        convert(small(), counts(9, 4, 2, 4, 4, most=1), steps=4)


def test_choices_of_events_keep_their_time_steps():
    events = counts(30, 4, 10)
    conversion = quickly(values(), events, steps=4, v_init="half")
    assert [(point.steps, point.wait) for point in frontier(conversion, events).points] == [
        (4, 0),
        (4, 1),
        (4, 2),
        (4, 4),
    ]


def test_tuning_computes_what_neurons_do_with_events():
    events = event_counts(counts(5, 4, 10))
    analog = trace(values(), make_input("spikes", (10,), 127), events.mean(axis=1))
    model = make_tunable(analog, events, 4, load_profile("loihi2"), "stock")
    for layer in model.analog:
        layer.quantizer = None
    scale = model._scales[analog.layers[0].name]().item()
    model.use("spikes")
    with torch.no_grad():
        found = model(torch.from_numpy(events).float()).numpy()
    (first, second), potential = analog.layers, np.full((5, 8), scale / 2)
    outputs = np.zeros((5, 3))
    for step in range(4):
        potential += events[:, step] @ first.synapses[0].weight.T.astype(float) + first.neurons.bias
        spikes = potential > scale
        potential -= scale * spikes
        outputs += scale * spikes @ second.synapses[0].weight.T.astype(float) + second.neurons.bias
    np.testing.assert_allclose(found, outputs / 4, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wait", [0, 2])
def test_tuning_learns_from_events(wait):
    events, labels = counts(24, 2, 10), np.arange(24) % 3
    tuned = tune(values(), events, labels, steps=2, wait=wait, encoding="spikes", epochs=1, validation=(events, labels))
    assert tuned.integer.input == make_input("spikes", (10,), 127) and tuned.integer.wait == wait
    assert tuned.tuning[0].validation_accuracy is not None and len(tuned.stages(events, labels)) == 4


@pytest.mark.slow
def test_a_network_of_an_event_camera_keeps_its_accuracy():
    digits = load_data("digits")
    events, seen = saccades(digits.train_images, 16, 0), saccades(digits.test_images, 16, 1)
    assert events.max() > 2
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(), nn.Flatten())
    model = trained(
        nn.Sequential(*layers, nn.Linear(384, 10)), events.mean(1, np.float32), digits.train_labels, 12, 5e-3
    )
    # An edge sends many events at once, which neurons that wait do not answer before the others have come.
    stages = convert(model, events[:250], steps=16, encoding="spikes", wait=16).stages(seen, digits.test_labels)
    assert stages[0].score.accuracy > 0.9 and stages[0].score.lost_to(stages[-1].score) <= 0.01


@pytest.mark.slow
def test_a_network_that_tells_sounds_apart_keeps_its_accuracy():
    (heard, labels), (others, expected) = sounds(1500, 0), sounds(600, 1)
    torch.manual_seed(0)
    convolutions = (nn.Conv1d(1, 12, 9, 2, 4), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(12, 24, 5, 2, 2), nn.ReLU())
    pooled = (nn.Conv1d(24, 24, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, 6))
    model = trained(nn.Sequential(*convolutions, *pooled), heard, labels, 12, 5e-3)
    conversion = convert(model, (heard[:400] + 1) / 2, steps=16, input_range=(-1, 1))
    stages = conversion.stages((others + 1) / 2, expected)
    assert stages[0].score.accuracy > 0.95 and stages[0].score.lost_to(stages[-1].score) <= 0.01


@pytest.mark.lava
@pytest.mark.slow
def test_events_give_the_same_spikes_in_lava():
    from rmp_lava.backends import Lava

    events = counts(30, 4, 2, 4, 4)
    network = quickly(small(), events, steps=4).integer
    found, expected = (
        run(network, events[:3], 4, each(), record=["spikes", "potentials"]) for each in (Lava, Reference)
    )
    assert all((found.spikes[name] == expected.spikes[name]).all() for name in network.depths)
    assert (found.output == expected.output).all()
