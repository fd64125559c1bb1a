"""Read `.net` files, ours and lava-dl's: what the keys mean, and the network that they describe.

`untrusted/` checks the file itself. What is not supported is refused, never skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..choices import Encoding, Readout, Reset, Stage
from ..errors import NetFileError, NetworkError
from ..files import StrPath
from ..network import (
    INPUT,
    NO_MEMORY,
    SDNN_EXPONENT,
    Companion,
    Conv,
    Dense,
    Input,
    Layer,
    Neurons,
    SigmaDelta,
    SpikingNetwork,
    Synapse,
    WeightError,
)
from ..registers import MAX_LEVELS, MAX_THRESHOLD
from .untrusted import Group, opened
from .untrusted.budget import MAX_ELEMENTS
from .version1 import stage_of, upgraded

FORMAT_VERSION = 3
MAX_LAYERS = 10_000
_LARGEST_TRANSFORM = 16
"""Most values read of the scaling that lava-dl applies to an image."""
_OURS: dict[str, Reset] = {"RMP": "soft", "IF": "hard", "INTEGRATOR": "none"}
_LAVA_DL = ("CUBA", "LOIHI")
_SDNN = ("SDNN", "SIGMADELTA")
"""Sigma-delta neurons: lava-dl's name, and ours for those that its loader would run otherwise."""
TYPED_FIELDS = ("output_scale", "output_offset", "balanced_steps", "wait", "dataset", "validation_fraction")
"""Fields of `SpikingNetwork` that have the same name in the header; `SpikingNetwork` checks their values."""
_COMPANION = {entry.name for entry in fields(Companion)}
_CONVERSION = {"activation_scale", "clip", "potential_peak", "mean_input", "weight_error", "mean_rate"}
_WEIGHT_ERROR = {entry.name for entry in fields(WeightError)}


def load(path: StrPath) -> SpikingNetwork:
    """Read a network from a `.net` file, written by `save` or by lava-dl.

    Of lava-dl's own files, CUBA (LOIHI) neurons in input, dense, conv, flatten and self-synaptic dense_rec layers are
    supported, and SDNN neurons in all but the last. Their input neurons take the network's messages directly. A file of
    lava-dl without an input layer gets the input that its first layer needs; of a strided convolution the smallest image.

    Returns
    -------
    SpikingNetwork
        Equal to the one that was saved.

    Raises
    ------
    NetFileError
        If the file is missing, damaged, of a newer format, or contains something that a `SpikingNetwork` cannot represent.
    """
    path = Path(path)
    try:
        with opened(path) as root:
            return _read_network(root)
    except NetworkError as error:
        raise NetFileError(f"{path}: {error}") from None


@dataclass(frozen=True)
class _Header:
    """Values of the network as a whole; the defaults are for files that lava-dl wrote, which have none of them."""

    name: str
    version: int = 0
    stage: str = "integer"
    readout: Readout | None = None
    encoding: Encoding = "spikes"
    levels: int | None = 1
    typed: dict[str, Any] = field(default_factory=dict)


