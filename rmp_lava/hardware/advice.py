"""What is likely to go wrong on a board, and what to change where a network does not fit: each with its number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from ..network import INPUT, Conv, SpikingNetwork
from .demand import Demand, longest_delay, scaled
from .layer import LayerMapping
from .profiles import Profile, load_profile, profile_names

WORDS = {
    "neurons": "neurons",
    "groups": "neuron groups",
    "synapse_words": "synapse words",
    "axons_in": "input axons",
    "axons_out": "output axons",
}
_WIDTHS = [n / 20 for n in range(19, 0, -1)]

Place = Callable[[list[Demand]], tuple[LayerMapping, ...]]


@dataclass(frozen=True)
class Trap:
    """Something about a layer with which boards were seen to fail.

    kind : {"width", "input"}
    found, remedy : in words; "found, so remedy" is a sentence.
    """

    kind: str
    layer: str
    found: str
    remedy: str


def traps(network: SpikingNetwork, profile: Profile) -> Iterator[Trap]:
    """The known traps of convolutions that a network would meet, each once for a layer."""
    for layer in network:
        convolutions = [synapse for synapse in layer.synapses if isinstance(synapse, Conv)]
        widths = [max(network.source_shape(synapse.source)[2], layer.shape[2]) for synapse in convolutions]
        multiple = profile["traps.conv_width_multiple"]
        # The last column at which spikes were seen to get lost is one below the multiple.
        if multiple is not None and max(widths, default=0) >= multiple - 1:
            found = f"images are {max(widths)} columns wide; near column {multiple - 1} convolutions may drop spikes"
            yield Trap("width", layer.name, found, f"keep them narrower than {multiple - 1}")
        largest, size = profile["traps.conv_input_neurons"], prod(network.input.shape)
        if largest is not None and size >= largest and any(synapse.source == INPUT for synapse in convolutions):
            found = (
                f"the input has {size:,} values; convolutions of inputs from {largest:,} on have hung without an error"
            )
            yield Trap("input", layer.name, found, "try this layer alone first")


def obstacles_for(network: SpikingNetwork, profile: Profile) -> tuple[str, ...]:
    """What keeps a network from a board however many cores that has."""
    largest, limit = network.input.largest_message, profile["message_max"]
    if limit is None or largest <= limit:
        return ()
    found = f"the input sends messages up to {largest}, and {profile.chip} none above {limit}"
    return (f"{found}; convert with --encoding rate or poisson",)


def warnings_for(network: SpikingNetwork, profile: Profile, implementation: str) -> tuple[str, ...]:
    """What a network would meet on a board that a map of cores does not show."""
    found = [f"layer {trap.layer!r}: {trap.found}, so {trap.remedy}" for trap in traps(network, profile)]
    delay, limit = longest_delay(network), profile["cores.delay_max"]
    if implementation == "native" and limit is not None and delay > limit:
        found.append(
            f"the shortest of unequal paths needs a delay of {delay} steps, and synapses have {limit}; "
            "put layers into the short path"
        )
    return (*found, *_lengthened(network, profile, implementation))


def _lengthened(network: SpikingNetwork, profile: Profile, implementation: str) -> Iterator[str]:
    """The period that a board makes of that of the T for which the network was balanced, if it is another."""
    base, balanced = profile["cores.reset_interval_base"], network.provenance.get("balance")
    steps = balanced.get("steps") if hasattr(balanced, "get") else None
    if base is None or not isinstance(steps, int):
        return
    blank, period = int(implementation == "stock"), 1
    while period < steps + blank:
        period *= base
    if period > steps + blank:
        with_blank = " with a blank step" * blank
        found = (
            f"T = {steps}{with_blank} takes a period of {period} steps, as the periodic reset needs a power of {base}"
        )
        # Stock neurons use the steps that are not observed: for a reset of their own, and room below zero.
        yield found if blank else f"{found}; T = {period} would take no longer"


def remedies_for(
    layers: Sequence[LayerMapping], populations: list[Demand], profile: Profile, place: Place
) -> tuple[str, ...]:
    """What would make a network fit, each computed."""
    kinds = {demand.name: {s.kind for s in demand.synapses} for demand in populations}
    found = [_obstacle(layer, "conv" in kinds[layer.name]) for layer in layers if not layer.fits]
    if not found:
        found += _larger_board(sum(layer.cores for layer in layers), profile)
    return tuple(found + _narrower(populations, profile, place))


def _obstacle(layer: LayerMapping, is_conv: bool) -> str:
    resource, needed = next(iter(layer.obstacles.items()))
    remedy = "fewer source neurons"
    if is_conv:
        remedy = "fewer source channels or a smaller kernel (pooling that is not folded in: --pooling layer)"
    return (
        f"layer {layer.name!r} needs {needed:,} {WORDS[resource]} even for a single neuron, and a core has "
        f"{layer.usage[resource].limit:,}; give it {remedy}"
    )


def _larger_board(cores: int, profile: Profile) -> list[str]:
    boards = [load_profile(name) for name in profile_names()]
    enough = [
        b
        for b in boards
        if b.is_board and b.chip == profile.chip and (b.usable_cores or 0) >= cores and b.name != profile.name
    ]
    if not enough:
        return [f"no board of {profile.chip} has {cores:,} cores"]
    board = min(enough, key=lambda b: b.chips)
    chips = f"{board.chips:,} chip{'s' if board.chips > 1 else ''}"
    return [f"board {board.name} has {board.usable_cores:,} cores on {chips}"]


def _narrower(populations: list[Demand], profile: Profile, place: Place) -> list[str]:
    available = profile.usable_cores
    for width in _WIDTHS:
        layers = place(scaled(populations, width))
        cores = sum(layer.cores for layer in layers)
        if cores <= available and all(layer.fits for layer in layers):
            return [f"width {width:g} of the hidden layers fits {available:,} cores (takes {cores:,})"]
    return [f"no width of the hidden layers down to {_WIDTHS[-1]:g} fits {available:,} cores"]
