"""Write a network to `.net`: first in memory, then to disk, where it is read back, compared and renamed atomically."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import h5py
import numpy as np

from ..errors import NetFileError
from ..files import StrPath, write_atomically
from ..network import NO_MEMORY, Conv, Dense, Layer, Neurons, SigmaDelta, SpikingNetwork, Synapse
from .lava_dl_loader import lava_dl_obstacles, self_synapse
from .read import FORMAT_VERSION, TYPED_FIELDS, load

log = logging.getLogger(__name__)

_LARGEST_CHUNK = 2**26
"""Bytes of weights that are one chunk; the several that HDF5 would choose compress less, by up to a fifth."""
NEVER = 2**18 - 1
"""A threshold that no 24-bit potential exceeds, as lava-dl writes it for neurons whose voltage is read (slayer's Affine)."""
UNKNOWN_TO_LAVA_DL = {"soft": "RMP", "hard": "IF", "none": "INTEGRATOR"}


def save(network: SpikingNetwork, path: StrPath, *, for_lava_dl: bool = False) -> Path:
    """Write a network to a `.net` file.

    The file appears under its name only after it was written completely and read back equal; until then an older file of that
    name is unchanged.

    Parameters
    ----------
    network : SpikingNetwork
    path : path
        Missing folders are made.
    for_lava_dl : bool
        Require a file that lava-dl's unmodified loader runs with identical spikes. Without it, a network that the loader
        cannot run is written so that the loader stops at its first neuron. A dense network with soft reset becomes lava-dl's
        `dense_rec` with a self-synapse only if this is set.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    NetFileError
        If the file cannot be written, or `for_lava_dl` is set and lava-dl's loader cannot run the network.
    """
    obstacles = lava_dl_obstacles(network)
    if for_lava_dl and obstacles:
        raise NetFileError(f"network {network.name!r} cannot run in lava-dl's loader: {'; '.join(obstacles)}")
    has_soft_layer = any(layer.neurons.reset == "soft" for layer in network) and not network.is_sigma_delta
    stock = not obstacles and (for_lava_dl or not has_soft_layer)
    written = write_atomically(
        path, _file_image(network, stock), NetFileError, verify=lambda part: _compare(part, network)
    )
    log.info("wrote %r to %s, %d layers, %s", network.name, path, len(network.layers), network.stage)
    return written


def _compare(path: Path, network: SpikingNetwork) -> None:
    if load(path) != network:
        raise NetFileError(f"network {network.name!r} does not read back equal; this is a defect, please report it")


def _file_image(network: SpikingNetwork, stock: bool) -> bytes:
    # In memory, as HDF5 handles a full disk badly; under a name of its own, as another thread may write a file, too.
    with h5py.File(
        f"image-{threading.get_ident()}.net", "w", driver="core", backing_store=False, track_order=False
    ) as file:
        file.attrs["rmp_lava_format"] = FORMAT_VERSION
        details = file.create_group("rmp_lava")
        header: dict[str, object] = {name: getattr(network, name) for name in ("name", "stage", "readout")}
        header |= {"encoding": network.input.encoding, "levels": network.input.levels}
        header |= {name: getattr(network, name) for name in TYPED_FIELDS}
        _write_json(details, "network", header)
        _write_json(details, "class_names", network.class_names)
        _write_json(details, "companions", [vars(companion) for companion in network.companions])
        _write_json(details, "provenance", dict(network.provenance))
        layers = file.create_group("layer")
        _write_input(layers.create_group("0"), network, stock)
        shape = network.input.shape
        for layer in network:
            if isinstance(layer.synapses[0], Dense) and len(network.source_shape(layer.synapses[0].source)) == 3:
                _write_type(layers.create_group(str(len(layers))), "flatten", (int(np.prod(shape)),))
            _write_layer(layers.create_group(str(len(layers))), layer, stock, network.is_integer)
            shape = layer.shape
        file.flush()
        return file.id.get_file_image()


def _plain(scale: np.ndarray | None) -> float | list[float] | None:
    return None if scale is None else scale.tolist()


def _write_json(group: h5py.Group, key: str, value: object) -> None:
    _write_text(group, key, json.dumps(value, allow_nan=False))


def _write_text(group: h5py.Group, key: str, text: str) -> None:
    # Of fixed length, as HDF5 keeps variable ones in heaps, which it does not check (see untrusted/heap.py).
    raw = text.encode("utf-8")
    group.create_dataset(key, data=np.array(raw, dtype=h5py.string_dtype("utf-8", len(raw))))


def _write_type(group: h5py.Group, kind: str, shape: tuple[int, ...]) -> None:
    group["type"] = np.array([kind.encode("ascii")], dtype="S10")
    group["shape"] = np.array(shape, dtype=np.int64)


def _write_input(group: h5py.Group, network: SpikingNetwork, stock: bool) -> None:
    _write_type(group, "input", network.input.shape)
    neurons = network.input.neurons
    if isinstance(neurons, SigmaDelta):
        _write_sigma_delta(group, neurons, network.input.shape, stock)
    elif neurons is not None:
        _write_neurons(group, neurons, network.input.shape, "CUBA" if neurons.reset == "hard" else "RMP", integer=True)


def _write_layer(group: h5py.Group, layer: Layer, stock: bool, integer: bool) -> None:
    recurrent = layer.recurrent if stock else ()  # the loader has a layer for these
    first, *further = (synapse for synapse in layer.synapses if synapse not in recurrent)
    self_synaptic = stock and layer.neurons.reset == "soft" and not isinstance(layer.neurons, SigmaDelta)
    kind = "conv" if isinstance(first, Conv) else "dense_rec" if self_synaptic or recurrent else "dense"
    _write_type(group, kind, layer.shape)
    _write_text(group, "name", layer.name)
    conversion = {
        "activation_scale": _plain(layer.activation_scale),
        "clip": _plain(layer.clip),
        "potential_peak": layer.potential_peak,
        "weight_error": None if layer.weight_error is None else vars(layer.weight_error),
        "mean_rate": _plain(layer.mean_rate),
        "mean_input": layer.mean_input,
    }
    _write_json(group, "conversion", conversion)
    _write_json(group, "record", dict(layer.record))
    _write_synapse(group, first)
    for i, synapse in enumerate(further, start=1):
        extra = group.create_group(f"synapse/{i}")
        extra["type"] = np.array([b"conv" if isinstance(synapse, Conv) else b"dense"], dtype="S10")
        _write_synapse(extra, synapse)
    if isinstance(layer.neurons, SigmaDelta):
        _write_sigma_delta(group, layer.neurons, layer.shape, stock)
    elif self_synaptic:
        group["weight_rec"] = self_synapse(layer)
        _write_self_synaptic_neurons(group, layer.neurons)
    else:
        if recurrent:
            group["weight_rec"] = recurrent[0].weight
        kind = "CUBA" if stock else UNKNOWN_TO_LAVA_DL[layer.neurons.reset]
        _write_neurons(group, layer.neurons, layer.shape, kind, integer)


def _write_synapse(group: h5py.Group, synapse: Synapse) -> None:
    _write_text(group, "source", synapse.source)
    chunks = synapse.weight.shape if synapse.weight.nbytes <= _LARGEST_CHUNK else True
    group.create_dataset(
        "weight", data=synapse.weight, chunks=chunks, compression="gzip", shuffle=True, fletcher32=True
    )
    group["exponent"] = synapse.exponent
    group["pool"] = np.array(synapse.pool or (0, 0), dtype=np.int64)
    if isinstance(synapse, Dense) and synapse.delay is not None:
        delay = np.broadcast_to(synapse.delay, synapse.weight.shape)
        group.create_dataset("delay", data=delay, compression="gzip")
    outputs, inputs = synapse.weight.shape[:2]
    if isinstance(synapse, Conv):
        group["inChannels"], group["outChannels"] = inputs * synapse.groups, outputs
        group["kernelSize"] = np.array(synapse.weight.shape[2:], dtype=np.int64)
        for key in ("stride", "padding", "dilation"):
            group[key] = np.array(getattr(synapse, key), dtype=np.int64)
        group["groups"] = synapse.groups
    else:
        group["inFeatures"], group["outFeatures"] = inputs, outputs


def _write_neurons(group: h5py.Group, neurons: Neurons, shape: tuple[int, ...], kind: str, integer: bool) -> None:
    entry = group.create_group("neuron")
    entry["type"] = np.bytes_(kind)
    entry["reset"] = np.bytes_(neurons.reset)
    never = kind == "CUBA" and neurons.reset == "none"
    entry["vThMant"] = NEVER if never else _wide(neurons.threshold)
    if never:
        entry["integrator_threshold"] = neurons.threshold
    entry["vInit"] = neurons.v_init
    entry["iDecay"], entry["vDecay"] = _wide(neurons.current_decay), _wide(neurons.voltage_decay)
    entry["refDelay"] = 1
    entry["gradedSpike"] = neurons.largest_spike > 1
    if neurons.largest_spike > 1:
        entry["largestSpike"] = neurons.largest_spike
    _write_bias(group, entry, neurons.bias, shape)
    if neurons.bias is not None:
        entry["biasExp"] = neurons.bias_exponent


def _wide(values: float | np.ndarray) -> float | np.ndarray:
    """Lava shifts thresholds by 6 bits in the type that they are stored in."""
    return values.astype(np.int64) if isinstance(values, np.ndarray) else values


def _write_bias(group: h5py.Group, entry: h5py.Group, bias: np.ndarray | None, shape: tuple[int, ...]) -> None:
    if bias is not None:
        # lava-dl takes one value per channel, so a single value is repeated; biasShape restores it.
        entry["biasShape"] = np.array(bias.shape, dtype=np.int64)
        group["bias"] = np.full(shape[:1], bias) if bias.ndim == 0 else bias


def _write_sigma_delta(group: h5py.Group, neurons: SigmaDelta, shape: tuple[int, ...], stock: bool) -> None:
    entry = group.create_group("neuron")
    entry["type"] = np.bytes_("SDNN" if stock else "SIGMADELTA")
    entry["vThMant"] = neurons.threshold
    entry["activation"] = np.bytes_("relu")
    entry["spikeExp"], entry["stateExp"] = neurons.spike_exponent, neurons.state_exponent
    if neurons.reset == "none":
        entry["sigma_output"] = True  # lava-dl asks whether the key is there
    _write_bias(group, entry, neurons.bias, shape)


def _write_self_synaptic_neurons(group: h5py.Group, neurons: Neurons) -> None:
    entry = group.create_group("neuron")
    entry["type"] = np.bytes_("CUBA")
    entry["vThMant"] = neurons.threshold
    # The current never decays and is the membrane potential; the voltage follows it (see docs/net-format.md).
    entry["iDecay"], entry["vDecay"] = 0, NO_MEMORY
    entry["refDelay"] = 1
    entry["gradedSpike"] = False
