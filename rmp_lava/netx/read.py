"""Read `.net` files, ours and lava-dl's: what the keys mean, and the network that they describe.

`untrusted/` checks the file itself. What is not supported is refused, never skipped.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..choices import Encoding, Readout, Reset, Stage
from ..errors import NetFileError, NetworkError
from ..files import StrPath
from ..network import INPUT, NO_MEMORY, Companion, Dense, Input, Layer, Neurons, SpikingNetwork, Synapse, WeightError
from .lava_dl import Call, convolution, input_shape_of, read_lava_dl, read_sigma_delta, shape_of
from .untrusted import Group, opened
from .version1 import stage_of, upgraded

log = logging.getLogger(__name__)

FORMAT_VERSION = 3
MAX_LAYERS = 10_000
_OURS: dict[str, Reset] = {"RMP": "soft", "IF": "hard", "INTEGRATOR": "none"}
_LAVA_DL = ("CUBA", "LOIHI")
_SDNN = ("SDNN", "SIGMADELTA")
"""Sigma-delta neurons: lava-dl's name, and ours for those that its loader would run otherwise."""
TYPED_FIELDS = (
    "output_scale",
    "output_offset",
    "balanced_steps",
    "wait",
    "dataset",
    "validation_fraction",
    "trained_macs",
)
"""Fields of `SpikingNetwork` that have the same name in the header; `SpikingNetwork` checks their values."""
_COMPANION = {entry.name for entry in fields(Companion)}
_CONVERSION = {"activation_scale", "clip", "potential_peak", "mean_input", "weight_error", "mean_rate"}
_WEIGHT_ERROR = {entry.name for entry in fields(WeightError)}


def load(
    path: StrPath,
    *,
    input_shape: tuple[int, ...] | None = None,
    input_message_bits: int = 0,
    num_layers: int | None = None,
) -> SpikingNetwork:
    """Read a network from a `.net` file, written by `save` or by lava-dl.

    Of lava-dl's own files, CUBA (LOIHI) and SDNN neurons in input, dense, dense_rec, conv and flatten layers are supported, with
    what lava-dl's loader makes of them. Their input neurons take the network's messages directly. A file of lava-dl without an
    input layer gets the input that its first layer needs.

    Parameters
    ----------
    path : path
    input_shape : tuple of int or None
        As lava-dl's argument, (width, height, channels): of a file of lava-dl whose first layer is a convolution. None: the
        smallest image that fits.
    input_message_bits : int
        As lava-dl's argument: messages of integers up to 2^bits - 1 enter a network of lava-dl without input neurons; 0: spikes.
    num_layers : int or None
        As lava-dl's argument: read only so many entries of lava-dl's file.

    Returns
    -------
    SpikingNetwork
        Equal to the one that was saved.

    Raises
    ------
    NetFileError
        If the file is missing, damaged, of a newer format, or contains something that a `SpikingNetwork` cannot represent; of
        lava-dl's files with every such thing.

    Warns
    -----
    RmpLavaWarning
        Where lava-dl's loader ignores, rounds or clips something in a file of lava-dl.
    """
    path, call = Path(path), Call(input_shape, input_message_bits, num_layers)
    log.debug("reading %s", path)
    try:
        with opened(path) as root:
            header = _read_header(root)
            if header is None:
                return read_lava_dl(root, _layer_groups(root), call)
            if call != Call():
                raise root.fail(
                    "input_shape, input_message_bits and num_layers are for files of lava-dl; leave them out"
                )
            return _read_network(root, header)
    except NetworkError as error:
        raise NetFileError(f"{path}: {error}") from None


@dataclass(frozen=True)
class _Header:
    """Values of the network as a whole."""

    name: str
    version: int
    stage: str
    readout: Readout
    encoding: Encoding
    levels: int | None
    typed: dict[str, Any] = field(default_factory=dict)


def _read_network(root: Group, header: _Header) -> SpikingNetwork:
    groups = _layer_groups(root)
    kinds = [group.text("type") for group in groups]
    if kinds[0] != "input":
        raise root.fail(f"layer 0 has type {kinds[0]!r}; the first layer must be of type input")
    source = _read_input(groups[0], header)
    log = root.child("rmp_lava").json("provenance", dict)
    stage = stage_of(header.stage, log) if header.version == 1 else cast(Stage, header.stage)
    layers: list[Layer] = []
    for index, (group, kind) in enumerate(zip(groups[1:], kinds[1:], strict=True), start=1):
        if kind == "flatten":
            continue
        if kind not in ("conv", "dense", "dense_rec"):
            raise root.fail(
                f"layer {index} has type {kind!r}; supported are input, conv, dense, self-synaptic dense_rec and flatten"
            )
        before = layers[-1] if layers else None
        layers.append(_read_layer(group, kind, before, stage == "integer", header.version))
    network = SpikingNetwork(
        name=header.name,
        input=source,
        layers=tuple(layers),
        stage=stage,
        readout=header.readout,
        class_names=tuple(root.child("rmp_lava").json("class_names", list)),
        companions=_read_companions(root) if header.version > 1 else (),
        provenance=log,
        **header.typed,
    )
    return network if header.version > 1 else upgraded(network)


