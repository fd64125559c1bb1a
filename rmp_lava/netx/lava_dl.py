"""Read the files that lava-dl writes, as its loader `lava.lib.dl.netx.hdf5.Network` understands them.

The loader ignores keys, truncates fractions, and rounds and clips weights. So do we, and warn. What it cannot run, or what would
need neurons that are not here, is refused, every obstacle of a file at once.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ..errors import NetFileError, NetworkError, RmpLavaWarning, abridged
from ..network import (
    INPUT,
    NO_MEMORY,
    SDNN_EXPONENT,
    Conv,
    Dense,
    Input,
    Layer,
    Neurons,
    SigmaDelta,
    SpikingNetwork,
    Synapse,
)
from ..registers import MAX_DELAY, MAX_LEVELS, MAX_THRESHOLD, STATE_SHIFT
from .lava_dl_weights import effective_weights
from .untrusted import Group
from .untrusted.budget import MAX_ELEMENTS

NEVER = MAX_THRESHOLD + 1
"""The smallest threshold that no 24-bit potential exceeds; of layers without neurons, lava-dl's loader sets it."""
MAX_MESSAGE_BITS = 16
_MOST_OBSTACLES = 10
_LARGEST_TRANSFORM = 16
"""Most values read of the scaling that lava-dl applies to an image."""
_CUBA = ("CUBA", "LOIHI")
_NOT_LOADED = {
    "pool": "fold the pooling into the next layer's weights",
    "convT": "train without transposed convolutions",
    "unpool": "train without unpooling",
    "average": "average its outputs yourself",
    "concat": "train without concatenations",
}
"""Types of layers that the loader knows but does not implement, and what to do instead."""
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Call:
    """Arguments that lava-dl's `Network` takes, and files do not hold.

    input_shape : (width, height, channels) of the input of a first convolution, in lava-dl's order.
    input_message_bits : Of graded messages that enter a network without input neurons; 0 for spikes.
    num_layers : Read only so many entries of the file.
    """

    input_shape: tuple[int, ...] | None = None
    input_message_bits: int = 0
    num_layers: int | None = None


@dataclass
class _Notes:
    """What was found on the way: obstacles in words, and remark -> layers that it is about."""

    obstacles: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    def remark(self, layer: str, sentence: str) -> None:
        self.remarks.setdefault(sentence, []).append(layer)

    def attempt(self, read: Callable[..., _Part], *arguments: Any) -> _Part | None:
        """What `read(*arguments)` returns, or None where a file has an obstacle."""
        try:
            return read(*arguments)
        except (NetFileError, NetworkError) as error:
            self.obstacles.append(str(error))
            return None


def read_lava_dl(root: Group, groups: Sequence[Group], call: Call) -> SpikingNetwork:
    """The network of a file without our attributes.

    Raises
    ------
    NetFileError
        With every obstacle.

    Warns
    -----
    RmpLavaWarning
        For each kind of thing that lava-dl's loader ignores, rounds or clips.
    """
    notes = _Notes()
    if call.num_layers is not None and not 1 <= call.num_layers <= len(groups):
        raise root.fail(
            f"num_layers is {call.num_layers}, but the file has {len(groups)} layers; choose 1..{len(groups)}"
        )
    if not 0 <= call.input_message_bits <= MAX_MESSAGE_BITS:
        raise root.fail(f"input_message_bits is {call.input_message_bits}; allowed are 0..{MAX_MESSAGE_BITS}")
    groups = groups[: call.num_layers]
    source, layers = _read_groups(groups, call, notes)
    prefix = f"{root.path}: "
    if notes.obstacles or source is None:
        found = [text.removeprefix(prefix) for text in notes.obstacles]
        listed = _listed(found)
        raise root.fail(listed[0] if len(listed) == 1 else f"{len(found)} obstacles: {'; '.join(listed)}")
    network = _network(root, groups, source, layers)
    for remark, names in notes.remarks.items():
        warnings.warn(f"{prefix}{abridged(names, 4)}: {remark}", RmpLavaWarning, stacklevel=4)
    return network


def _read_groups(groups: Sequence[Group], call: Call, notes: _Notes) -> tuple[Input | None, list[Layer]]:
    """The input and the layers, as far as the notes have no obstacle."""
    kinds = [notes.attempt(_kind, group, i) for i, group in enumerate(groups)]
    source: Input | None = None
    layers: list[Layer] = []
    flat = False
    for i, (group, kind) in enumerate(zip(groups, kinds, strict=True)):
        if kind == "flatten":
            flat = True
        elif kind == "input":
            source = notes.attempt(_read_input, group, call, notes)
        elif kind is not None:
            if source is None and i == 0:
                source = notes.attempt(_implied_input, group, kind, call, notes)
            name = f"{kind}{i}"
            before = layers[-1].name if layers else INPUT
            layer = notes.attempt(_read_layer, group, kind, name, before, notes)
            if layer is not None:
                if kind != "conv" and layers and len(layers[-1].shape) == 3 and not flat:
                    notes.remark(name, "follows a convolution without a flatten layer, at which lava-dl's loader stops")
                layers.append(layer)
            flat = False
    return source, layers


