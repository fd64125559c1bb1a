"""A network on a board: each population on its cores, whether the board has enough of them, and what to do otherwise."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

from ..choices import Implementation, check_choice
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
        Input neurons first, if the network has any; relays of stock neurons after their source.
    findings : tuple of Finding
        "obstacle": keeps the network off the board however many cores that has; "caution": is accepted and may fail;
        "information": is done on the board.
    unknown : tuple of str
        Keys of the profile without a public value; cores that depend on them are counted too high, or without them.
    remedies : tuple of str
        What would make it fit; empty if the cores are enough.
    """

    profile: Profile
    implementation: Implementation
    layers: tuple[LayerMapping, ...]
    findings: tuple[Finding, ...] = ()
    unknown: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()

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
            "layers": [
                {
                    "name": layer.name,
                    "role": layer.role,
                    "shape": list(layer.shape),
                    "block": list(layer.block),
                    "cores": layer.cores,
                    "binding": layer.binding,
                    "utilisation": layer.utilisation,
                    "obstacles": dict(layer.obstacles),
                    "usage": {name: asdict(use) for name, use in layer.usage.items()},
                }
                for layer in self.layers
            ],
            "warnings": [each.sentence() for each in of_severity(self.findings, "caution", "information")],
            "unknown": list(self.unknown),
            "remedies": list(self.remedies),
            "obstacles": [each.sentence() for each in self.obstacles],
        }


def map_network(
    network: SpikingNetwork,
    profile: str | Profile,
    implementation: Implementation = "native",
    *,
    period: int | None = None,
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

    Raises
    ------
    ProfileError
        If the profile cannot be read, or does not give the number of the board's chips.
    UsageError
        If the implementation is unknown.
    """
    check_choice("implementation", implementation, Implementation)
    profile = load_profile(profile)
    if profile.chips is None:
        raise ProfileError(
            f"hardware profile {profile.name}: board.chips is unknown, so a network cannot be mapped; write a .toml file "
            f'with chip = "{profile.chip}" and the number of chips of your board, and pass its path'
        )
    populations = demands(
        network,
        implementation=implementation,
        bits=profile["cores.weight_bits"],
        slots=profile["cores.slots_per_soft_reset_neuron"],
        period=period,
    )
    shapes = {INPUT: network.input.shape}
    result = Mapping(
        profile,
        implementation,
        place(populations, shapes, profile),
        tuple(findings_for(network, profile, implementation)),
        tuple(f"cores.{key}" for key, quantity in profile.sections["cores"].items() if quantity.value is None),
    )
    if result.enough_cores:
        return result
    remedies = remedies_for(result.layers, populations, shapes, profile)
    if implementation == "stock":
        native = map_network(network, profile, "native")
        remedies += (f"native neurons take {native.cores:,} cores and {'fit' if native.fits else 'do not fit either'}",)
    return replace(result, remedies=remedies)
