"""Tables of profiles, mappings and estimates."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..hardware import Estimate, LayerMapping, Mapping, Profile
from .tables import percent, table

_RESOURCES = {
    "neurons": "neurons",
    "groups": "groups",
    "synapse_words": "words",
    "axons_in": "axons in",
    "axons_out": "axons out",
}
_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))


def engineering(value: float | None, unit: str) -> str:
    """Three digits with the prefix that suits them; a dash for None."""
    if value is None:
        return "-"
    if value == 0:
        return f"0 {unit}"
    # A value that rounds up to a thousand takes the next prefix.
    scale, prefix = next((p for p in _PREFIXES if abs(value) >= 0.9995 * p[0]), _PREFIXES[-1])
    return f"{float(f'{value / scale:.3g}'):,g} {prefix}{unit}"


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
    """Every number of a profile, each with its source below it."""
    chips = f"{_known(profile.chips)} chip{'' if profile.chips == 1 else 's'}"
    parts: list[RenderableType] = [Text(f"{profile.name}: {profile.description}, {chips}", style="bold")]
    key_width = max(len(key) for keys in profile.sections.values() for key in keys)
    for section, keys in profile.sections.items():
        parts.append(Text(f"\n{section}", style="bold"))
        for key, quantity in keys.items():
            value = "-" if quantity.value is None else f"{quantity.value:,} {quantity.unit}".removesuffix(" 1")
            kind = quantity.kind + (", of the board" if f"{section}.{key}" in profile.own else "")
            parts.append(Text(f"  {key:<{key_width}}  {value:>19}  {kind}"))
            parts.append(Padding(Text(quantity.source, style="dim"), (0, 0, 0, 6)))
    return Group(*parts)


def mapping_table(mapping: Mapping, *, wide: bool) -> Table:
    """Each population's cores, and what its fullest core holds; shapes and blocks where there is room."""
    rows = []
    for layer in mapping.layers:
        usage = layer.usage
        shapes = ("x".join(map(str, layer.shape)), "x".join(map(str, layer.block))) if wide else ()
        numbers = [f"{usage[name].largest:,}" for name in ("neurons", "synapse_words", "axons_in", "axons_out")]
        cores = f"{layer.cores:,}" if layer.fits else "-"
        rows.append((layer.name, *shapes, cores, *numbers, _RESOURCES[layer.binding], _share(layer)))
    empty = ("",) * (7 if wide else 5)
    others = mapping.cores_of_others
    cores = f"{mapping.cores:,}" if others is None else f">{others:,}"
    rows.append(("all", *empty[: len(empty) - 5], cores, "", "", "", "", "", ""))
    shapes = ("shape", "on a core") if wide else ()
    columns = ("layer", *shapes, "cores", "neurons", "words", "axons in", "axons out", "limit", "used")
    title = f"Fullest core of each layer, {mapping.profile.name}, {mapping.implementation} neurons"
    return table(title, columns, rows, text_columns=1)


def _share(layer: LayerMapping) -> str:
    share = 100 * layer.utilisation
    return f"{share:,.0f} %" if share >= 0.5 else "<1 %"


def describe_mapping(mapping: Mapping) -> list[str]:
    """Whether it fits, warnings and remedies, in sentences."""
    profile, board = mapping.profile, "board" if mapping.profile.is_board else "chip"
    cores = f"{mapping.cores:,} of {mapping.cores_available:,} usable cores of {profile.name}"
    chips = f", {mapping.chips:,} of {profile.chips:,} chips" if profile.chips > 1 else ""
    if mapping.fits:
        lines = [f"Fits: {cores}{chips}."]
    elif mapping.has_room:
        lines = [f"Does not fit: {obstacle}." for obstacle in mapping.obstacles]
    elif all(layer.fits for layer in mapping.layers):
        lines = [
            f"Does not fit: {mapping.cores:,} cores, and the {board} {profile.name} has {mapping.cores_available:,}."
        ]
    else:
        lines = [
            f"Does not fit: a layer exceeds the limits of a core of {profile.chip}, however it is split; the others take "
            f"{mapping.cores_of_others:,} cores."
        ]
    if not mapping.has_room:
        lines += [f"Nor otherwise: {obstacle}." for obstacle in mapping.obstacles]
    lines += [f"  - {remedy}" for remedy in mapping.remedies]
    lines += [f"Warning: {warning}." for warning in mapping.warnings]
    if mapping.unknown:
        keys = ", ".join(key.split(".")[1].replace("_", " ") for key in mapping.unknown)
        lines.append(
            f"The profile of {profile.chip} has no figure for {keys}: cores that need it are counted too high, or without it."
        )
    lines.append("Computed by the rules of the compiler's printed tables; never run on hardware.")
    return lines


