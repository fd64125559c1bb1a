"""Sigma-delta networks: the reference, backend fast, Lava's own Processes and lava-dl's unmodified loader send equal messages."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from strategies import EVERYTHING, assert_same_run, networks, seeds

from rmp_lava import netx
from rmp_lava.backends import Fast, Lava, run
from rmp_lava.network import INPUT, Input, SigmaDelta, SpikingNetwork

# The unmodified loader in a process of its own, as importing Lava changes the start method of multiprocessing.
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
from rmp_lava.processes.io import SpikeSink

for path, folder, exponent in json.loads(sys.argv[1]):
    folder = Path(folder)
    net = Network(net_config=path, spike_exp=exponent)
    frames = np.load(folder / "frames.npy").astype(np.int32)        # (steps, channels first)
    source = Source(data=frames.transpose(range(frames.ndim)[::-1]))  # (x, y, channel, steps)
    source.s_out.connect(net.in_layer.neuron.a_in)                  # the loader leaves the block's own port open
    timing = {"samples": 1, "steps": len(frames), "period": len(frames), "lead_in": 0}
    for i, layer in enumerate(net.layers):
        sink = SpikeSink(shape=layer.out.shape, paths={"spikes": str(folder / f"spikes{i}.npy")}, **timing)
        layer.out.connect(sink.a_in)
    config = Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=BLAS_CONV["fixed_pt"])
    net.run(condition=RunSteps(num_steps=len(frames)), run_cfg=config)
    net.stop()
"""


@st.composite
def sigma_delta_networks(draw, **restrictions) -> SpikingNetwork:
    """The structures of `networks` with sigma-delta populations."""
    plain = draw(networks(encodings=("spikes",), resets=("soft",), **restrictions))
    random = np.random.default_rng(draw(seeds))
    exponents = {name: draw(st.sampled_from([6, 6, 0, 7])) for name in ("spike_exponent", "state_exponent")}

    def neurons(shape: tuple[int, ...], reset: str = "soft", biased: bool = True) -> SigmaDelta:
        shapes = [(), shape[:1], shape] if biased and reset == "soft" else []
        bias = random.integers(-40, 60, draw(st.sampled_from(shapes))) if shapes and draw(st.booleans()) else None
        return SigmaDelta(draw(st.sampled_from([0, 0, 1, 6, 300])), reset, bias=bias, **exponents)

    layers = [layer.replace(neurons=neurons(layer.shape)) for layer in plain]
    if draw(st.booleans()):
        layers[-1] = layers[-1].replace(neurons=neurons(layers[-1].shape, "none"))
    shape = plain.input.shape
    source = Input(shape, draw(st.sampled_from(["frames", "current"])), 255, neurons(shape, biased=False))
    readout = draw(st.sampled_from(["count", "potential"])) if layers[-1].neurons.reset == "soft" else "potential"
    return SpikingNetwork("random", source, tuple(layers), "integer", readout)


def frames_for(network: SpikingNetwork, frames: int, seed: int, samples: int = 2) -> np.ndarray:
    """Videos of which little changes from one frame to the next; still images for 0 frames."""
    random, shape = np.random.default_rng(seed), network.input.shape
    low = 0 if network.input.encoding == "current" else -255
    images = random.integers(low, 256, (samples, max(1, frames), *shape))
    still = random.random(images.shape) < 0.7
    for t in range(1, frames):
        images[:, t] = np.where(still[:, t], images[:, t - 1], images[:, t])
    images = images if frames else images[:, 0]
    return images / np.float32(255) if network.input.encoding == "current" else images


@pytest.mark.filterwarnings("ignore:sums of layer")
@given(sigma_delta_networks(max_layers=3), st.integers(0, 5), st.integers(0, 4), seeds)
def test_fast_equals_the_reference(network, frames, more, seed):
    images, steps = frames_for(network, frames, seed), max(1, frames + more)
    expected = run(network, images, steps, "reference", record=EVERYTHING)
    for backend in (Fast(),):
        result = run(network, images, steps, backend, record=EVERYTHING)
        assert_same_run(result, expected)
        np.testing.assert_array_equal(result.predictions_at, expected.predictions_at)
        assert dict(result.potential_ranges) == dict(expected.potential_ranges)
        assert result.limits_reached() == expected.limits_reached()


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:sums of layer")
@settings(max_examples=3)
@given(sigma_delta_networks(), st.integers(0, 3), st.integers(0, 2), seeds)
def test_lava_equals_the_reference(network, frames, more, seed):
    images, steps = frames_for(network, frames, seed, samples=1), max(1, frames + more)
    expected = run(network, images, steps, "reference", record=EVERYTHING)
    assert_same_run(run(network, images, steps, Lava(time_limit=120), record=EVERYTHING), expected)


