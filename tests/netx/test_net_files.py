"""`.net` files: saved networks load equal, damaged files are refused in one sentence, older files survive failures."""

from __future__ import annotations

import importlib.util
import json
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from net_files import WHOLE, conv_network, dense_network, refusal, replace
from profiles import examples
from strategies import networks

from rmp_lava.encoding import make_input
from rmp_lava.errors import NetFileError
from rmp_lava.network import INPUT, Dense, Input, Layer, Neurons, SpikingNetwork, WeightError
from rmp_lava.netx import lava_dl_obstacles, load, save

# Round trip


@settings(max_examples=examples(60))
@given(st.data(), st.booleans())
def test_random_networks_come_back_equal(tmp_path_factory, data, integer):
    network = data.draw(networks(integer=integer))
    path = tmp_path_factory.getbasetemp() / "random.net"
    assert load(save(network, path)) == network


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(60))
@given(TEXT, st.lists(TEXT, min_size=3, max_size=3), st.dictionaries(TEXT, JSON, max_size=4), JSON)
def test_strings_and_records_come_back_equal(tmp_path_factory, name, classes, provenance, value):
    network = conv_network()
    layers = [layer.replace(record={"of any kind": value}) for layer in network]
    network = network.replace(name=name, class_names=tuple(classes), provenance=provenance, layers=layers)
    assert load(save(network, tmp_path_factory.getbasetemp() / "strings.net")) == network


@pytest.mark.parametrize("name", ["fälle", "層1", "a b", "0.conv", "x" * 300])
def test_layer_names_come_back_equal(tmp_path, name):
    network = dense_network()
    renamed = (network.layers[0].replace(name=name), network.layers[1])
    renamed = (renamed[0], renamed[1].replace(synapses=[s.replace(source=name) for s in renamed[1].synapses]))
    network = network.replace(layers=renamed)
    assert load(save(network, tmp_path / "a.net"))[name] == network.layers[0]


@pytest.mark.parametrize(
    "source",
    [
        Input((3,), "poisson"),
        Input((3,), "spikes"),
        Input((3,), "current", 255),
        Input((3,), "spikes", 65535, Neurons(80, "hard", current_decay=4096, voltage_decay=123, bias=np.array(64))),
        make_input("rate", (3,)),
    ],
    ids=["poisson", "spikes", "current", "lava-dl's input neurons", "rate"],
)
@pytest.mark.parametrize("for_lava_dl", [False, True])
def test_inputs_come_back_equal_in_either_form(tmp_path, source, for_lava_dl):
    network = dense_network("hard").replace(input=source)
    if for_lava_dl and lava_dl_obstacles(network):
        with pytest.raises(NetFileError, match="lava-dl"):
            save(network, tmp_path / "a.net", for_lava_dl=True)
        return
    assert load(save(network, tmp_path / "a.net", for_lava_dl=for_lava_dl)) == network


@pytest.mark.parametrize("bias", [np.array(5), np.array([5]), np.array([1, 2]), None])
def test_shape_of_a_bias_comes_back(tmp_path, bias):
    size = 2 if bias is not None and bias.size == 2 else 1
    neurons = Neurons(9, "hard", bias=bias)
    layer = Layer("a", (size,), (Dense(INPUT, np.ones((size, 3), dtype=int)),), neurons)
    network = dense_network(layers=(layer,))
    assert load(save(network, tmp_path / "a.net"))["a"].neurons == neurons


def test_soft_reset_for_lava_dl_is_a_self_synapse_and_comes_back(tmp_path):
    network = dense_network(threshold=254)
    network = network.replace(
        readout="potential", layers=(network.layers[0], network.layers[1].replace(neurons=Neurons(131071, "none")))
    )
    path = save(network, tmp_path / "a.net", for_lava_dl=True)
    with h5py.File(path) as file:
        assert file["layer/1/type"][0] == b"dense_rec"
        np.testing.assert_array_equal(file["layer/1/weight_rec"][()], -254 * np.eye(2))
        assert (file["layer/1/neuron/iDecay"][()], file["layer/1/neuron/vDecay"][()]) == (0, 4096)
        assert file["layer/2/neuron/vThMant"][()] == 2**18 - 1  # no voltage exceeds it
    assert load(path) == network


