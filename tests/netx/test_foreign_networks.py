"""lava-dl's own networks: the unmodified loader on the Lava simulator, this package, and what lava-dl recorded agree."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import rmp_lava
from rmp_lava.backends.synapses import apply
from rmp_lava.network import INPUT

pytestmark = [pytest.mark.lava, pytest.mark.slow, pytest.mark.xdist_group("foreign networks")]

FILES = {"mnist": "mnist.net", "tiny": "tiny.net", "pilotnet": "gts/pilotnet_lif/network.net"}
STEPS = 6
"""Of each kind of messages."""
FEW_STEPS = 1
"""The same for Lava's own convolutions, which take a tenth of a second per step."""
NEVER = 2**17 - 1

# The unmodified loader in a process of its own: importing Lava changes the start method of multiprocessing, and torch
# hangs after a fork. Of this package it gets the convolution models, where they are asked for, and the processes that
# write spikes and states to files: Lava itself hands them over value by value, which takes minutes here.
LOADER = """
import json
import sys
from pathlib import Path
import numpy as np
from lava.lib.dl.netx.hdf5 import Network
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.source import RingBuffer as Source
from rmp_lava.processes.conv_models import BLAS_CONV
from rmp_lava.processes.io import SpikeSink, StateProbe

for path, folder, conv_model, interval in json.loads(sys.argv[1]):
    folder = Path(folder)
    net = Network(net_config=path, reset_interval=interval)
    messages = np.load(folder / "messages.npy").astype(np.int32)     # (steps, channels first)
    steps = len(messages)
    source = Source(data=messages.transpose(range(messages.ndim)[::-1]))  # (x, y, channel, steps)
    source.s_out.connect(net.in_layer.neuron.a_in)                   # the loader leaves the block's own port open
    timing = {"samples": 1, "steps": interval, "period": interval}
    for i, layer in enumerate(net.layers):
        timing["lead_in"] = i                                        # the loader resets layer i at step 1 + i
        paths = {what: str(folder / f"{what}{i}.npy") for what in ("counts", "last", "crossing", "spikes")}
        sink = SpikeSink(shape=layer.out.shape, paths=paths, **timing)
        layer.out.connect(sink.a_in)
        for what in ("u", "v"):
            StateProbe(var=getattr(layer.neuron, what), path=str(folder / f"{what}{i}.npy"), **timing)
    models = BLAS_CONV["fixed_pt"] if conv_model == "blas" else None
    config = Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=models)
    net.run(condition=RunSteps(num_steps=steps), run_cfg=config)
    builders = net.runtime._executable.proc_builders
    used = {b.proc_model.__module__ for p, b in builders.items() if type(p).__name__ == "Conv"}
    (folder / "used.json").write_text(json.dumps(sorted(used)))
    net.stop()
"""


def folder() -> Path:
    site = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
    return site / "tests/lava/lib/dl/netx"


def recorded(name: str) -> np.ndarray:
    """An array that lava-dl ships with its PilotNet, in this package's order of axes: (steps, channels first)."""
    array = np.load(folder() / f"gts/pilotnet_lif/{name}.npy")
    return array.transpose(range(array.ndim)[::-1])


@cache
def network(name: str) -> rmp_lava.SpikingNetwork:
    return rmp_lava.load(folder() / FILES[name])


def image(name: str) -> np.ndarray:
    """A real image as the messages that the network's input expects: weight * pixels + bias, both from the file."""
    found = network(name).provenance
    weight, bias = found["input_weight"][0], found["input_bias"][0]
    if name == "mnist":
        from sklearn.datasets import load_digits

        pixels = np.pad(np.kron(load_digits().images[3] / 16, np.ones((3, 3))), 2)
        return np.rint(weight * pixels + bias).astype(np.int32)
    path = "gts/pilotnet_lif/image.npy" if name == "pilotnet" else "gts/tinynet/input_bias.npy"
    messages = np.load(folder() / path).transpose(2, 1, 0)
    # lava-dl ships them with the transform applied; its pixels are in [-1, 1].
    assert bias - weight <= messages.min() and messages.max() <= bias + weight
    return messages.astype(np.int32)


def messages_for(name: str, steps: int) -> np.ndarray:
    """(1, 4 steps, *input shape): first nothing, so that only biases act, then a real image, then random messages.

    One sample, as starting Lava takes longer than its steps.
    """
    rng = np.random.default_rng(0)
    shape = (steps, *network(name).input.shape)
    messages = [
        np.zeros(shape),
        np.broadcast_to(image(name).reshape(shape[1:]), shape),
        rng.integers(0, 3 * network(name).input.neurons.threshold, shape),
        rng.integers(0, 2**16, shape) * (rng.random(shape) < 0.2),
    ]
    return np.concatenate(messages)[None].astype(np.int32)


