"""A `Run` is a value: it compares, pickles, travels to other processes and prints in a few lines."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rmp_lava
from rmp_lava.network import INPUT, Dense, Input, Layer, Neurons, SpikingNetwork

EVERYTHING = ("counts", "spikes", "potentials")


def network(layers: int = 2) -> SpikingNetwork:
    return SpikingNetwork(
        "small",
        Input((2,), "spikes"),
        tuple(
            Layer(f"layer{i}", (2,), (Dense(INPUT if not i else f"layer{i - 1}", np.full((2, 2), 9)),), Neurons(5))
            for i in range(layers)
        ),
        "integer",
    )


def run(layers: int = 2, backend: str = "fast") -> rmp_lava.Run:
    return rmp_lava.run(network(layers), np.ones((3, 4, 2)), 4, backend, record=EVERYTHING)


def test_runs_are_equal_if_every_array_is():
    one, other = run(), run()
    assert one == other and replace(one, seconds=9.0) == other
    spikes = dict(one.spikes) | {"layer1": 1 - one.spikes["layer1"]}
    assert replace(one, spikes=spikes) != other
    assert replace(one, output=one.output.astype(np.int32)) != other
    assert replace(one, saturations={}) != other
    assert one != "a run"


# In an interpreter of its own: spawning sets multiprocessing's start method, which Lava sets too when it is imported.
POOL = """
import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import numpy as np
import rmp_lava

network, result = pickle.loads(Path(sys.argv[1]).read_bytes())
with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
    there = pool.submit(rmp_lava.run, network, np.ones((3, 4, 2)), 4, "fast", record=tuple(sys.argv[2:]))
    assert there.result() == result
print("equal")
"""


@pytest.mark.slow
def test_networks_and_runs_travel_to_other_processes(tmp_path):
    result = run()
    assert copy.deepcopy(result) == result == pickle.loads(pickle.dumps(result))
    (tmp_path / "values").write_bytes(pickle.dumps((network(), result)))
    command = [sys.executable, "-c", POOL, str(tmp_path / "values"), *EVERYTHING]
    root = str(Path(rmp_lava.__file__).parents[1])
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": root})
    assert done.stdout == "equal\n", done.stderr


def test_a_run_prints_in_a_few_lines_without_arrays():
    shown = repr(run(layers=20))
    assert len(shown.splitlines()) < 12 and "array" not in shown
    assert shown.startswith("Run of 3 samples on backend 'fast', native neurons, T = 4, ")
    assert "layer0" in shown and "layer19" in shown and "..." in shown
    page = run()._repr_html_()
    assert page.startswith("<table>") and "layer1" in page and "array" not in page
