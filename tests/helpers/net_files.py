"""A network with every key of the `.net` format, and what tests of files have in common."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from rmp_lava.encoding import make_input
from rmp_lava.errors import NetFileError
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.netx import load


def conv_network() -> SpikingNetwork:
    """Every key of the format at once: two synapses, biases of each kind, input neurons, records."""
    weight = np.arange(-9, 9).reshape(2, 1, 3, 3)
    layers = (
        Layer("a", (2, 4, 4), (Conv(INPUT, weight, padding=(1, 1)),), Neurons(20, v_init=10, bias=np.array([1, -2]))),
        Layer(
            "b",
            (2, 4, 4),
            (Conv("a", weight, padding=(1, 1), groups=2), Conv(INPUT, weight[:, :, :1, :1])),
            Neurons(30, "hard", bias=np.arange(32).reshape(2, 4, 4), bias_exponent=3),
            {"scale": 0.5, "note": "rounded"},
        ),
        Layer("c", (3,), (Dense("b", np.arange(96).reshape(3, 32)),), Neurons(5, "none", bias=np.array(-7))),
    )
    source = make_input("rate", (1, 4, 4))
    return SpikingNetwork("every key", source, layers, "integer", class_names=("x", "y", "z"), provenance={"seed": 3})


WHOLE = [[10, -4, 6], [2, 8, -6]]


def dense_network(reset: str = "soft", threshold: int = 20, **changed) -> SpikingNetwork:
    """Two dense layers of whole weights that lava-dl's loader takes as they are."""
    layers = (
        Layer("first", (2,), (Dense(INPUT, WHOLE),), Neurons(threshold, reset)),
        Layer("last", (3,), (Dense("first", np.transpose(WHOLE)),), Neurons(threshold, reset)),
    )
    network = SpikingNetwork("dense", make_input("poisson", (3,)), layers, "integer", "count")
    return network.replace(**changed)


def refusal(path: Path, *parts: str) -> str:
    """The one sentence with which a file is refused: it names the file and every part given."""
    with pytest.raises(NetFileError) as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    for part in parts:
        assert part in text
    return text


def replace(file: h5py.File, key: str, value) -> None:
    del file[key]
    file[key] = value