def _listed(obstacles: Sequence[str]) -> list[str]:
    """Obstacles, with one for those that differ in numbers only."""
    alike: dict[str, list[str]] = {}
    for text in obstacles:
        alike.setdefault(re.sub(r"\d+", "#", text), []).append(text)
    obstacles = [
        same[0] + (f" (and in {len(same) - 1} more layer{'s' if len(same) > 2 else ''})" if len(same) > 1 else "")
        for same in alike.values()
    ]
    more = len(obstacles) - _MOST_OBSTACLES
    return [*obstacles[:_MOST_OBSTACLES], *([f"and {more} more"] if more > 0 else [])]


def _network(root: Group, groups: Sequence[Group], source: Input, layers: list[Layer]) -> SpikingNetwork:
    log: dict[str, Any] = {"source": "lava-dl"}
    if groups[0].text("type") != "input":
        log["input"] = "implied by the first layer"
    # How lava-dl scales an image; the user must apply it: messages = weight * image + bias.
    for key in ("weight", "bias"):
        if groups[0].text("type") == "input" and key in groups[0]:
            log[f"input_{key}"] = groups[0].numbers(key).reshape(-1).tolist()[:_LARGEST_TRANSFORM]
    # A threshold that is never reached, or only at the limit of the register, marks a read-out whose voltage is read.
    last = layers[-1].neurons if layers else None
    integrates = last is not None and (last.reset == "none" or np.min(last.threshold) >= MAX_THRESHOLD)
    return SpikingNetwork(
        name=root.path.stem,
        input=source,
        layers=tuple(layers),
        stage="integer",
        readout="potential" if integrates else "count",
        provenance=log,
    )


def _kind(group: Group, index: int) -> str:
    """The type of a layer that can be read."""
    if "type" not in group:
        what = "is empty, as slayer's KWTA block writes it" if not len(group) else "has no type"
        raise group.fail(f"layer {index} {what}; lava-dl's loader stops at it, so train with another block")
    kind = group.text("type")
    leave_out = f", or read the layers before it with num_layers={index}" if index > 1 else ""
    if kind in _NOT_LOADED:
        raise group.fail(
            f"layer {index} has type {kind!r}, which lava-dl's loader does not implement; {_NOT_LOADED[kind]}{leave_out}"
        )
    if kind == "dense_comp" or kind == "dense" and "weight" in group and group.is_group("weight"):
        neuron = group.child("neuron").text("type") if "neuron" in group else "no"
        raise group.fail(
            f"layer {index} has complex weights and {neuron} neurons, which are not here; run it in lava-dl{leave_out}"
        )
    if kind not in ("input", "conv", "dense", "dense_rec", "flatten"):
        raise group.fail(
            f"layer {index} has type {kind!r}, which lava-dl's loader skips without a word; supported are input, conv, dense, "
            f"dense_rec and flatten{leave_out}"
        )
    if index and kind == "input":
        raise group.fail(f"layer {index} is a second input; supported is one, in front")
    if not index and kind == "flatten":
        raise group.fail("layer 0 has type 'flatten'; the first one must be of type input, conv, dense or dense_rec")
    return kind


# What files of ours and of lava-dl store in the same way.


def shape_of(group: Group) -> tuple[int, ...]:
    """The shape of a layer: up to three positive sizes."""
    values = group.numbers("shape", integers=True).reshape(-1)
    # As floats: the product of declared sizes can exceed 64 bits.
    if not 1 <= values.size <= 3 or (values < 1).any() or np.prod(values.astype(float)) > MAX_ELEMENTS:
        raise group.fail(f"{group.where('shape')} is {values.tolist()}; expected up to three positive sizes")
    return tuple(int(n) for n in values)


def input_shape_of(group: Group) -> tuple[int, ...]:
    """The shape of an input, of which an image of one channel may lack it."""
    shape = shape_of(group)
    return (1, *shape) if len(shape) == 2 else shape