def test_without_request_a_soft_reset_stops_lava_dl(tmp_path):
    """Its loader skips unknown layer types silently, so the neuron type has to be the unknown word."""
    with h5py.File(save(dense_network(), tmp_path / "a.net")) as file:
        assert file["layer/1/type"][0] == b"dense"
        assert file["layer/1/neuron/type"][()] == b"RMP"


def test_hard_reset_chain_is_lava_dls_own_neuron(tmp_path):
    with h5py.File(save(dense_network("hard"), tmp_path / "a.net")) as file:
        assert file["layer/1/neuron/type"][()] == b"CUBA"


def test_lava_dls_own_conventions(tmp_path):
    """As lava-dl writes it: integers as float32, a kernel with an extent in time, one string per array, no names."""
    with h5py.File(tmp_path / "their.net", "w") as file:
        for index, kind, shape in (
            (0, "input", (1, 4, 4)),
            (1, "conv", (2, 2, 2)),
            (2, "flatten", (8,)),
            (3, "dense", (3,)),
        ):
            group = file.create_group(f"layer/{index}")
            group["type"], group["shape"] = np.array([kind.encode()], dtype="S10"), np.array(shape)
            if kind in ("conv", "dense"):
                group["neuron/type"] = np.array(b"LOIHI", dtype=object)
                group["neuron/iDecay"], group["neuron/vDecay"], group["neuron/vThMant"] = 4096, 123, 80
        file["layer/1/weight"] = np.full((2, 1, 3, 3, 1), -4, dtype=np.float32)
        file["layer/1/bias"] = np.array([3, 4], dtype=np.float32)
        file["layer/1/stride"] = 1
        file["layer/3/weight"] = np.arange(24, dtype=np.float32)
    network = load(tmp_path / "their.net")
    assert [layer.name for layer in network] == ["conv1", "dense3"]
    assert network.input == Input((1, 4, 4), "spikes", 1) and network.readout == "count"
    assert network["conv1"].neurons == Neurons(80, "hard", bias=np.array([3, 4]), voltage_decay=123)
    np.testing.assert_array_equal(network["dense3"].synapses[0].weight, np.arange(24).reshape(3, 8))
    assert network.name == "their"


def without_input(folder: Path, kind: str, shape, weight, **keys) -> Path:
    """lava-dl's file of one layer, without an input layer."""
    with h5py.File(folder / "their.net", "w") as file:
        group = file.create_group("layer/0")
        group["type"], group["shape"] = np.array([kind.encode()], dtype="S10"), np.array(shape)
        group["neuron/type"], group["neuron/vThMant"] = np.array(b"LOIHI", dtype=object), 80
        group["weight"] = np.asarray(weight, dtype=np.float32)
        for key, value in keys.items():
            group[key] = value
    return folder / "their.net"


@pytest.mark.parametrize(
    "kind, shape, weight, keys, found",
    [
        ("dense", (3,), np.ones((3, 7)), {}, (7,)),
        ("dense", (3, 1, 1), np.ones(21), {}, (7,)),
        ("conv", (2, 5, 9), np.ones((2, 3, 3, 3)), {"stride": (1, 1), "padding": (1, 1)}, (3, 5, 9)),
        # 12 rows give five of them too, so this is the smallest image.
        ("conv", (2, 5, 9), np.ones((2, 3, 3, 3, 1)), {"stride": (2, 2)}, (3, 11, 19)),
        ("conv", (4, 5, 9), np.ones((4, 1, 3, 5)), {"groups": 2, "dilation": (2, 1)}, (2, 9, 13)),
    ],
)
def test_lava_dls_files_without_an_input_layer_have_the_one_that_fits(tmp_path, kind, shape, weight, keys, found):
    network = load(without_input(tmp_path, kind, shape, weight, **keys))
    assert network.input == Input(found, "spikes", 1) and network.layers[0].name == f"{kind}0"
    assert network.layers[0].synapses[0].output_shape(found) == network.layers[0].shape
    assert network.provenance["input"] == "implied by the first layer"


