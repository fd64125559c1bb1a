"""The page's sections on cores, energy and time; all of them are estimated."""

from __future__ import annotations

from ... import plot
from ...findings import findings_table
from ...hardware import Estimate, Mapping
from ...plot.core_map import squares
from ...words import count, plural, quantity
from ..hardware import (
    comparison_table,
    compilers_table,
    cores_taken,
    describe_estimate,
    describe_mapping,
    estimate_table,
    mapping_table,
    static_power,
    steps_table,
)
from .data import cores_data, energy_data
from .parts import Fact, Section, Sheet, picture


def hardware_facts(found: Estimate) -> list[Fact]:
    """Cores and energy for the headline."""
    mapping = found.mapping
    fits = "" if mapping.fits else "does not fit; "
    cores = f"estimated; {fits}{mapping.cores_available:,} usable on {mapping.profile.name}"
    return [
        Fact("Cores", cores_taken(mapping), cores),
        Fact("Energy", quantity(found.dynamic, "J"), f"per inference, estimated, dynamic; {static_power(found)}"),
    ]


def cores_section(mapping: Mapping) -> Section:
    """The core map, the verdict whether the network fits, and the fullest cores."""
    drawn = squares(mapping)
    hopeless = [layer.name for layer in mapping.layers if not layer.fits]
    square = "square is a core" if drawn.each == 1 else f"square represents {drawn.each} cores"
    caption = (
        f"Estimated. Each {square}, coloured by its layer and filled by the share of its scarcest resource that is used (mean "
        "over the layer’s cores). Cores are in the order of the layers, and chips are filled one after the other; the "
        "compiler’s placement is not known. The legend shows each layer’s number, which is also in its first core, and its "
        "number of cores."
    )
    if hopeless:
        caption += f" {', '.join(hopeless)}: none, as no core holds a part."
    cores = Sheet(
        f"Estimated, {mapping.implementation} neurons: what the fullest core of each layer holds, and which of its resources is "
        "scarcest.",
        mapping_table(mapping),
        [layer.demand.origin or layer.name for layer in mapping.layers],
    )
    shown = picture("cores", "Cores", caption, lambda width: plot.cores(mapping, width=width), cores_data(mapping))
    sheets = [cores]
    differing = compilers_table(mapping)
    if differing is not None:
        found = "Estimated: layers that lava-loihi’s two compilers place differently, each with its scarcest resource."
        sheets.append(Sheet(found, differing))
    if mapping.findings:
        found = "Estimated: limits and differences that the network meets on the board, with the action to take."
        sheets.append(Sheet(found, findings_table(mapping.findings, "")))
    return Section("cores", "Cores", tuple(describe_mapping(mapping)), (shown,), tuple(sheets))


def energy_section(found: Estimate) -> Section:
    """Energy and time of an inference, and their uncertainty."""
    samples = plural(found.samples, "simulated sample")
    caption = (
        f"Estimated energy of one inference of T = {found.steps:g} steps on {found.profile.name}, by component; below, "
        f"the part of each layer that depends on its activity. Mean of {samples}."
    )
    if found.total is None:
        caption += " Static power is unknown and not included."
    shown = picture(
        "energy", "Energy and time", caption, lambda width: plot.energy(found, width=width), energy_data(found)
    )
    return Section("energy", "Energy and time", tuple(describe_estimate(found)), (shown,), _sheets(found, samples))


def _sheets(found: Estimate, samples: str) -> tuple[Sheet, ...]:
    return (
        Sheet(
            "Estimated dynamic energy per inference, and the time per step of the layer’s busiest core. "
            f"Mean of {samples}.",
            estimate_table(found),
            [layer.demand.origin or layer.name for layer in found.mapping.layers],
        ),
        Sheet("Estimated for other numbers of steps, at the same firing rates.", steps_table(found)),
        Sheet(
            f"Published energies per operation, times operations per inference: {found.macs:,} multiply-accumulates without "
            f"spikes, and {count(found.synaptic_operations)} synaptic operations with them. Not all energies include memory and "
            "idle power; see the sources.",
            comparison_table(found),
        ),
    )