def _read_companions(root: Group) -> tuple[Companion, ...]:
    entries = root.child("rmp_lava").json("companions", list)
    return tuple(Companion(**_with_keys(_COMPANION, each, root, "/rmp_lava/companions")) for each in entries)


def _with_keys(keys: set[str], found: object, group: Group, where: str) -> dict[str, Any]:
    """A dictionary of JSON that must have exactly these keys."""
    if not isinstance(found, dict) or set(found) != keys:
        raise group.fail(
            f"{where} has missing or unexpected keys; expected are {', '.join(sorted(keys))}, so export the network again"
        )
    return found


def _read_header(root: Group) -> _Header | None:
    """None of a file that lava-dl wrote."""
    version = root.attribute("rmp_lava_format")
    if version is None:
        if "rmp_lava" in root:
            raise root.fail("attribute rmp_lava_format is missing; the file is incomplete, export the network again")
        return None
    if version < 1:
        raise root.fail("format version is not a positive integer; export the network again")
    if version > FORMAT_VERSION:
        raise root.fail(f"format version {version} is newer than {FORMAT_VERSION}, the newest known; update rmp-lava")
    root.complete = True
    values = root.child("rmp_lava").json("network", dict)
    stage = "number_format" if version == 1 else "stage"
    for key in ("name", stage, "readout", "encoding"):
        if not isinstance(values.get(key), str):
            raise root.fail(f"/rmp_lava/network has no string {key!r}; export the network again")
    levels = values.get("levels")
    if levels is not None and (isinstance(levels, bool) or not isinstance(levels, int)):
        raise root.fail(f"input levels are {levels!r}; expected an integer or null")
    return _Header(  # SpikingNetwork and Input check the three choices
        name=values["name"],
        version=version,
        stage=values[stage],
        readout=cast(Readout, values["readout"]),
        encoding=cast(Encoding, values["encoding"]),
        levels=levels,
        typed={key: values[key] for key in TYPED_FIELDS if key in values} if version > 1 else {},
    )


def _layer_groups(root: Group) -> list[Group]:
    if "node" in root and "layer" not in root:
        raise root.fail("it is a NIR file, not a .net file; `rmp-lava nir` makes one of it")
    layers = root.child("layer")
    count = len(layers)
    if not 1 <= count <= MAX_LAYERS:
        raise root.fail(f"/layer has {count} entries; expected 1..{MAX_LAYERS}")
    return [layers.child(str(i)) for i in range(count)]


def _read_input(group: Group, header: _Header) -> Input:
    neurons = _read_neurons(group, integer=True) if "neuron" in group else None
    return Input(input_shape_of(group), header.encoding, header.levels, neurons)


def _read_layer(group: Group, kind: str, before: Layer | None, integer: bool, version: int) -> Layer:
    shape = shape_of(group)
    shape = shape if kind == "conv" else (int(np.prod(shape)),)
    default_source = before.name if before is not None else INPUT
    synapses = [_read_synapse(group, "conv" if kind == "conv" else "dense", default_source, shape, integer, version)]
    if "synapse" in group:
        further = group.child("synapse")
        for i in range(1, min(len(further), MAX_LAYERS) + 1):
            entry = further.child(str(i))
            entry_kind = entry.text("type")
            if entry_kind not in ("conv", "dense"):
                raise group.fail(f"{entry.where('type')} is {entry_kind!r}; expected conv or dense")
            synapses.append(_read_synapse(entry, entry_kind, default_source, shape, integer, version))
    name = group.text("name")
    if kind == "dense_rec":
        recurrent, neurons = _read_recurrent(group, name, synapses[0], shape)
        synapses += [recurrent] if recurrent is not None else []
    elif "neuron" in group:
        neurons = _read_neurons(group, integer)
    elif kind == "dense":
        neurons = _read_integrator(group)
    else:
        raise group.fail(f"{group.where('neuron')} is missing; a convolution needs a neuron")
    typed = _read_conversion(group, version) if version > 1 else {}
    return Layer(
        name=name,
        shape=shape,
        synapses=tuple(synapses),
        neurons=neurons,
        **typed,
        record=group.json("record", dict),
    )