def read_sigma_delta(group: Group, entry: Group, bias: np.ndarray | None) -> SigmaDelta:
    """SDNN neurons: lava-dl's loader makes a Delta of the input, a Sigma where there is a key sigma_output, else a SigmaDelta."""
    if "activation" in entry and entry.text("activation") != "relu":
        raise entry.fail(f"{entry.where('activation')} is {entry.text('activation')!r}; lava-dl's loader has relu only")
    is_input, is_sigma = group.text("type") == "input", "sigma_output" in entry
    return SigmaDelta(
        # lava-dl's loader leaves that of a Sigma aside
        threshold=entry.integer("vThMant", 0) if is_sigma else entry.integer("vThMant"),
        reset="none" if is_sigma and not is_input else "soft",
        bias=None if is_input else bias,
        spike_exponent=entry.integer("spikeExp", SDNN_EXPONENT),
        state_exponent=entry.integer("stateExp", SDNN_EXPONENT),
    )


def convolution(group: Group, source: str, weight: np.ndarray) -> Conv:
    """A convolution of these weights, with the geometry that is stored in a group."""
    return Conv(
        source,
        weight,
        stride=group.pair("stride", 1),
        padding=group.pair("padding", 0),
        dilation=group.pair("dilation", 1),
        groups=group.integer("groups", 1),
    )


def _read_input(group: Group, call: Call, notes: _Notes) -> Input:
    shape = input_shape_of(group)
    if call.input_shape is not None and tuple(call.input_shape) != shape[::-1]:
        raise group.fail(
            f"input_shape is {tuple(call.input_shape)}, but the file's input is {shape[::-1]} in lava-dl's order; leave it out"
        )
    if "neuron" not in group:
        return _spikes(shape, call)
    if call.input_message_bits:
        raise group.fail("its input neurons send the messages; leave out input_message_bits")
    neurons = _read_neurons(group, "input", shape, notes)
    if neurons.reset == "none":
        raise group.fail(f"{group.where('neuron/vThMant')} is never reached, so its input sends nothing; lower it")
    return Input(shape, "frames" if isinstance(neurons, SigmaDelta) else "spikes", MAX_LEVELS, neurons)


def _spikes(shape: tuple[int, ...], call: Call) -> Input:
    return Input(shape, "spikes", max(1, 2**call.input_message_bits - 1))


def _implied_input(group: Group, kind: str, call: Call, notes: _Notes) -> Input:
    """The input that the first layer's weights need; of convolutions `input_shape`, or the smallest image that fits."""
    if kind != "conv":
        weight = _dense_weight(group, "weight", int(np.prod(shape_of(group))))
        return _spikes((weight.shape[1],), call)
    synapse, shape = _read_conv(group, INPUT), shape_of(group)
    channels = synapse.weight.shape[1] * synapse.groups
    if call.input_shape is not None:
        given = tuple(call.input_shape)
        if len(given) != 3 or given[2] != channels:
            raise group.fail(
                f"input_shape is {given}, but the first layer takes {channels} channels; pass (width, height, channels), as "
                "lava-dl takes it"
            )
        return _spikes(given[::-1], call)
    if len(shape) != 3:
        raise group.fail(f"{group.where('shape')} is {shape}; expected (channels, height, width)")
    axes = zip(shape[1:], synapse.weight.shape[2:], synapse.stride, synapse.padding, synapse.dilation, strict=True)
    sizes = [(n - 1) * stride + (k - 1) * dilation + 1 - 2 * padding for n, k, stride, padding, dilation in axes]
    if min(sizes) < 1 or channels < 1 or channels * sizes[0] * sizes[1] > MAX_ELEMENTS:
        raise group.fail(
            f"{group.where('shape')} and padding imply an input of {channels} x {sizes[0]} x {sizes[1]}; not possible"
        )
    if max(synapse.stride) > 1:
        found = (sizes[1], sizes[0], channels)
        notes.remark(
            "conv0",
            f"its input is taken to be {found} (width, height, channels), the smallest that fits; else pass input_shape",
        )
    return _spikes((channels, *sizes), call)


