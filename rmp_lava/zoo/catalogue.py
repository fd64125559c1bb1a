"""The catalogue `zoo.json`, and the files that it names. Importing this imports neither PyTorch nor HDF5."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NetFileError, UsageError
from ..tables import Table, Tabular, table
from ..words import percent, quantity

if TYPE_CHECKING:
    from torch import nn

    from ..network import SpikingNetwork

CATALOGUE = "zoo.json"


@dataclass(frozen=True, repr=False)
class Entry(Tabular):
    """One network of the zoo.

    Parameters
    ----------
    name : str
    about : str
        What the network is, in a sentence.
    file, trained_file : str
        `.net` files: the spiking network in Loihi's integers, and the trained network, whose weights are float32, or integers of
        8 bits where only those are left (`exact_weights`).
    commands : tuple of str
        That made both, in a checkout.
    dataset, data : str
        Name of the data set as `rmp_lava.training.data.load` takes it, and which images it had.
    images : int
        Test images of the accuracies.
    accuracy, trained_accuracy : float
        Of the spiking network after `steps` time steps, and of the trained network, on the same images, 0 to 1.
    steps, wait, latency : int
        T, steps of integration before a spike, and steps from the first input to the prediction.
    neurons, weights : int
    board, cores : str, int
        Neuro-cores on that board, by `rmp_lava.map_network`; `fits` says whether it has as many.
    energy : (float, float, float)
        Dynamic energy of an inference in J, estimated (`rmp_lava.estimate`): at least, expected, at most.
    sha256, trained_sha256 : str
        Of the files that were measured.
    """

    name: str
    about: str
    file: str
    trained_file: str
    exact_weights: bool
    commands: tuple[str, ...]
    dataset: str
    data: str
    images: int
    accuracy: float
    trained_accuracy: float
    steps: int
    wait: int
    latency: int
    neurons: int
    weights: int
    board: str
    cores: int
    fits: bool
    energy: tuple[float, float, float]
    sha256: str
    trained_sha256: str

    def table(self) -> Table:
        """All of it, one line each."""
        low, expected, high = (quantity(each, "J") for each in self.energy)
        kind = "float32" if self.exact_weights else "8-bit integers, from which a float network is restored"
        rows = [
            ("data", f"{self.dataset}: {self.data}"),
            ("trained network", f"{percent(self.trained_accuracy, 2)} of {self.images:,} test images"),
            ("spiking network", f"{percent(self.accuracy, 2)} of them, T = {self.steps}, wait = {self.wait}"),
            ("latency", f"{self.latency} time steps"),
            ("size", f"{self.neurons:,} neurons, {self.weights:,} weights of 8 bits"),
            ("cores", f"{self.cores} of {self.board}{'' if self.fits else ', which has fewer'}"),
            ("dynamic energy", f"{expected} for each image ({low} .. {high}), estimated, not measured"),
            ("file", _whereabouts(self.file)),
            ("trained weights", f"{_whereabouts(self.trained_file)}; {kind}"),
            *(("made by" if number == 0 else "", command) for number, command in enumerate(self.commands)),
        ]
        return table(f"{self.name}: {self.about}", ("", ""), rows, text_columns=2)


@cache
def entries() -> tuple[Entry, ...]:
    """All networks of the zoo, in the order of the catalogue."""
    content = json.loads(_folder(CATALOGUE).joinpath(CATALOGUE).read_text(encoding="utf-8"))
    return tuple(_entry(name, **written) for name, written in content["networks"].items())


def _entry(name: str, commands: Sequence[str], measured: dict[str, Any], **written: Any) -> Entry:
    figures = measured | {"energy": tuple(measured["energy"])}
    return Entry(name, file=f"{name}.net", commands=tuple(commands), **written, **figures)


def entry(name: str) -> Entry:
    """The network of that name; raises `UsageError` if there is none."""
    known = {each.name: each for each in entries()}
    if name not in known:
        raise UsageError(f"network {name!r} is not in the zoo; choose one of {', '.join(known)}")
    return known[name]


def load(name: str) -> SpikingNetwork:
    """The spiking network of that name, in Loihi's integers.

    Raises
    ------
    UsageError
        If the zoo has no such network.
    NetFileError
        If its file is not part of the installation.
    """
    from .. import netx

    return netx.load(path(name))


def load_trained(name: str) -> nn.Module:
    """The trained network, from images (N, C, H, W) float32 in [0, 1] to outputs (N, classes), in evaluation mode.

    Batch normalisation is folded into the weights. Raises as `load` does.
    """
    from torch import nn

    from ..sources.models import load_trained as load_model

    model = load_model(str(path(name, trained=True))).model
    assert isinstance(model, nn.Module)  # as all that comes from a `.net`
    return model.eval()


def path(name: str, *, trained: bool = False) -> Path:
    """Where the `.net` file of a network, or of its trained weights, lies; raises as `load` does."""
    found = entry(name)
    file = found.trained_file if trained else found.file
    return _folder(file) / file


def zoo_table() -> Table:
    """The zoo, a line for each network."""
    rows = [
        (
            each.name,
            each.dataset,
            percent(each.trained_accuracy, 2),
            percent(each.accuracy, 2),
            f"{each.images:,}",
            each.steps,
            each.wait,
            each.cores,
            quantity(each.energy[1], "J"),
        )
        for each in entries()
    ]
    columns = ("network", "data set", "trained", "spiking", "images", "T", "wait", "cores", "energy")
    title = "Networks that come with rmp-lava; never run on hardware"
    return table(title, columns, rows, text_columns=2, spare=("images", "wait"))


def _folders() -> tuple[Path, Path]:
    """The files are part of an installed package; in a checkout they are among the exports."""
    here = Path(__file__).resolve().parent
    return here, here.parents[1] / "exports" / "reference"


def _folder(file: str) -> Path:
    for folder in _folders():
        if (folder / file).is_file():
            return folder
    raise NetFileError(
        f"{file} is not part of this installation; take it from the folder exports/reference of the source "
        "distribution (rmp_lava-VERSION.tar.gz) or of a checkout"
    )


def _whereabouts(file: str) -> str:
    try:
        return str(_folder(file) / file)
    except NetFileError:
        return f"exports/reference/{file} of the source distribution; not part of this installation"
