"""Networks of other libraries give the same spikes here, spike by spike."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from nir_peers import PEERS, RECORDED, SAMPLES, STEPS, spikes

from rmp_lava.backends import run
from rmp_lava.nir import from_nir, load_nir


def outputs(network) -> np.ndarray:
    result = run(network, spikes().numpy(), STEPS, "reference", record=("spikes",))
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


@pytest.mark.parametrize(("name", "reset"), [("sinabs", "soft"), ("spikingjelly", None)])
def test_spikes_are_those_that_the_library_computed(name, reset):
    network = load_nir(RECORDED / f"{name}.nir", reset=reset)
    recorded = np.unpackbits(np.load(RECORDED / f"{name}.npy"), count=SAMPLES * STEPS * network.output.size)
    expected = recorded.reshape(SAMPLES, STEPS, *network.output.shape)
    assert expected.sum() > 50 and np.array_equal(outputs(network), expected)
    other = load_nir(RECORDED / f"{name}.nir", reset="hard" if reset == "soft" else "soft")
    assert not np.array_equal(outputs(other), expected)  # the reset matters, and has to be said
