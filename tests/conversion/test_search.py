"""Thresholds are changed where the whole network gains, and a changed activation scale means the same as one chosen at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rmp_lava.backends import run
from rmp_lava.conversion.divergence import TrainedOutputs
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.scale import multiply_scale, shift_initial_potential
from rmp_lava.conversion.search import Accuracy, Outputs, search
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import DataError, UsageError
from rmp_lava.network import SpikingNetwork


def model(clip: float | None = None) -> nn.Module:
    torch.manual_seed(3)
    between = nn.ReLU() if clip is None else nn.Hardtanh(0.0, clip)
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), between, nn.Flatten(), nn.Linear(64, 3))
    model = nn.Sequential(*layers).eval()
    with torch.no_grad():
        model[0].bias.fill_(0.1)
        model[2].bias.fill_(0.1)
    return model


IMAGES = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32)


def converted(**changes) -> SpikingNetwork:
    clip = changes.pop("clip", None)
    options = {"steps": 8, "thresholds": "activation", "calibrate": "none"} | changes
    return convert(model(clip), IMAGES, **options).floating


def traced() -> SpikingNetwork:
    return trace(model(), make_input("current", (1, 8, 8)), IMAGES)


def assert_same(one: SpikingNetwork, other: SpikingNetwork) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.neurons.threshold == b.neurons.threshold and a.neurons.v_init == b.neurons.v_init
        np.testing.assert_array_equal(a.neurons.bias, b.neurons.bias)
        for s, t in zip(a.synapses, b.synapses, strict=True):
            np.testing.assert_array_equal(s.weight, t.weight)
        assert a.record.get("alpha") == b.record.get("alpha")
        assert np.array_equal(a.activation_scale, b.activation_scale)
    assert one.output_scale == other.output_scale


@pytest.mark.parametrize("readout", ["potential", "count"])
@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_multiplied_activation_scale_is_that_of_another_alpha(readout, channelwise, place):
    network = converted(readout=readout, channelwise=channelwise)
    spiking = [layer.name for layer in network if layer.neurons.reset != "none"]
    name = spiking[place]
    # A power of two, so that both are exact.
    at_once = converted(readout=readout, channelwise=channelwise, alpha={name: 4.0})
    assert_same(multiply_scale(network, name, 4.0), at_once)


def test_a_clipped_activation_stays_a_rate_of_one_at_most():
    network = converted(clip=0.05, channelwise=True)
    name = network.layers[1].name
    assert network[name].clip == 0.05 and network[name].activation_scale.tolist() == [0.05] * 4
    assert_same(multiply_scale(network, name, 4.0), network)
    assert multiply_scale(network, name, 0.5)[name].activation_scale.tolist() == [0.025] * 4


def test_a_bad_alpha_is_found_and_what_is_said_is_so():
    labels = model()(torch.from_numpy(IMAGES)).argmax(dim=1).numpy()
    bad = converted(steps=4, alpha={"2": 6.0})
    found = search(bad, Accuracy(IMAGES, labels), 4)
    record = found.provenance["search"]
    assert record["before"] == run(quantize(bad), IMAGES, 4).accuracy(labels)
    assert record["after"] == run(quantize(found), IMAGES, 4).accuracy(labels)
    assert record["after"] > record["before"] + 0.1
    assert found["2"].record["alpha"] < 6.0
    assert quantize(found).provenance["search"] == record


def test_outputs_come_closer_without_any_label():
    trained = TrainedOutputs(traced(), IMAGES)
    bad = converted(steps=4, alpha={"2": 4.0}, v_init="half")
    found = search(bad, Outputs(traced(), IMAGES), 4)
    record = found.provenance["search"]
    assert (record["objective"], record["images"], record["steps"]) == ("outputs", 64, 4)
    assert record["before"] == trained.divergence(quantize(bad), 4)
    assert record["after"] == trained.divergence(quantize(found), 4)
    assert record["after"] < record["before"] / 2
    assert found["2"].record["alpha"] < 4.0


@pytest.mark.slow
def test_convert_searches_where_it_is_told_to():
    labels = model()(torch.from_numpy(IMAGES)).argmax(dim=1).numpy()
    options = {"steps": 4, "alpha": 3.0, "v_init": "half"}
    plain = converted(**options)
    for objective in (Outputs(traced(), IMAGES), Accuracy(IMAGES, labels)):
        at_once = converted(**options, search=objective.name, labels=labels)
        assert_same(at_once, search(plain, objective, 4))
        assert at_once.provenance["search"]["objective"] == objective.name
    with pytest.raises(UsageError, match="search is 'alpha'; choose one of accuracy, outputs"):
        converted(search="alpha")


def test_an_initial_potential_is_moved_within_its_threshold():
    network = converted(v_init="half")
    moved = shift_initial_potential(network, "2", 0.1)
    assert moved["2"].neurons.v_init == pytest.approx(0.6 * network["2"].neurons.threshold)
    assert moved["0"] == network["0"] and moved["2"].synapses == network["2"].synapses
    assert shift_initial_potential(network, "2", -0.7)["2"].neurons.v_init == 0
    assert shift_initial_potential(network, "2", 0.7)["2"].neurons.v_init < network["2"].neurons.threshold


def test_neurons_that_start_from_nothing_keep_doing_so():
    """v_init 0 is the paper's; only thresholds are searched then."""
    bad = converted(steps=4, alpha=3.0, v_init="zero")
    found = search(bad, Outputs(traced(), IMAGES), 4)
    assert found.provenance["search"]["after"] < found.provenance["search"]["before"]
    assert all(layer.neurons.v_init == 0 for layer in found)


def test_nothing_changes_where_nothing_can_be_gained():
    network = converted(steps=8)
    labels = run(network, IMAGES, 8).predictions
    assert_same(search(network, Accuracy(IMAGES, labels), 8), network)


def test_a_gain_that_chance_could_make_changes_nothing():
    """One image of 64 is wrong: whatever wins it alone is not believed."""
    network = converted(steps=8)
    labels = run(network, IMAGES, 8).predictions.copy()
    labels[0] = (labels[0] + 1) % 3
    assert_same(search(network, Accuracy(IMAGES, labels), 8), network)


def test_networks_and_labels_that_do_not_fit():
    network = converted()
    labels = np.zeros(64, dtype=np.int64)
    with pytest.raises(UsageError, match="'network' is quantised"):
        search(quantize(network), Accuracy(IMAGES, labels), 8)
    with pytest.raises(UsageError, match="'network' is not balanced yet"):
        search(traced(), Accuracy(IMAGES, labels), 8)
    with pytest.raises(DataError, match="there are 5 labels for 64 images"):
        search(network, Accuracy(IMAGES, labels[:5]), 8)
