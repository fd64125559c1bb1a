"""The benchmark networks: real shapes, random even weights, thresholds that give realistic firing rates.

Neurons start at half their threshold, as deep converted networks do (`rmp-lava convert --v-init half`).

There is no pooling: if the original pools by two, the next layer has stride two. Layers, neurons, weights and
multiplications per step are then those of the original.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rmp_lava
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork, Synapse

SPIKE_RATE, INPUT_RATE = 0.1, 0.15
WEIGHT_SPREAD = 16
"""Standard deviation of the weights before they are rounded to even numbers within +-126."""
SHORTCUT_WEIGHT = 64
CALIBRATION_STEPS = 32
_CALIBRATION_NEURONS = 8192
_MAX_THRESHOLD = 2**17 - 1


@dataclass(frozen=True)
class Size:
    """Samples and steps for the batched engines, and for Lava's single samples.

    Lava's own convolution takes minutes on the large networks, so it runs in the first `stock_rounds` rounds only. Without
    `lava_steps`, Lava does not run.
    """

    batch: int
    steps: int
    lava_samples: int
    lava_steps: int
    stock_rounds: int = 100


@dataclass(frozen=True)
class Spec:
    """An entry of `NETWORKS`."""

    title: str
    full: Size
    quick: Size | None
    note: str = ""


NETWORKS = {
    "digits-cnn": Spec("digits CNN, 1x8x8", Size(256, 64, 2, 64), Size(64, 32, 1, 32)),
    "pilotnet-if": Spec(
        "PilotNet's shapes, 3x66x200, integrate-and-fire",
        Size(32, 64, 1, 16),
        None,
        "lava-dl's PilotNet with RMP neurons and random weights: the like-for-like comparison with the peers.",
    ),
    "pilotnet-lif": Spec(
        "PilotNet of lava-dl, 3x66x200, CUBA neurons",
        Size(32, 64, 1, 16),
        None,
        "lava-dl's own `pilotnet_lif/network.net`: leaky neurons, hard reset, input neurons. No peer row: the peers' "
        "neurons differ; compare with `pilotnet-if`, which has the same shapes. Lava runs its unmodified neurons here "
        "(implementation `stock`).",
    ),
    "vgg16": Spec("VGG-16, 3x32x32", Size(64, 32, 1, 1, 1), Size(4, 16, 0, 0)),
    "resnet20": Spec("ResNet-20, 3x32x32", Size(64, 32, 1, 8, 1), None),
}
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def build(name: str, width: float = 1.0, seed: int = 0, spike_rate: float = SPIKE_RATE) -> SpikingNetwork:
    """A network of `NETWORKS` (not "pilotnet-lif", which is a file of lava-dl) with calibrated thresholds.

    Parameters
    ----------
    width : float
        Factor on VGG-16's channels and hidden neurons.
    spike_rate : float
        Target of each layer's threshold: spikes per neuron and step in the first steps of one calibration sample.
    """
    draft = {
        "digits-cnn": _digits_cnn,
        "pilotnet-if": _pilotnet,
        "vgg16": lambda random: _vgg16(random, width),
        "resnet20": _resnet20,
    }[name](np.random.default_rng([seed, 1]))
    return _calibrate(draft, seed, spike_rate)


def spikes_for(
    network: SpikingNetwork, samples: int, steps: int, seed: int = 0, mean_rate: float = INPUT_RATE
) -> np.ndarray:
    """(samples, steps, *input shape) uint8 Poisson spikes of random images with a mean rate per step.

    Input neurons (PilotNet's) get messages of twice their threshold instead; each causes one spike.
    """
    messages = np.empty((samples, steps, *network.input.shape), np.uint8)
    for i in range(samples):  # sample by sample: one sample's spikes do not depend on the batch
        random = np.random.default_rng([seed, 2, i])
        image = random.random(network.input.shape, dtype=np.float32) * np.float32(2 * mean_rate)
        messages[i] = random.random((steps, *network.input.shape), dtype=np.float32) < image
    if network.input.neurons is not None:
        messages *= 2 * int(network.input.neurons.threshold)
    return messages


def multiplications(network: SpikingNetwork) -> int:
    """Weights times positions per step: multiplications if zeros are not skipped."""
    return sum(_positions(layer, s) * s.weight.size for layer in network for s in layer.synapses)


def _positions(layer: Layer, synapse: Synapse) -> int:
    return layer.shape[1] * layer.shape[2] if isinstance(synapse, Conv) else 1


def convolutions(network: SpikingNetwork) -> list[dict]:
    """Shape of each convolution, for the bare measurement in `throughput.py`."""
    return [
        {
            "name": f"{layer.name} from {s.source}",
            "input": list(network.source_shape(s.source)),
            "output": list(layer.shape),
            "kernel": list(s.weight.shape),
            "stride": list(s.stride),
            "padding": list(s.padding),
            "multiplications": _positions(layer, s) * s.weight.size,
        }
        for layer in network
        for s in layer.synapses
        if isinstance(s, Conv)
    ]


def write(network: SpikingNetwork, spikes: np.ndarray, place: Path) -> dict[str, str]:
    """Files of a network and its input next to each other; the keys of a job that name them.

    The weights are float32, and with the graph as JSON in one `.npz`, for environments without rmp-lava.
    """
    files = {key: f"{place}.{kind}" for key, kind in (("network", "net"), ("weights", "npz"), ("spikes", "npy"))}
    rmp_lava.save(network, files["network"])
    np.save(files["spikes"], spikes)
    if not any(layer.neurons.is_leaky for layer in network):  # which no peer runs
        np.savez(files["weights"], **_for_peers(network))
    return files


def _for_peers(network: SpikingNetwork) -> dict[str, Any]:
    arrays, graph = {}, []
    for layer in network:
        synapses = []
        for synapse in layer.synapses:
            entry = {"source": synapse.source, "weight": f"w{len(arrays)}"}
            arrays[entry["weight"]] = synapse.weight.astype(np.float32)
            if isinstance(synapse, Conv):
                entry |= {"stride": list(synapse.stride), "padding": list(synapse.padding)}
            synapses.append(entry)
        graph.append(
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "threshold": int(layer.neurons.threshold),
                "v_init": int(layer.neurons.v_init),
                "synapses": synapses,
            }
        )
    return {"graph": json.dumps(graph), **arrays}


class _Draft:
    """Layers under construction; `add` returns the new layer's name."""

    def __init__(self, name: str, shape: tuple[int, ...], random: np.random.Generator) -> None:
        self.name, self.random = name, random
        self.shapes, self.layers = {INPUT: shape}, []

    def weights(self, *shape: int) -> np.ndarray:
        drawn = self.random.normal(0, WEIGHT_SPREAD, shape)
        return (2 * np.rint(drawn / 2)).clip(-126, 126).astype(np.int16)

    def add(self, name: str, *synapses: Synapse) -> str:
        shape = synapses[0].output_shape(self.shapes[synapses[0].source])
        self.layers.append(Layer(name, shape, synapses, Neurons(threshold=1)))
        self.shapes[name] = shape
        return name

    def conv(self, name, source, channels, stride=(1, 1), padding=(1, 1), shortcut: Synapse | None = None) -> str:
        weight = self.weights(channels, self.shapes[source][0], 3, 3)
        synapse = Conv(source, weight, stride=stride, padding=padding)
        return self.add(name, synapse, *([] if shortcut is None else [shortcut]))

    def dense(self, name: str, source: str, neurons: int) -> str:
        return self.add(name, Dense(source, self.weights(neurons, int(np.prod(self.shapes[source])))))

    def network(self) -> SpikingNetwork:
        source = Input(self.shapes[INPUT], "spikes", levels=1)
        return SpikingNetwork(self.name, source, tuple(self.layers), stage="integer", readout="count")


def _digits_cnn(random: np.random.Generator) -> SpikingNetwork:
    draft = _Draft("digits-cnn", (1, 8, 8), random)
    draft.conv("conv1", INPUT, 12)
    draft.conv("conv2", "conv1", 24, stride=(2, 2))
    draft.dense("dense", "conv2", 10)
    return draft.network()


def _pilotnet(random: np.random.Generator) -> SpikingNetwork:
    draft, source = _Draft("pilotnet-if", (3, 66, 200), random), INPUT
    shapes = (
        (24, (2, 2), (0, 0)),
        (36, (2, 2), (0, 0)),
        (48, (2, 2), (0, 0)),
        (64, (2, 1), (1, 0)),
        (64, (1, 1), (0, 0)),
    )
    for i, (channels, stride, padding) in enumerate(shapes, 1):
        source = draft.conv(f"conv{i}", source, channels, stride, padding)
    for i, neurons in enumerate((100, 50, 10, 1), 7):
        source = draft.dense(f"dense{i}", source, neurons)
    return draft.network()


def _vgg16(random: np.random.Generator, width: float) -> SpikingNetwork:
    draft, source, stride = _Draft("vgg16", (3, 32, 32), random), INPUT, (1, 1)
    for i, block in enumerate(_VGG16, 1):
        for j, channels in enumerate(block, 1):
            source = draft.conv(f"conv{i}_{j}", source, round(channels * width), stride)
            stride = (1, 1)
        stride = (2, 2)
    for i, neurons in enumerate((round(512 * width), round(512 * width), 10), 1):
        source = draft.dense(f"dense{i}", source, neurons)
    return draft.network()


def _resnet20(random: np.random.Generator) -> SpikingNetwork:
    draft = _Draft("resnet20", (3, 32, 32), random)
    source = draft.conv("conv1", INPUT, 16)
    for i, channels in enumerate((16, 32, 64), 1):
        for j in range(1, 4):
            stride = (2, 2) if i > 1 and j == 1 else (1, 1)
            inner = draft.conv(f"block{i}_{j}a", source, channels, stride)
            before = draft.shapes[source][0]
            # Same shape: the identity, as a 1x1 convolution; else a full 1x1 convolution with the block's stride.
            weight = (
                SHORTCUT_WEIGHT * np.eye(channels, dtype=np.int16)[..., None, None]
                if before == channels
                else draft.weights(channels, before, 1, 1)
            )
            source = draft.conv(f"block{i}_{j}b", inner, channels, shortcut=Conv(source, weight, stride=stride))
    draft.dense("dense", source, 10)
    return draft.network()


def _calibrate(network: SpikingNetwork, seed: int, spike_rate: float) -> SpikingNetwork:
    """Thresholds, layer by layer, so that each layer spikes at this rate on one sample."""
    mean_rate = INPUT_RATE if spike_rate == SPIKE_RATE else spike_rate
    spikes = spikes_for(network, 1, CALIBRATION_STEPS, seed, mean_rate)
    streams = {INPUT: spikes[0].astype(np.float32)}
    layers = []
    for layer in network:
        drive = sum(_drive(synapse, streams[synapse.source]) for synapse in layer.synapses)
        flat = drive.reshape(len(drive), -1)
        some = flat[:, :: max(1, flat.shape[1] // _CALIBRATION_NEURONS)]
        low, high = 1, _MAX_THRESHOLD
        while high - low > max(1, low // 50):
            middle = (low + high) // 2
            low, high = (middle, high) if _fire(some, middle).mean() > spike_rate else (low, middle)
        layers.append(layer.replace(neurons=Neurons(threshold=high, v_init=high // 2)))
        streams[layer.name] = _fire(flat, high).reshape(drive.shape)
    return network.replace(layers=tuple(layers))


def expected_counts(network: SpikingNetwork, spikes: np.ndarray) -> dict[str, list[int]]:
    """Layer -> spikes of each sample, as every engine must count them.

    Of the RMP neurons that start at half their threshold: by a simulation of this file, without delays, as windows are
    aligned (`rmp_lava.schedule`). Of lava-dl's PilotNet, whose neurons are others: by backend reference.
    """
    if network.input.neurons is None:
        return _counts_without_delays(network, spikes)
    result = rmp_lava.run(network, spikes, spikes.shape[1], "reference")
    return {layer.name: result.message_counts[layer.name].tolist() for layer in network}


def _counts_without_delays(network: SpikingNetwork, spikes: np.ndarray) -> dict[str, list[int]]:
    counts: dict[str, list[int]] = {layer.name: [] for layer in network}
    for sample in spikes:
        streams = {INPUT: sample.astype(np.float32)}
        for layer in network:
            drive = sum(_drive(synapse, streams[synapse.source]) for synapse in layer.synapses)
            fired = _fire(drive.reshape(len(drive), -1), int(layer.neurons.threshold))
            counts[layer.name].append(int(fired.sum()))
            streams[layer.name] = fired.reshape(drive.shape)
    return counts


def _drive(synapse: Synapse, stream: np.ndarray) -> np.ndarray:
    """(steps, *shape) float32 input of a layer; integers far below 2^24, hence exact."""
    weight = synapse.weight.astype(np.float32)
    if isinstance(synapse, Dense):
        return stream.reshape(len(stream), -1) @ weight.T
    (ph, pw), (sh, sw) = synapse.padding, synapse.stride
    padded = np.pad(stream, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))[:, :, ::sh, ::sw]
    return np.ascontiguousarray(np.tensordot(windows, weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2))


def _fire(drive: np.ndarray, threshold: int) -> np.ndarray:
    """float32 spikes of RMP neurons that start at half their threshold, for (steps, neurons) input."""
    spikes, v = np.empty_like(drive), np.full_like(drive[0], threshold // 2)
    for t, a in enumerate(drive):
        v += a
        spikes[t] = v > threshold
        v -= threshold * spikes[t]
    return spikes
