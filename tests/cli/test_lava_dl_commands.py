"""lava-dl's files on the command line: the loader's call, arrays of a run, and our format."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lava_dl_files import dense, write

from rmp_lava import run
from rmp_lava.netx import load

WEIGHT = 2 * np.arange(-4, 8).reshape(4, 3)


@pytest.fixture
def command(call):
    """Call the command line in this process; the JSON that it writes to standard output."""

    def run_command(*arguments):
        code, output, _ = call(*arguments, "--json", "-")
        assert not code
        return json.loads(output)

    return run_command


def test_info_names_the_loaders_call(tmp_path, command):
    path = write(tmp_path / "a.net", dense(WEIGHT, "dense_rec", weight_rec=np.ones((4, 4)), neuron={"vThMant": 9}))
    found = command("info", path, "--input-message-bits", "3")
    assert found["lava_dl_obstacles"] == []
    assert found["lava_dl_call"]["arguments"] == {"input_message_bits": 3, "reset_interval": 17, "reset_offset": 1}
    assert any("outlive the reset" in note for note in found["lava_dl_call"]["notes"])


def test_arrays_of_a_run_and_of_its_upgraded_file_are_those_of_the_library(tmp_path, command):
    path = write(tmp_path / "a.net", dense(WEIGHT, neuron={"vThMant": 2**18 - 1}))
    messages = np.random.default_rng(0).integers(0, 8, (2, 5, 3))
    np.save(tmp_path / "messages.npy", messages)
    taken = ("--images", tmp_path / "messages.npy", "--steps", "5", "--output", tmp_path / "out.npz")
    command("run", path, "--input-message-bits", "3", *taken)
    expected = run(load(path, input_message_bits=3), messages, 5, record=("spikes", "potentials"))
    with np.load(tmp_path / "out.npz") as first:
        assert sorted(first) == ["output", "potentials/dense0", "spikes/dense0", "spikes/input"]
        np.testing.assert_array_equal(first["output"], expected.output)
        np.testing.assert_array_equal(first["spikes/input"], messages)
        np.testing.assert_array_equal(first["potentials/dense0"], expected.potentials["dense0"])
    assert command("upgrade", path, tmp_path / "b.net", "--input-message-bits", "3")["lava_dl_obstacles"] == []
    found = command("run", tmp_path / "b.net", *taken)
    assert found["output"] == expected.output.tolist()