@pytest.mark.parametrize(
    "kind, shape, weight, keys, found",
    [
        ("flatten", (3,), np.ones((3, 7)), {}, "layer 0 has type 'flatten'"),
        ("dense", (3,), np.ones(20), {}, "expected (3, inputs)"),
        ("dense", (3,), np.ones((3, 0)), {}, "expected (3, inputs)"),
        ("conv", (2, 1, 1), np.ones((2, 1, 1, 1)), {"padding": (5, 5)}, "imply an input of 1 x -9 x -9"),
        ("conv", (2, 9, 9), np.ones((2, 1, 1, 1)), {"stride": (2**30, 1)}, "imply an input of 1 x 8589934593 x 9"),
        ("conv", (2, 9), np.ones((2, 1, 1, 1)), {}, "expected (channels, height, width)"),
        ("conv", (2, 9, 9), np.ones((2, 1, 1)), {}, "expected that of a 2-D convolution"),
    ],
)
def test_an_input_that_cannot_be_implied_is_refused(tmp_path, kind, shape, weight, keys, found):
    refusal(without_input(tmp_path, kind, shape, weight, **keys), found)


@pytest.mark.lava
@pytest.mark.parametrize(
    "name, sizes, decays, threshold",
    [("mnist.net", [512, 512, 10], [123, 123, 4096], 80), ("tiny.net", [24 * 36, 36], [1024, 1024], 25)],
)
def test_lava_dls_own_files(tmp_path, name, sizes, decays, threshold):
    site_packages = Path(next(iter(importlib.util.find_spec("lava").submodule_search_locations))).parent
    path = site_packages / "tests" / "lava" / "lib" / "dl" / "netx" / name
    if not path.is_file():
        pytest.skip("this lava-dl comes without its test networks")
    network = load(path)
    assert [layer.size for layer in network] == sizes
    assert [layer.neurons.voltage_decay for layer in network] == decays
    assert network.layers[0].neurons.threshold == network.input.neurons.threshold == threshold
    assert load(save(network, tmp_path / name)) == network


# What cannot be read


def test_no_file(tmp_path):
    refusal(tmp_path / "none.net", "does not exist")
    refusal(tmp_path, "not a file")


@pytest.mark.parametrize("content", [b"", b"a", b"PK\x03\x04", b"layer\n" * 500])
def test_other_files(tmp_path, content):
    (tmp_path / "a.net").write_bytes(content)
    assert refusal(tmp_path / "a.net", "is not a .net file").endswith("pass one that rmp-lava or lava-dl has written")


def test_file_that_ends_after_its_signature(tmp_path):
    (tmp_path / "a.net").write_bytes(b"\x89HDF\r\n\x1a\n")
    refusal(tmp_path / "a.net")


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> tuple[SpikingNetwork, bytes]:
    network = conv_network()
    return network, save(network, tmp_path_factory.mktemp("image") / "a.net").read_bytes()


def read_damaged(folder: Path, content: bytes) -> SpikingNetwork | None:
    path = folder / "damaged.net"
    path.write_bytes(content)
    try:
        return load(path)
    except NetFileError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return None


def test_truncated_files_are_refused(tmp_path, image):
    network, content = image
    for length in range(0, len(content), 97):
        assert read_damaged(tmp_path, content[:length]) is None
    assert read_damaged(tmp_path, content) == network


@settings(max_examples=examples(150))
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 8))
def test_flipped_bytes_are_refused_or_leave_a_valid_network(tmp_path_factory, image, seed, flips):
    _, content = image
    chance = random.Random(seed)
    damaged = bytearray(content)
    for _ in range(flips):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    found = read_damaged(tmp_path_factory.getbasetemp(), bytes(damaged))
    assert found is None or isinstance(found, SpikingNetwork)


