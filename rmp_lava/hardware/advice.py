"""What is likely to go wrong on a board, and what to change where a network does not fit, each with its number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from ..choices import Compiler, Implementation
from ..findings import Finding
from ..network import INPUT, Conv, SpikingNetwork, longest_delays
from .demand import Demand, scaled
from .placement import RESOURCES, LayerMapping, place
from .profiles import Profile, load_profile, profile_names

_WIDTHS = [n / 20 for n in range(19, 0, -1)]
"""Widths of the hidden layers that are tried, the widest first."""


def traps(network: SpikingNetwork, profile: Profile) -> Iterator[Finding]:
    """Cautions about convolutions that boards were seen to fail on, at most one of each kind ("width", "input") per layer."""
    for layer in network:
        convolutions = [synapse for synapse in layer.synapses if isinstance(synapse, Conv)]
        widths = [max(network.source_shape(synapse.source)[2], layer.shape[2]) for synapse in convolutions]
        multiple = profile.count("traps.conv_width_multiple")
        # Spikes were seen to get lost in the columns next to the multiple; the first of them is one below it.
        if multiple is not None and max(widths, default=0) >= multiple - 1:
            found = f"images are {max(widths)} columns wide; near column {multiple - 1} convolutions may drop spikes"
            yield Finding("caution", layer.name, found, f"keep them narrower than {multiple - 1}", "width")
        largest, size = profile.count("traps.conv_input_neurons"), prod(network.input.shape)
        if largest is not None and size >= largest and any(synapse.source == INPUT for synapse in convolutions):
            found = f"the input has {size:,} values; convolutions of inputs from {largest:,} on hung without an error"
            yield Finding("caution", layer.name, found, "test this layer alone first", "input")


def findings_for(network: SpikingNetwork, profile: Profile, implementation: Implementation) -> Iterator[Finding]:
    """What a network meets on a board, apart from the limits of its cores."""
    largest, limit = network.input.largest_message, profile["message_max"]
    if largest > limit:
        found = f"sends messages up to {largest}; {profile.chip} supports messages up to {limit}"
        yield Finding("obstacle", INPUT, found, "convert with --encoding rate or poisson", "message")
    yield from traps(network, profile)
    delay, longest = max(longest_delays(network).values()), profile.count("cores.delay_max")
    if implementation == "native" and longest is not None and delay > longest:
        found = f"the shortest of several paths needs a delay of {delay} steps; synapses support up to {longest}"
        yield Finding("caution", "network", found, "put layers into the short path", "delay")
    yield from _lengthened(network, profile, implementation)


def _lengthened(network: SpikingNetwork, profile: Profile, implementation: Implementation) -> Iterator[Finding]:
    """Where the board's periodic reset makes the period longer than the T for which the network was balanced."""
    base, steps = profile.count("cores.reset_interval_base"), network.balanced_steps
    if base is None or steps is None:
        return
    blank, period = int(implementation == "stock"), 1
    needed = steps + network.wait + blank
    while period < needed:
        period *= base
    if period > needed:
        with_blank = f" after {network.wait} steps of waiting" * bool(network.wait) + " with a blank step" * blank
        found = f"T = {steps}{with_blank} takes a period of {period} steps; the periodic reset needs a power of {base}"
        # Stock neurons use the additional steps for a second reset (see `backends.stock.reset_interval`).
        remedy = "" if blank else f"T = {period - network.wait} would take no longer"
        yield Finding("information", "network", found, remedy, "period")


def remedies_for(
    layers: Sequence[LayerMapping],
    others: Mapping[Compiler, Sequence[LayerMapping]],
    populations: Sequence[Demand],
    input_shape: Mapping[str, tuple[int, ...]],
    profile: Profile,
) -> tuple[str, ...]:
    """What would make a network fit whose cores are not enough, each computed; `others` are its layers by other compilers."""
    found = [_obstacle(layer) for layer in layers if not layer.fits]
    if not found:
        found.append(_larger_board({profile.compiler: layers, **others}, profile))
    return (*found, _narrower(populations, input_shape, profile))


def _obstacle(layer: LayerMapping) -> str:
    resource, needed = next(iter(layer.obstacles.items()))
    folded = any(prod(synapse.pool) > 1 for synapse in layer.demand.synapses)
    is_conv = any(synapse.kind == "conv" for synapse in layer.demand.synapses)
    remedy = "fewer source channels or a smaller kernel" if is_conv else "fewer source neurons"
    if folded:
        remedy = "pooling of its own instead of wider weights (--pooling layer)"
    return (
        f"layer {layer.name!r} needs {needed:,} {RESOURCES[resource]} even for a single neuron, and a core has "
        f"{layer.usage[resource].limit:,}; give it {remedy}"
    )


def _larger_board(by_compiler: Mapping[Compiler, Sequence[LayerMapping]], profile: Profile) -> str:
    """The smallest board that holds the network, each board by the rules of its own compiler."""
    taken = {name: sum(x.cores for x in layers) for name, layers in by_compiler.items() if all(x.fits for x in layers)}
    boards = [load_profile(name) for name in profile_names()]
    boards = [each for each in boards if each.is_board and each.chip == profile.chip and each.name != profile.name]
    enough = [
        (board.chips or 0, board.usable_cores or 0, board.name, taken[board.compiler])
        for board in boards
        if board.compiler in taken and (board.usable_cores or 0) >= taken[board.compiler]
    ]
    if not enough:
        return f"no other board of {profile.chip} has {taken[profile.compiler]:,} cores"
    chips, usable, name, cores = min(enough)
    return f"board {name} has {usable:,} cores on {chips:,} chip{'s' if chips > 1 else ''}, and the network takes {cores:,} there"


def _narrower(populations: Sequence[Demand], input_shape: Mapping[str, tuple[int, ...]], profile: Profile) -> str:
    available = profile.usable_cores or 0
    for width in _WIDTHS:
        layers = place(scaled(populations, width), input_shape, profile)
        cores = sum(layer.cores for layer in layers)
        if cores <= available and all(layer.fits for layer in layers):
            return f"width {width:g} of the hidden layers fits {available:,} cores (takes {cores:,})"
    return f"no width of the hidden layers down to {_WIDTHS[-1]:g} fits {available:,} cores"
