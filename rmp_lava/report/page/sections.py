"""The page's sections on the whole network."""

from __future__ import annotations

import numpy as np

from ... import plot
from ...conversion.points import Point, points_table
from ...plot.spikes import neurons_shown, prediction_of
from ...scores import Score
from ...words import count, digits, percent, plural, wilson
from ..provenance import kept_frontier, kept_stages
from ..tables import stage_table
from .data import accuracy_data, frontier_data, network_data, raster_data
from .measure import Measured
from .parts import Fact, Section, Sheet, picture

_LARGEST = 1e15
_READOUTS = {"count": "spike count", "potential": "membrane potential", "total": "integrated input"}


def facts(measured: Measured) -> list[Fact]:
    """The figures of the headline that a run gives."""
    result, network = measured.result, measured.network
    found = []
    if measured.score is not None and measured.labels is None:
        found.append(_reached(measured.score, measured.rates.trained))
    if measured.labels is not None:
        accuracy = result.accuracy(measured.labels)
        low, high = wilson(accuracy, result.samples)
        right = round(accuracy * result.samples)
        interval = f"{right:,} of {result.samples:,}; 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
        found.append(Fact("Accuracy", percent(accuracy), interval))
    found.append(Fact("T", plural(measured.steps, "time step"), f"prediction ready after {result.schedule.latency:,}"))
    spikes = sum(result.spike_counts[layer.name] for layer in network) / result.samples
    found.append(Fact("Spikes", count(spikes), f"per inference; {digits(spikes / network.neuron_count)} per neuron"))
    operations = sum(result.operations_per_sample.values())
    found.append(Fact("Synaptic operations", count(operations), "per inference"))
    return found


def _reached(score: Score, trained: Score | None) -> Fact:
    """What a network reaches that does not tell the classes of images by several outputs."""
    figures, _, rest = str(score).partition(", ")
    note = rest if trained is None else f"{rest}{'; ' if rest else ''}the trained network: {trained}"
    return Fact(score.title, figures, note)


def network_section(measured: Measured) -> Section:
    """Layers, shapes and connections."""
    network = measured.network
    kinds = sorted({layer.neurons.kind for layer in network.layers})
    numbers = "Loihi’s integers" if network.is_integer else "real numbers"
    skips = sum(len(layer.synapses) - 1 for layer in network)
    text = (
        f"{plural(len(network.layers), 'layer')} with {plural(network.neuron_count, 'neuron')} and "
        f"{plural(network.parameter_count, 'stored weight')}, in {numbers}. Neurons: {', '.join(kinds)}. "
        f"The read-out is the {_READOUTS[network.readout]} of the last layer; "
        f"it is {plural(network.depths[network.output.name], 'synapse')} after the input."
    )
    caption = "Layers from the input, at the top, to the read-out; each line is one set of synapses"
    caption += f", and arcs are the {skips} that reach a layer in addition to its first one." if skips else "."
    if not skips and not network.is_chain:
        caption = "Layers from the input, at the top, to the read-out; lines and arcs are synapses."
    drawn = picture(
        "network", "Network", caption, lambda width: plot.network(network, width=width), network_data(network)
    )
    return Section("network", "Network", (text,), (drawn,))


def stage_section(measured: Measured) -> Section:
    """Accuracy of each form of the network, as the file records it."""
    stages, title = kept_stages(measured.network.provenance), "Stages of the conversion"
    if not stages:
        return Section(
            "stages",
            title,
            missing="The file does not record what each stage of its conversion reaches; convert it with this version.",
        )
    what = stages[0].score.title
    caption = f"{what} of each form of the network on the same validation images, measured when it was converted."
    sheets, drawn = [Sheet(caption, stage_table(stages, None))], []
    if points := kept_frontier(measured.network.provenance):
        caption = (
            "Conversions of the same network for other numbers of time steps T and waits; each that no other one beats "
        )
        caption += "in everything is on the frontier."
        sheets.append(Sheet(caption, points_table(points)))
        if all(map(_can_be_drawn, points)):
            caption = (
                "What these conversions reach against their latency. The number at a mark is T; filled marks are those that no "
                "other one beats in both, and the line joins them."
            )
            drawn.append(
                picture(
                    "frontier",
                    "Conversions for other T and waits",
                    caption,
                    lambda width: plot.frontier(points, "latency", width=width),
                    frontier_data(points),
                )
            )
    return Section("stages", title, (), tuple(drawn), tuple(sheets))


