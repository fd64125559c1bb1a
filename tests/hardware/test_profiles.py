"""Hardware profiles: all of them load, and errors give file, key and reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rmp_lava.conversion.quantize import quantize
from rmp_lava.encoding import make_input
from rmp_lava.errors import ProfileError
from rmp_lava.hardware import check, load_comparisons, load_profile, profile_names
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork


def loihi2_text() -> str:
    folder = Path(__file__).resolve().parents[2] / "hw_profiles"
    return (folder / "loihi2.toml").read_text(encoding="utf-8")


def write(folder: Path, text: str) -> str:
    (folder / "chip.toml").write_text(text, encoding="utf-8")
    return str(folder / "chip.toml")


def changed(folder: Path, old: str, new: str) -> str:
    text = loihi2_text()
    assert old in text
    return write(folder, text.replace(old, new, 1))


def body(key: str) -> str:
    """A key's table without its heading."""
    start = loihi2_text().index(f"[{key}]\n") + len(f"[{key}]\n")
    return loihi2_text()[start:].split("\n\n")[0].rstrip("\n")


def replaced(key: str, new: str) -> tuple[str, str]:
    return f"[{key}]\n{body(key)}", f"[{key}]\n{new}"


def removed(key: str) -> tuple[str, str]:
    return f"[{key}]\n{body(key)}", ""


def value(key: str, new: str) -> tuple[str, str]:
    lines = body(key).split("\n")
    assert lines[0].startswith("value = ")
    return replaced(key, "\n".join([f"value = {new}", *lines[1:]]))


def kind(key: str, new: str) -> tuple[str, str]:
    lines = [f'kind = "{new}"' if line.startswith("kind = ") else line for line in body(key).split("\n")]
    return replaced(key, "\n".join(lines))


CHIPS = {"loihi1": 1, "loihi2": 1}
BOARDS = {
    "kapoho_bay": ("loihi1", 2),
    "nahuku8": ("loihi1", 8),
    "nahuku32": ("loihi1", 32),
    "oheo_gulch": ("loihi2", 1),
    "kapoho_point": ("loihi2", 8),
    "vpx": ("loihi2", 16),
    "hala_point": ("loihi2", 1152),
}


def test_each_profile_loads_and_has_sources():
    assert profile_names() == sorted([*CHIPS, *BOARDS])
    for name in profile_names():
        profile = load_profile(name)
        assert profile.name == name
        assert (profile.chip, profile.chips) == BOARDS.get(name, (name, 1))
        assert profile.is_board == (name in BOARDS)
        for key, quantity in profile:
            assert quantity.unit and quantity.source, key
            assert (quantity.value is None) == (quantity.kind == "unknown"), key


def test_loihi2_is_what_the_lava_simulator_does():
    profile = load_profile("loihi2")
    # See lava/utils/weightutils.py and lava/proc/lif/models.py.
    assert (profile["weight_mixed_min"], profile["weight_mixed_max"], profile["weight_mixed_step"]) == (-256, 254, 2)
    assert (profile["weight_single_sign_max"], profile["threshold_max"]) == (255, 2**17 - 1)
    assert (profile["bias_mantissa_max"], profile["bias_exponent_max"]) == (4095, 7)
    assert {limit.kind for limit in profile.sections["limits"].values()} == {"documented"}


def test_a_board_repeats_no_value_of_its_chip():
    chip = load_profile("loihi2")
    for name in ("oheo_gulch", "kapoho_point", "vpx", "hala_point"):
        board = load_profile(name)
        found = board.with_compiler(chip.compiler)
        different = {key for key, q in found if not key.startswith("board.") and q != chip.quantity(key)}
        assert different | {"board.chips"} == board.own - {"board.ethernet_chip"}
        assert board.count("board.chips") == board.chips
    assert load_profile("oheo_gulch").own == {"board.chips", "energy.static_power"}


