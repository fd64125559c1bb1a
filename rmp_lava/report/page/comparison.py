"""The page's sections on other networks: what each reaches and costs on the same images, and where it differs from the first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ... import plot
from ...backends import run
from ...encoding import shaped
from ...network import Layer
from ...tables import table
from ...words import count, digits, percent, plural, shape
from ..costs import Costs, side_by_side, told_apart
from ..tables import curve_table
from .data import accuracy_data
from .measure import classifies
from .parts import Data, Picture, Section, Sheet, picture

_SPIKE_BYTES = 2**28


def comparison_sections(networks: Sequence[Costs], images: np.ndarray, what: str, seed: int) -> Iterator[Section]:
    """All networks side by side, and for each but the first where it differs from the first one.

    `images`, in words `what`, are those that they ran on.
    """
    names = told_apart(each.network.name for each in networks)
    caption = (
        "Per inference, on the same images, each network for its own T. Cores, energy and latency in seconds are estimated; a "
        f"ratio is a network’s figure over the one of {names[0]}."
    )
    sheets, pictures = [Sheet(caption, side_by_side(networks))], []
    classifying = {name: each for name, each in zip(names, networks, strict=True) if _classifies(each)}
    if networks[0].truth is not None and len(classifying) > 1:
        curves = {name: each.run.accuracy_at(networks[0].truth) for name, each in classifying.items()}
        sheets.append(Sheet("Accuracy after T steps.", curve_table(curves)))
        pictures.append(_accuracy(classifying, networks[0].truth, what))
    yield Section("side", "Side by side", (), tuple(pictures), tuple(sheets))
    own = networks[0]
    for number, (name, other) in enumerate(zip(names[1:], networks[1:], strict=True), 1):
        both = (names[0], name)
        found = (_predictions(both, own, other), _layers(both, own, other), _spikes(both, own, other, images, seed))
        texts, sheets = tuple(text for text, _ in found if text), [sheet for _, sheet in found if sheet is not None]
        yield Section(f"differences-{number}", f"{name} against {names[0]}", texts, (), tuple(sheets))


def _classifies(each: Costs) -> bool:
    return classifies(each.network, each.score)


def _accuracy(networks: dict[str, Costs], labels: np.ndarray, what: str) -> Picture:
    runs = {name: each.run for name, each in networks.items()}
    rows = [(name, *row) for name, each in runs.items() for row in accuracy_data(each, labels).rows]
    caption = (
        f"Share of samples that are classified correctly when the read-out is taken after T steps ({what}), with the 95 % "
        f"interval (Wilson) of {plural(len(labels), 'sample')}."
    )
    return picture(
        "side-accuracy",
        "Accuracy against T",
        caption,
        lambda width: plot.accuracy(runs, labels, width=width),
        Data(("network", "T", "accuracy", "low", "high"), rows),
    )


def _predictions(names: tuple[str, str], first: Costs, second: Costs) -> tuple[str, Sheet | None]:
    if first.network.output.shape != second.network.output.shape or not (_classifies(first) and _classifies(second)):
        return "The networks do not tell the same classes of images apart.", None
    one, other = first.run.predictions, second.run.predictions
    text = f"Of {plural(len(one), 'sample')}, {int((one != other).sum()):,} are predicted differently."
    if first.truth is None:
        return text, None
    right, also = one == first.truth, other == first.truth
    only_first, only_second = int((right & ~also).sum()), int((~right & also).sum())
    cells = (
        ("both are right", int((right & also).sum())),
        (f"only {names[0]} is right", only_first),
        (f"only {names[1]} is right", only_second),
        ("neither is right", int((~right & ~also).sum())),
    )
    rows = [(name, f"{number:,}", percent(number / len(one))) for name, number in cells]
    shown = table("", ("", "samples", "share"), rows)
    return f"{text} {mcnemar(only_first, only_second)}", Sheet("Samples by the networks that are right.", shown)


def mcnemar(first: int, second: int) -> str:
    """Whether two networks that are right alone so often differ beyond chance: the exact test of McNemar (1947), two-sided."""
    number, fewer = first + second, min(first, second)
    if number == 0:
        return "They are right on the same samples."
    tail = sum(math.comb(number, i) for i in range(fewer + 1))
    probability = min(1.0, 2 * tail / 2**number)
    verdict = "more than chance explains" if probability < 0.05 else "which may be chance"
    differ = plural(abs(first - second), "sample")
    return f"Their accuracies differ by {differ}, {verdict} (McNemar’s exact test, p = {probability:.2g})."


def _layers(names: tuple[str, str], first: Costs, second: Costs) -> tuple[str, Sheet]:
    layers = [{layer.name: layer for layer in each.network} for each in (first, second)]
    rows = []
    for name in dict.fromkeys((*layers[0], *layers[1])):
        both = [each.get(name) for each in layers]
        shapes = ["–" if each is None else shape(each.shape) for each in both]
        thresholds = ["–" if each is None else _threshold(each) for each in both]
        rows.append((name, *shapes, *thresholds, *_weights(*both)))
    columns = ("layer", *(f"{what}, {name}" for what in ("shape", "threshold") for name in names))
    shown = table("", (*columns, "weights differ", "at most by"), rows)
    same = all(row[-2] == "0" and row[1] == row[2] and row[3] == row[4] for row in rows)
    text = "Shapes, thresholds and weights of all layers are the same." if same else ""
    caption = "Layers by their names. Thresholds and differences of weights in weight units, with their exponents."
    return text, Sheet(caption, shown, [row[0] for row in rows])


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
        alike = first.source == second.source and first.weight.shape == second.weight.shape
        if not alike or type(first) is not type(second):
            return "–", "–"
        scaled = [each.weight.astype(np.float64) * 2.0**each.exponent for each in (first, second)]
        difference = np.abs(scaled[0] - scaled[1])
        number += int(np.count_nonzero(difference))
        largest = max(largest, float(difference.max(initial=0.0)))
    return f"{number:,}", digits(largest)


def _spikes(
    names: tuple[str, str], first: Costs, second: Costs, images: np.ndarray, seed: int
) -> tuple[str, Sheet | None]:
    """Spikes and operations of layers of the same name; where shapes are alike, how many spikes differ on the first samples."""
    pair = (first, second)
    own, other = ([layer.name for layer in each.network] for each in pair)
    shared = [name for name in own if name in other]
    if not shared:
        return "No layer of one network has the name of one of the other.", None
    windows = [each.run.schedule.steps for each in pair]
    per_sample = max(each.network.neuron_count + 4 * math.prod(each.network.input.shape) for each in pair)
    samples = int(np.clip(_SPIKE_BYTES // (per_sample * max(windows)), 1, min(64, len(images))))
    found = [
        run(each.network, shaped(images[:samples], each.network.input), steps, seed=seed, record={"spikes"}).spikes
        for each, steps in zip(pair, windows, strict=True)
    ]
    steps, rows = min(windows), []
    for name in shared:
        sums = [count(each.run.spike_counts[name] / each.run.samples) for each in pair]
        operations = [count(each.run.operations_per_sample[name]) for each in pair]
        rows.append((name, *sums, *operations, *_differences(found[0][name], found[1][name], steps)))
    columns = ("layer", *(f"{what}, {name}" for what in ("spikes", "operations") for name in names))
    caption = (
        f"Layers of the same name, per inference. Spikes that one network sends and the other does not, in the first "
        f"{plural(steps, 'step')} of the first {plural(samples, 'sample')}, their share of all spikes of both, and the first "
        "step with one."
    )
    text = "All of these spikes are the same." if all(row[-3] == "0" for row in rows) else ""
    return text, Sheet(caption, table("", (*columns, "differ", "share", "first step"), rows), shared)


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
