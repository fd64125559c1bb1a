"""The graph that is deployed, on the Lava simulator: with a board's timing, with its input embedded, with leak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from documents import ROOT, blocks
from strategies import EVERYTHING, assert_same_run

import rmp_lava
from rmp_lava.backends import Lava, Reference, fast, loihi2, reference
from rmp_lava.backends.lava import simulator
from rmp_lava.backends.lava.session import finished
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.restore import restore
from rmp_lava.encoding import make_input
from rmp_lava.errors import BackendError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.schedule import schedule
from rmp_lava.training.data import load

pytestmark = [pytest.mark.lava, pytest.mark.slow]

STEPS = 5
PLAN = {"blank": 1, "power_of_two": True}


def residual(source: Input, unit: int = 1) -> SpikingNetwork:
    """Convolutions, a path that is shorter and one that starts at the input, biases and initial potentials."""
    rng = np.random.default_rng(4)

    def weight(*shape):
        return (2 * rng.integers(-20, 40, shape)).astype(np.int16)

    conv1 = Conv(INPUT, weight(3, 2, 3, 3), padding=(1, 1))
    conv2 = Conv("conv1", weight(3, 3, 3, 3), stride=(1, 2), padding=(1, 1))
    skip = Conv("conv1", weight(3, 3, 1, 1), stride=(1, 2))
    image = Conv(INPUT, weight(3, 2, 1, 1), stride=(1, 2))
    shape2 = conv2.output_shape((3, 4, 6))
    layers = (
        Layer("conv1", (3, 4, 6), (conv1,), Neurons(120 * unit, v_init=60, bias=np.array([9, -4, 0], np.int16))),
        Layer("conv2", shape2, (conv2,), Neurons(257)),
        Layer("add", shape2, (Conv("conv2", weight(3, 3, 1, 1)), skip, image), Neurons(40 * unit, v_init=-7)),
        Layer("read-out", (4,), (Dense("add", weight(4, int(np.prod(shape2)))),), Neurons(9, "none")),
    )
    return SpikingNetwork("residual", source, layers, "integer")


def images(network: SpikingNetwork, samples: int) -> np.ndarray:
    return np.random.default_rng(5).random((samples, *network.input.shape), dtype=np.float32)


SOURCES = {"rate": (make_input("rate", (2, 4, 6)), 1), "current": (make_input("current", (2, 4, 6), 63), 100)}
"""The input, and the factor of the thresholds that its messages need."""


@pytest.mark.parametrize("implementation", ["native", "stock"])
@pytest.mark.parametrize("encoding", SOURCES)
def test_adapters_shift_everything_together(encoding, implementation):
    """A reset that is not as late as the messages would cut off each sample's first steps."""
    network = residual(*SOURCES[encoding])
    some, plan = images(network, 3), schedule(network, STEPS, **PLAN)
    options = Lava(implementation, time_limit=120)
    found = simulator.run(network, some, plan, options, record=EVERYTHING, adapters=True)
    expected = fast.run(network, some, plan, record=EVERYTHING)
    assert all(expected.spike_counts[name] for name in ("conv1", "conv2", "add"))
    assert_same_run(found, expected)


@pytest.mark.parametrize("encoding", SOURCES)
def test_an_embedded_input_makes_the_spikes_of_its_image(encoding):
    network = residual(*SOURCES[encoding])
    some, plan = images(network, 1), schedule(network, STEPS, **PLAN)
    found = simulator.run(network, some, plan, Lava("stock", time_limit=120), record=EVERYTHING, embedded=True)
    expected = fast.run(network, some, plan, record=EVERYTHING)
    for layer in network:
        np.testing.assert_array_equal(found.spikes[layer.name], expected.spikes[layer.name], err_msg=layer.name)
        np.testing.assert_array_equal(found.potentials[layer.name], expected.potentials[layer.name])
    assert (INPUT in found.message_counts) == (encoding == "rate")  # a rate code's neurons still spike


@pytest.mark.parametrize("where", ["chip", "host"])
def test_a_measurement_runs_without_observers(where):
    """The job of a measurement, without its probe: no sink, and with the input on the chip no source either."""
    network = residual(*SOURCES["rate"])
    plan = loihi2.deployed_schedule(network, STEPS)
    job = replace(loihi2._measuring_job(network, plan, 3, loihi2.Board(), where), target="adapted")
    some = images(network, 1 if where == "chip" else 3)
    with finished(network, some, job, time_limit=120) as (folder, outcome):
        assert not list(folder.glob("counts*.npy"))
    steps_in = 0 if where == "chip" else 2
    assert outcome.steps == 1 + steps_in + 3 * plan.period + network.depth + 1
    assert "adapters as delays" in outcome.execution


def for_board(network: SpikingNetwork, calibration: np.ndarray, steps: int) -> SpikingNetwork:
    """A stored network again, with scales at which no potential of the images overflows: it was not made for a board."""
    options = rmp_lava.Quantization(for_board=True)
    model = AnalogNetwork(restore(network))
    return rmp_lava.convert(model, calibration, steps=steps, channelwise=False, quantization=options).integer