def _read_conversion(group: Group, version: int) -> dict[str, Any]:
    """The typed fields that conversion sets; `Layer` and `SpikingNetwork` check their values."""
    where, found = group.where("conversion"), group.json("conversion", dict)
    if version == 2:  # a single weight error
        error = found.get("weight_error")
        found |= {
            "mean_rate": None,
            "mean_input": None,
            "weight_error": None if error is None else vars(WeightError(error)),
        }
    typed = _with_keys(_CONVERSION, found, group, where)
    error = typed["weight_error"]
    if error is not None:
        error = WeightError(**_with_keys(_WEIGHT_ERROR, error, group, f"{where}, weight_error,"))
    return typed | {"weight_error": error}


def _read_synapse(group: Group, kind: str, source: str, shape: tuple[int, ...], integer: bool, version: int) -> Synapse:
    weight = group.numbers("weight", integers=integer)
    source = group.text("source")
    pair = group.pair("pool", 0) if version > 1 else (0, 0)
    pool = None if pair == (0, 0) else pair
    exponent = group.integer("exponent") if version > 2 else 0
    if kind == "dense":
        delay = group.numbers("delay", integers=True) if "delay" in group else None
        return Dense(source, weight, exponent=exponent, pool=pool, delay=delay)
    if "delay" in group and group.numbers("delay").any():
        raise group.fail(f"{group.where('delay')} has synaptic delays of a convolution; only dense synapses have them")
    return convolution(group, source, weight).replace(exponent=exponent, pool=pool)


def _read_neurons(group: Group, integer: bool) -> Neurons:
    entry = group.child("neuron")
    kind = entry.text("type")
    if kind in _SDNN:
        return read_sigma_delta(group, entry, _read_bias(group, entry, True))
    reset: Reset | None = "hard" if kind in _LAVA_DL else _OURS.get(kind)
    if reset is None:
        raise group.fail(
            f"{entry.where('type')} is {kind!r}; supported are {', '.join([*_OURS, *_LAVA_DL, *_SDNN])} neurons"
        )
    graded = entry.integer("gradedSpike")
    if graded and "largestSpike" not in entry:
        raise group.fail(f"{entry.where('gradedSpike')} is set, but no largestSpike; graded spikes need both")
    bias = _read_bias(group, entry, integer)
    integrates = "integrator_threshold" in entry  # lava-dl gets a threshold that is never reached
    key = "integrator_threshold" if integrates else "vThMant"
    return Neurons(
        threshold=_read_values(entry, key) if integer else entry.scalar(key),
        reset="none" if integrates else reset,
        v_init=entry.integer("vInit") if integer else entry.scalar("vInit"),
        bias=bias,
        bias_exponent=entry.integer("biasExp") if bias is not None else 6,
        current_decay=_read_values(entry, "iDecay"),
        voltage_decay=_read_values(entry, "vDecay"),
        largest_spike=entry.integer("largestSpike") if graded else 1,
    )


def _read_values(entry: Group, key: str) -> int | np.ndarray:
    values = entry.numbers(key, integers=True)
    return values if values.ndim else int(values)


def _read_bias(group: Group, entry: Group, integer: bool) -> np.ndarray | None:
    if "biasShape" not in entry and "bias" not in group:
        return None
    bias = group.numbers("bias", integers=integer)
    # A single value is repeated for lava-dl, which takes one per channel.
    single = bias.size and not entry.numbers("biasShape", integers=True).size
    return np.asarray(bias.reshape(-1)[0]) if single else bias


def _read_recurrent(
    group: Group, name: str, forward: Synapse, shape: tuple[int, ...]
) -> tuple[Synapse | None, Neurons]:
    """A dense_rec layer: self-synapses of weight -threshold are a soft reset, others are recurrent synapses."""
    entry = group.child("neuron")
    threshold, size = _read_values(entry, "vThMant"), shape[0]
    weight = group.numbers("weight_rec", integers=True)
    if weight.shape != (size, size):
        raise group.fail(f"{group.where('weight_rec')} has shape {weight.shape}; expected {(size, size)}")
    decays = (_read_values(entry, "iDecay"), _read_values(entry, "vDecay"))
    resets = isinstance(threshold, int) and np.array_equal(weight, -threshold * np.eye(size, dtype=np.int64))
    if resets and all(np.array_equal(a, b) for a, b in zip(decays, (0, NO_MEMORY), strict=True)):
        return None, Neurons(threshold=threshold, reset="soft")
    delay = forward.delay if isinstance(forward, Dense) else None
    return Dense(name, weight, delay=delay), _read_neurons(group, integer=True)


def _read_integrator(group: Group) -> Neurons:
    """A dense layer without neurons, as earlier versions wrote an integrating one: lava-dl's non-leaky integrator."""
    current_decay, voltage_decay = group.pair("integrator_decays", 0)
    threshold = group.integer("integrator_threshold")
    return Neurons(threshold, "none", current_decay=current_decay, voltage_decay=voltage_decay)
