"""Tables of networks, runs, conversions and findings, for the terminal and the report; and the console that prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from rich.console import Console

from ..conversion.layer_fidelity import LayerFidelity, begins_at
from ..conversion.stages import Cost, Stage
from ..network import Conv, Layer, SpikingNetwork, Synapse
from ..network.values import extent
from ..registers import MAX_STATE, to_weight_units
from ..results import Run
from ..tables import Table, table
from ..words import count, digits, is_number, percent, shape


def console(*, stderr: bool = False) -> Console:
    """The console for all output; 140 columns wide when the output is not a terminal."""
    result = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not result.is_terminal:
        result = Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=140)
    return result


def network_table(network: SpikingNetwork) -> Table:
    """Layers with their shapes, synapses, weights and neurons."""
    rows = []
    for layer in network:
        neurons = layer.neurons
        decays = f"CUBA, decays {extent(neurons.current_decay)}/{extent(neurons.voltage_decay)}"
        first = layer.synapses[0]
        synapses = f"conv {shape(first.weight.shape[2:])}" if isinstance(first, Conv) else "dense"
        weights = sum(s.weight.size for s in layer.synapses)
        low, high = _weight_range(layer)
        rows.append(
            (
                layer.name,
                f"{synapses} from {', '.join(map(_source, layer.synapses))}",
                decays if neurons.is_leaky else neurons.kind,
                shape(layer.shape),
                f"{weights:,}",
                f"{low:g} … {high:g}",
                "–" if neurons.reset == "none" else extent(neurons.threshold),
                f"{neurons.v_init:g}",
                percent(_weight_error(layer)[0], 2),
            )
        )
    columns = ("layer", "synapses", "neurons", "shape", "weights", "range", "threshold", "v_init", "rounding")
    spare = ("range", "v_init", "weights", "neurons")
    return table(f"Network {network.name!r}", columns, rows, text_columns=3, spare=spare)


def quantisation_table(network: SpikingNetwork, run: Run) -> Table:
    """What rounding to integers changed, and how much of the registers a run used."""
    rows = []
    for layer in network:
        neurons, reached = layer.neurons, run.potential_ranges.get(layer.name)
        scale = layer.record.get("scale")
        low, high = _weight_range(layer)
        rows.append(
            (
                layer.name,
                digits(float(scale)) if is_number(scale) else "–",
                f"{low} … {high}".replace("-", "−"),
                *(percent(each, 2) for each in _weight_error(layer)),
                "–" if neurons.reset == "none" else f"{int(np.max(neurons.threshold)):,}",
                f"{neurons.v_init:,}".replace("-", "−"),
                "–" if reached is None else percent(max(abs(n) for n in reached) / MAX_STATE),
                f"{run.saturations[layer.name]:,}" if layer.name in run.saturations else "not counted",
            )
        )
    columns = ("layer", "scale", "weights", "rounding error", "worst row", "rounded to 0", "threshold", "starts at")
    return table("Quantisation", (*columns, "register used", "saturations"), rows)


def _source(synapse: Synapse) -> str:
    late = f", delays up to {synapse.longest_delay}" if synapse.longest_delay else ""
    return (f"{synapse.source} << {synapse.exponent}" if synapse.exponent else synapse.source) + late


def _weight_range(layer: Layer) -> tuple[float, float]:
    return min(s.weight.min() for s in layer.synapses), max(s.weight.max() for s in layer.synapses)


def _weight_error(layer: Layer) -> tuple[float | None, float | None, float | None]:
    """Rounding error of the weights, that of the worst row, and the share of weights that became 0; None where unknown."""
    error = layer.weight_error
    return (None, None, None) if error is None else (error.rms, error.worst_row, error.zeroed)


def activity_table(network: SpikingNetwork, run: Run, *, registers: bool = True) -> Table:
    """Spikes and synaptic operations per inference, layer by layer; a dash for what a board did not count.

    With `registers`, saturated updates and ranges of potentials; without, spikes per step and shares of the operations.
    """
    spikes = {
        layer.name: run.spike_counts[layer.name] / run.samples for layer in network if layer.name in run.spike_counts
    }
    operations, saturations = run.operations_per_sample, run.saturations
    complete = all(layer.name in spikes and layer.name in operations for layer in network)
    every = sum(operations.values()) if complete else None

    def row(name: str, size: int, fired: float | None, received: float | None, *of_registers: str) -> tuple[str, ...]:
        per_neuron = None if fired is None else fired / size
        rate = None if per_neuron is None else per_neuron / run.schedule.steps
        share = None if received is None or every is None else received / every if every else 0.0
        counted = (count(fired), digits(per_neuron), digits(rate), count(received), percent(share))
        return (name, f"{size:,}", *counted, *of_registers)

    rows = [
        row(
            layer.name,
            layer.size,
            spikes.get(layer.name),
            operations.get(layer.name),
            f"{saturations.get(layer.name, 0):,}" if saturations else "not counted",
            _potentials(run.potential_ranges.get(layer.name), network.is_integer),
        )
        for layer in network
    ]
    rows.append(row("all", network.neuron_count, sum(spikes.values()) if complete else None, every, "", ""))
    counted = ("layer", "neurons", "spikes", "per neuron", "per neuron and step", "synaptic operations", "share")
    columns = (*counted, "saturated updates", "potentials")
    shown = (0, 1, 2, 3, 5, 7, 8) if registers else range(7)
    up_to = "" if run.steps_used is None else "up to "
    title = f"Activity per inference, {up_to}{run.schedule.steps} steps"
    return table(title, [columns[i] for i in shown], [[cells[i] for i in shown] for cells in rows], total=True)


def _potentials(limits: tuple[float, float] | None, integer: bool) -> str:
    """Smallest and largest potential in weight units."""
    if limits is None:
        return "not recorded"
    low, high = limits
    return f"{to_weight_units(low):,.0f} … {to_weight_units(high):,.0f}" if integer else f"{low:.3g} … {high:.3g}"


def curve_steps(steps: int) -> list[int]:
    """Powers of two up to T, and T itself."""
    return sorted({2**i for i in range(2, 21) if 2**i <= steps} | {steps})


def curve_table(curves: Mapping[str, np.ndarray]) -> Table:
    """Accuracy against T; `curves` maps a name to accuracies of shape (T,), where T may differ."""
    longest = max(len(curve) for curve in curves.values())
    rows = [
        (t, *(percent(curve[t - 1], 2) if t <= len(curve) else "" for curve in curves.values()))
        for t in curve_steps(longest)
    ]
    return table("Accuracy against T, steps", ("T", *curves), rows, text_columns=0)


def stage_table(stages: Iterable[Stage], steps: int | None) -> Table:
    """What each form of the network reaches on its way to integers; `steps` is T if known."""
    stages = list(stages)
    costs = any(s.cost for s in stages)
    rows = [
        (s.name, s.note or "none", f"{s.images:,}", str(s.score), *(_cost(s.cost) if costs else ())) for s in stages
    ]
    known = "" if steps is None else f", T = {steps}"
    title = stages[0].score.title if stages else "Accuracy"
    columns = ["stage", "limits reached", "images", "accuracy" if title == "Accuracy" else "reached"]
    columns += ["messages", "synaptic operations", "latency, steps"] if costs else []
    return table(f"{title} on validation images{known}", columns, rows, text_columns=2)


def _cost(cost: Cost | None) -> tuple[str, ...]:
    """Of an image; dashes for a network that was not simulated."""
    return ("-",) * 3 if cost is None else (count(cost.messages), count(cost.synaptic_operations), f"{cost.latency:,}")


def fidelity_table(layers: Sequence[LayerFidelity], *, weights: bool = True) -> Table:
    """How closely each layer's firing rates match the trained activations.

    Errors are relative: of the root mean square activation, and of the root mean square weight. With `weights`, the weights'
    rounding error is shown, and the layer where the loss begins and the one with the lowest correlation over images are marked.
    """
    known = [(layer.image_correlation, i) for i, layer in enumerate(layers) if layer.image_correlation is not None]
    lowest = layers[min(known)[1]] if known else None
    marks = (("loss begins", begins_at(layers)), ("lowest over images", lowest))
    rows = []
    for layer in layers:
        correlations = (layer.correlation, layer.image_correlation)
        mark = ", ".join(name for name, marked in marks if marked is layer)
        rows.append(
            (
                layer.layer,
                *("–" if each is None else f"{each:.4f}" for each in correlations),
                *(percent(share) for share in (layer.error, layer.silent, layer.saturated)),
                *((percent(layer.weight_error, 2), mark) if weights else ()),
            )
        )
    columns = ("layer", "correlation", "over images", "error", "silent", "always on")
    return table(
        "Rates against activations, layer by layer", (*columns, *(("weight error", "") if weights else ())), rows
    )


def epochs_table(title: str, history: Iterable[Sequence[float | None]]) -> Table:
    """Epochs of a training: (number, loss, training accuracy, validation accuracy) each."""
    rows = [
        (f"{epoch:g}", "–" if loss is None else f"{loss:.4f}", percent(training, 2), percent(validation, 2))
        for epoch, loss, training, validation in history
    ]
    return table(title, ("epoch", "loss", "training", "validation"), rows, text_columns=0)