def exported(path: Path, layers: list[dict[str, object]]) -> Path:
    """A file of SDNN layers as slayer exports them, from what differs between them; values by their path in the layer."""
    with h5py.File(path, "w") as file:
        for i, values in enumerate(layers):
            neuron = {"neuron/type": b"SDNN", "neuron/activation": b"relu", "neuron/vThMant": 6}
            for key, value in (values if values["type"] == b"flatten" else neuron | values).items():
                file[f"layer/{i}/{key}"] = np.array([value]) if key == "type" else value
    return path


def small_file(path: Path) -> Path:
    random = np.random.default_rng(3)
    weights, dense = random.integers(-90, 120, (4, 2, 3, 3)), random.integers(-60, 60, (5, 48))
    convolution = {"stride": [2, 1], "padding": [1, 0], "dilation": [1, 1], "groups": 1}
    flat = {"type": b"flatten", "shape": [48, 1, 1]}
    return exported(
        path,
        [
            {"type": b"input", "shape": [2, 5, 6]},
            {"type": b"conv", "shape": [4, 3, 4], "weight": weights, "bias": random.integers(-20, 20, 4)} | convolution,
            flat,
            {"type": b"dense", "shape": [5], "weight": dense, "bias": random.integers(-9, 30, 5), "neuron/vThMant": 0},
            {"type": b"dense", "shape": [3], "weight": random.integers(-9, 9, (3, 5)), "neuron/sigma_output": True},
        ],
    )


def recordings() -> Path:
    site = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
    return site / "tests/lava/lib/dl/netx/gts/pilotnet_sdnn"


def recorded(name: str) -> np.ndarray:
    """An array that lava-dl ships with its PilotNet SDNN, in this package's order of axes: (steps, channels first)."""
    array = np.load(recordings() / f"{name}.npy")
    return array.transpose(range(array.ndim)[::-1]).astype(np.int64)


@pytest.mark.lava
@pytest.mark.slow
def test_every_message_is_the_unmodified_loaders(tmp_path):
    random = np.random.default_rng(0)
    small = small_file(tmp_path / "small.net")
    video = random.integers(-255, 256, (7, 2, 5, 6))
    video[2:5] = video[1]
    mine = netx.load(small)  # our own file, with messages of whole units
    mine = mine.replace(input=mine.input.replace(neurons=mine.input.neurons.replace(spike_exponent=0)))
    mine = mine.map_layers(lambda layer: layer.replace(neurons=layer.neurons.replace(spike_exponent=0)))
    own = netx.save(mine, tmp_path / "own.net", for_lava_dl=True)
    pilotnet = (recorded("act0") // 64).cumsum(axis=0)[:11]
    jobs = {
        small: (video, 6),
        own: (20 * video, 0),
        recordings() / "network.net": (pilotnet, 6),
        recordings() / "square_network.net": (7 * pilotnet[:6, :, :, :33], 6),
    }
    arguments = []
    for i, (path, (frames, exponent)) in enumerate(jobs.items()):
        (tmp_path / str(i)).mkdir()
        np.save(tmp_path / str(i) / "frames.npy", frames)
        arguments.append((str(path), str(tmp_path / str(i)), exponent))
    root = str(Path(netx.__file__).parents[2])
    command = [sys.executable, "-c", LOADER, json.dumps(arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    for i, (path, (frames, _)) in enumerate(jobs.items()):
        result = run(netx.load(path), frames[None], len(frames), record=("spikes",))
        for k, (name, messages) in enumerate(result.spikes.items()):
            found = np.load(tmp_path / str(i) / f"spikes{k}.npy")[0]
            np.testing.assert_array_equal(messages[0], found, err_msg=f"{path.name}, {name}")
        assert all(messages.any() for messages in result.spikes.values())


@pytest.mark.lava
def test_what_lava_dl_recorded_of_its_pilotnet():
    network = netx.load(recordings() / "network.net")
    result = run(network, recorded("input")[None], 9, record=("spikes",))
    np.testing.assert_array_equal(result.spikes[network.output.name][0], recorded("output"))
    frames = (recorded("act0") // 64).cumsum(axis=0)
    square = netx.load(recordings() / "square_network.net")
    for net, files in ((network, ["sigma1", "sigma2"]), (square, [f"sigma{i}_square" for i in range(1, 5)])):
        images = frames[:, :, :, : net.input.shape[2]]
        result = run(net, images[None], 20, record=("potentials", "spikes"))
        np.testing.assert_array_equal(result.spikes[INPUT][0], recorded("act0")[..., : net.input.shape[2]])
        for layer, file in zip(net, files, strict=False):
            np.testing.assert_array_equal(result.potentials[layer.name][0], recorded(file)[-1])