def test_a_profile_chooses_the_generation_of_the_compiler(tmp_path):
    one, older, newer = (load_profile(name) for name in ("loihi1", "oheo_gulch", "kapoho_point"))
    assert [each.compiler for each in (one, older, newer)] == ["nxtf", "older", "newer"]
    assert one.compilers == ("nxtf",) and older.compilers == newer.compilers == ("older", "newer")
    assert (older["cores.synapse_words"], newer["cores.synapse_words"]) == (12000, 16000)
    for each in (older, newer):
        assert each.with_compiler("newer")["cores.synapse_words"] == 16000
        assert each.with_compiler("older").count("cores.input_entries") is None
    # What a board gives for its cores holds for both compilers, unless it gives it for one of them.
    board = BOARD + '[cores.synapse_words]\nvalue = 500\nunit = "word"\nkind = "derived"\nsource = "tried"\n'
    found = load_profile(write(tmp_path, board))
    assert found["cores.synapse_words"] == found.with_compiler("older")["cores.synapse_words"] == 500
    board += '[older.synapse_words]\nvalue = 400\nunit = "word"\nkind = "derived"\nsource = "tried"\n'
    found = load_profile(write(tmp_path, 'compiler = "older"\n' + board))
    assert [found.with_compiler(each)["cores.synapse_words"] for each in ("older", "newer")] == [400, 500]
    assert found.compiler == "older" and found["cores.synapse_words"] == 400


def test_units_are_converted():
    profile = load_profile("loihi2")
    assert profile.quantity("energy.synaptic_operation").value == 23.6
    assert profile.quantity("energy.synaptic_operation").si == pytest.approx(23.6e-12)
    assert profile.quantity("energy.hop").si is None


def test_numbers_have_one_type():
    profile = load_profile("loihi2")
    assert profile["cores.neurons"] == profile.count("cores.neurons") == 4095
    assert profile.count("cores.weights_per_list") is None
    with pytest.raises(KeyError, match="cores.weights_per_list"):
        profile["cores.weights_per_list"]
    with pytest.raises(TypeError, match="quantity"):
        profile.count("energy.synaptic_operation")


