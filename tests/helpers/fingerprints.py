"""Hashes of all spikes and membrane potentials of a network on drawn samples, stored in `backends/stored_spikes.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rmp_lava.backends import BackendOptions, run
from rmp_lava.network import SpikingNetwork

STORED = json.loads((Path(__file__).resolve().parents[1] / "backends" / "stored_spikes.json").read_text())


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and values as 64-bit integers, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].shape}\n".encode())
        found.update(np.ascontiguousarray(arrays[name]).astype("<i8").tobytes())
    return found.hexdigest()


def samples(network: SpikingNetwork, steps: int, count: int) -> np.ndarray:
    """The same numbers with every release of numpy: images in [0, 1), or messages where the input takes spikes."""
    random, shape = np.random.RandomState(0), network.input.shape
    if network.input.encoding != "spikes":
        return random.random_sample((count, *shape)).astype(np.float32)
    shape = (count, steps, *shape)
    return random.randint(0, (network.input.levels or 1) + 1, shape) * (random.random_sample(shape) < 0.2)


def fingerprint(
    network: SpikingNetwork, backend: str | BackendOptions = "fast", *, steps: int = 8, count: int = 2
) -> dict[str, str | int]:
    """Hashes of spikes and potentials of every layer, and the number of spikes: a network in silence shows at once."""
    images = samples(network, steps, count)
    result = run(network, images, steps, backend, record=("spikes", "potentials"))
    return {
        "spikes": digest({layer.name: result.spikes[layer.name] for layer in network}),
        "potentials": digest({layer.name: result.potentials[layer.name] for layer in network}),
        "sum": sum(int(result.spikes[layer.name].sum()) for layer in network),
    }


def weights_digest(state: Mapping) -> str:
    """SHA-256 over a PyTorch state: names and bytes of its tensors, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].contiguous().numpy().tobytes())
    return found.hexdigest()
