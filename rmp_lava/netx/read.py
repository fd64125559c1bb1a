"""Read `.net` files, ours and lava-dl's; a reader trusts nothing in a file.

Links out of the file, external storage and sizes beyond the limits are refused before anything is allocated; every
dataset is checked for type and shape; what the file says beyond our understanding is refused, not skipped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import NetFileError, NetworkError
from ..network import INPUT, NO_MEMORY, Conv, Dense, Input, Layer, Neurons, SpikingNetwork, Synapse
from ..registers import MAX_THRESHOLD
from .untrusted.chunks import are_understood, are_whole, filters_of
from .untrusted.heap import heaps_end, variable_length

FORMAT_VERSION = 1
MAX_ELEMENTS = 2**28
"""Largest dataset that is read; VGG-16 for ImageNet has 1.4e8 weights."""
MAX_TEXT = 2**24
MAX_EXPANSION = 1100
"""Most bytes that one stored byte can stand for; gzip, which `save` uses, reaches 1032."""
MAX_LAYERS = 10_000
_FREE_BYTES = 2**20
"""That a file may declare beyond what its size stands for: small values, and chunks that are not filled."""
_PRICE = 2**16
"""Bytes that each dataset costs beside its own, as reading takes time; one in a file takes 100 bytes, which stand for more."""
_PRICE_OF_CHUNK = 2**12
_LARGEST_TRANSFORM = 16
_OURS = {"RMP": "soft", "IF": "hard", "INTEGRATOR": "none"}
_LAVA_DL = ("CUBA", "LOIHI")


def load(path: str | os.PathLike[str]) -> SpikingNetwork:
    """Read a network from a `.net` file, written by `save` or by lava-dl.

    Of lava-dl's own files, CUBA (LOIHI) neurons in input, dense, conv, flatten and self-synaptic dense_rec layers are
    understood. Their input neurons take the network's messages directly.

    Returns
    -------
    SpikingNetwork
        Equal to the one that was saved.

    Raises
    ------
    NetFileError
        If the file is missing, damaged, of a newer format, or holds something that cannot be represented.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise NetFileError(f"{path} does not exist or is not a file; pass the path of a .net file")
    try:
        if not h5py.is_hdf5(path):
            raise NetFileError(f"{path} is no .net file (not HDF5); pass one that `rmp-lava convert` has written")
        with h5py.File(path, "r") as file:
            if not heaps_end(path, file):
                raise NetFileError(
                    f"{path} is damaged (its strings or names cannot be followed); export the network again"
                )
            return _read_network(_Group(path, file, _Budget(MAX_EXPANSION * os.path.getsize(path) + _FREE_BYTES)))
    except NetworkError as error:
        raise NetFileError(f"{path}: {error}") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        # h5py raises any of these for a damaged file, sometimes only while reading.
        raise NetFileError(
            f"{path} is not a readable HDF5 file ({_first_line(error)}); export the network again"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Budget:
    """Bytes that may still be read: many names in a file can stand for the same data."""

    def __init__(self, left: int) -> None:
        self.left = left


class _Group:
    """Checked access to one HDF5 group; in a `complete` file (ours) every key is there, so defaults are for others."""

    def __init__(self, path: Path, group: h5py.Group, budget: _Budget, complete: bool = False) -> None:
        self.path, self.group, self.budget, self.complete = path, group, budget, complete

    def fail(self, sentence: str) -> NetFileError:
        return NetFileError(f"{self.path}: {sentence}")

    def where(self, key: str = "") -> str:
        return f"{self.group.name.rstrip('/')}/{key}".rstrip("/")

    def __contains__(self, key: str) -> bool:
        return key in self.group

    def has(self, key: str) -> bool:
        """Whether to read a key that lava-dl's files may leave out."""
        return self.complete or key in self

    def child(self, key: str) -> _Group:
        node = self._node(key)
        if not isinstance(node, h5py.Group):
            raise self.fail(f"{self.where(key)} is a dataset; a group is expected there")
        return _Group(self.path, node, self.budget, self.complete)

    def _node(self, key: str) -> h5py.Group | h5py.Dataset:
        link = self.group.get(key, getlink=True)
        if link is None:
            raise self.fail(f"{self.where(key)} is missing; the file is incomplete, export the network again")
        if not isinstance(link, h5py.HardLink):
            raise self.fail(f"{self.where(key)} is a link to somewhere else; only data inside the file is read")
        return self.group[key]

    def dataset(self, key: str) -> h5py.Dataset:
        node = self._node(key)
        if not isinstance(node, h5py.Dataset):
            raise self.fail(f"{self.where(key)} is a group; a dataset is expected there")
        if node.is_virtual or node.external:
            raise self.fail(f"{self.where(key)} lies outside the file; only data inside the file is read")
        if node.size is None:
            raise self.fail(f"{self.where(key)} is empty")
        if node.size > MAX_ELEMENTS:
            raise self.fail(f"{self.where(key)} declares {node.size} values; at most {MAX_ELEMENTS} are read")
        if node.nbytes > MAX_EXPANSION * node.id.get_storage_size() + 2**12:
            raise self.fail(
                f"{self.where(key)} declares {node.nbytes} bytes, but few or none are in the file; export it again"
            )
        if (
            node.chunks is not None
            and int(np.prod(node.chunks, dtype=float)) * node.dtype.itemsize > node.nbytes + _FREE_BYTES
        ):
            raise self.fail(f"{self.where(key)} declares chunks of {node.chunks}, larger than itself; export it again")
        filters = filters_of(node)
        if not are_understood(filters):
            raise self.fail(
                f"{self.where(key)} has filters {filters}; only shuffle (2), gzip (1) after it and a checksum (3) are read; "
                "write it anew with those"
            )
        chunks = 0 if node.chunks is None else node.id.get_num_chunks()
        self.budget.left -= node.nbytes + _PRICE + _PRICE_OF_CHUNK * chunks
        if self.budget.left < 0:
            raise self.fail(
                f"{self.where(key)} and what was read before it declare more bytes than a file of this size can hold; export "
                "it again"
            )
        if not are_whole(node, filters):
            raise self.fail(
                f"{self.where(key)} holds more or fewer bytes than it declares; the file is damaged, export it again"
            )
        return node

    def numbers(self, key: str, *, whole: bool = False) -> np.ndarray:
        node = self.dataset(key)
        if node.dtype.kind not in "iufb":
            raise self.fail(f"{self.where(key)} has type {node.dtype}; numbers are expected")
        values = node[()]
        array = np.asarray(values)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self.fail(f"{self.where(key)} contains NaN or infinity; train or convert the network again")
        if array.dtype == np.uint64 and (array > np.iinfo(np.int64).max).any():
            raise self.fail(f"{self.where(key)} contains numbers beyond 63 bits; no network needs them")
        if whole and array.dtype.kind == "f":
            if (array != np.rint(array)).any() or (np.abs(array) >= 2**31).any():
                raise self.fail(f"{self.where(key)} contains fractions; whole numbers are expected there")
            array = array.astype(np.int32)
        return array

    def integer(self, key: str, default: int | None = None) -> int:
        if default is not None and not self.has(key):
            return default
        value = self.numbers(key, whole=True)
        if value.size != 1:
            raise self.fail(f"{self.where(key)} has shape {value.shape}; one number is expected")
        return int(value.reshape(-1)[0])

    def scalar(self, key: str) -> float | int:
        value = self.numbers(key)
        if value.size != 1:
            raise self.fail(f"{self.where(key)} has shape {value.shape}; one number is expected")
        return value.reshape(-1)[0].item()

    def pair(self, key: str, default: int) -> tuple[int, int]:
        if not self.has(key):
            return (default, default)
        values = self.numbers(key, whole=True).reshape(-1)
        if values.size not in (1, 2):
            raise self.fail(f"{self.where(key)} has {values.size} values; one or two are expected")
        return (int(values[0]), int(values[-1]))

    def shape(self) -> tuple[int, ...]:
        values = self.numbers("shape", whole=True).reshape(-1)
        if not 1 <= values.size <= 3 or (values < 1).any() or np.prod(values.astype(float)) > MAX_ELEMENTS:
            raise self.fail(f"{self.where('shape')} is {values.tolist()}; expected up to three positive sizes")
        return tuple(int(n) for n in values)

    def text(self, key: str) -> str:
        node = self.dataset(key)
        kind = h5py.check_string_dtype(node.dtype)
        if kind is None or node.size != 1 or (kind.length is None and self.complete):
            raise self.fail(f"{self.where(key)} is no text; expected a single string of fixed length")
        length = variable_length(self.path, node) if kind.length is None else kind.length
        if length > MAX_TEXT:
            raise self.fail(f"{self.where(key)} is a text of {length} bytes; at most {MAX_TEXT} are read")
        return np.asarray(node[()]).reshape(-1)[0].decode("utf-8")

    def json(self, key: str, kind: type) -> Any:
        try:
            value = json.loads(self.text(key))
        except (json.JSONDecodeError, RecursionError) as error:
            raise self.fail(f"{self.where(key)} is not valid JSON ({_first_line(error)})") from None
        if not isinstance(value, kind):
            raise self.fail(f"{self.where(key)} is JSON of another kind; expected {kind.__name__}")
        return value


def _read_network(root: _Group) -> SpikingNetwork:
    header = _read_header(root)
    groups = _layer_groups(root)
    kinds = [group.text("type") for group in groups]
    if not kinds or kinds[0] != "input":
        raise root.fail("layer 0 is no input layer; the first layer must be of type 'input'")
    source = _read_input(groups[0], header)
    integer = header["number_format"] == "int"
    layers: list[Layer] = []
    for index, (group, kind) in enumerate(zip(groups[1:], kinds[1:], strict=True), start=1):
        if kind == "flatten":
            continue
        if kind not in ("conv", "dense", "dense_rec"):
            raise root.fail(
                f"layer {index} has type {kind!r}; understood are input, conv, dense, self-synaptic dense_rec and flatten"
            )
        before = layers[-1] if layers else None
        layers.append(_read_layer(group, kind, index, before, source, integer))
    return SpikingNetwork(
        name=header["name"],
        input=source,
        layers=tuple(layers),
        number_format=header["number_format"],
        readout=header["readout"] if header["readout"] else _foreign_readout(layers),
        class_names=tuple(root.child("rmp_lava").json("class_names", list)) if header["ours"] else (),
        provenance=root.child("rmp_lava").json("provenance", dict)
        if header["ours"]
        else _foreign_provenance(groups[0]),
    )


def _foreign_provenance(group: _Group) -> dict[str, Any]:
    """lava-dl keeps how it scales an image beside the input; the user must apply it: messages = weight image + bias."""
    found: dict[str, Any] = {"source": "lava-dl"}
    for key in ("weight", "bias"):
        if key in group:
            found[f"input_{key}"] = group.numbers(key).reshape(-1).tolist()[:_LARGEST_TRANSFORM]
    return found


def _foreign_readout(layers: list[Layer]) -> str:
    return "potential" if layers and layers[-1].neurons.reset == "none" else "count"


def _read_header(root: _Group) -> dict[str, Any]:
    attributes = root.group.attrs
    if "rmp_lava_format" not in attributes and "rmp_lava" not in root:
        name = root.path.stem
        return {"ours": False, "name": name, "number_format": "int", "readout": None, "encoding": "spikes", "levels": 1}
    if "rmp_lava_format" not in attributes:
        raise root.fail("attribute rmp_lava_format is missing; the file is incomplete, export the network again")
    entry = attributes.get_id("rmp_lava_format")
    version = int(attributes["rmp_lava_format"]) if entry.dtype.kind in "iu" and entry.shape == () else 0
    if version < 1:
        raise root.fail("format version is no positive whole number; export the network again")
    if version > FORMAT_VERSION:
        raise root.fail(
            f"format version {version} is newer than {FORMAT_VERSION}, which is understood; update rmp-lava"
        )
    root.complete = True
    header = root.child("rmp_lava").json("network", dict)
    for key in ("name", "number_format", "readout", "encoding"):
        if not isinstance(header.get(key), str):
            raise root.fail(f"/rmp_lava/network has no text {key!r}; export the network again")
    levels = header.get("levels")
    if levels is not None and (isinstance(levels, bool) or not isinstance(levels, int)):
        raise root.fail(f"input levels are {levels!r}; expected a whole number or null")
    return header | {"ours": True, "levels": levels}


def _layer_groups(root: _Group) -> list[_Group]:
    layers = root.child("layer")
    count = len(layers.group)
    if not 1 <= count <= MAX_LAYERS:
        raise root.fail(f"/layer has {count} entries; expected 1..{MAX_LAYERS}")
    return [layers.child(str(i)) for i in range(count)]


def _read_input(group: _Group, header: dict[str, Any]) -> Input:
    shape = group.shape()
    shape = (1, *shape) if len(shape) == 2 else shape
    neurons = _read_neurons(group, shape, integer=True) if "neuron" in group else None
    levels = header["levels"]
    if not header["ours"] and neurons is not None:
        levels = 2**16 - 1
    return Input(shape, header["encoding"], levels, neurons)


def _read_layer(group: _Group, kind: str, index: int, before: Layer | None, source: Input, integer: bool) -> Layer:
    shape = group.shape()
    shape = shape if kind == "conv" else (int(np.prod(shape)),)
    default_source = before.name if before is not None else INPUT
    synapses = [_read_synapse(group, "conv" if kind == "conv" else "dense", default_source, shape, integer)]
    if "synapse" in group:
        further = group.child("synapse")
        for i in range(1, min(len(further.group), MAX_LAYERS) + 1):
            entry = further.child(str(i))
            entry_kind = entry.text("type")
            if entry_kind not in ("conv", "dense"):
                raise group.fail(f"{entry.where('type')} is {entry_kind!r}; expected conv or dense")
            synapses.append(_read_synapse(entry, entry_kind, default_source, shape, integer))
    if kind == "dense_rec":
        neurons = _read_self_synaptic_neurons(group, shape)
    elif "neuron" in group:
        neurons = _read_neurons(group, shape, integer)
    elif kind == "dense":
        neurons = _read_integrator(group)
    else:
        raise group.fail(f"{group.where('neuron')} is missing; a convolution needs a neuron")
    record = group.json("record", dict) if group.has("record") else {}
    return Layer(
        name=group.text("name") if group.has("name") else f"{kind}{index}",
        shape=shape,
        synapses=tuple(synapses),
        neurons=neurons,
        record=record,
    )


def _read_synapse(group: _Group, kind: str, source: str, shape: tuple[int, ...], integer: bool) -> Synapse:
    if "delay" in group and group.numbers("delay").any():
        raise group.fail(f"{group.where('delay')} has synaptic delays; every synapse takes exactly one step here")
    weight = group.numbers("weight", whole=integer)
    source = group.text("source") if group.has("source") else source
    if kind == "dense":
        if weight.ndim == 1 and weight.size % shape[0] == 0:
            weight = weight.reshape(shape[0], -1)
        return Dense(source, weight)
    if weight.ndim == 5 and weight.shape[4] == 1:
        weight = weight[..., 0]  # lava-dl keeps the kernel's extent in time
    return Conv(
        source,
        weight,
        stride=group.pair("stride", 1),
        padding=group.pair("padding", 0),
        dilation=group.pair("dilation", 1),
        groups=group.integer("groups", 1),
    )


def _read_neurons(group: _Group, shape: tuple[int, ...], integer: bool) -> Neurons:
    entry = group.child("neuron")
    kind = entry.text("type")
    if kind in _OURS:
        reset = _OURS[kind]
    elif kind in _LAVA_DL:
        reset = "hard"
    else:
        raise group.fail(f"{entry.where('type')} is {kind!r}; understood are {', '.join([*_OURS, *_LAVA_DL])} neurons")
    if entry.integer("gradedSpike", 0):
        raise group.fail(f"{entry.where('gradedSpike')} asks for graded spikes; neurons here send single spikes")
    if "wgtExp" in entry and entry.integer("wgtExp"):
        raise group.fail(f"{entry.where('wgtExp')} is not 0; lava-dl's loader ignores it, so scale the weights instead")
    bias = None
    if "biasShape" in entry or "bias" in group and (kind in _OURS or not _is_input(group)):
        bias = group.numbers("bias", whole=integer)
        bias_shape = tuple(entry.numbers("biasShape", whole=True).reshape(-1)) if entry.has("biasShape") else bias.shape
        if bias_shape == () and bias.size:
            bias = bias.reshape(-1)[0]
        elif bias.shape == (1,) and "biasShape" not in entry:
            bias = bias[0]
    return Neurons(
        threshold=entry.integer("vThMant") if integer else entry.scalar("vThMant"),
        reset=reset,
        v_init=(entry.integer("vInit", 0) if integer else entry.scalar("vInit")) if entry.has("vInit") else 0,
        bias=bias,
        bias_exponent=entry.integer("biasExp", 6) if bias is not None else 6,
        current_decay=entry.integer("iDecay", NO_MEMORY),
        voltage_decay=entry.integer("vDecay", 0),
    )


def _is_input(group: _Group) -> bool:
    return group.text("type") == "input"


def _read_self_synaptic_neurons(group: _Group, shape: tuple[int, ...]) -> Neurons:
    entry = group.child("neuron")
    threshold = entry.integer("vThMant")
    recurrent = group.numbers("weight_rec", whole=True)
    size = shape[0]
    is_self_synapse = (
        recurrent.size == size**2
        and np.array_equal(recurrent.reshape(size, size), -threshold * np.eye(size, dtype=recurrent.dtype))
        and entry.integer("iDecay", NO_MEMORY) == 0
        and entry.integer("vDecay", 0) == NO_MEMORY
    )
    if not is_self_synapse:
        raise group.fail(
            f"{group.where('weight_rec')} holds recurrent synapses; only self-synapses of weight -threshold on "
            "neurons with iDecay 0 and vDecay 4096 (a soft reset) are understood"
        )
    return Neurons(threshold=threshold, reset="soft")


def _read_integrator(group: _Group) -> Neurons:
    """A dense layer without neurons: lava-dl's loader makes a non-leaky integrator of it that cannot spike."""
    if group.has("integrator_threshold"):
        current_decay, voltage_decay = group.pair("integrator_decays", 0)
        threshold = group.integer("integrator_threshold")
        return Neurons(threshold, "none", current_decay=current_decay, voltage_decay=voltage_decay)
    return Neurons(threshold=MAX_THRESHOLD, reset="none", current_decay=0, voltage_decay=NO_MEMORY)
