"""Saving: what lava-dl cannot take is named at once, and a file that was there survives whatever stops its successor."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from net_files import conv_network, dense_network
from rights import read_only_folder

from rmp_lava.errors import NetFileError
from rmp_lava.network import INPUT, Dense, Neurons, SpikingNetwork
from rmp_lava.netx import lava_dl_obstacles, load, save


def odd_network() -> SpikingNetwork:
    network = dense_network("hard")
    synapse = Dense(INPUT, [[-1, 255, 3], [2, 4, 6]])
    return network.replace(layers=(network.layers[0].replace(synapses=(synapse,)), network.layers[1]))


@pytest.mark.parametrize(
    "network, found",
    [
        (dense_network(threshold=21), ["layers 'first', 'last': threshold 21"]),
        (dense_network(threshold=256), ["threshold 256 is not a self-synapse weight"]),
        (odd_network(), ["layer 'first': the loader would round or clip its weights"]),
        (
            conv_network(),
            [
                "layers do not form a chain",
                "the input is rate-coded",
                "layer 'a': v_init is not 0",
                "layer 'a': has a bias, which the loader would not integrate",
                "layer 'a': a convolution with soft reset",
                "layer 'b': bias exponent is 3",
                "layer 'b': has a bias per neuron",
            ],
        ),
    ],
)
def test_every_obstacle_for_lava_dl_is_named_at_once(tmp_path, network, found):
    with pytest.raises(NetFileError) as caught:
        save(network, tmp_path / "a.net", for_lava_dl=True)
    for part in found:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_float_networks_are_obstacles_and_hidden_integrators_are_not():
    network = dense_network("hard", readout="potential")
    network = network.map_layers(lambda layer: layer.replace(neurons=Neurons(20, "none")))
    assert lava_dl_obstacles(network) == []
    layers = [
        layer.replace(synapses=[s.replace(weight=s.weight.astype(float)) for s in layer.synapses]) for layer in network
    ]
    assert any("quantise" in text for text in lava_dl_obstacles(network.replace(layers=layers, stage="balanced")))


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = save(dense_network(), tmp_path / "a.net")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_missing_folders_are_made(tmp_path):
    assert load(save(dense_network(), tmp_path / "new" / "folder" / "a.net")) == dense_network()


def test_saving_over_a_folder_is_refused(tmp_path):
    (tmp_path / "a.net").mkdir()
    with pytest.raises(NetFileError, match="a.net cannot be written"):
        save(dense_network(), tmp_path / "a.net")
    assert [path.name for path in tmp_path.iterdir()] == ["a.net"]


def test_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(NetFileError, match="cannot be written"):
        save(dense_network(), tmp_path / "file" / "a.net")


def test_read_only_folder_is_refused(tmp_path):
    network = dense_network()
    save(network, tmp_path / "a.net")
    with read_only_folder() as folder, pytest.raises(NetFileError, match="Permission denied"):
        assert not list(folder.iterdir())  # reading is allowed
        save(network, folder / "a.net")


def child_saving(path: Path, prelude: str) -> subprocess.CompletedProcess:
    program = f"""
        import os, resource, signal, sys
        from rmp_lava.encoding import make_input
        from rmp_lava.netx import save
        from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork
        layer = Layer("a", (2,), (Dense(INPUT, [[1, 2], [3, 4]]),), Neurons(9))
        network = SpikingNetwork("new", make_input("poisson", (2,)), (layer,), "integer", "count")
        {prelude}
        save(network, {str(path)!r})
    """
    return subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)


def test_full_disk_leaves_the_old_file_and_no_other(net):
    before = net.read_bytes()
    child = child_saving(net, "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))")
    assert (
        child.returncode == 1
        and "NetFileError" in child.stderr
        and "an existing file of that name is unchanged" in child.stderr
    )
    assert net.read_bytes() == before
    assert list(net.parent.iterdir()) == [net]


@pytest.mark.parametrize("moment", ["fsync", "chmod", "replace"])
def test_a_kill_leaves_the_old_file(net, moment):
    before = net.read_bytes()
    child = child_saving(net, f"os.{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)")
    assert child.returncode == -signal.SIGKILL
    assert net.read_bytes() == before
    assert load(net) == conv_network()


def test_a_file_that_does_not_read_back_equal_does_not_replace_the_old_one(net, monkeypatch):
    before = net.read_bytes()
    monkeypatch.setattr("rmp_lava.netx.write.load", lambda _: dense_network("hard"))
    with pytest.raises(NetFileError, match="does not read back equal"):
        save(dense_network(), net)
    assert net.read_bytes() == before
    assert list(net.parent.iterdir()) == [net]


def test_interrupted_saving_leaves_no_temporary_file(net, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("rmp_lava.netx.write.load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(dense_network(), net)
    assert list(net.parent.iterdir()) == [net]
