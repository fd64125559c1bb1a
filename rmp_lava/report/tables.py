"""Tables for people, made with rich."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ..conversion.check import CheckReport
from ..conversion.stages import Stage
from ..network import Conv, SpikingNetwork
from ..registers import to_weight_units
from ..results import Run

WIDE = 110
"""Columns of a console from which tables show more."""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, text_columns: int = 1) -> Table:
    """A table; the first `text_columns` columns are left-aligned text, the others numbers."""
    # rich breaks a title to the table's width; a table is made as wide as its title instead.
    result = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", min_width=min(len(title), 100)
    )
    for i, column in enumerate(columns):
        result.add_column(column, justify="left" if i < text_columns else "right", overflow="fold")
    for row in rows:
        result.add_row(*(str(cell) for cell in row))
    return result


def percent(share: float | None) -> str:
    """A share as a percentage with two digits; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f} %"


def is_number(value: object) -> bool:
    """Whether an entry of a file that anyone may have written is a finite number; whole ones may exceed every float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def network_table(network: SpikingNetwork, *, wide: bool = True) -> Table:
    """Layers with shapes, weights and neurons; without the weights' number and range where there is no room for nine columns."""
    rows = []
    for layer in network:
        neurons = layer.neurons
        threshold = "-" if neurons.reset == "none" else f"{neurons.threshold:g}"
        if neurons.is_leaky:
            reset = f"CUBA, decays {neurons.current_decay}/{neurons.voltage_decay}"
        elif wide:
            reset = {"soft": "RMP (soft reset)", "hard": "IF (hard reset)", "none": "integrates"}[neurons.reset]
        else:
            reset = {"soft": "RMP", "hard": "IF", "none": "integrates"}[neurons.reset]
        first = layer.synapses[0]
        kind = f"conv {first.weight.shape[2]}x{first.weight.shape[3]}" if isinstance(first, Conv) else "dense"
        weights = sum(s.weight.size for s in layer.synapses)
        low, high = min(s.weight.min() for s in layer.synapses), max(s.weight.max() for s in layer.synapses)
        error = layer.record.get("weight_error")
        rows.append(
            (
                layer.name,
                f"{kind} from {', '.join(s.source for s in layer.synapses)}",
                reset,
                "x".join(map(str, layer.shape)),
                *((f"{weights:,}", f"{low:g} .. {high:g}") if wide else ()),
                threshold,
                f"{neurons.v_init:g}",
                f"{100 * error:.2f} %" if is_number(error) else "-",
            )
        )
    of_weights = ("weights", "range") if wide else ()
    columns = ("layer", "synapses", "neurons", "shape", *of_weights, "threshold", "v_init", "rounding")
    return table(f"Network {network.name!r}", columns, rows, text_columns=3)


def activity_table(network: SpikingNetwork, run: Run) -> Table:
    """Spikes and synaptic operations per inference, layer by layer; a dash where a board was not asked for them."""
    counts, spikes, operations = run.spike_counts, run.spikes_per_neuron(network), run.operations_per_sample
    rows = [
        (
            layer.name,
            f"{layer.size:,}",
            f"{counts[layer.name] / run.samples:,.1f}" if layer.name in counts else "-",
            f"{spikes[layer.name]:.3f}" if layer.name in spikes else "-",
            f"{operations[layer.name]:,.0f}" if layer.name in operations else "-",
            f"{run.saturations.get(layer.name, 0):,}" if run.saturations else "not counted",
            _range(run.potential_ranges.get(layer.name), network.is_integer),
        )
        for layer in network
    ]
    complete = all(layer.name in counts and layer.name in operations for layer in network)
    total = sum(counts.get(layer.name, 0) for layer in network) / run.samples
    rows.append(
        (
            "all",
            f"{network.neuron_count:,}",
            f"{total:,.1f}" if complete else "-",
            f"{total / network.neuron_count:.3f}" if complete else "-",
            f"{sum(operations.values()):,.0f}" if complete else "-",
            "",
            "",
        )
    )
    columns = (
        "layer",
        "neurons",
        "spikes",
        "spikes per neuron",
        "synaptic operations",
        "saturated updates",
        "potentials",
    )
    up_to = "" if run.steps_used is None else "up to "
    title = f"Activity per inference, {up_to}{run.schedule.steps} steps"
    return table(title, columns, rows)


def _range(limits: tuple[float, float] | None, integer: bool) -> str:
    """Smallest and largest potential in weight units."""
    if limits is None:
        return "not recorded"
    low, high = (to_weight_units(limit) if integer else limit for limit in limits)
    return f"{low:,.0f} .. {high:,.0f}" if integer else f"{low:.3g} .. {high:.3g}"


def curve_steps(steps: int) -> list[int]:
    """Powers of two up to T, and T itself."""
    return sorted({2**i for i in range(2, 21) if 2**i <= steps} | {steps})


def curve_table(curves: Mapping[str, Any]) -> Table:
    """Accuracy against steps; `curves` maps a name to (T,) accuracies, T may differ."""
    longest = max(len(curve) for curve in curves.values())
    rows = [
        (t, *(percent(curve[t - 1]) if t <= len(curve) else "" for curve in curves.values()))
        for t in curve_steps(longest)
    ]
    return table("Accuracy against T, steps", ("T", *curves), rows, text_columns=0)


def stage_table(stages: tuple[Stage, ...], steps: int | None) -> Table:
    """The stages of a conversion, one below the other; `steps` is T where it is known."""
    rows = [(s.name, s.note or "none", f"{s.images:,}", percent(s.accuracy)) for s in stages]
    columns = ("stage", "limits reached", "images", "accuracy")
    known = "" if steps is None else f", T = {steps}"
    return table(f"Accuracy on validation images{known}", columns, rows, text_columns=2)


def findings_table(report: CheckReport) -> Table:
    """Everything that a check found."""
    rows = [(f.severity, f.where, f.found, f.remedy) for f in report.findings]
    return table("Check", ("", "where", "found", "what to do, or what is done"), rows, text_columns=4)


def console(*, stderr: bool = False) -> Console:
    """The console that all output goes through; wide enough to stay readable in a file."""
    result = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not result.is_terminal:
        result = Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=140)
    return result
