"""The networks that come with the package: files, figures, and the command that lists and writes them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import rmp_lava
from rmp_lava import zoo
from rmp_lava.errors import NetFileError
from rmp_lava.files import sha256_of
from rmp_lava.training.data import load as load_data
from rmp_lava.zoo import catalogue

REFERENCE = Path(__file__).resolve().parents[2] / "exports" / "reference"
NAMES = [entry.name for entry in zoo.entries()]


@pytest.fixture
def call(call):
    return partial(call, "zoo")


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_those_of_the_files(name):
    entry = zoo.entry(name)
    found = sha256_of(zoo.path(name)), sha256_of(zoo.path(name, trained=True))
    assert found == (entry.sha256, entry.trained_sha256), "run python exports/reference/measure.py on this network"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits-soft", "digits-hard", "digits-deep"])
def test_figures_of_the_digits_are_measured_again(name):
    source = importlib.util.spec_from_file_location("measure", REFERENCE / "measure.py")
    measure = importlib.util.module_from_spec(source)
    source.loader.exec_module(measure)
    entry = zoo.entry(name)
    figures = measure.measured(REFERENCE / entry.file, REFERENCE / entry.trained_file, load_data("digits"))
    energy = figures.pop("energy")
    assert energy == pytest.approx(entry.energy, rel=1e-3)
    assert figures == {key: getattr(entry, key) for key in figures}


@pytest.mark.slow
def test_all_networks_load_and_so_do_the_trained_ones():
    import torch

    for entry in zoo.entries():
        network, model = zoo.load(entry.name), zoo.load_trained(entry.name)
        assert (network.balanced_steps, network.wait) == (entry.steps, entry.wait)
        outputs = model(torch.zeros(1, *network.input.shape))
        assert outputs.shape == (1, *network.output.shape)


def test_the_list_has_a_line_for_each_network(call):
    code, output, _ = call()
    assert code == 0
    lines = [line for line in output.splitlines() if any(f" {name} " in line for name in NAMES)]
    assert len(lines) == len(NAMES) >= 6
    assert "98.22 %" in next(line for line in lines if "digits-deep" in line)
    found = json.loads(call("--json", "-")[1])
    assert [each["name"] for each in found["networks"]] == NAMES


def test_a_network_is_shown_and_written(call, tmp_path):
    code, output, _ = call("digits-deep")
    assert code == 0
    for part in ("98.22 %", "T = 16", "oheo_gulch", "estimated, not measured", "make_digits_deep.py"):
        assert part in output
    assert call("digits-deep", "--output", tmp_path / "deep.net")[0] == 0
    assert rmp_lava.load(tmp_path / "deep.net") == zoo.load("digits-deep")


@pytest.mark.slow
def test_trained_weights_convert_again(call, tmp_path):
    path = tmp_path / "trained.net"
    assert call("fashion-lenet", "--trained", "--output", path)[0] == 0
    model = rmp_lava.load_trained(str(path)).model
    images = np.random.default_rng(0).random((4, 1, 28, 28), dtype=np.float32)
    assert rmp_lava.convert(model, images, steps=2, wait=2).integer.input.shape == (1, 28, 28)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], f"network 'nobody' is not in the zoo; choose one of {', '.join(NAMES)}"),
        (["--output", "a.net"], "--output and --trained need a network; pass its name"),
        (["digits-deep", "--trained"], "--trained chooses the file to write; pass --output too"),
        (["--data-dir", "."], "--data-dir is the folder for --download; pass --download DATA too"),
        (["digits-deep", "--download", "cifar10"], "--download fetches a data set and nothing else"),
        (
            ["--download", "digits", "--data-dir", "."],
            "data set 'digits' cannot be fetched; choose one of fashion-mnist",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(call, arguments, message):
    code, _, error = call(*arguments)
    assert code == 2 and message in error and error.count("\n") == 1


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installation whose package holds the catalogue and no network."""
    shutil.copy(REFERENCE / "zoo.json", tmp_path)
    monkeypatch.setattr(catalogue, "_folders", lambda: (tmp_path,))
    catalogue.entries.cache_clear()
    yield
    catalogue.entries.cache_clear()


def test_a_file_that_is_not_installed_is_named_with_its_place(installed, call):
    with pytest.raises(
        NetFileError, match="digits-deep.net is not part of this installation; take it from .*exports/ref"
    ):
        zoo.load("digits-deep")
    assert "exports/reference/digits-deep.net of the source" in call("digits-deep")[1].replace("\n", "")