@pytest.mark.parametrize(
    "old, new, parts",
    [
        ("[limits.threshold_max]", "[limits.treshold_max]", ["limits", "'treshold_max' is unknown", "threshold_max?"]),
        (
            "[limits.threshold_max]",
            "[limits.extra]\nvalue=1\n[limits.threshold_max]",
            ["'extra' is unknown", "allowed"],
        ),
        ("[cores.groups]", "[core.groups]", ["'core' is unknown", "mean cores?"]),
        ("value = 131071", "value = " + 400 * "9", ["limits.threshold_max.value has more than 63 bits"]),
        ("value = 131071", "value = " + 5000 * "9", ["not valid TOML"]),
        ("value = 131071", "value = " + 5000 * "[" + 5000 * "]", ["not valid TOML"]),
        (*removed("cores.neurons"), ["cores.neurons is missing", "give it"]),
        (*removed("energy.hop"), ["energy.hop is missing", "kind 'unknown'"]),
        ('unit = "weight unit"\n', "", ["limits.weight_mixed_min.unit is missing", "'weight unit'"]),
        ('unit = "weight unit"', 'unit = ""', ["limits.weight_mixed_min.unit is ''", "'weight unit'"]),
        ('unit = "weight unit"', "unit = 1", ["limits.weight_mixed_min.unit is 1"]),
        ('unit = "pJ"', 'unit = "pj"', ["energy.synaptic_operation.unit is 'pj'", "'nJ' or 'pJ'"]),
        ('unit = "pJ"', 'unit = "ns"', ["energy.synaptic_operation.unit is 'ns'", "'pJ'"]),
        (
            'kind = "documented"\n',
            'kind = "documented"\nkinds = "x"\n',
            ["limits.weight_mixed_min: key 'kinds'", "kind?"],
        ),
        ('kind = "documented"', 'kind = "guessed"', ["limits.weight_mixed_min.kind is 'guessed'", "derived"]),
        ('kind = "documented"', 'kind = "unknown"', ["limits.weight_mixed_min.value is -256 with kind 'unknown'"]),
        (*kind("cores.neurons", "unknown"), ["cores.neurons.value is 4095 with kind 'unknown'"]),
        (*kind("energy.hop", "derived"), ["energy.hop.value is missing", "kind 'unknown'"]),
        (
            *replaced("energy.hop", 'unit = "pJ"\nkind = "derived"\nsource = "x"'),
            ["energy.hop.value is missing", "unknown"],
        ),
        (*replaced("cores.neurons", 'kind = "unknown"\nsource = "x"'), ["cores.neurons.kind is 'unknown'", "required"]),
        (*replaced("cores.groups", 'kind = "unknown"'), ["cores.groups.source is missing"]),
        (*removed("older.synapse_words"), ["cores.synapse_words is missing", "give it"]),
        ("[older.synapse_words]", "[older.words]", ["older: key 'words' is unknown"]),
        ('compiler = "newer"', "", ["compiler is None; choose one of older, newer"]),
        ('compiler = "newer"', 'compiler = "nxtf"', ["compiler is 'nxtf'; choose one of older, newer"]),
        ('compiler = "newer"', "compiler = 1", ["compiler is 1; choose one of older, newer"]),
        ('name = "loihi2"', "", ["name is missing"]),
        ('name = "loihi2"', "name = 2", ["name is missing or not a string"]),
        ('name = "loihi2"', 'name = "loihi2"\nnmae = "x"', ["'nmae' is unknown", "name?"]),
        ('name = "loihi2"', 'name = "loihi2', ["not valid TOML"]),
        ('name = "loihi2"', 'name = "loihi2"\nname = "again"', ["not valid TOML"]),
        (*value("limits.threshold_max", "-1"), ["limits.threshold_max.value is -1", "positive"]),
        (*value("limits.threshold_max", "0"), ["limits.threshold_max.value is 0", "positive"]),
        (*value("limits.weight_mixed_min", "0"), ["limits.weight_mixed_min.value is 0"]),
        (
            *value("limits.threshold_max", "99999999999"),
            ["limits.threshold_max.value is 99999999999", "allowed are 1 .. 131,071"],
        ),
        (*value("limits.weight_mixed_max", "1000"), ["limits.weight_mixed_max.value is 1000", "1 .. 255 weight unit"]),
        (
            *value("limits.weight_mixed_min", "-257"),
            ["limits.weight_mixed_min.value is -257", "-256 .. -1 weight unit"],
        ),
        (*value("limits.bias_mantissa_max", "4096"), ["limits.bias_mantissa_max.value is 4096", "1 .. 4,095"]),
        (
            *value("limits.potential_max", "131072"),
            ["limits.potential_max.value is 131072", "1 .. 131,071 weight unit"],
        ),
        (*value("limits.threshold_max", "true"), ["limits.threshold_max.value is True", "expected an integer"]),
        (*value("limits.threshold_max", "131071.0"), ["limits.threshold_max.value is 131071.0", "expected an integer"]),
        (*value("limits.threshold_max", '"131071"'), ["limits.threshold_max.value is '131071'", "expected an integer"]),
        (*value("limits.threshold_max", "nan"), ["limits.threshold_max.value is nan", "expected an integer"]),
        (*value("energy.neuron_update", "-81.0"), ["energy.neuron_update.value is -81.0", "positive"]),
        (*value("energy.neuron_update", "nan"), ["energy.neuron_update.value is nan pJ", "allowed are"]),
        (*value("energy.neuron_update", "inf"), ["energy.neuron_update.value is inf pJ", "allowed are"]),
        (
            *value("energy.neuron_update", "8.1e13"),
            ["energy.neuron_update.value is 81000000000000.0 pJ", "0.001 .. 1e+06 pJ"],
        ),
        (
            "low = 12.4",
            "low = 30",
            ["energy.synaptic_operation.low and high are 30 and 29.0", "enclose the value 23.6"],
        ),
        ("low = 12.4", "low = -1", ["low and high are -1 and 29.0"]),
        ("low = 12.4\n", "", ["energy.synaptic_operation.low is None; give both low and high"]),
        ("low = 12.4", "low = nan", ["low and high are nan and 29.0"]),
        ("high = 29.0", "high = true", ["energy.synaptic_operation.high is True"]),
        (*value("cores.neurons", "4095\nlow = 1"), ["cores.neurons: key 'low' is unknown"]),
        ("[[anchors]]", "[anchor]\n[[anchors]]", ["key 'anchor' is unknown; do you mean anchors?"]),
        ('figure = "time"', 'figure = "duration"', ["anchors[9].figure is 'duration'; choose one of dynamic energy"]),
        ('name = "S4D', 'nmae = "S4D', ["anchors[11]: key 'nmae' is unknown"]),
        ('board = "vpx"', "board = 16", ["anchors[8].board is missing or not a string"]),
        ("steps = 15", "steps = -15", ["anchors[9].steps is -15; give a number from 0"]),
        ("convolution = true", "convolution = 1", ["anchors[6].convolution is 1; give true or false"]),
        ("value = 40.6", "value = -40.6", ["anchors[8].value is -40.6"]),
        ('unit = "uJ"', 'unit = "us"', ["anchors[8].unit is 'us'"]),
        (*value("cores.index_bits_dense", "-1"), ["cores.index_bits_dense.value is -1", "at least 0"]),
        (
            *value("cores.usable_per_chip", "99999999"),
            ["cores.usable_per_chip.value is 99999999 core", "1 .. 65,536 core"],
        ),
        (
            *value("cores.usable_per_chip", "129"),
            ["cores.usable_per_chip.value is 129", "more than cores.physical_per_chip (128)"],
        ),
        (*value("cores.neurons", "9999999"), ["cores.neurons.value is 9999999 neuron", "1 .. 1,048,576 neuron"]),
    ],
)
def test_each_mistake_is_reported(tmp_path, old, new, parts):
    path = changed(tmp_path, old, new)
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    for part in (path, *parts):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_core_holds_one_neuron_with_its_slots(tmp_path):
    text = loihi2_text()
    for old, new in (value("cores.neurons", "3"), value("cores.slots_per_soft_reset_neuron", "4")):
        text = text.replace(old, new, 1)
    with pytest.raises(ProfileError, match=r"slots_per_soft_reset_neuron.value is 4, more than cores.neurons \(3\)"):
        load_profile(write(tmp_path, text))