def test_the_trained_digits_network_classifies_as_on_backend_fast():
    network = rmp_lava.load(Path(__file__).parents[2] / "exports" / "reference" / "digits-soft.net")
    digits = load("digits")
    network = for_board(network, digits.train_images[:200], 32)
    some, plan = digits.test_images[:10], schedule(network, 32, **PLAN)
    expected = fast.run(network, some, plan, record=EVERYTHING)
    found = simulator.run(network, some, plan, Lava("stock", time_limit=300), adapters=True, record=EVERYTHING)
    assert expected.accuracy(digits.test_labels[:10]) >= 0.5 and plan.period == 64
    assert_same_run(found, expected)


def test_the_trained_vgg16_classifies_as_on_backend_fast():
    network = rmp_lava.load(Path(__file__).parents[2] / "exports" / "reference" / "vgg16-cifar.net").replace(wait=0)
    # Patches of noise: CIFAR-10 does not come with this package.
    coarse = np.random.default_rng(0).random((1, *network.input.shape[:1], 4, 4), dtype=np.float32)
    some = coarse.repeat(8, axis=2).repeat(8, axis=3)
    network = for_board(network, some, 2)
    plan, record = schedule(network, 2, **PLAN), ("spikes", "potentials")
    expected = fast.run(network, some, plan, record=record)
    found = simulator.run(network, some, plan, Lava("stock", time_limit=600), adapters=True, record=record)
    assert network.depth == 21 and min(expected.spike_counts[layer.name] for layer in network.layers[:-1]) > 0
    assert_same_run(found, expected)


def test_leak_on_lava_is_that_of_the_reference():
    network = residual(*SOURCES["current"])
    some, plan = images(network, 2), schedule(network, 30, **PLAN)
    found = simulator.run(network, some, plan, Lava("stock", time_limit=120), leak=1, record=EVERYTHING)
    assert_same_run(found, reference.run(network, some, plan, Reference("stock"), leak=1, record=EVERYTHING))
    without = reference.run(network, some, plan, Reference("stock"), record=EVERYTHING)
    assert any((found.potentials[layer.name] != without.potentials[layer.name]).any() for layer in network)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_reset_in_the_middle_of_the_blank_steps_is_as_predicted(steps):
    """With a backlog that the pulse cannot silence, and biases that act in blank steps too."""
    one = np.array([[1]], np.int16)
    bias = np.array([30], np.int16)
    layers = (
        Layer("soft", (1,), (Dense(INPUT, 100 * one),), Neurons(40, v_init=9)),
        Layer("biased", (1,), (Dense("soft", 20 * one),), Neurons(30, bias=bias)),
        Layer("hard", (1,), (Dense("biased", 20 * one),), Neurons(15, "hard", v_init=3, bias=bias)),
        Layer("read-out", (1,), (Dense("hard", one), Dense("soft", one)), Neurons(1, "none", v_init=-5)),
    )
    network = SpikingNetwork("backlog", make_input("current", (1,), 255), layers, "integer")
    some, plan = np.array([[1], [0], [0.7]], np.float32), schedule(network, steps, blank=steps, power_of_two=True)
    assert plan.period == 2 * steps
    expected = reference.run(network, some, plan, Reference("stock"), record=EVERYTHING)
    found = simulator.run(network, some, plan, Lava("stock", time_limit=120), record=EVERYTHING)
    assert_same_run(found, expected)
    native = reference.run(network, some, plan, record=EVERYTHING)
    for name in native.spikes:
        np.testing.assert_array_equal(native.spikes[name], expected.spikes[name], err_msg=name)
    short = reference.run(network, some, schedule(network, steps, blank=1), Reference("stock"), record=EVERYTHING)
    assert not expected.boundary_spikes["soft"] and bool(short.boundary_spikes["soft"]) == (steps == 4)


def test_a_users_neuron_program_replaces_ours(tmp_path, monkeypatch):
    (own,) = [block.text for block in blocks(ROOT / "docs/guides/extend.md") if "class Leaky" in block.text]
    (tmp_path / "own_neuron.py").write_text(own)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    layer = Layer("a", (1,), (Dense(INPUT, np.array([[10]], np.int16)),), Neurons(25))
    network = SpikingNetwork("one", Input((1,), "spikes"), (layer,), "integer", "count")
    plan, some = schedule(network, 40), np.ones((1, 40, 1), np.uint8)
    leaky = Lava(neuron_program="own_neuron:Leaky", time_limit=60)
    run = simulator.run(network, some, plan, leaky, record=("spikes",))
    v, expected = 0, []
    for _ in range(40):
        v += 64 * 10 - (v >> 4)
        expected.append(int(v > 64 * 25))
        v -= expected[-1] * 64 * 25
    native = reference.run(network, some, plan, record=("spikes",))
    assert run.spikes["a"].reshape(-1).tolist() == expected != native.spikes["a"].reshape(-1).tolist()
    assert "own_neuron:Leaky" in run.execution
    for program, sentence in [
        ("own_neuron:Missing", "cannot be imported"),
        ("own_neuron", "package.module:ProcessModel"),
        ("no_such_module:X", "cannot be imported"),
        ("own_neuron:CPU", "no ProcessModel of rmp_lava.processes.rmp.RMP"),
    ]:
        with pytest.raises(BackendError, match=sentence):
            simulator.run(network, some, plan, Lava(neuron_program=program, time_limit=60))
