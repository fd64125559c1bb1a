"""The read-out "total": everything that the last layer integrated, whatever spikes and registers do."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from strategies import cases

from rmp_lava.backends import Lava, Reference, run
from rmp_lava.encoding import make_input
from rmp_lava.errors import NetworkError, UsageError
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.netx import load, save
from rmp_lava.registers import MAX_STATE

RNG = np.random.default_rng(3)
WEIGHT = (2 * RNG.integers(-30, 25, (5, 30))).astype(np.int16)
IMAGES = RNG.random((7, 30), dtype=np.float32)


def summing(reset="soft", readout="total", threshold=32640, shared=0, **changed) -> SpikingNetwork:
    """One layer that spikes now and then; `shared` weight units of bias per step, taken off again."""
    bias = np.full(5, shared >> 1, np.int16)  # mantissa, with exponent 7: units of 2 weight units
    neurons = Neurons(threshold, reset, bias=bias, bias_exponent=7)
    layer = Layer("out", (5,), (Dense(INPUT, WEIGHT),), neurons)
    network = SpikingNetwork("total", make_input("current", (30,), 15), (layer,), "integer", readout)
    return network.replace(**{"output_offset": shared << 6 if readout == "total" else 0} | changed)


@pytest.mark.parametrize("backend", ["reference", "fast"])
@pytest.mark.parametrize("steps", [1, 16, 400])
def test_the_total_is_what_an_unlimited_integrator_has(backend, steps):
    images = np.rint(IMAGES * 15) / 15
    expected = (np.rint(images * 15).astype(np.int64) @ WEIGHT.T.astype(np.int64)) * steps
    assert (np.abs(expected).max() > 2**17) == (steps == 400)  # beyond the register after 400 steps
    result = run(summing(shared=6144), images, steps, backend)
    np.testing.assert_array_equal(result.output, expected << 6)
    assert not any(result.saturations.values())
    if steps == 400:
        alone = run(summing("none", "potential"), images, steps, backend)
        assert np.abs(alone.output).max() == MAX_STATE and alone.saturations["out"]


def test_predictions_are_those_of_the_integrator_at_every_step():
    alone = run(summing("none", "potential"), IMAGES, 40, "fast")
    for backend in ("reference", "fast"):
        np.testing.assert_array_equal(
            run(summing(shared=6144), IMAGES, 40, backend).predictions_at, alone.predictions_at
        )


def test_stock_neurons_have_the_same_total():
    native = run(summing(shared=6144), IMAGES, 30, "reference", blank=1)
    stock = run(summing(shared=6144), IMAGES, 30, Reference(implementation="stock"), blank=1)
    np.testing.assert_array_equal(native.output, stock.output)


@given(cases(encodings=("poisson", "rate", "current"), resets=("soft",), max_layers=2))
def test_the_total_counts_spikes_and_potential(case):
    *hidden, last = case.network.layers
    last = last.replace(neurons=last.neurons.replace(reset="soft"))
    network = case.network.replace(layers=(*hidden, last), readout="total", output_offset=0)
    result = dataclasses.replace(case, network=network).run("reference")
    name = network.output.name
    threshold = int(network.output.neurons.threshold) << 6
    expected = result.potentials[name] + threshold * result.neuron_counts[name]
    np.testing.assert_array_equal(result.output, expected.reshape(result.output.shape))


def test_a_file_keeps_the_offset(tmp_path):
    network = summing(shared=6144)
    assert load(save(network, tmp_path / "a.net")) == network


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"reset": "hard"}, "layer 'out' has reset 'hard', but the total is read out"),
        ({"reset": "none"}, "only a soft reset keeps"),
        ({"output_offset": 2**40 + 1}, "output offset is 1099511627777; allowed"),
        ({"output_offset": 2.0}, "output offset is 2.0; allowed"),
    ],
)
def test_contradictions_are_refused(change, found):
    with pytest.raises(NetworkError, match=found):
        summing(**change)
    with pytest.raises(NetworkError, match="for read-out 'count' of a network of stage 'integer'"):
        summing().replace(readout="count", output_offset=64)


@pytest.mark.lava
@pytest.mark.parametrize("implementation", ["native", "stock"])
def test_lava_has_the_same_total(implementation):
    network = summing(shared=6144)
    options = Lava(implementation=implementation, time_limit=120)
    result = run(network, IMAGES[:3], 30, options, blank=1)
    expected = run(network, IMAGES[:3], 30, "reference", blank=1)
    assert expected.spike_counts["out"] > 0
    np.testing.assert_array_equal(result.output, expected.output)


def test_outputs_in_trained_units_are_per_step_whatever_is_read_out():
    """A threshold of 8: five steps of 16 give five spikes, and leave 8 per step. By 8 weight units, the trained output is 2.0."""
    layer = Layer("out", (1,), (Dense(INPUT, np.array([[16]], np.int16)),), Neurons(8))
    network = SpikingNetwork("one", make_input("current", (1,), 1), (layer,), "integer", "count", output_scale=0.125)
    by_count = {"output_scale": 2.0}
    quiet = layer.replace(neurons=Neurons(1, "none"))
    real = layer.replace(synapses=(Dense(INPUT, np.array([[16]], np.float32)),), neurons=Neurons(1.0, "none"))
    source = make_input("current", (1,))
    for each, expected in (
        (network.replace(**by_count), 2.0),  # a spike in every step
        (network.replace(readout="potential"), 1.0),  # what the spikes leave
        (network.replace(readout="total"), 2.0),
        (network.replace(readout="potential", layers=(quiet,)), 2.0),
        (network.replace(input=source, stage="balanced", readout="potential", layers=(real,)), 2.0),
    ):
        found = run(each, np.ones((3, 1)), 5, "fast").in_trained_units(each)
        assert found.dtype == np.float64 and found.tolist() == [[expected]] * 3
    with pytest.raises(UsageError, match="network 'one' has no output_scale"):
        run(network, np.ones((1, 1)), 5).in_trained_units(network.replace(output_scale=None))