@pytest.fixture
def theirs(tmp_path) -> Path:
    """The smallest of lava-dl's files; its neuron types are strings of variable length."""
    path = tmp_path / "their.net"
    with h5py.File(path, "w") as file:
        for index, kind, shape in ((0, b"input", (2,)), (1, b"dense", (2,))):
            group = file.create_group(f"layer/{index}")
            group["type"], group["shape"] = np.array([kind]), np.array(shape)
        group["weight"] = np.ones((2, 2))
        group["neuron/type"], group["neuron/vThMant"] = np.array(b"CUBA", dtype=object), 80
    return path


def test_string_that_claims_gigabytes_is_refused(theirs):
    with h5py.File(theirs) as file:
        offset = file["layer/1/neuron/type"].id.get_offset()
    damaged = bytearray(theirs.read_bytes())
    assert damaged[offset : offset + 4] == b"\4\0\0\0"
    damaged[offset + 3] = 0xF0
    theirs.write_bytes(damaged)
    refusal(theirs, "/layer/1/neuron/type is a string of 4026531844 bytes")


def test_endless_heap_of_strings_is_refused(theirs):
    """HDF5 2.0 follows an object of size 0 forever; in a child, because nothing could interrupt it here."""
    assert load(theirs).layers[0].neurons.threshold == 80
    path, damaged = theirs, bytearray(theirs.read_bytes())
    heap = damaged.find(b"GCOL\x01\0\0\0")
    assert heap > 0
    damaged[heap + 16 : heap + 32] = bytes(16)
    path.write_bytes(damaged)
    program = "import sys; from rmp_lava.netx import load; load(sys.argv[1])"
    child = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60)
    assert "NetFileError" in child.stderr and "is damaged" in child.stderr


def test_endless_chain_of_free_blocks_is_refused(tmp_path):
    """HDF5 follows the free blocks of a heap of names too; in a child, as above."""
    path = save(conv_network(), tmp_path / "a.net")
    damaged, found = bytearray(path.read_bytes()), 0
    heap = damaged.find(b"HEAP\0\0\0\0")
    while heap >= 0:
        block, address = struct.unpack_from("<2Q", damaged, heap + 16)
        if block != 1:  # there is a free block: let it be its own successor
            damaged[address + block : address + block + 8] = struct.pack("<Q", block)
            found += 1
        heap = damaged.find(b"HEAP\0\0\0\0", heap + 1)
    assert found
    path.write_bytes(damaged)
    program = "import sys; from rmp_lava.netx import load; load(sys.argv[1])"
    child = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60)
    assert "NetFileError" in child.stderr and "is damaged" in child.stderr


def keys_of_the_format() -> list[str]:
    keys: list[str] = []
    with tempfile.TemporaryDirectory() as folder, h5py.File(save(conv_network(), Path(folder) / "a.net")) as file:
        file.visititems(lambda name, node: keys.append(name) if isinstance(node, h5py.Dataset) else None)
    return keys


# For lava-dl or for readers; they repeat other keys.
REDUNDANT = (
    "inChannels",
    "outChannels",
    "kernelSize",
    "inFeatures",
    "outFeatures",
    "refDelay",
    "neuron/reset",
    "3/shape",
)


@pytest.mark.parametrize("key", keys_of_the_format())
def test_each_missing_key_is_named(net, key):
    with h5py.File(net, "r+") as file:
        del file[key]
    if key.endswith(REDUNDANT):
        assert load(net) == conv_network()
    else:
        refusal(net, f"/{key} is missing", "export the network again")


@pytest.mark.parametrize("key", ["layer", "layer/0", "layer/1", "rmp_lava", "layer/1/neuron", "layer/4/neuron"])
def test_each_missing_group_is_named(net, key):
    with h5py.File(net, "r+") as file:
        del file[key]
    refusal(net, "is missing")