BOARD = """
name = "mine"
description = "a board of mine"
chip = "loihi2"
[board.chips]
value = 3
unit = "chip"
kind = "documented"
source = "counted"
[cores.neurons]
value = 2000
unit = "neuron"
kind = "documented"
source = "tried"
"""


def test_a_users_own_board(tmp_path):
    board = load_profile(write(tmp_path, BOARD))
    assert (board.name, board.chip, board.chips) == ("mine", "loihi2", 3)
    assert board["cores.neurons"] == 2000 and board["cores.axons_in"] == load_profile("loihi2")["cores.axons_in"]
    (tmp_path / "other.toml").write_text(loihi2_text().replace('name = "loihi2"', 'name = "other"'))
    board = load_profile(write(tmp_path, BOARD.replace('"loihi2"', '"other.toml"')))
    assert board.chip == "other"


@pytest.mark.parametrize(
    "old, new, parts",
    [
        ('chip = "loihi2"', 'chip = "loihi3"', ["chip is 'loihi3'", "loihi1, loihi2"]),
        ('chip = "loihi2"', "chip = 2", ["chip is 2"]),
        ('chip = "loihi2"', 'chip = "vpx"', ["chip 'vpx' is a board", "'loihi2'"]),
        ('chip = "loihi2"', 'chip = "chip.toml"', ["chip 'chip.toml' is a board"]),
        ('chip = "loihi2"', 'chip = "none.toml"', ["none.toml cannot be read"]),
        ('name = "mine"', 'name = "loihi2"', ["name is 'loihi2', that of its chip"]),
        ("[board.chips]", "[board.chip]", ["board: key 'chip'", "chips?"]),
        ("value = 3", "value = 0", ["board.chips.value is 0", "positive"]),
        ("[cores.neurons]", "[cores.neuron]", ["cores: key 'neuron'", "neurons?"]),
        ("value = 2000", "value = -2", ["cores.neurons.value is -2"]),
    ],
)
def test_each_mistake_in_a_board_is_named(tmp_path, old, new, parts):
    assert old in BOARD
    path = write(tmp_path, BOARD.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_a_board_may_have_anchors_of_its_own(tmp_path):
    anchor = (
        'name = "mine"\nboard = "oheo_gulch"\nfigure = "dynamic energy"\nvalue = 1.0\nunit = "mJ"\nkind = "documented"\n'
        'source = "measured"\nsynaptic_operations = 1e6\nseconds = 1e-3\n'
    )
    board = load_profile(write(tmp_path, BOARD + "[[anchors]]\n" + anchor))
    (own,) = board.anchors[len(load_profile("loihi2").anchors) :]
    found = check(own)
    assert (
        found.predicted.value == pytest.approx(1e6 * 23.6e-12 + 0.01 * 1e-3) and not found.holds and not found.is_bound
    )
    with pytest.raises(ProfileError, match="anchors is not a list"):
        load_profile(write(tmp_path, "anchors = 3\n" + BOARD))
    unknown = load_profile(write(tmp_path, BOARD + "[[anchors]]\n" + anchor.replace("oheo_gulch", "abacus")))
    with pytest.raises(ProfileError, match="'abacus' is unknown"):
        check(unknown.anchors[-1])
    whole = anchor.replace("oheo_gulch", "loihi1").replace("dynamic energy", "whole energy")
    with pytest.raises(ProfileError, match="anchor 'mine': the profile of loihi1 does not give what its whole energy"):
        check(load_profile(write(tmp_path, BOARD + "[[anchors]]\n" + whole)).anchors[-1])


def test_figures_of_other_processors_are_there():
    figures = load_comparisons()
    assert {figure.per for figure in figures} == {"mac", "synaptic_operation"}
    for figure in figures:
        assert figure.energy.si > 0 and figure.energy.source and figure.label


@pytest.mark.parametrize(
    "text", ["", "limits = 3", "name = 'a'\ndescription = 'b'", "name='a'\ndescription='b'\nlimits=[1]"]
)
def test_profiles_without_limits(tmp_path, text):
    with pytest.raises(ProfileError, match="chip.toml"):
        load_profile(write(tmp_path, text))


def test_binary_files(tmp_path):
    (tmp_path / "chip.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ProfileError, match="not valid TOML"):
        load_profile(str(tmp_path / "chip.toml"))


def test_missing_profiles(tmp_path):
    with pytest.raises(ProfileError, match="none.toml cannot be read"):
        load_profile(str(tmp_path / "none.toml"))
    with pytest.raises(ProfileError, match="'loihi3' is unknown; do you mean loihi2"):
        load_profile("loihi3")


def small_network() -> SpikingNetwork:
    weight = np.array([[0.5, -0.25], [1.0, -0.75]])
    layers = (Layer("a", (2,), (Dense(INPUT, weight),), Neurons(1.5, bias=np.array([20.0, -20.0]))),)
    return SpikingNetwork("small", make_input("poisson", (2,)), layers, "analog", "count")


@pytest.mark.parametrize(
    "key, new, found",
    [
        ("weight_mixed_max", "126", lambda layer: layer.synapses[0].weight.max() == 126),
        ("weight_mixed_min", "-64", lambda layer: layer.synapses[0].weight.min() == -64),
        ("weight_mixed_step", "127", lambda layer: not (layer.synapses[0].weight % 127).any()),
        ("threshold_max", "77", lambda layer: layer.neurons.threshold == 77),
        ("bias_mantissa_max", "1000", lambda layer: np.abs(layer.neurons.bias).max() == 1000),
        ("bias_exponent_max", "6", lambda layer: layer.neurons.bias_exponent == 6),
    ],
)
def test_each_limit_is_kept(tmp_path, key, new, found):
    before, after = (
        quantize(small_network(), profile, threshold_form="free").layers[0]
        for profile in ("loihi2", changed(tmp_path, *value(f"limits.{key}", new)))
    )
    assert found(after) and not found(before)


def test_each_limit_of_other_networks_is_kept(tmp_path):
    def limited(key: str, new: str) -> str:
        return changed(tmp_path, *value(f"limits.{key}", new))

    network = small_network()
    (layer,) = network.layers
    positive = network.replace(layers=(layer.replace(synapses=(Dense(INPUT, np.array([[0.5, 0.25], [1.0, 0.75]])),)),))
    for profile, largest in (("loihi2", 255), (limited("weight_single_sign_max", "100"), 100)):
        assert quantize(positive, profile, threshold_form="free").layers[0].synapses[0].weight.max() == largest
    pixels = network.replace(input=make_input("current", (2,)), layers=(layer.replace(neurons=Neurons(1.5)),))
    assert quantize(pixels, "loihi2").input.levels > 31 == quantize(pixels, limited("message_max", "31")).input.levels
    reads = layer.replace(neurons=Neurons(1.0, reset="none"), potential_peak=50.0)
    reads = network.replace(layers=(reads,), readout="potential")
    scales = [
        quantize(reads, profile).layers[0].record["scale"] for profile in ("loihi2", limited("potential_max", "1000"))
    ]
    assert scales[1] < scales[0]
    thresholds = [
        quantize(network, profile, threshold_form="free", ranges={"a": (-3.0, 3.0)}).layers[0].neurons.threshold
        for profile in ("loihi2", limited("current_max", "100"))
    ]
    assert thresholds[1] < thresholds[0]


def test_loihi1_has_limits_of_its_own():
    one, two = load_profile("loihi1"), load_profile("loihi2")
    assert one["message_max"] == 1 and one["current_max"] < two["current_max"]
    assert one["cores.neurons"] == 1024 and one["cores.slots_per_soft_reset_neuron"] == 2
    layer = quantize(small_network(), "loihi1").layers[0]
    assert np.abs(layer.neurons.bias).max() <= one["bias_mantissa_max"]
    assert layer.synapses[0].weight.max() <= one["weight_mixed_max"]
