"""Spikes and potentials stored before the redesign (commit d6f2530): the same files give the same ones for ever.

A difference here is a change of the neuron, the time convention, an encoding or the reading of files. Whoever means it
changes the format version as well, and notes it in the changelog; the hashes are not to be renewed otherwise.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from fingerprints import STORED, fingerprint

from rmp_lava.backends import Reference
from rmp_lava.netx import load

FOLDER = Path(__file__).resolve().parents[2] / "exports" / "reference"
COMMITTED = sorted(path.stem for path in FOLDER.glob("*.net"))


def test_every_committed_file_has_stored_spikes():
    assert COMMITTED and set(COMMITTED) == set(STORED["committed"])


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_files_give_the_stored_spikes(name):
    assert fingerprint(load(FOLDER / f"{name}.net")) == STORED["committed"][name]


@pytest.mark.parametrize("name", [name for name in COMMITTED if name.startswith("digits")])
def test_the_reference_gives_the_stored_spikes(name):
    network = load(FOLDER / f"{name}.net")
    assert fingerprint(network, "reference") == STORED["committed"][name]
    assert fingerprint(network, Reference("stock")) == STORED["stock"][name]


@pytest.mark.lava
@pytest.mark.parametrize("file", STORED["lava-dl"])
def test_files_of_lava_dl_give_the_stored_spikes(file):
    """PilotNet, trained by others, and two small networks: LIF neurons of lava-dl's, with messages to input neurons."""
    site_packages = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
    path = site_packages / "tests" / "lava" / "lib" / "dl" / "netx" / file
    assert path.is_file(), "the pinned lava-dl ships these files"
    assert fingerprint(load(path), steps=16, count=1) == STORED["lava-dl"][file]
