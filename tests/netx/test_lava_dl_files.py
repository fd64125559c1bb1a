"""Files as lava-dl's users have them: every message is its loader's, and what cannot be read is refused at once."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from lava_dl_files import dense, random_file, write
from net_files import refusal

from benchmarks.lava_dl import compare
from rmp_lava.errors import NetFileError, RmpLavaWarning
from rmp_lava.netx import file_obstacles, lava_dl_call, lava_dl_obstacles, load, save

WEIGHT = 2 * np.arange(-4, 8).reshape(4, 3)
CONV = {
    "type": "conv",
    "shape": [2, 4, 4],
    "weight": np.ones((2, 1, 3, 3), np.float32),
    "neuron": dense(WEIGHT)["neuron"],
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
}


def quiet(path: Path, **call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RmpLavaWarning)
        return load(path, **call)


def remarks(path: Path, **call) -> list[str]:
    with pytest.warns(RmpLavaWarning) as caught:
        load(path, **call)
    return [str(each.message) for each in caught]


REFUSED = {
    "ALIF": (
        dense(WEIGHT, neuron={"type": "ALIF"}),
        "'ALIF', and such neurons are not here, nor are they in lava-dl's",
    ),
    "RF": (
        {"type": "dense", "shape": [4], "weight": {"real": WEIGHT, "imag": WEIGHT}, "neuron": {"type": "RF_PHASE"}},
        "complex weights and RF_PHASE neurons",
    ),
    "kWTA": ({}, "layer 1 is empty, as slayer's KWTA block writes it"),
    "pool": ({"type": "pool", "shape": [4]}, "'pool', which lava-dl's loader does not implement; fold the pooling"),
    "average": ({"type": "average"}, "average its outputs yourself"),
    "unknown": ({"type": "delta"}, "'delta', which lava-dl's loader skips without a word"),
    "message bits": (dense(WEIGHT, neuron={"messageBits": 4}), "messageBits is set, at which lava-dl's loader stops"),
    "negative delay": (dense(WEIGHT, delay=np.array([-1.0, 0, 0, 0])), "a delay of -1 steps"),
    "delays of another shape": (dense(WEIGHT, delay=np.ones(5)), "has shape (5,); expected one value, one per output"),
    "delays of a recurrent layer": (
        dense(WEIGHT, "dense_rec", weight_rec=np.ones((4, 4)), delay=np.ones(4)),
        "3 inputs and 4 neurons; lava-dl's loader stops there",
    ),
    "large weights": (dense(np.full((4, 3), 300)), "weights reach 300, which its Dense cannot hold"),
    "a threshold that wraps": (
        dense(WEIGHT, neuron={"vThMant": np.int16(600)}),
        "is 600 in 16 bits, in which lava-dl's loader lets it wrap",
    ),
    "fractions of a threshold": (dense(WEIGHT, neuron={"vThMant": 1.5}), "vThMant contains fractions"),
}


@pytest.mark.parametrize("layer, found", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, layer, found):
    refusal(write(tmp_path / "a.net", {"type": "input", "shape": [3]}, layer), found)


def test_every_obstacle_is_named_at_once(tmp_path):
    layers = [{"type": "input", "shape": [3]}, REFUSED["ALIF"][0], REFUSED["pool"][0], {"type": "average"}]
    text = refusal(write(tmp_path / "a.net", *layers), "3 obstacles: ", "'ALIF'", "'pool'", "'average'")
    assert "or read the layers before it with num_layers=2" in text


def test_a_pointer_of_git_lfs_is_recognised(tmp_path):
    (tmp_path / "a.net").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refusal(tmp_path / "a.net", "run git lfs pull")


REMARKS = {
    "fractions": (dense(WEIGHT + 0.5), "weights have fractions, which lava-dl's loader cuts off"),
    "255": (dense([[255, -3, 2]]), "lava-dl's loader changes 1 of its weights by up to 1"),
    "biases": (dense(WEIGHT, bias=np.full(4, 1.5)), "biases have fractions"),
    "long delays": (dense(WEIGHT, delay=70.0), "delays up to 70, which lava-dl's loader limits to 62"),
    "ignored": (dense(WEIGHT, neuron={"gradedSpike": True}), "sets gradedSpike, which lava-dl's loader ignores"),
    "conv delays": (CONV | {"delay": np.ones(2)}, "has delays, which lava-dl's loader ignores for convolutions"),
    "stride": (CONV | {"stride": 2}, "(9, 9, 1) (width, height, channels), the smallest that fits"),
}


@pytest.mark.parametrize("layer, found", REMARKS.values(), ids=REMARKS)
def test_what_the_loader_changes_is_said(tmp_path, layer, found):
    (text,) = remarks(write(tmp_path / "a.net", layer))
    assert found in text


def test_lava_dls_arguments(tmp_path):
    path = write(tmp_path / "a.net", CONV | {"stride": 2}, {"type": "average"})
    network = load(path, input_shape=(10, 9, 1), input_message_bits=4, num_layers=1)
    assert (network.input.shape, network.input.levels) == ((1, 9, 10), 15)
    arguments = lava_dl_call(network, 6).arguments
    assert arguments == {"input_shape": (10, 9, 1), "input_message_bits": 4, "reset_interval": 6, "reset_offset": 1}
    with pytest.raises(NetFileError, match=r"takes 1 channels; pass \(width, height, channels\)"):
        load(path, input_shape=(1, 9, 10), num_layers=1)
    with pytest.raises(NetFileError, match="num_layers is 3, but the file has 2"):
        load(path, num_layers=3)
    with pytest.raises(NetFileError, match="for files of lava-dl; leave them out"):
        load(save(network, tmp_path / "ours.net"), num_layers=1)


@pytest.mark.parametrize("threshold", [2**17 - 1, 2**18 - 1])
def test_thresholds_that_nothing_reaches_mark_a_potential(tmp_path, threshold):
    network = load(write(tmp_path / "a.net", dense(WEIGHT, neuron={"vThMant": threshold})))
    assert network.readout == "potential" and network.output.neurons.threshold == 2**17 - 1
    assert load(save(network, tmp_path / "b.net", for_lava_dl=True)) == network


def test_a_missing_flatten_layer_stops_the_loader_until_the_file_is_upgraded(tmp_path):
    path = write(tmp_path / "a.net", CONV, dense(np.ones((3, 32))))
    network = quiet(path)
    assert "without a flatten layer" in file_obstacles(path, network)[0]
    assert file_obstacles(save(network, tmp_path / "b.net", for_lava_dl=True), network) == []


@pytest.mark.slow
def test_random_files_come_back_after_saving(tmp_path):
    read = 0
    for seed in range(40):
        try:
            network = quiet(random_file(tmp_path / f"{seed}.net", seed))
        except NetFileError:
            continue
        read += 1
        path = save(network, tmp_path / "again.net")
        assert load(path) == network
        with h5py.File(path) as file:
            assert file.attrs["rmp_lava_format"]
    assert read > 30


@pytest.mark.slow
@pytest.mark.lava
def test_every_message_is_the_loaders(tmp_path):
    """Of random files, of what was saved of them for lava-dl, and of lava-dl's own network with delays."""
    paths = [random_file(tmp_path / f"{seed}.net", seed) for seed in (0, 3, 5, 24, 26, 44)]
    for path in paths[:3]:
        network = quiet(path)
        assert lava_dl_obstacles(network) == []
        paths.append(save(network, tmp_path / f"again{path.name}", for_lava_dl=True))
    site = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
    theirs = load(site / "tests/lava/lib/dl/netx/gts/ntidigits/ntidigits.net", num_layers=5)  # without its average
    paths.append(save(theirs, tmp_path / "ntidigits.net", for_lava_dl=True))
    found = list(compare(paths, steps=6, backends=("fast", "reference")))
    assert [each for each in found if each.difference or each.netx or each.refused] == []
    assert sum(each.messages > 0 for each in found) == len(paths)