def test_without_its_version_our_file_is_not_taken_for_lava_dls(net):
    with h5py.File(net, "r+") as file:
        del file.attrs["rmp_lava_format"]
    refusal(net, "rmp_lava_format is missing")


@pytest.mark.parametrize(
    "key, value, found",
    [
        ("layer/1/shape", [2, 4], "shape (2, 4)"),
        ("layer/1/shape", [2, 5, 4], "(2, 5, 4)"),
        ("layer/1/shape", [2, 0, 4], "[2, 0, 4]"),
        ("layer/1/shape", [2**40, 2**40, 2**40], "expected up to three positive sizes"),
        ("layer/1/shape", [1, 1, 1, 1], "expected up to three positive sizes"),
        ("layer/1/weight", np.zeros((2, 3, 3), dtype=int), "(2, 3, 3)"),
        ("layer/1/weight", np.full((2, 1, 3, 3), 300), "300; 8-bit weights are -256..255"),
        ("layer/1/weight", np.full((2, 1, 3, 3), np.nan), "NaN"),
        ("layer/1/weight", np.full((2, 1, 3, 3), 0.5), "integers are expected"),
        ("layer/1/weight", np.full((2, 1, 3, 3), 2**64 - 5, dtype=np.uint64), "/layer/1/weight"),
        ("layer/1/weight", np.zeros((2, 1, 3, 3), dtype=complex), "numbers are expected"),
        ("layer/1/weight", np.zeros((2, 1, 3, 3), dtype=[("a", int)]), "numbers are expected"),
        ("layer/1/weight", np.full((2, 1, 3, 3), b"1"), "numbers are expected"),
        ("layer/1/weight", h5py.Empty("i8"), "is empty"),
        ("layer/1/stride", [1, 1, 1], "one or two are expected"),
        ("layer/1/stride", [0, 1], "stride (0, 1)"),
        ("layer/1/padding", [-1, 1], "padding (-1, 1)"),
        ("layer/2/groups", 3, "3 groups"),
        ("layer/1/neuron/vThMant", 0, "threshold is 0"),
        ("layer/1/neuron/vThMant", 2**20, "threshold is 1048576"),
        ("layer/1/neuron/vThMant", 1.5, "integers are expected"),
        ("layer/1/neuron/vThMant", [1, 2], "thresholds differ between neurons"),
        ("layer/1/neuron/vInit", 2**17, "v_init is 131072"),
        ("layer/1/neuron/gradedSpike", True, "graded spikes"),
        ("layer/1/neuron/type", np.bytes_("ALIF"), "'ALIF'"),
        ("layer/1/neuron/type", 7, "is not a single string"),
        ("layer/1/neuron/iDecay", 100, "leaky with a soft reset"),
        ("layer/2/neuron/vDecay", 4097, "voltage_decay is 4097"),
        ("layer/1/bias", [50000, 0], "bias mantissa reaches 50000"),
        ("layer/2/neuron/biasExp", 8, "bias exponent is 8"),
        ("layer/1/type", np.array([b"average"]), "layer 1 has type 'average'"),
        ("layer/1/type", np.array([b"conv", b"conv"]), "is not a single string"),
        ("layer/0/type", np.array([b"dense"]), "the first layer must be of type input"),
        ("layer/1/source", b"c", "a cycle"),
        ("layer/1/source", b"a", "do not fit their source 'a'"),
        ("layer/1/source", b"nobody", "'nobody', which is not an earlier layer"),
        ("layer/2/name", "a", "of fixed length"),
        ("layer/2/name", b"a", "duplicate layer name"),
        ("layer/2/name", b"input", "duplicate layer name"),
        ("layer/2/synapse/1/type", np.array([b"delta"]), "'delta'; expected conv or dense"),
        ("layer/1/record", b"{", "not valid JSON"),
        ("layer/1/record", b"[1]", "JSON of another type; expected dict"),
        ("layer/1/record", b'{"a": NaN}', "JSON"),
        ("layer/1/record", b"[" * 100_000, "/layer/1/record"),
        ("rmp_lava/provenance", b'"text"', "expected dict"),
        ("rmp_lava/class_names", b'["a"]', "1 class names for 3 outputs"),
        ("rmp_lava/class_names", b"\xff", "a.net"),
    ],
)
def test_each_wrong_value_is_named(net, key, value, found):
    with h5py.File(net, "r+") as file:
        replace(file, key, np.bytes_(value) if isinstance(value, bytes) else value)
    refusal(net, found)