def _can_be_drawn(point: Point) -> bool:
    """Whether the figures of a file, which may be any numbers, are such that a conversion reaches."""
    values = (*point.score.figures.values(), point.latency, point.synaptic_operations, point.spikes)
    return all(abs(value) < _LARGEST for value in values) and point.latency >= 0


def accuracy_section(measured: Measured) -> Section:
    """Accuracy after fewer steps."""
    result = measured.result
    title = "Accuracy against T"
    if not measured.classifies:
        return Section(
            "accuracy", title, missing="Only predictions of the class of an image are recorded at every step."
        )
    if measured.labels is None:
        text = (
            "The images have no labels; pass --labels for the accuracy. The figure shows how many predictions equal those after "
            "the last step."
        )
        caption = f"Share of samples whose prediction after T steps is that after {plural(measured.steps, 'step')}"
    else:
        text = _one_sided(measured, measured.labels)
        caption = "Share of samples that are classified correctly when the read-out is taken after T steps"
    trained = None if measured.rates.trained is None else measured.rates.trained.accuracy
    caption += f" ({measured.what}), with the 95 % interval (Wilson) of {plural(result.samples, 'sample')}."
    if trained is not None:
        caption += f" The dashed line is the trained network on the same images, {percent(trained)}."
    labels = measured.labels
    drawn = picture(
        "accuracy",
        title,
        caption,
        lambda width: plot.accuracy(result, labels, trained=trained, width=width),
        accuracy_data(result, labels),
    )
    return Section("accuracy", title, (text,) if text else (), (drawn,))


def _one_sided(measured: Measured, labels: np.ndarray) -> str:
    """A sentence if the images belong to few of the classes, as the first ones of a sorted data set do."""
    found, outputs = len(np.unique(labels)), measured.network.output.size
    if found >= min(outputs, measured.result.samples):
        return ""
    return (
        f"These images are of {found} of {plural(outputs, 'class', 'classes')}, so their accuracy is not representative; use "
        "more samples."
    )


def raster_section(measured: Measured) -> Section:
    """Spikes of a few samples, of different classes where there are labels."""
    raster, network = measured.raster, measured.network
    titles = [
        prediction_of(network, measured.result, i, measured.labels) if measured.classifies else ""
        for i in raster.samples
    ]
    shown_raster = picture(
        "raster",
        "Spikes",
        _raster_caption(measured),
        lambda width: plot.raster(
            network, raster.result, samples=raster.samples, images=raster.images, titles=titles, width=width
        ),
        raster_data(network, raster),
    )
    return Section("raster", "Spikes", pictures=(shown_raster,))


def _raster_caption(measured: Measured) -> str:
    """Which samples and neurons are shown, what a mark is, and what is left out."""
    raster, network = measured.raster, measured.network
    chosen = raster.samples
    shown = neurons_shown(network, {name: found[list(chosen)] for name, found in raster.result.spikes.items()})
    most = max((len(which) for which in shown.values()), default=0)
    drawn = raster.result.schedule.steps
    stretch = "" if drawn == measured.steps else f" Of T = {measured.steps} steps the first {drawn} are shown."
    left_out = ""
    if network.input.encoding == "current" and not network.is_sigma_delta:
        left_out += " The input sends each pixel as the same number in every step and is not shown."
    if network.output.neurons.reset == "none":
        left_out += " The read-out integrates without spiking."
    above = ""
    if measured.classifies:
        above = " Above each column is the prediction after T steps"
        above += "; “not” names the label where it differs." if measured.labels is not None else "."
    numbers = ", ".join(str(i + 1) for i in chosen)
    which = f"samples {numbers}" if len(chosen) > 1 else f"sample {numbers}"
    of = ", the first ones of different classes" if measured.labels is not None and len(chosen) > 1 else ""
    return (
        f"Spikes of {which}{of}, of up to {most} neurons of each layer, evenly spread over it. "
        f"A mark is one {'message' if network.is_sigma_delta else 'spike'}.{above}{stretch}{left_out}"
    )
