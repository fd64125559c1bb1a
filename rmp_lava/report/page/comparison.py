"""The page on two networks: what each reaches on the same images, what it costs, and where they differ."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import plot
from ...backends import run
from ...encoding import shaped
from ...errors import UsageError
from ...files import sha256_of
from ...hardware import Profile, load_profile
from ...network import Layer, SpikingNetwork
from ...results import Run
from ...tables import table
from ...words import count, digits, label, percent, plural, quantity, shape
from ..costs import Costs, measured_costs
from ..hardware import cores_taken
from ..tables import curve_table
from .data import accuracy_data
from .measure import classifies
from .page import Page
from .parts import Data, Fact, Section, Sheet, picture

_SPIKE_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class _Compared:
    """Two networks on the same images, with names that differ; `labels` where both tell the same classes apart."""

    names: tuple[str, str]
    costs: tuple[Costs, Costs]
    labels: np.ndarray | None
    same_classes: bool

    @property
    def networks(self) -> tuple[SpikingNetwork, SpikingNetwork]:
        first, second = self.costs
        return first.network, second.network

    @property
    def runs(self) -> tuple[Run, Run]:
        first, second = self.costs
        return first.run, second.run


def make_comparison(
    first: SpikingNetwork,
    second: SpikingNetwork,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    steps: tuple[int, int],
    names: tuple[str, str] | None = None,
    what: str = "",
    nets: Sequence[Path] = (),
    profile: str | Profile = "oheo_gulch",
    seed: int = 0,
    arguments: Sequence[str] = (),
) -> Page:
    """Run two networks on the same images and show side by side what they reach, what they cost, and where they differ.

    Parameters
    ----------
    first, second : SpikingNetwork
        Of inputs of the same shape.
    images : numpy.ndarray
        (samples, *input shape) in [0, 1].
    labels : numpy.ndarray or None
        (samples,), or any truth that `Run.score` takes.
    steps : tuple of int
        T of each.
    names : tuple of str, optional
        What the page calls them; their own names if omitted.
    what : str
        The images in words.
    nets : sequence of Path
        Their files, whose SHA-256 the page shows.
    profile : str or Profile
        Hardware profile of cores and energy.
    seed : int
        Of the Poisson encoding.
    arguments : sequence of str
        Of the command that makes the page.

    Raises
    ------
    UsageError, DataError, ProfileError
        If the networks take images of other shapes, or as running and mapping do.
    """
    if first.input.shape != second.input.shape:
        raise UsageError(
            f"the networks take inputs of shape {first.input.shape} and {second.input.shape}; only networks for the same images "
            "can be compared"
        )
    chosen = load_profile(profile)
    names = _told_apart(names or (first.name, second.name))
    what = what or plural(len(images), "image")
    costs = [
        measured_costs(network, images, labels, chosen, steps=its, seed=seed)
        for network, its in zip((first, second), steps, strict=True)
    ]
    scores = [None if labels is None else each.run.score(each.network, labels) for each in costs]
    same = first.output.shape == second.output.shape and all(
        classifies(each.network, score) for each, score in zip(costs, scores, strict=True)
    )
    compared = _Compared(names, (costs[0], costs[1]), labels if same else None, same)
    found_sections = (
        _side_by_side(compared),
        _accuracy(compared, what),
        _predictions(compared),
        _layers(compared),
        _spikes(compared, images, seed),
        _provenance(compared, nets, what, seed, shlex.join(arguments)),
    )
    kind = f"Comparison of two spiking networks, estimated on {chosen.name}"
    title = f"{label(names[0], 40)} and {label(names[1], 40)}"
    layers = tuple(dict.fromkeys(layer.name for network in (first, second) for layer in network))
    return Page(title, kind, what, tuple(_facts(compared)), found_sections, layers)


def _told_apart(names: tuple[str, str]) -> tuple[str, str]:
    return names if names[0] != names[1] else (f"{names[0]} (first)", f"{names[1]} (second)")


def _facts(compared: _Compared) -> list[Fact]:
    """The second network's figures in relation to the first one's."""
    first, second = (each.summary() for each in compared.costs)
    found = []
    if compared.labels is not None:
        one, other = (each.accuracy(compared.labels) for each in compared.runs)
        points = f"{100 * (other - one):+.1f} points".replace("-", "−")
        found.append(Fact("Accuracy", points, f"{percent(one)} and {percent(other)}"))
    for name, key, unit in (
        ("Spikes", "messages", ""),
        ("Synaptic operations", "synaptic_operations", ""),
        ("Latency", "latency_seconds", "s"),
        ("Energy", "dynamic_energy", "J"),
    ):
        shown = [quantity(each[key], unit).strip() for each in (first, second)]
        note = "; estimated" if unit else " per inference"
        found.append(Fact(name, _ratio(first[key], second[key]), f"{shown[0]} and {shown[1]}{note}"))
    return found


def _ratio(first: float | None, second: float | None) -> str:
    return "–" if not first or second is None else f"× {digits(second / first)}"


def _side_by_side(compared: _Compared) -> Section:
    one, other = compared.costs
    first, second = one.summary(), other.summary()
    figures: tuple[tuple[str, float | None, float | None, str], ...] = (
        ("T", first["steps"], second["steps"], ""),
        ("wait", one.network.wait, other.network.wait, ""),
        ("latency, steps", first["latency"], second["latency"], ""),
        ("layers", len(one.network.layers), len(other.network.layers), ""),
        ("neurons", one.network.neuron_count, other.network.neuron_count, ""),
        ("stored weights", one.network.parameter_count, other.network.parameter_count, ""),
        ("messages", first["messages"], second["messages"], ""),
        ("synaptic operations", first["synaptic_operations"], second["synaptic_operations"], ""),
        ("dynamic energy", first["dynamic_energy"], second["dynamic_energy"], "J"),
        ("latency", first["latency_seconds"], second["latency_seconds"], "s"),
    )
    rows: list[tuple[str, ...]] = [("neurons are", first["neurons"], second["neurons"], "")]
    if one.truth is not None and other.truth is not None:
        scores = (each.run.score(each.network, truth) for each, truth in ((one, one.truth), (other, other.truth)))
        rows.insert(0, ("reached", *map(str, scores), ""))
    for name, a, b, unit in figures:
        written = [quantity(each, unit) if unit else count(each) for each in (a, b)]
        rows.append((name, *written, _ratio(a, b)))
    mappings = [each.estimate.mapping for each in (one, other)]
    rows.insert(-2, ("cores", *map(cores_taken, mappings), _ratio(mappings[0].cores, mappings[1].cores)))
    sheet = Sheet(
        "Per inference, on the same images. Cores, energy and latency in seconds are estimated; the last column is the second "
        "network’s figure over the first one’s.",
        table("", ("", *compared.names, "ratio"), rows),
    )
    return Section("side", "Side by side", sheets=(sheet,))


def _accuracy(compared: _Compared, what: str) -> Section:
    title = "Accuracy against T"
    if compared.labels is None:
        missing = "Accuracy at each step needs labels of images, and networks that tell the same classes apart."
        return Section("accuracy", title, missing=missing)
    labels, runs = compared.labels, dict(zip(compared.names, compared.runs, strict=True))
    rows = [(name, *row) for name, each in runs.items() for row in accuracy_data(each, labels).rows]
    caption = (
        f"Share of samples that are classified correctly when the read-out is taken after T steps ({what}), with the 95 % "
        f"interval (Wilson) of {plural(len(labels), 'sample')}."
    )
    drawn = picture(
        "accuracy",
        title,
        caption,
        lambda width: plot.accuracy(runs, labels, width=width),
        Data(("network", "T", "accuracy", "low", "high"), rows),
    )
    curves = {name: each.accuracy_at(labels) for name, each in runs.items()}
    return Section("accuracy", title, (), (drawn,), (Sheet("Accuracy after T steps.", curve_table(curves)),))


def _predictions(compared: _Compared) -> Section:
    title = "Predictions"
    if not compared.same_classes:
        return Section("predictions", title, missing="The networks do not tell the same classes of images apart.")
    one, other = (each.predictions for each in compared.runs)
    differ = int((one != other).sum())
    text = f"Of {plural(len(one), 'sample')}, {differ:,} are predicted differently."
    if compared.labels is None:
        return Section("predictions", title, (text,))
    right, also = one == compared.labels, other == compared.labels
    only_first, only_second = int((right & ~also).sum()), int((~right & also).sum())
    first, second = compared.names
    cells = (
        ("both are right", int((right & also).sum())),
        (f"only {first} is right", only_first),
        (f"only {second} is right", only_second),
        ("neither is right", int((~right & ~also).sum())),
    )
    rows = [(name, f"{number:,}", percent(number / len(one))) for name, number in cells]
    text += f" {_mcnemar(only_first, only_second)}"
    return Section(
        "predictions",
        title,
        (text,),
        (),
        (Sheet("Samples by the networks that are right.", table("", ("", "samples", "share"), rows)),),
    )


def _mcnemar(first: int, second: int) -> str:
    """Whether two networks that are right alone so often differ beyond chance: the exact test of McNemar (1947), two-sided."""
    number, fewer = first + second, min(first, second)
    if number == 0:
        return "They are right on the same samples."
    tail = sum(math.comb(number, i) for i in range(fewer + 1))
    probability = min(1.0, 2 * tail / 2**number)
    verdict = "more than chance explains" if probability < 0.05 else "which may be chance"
    differ = plural(abs(first - second), "sample")
    return f"Their accuracies differ by {differ}, {verdict} (McNemar’s exact test, p = {probability:.2g})."


def _layers(compared: _Compared) -> Section:
    first, second = ({layer.name: layer for layer in network} for network in compared.networks)
    rows = []
    for name in dict.fromkeys((*first, *second)):
        one, other = first.get(name), second.get(name)
        shapes = ["–" if each is None else shape(each.shape) for each in (one, other)]
        thresholds = ["–" if each is None else _threshold(each) for each in (one, other)]
        rows.append((name, *shapes, *thresholds, *_weights(one, other)))
    columns = ("layer", *(f"{what}, {name}" for what in ("shape", "threshold") for name in compared.names))
    shown = table("", (*columns, "weights differ", "at most by"), rows)
    same = all(row[-2] == "0" and row[1] == row[2] and row[3] == row[4] for row in rows)
    text = ("Shapes, thresholds and weights of all layers are the same.",) if same else ()
    caption = "Layers by their names. Thresholds and differences of weights in weight units, with their exponents."
    return Section("layers", "Layers", text, (), (Sheet(caption, shown, [row[0] for row in rows]),))


def _threshold(layer: Layer) -> str:
    neurons = layer.neurons
    if neurons.reset == "none":
        return "–"
    low, high = np.min(neurons.threshold), np.max(neurons.threshold)
    return f"{low:,g}" if low == high else f"{low:,g} .. {high:,g}"


def _weights(one: Layer | None, other: Layer | None) -> tuple[str, str]:
    """How many weights differ, and by how much; dashes for layers that are not alike."""
    if one is None or other is None or len(one.synapses) != len(other.synapses):
        return "–", "–"
    number, largest = 0, 0.0
    for first, second in zip(one.synapses, other.synapses, strict=True):
        if (
            first.source != second.source
            or first.weight.shape != second.weight.shape
            or type(first) is not type(second)
        ):
            return "–", "–"
        scaled = [each.weight.astype(np.float64) * 2.0**each.exponent for each in (first, second)]
        difference = np.abs(scaled[0] - scaled[1])
        number += int(np.count_nonzero(difference))
        largest = max(largest, float(difference.max(initial=0.0)))
    return f"{number:,}", digits(largest)


def _spikes(compared: _Compared, images: np.ndarray, seed: int) -> Section:
    """Spikes and operations of layers of the same name; where shapes are alike, how many spikes differ on the first samples."""
    one, other = compared.networks
    both = [layer.name for layer in one if layer.name in {each.name for each in other}]
    steps = min(each.schedule.steps for each in compared.runs)
    per_sample = max(network.neuron_count + 4 * math.prod(network.input.shape) for network in (one, other))
    longest = max(each.schedule.steps for each in compared.runs)
    samples = int(np.clip(_SPIKE_BYTES // (per_sample * longest), 1, min(64, len(images))))
    found = [
        run(
            network,
            shaped(np.asarray(images)[:samples], network.input),
            result.schedule.steps,
            seed=seed,
            record={"spikes"},
        ).spikes
        for network, result in zip((one, other), compared.runs, strict=True)
    ]
    rows = []
    for name in both:
        sums = [f"{count(each.spike_counts[name] / each.samples)}" for each in compared.runs]
        operations = [count(each.operations_per_sample[name]) for each in compared.runs]
        rows.append((name, *sums, *operations, *_differences(found[0][name], found[1][name], steps)))
    columns = ("layer", *(f"{what}, {name}" for what in ("spikes", "operations") for name in compared.names))
    caption = (
        f"Layers of the same name, per inference. Spikes that one network sends and the other does not, in the first "
        f"{plural(steps, 'step')} of the first {plural(samples, 'sample')}, their share of all spikes of both, and the first "
        "step with one."
    )
    title = "Spikes that differ"
    if not both:
        return Section("spikes", title, missing="No layer of one network has the name of one of the other.")
    shown = table("", (*columns, "differ", "share", "first step"), rows)
    text = ("All of these spikes are the same.",) if all(row[-3] == "0" for row in rows) else ()
    return Section("spikes", title, text, (), (Sheet(caption, shown, both),))


def _differences(one: np.ndarray, other: np.ndarray, steps: int) -> tuple[str, str, str]:
    if one.shape[2:] != other.shape[2:]:
        return "–", "–", "–"
    one, other = one[:, :steps], other[:, :steps]
    different = one != other
    number, every = int(np.count_nonzero(different)), int(np.count_nonzero(one) + np.count_nonzero(other))
    if not number:
        return "0", percent(0.0), "–"
    first = int(np.flatnonzero(different.any(axis=(0, *range(2, different.ndim))))[0]) + 1
    return f"{number:,}", percent(number / max(1, every)), f"{first:,}"


def _provenance(compared: _Compared, nets: Sequence[Path], what: str, seed: int, command: str) -> Section:
    files = [(f"SHA-256 of {net.name}", sha256_of(net)) for net in nets]
    rows = [
        ("command", command or "none; from Python"),
        *files,
        ("images", what),
        ("seed", str(seed)),
        ("backend", f"{compared.runs[0].backend}: {compared.runs[0].execution}"),
        ("hardware", "never run on hardware: spikes are simulated, cores and energy estimated"),
    ]
    return Section("provenance", "Provenance", sheets=(Sheet("This page.", table("", ("", ""), rows, text_columns=2)),))
