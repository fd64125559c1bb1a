"""Profiles, mappings and estimates as tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ..hardware import Check, Estimate, Interval, LayerMapping, Mapping, Profile, Saving
from ..tables import Table, table
from ..words import count, digits, percent, quantity, shape

_RESOURCES = {
    "neurons": "neurons",
    "groups": "groups",
    "synapse_words": "words",
    "axons_in": "axons in",
    "axons_out": "axons out",
    "input_entries": "axons in + words",
    "all_entries": "all entries",
}


def profiles_table(profiles: Iterable[Profile]) -> Table:
    """One line for each profile."""
    rows = [
        (
            profile.name,
            f"board of {profile.chip}" if profile.is_board else "chip",
            profile.description,
            _known(profile.chips),
            _known(profile.usable_cores),
        )
        for profile in profiles
    ]
    return table("Hardware profiles", ("name", "", "description", "chips", "usable cores"), rows, text_columns=3)


def _known(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def profile_page(profile: Profile) -> Group:
    """Every number of a profile, with its source in the line below."""
    chips = f"{_known(profile.chips)} chip{'' if profile.chips == 1 else 's'}"
    parts: list[RenderableType] = [
        Text(f"{profile.name}: {profile.description}, {chips}, {profile.compiler} compiler", style="bold")
    ]
    key_width = max(len(key) for keys in profile.sections.values() for key in keys)
    for section, keys in profile.sections.items():
        parts.append(Text(f"\n{section}", style="bold"))
        for key, entry in keys.items():
            value = "–" if entry.value is None else f"{entry.value:,} {entry.unit}".removesuffix(" 1")
            between = "" if entry.bounds is None else f"{entry.bounds[0]:,g} .. {entry.bounds[1]:,g} {entry.unit}, "
            kind = between + entry.kind + (", of the board" if f"{section}.{key}" in profile.own else "")
            parts.append(Text(f"  {key:<{key_width}}  {value:>19}  {kind}"))
            parts.append(Padding(Text(entry.source, style="dim"), (0, 0, 0, 6)))
    return Group(*parts)


def between(found: Interval, unit: str) -> str:
    """A value with its bounds, if it has any."""
    value = quantity(found.value, unit)
    return value if found.is_exact else f"{value} ({quantity(found.low, unit)} .. {quantity(found.high, unit)})"


def anchors_table(checks: Iterable[Check]) -> Table:
    """Published figures next to what the profiles predict."""
    rows = []
    for each in checks:
        unit = {"J": "J", "W": "W", "s": "s"}[each.anchor.measured.unit[-1]]
        found = each.predicted
        bounds = f"{quantity(found.low, unit)} .. {quantity(found.high, unit)}"
        ratio = "–" if not found.value else f"{each.measured / found.value:.2f}"
        holds = ("yes" if each.holds else "no") + (", time only" if each.is_bound else "")
        what = f"{each.anchor.name}: {each.anchor.figure}"
        rows.append((what, quantity(found.value, unit), bounds, quantity(each.measured, unit), ratio, holds))
    columns = ("published figure", "predicted", "between", "measured", "ratio", "inside")
    return table("Published figures and what the profiles predict", columns, rows, text_columns=1)


def describe_anchors(checks: Sequence[Check]) -> list[str]:
    """How many lie between their bounds, and what that means."""
    inside = sum(each.holds for each in checks)
    bounds = sum(each.is_bound for each in checks)
    return [
        f"{inside} of {len(checks)} published figures lie between their bounds. The bounds are the spread of these figures, so "
        "this is no independent test.",
        f"{bounds} are marked 'time only': the activity of their runs is not public, so they check the terms of time alone.",
        "Each figure with its source: --json -. Measured by others, predicted here; this project has measured nothing.",
    ]


def mapping_table(mapping: Mapping) -> Table:
    """Cores of each population and their chips if there are several, its shape, its block, and usage of its fullest core."""
    rows = []
    per_chip, several = mapping.profile["cores.usable_per_chip"], mapping.chips > 1
    for layer in mapping.layers:
        held = [f"{layer.usage[name].largest:,}" for name in ("neurons", "synapse_words", "axons_in", "axons_out")]
        cores = f"{layer.cores:,}" if layer.fits else "–"
        on = (_chips(layer, per_chip),) if several else ()
        rows.append(
            (
                layer.name,
                shape(layer.shape),
                shape(layer.block),
                cores,
                *on,
                *held,
                _RESOURCES[layer.binding],
                _used(layer),
            )
        )
    chips = (f"{mapping.chips:,}",) if several else ()
    rows.append(("all", "", "", cores_taken(mapping), *chips, "", "", "", "", "", ""))
    on = ("chips",) if several else ()
    columns = (
        "layer",
        "shape",
        "on a core",
        "cores",
        *on,
        "neurons",
        "words",
        "axons in",
        "axons out",
        "scarcest",
        "used",
    )
    title = f"Fullest core of each layer, {mapping.profile.name}, {mapping.implementation} neurons"
    return table(title, columns, rows, total=True, spare=("shape", "on a core", *on, "axons out", "axons in"))


def _chips(layer: LayerMapping, per_chip: int) -> str:
    """The chips that it lies on, counted from 1."""
    first, last = (core // per_chip + 1 for core in (layer.first, layer.first + layer.cores - 1))
    return f"{first:,}" if first == last else f"{first:,}–{last:,}"


def compilers_table(mapping: Mapping) -> Table | None:
    """The layers that the chip's compilers place differently, with the scarcest resource by each; None if there are none."""
    if not mapping.differing:
        return None
    compilers = {mapping.profile.compiler: mapping.layers, **mapping.others}
    found = [{layer.name: layer for layer in layers} for layers in compilers.values()]
    rows = [(name, *(cell for layers in found for cell in _scarcest(layers[name]))) for name in mapping.differing]
    rows.append(("all", *(cell for layers in compilers.values() for cell in (f"{sum(x.cores for x in layers):,}", ""))))
    columns = ("layer", *(title for name in compilers for title in (f"{name}: cores", "scarcest")))
    return table("Where the two compilers differ", columns, rows, total=True)


