"""A network on a board: each population on its cores, whether the board has enough of them, and what to do otherwise."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import ceil
from typing import Any

from ..choices import Compiler, Implementation, check_choice
from ..errors import ProfileError
from ..findings import Finding, of_severity
from ..network import INPUT, SpikingNetwork
from ..tables import Table, Tabular, table
from .advice import findings_for, remedies_for
from .demand import demands
from .placement import LayerMapping, place
from .profiles import Profile, load_profile


@dataclass(frozen=True, repr=False)
class Mapping(Tabular):
    """A network on the cores of a board, by the rules of the compiler's printed tables. Computed; no compiler is asked.

    Parameters
    ----------
    profile : Profile
    implementation : {"native", "stock"}
    layers : tuple of LayerMapping
        Input neurons first, if the network has any; relays of stock neurons after their source. By the rules of the profile's
        compiler.
    others : mapping
        The same by the chip's other compilers: name -> layers.
    findings : tuple of Finding
        "obstacle": keeps the network off the board however many cores that has; "caution": is accepted and may fail;
        "information": is done on the board.
    unknown : tuple of str
        Keys of the profile without a public value; cores that depend on them are counted too high, or without them.
    remedies : tuple of str
        What would make it fit; empty if the cores are enough.
    sparse : bool
        Whether only the non-zero weights of dense layers are stored.
    """

    profile: Profile
    implementation: Implementation
    layers: tuple[LayerMapping, ...]
    others: MappingType[Compiler, tuple[LayerMapping, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    unknown: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    sparse: bool = False

    @property
    def cores(self) -> int:
        """Cores that it takes."""
        return sum(layer.cores for layer in self.layers)

    @property
    def cores_available(self) -> int:
        """Usable cores of the board."""
        # `map_network` refuses a board whose number of chips is unknown.
        return self.profile.usable_cores or 0

    @property
    def chips_available(self) -> int:
        """Chips of the board."""
        return self.profile.chips or 0

    @property
    def cores_of_others(self) -> int | None:
        """Cores of the layers that fit; None if all of them do."""
        return None if all(layer.fits for layer in self.layers) else sum(x.cores for x in self.layers if x.fits)

    @property
    def chips(self) -> int:
        """Chips that it takes, filled one after the other."""
        return ceil(self.cores / self.profile["cores.usable_per_chip"])

    @property
    def chips_on_ethernet(self) -> int | None:
        """Chips that run where input and output go through the board's Ethernet link: all up to the one that has it.

        None where its place is not known.
        """
        link = self.profile.ethernet_chip
        return None if link is None else max(self.chips, link + 1)

    @property
    def passes(self) -> int:
        """Passes of the compiler until all limits are kept, "converged after iteration" in its log."""
        return max(layer.passes for layer in self.layers)

    @property
    def differing(self) -> tuple[str, ...]:
        """Layers that the chip's compilers place in blocks of other sizes."""
        return tuple(
            own.name
            for own, *found in zip(self.layers, *self.others.values(), strict=True)
            if any((each.cores, each.block) != (own.cores, own.block) for each in found)
        )

    @property
    def obstacles(self) -> tuple[Finding, ...]:
        """Findings that keep it off the board however many cores that has."""
        return of_severity(self.findings, "obstacle")

    @property
    def fits(self) -> bool:
        """Whether there is no obstacle and the cores are enough."""
        return not self.obstacles and self.enough_cores

    @property
    def enough_cores(self) -> bool:
        """Whether every layer can be split far enough and the board has cores for all of them."""
        return all(layer.fits for layer in self.layers) and self.cores <= self.cores_available

    def __getitem__(self, name: str) -> LayerMapping:
        """The population of that name; KeyError if there is none."""
        return {layer.name: layer for layer in self.layers}[name]

    def table(self) -> Table:
        """Cores of each population, and the share that its scarcest resource takes."""
        rows = [(x.name, x.binding, f"{x.utilisation:.0%}", f"{x.cores:,}") for x in self.layers]
        verdict = "fits" if self.fits else "does not fit"
        head = f"Mapping: {self.implementation} neurons, {self.cores:,} of {self.cores_available:,} cores of {self.profile.name}"
        return table(f"{head}, {verdict}", ("layer", "scarcest", "used", "cores"), rows, text_columns=2)

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "profile": self.profile.name,
            "implementation": self.implementation,
            "fits": self.fits,
            "cores": self.cores,
            "cores_available": self.cores_available,
            "chips": self.chips,
            "chips_available": self.chips_available,
            "chips_on_ethernet": self.chips_on_ethernet,
            "compiler": self.profile.compiler,
            "sparse": self.sparse,
            "passes": self.passes,
            "layers": [_summary(layer) for layer in self.layers],
            "other_compilers": {
                name: {"cores": sum(x.cores for x in layers), "layers": [_summary(layer) for layer in layers]}
                for name, layers in self.others.items()
            },
            "warnings": [each.sentence() for each in of_severity(self.findings, "caution", "information")],
            "unknown": list(self.unknown),
            "remedies": list(self.remedies),
            "obstacles": [each.sentence() for each in self.obstacles],
        }