def _read_network(root: Group) -> SpikingNetwork:
    header = _read_header(root)
    groups = _layer_groups(root)
    kinds = [group.text("type") for group in groups]
    inputs = int(kinds[0] == "input")
    if not inputs and (header.version or kinds[0] not in ("conv", "dense")):
        raise root.fail(
            f"layer 0 has type {kinds[0]!r}; the first layer must be of type input, or, in lava-dl's own files, conv or dense"
        )
    source = _read_input(groups[0], header) if inputs else _implied_input(groups[0], kinds[0])
    if header.version:
        log = root.child("rmp_lava").json("provenance", dict)
    else:
        log = _foreign_provenance(groups[0]) if inputs else {"source": "lava-dl", "input": "implied by the first layer"}
    stage = stage_of(header.stage, log) if header.version == 1 else cast(Stage, header.stage)
    layers: list[Layer] = []
    for index, (group, kind) in enumerate(zip(groups[inputs:], kinds[inputs:], strict=True), start=inputs):
        if kind == "flatten":
            continue
        if kind not in ("conv", "dense", "dense_rec"):
            raise root.fail(
                f"layer {index} has type {kind!r}; supported are input, conv, dense, self-synaptic dense_rec and flatten"
            )
        before = layers[-1] if layers else None
        layers.append(_read_layer(group, kind, index, before, source, stage == "integer", header.version))
    integrates = bool(layers) and layers[-1].neurons.reset == "none"
    network = SpikingNetwork(
        name=header.name,
        input=source,
        layers=tuple(layers),
        stage=stage,
        readout=header.readout or ("potential" if integrates else "count"),
        class_names=tuple(root.child("rmp_lava").json("class_names", list)) if header.version else (),
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


def _foreign_provenance(group: Group) -> dict[str, Any]:
    """lava-dl stores how it scales an image with the input; the user must apply it: messages = weight * image + bias."""
    found: dict[str, Any] = {"source": "lava-dl"}
    for key in ("weight", "bias"):
        if key in group:
            found[f"input_{key}"] = group.numbers(key).reshape(-1).tolist()[:_LARGEST_TRANSFORM]
    return found


def _read_header(root: Group) -> _Header:
    version = root.attribute("rmp_lava_format")
    if version is None:
        if "rmp_lava" in root:
            raise root.fail("attribute rmp_lava_format is missing; the file is incomplete, export the network again")
        return _Header(root.path.stem)
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
    layers = root.child("layer")
    count = len(layers)
    if not 1 <= count <= MAX_LAYERS:
        raise root.fail(f"/layer has {count} entries; expected 1..{MAX_LAYERS}")
    return [layers.child(str(i)) for i in range(count)]


def _shape(group: Group) -> tuple[int, ...]:
    values = group.numbers("shape", integers=True).reshape(-1)
    # As floats: the product of declared sizes can exceed 64 bits.
    if not 1 <= values.size <= 3 or (values < 1).any() or np.prod(values.astype(float)) > MAX_ELEMENTS:
        raise group.fail(f"{group.where('shape')} is {values.tolist()}; expected up to three positive sizes")
    return tuple(int(n) for n in values)


def _read_input(group: Group, header: _Header) -> Input:
    shape = _shape(group)
    shape = (1, *shape) if len(shape) == 2 else shape
    neurons = _read_neurons(group, integer=True) if "neuron" in group else None
    is_foreign = not header.version and neurons is not None
    encoding = "frames" if is_foreign and isinstance(neurons, SigmaDelta) else header.encoding
    return Input(shape, encoding, MAX_LEVELS if is_foreign else header.levels, neurons)


def _implied_input(group: Group, kind: str) -> Input:
    """The input that the first layer's weights need; of convolutions the smallest image that gives the layer's shape."""
    shape = _shape(group) if kind == "conv" else (int(np.prod(_shape(group))),)
    synapse = _read_synapse(group, kind, INPUT, shape, integer=True, version=0)
    if not isinstance(synapse, Conv):
        if synapse.weight.ndim != 2 or not synapse.weight.size:
            raise group.fail(f"{group.where('weight')} has shape {synapse.weight.shape}; expected (outputs, inputs)")
        return Input((synapse.weight.shape[1],), "spikes", 1)
    if synapse.weight.ndim != 4 or len(shape) != 3:
        raise group.fail(
            f"{group.where('weight')} has shape {synapse.weight.shape}; expected that of a 2-D convolution"
        )
    axes = zip(shape[1:], synapse.weight.shape[2:], synapse.stride, synapse.padding, synapse.dilation, strict=True)
    sizes = [(n - 1) * stride + (k - 1) * dilation + 1 - 2 * padding for n, k, stride, padding, dilation in axes]
    channels = synapse.weight.shape[1] * synapse.groups
    if min(sizes) < 1 or channels < 1 or channels * sizes[0] * sizes[1] > MAX_ELEMENTS:
        raise group.fail(
            f"{group.where('shape')} and padding imply an input of {channels} x {sizes[0]} x {sizes[1]}; not possible"
        )
    return Input((channels, *sizes), "spikes", 1)


def _read_layer(
    group: Group, kind: str, index: int, before: Layer | None, source: Input, integer: bool, version: int
) -> Layer:
    shape = _shape(group)
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
    if kind == "dense_rec":
        neurons = _read_self_synaptic_neurons(group, shape)
    elif "neuron" in group:
        neurons = _read_neurons(group, integer)
    elif kind == "dense":
        neurons = _read_integrator(group)
    else:
        raise group.fail(f"{group.where('neuron')} is missing; a convolution needs a neuron")
    typed = _read_conversion(group, version) if version > 1 else {}
    return Layer(
        name=group.text("name") if group.has("name") else f"{kind}{index}",
        shape=shape,
        synapses=tuple(synapses),
        neurons=neurons,
        **typed,
        record=group.json("record", dict) if group.has("record") else {},
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
    source = group.text("source") if group.has("source") else source
    pair = group.pair("pool", 0) if version > 1 else (0, 0)
    pool = None if pair == (0, 0) else pair
    exponent = group.integer("exponent") if version > 2 else 0
    if kind == "dense":
        if weight.ndim == 1 and weight.size % shape[0] == 0:
            weight = weight.reshape(shape[0], -1)
        delay = group.numbers("delay", integers=True) if "delay" in group else None
        return Dense(source, weight, exponent=exponent, pool=pool, delay=delay)
    if "delay" in group and group.numbers("delay").any():
        raise group.fail(f"{group.where('delay')} has synaptic delays of a convolution; only dense synapses have them")
    if weight.ndim == 5 and weight.shape[4] == 1:
        weight = weight[..., 0]  # lava-dl stores the kernel's extent in time
    return Conv(
        source,
        weight,
        stride=group.pair("stride", 1),
        padding=group.pair("padding", 0),
        dilation=group.pair("dilation", 1),
        groups=group.integer("groups", 1),
        exponent=exponent,
        pool=pool,
    )


def _read_neurons(group: Group, integer: bool) -> Neurons:
    entry = group.child("neuron")
    kind = entry.text("type")
    if kind in _SDNN:
        return _read_sigma_delta(group, entry)
    reset: Reset | None = "hard" if kind in _LAVA_DL else _OURS.get(kind)
    if reset is None:
        raise group.fail(
            f"{entry.where('type')} is {kind!r}; supported are {', '.join([*_OURS, *_LAVA_DL, *_SDNN])} neurons"
        )
    if entry.integer("gradedSpike", 0):
        raise group.fail(f"{entry.where('gradedSpike')} is set; graded spikes are not supported")
    if "wgtExp" in entry and entry.integer("wgtExp"):
        raise group.fail(f"{entry.where('wgtExp')} is not 0; lava-dl's loader ignores it, so scale the weights instead")
    driven = kind not in _OURS and group.text("type") == "input"  # there, lava-dl's bias scales images
    bias = None if driven and "biasShape" not in entry else _read_bias(group, entry, integer)
    return Neurons(
        threshold=entry.integer("vThMant") if integer else entry.scalar("vThMant"),
        reset=reset,
        v_init=(entry.integer("vInit", 0) if integer else entry.scalar("vInit")) if entry.has("vInit") else 0,
        bias=bias,
        bias_exponent=entry.integer("biasExp", 6) if bias is not None else 6,
        current_decay=_read_decay(entry, "iDecay", NO_MEMORY),
        voltage_decay=_read_decay(entry, "vDecay", 0),
    )


def _read_decay(entry: Group, key: str, default: int) -> int | np.ndarray:
    if not entry.has(key):
        return default
    rate = entry.numbers(key, integers=True)
    return rate if rate.ndim else int(rate)


def _read_bias(group: Group, entry: Group, integer: bool) -> np.ndarray | None:
    if "biasShape" not in entry and "bias" not in group:
        return None
    bias = group.numbers("bias", integers=integer)
    bias_shape = tuple(entry.numbers("biasShape", integers=True).reshape(-1)) if entry.has("biasShape") else bias.shape
    if bias_shape == () and bias.size:
        return np.asarray(bias.reshape(-1)[0])
    return np.asarray(bias[0]) if bias.shape == (1,) and "biasShape" not in entry else bias


def _read_sigma_delta(group: Group, entry: Group) -> SigmaDelta:
    """SDNN neurons: lava-dl's loader makes a Delta of the input, a Sigma where there is a key sigma_output, else a SigmaDelta."""
    if "activation" in entry and entry.text("activation") != "relu":
        raise entry.fail(f"{entry.where('activation')} is {entry.text('activation')!r}; lava-dl's loader has relu only")
    is_input, is_sigma = group.text("type") == "input", "sigma_output" in entry
    return SigmaDelta(
        threshold=entry.integer("vThMant", 0)
        if is_sigma
        else entry.integer("vThMant"),  # lava-dl's loader leaves it aside
        reset="none" if is_sigma and not is_input else "soft",
        bias=None if is_input else _read_bias(group, entry, True),
        spike_exponent=entry.integer("spikeExp", SDNN_EXPONENT),
        state_exponent=entry.integer("stateExp", SDNN_EXPONENT),
    )


def _read_self_synaptic_neurons(group: Group, shape: tuple[int, ...]) -> Neurons:
    entry = group.child("neuron")
    threshold = entry.integer("vThMant")
    recurrent, size = group.numbers("weight_rec", integers=True), shape[0]
    is_self_synapse = (
        recurrent.size == size**2
        and np.array_equal(recurrent.reshape(size, size), -threshold * np.eye(size, dtype=recurrent.dtype))
        and entry.integer("iDecay", NO_MEMORY) == 0
        and entry.integer("vDecay", 0) == NO_MEMORY
    )
    if not is_self_synapse:
        raise group.fail(
            f"{group.where('weight_rec')} has recurrent synapses; only self-synapses of weight -threshold on "
            "neurons with iDecay 0 and vDecay 4096 (a soft reset) are supported"
        )
    return Neurons(threshold=threshold, reset="soft")


def _read_integrator(group: Group) -> Neurons:
    """A dense layer without neurons, which lava-dl's loader turns into a non-leaky integrator that cannot spike."""
    if group.has("integrator_threshold"):
        current_decay, voltage_decay = group.pair("integrator_decays", 0)
        threshold = group.integer("integrator_threshold")
        return Neurons(threshold, "none", current_decay=current_decay, voltage_decay=voltage_decay)
    return Neurons(threshold=MAX_THRESHOLD, reset="none", current_decay=0, voltage_decay=NO_MEMORY)
