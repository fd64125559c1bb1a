"""Files as lava-dl's `slayer` exports them, and as its users change them: random ones, and single layers by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

CUBA = {"type": "CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 80, "refDelay": 1, "gradedSpike": False}


def dense(weight: Any, kind: str = "dense", neuron: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """The keys of a dense layer; `neuron` changes those of its neurons."""
    weight = np.asarray(weight, dtype=np.float32)
    return {
        "type": kind,
        "shape": [len(weight)],
        "weight": weight,
        "neuron": CUBA | (neuron or {}),
    } | keys


def write(path: Path, *layers: dict[str, Any]) -> Path:
    """A file of these layers."""

    def put(group: h5py.Group, keys: dict[str, Any], top: bool) -> None:
        for key, value in keys.items():
            if isinstance(value, dict):
                put(group.create_group(key), value, False)
            elif isinstance(value, str):
                group[key] = np.array([value.encode()]) if top else np.bytes_(value)
            else:
                group[key] = value

    with h5py.File(path, "w") as file:
        for i, keys in enumerate(layers):
            put(file.create_group(f"layer/{i}"), keys, True)
    return path


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Those that the loader keeps, and those that it cuts, rounds, clips or drops."""
    kinds = [
        lambda: 2 * rng.integers(-60, 90, shape),
        lambda: 2 * rng.integers(-60, 90, shape),
        lambda: rng.integers(-20, 40, shape),
        lambda: rng.choice([-256, -255, -3, 0, 254, 255], shape),
        lambda: rng.integers(0, 256, shape),
        lambda: -rng.integers(1, 256, shape),
        lambda: rng.normal(10, 40, shape),
        lambda: rng.choice([-16, 0, 32, 64], shape),
        lambda: rng.choice([-300, 10, 280], shape),
    ]
    return np.asarray(kinds[rng.integers(len(kinds))](), dtype=np.float32)


def _neuron(rng: np.random.Generator, channels: int) -> dict[str, Any]:
    def decay(low: int, high: int) -> Any:
        return rng.integers(low, high, channels) if rng.random() < 0.3 else int(rng.integers(low, high))

    keys = {"iDecay": decay(0, 4097), "vDecay": decay(0, 1000), "vThMant": int(rng.choice([0, 40, 200, 900]))}
    if rng.random() < 0.2:
        keys["vThMant"] = rng.integers(0, 900, channels)
    if rng.random() < 0.2:
        keys |= {"refDelay": 2, "wgtExp": 1}
    return keys


def _bias(rng: np.random.Generator, channels: int) -> dict[str, Any]:
    kinds = [
        {},
        {},
        {"bias": rng.integers(-30, 90, channels).astype(np.float32)},
        {"bias": rng.normal(0, 50, channels)},
        {"bias": rng.integers(-9000, 30000, channels)},
    ]
    return kinds[rng.integers(len(kinds))]


def _delay(rng: np.random.Generator, outputs: int, inputs: int) -> dict[str, Any]:
    largest = rng.choice([1, 5, 62, 70])
    kinds = [
        {},
        {},
        {"delay": float(rng.integers(0, largest + 1))},
        {"delay": rng.integers(0, largest + 1, outputs).astype(np.float32)},
        {"delay": rng.integers(0, largest + 1, inputs).astype(np.float32)},
        {"delay": rng.uniform(0, largest, (outputs, inputs))},
    ]
    return kinds[rng.integers(len(kinds))]


def random_file(path: Path, seed: int) -> Path:
    """A chain of two to four layers, with or without an input layer."""
    rng = np.random.default_rng(seed)
    layers: list[dict[str, Any]] = []
    image = rng.random() < 0.5
    shape: tuple[int, ...] = (2, 6, 5) if image else (int(rng.integers(3, 9)),)
    if image or rng.random() < 0.5:
        layers.append({"type": "input", "shape": list(shape)})
        if rng.random() < 0.3:
            layers[0]["neuron"] = CUBA | _neuron(rng, shape[0]) | {"vThMant": 60}
    if image:
        channels = int(rng.integers(1, 5))
        keys = {"stride": [1, 1], "padding": [1, 0], "dilation": [1, 1], "groups": 1}
        weight = rng.integers(-60, 100, (channels, 2, 3, 2, 1)).astype(np.float32)
        neuron = CUBA | _neuron(rng, channels)
        layers.append(
            {"type": "conv", "shape": [channels, 6, 4], "weight": weight, "neuron": neuron}
            | keys
            | _bias(rng, channels)
        )
        if rng.random() < 0.5:
            layers[-1]["delay"] = np.ones(channels)
        layers.append({"type": "flatten", "shape": [channels * 24, 1, 1]})
        shape = (channels * 24,)
    for _ in range(int(rng.integers(1, 4))):
        inputs, outputs = shape[0], int(rng.integers(1, 8))
        recurrent = rng.random() < 0.3
        keys = _bias(rng, outputs) | _delay(rng, outputs, inputs)
        if recurrent:
            if "delay" in keys and inputs != outputs:
                del keys["delay"]
            keys["weight_rec"] = _weights(rng, (outputs, outputs))
        weight = _weights(rng, (outputs, inputs))
        layers.append(dense(weight, "dense_rec" if recurrent else "dense", _neuron(rng, outputs), **keys))
        shape = (outputs,)
    if rng.random() < 0.3:
        if rng.random() < 0.5:
            del layers[-1]["neuron"]
        else:
            layers[-1]["neuron"]["vThMant"] = int(rng.choice([2**17 - 1, 2**18 - 1]))
    return write(path, *layers)