class Loaded:
    """What the loader's network did, block by block: spikes (steps, channels first), final u and v."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.conv_models = json.loads((path / "used.json").read_text())
        self.blocks = len(list(path.glob("spikes*.npy")))

    def __call__(self, what: str, block: int) -> np.ndarray:
        return np.load(self.path / f"{what}{block}.npy")[0]


def unmodified_loader(path: Path, jobs: list[tuple[str, np.ndarray, str]]) -> list[Loaded]:
    """Run (network, messages (steps, channels first), conv model), each for one interval of reset, all in one process."""
    arguments = []
    for i, (name, messages, conv_model) in enumerate(jobs):
        (path / str(i)).mkdir()
        # The last layer's interval ends as many steps later as it is deep.
        after = np.zeros((network(name).depth, *messages.shape[1:]), np.int32)
        np.save(path / str(i) / "messages.npy", np.concatenate([messages, after]))
        arguments.append((str(folder() / FILES[name]), str(path / str(i)), conv_model, len(messages)))
    done = subprocess.run(
        [sys.executable, "-c", LOADER, json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(rmp_lava.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    return [Loaded(path / str(i)) for i in range(len(jobs))]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What the loader's networks do, by network and conv model."""
    keys = [*((name, "blas") for name in FILES), ("pilotnet", "lava")]
    jobs = []
    for name, conv_model in keys:
        messages = messages_for(name, STEPS if conv_model == "blas" else FEW_STEPS)[0]
        jobs.append((name, messages, conv_model))
    return dict(zip(keys, unmodified_loader(tmp_path_factory.mktemp("loader"), jobs), strict=True))


def run(name: str, messages: np.ndarray, backend: str = "reference") -> rmp_lava.Run:
    return rmp_lava.run(network(name), messages, messages.shape[1], backend, record=("spikes", "potentials"))


def assert_same(result: rmp_lava.Run, found: Loaded) -> None:
    assert found.blocks == len(result.spikes)
    for i, name in enumerate(result.spikes):
        np.testing.assert_array_equal(found("spikes", i), result.spikes[name][0], err_msg=f"spikes of {name}")
        if name in result.potentials:
            np.testing.assert_array_equal(found("v", i), result.potentials[name][0], err_msg=f"potentials of {name}")


@pytest.mark.parametrize("backend", ["reference", "fast"])
@pytest.mark.parametrize("name", FILES)
def test_every_spike_and_potential_is_the_loaders(name, backend, loaded):
    result = run(name, messages_for(name, STEPS), backend)
    assert_same(result, loaded[name, "blas"])
    assert loaded[name, "blas"].conv_models == ["rmp_lava.processes.conv_models"] * (name != "mnist")
    able = [layer.name for layer in network(name) if layer.neurons.threshold < NEVER]
    assert all(result.spike_counts[population] > 0 for population in (INPUT, *able))


def test_pilotnet_with_lavas_own_convolutions(loaded):
    found = loaded["pilotnet", "lava"]
    assert found.conv_models == ["lava.proc.conv.models"]
    assert_same(run("pilotnet", messages_for("pilotnet", FEW_STEPS)), found)


# What lava-dl recorded of PilotNet on a chip, from image.npy: spikes, currents u and voltages v of these populations in
# 24 steps. The read-out's files (fc-3) are left out: their currents are not what the recorded spikes of fc-2 cause.
RECORDED = ["input", *[f"conv-{i}" for i in range(5)], *[f"fc-{i}" for i in range(3)]]
RECORDED_INTERVAL = 16
SPIKED = 128
"""What a chip shows as the voltage of a neuron that has just spiked; the simulator shows 0."""


def recorded_messages() -> np.ndarray:
    return np.repeat(image("pilotnet")[None], RECORDED_INTERVAL, axis=0)


def test_synapses_cause_the_recorded_currents():
    # The recorded input of each layer by itself, for all recorded steps: chip and simulator reset differently after 16.
    for layer, before, name in zip(network("pilotnet"), RECORDED, RECORDED[1:], strict=False):
        spikes = recorded(before)[None, :-1].astype(np.uint8)
        currents = apply(layer.synapses[0], spikes)[0].astype(np.int64) << 6
        np.testing.assert_array_equal(currents, recorded(f"{name}-u")[1:], err_msg=name)


def test_pilotnet_spikes_as_recorded():
    # Layer i was reset when its first input arrived, in step 1 + i, so its window is recorded from there on.
    result = run("pilotnet", recorded_messages()[None])
    for i, name in enumerate(RECORDED):
        spikes = recorded(name)[i:RECORDED_INTERVAL]
        population = list(result.spikes)[i]
        np.testing.assert_array_equal(result.spikes[population][0, : len(spikes)], spikes, err_msg=name)
        assert spikes.any()


def test_pilotnet_has_the_recorded_potentials():
    for i, name in enumerate(RECORDED[1:], start=1):
        steps = RECORDED_INTERVAL - i
        result = run("pilotnet", recorded_messages()[None, :steps], "fast")
        spikes, voltage = (recorded(which)[RECORDED_INTERVAL - 1] for which in (name, f"{name}-v"))
        assert (voltage[spikes] == SPIKED).all()
        population = list(result.spikes)[i]
        np.testing.assert_array_equal(result.potentials[population][0], np.where(spikes, 0, voltage), err_msg=name)


def test_pilotnet_without_input_costs_what_the_chip_counted():
    """The anchor of every energy estimate: lava-dl's PilotNet benchmark ran without an image, and Loihi 2 counted."""
    pilotnet = network("pilotnet")
    steps = 1000
    silence = np.zeros((1, steps, *pilotnet.input.shape), dtype=np.uint8)
    result = rmp_lava.run(pilotnet, silence, steps, backend="fast")
    assert result.message_counts["input"].sum() == 0
    operations = sum(int(each.sum()) for each in result.synaptic_operations.values())
    # 2.285e10 in 10,000 steps; this run is shorter, and its state soon periodic (lava-dl, pilotnet_lif benchmark notebook).
    assert operations == pytest.approx(2.285e9, rel=0.01)
    assert operations == pytest.approx(2.270e9, rel=0.002)
    assert sum(result.neuron_updates.values()) == pytest.approx(1.585e8, rel=0.001)