def _read_layer(group: Group, kind: str, name: str, before: str, notes: _Notes) -> Layer:
    shape = shape_of(group) if kind == "conv" else (int(np.prod(shape_of(group))),)
    if kind == "conv" and "neuron" not in group:
        raise group.fail(f"{group.where('neuron')} is missing; a convolution needs a neuron")
    neurons = _read_neurons(group, name, shape, notes) if "neuron" in group else _integrator(group, shape, name, notes)
    synapses: tuple[Synapse, ...]
    if kind == "conv":
        if "delay" in group and group.numbers("delay").any():
            notes.remark(name, "has delays, which lava-dl's loader ignores for convolutions, and so does this")
        synapses = (_read_conv(group, before),)
    else:
        synapses = _read_dense(group, kind == "dense_rec", name, before, shape[0], notes)
    late = kind == "dense_rec" or any(synapse.longest_delay for synapse in synapses)
    if isinstance(neurons, SigmaDelta) and late:
        raise group.fail(
            f"layer {name!r} has recurrent synapses or delays between sigma-delta neurons, which are not here; run it "
            "in lava-dl, or train without them"
        )
    if kind == "dense_rec" and not isinstance(neurons, SigmaDelta) and _subtracts_threshold(synapses, neurons):
        return Layer(name, shape, synapses[:1], Neurons(neurons.threshold, "soft"))
    return Layer(name, shape, synapses, neurons)


def _subtracts_threshold(synapses: tuple[Synapse, ...], neurons: Neurons) -> bool:
    """Whether self-synapses of weight -threshold make a soft reset of neurons whose current is their membrane potential."""
    recurrent, threshold = synapses[1].weight, neurons.threshold
    return (
        neurons.reset == "hard"
        and isinstance(threshold, int)
        and threshold > 0
        and not any(synapse.longest_delay for synapse in synapses)
        and np.array_equal(neurons.current_decay, 0)
        and np.array_equal(neurons.voltage_decay, NO_MEMORY)
        and neurons.bias is None
        and np.array_equal(recurrent, -threshold * np.eye(len(recurrent), dtype=np.int64))
    )


def _truncated(group: Group, key: str, layer: str, notes: _Notes, what: str) -> np.ndarray:
    """Integers; the loader cuts off fractions."""
    values = group.numbers(key)
    if values.dtype.kind == "f":
        whole = np.trunc(values)
        if (np.abs(whole) >= 2**31).any():
            raise group.fail(
                f"{group.where(key)} reaches {np.abs(values).max():g}; no register holds it, so export again"
            )
        if (whole != values).any():
            notes.remark(layer, f"{what} have fractions, which lava-dl's loader cuts off, and so does this")
        values = whole
    return values.astype(np.int64)


def _dense_weight(group: Group, key: str, outputs: int) -> np.ndarray:
    weight = group.numbers(key)
    if weight.ndim == 1 and weight.size % outputs == 0:
        weight = weight.reshape(outputs, -1)
    if weight.ndim != 2 or not weight.size or len(weight) != outputs:
        raise group.fail(f"{group.where(key)} has shape {weight.shape}; expected ({outputs}, inputs)")
    return weight


def _read_dense(
    group: Group, recurrent: bool, name: str, before: str, outputs: int, notes: _Notes
) -> tuple[Synapse, ...]:
    keys = ("weight", "weight_rec") if recurrent else ("weight",)
    shapes = [_dense_weight(group, key, outputs).shape for key in keys]
    given: list[np.ndarray] = [
        _truncated(group, key, name, notes, "weights").reshape(shape) for key, shape in zip(keys, shapes, strict=True)
    ]
    if recurrent and given[1].shape != (outputs, outputs):
        raise group.fail(f"{group.where('weight_rec')} has shape {given[1].shape}; expected ({outputs}, {outputs})")
    delay = _read_delay(group, given[0], name, notes) if "delay" in group else None
    if recurrent and delay is not None and given[0].shape != given[1].shape:
        raise group.fail(
            f"{group.where('delay')} delays a recurrent layer of {given[0].shape[1]} inputs and {outputs} neurons; lava-dl's "
            "loader stops there unless they are as many"
        )
    try:
        held = effective_weights(given, scaled=not recurrent or delay is None)
    except ValueError as error:
        raise group.fail(
            f"layer {name!r} has {error} in lava-dl's loader; scale its weights and threshold down"
        ) from None
    changed = sum(int(np.count_nonzero(a != b)) for a, b in zip(given, held, strict=True))
    if changed:
        worst = max(int(np.abs(a - b).max()) for a, b in zip(given, held, strict=True))
        notes.remark(
            name,
            f"lava-dl's loader changes {changed:,} of its weights by up to {worst}, as they do not fit, and so does this",
        )
    sources = (before, name)
    return tuple(Dense(source, weight, delay=delay) for source, weight in zip(sources, held, strict=False))