@pytest.mark.parametrize(
    "key, value, found",
    [
        ("layer/1/delay", np.ones(2), "synaptic delays"),
        ("layer/4", np.zeros(3), "a group is expected"),
    ],
)
def test_what_networks_here_cannot_have_is_refused(net, key, value, found):
    with h5py.File(net, "r+") as file:
        if key in file:
            del file[key]
        file[key] = value
    refusal(net, found)


@pytest.mark.parametrize(
    "version, found",
    [(4, "update rmp-lava"), (0, "positive"), (-1, "positive"), ("one", "positive"), (1.5, "positive")],
)
def test_format_version(net, version, found):
    with h5py.File(net, "r+") as file:
        file.attrs["rmp_lava_format"] = version
    refusal(net, "format version", found)


@pytest.mark.parametrize(
    "change, found",
    [
        ({"stage": "float16"}, "'float16'"),
        ({"stage": "balanced"}, "floating-point"),
        ({"readout": "first spike"}, "'first spike'"),
        ({"encoding": None}, "'encoding'"),
        ({"encoding": "morse"}, "'morse'"),
        ({"levels": "many"}, "'many'"),
        ({"levels": 10**30}, "levels"),
        ({"levels": True}, "levels"),
    ],
)
def test_wrong_header(net, change, found):
    with h5py.File(net, "r+") as file:
        header = json.loads(file["rmp_lava/network"][()]) | change
        replace(file, "rmp_lava/network", np.bytes_(json.dumps(header)))
    refusal(net, found)


def test_self_synapses_that_were_changed_are_refused(tmp_path):
    path = save(dense_network(), tmp_path / "a.net", for_lava_dl=True)
    with h5py.File(path, "r+") as file:
        file["layer/1/weight_rec"][0, 1] = 2
    refusal(path, "/layer/1/neuron/vInit is missing")


def two_exponents() -> SpikingNetwork:
    """A layer with synapses of exponent 0 and 5 behind a dense one of exponent 7."""
    first, last = dense_network().layers
    first = first.replace(synapses=[s.replace(exponent=7) for s in first.synapses])
    direct = Dense(INPUT, 2 * np.ones((3, 3), int), exponent=5)
    return dense_network(layers=(first, last.replace(synapses=(*last.synapses, direct))))


def test_weight_exponents_come_back_and_older_files_have_none(tmp_path):
    path = save(two_exponents(), tmp_path / "a.net")
    assert load(path) == two_exponents()
    with h5py.File(path, "r+") as file:
        assert file["layer/2/synapse/1/exponent"][()] == 5
        file.attrs["rmp_lava_format"] = 2
        for key in ("layer/1/exponent", "layer/2/exponent", "layer/2/synapse/1/exponent"):
            del file[key]
    assert all(synapse.exponent == 0 for layer in load(path) for synapse in layer.synapses)


def measured() -> SpikingNetwork:
    network = dense_network()
    first, last = network.layers
    rates = np.linspace(0, 1, first.shape[0])
    first = first.replace(weight_error=WeightError(0.01, 0.2, 0.0), mean_rate=rates)
    return dense_network(layers=(first, last.replace(weight_error=WeightError(0.5), mean_rate=0.25)))