def _summary(layer: LayerMapping) -> dict[str, Any]:
    return {
        "name": layer.name,
        "role": layer.role,
        "shape": list(layer.shape),
        "block": list(layer.block),
        "cores": layer.cores,
        "first_core": layer.first,
        "cores_of_other_chips_reached": layer.crossing,
        "binding": layer.binding,
        "utilisation": layer.utilisation,
        "obstacles": dict(layer.obstacles),
        "usage": {name: asdict(use) for name, use in layer.usage.items()},
    }


def map_network(
    network: SpikingNetwork,
    profile: str | Profile,
    implementation: Implementation = "native",
    *,
    period: int | None = None,
    steps: int | None = None,
    compiler: Compiler | None = None,
    sparse: bool = False,
) -> Mapping:
    """Map a network to the cores of a board.

    Parameters
    ----------
    network : SpikingNetwork
        Weights of a float network are counted with the profile's most bits.
    profile : str or Profile
        Name or path of a hardware profile; a chip counts as a board with one chip.
    implementation : {"native", "stock"}
        RMP neurons of their own, or stock LIF neurons, whose self-synapses and relays take cores too.
    period : int or None
        Time steps from one sample to the next. Clock neurons of stock neurons that pulse a period apart are shared; None
        counts them as if none were.
    steps : int or None
        T, which decides when stock neurons that wait are pulsed; None: the T that the network was balanced for.
    compiler : {"nxtf", "older", "newer"} or None
        Whose rules place the network; None: the profile's.
    sparse : bool
        Whether only the non-zero weights of dense layers are stored, as lava-dl's `sparse_fc_layer` does, instead of all.

    Raises
    ------
    ProfileError
        If the profile cannot be read, does not give the number of the board's chips, or does not know the compiler.
    UsageError
        If the implementation or the compiler is unknown.
    """
    check_choice("implementation", implementation, Implementation)
    profile = load_profile(profile)
    profile = profile if compiler is None else profile.with_compiler(compiler)
    if profile.chips is None:
        raise ProfileError(
            f"hardware profile {profile.name}: board.chips is unknown, so a network cannot be mapped; write a .toml file "
            f'with chip = "{profile.chip}" and the number of chips of your board, and pass its path'
        )
    slots, bits = profile["cores.slots_per_soft_reset_neuron"], profile["cores.weight_bits"]
    demands_of = partial(demands, network, bits=bits, slots=slots, period=period, steps=steps, sparse=sparse)
    populations = demands_of(implementation=implementation)
    shapes = {INPUT: network.input.shape}
    result = Mapping(
        profile,
        implementation,
        place(populations, shapes, profile),
        {
            each: place(populations, shapes, profile.with_compiler(each))
            for each in profile.compilers
            if each != profile.compiler
        },
        tuple(findings_for(network, profile, implementation)),
        tuple(f"cores.{key}" for key, quantity in profile.sections["cores"].items() if quantity.value is None),
        sparse=sparse,
    )
    # Stock neurons take more synapses and relays; where a soft reset takes two compartments, native ones take more neurons.
    two_compartments = implementation == "native" and slots > 1
    other: Mapping | None = None
    if two_compartments or implementation == "stock" and not result.enough_cores:
        kind: Implementation = "native" if implementation == "stock" else "stock"
        other = replace(result, implementation=kind, layers=place(demands_of(implementation=kind), shapes, profile))
    if two_compartments and other is not None and other.cores < result.cores:
        found = f"a soft reset takes {slots} compartments, {result.cores:,} cores in all; stock neurons take {other.cores:,}"
        remedy = "to use a self-synapse instead, pass --implementation stock"
        finding = Finding("information", "network", found, remedy, "compartments")
        result = replace(result, findings=(*result.findings, finding))
    if result.enough_cores:
        return result
    remedies = remedies_for(result.layers, result.others, populations, shapes, profile)
    if other is not None:
        verdict = "fit" if other.enough_cores else "do not fit either"
        remedies += (f"{other.implementation} neurons take {other.cores:,} cores and {verdict}",)
    return replace(result, remedies=remedies)
