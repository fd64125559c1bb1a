"""Graded spikes: one message for all spikes of neurons that wait, with the same outputs after one step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import rmp_lava
from rmp_lava.backends import Lava, Reference
from rmp_lava.conversion.graded import graded
from rmp_lava.conversion.quantization import Quantization
from rmp_lava.conversion.restore import restore
from rmp_lava.errors import ConversionError, NetworkError, UsageError
from rmp_lava.hardware import map_network
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.netx import lava_dl_loader
from rmp_lava.neuron import initial_state, step
from rmp_lava.report.tables import network_table

IMAGES = np.random.default_rng(0).random((40, 2, 8, 8), dtype=np.float32)


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 6, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(24, 5)).eval()


@pytest.fixture(scope="module")
def waiting():
    rng = np.random.default_rng(3)
    conv = Conv(INPUT, 2 * rng.integers(-30, 60, (6, 2, 3, 3)), stride=(2, 2))
    first = Layer("first", (6, 3, 3), (conv,), Neurons(14_000, v_init=7_000, bias=rng.integers(-500, 500, 6)))
    dense = Dense("first", 2 * rng.integers(-60, 60, (5, 54)))
    last = Layer("last", (5,), (dense,), Neurons(1, "none", bias=rng.integers(-99, 99, 5)))
    source = Input((2, 8, 8), "current", levels=255)
    layers = [each.replace(activation_scale=np.float32(2.0)) for each in (first, last)]
    more = {"wait": 7, "balanced_steps": 7, "output_scale": 0.25, "output_offset": 64}
    return SpikingNetwork("waiting", source, tuple(layers), "integer", "potential", **more)


def test_a_message_is_as_many_spikes_as_single_ones_would_be():
    rng = np.random.default_rng(1)
    a = rng.integers(-2000, 9000, (1, 400))
    one, many = Neurons(500, v_init=20), Neurons(500, v_init=20, largest_spike=6)
    states = [initial_state(each, (400,), 1, integer=True) for each in (one, many)]
    single = step(one, states[0], a, integer=True).astype(int)
    for _ in range(5):
        single += step(one, states[0], None, integer=True)
    np.testing.assert_array_equal(step(many, states[1], a, integer=True), single)
    np.testing.assert_array_equal(states[0].v, states[1].v)
    assert {0, 6} <= set(single.reshape(-1))


def test_one_step_gives_the_outputs_of_all_steps_that_were_waited_for(waiting):
    found = graded(waiting)
    images = np.random.default_rng(2).integers(0, 256, (6, 2, 8, 8)).astype(np.uint8)
    slow, quick = rmp_lava.run(waiting, images, 7), rmp_lava.run(found, images, 1)
    np.testing.assert_array_equal(slow.output, quick.output)
    np.testing.assert_array_equal(slow.in_trained_units(waiting), quick.in_trained_units(found))
    assert quick.schedule.latency == found.depth + 1
    assert sum(quick.spike_counts.values()) < sum(slow.spike_counts.values())
    assert {0, 7} <= set(rmp_lava.run(found, images, 1, record=("spikes",)).spikes["first"].reshape(-1))
    assert found.is_graded
    assert not waiting.is_graded


def test_pixels_that_the_levels_hold_give_the_same_outputs(waiting):
    """More levels come of T messages in one; a pixel between those of before is no longer rounded to one of them."""
    coarse = waiting.replace(input=waiting.input.replace(levels=20))
    found = graded(coarse)
    images = np.random.default_rng(2).random((6, 2, 8, 8), dtype=np.float32)
    held = np.rint(images * 20) / np.float32(20)
    expected = rmp_lava.run(coarse, images, 7).output
    np.testing.assert_array_equal(rmp_lava.run(found, held, 1).output, expected)
    assert not np.array_equal(rmp_lava.run(found, images, 1).output, expected)


@pytest.mark.slow
def test_conversion_with_spike_bits_measures_both_forms(tmp_path):
    conversion = rmp_lava.convert(model(), IMAGES, spike_bits=3)
    assert conversion.steps == 1
    stages = conversion.measure(IMAGES).stages
    assert [stage.name for stage in stages][-2:] == ["float SNN", "integer SNN"]
    real, integer = (stage.score.correlation for stage in stages[-2:])
    assert integer > real - 0.02
    network = conversion.integer
    assert "soft reset, up to 7 spikes in a message" in {row[2] for row in network_table(network).rows}
    path = rmp_lava.save(network, tmp_path / "graded.net")
    assert rmp_lava.load(path) == network
    assert "graded spikes" in " ".join(lava_dl_loader.lava_dl_obstacles(network))


@pytest.mark.lava
@pytest.mark.slow
def test_lavas_simulator_sends_the_same_messages(waiting):
    network, record = graded(waiting), ("spikes", "potentials")
    runs = [rmp_lava.run(network, IMAGES[:2], 2, backend, record=record) for backend in (Lava(), "reference")]
    for name, spikes in runs[1].spikes.items():
        np.testing.assert_array_equal(runs[0].spikes[name], spikes)
    np.testing.assert_array_equal(runs[0].output, runs[1].output)


def test_what_cannot_send_graded_spikes_is_refused(waiting):
    network, spiking = graded(waiting), waiting.replace(wait=3)
    with pytest.raises(ConversionError, match="waits for 3 of 7 steps"):
        graded(spiking)
    with pytest.raises(UsageError, match="stock neurons send single spikes"):
        rmp_lava.run(network, IMAGES, 1, Reference("stock"))
    with pytest.raises(UsageError, match="stock neurons send no graded spikes"):
        map_network(network, "loihi2", "stock")
    with pytest.raises(UsageError, match="has graded spikes"):
        restore(network)
    with pytest.raises(NetworkError, match="graded spikes need no wait"):
        network.replace(wait=1)
    hard = network.layers[0].replace(neurons=Neurons(5, "hard", largest_spike=2))
    with pytest.raises(NetworkError, match="graded spikes and reset 'hard'"):
        network.replace(layers=(hard, *network.layers[1:]))
    large = network.layers[0].replace(neurons=Neurons(5, largest_spike=256))
    with pytest.raises(NetworkError, match="largest spike is 256"):
        network.replace(layers=(large, *network.layers[1:]))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"spike_bits": 1}, "spike_bits is 1"),
        ({"steps": 4, "wait": 2}, "leave out steps, wait"),
        ({"neurons": "sigma-delta"}, "leave out neurons"),
        ({"reset": "hard", "encoding": "poisson"}, "leave out reset, encoding"),
        ({"quantization": Quantization(for_lava_dl=True)}, "leave out quantization.for_lava_dl"),
    ],
)
def test_options_that_graded_spikes_contradict_are_refused(options, named):
    with pytest.raises(UsageError, match=named):
        rmp_lava.convert(model(), IMAGES, **({"spike_bits": 3} | options))