def _scarcest(layer: LayerMapping) -> tuple[str, str]:
    return (f"{layer.cores:,}" if layer.fits else "–"), f"{_RESOURCES[layer.binding]}, {_used(layer)}"


def savings_table(mapping: Mapping, found: Sequence[Saving]) -> Table | None:
    """What pruning and fewer weight bits would save; None if nothing would."""
    own = mapping.cores if mapping.cores_of_others is None else None
    if all(each.cores is None or own is not None and each.cores >= own for each in found):
        return None
    rows = [("as it is", own, mapping.enough_cores)] + [(each.change, each.cores, each.fits) for each in found]
    cells = [
        (
            change,
            "–" if cores is None else f"{cores:,}",
            "" if own is None or cores is None or i == 0 else f"{own - cores:,}",
            "yes" if fits else "no",
        )
        for i, (change, cores, fits) in enumerate(rows)
    ]
    return table("Fewer weights, or fewer bits of them", ("change", "cores", "saved", "fits"), cells)


def cores_taken(mapping: Mapping) -> str:
    """Cores of all layers, or of those that fit on cores, with ">", if others do not."""
    others = mapping.cores_of_others
    return f"{mapping.cores:,}" if others is None else f"> {others:,}"


def _used(layer: LayerMapping) -> str:
    if not layer.fits:
        return f"{digits(layer.utilisation)} cores"
    return percent(layer.utilisation, 0) if layer.utilisation >= 0.005 else "<1 %"


def describe_mapping(mapping: Mapping) -> list[str]:
    """Sentences on whether the network fits, with remedies; `Mapping.findings` are a table of their own."""
    profile, board = mapping.profile, "board" if mapping.profile.is_board else "chip"
    cores = f"{mapping.cores:,} of {mapping.cores_available:,} usable cores of {profile.name}"
    chips = f", {mapping.chips:,} of {mapping.chips_available:,} chips" if mapping.chips_available > 1 else ""
    if mapping.fits:
        lines = [f"Fits: {cores}{chips}."]
    elif mapping.enough_cores:
        lines = [f"Does not fit: {obstacle.sentence()}." for obstacle in mapping.obstacles]
    elif all(layer.fits for layer in mapping.layers):
        lines = [
            f"Does not fit: {mapping.cores:,} cores, and the {board} {profile.name} has {mapping.cores_available:,}."
        ]
    else:
        lines = [
            f"Does not fit: a layer exceeds the limits of a core of {profile.chip}, however it is split; the others take "
            f"{mapping.cores_of_others:,} cores."
        ]
    if mapping.remedies:
        lines.append(f"Remedies: {'; '.join(mapping.remedies)}.")
    if mapping.others:
        others = [f"the {name} one takes {sum(x.cores for x in layers):,}" for name, layers in mapping.others.items()]
        lines.append(f"By the rules of lava-loihi's {profile.compiler} compiler; {', '.join(others)}.")
    running = mapping.chips_on_ethernet
    if running is not None and running > mapping.chips:
        lines.append(f"With input through Ethernet, {running:,} chips run, as the link is on chip {running:,}.")
    if mapping.unknown:
        unknown = ", ".join(key.partition(".")[2].replace("_", " ") for key in mapping.unknown)
        lines.append(
            f"The profile of {profile.chip} has no value for {unknown}: core counts that depend on it are too high, or ignore it."
        )
    lines.append("Computed by the rules of the compiler's printed tables; never run on hardware.")
    return lines