def _read_delay(group: Group, weight: np.ndarray, name: str, notes: _Notes) -> np.ndarray:
    """(outputs or 1, inputs or 1) steps; of one axis they are those of outputs, else of inputs, as in the loader."""
    delay = group.numbers("delay")
    if delay.size and delay.min() < 0:
        raise group.fail(f"{group.where('delay')} has a delay of {delay.min():g} steps; lava-dl's loader stops there")
    if delay.size and delay.max() > MAX_DELAY:
        notes.remark(
            name, f"has delays up to {delay.max():g}, which lava-dl's loader limits to {MAX_DELAY}, and so does this"
        )
    steps: np.ndarray = np.trunc(np.clip(delay, 0, MAX_DELAY)).astype(np.int16)
    if (np.trunc(delay) != delay).any():
        notes.remark(name, "delays have fractions, which lava-dl's loader cuts off, and so does this")
    if steps.ndim == 0:
        return steps.reshape(1, 1)
    if steps.ndim == 1 and steps.size == weight.shape[0]:
        return steps[:, None]
    if steps.ndim == 1 and steps.size == weight.shape[1]:
        return steps[None]
    if steps.shape == weight.shape:
        return steps
    raise group.fail(
        f"{group.where('delay')} has shape {steps.shape}; expected one value, one per output, one per input, or one per weight "
        f"of {weight.shape}"
    )


def _read_conv(group: Group, source: str) -> Conv:
    weight = np.trunc(group.numbers("weight")).astype(np.int64)
    if weight.ndim == 5 and weight.shape[4] == 1:
        weight = weight[..., 0]  # lava-dl stores the kernel's extent in time
    if weight.ndim != 4 or not weight.size:
        raise group.fail(f"{group.where('weight')} has shape {weight.shape}; expected that of a 2-D convolution")
    return convolution(group, source, weight)


def _read_neurons(group: Group, name: str, shape: tuple[int, ...], notes: _Notes) -> Neurons:
    entry = group.child("neuron")
    kind = entry.text("type")
    if "messageBits" in entry:
        raise group.fail(f"{entry.where('messageBits')} is set, at which lava-dl's loader stops; leave it out")
    bias = None if name == "input" else _read_bias(group, name, shape, notes)
    if kind == "SDNN":
        return read_sigma_delta(group, entry, bias)
    if kind not in _CUBA:
        runs = "" if kind.startswith("RF") else ", nor are they in lava-dl's loader"
        raise group.fail(
            f"{entry.where('type')} is {kind!r}, and such neurons are not here{runs}; train with CUBA or SDNN neurons"
        )
    for key, meaning in (("wgtExp", 0), ("weight_exp", 0), ("gradedSpike", 0), ("refDelay", 1)):
        if key in entry and (entry.numbers(key) != meaning).any():
            notes.remark(name, f"sets {key}, which lava-dl's loader ignores, and so does this")
    threshold = _per_neuron(entry, "vThMant", shape)
    stored = entry.numbers("vThMant").dtype
    if stored.kind in "iu" and stored.itemsize < 4 and np.max(threshold) << STATE_SHIFT > np.iinfo(stored).max:
        raise group.fail(
            f"{entry.where('vThMant')} is {np.max(threshold)} in {8 * stored.itemsize} bits, in which lava-dl's loader lets it "
            "wrap; store it in 32 bits"
        )
    never = np.min(threshold) >= NEVER
    return Neurons(
        threshold=MAX_THRESHOLD if never else threshold if isinstance(threshold, int) else np.minimum(threshold, NEVER),
        reset="none" if never else "hard",
        bias=bias,
        current_decay=_per_neuron(entry, "iDecay", shape) if "iDecay" in entry else NO_MEMORY,
        voltage_decay=_per_neuron(entry, "vDecay", shape) if "vDecay" in entry else 0,
    )


def _per_neuron(entry: Group, key: str, shape: tuple[int, ...]) -> int | np.ndarray:
    """One integer, or one per channel or neuron; the loader keeps Lava's order of axes, (width, height, channels)."""
    values = entry.numbers(key, integers=True)
    if values.size == 1:
        return int(values.reshape(-1)[0])
    return _ordered(values, shape)


def _ordered(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return values.transpose() if len(shape) == 3 and values.shape == shape[::-1] else values


def _read_bias(group: Group, name: str, shape: tuple[int, ...], notes: _Notes) -> np.ndarray | None:
    if "bias" not in group:
        return None
    bias = _truncated(group, "bias", name, notes, "biases")
    return bias.reshape(-1)[0] if bias.size == 1 else _ordered(bias, shape)


def _integrator(group: Group, shape: tuple[int, ...], name: str, notes: _Notes) -> Neurons:
    """A dense layer without neurons, which lava-dl's loader turns into a non-leaky integrator that cannot spike."""
    bias = _read_bias(group, name, shape, notes)
    return Neurons(MAX_THRESHOLD, "none", bias=bias, current_decay=0, voltage_decay=NO_MEMORY)