def test_weight_errors_and_rates_come_back_and_older_files_have_one_error_only(tmp_path):
    path = save(measured(), tmp_path / "a.net")
    assert load(path) == measured()
    with h5py.File(path, "r+") as file:
        file.attrs["rmp_lava_format"] = 2
        for layer, error in (("1", 0.125), ("2", None)):
            fields = json.loads(file[f"layer/{layer}/conversion"][()])
            fields["weight_error"] = error
            del fields["mean_rate"]
            replace(file, f"layer/{layer}/conversion", np.bytes_(json.dumps(fields).encode()))
    first, last = load(path).layers
    assert first.weight_error == WeightError(0.125) and last.weight_error is None and first.mean_rate is None


@pytest.mark.parametrize(
    "change, found",
    [
        ({"weight_error": 0.1}, "weight_error, has missing or unexpected keys"),
        ({"weight_error": {"rms": 0.1}}, "weight_error, has missing or unexpected keys"),
        ({"weight_error": {"rms": None, "worst_row": 1.0, "zeroed": 0.0}}, "weight error is WeightError"),
        ({"weight_error": {"rms": 0.1, "worst_row": "all", "zeroed": 0.0}}, "weight error (worst_row) is all"),
        ({"weight_error": {"rms": 0.1, "worst_row": 0.1, "zeroed": -1}}, "weight error (zeroed) is -1"),
        ({"mean_rate": [0.1]}, "mean rate has shape (1,)"),
        ({"mean_rate": 1.5}, "values from 1.5; expected one number of 0..1"),
        ({"mean_rate": [[0.1]]}, "a mean rate has shape (1, 1)"),
        ({"mean_rate": {"a": 1}}, "a mean rate is"),
        ({"mean_rates": 1}, "has missing or unexpected keys"),
    ],
)
def test_hostile_weight_errors_and_rates_are_refused(tmp_path, change, found):
    path = save(measured(), tmp_path / "a.net")
    with h5py.File(path, "r+") as file:
        fields = json.loads(file["layer/1/conversion"][()]) | change
        replace(file, "layer/1/conversion", np.bytes_(json.dumps(fields).encode()))
    refusal(path, found)


@pytest.mark.parametrize(
    "value, found",
    [
        (8, "have exponent 8; allowed are integers 0..7"),
        (-1, "have exponent -1; allowed are integers 0..7"),
        (2**62, f"have exponent {2**62}; allowed"),
        (1.5, "/layer/1/exponent contains fractions"),
        ([1, 2], "/layer/1/exponent"),
        (np.bytes_("1"), "numbers are expected"),
        (None, "/layer/1/exponent is missing"),
    ],
)
def test_hostile_weight_exponents_are_refused(tmp_path, value, found):
    path = save(two_exponents(), tmp_path / "a.net")
    with h5py.File(path, "r+") as file:
        del file["layer/1/exponent"]
        if value is not None:
            file["layer/1/exponent"] = value
    refusal(path, found)


def test_lava_dls_loader_ignores_weight_exponents_so_they_are_obstacles(tmp_path):
    first, last = dense_network("hard").layers
    assert not lava_dl_obstacles(dense_network("hard"))
    network = dense_network("hard", layers=(first.replace(synapses=[Dense(INPUT, WHOLE, exponent=1)]), last))
    assert [text for text in lava_dl_obstacles(network) if "layer 'first': weight exponent 1" in text]
    with pytest.raises(NetFileError, match="threshold_form='dense_rec'"):
        save(network, tmp_path / "a.net", for_lava_dl=True)


def test_the_example_in_the_documentation_reads_a_file(tmp_path, monkeypatch, capsys):
    page = Path(__file__).resolve().parents[2] / "docs" / "net-format.md"
    section = page.read_text(encoding="utf-8").split("## Reading it without rmp-lava")[1]
    example = section.split("```python\n")[1].split("```")[0]
    save(conv_network(), tmp_path / "digits-cnn.net")
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    output = capsys.readouterr().out
    for part in ("every key integer rate", "1 conv [2, 4, 4]", "a from input (2, 1, 3, 3)", "RMP threshold 20"):
        assert part in output