def describe_misfit(mapping: Mapping) -> str:
    """What an estimate stands for where the network does not fit."""
    if mapping.obstacles:
        return f"the estimate is as if it did; {mapping.obstacles[0]}"
    hopeless = [layer.name for layer in mapping.layers if not layer.fits]
    if hopeless:
        return f"the estimate is as if one core could hold all of {', '.join(hopeless)}"
    return "the estimate is that of as many chips as it takes"


def estimate_table(estimate: Estimate) -> Table:
    """Activity and dynamic energy of each population, per inference."""
    rows = [
        (
            layer.name,
            f"{layer.cores:,}",
            f"{layer.synaptic_operations:,.0f}",
            f"{layer.neuron_updates:,.0f}",
            engineering(layer.energy, "J"),
            percent(layer.energy / estimate.dynamic) if estimate.dynamic else "-",
            engineering(layer.step_seconds, "s"),
        )
        for layer in estimate.layers
    ]
    rows.append(
        (
            "all",
            f"{estimate.mapping.cores:,}",
            f"{estimate.synaptic_operations:,.0f}",
            f"{sum(layer.neuron_updates for layer in estimate.layers):,.0f}",
            engineering(estimate.dynamic, "J"),
            "",
            engineering(estimate.step_seconds, "s"),
        )
    )
    columns = ("layer", "cores", "synaptic operations", "neuron updates", "dynamic energy", "share", "time of a step")
    return table(f"Estimated, per inference of {estimate.steps:g} steps on {estimate.profile.name}", columns, rows)


def steps_table(estimate: Estimate) -> Table:
    """Half and twice as many steps."""
    rows = [
        (
            f"{other['steps']:g}",
            engineering(other["latency_seconds"], "s"),
            engineering(other["dynamic"], "J"),
            engineering(other["total"], "J"),
        )
        for other in map(estimate.at, (0.5, 1, 2))
    ]
    columns = ("T", "latency", "dynamic energy", "with static power")
    return table("Estimated for other numbers of steps, if the rates stay", columns, rows, text_columns=0)


def comparison_table(estimate: Estimate) -> Table:
    """The same inference on other processors, by published figures."""
    rows = [(f"{estimate.profile.name} (estimated, dynamic)", engineering(estimate.dynamic, "J"), "")]
    rows += [(label, engineering(joules, "J"), source) for label, joules, source in estimate.comparisons()]
    found = table("Published energies per operation, times the operations", ("processor", "energy", "source"), rows)
    found.columns[2].justify = "left"
    return found


def describe_estimate(estimate: Estimate) -> list[str]:
    """Energy, time, uncertainty and what is missing, in sentences."""
    known = estimate.relative_uncertainty
    doubt = "" if known is None else f", uncertain by {100 * known:.0f} % at least"
    static = (
        f"{engineering(estimate.total, 'J')} with static power"
        if estimate.total is not None
        else "static power unknown"
    )
    rate = f"{1 / estimate.period_seconds:,.4g} inferences per second" if estimate.period_seconds else ""
    lines = [
        f"Estimated: {engineering(estimate.dynamic, 'J')} dynamic energy per inference{doubt}; {static}.",
        f"Estimated: prediction after {engineering(estimate.latency_seconds, 's')}, {rate}.",
        f"Trained network: {estimate.macs:,} multiply-accumulates per inference.",
        "Left out:",
    ]
    lines += [f"  - {missing}" for missing in estimate.left_out]
    if known is not None:
        lines.append(f"Uncertainty: {estimate.profile.quantity('energy.relative_uncertainty').source}.")
    if not estimate.mapping.fits:
        lines.append(f"Warning: the network does not fit; {describe_misfit(estimate.mapping)}; see rmp-lava fit.")
    lines.append(f"Averaged over {estimate.samples:,} simulated samples; estimated, never run on hardware.")
    return lines
