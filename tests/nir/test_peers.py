"""Networks of other libraries give the same spikes here, spike by spike."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from nir_peers import PEERS, RECORDED, SAMPLES, STEPS, snntorch_leaky, spikes

from rmp_lava.backends import run
from rmp_lava.errors import RmpLavaWarning
from rmp_lava.nir import from_nir, load_nir


def outputs(network) -> np.ndarray:
    given = spikes().reshape(SAMPLES, STEPS, *network.input.shape)
    result = run(network, given.numpy(), STEPS, "reference", record=("spikes",))
    return result.spikes[network.output.name]


@pytest.mark.parametrize("name", PEERS)
def test_spikes_are_those_of_the_library(name):
    library = name.partition("-")[0]
    for needed in ("nir", "nirtorch", library):
        pytest.importorskip(needed, reason=f"{needed} is not installed; its recorded spikes are compared")
    if library == "spikingjelly":
        importlib.import_module("spikingjelly.activation_based.nir_exchange")
    make, reset = PEERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph, expected = make()
    found = outputs(from_nir(graph, reset=reset))
    assert expected.sum() > 50 and np.array_equal(found, expected)


@pytest.mark.parametrize("synaptic", [False, True])
def test_leaky_neurons_are_those_of_the_library_but_for_rounding(synaptic):
    for needed in ("nir", "nirtorch", "snntorch"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    graph, expected = snntorch_leaky(synaptic)
    with pytest.warns(RmpLavaWarning, match="leaks, which exists in Loihi's integers only"):
        network = from_nir(graph, dt=1e-4)
    found = outputs(network)
    assert 0.1 < expected.mean() < 0.9
    assert (found != expected).mean() < 0.006  # 8-bit weights, decays of 1/4096


@pytest.mark.parametrize(("name", "reset"), [("sinabs", "soft"), ("spikingjelly", None), ("norse", None)])
def test_spikes_are_those_that_the_library_computed(name, reset):
    network = load_nir(RECORDED / f"{name}.nir", reset=reset)
    recorded = np.unpackbits(np.load(RECORDED / f"{name}.npy"), count=SAMPLES * STEPS * network.output.size)
    expected = recorded.reshape(SAMPLES, STEPS, *network.output.shape)
    assert expected.sum() > 50 and np.array_equal(outputs(network), expected)
    other = load_nir(RECORDED / f"{name}.nir", reset="hard" if reset == "soft" else "soft")
    assert not np.array_equal(outputs(other), expected)  # the reset matters, and has to be said
