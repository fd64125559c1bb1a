"""A network on a board: each population on its cores, whether they are enough, and what to do where they are not."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass, replace
from math import ceil

from ..choices import Implementation, listed, options
from ..errors import ProfileError, UsageError
from ..network import INPUT, SpikingNetwork
from .advice import obstacles_for, remedies_for, warnings_for
from .demand import Demand, demands
from .layer import LayerMapping
from .placement import place
from .profiles import Profile, load_profile


@dataclass(frozen=True)
class Mapping:
    """Where a network lies on a board, by the rules of the compiler's printed tables. Computed, never asked of a compiler.

    Parameters
    ----------
    profile : Profile
    implementation : {"native", "stock"}
    layers : tuple of LayerMapping
        Input neurons first, if the network has any; relays of stock neurons beside their source.
    warnings : tuple of str
        What is accepted and may go wrong.
    unknown : tuple of str
        Keys of the profile that nothing public says and that mapping therefore counts from above.
    remedies : tuple of str
        What would make it fit; empty if it does.
    obstacles : tuple of str
        What keeps it from the board however many cores that has.
    """

    profile: Profile
    implementation: str
    layers: tuple[LayerMapping, ...]
    warnings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()

    @property
    def cores(self) -> int:
        """Cores that it takes."""
        return sum(layer.cores for layer in self.layers)

    @property
    def cores_available(self) -> int:
        """Usable cores of the board."""
        return self.profile.usable_cores

    @property
    def cores_of_others(self) -> int | None:
        """Cores of the layers that cores can hold, if there are others; None if there are none."""
        return None if all(layer.fits for layer in self.layers) else sum(x.cores for x in self.layers if x.fits)

    @property
    def chips(self) -> int:
        """Chips that it takes, filled one after the other."""
        return ceil(self.cores / self.profile["cores.usable_per_chip"])

    @property
    def fits(self) -> bool:
        """Whether nothing is in the way, and there is room for it."""
        return not self.obstacles and self.has_room

    @property
    def has_room(self) -> bool:
        """Whether every layer can be split far enough, and the board has cores for all of them."""
        return all(layer.fits for layer in self.layers) and self.cores <= self.cores_available

    def __getitem__(self, name: str) -> LayerMapping:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def summary(self) -> dict:
        """Plain values for JSON."""
        return {
            "profile": self.profile.name,
            "implementation": self.implementation,
            "fits": self.fits,
            "cores": self.cores,
            "cores_available": self.cores_available,
            "chips": self.chips,
            "chips_available": self.profile.chips,
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
                    "usage": {
                        name: {"largest": use.largest, "mean": use.mean, "limit": use.limit}
                        for name, use in layer.usage.items()
                    },
                }
                for layer in self.layers
            ],
            "warnings": list(self.warnings),
            "unknown": list(self.unknown),
            "remedies": list(self.remedies),
            "obstacles": list(self.obstacles),
        }


def map_network(network: SpikingNetwork, profile: str | Profile, implementation: str = "native") -> Mapping:
    """Map a network to the cores of a board.

    Parameters
    ----------
    network : SpikingNetwork
        Integer; of a float one each weight is counted with all bits that the profile has.
    profile : str or Profile
        Name or path of a hardware profile; a chip counts as a board with one chip.
    implementation : {"native", "stock"}
        RMP neurons of their own, or stock LIF neurons, whose synapses to themselves and relays need room too.

    Returns
    -------
    Mapping

    Raises
    ------
    ProfileError
        If the profile cannot be read, or does not know how many chips the board has.
    UsageError
        If the implementation is unknown.
    """
    if implementation not in options(Implementation):
        raise UsageError(f"implementation is {implementation!r}; choose one of {listed(Implementation)}")
    profile = load_profile(profile) if isinstance(profile, str) else profile
    if profile.chips is None:
        raise ProfileError(
            f"hardware profile {profile.name}: board.chips is unknown, so nothing can be said of what fits; write a board's "
            f'.toml file with chip = "{profile.chip}" and the number of chips that yours has, and pass its path'
        )
    populations = demands(
        network,
        implementation=implementation,
        bits=profile["cores.weight_bits"],
        slots=profile["cores.slots_per_soft_reset_neuron"],
    )
    shapes = {INPUT: network.input.shape}
    result = Mapping(
        profile,
        implementation,
        place_all(populations, shapes, profile),
        warnings_for(network, profile, implementation),
        tuple(f"cores.{key}" for key in profile.sections["cores"] if profile[f"cores.{key}"] is None),
        obstacles=obstacles_for(network, profile),
    )
    if result.has_room:
        return result

    def layers_of(changed: list[Demand]) -> tuple[LayerMapping, ...]:
        return place_all(changed, shapes, profile)

    remedies = remedies_for(result.layers, populations, profile, layers_of)
    if implementation == "stock":
        native = map_network(network, profile, "native")
        fit = "fit" if native.fits else "do not fit either"
        remedies += (f"native neurons take {native.cores:,} cores and {fit}",)
    return replace(result, remedies=remedies)


def place_all(
    populations: list[Demand], input_shape: MappingType[str, tuple[int, ...]], profile: Profile
) -> tuple[LayerMapping, ...]:
    """Each population on cores of its own, as the compiler places them."""
    shapes = dict(input_shape) | {demand.name: demand.shape for demand in populations}
    targets = {demand.name: _targets(demand, populations) for demand in populations}
    # Every neuron sends to all targets of its population, but those that pulse send to a part, each to another.
    each = {d.name: 1 / d.size if d.role == "pulses" else 1 for d in populations}
    placed = {}
    for d in populations:
        number = ceil(len(targets[d.name]) * each[d.name])
        placed[d.name] = place(d, targets[d.name][:number], shapes, profile)
    return tuple(
        replace(layer, receivers=ceil(each[name] * sum(_cores_reached(placed[t.name], t) for t in targets[name])))
        for name, layer in placed.items()
    )


def _targets(source: Demand, populations: list[Demand]) -> list[Demand]:
    others = (other for other in populations if other.name != source.name)
    return [other for other in others for s in other.synapses if s.source == source.name]


def _cores_reached(layer: LayerMapping, target: Demand) -> int:
    """Of one message: all cores of a flat population; of an image, those of its position."""
    return layer.channel_blocks if target.is_image else layer.cores