def static_power(estimate: Estimate) -> str:
    """The energy with static power, in words."""
    whole = estimate.total_between
    return "static power unknown" if whole is None else f"{between(whole, 'J')} with the whole board's static power"


def _describe_misfit(mapping: Mapping) -> str:
    """What an estimate assumes if the network does not fit."""
    if mapping.obstacles:
        return f"the estimate assumes that it does; {mapping.obstacles[0].sentence()}"
    hopeless = [layer.name for layer in mapping.layers if not layer.fits]
    if hopeless:
        return f"the estimate assumes that one core holds all of {', '.join(hopeless)}"
    return "the estimate assumes as many chips as needed"


def estimate_table(estimate: Estimate) -> Table:
    """Activity and dynamic energy of each population, per inference."""
    layers = estimate.layers
    rows = [
        (
            layer.name,
            f"{layer.cores:,}",
            count(layer.synaptic_operations),
            count(layer.neuron_updates),
            quantity(layer.energy, "J"),
            percent(layer.energy / estimate.dynamic if estimate.dynamic else 0.0),
            quantity(layer.step_seconds, "s"),
        )
        for layer in layers
    ]
    totals = (count(estimate.synaptic_operations), count(sum(layer.neuron_updates for layer in layers)))
    energy = (quantity(estimate.dynamic, "J"), percent(1.0), quantity(estimate.step_seconds, "s"))
    rows.append(("all", f"{estimate.mapping.cores:,}", *totals, *energy))
    columns = ("layer", "cores", "synaptic operations", "neuron updates", "dynamic energy", "share", "time per step")
    title = f"Estimated, per inference of {estimate.steps:g} steps on {estimate.profile.name}"
    return table(title, columns, rows, total=True)


def steps_table(estimate: Estimate) -> Table:
    """Latency and energy for half and twice as many steps."""
    rows = [
        (
            f"{other['steps']:g}",
            quantity(other["latency_seconds"], "s"),
            quantity(other["dynamic"], "J"),
            quantity(other["total"], "J"),
        )
        for other in map(estimate.at, (0.5, 1, 2))
    ]
    columns = ("T", "latency", "dynamic energy", "with static power")
    return table("Estimated for other numbers of steps, at the same firing rates", columns, rows, text_columns=0)


def comparison_table(estimate: Estimate) -> Table:
    """The same inference on other processors, from published figures."""
    rows = [(f"{estimate.profile.name}, dynamic, estimated", "this estimate", quantity(estimate.dynamic, "J"))]
    rows += [(label, source, quantity(joules, "J")) for label, joules, source in estimate.comparisons()]
    title = "Published energies per operation times number of operations"
    return table(title, ("processor", "source", "energy"), rows, text_columns=2)


def describe_estimate(estimate: Estimate) -> list[str]:
    """Sentences on energy, time, their bounds and what is left out."""
    slow, fast = (
        1 / t if t else math.inf for t in (estimate.step.high * estimate.period, estimate.step.low * estimate.period)
    )
    rate = f"{1 / estimate.period_seconds:,.4g} inferences per second" if estimate.period_seconds else ""
    rates = "" if estimate.step.is_exact or not rate else f" ({slow:,.4g} .. {fast:,.4g})"
    lines = [
        f"Estimated: {between(estimate.dynamic_between, 'J')} dynamic energy per inference; {static_power(estimate)}.",
        f"Estimated: latency {between(estimate.step * estimate.latency, 's')}, {rate}{rates}.",
        f"Without spikes: {estimate.macs:,} multiply-accumulates per inference, {_counted_macs(estimate)}.",
        f"Not included: {'; '.join(estimate.left_out)}.",
        _describe_bounds(estimate),
    ]
    if not estimate.mapping.fits:
        lines.append(f"Warning: the network does not fit; {_describe_misfit(estimate.mapping)}; see rmp-lava fit.")
    lines.append(f"Averaged over {estimate.samples:,} simulated samples; estimated, never run on hardware.")
    return lines


def _counted_macs(estimate: Estimate) -> str:
    """Whose multiply-accumulates an estimate compares with."""
    if estimate.trained_macs is not None:
        return "those of the trained network"
    return "with all layers that conversion adds, as the file does not record those of the trained network"


def _describe_bounds(estimate: Estimate) -> str:
    """What the bounds are, and that the lower one is none for networks whose cost is mostly time."""
    active = estimate.parts_between.get("active_power")
    share = active.value / estimate.dynamic if active is not None and estimate.dynamic else 0.0
    text = "Bounds: the spread of published runs, see rmp-lava profiles --anchors."
    if active is not None and share > 0.3 and not active.low:
        text += (
            f" {percent(share, 0)} of the dynamic energy is active power, which no published run bounds from below, so the lower "
            "bound holds for the activity alone."
        )
    return text
