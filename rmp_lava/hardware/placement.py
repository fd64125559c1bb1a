"""How populations are split over cores: the rules that the compilers' printed tables show, see docs/hardware.md.

Both generations of lava-loihi's compiler start with blocks of as many neurons as a core holds and divide them by the ratio to the
most exceeded limit, again and again, until all limits hold. They differ in their limits and in how they divide images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from math import ceil, prod

import numpy as np

from .demand import Demand, Role, SynapseDemand
from .profiles import Profile

RESOURCES = {
    "neurons": "neurons",
    "groups": "neuron groups",
    "synapse_words": "synapse words",
    "axons_in": "input axons",
    "axons_out": "output axons",
    "input_entries": "input axons and synapse words together",
    "all_entries": "entries of all kinds together",
}
"""What a core has a limited number of: key in a profile's section `cores` -> name in messages."""

SUMS = ("input_entries", "all_entries")
"""Resources that are sums of other resources."""
_SUM_AHEAD = 0.005
"""How much fuller a sum has to be to be named; a convolution's words and its one or two input axons are nearly its words."""
_AT_ONCE = 4_000_000
"""Weights whose storage is counted at once."""
Block = tuple[int, ...]
"""The part of a population's shape that one core holds."""
_Target = tuple[Demand, SynapseDemand]
"""A population, and one of its synapses."""


@dataclass(frozen=True)
class Usage:
    """How much of one resource a population takes.

    Parameters
    ----------
    largest : int
        On its fullest core.
    mean : float
        Over its cores, as the compiler's tables print it.
    limit : int or None
        Of a core; None where it is not public.
    """

    largest: int
    mean: float
    limit: int | None

    @property
    def utilisation(self) -> float | None:
        """Share of the fullest core that is taken; above 1 where it does not fit."""
        return None if self.limit is None else self.largest / self.limit


@dataclass(frozen=True)
class LayerMapping:
    """One population on its cores.

    Parameters
    ----------
    demand : Demand
        The population, and what it asks of a chip.
    block : tuple of int
        The part of `shape` that a full core holds.
    cores : int
    usage : mapping
        Resource -> `Usage`.
    obstacles : mapping
        Resource -> what even a single neuron takes of it, where that is more than a core has.
    passes : int
        Passes of the compiler over its blocks, the last of which finds all limits kept ("converged after iteration" in its log).
    first : int
        Its first core, counted from 0; populations lie one after the other, and so do the cores of chips.
    receivers : int
        Cores that each of its messages goes to; for pulses the mean, rounded up.
    crossing : float
        Of these, the mean number on other chips than the sender's.
    """

    demand: Demand
    block: Block
    cores: int
    usage: Mapping[str, Usage]
    obstacles: Mapping[str, int]
    passes: int = 1
    first: int = 0
    receivers: int = 0
    crossing: float = 0.0

    @property
    def name(self) -> str:
        """The population's name."""
        return self.demand.name

    @property
    def role(self) -> Role:
        """What the population is for."""
        return self.demand.role

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) or (neurons,)."""
        return self.demand.shape

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.demand.size

    @property
    def binding(self) -> str:
        """The resource of which its fullest core has the least left; sums of several only if they have much less left."""
        # A population is one group on each of its cores, however small, so groups never bind.
        shares = {name: use.utilisation or 0.0 for name, use in self.usage.items() if name != "groups"}
        return max(shares, key=lambda name: shares[name] - _SUM_AHEAD * (name in SUMS))

    @property
    def utilisation(self) -> float:
        """Utilisation of the binding resource."""
        return self.usage[self.binding].utilisation or 0.0

    @property
    def fits(self) -> bool:
        """Whether a core can hold the smallest part of it."""
        return not self.obstacles


def place(
    populations: Sequence[Demand], input_shape: Mapping[str, tuple[int, ...]], profile: Profile
) -> tuple[LayerMapping, ...]:
    """Put each population on cores of its own.

    `input_shape` maps the name of the input to its shape. If a core cannot hold even one neuron of a population, its `fits` is
    False and its number of cores follows from the other limits.
    """
    shapes = dict(input_shape) | {demand.name: demand.shape for demand in populations}
    targets = {demand.name: _targets(demand, populations) for demand in populations}
    # Each neuron sends to all targets of its population, except that each neuron that pulses sends to a part of its own.
    share = {d.name: 1 / d.size if d.role == "pulses" else 1 for d in populations}
    placed = {}
    for d in populations:
        reached = targets[d.name][: ceil(len(targets[d.name]) * share[d.name])]
        placed[d.name] = _placed(_Load(d, reached, shapes, profile))
    firsts = accumulate((layer.cores for layer in placed.values()), initial=0)
    lying = {name: replace(layer, first=first) for (name, layer), first in zip(placed.items(), firsts, strict=False)}
    per_chip = profile["cores.usable_per_chip"]
    return tuple(
        replace(
            layer,
            receivers=ceil(share[name] * sum(_cores_reached(lying[t.name]) for t, _ in targets[name])),
            crossing=share[name] * sum(_crossing(layer, lying[t.name], per_chip) for t, _ in targets[name]),
        )
        for name, layer in lying.items()
    )


def _targets(source: Demand, populations: Sequence[Demand]) -> list[_Target]:
    """One entry for each synapse that leaves the population for another one."""
    others = (other for other in populations if other.name != source.name)
    return [(other, s) for other in others for s in other.synapses if s.source == source.name]


def _cores_reached(layer: LayerMapping) -> int:
    """Cores that one message reaches: all of a flat population; of an image, those that hold its position."""
    return ceil(layer.shape[0] / layer.block[0]) if layer.demand.is_image else layer.cores


def _crossing(source: LayerMapping, target: LayerMapping, per_chip: int) -> float:
    """Cores on other chips that a message reaches, mean over the source's cores, as if all of them sent as much.

    The cores of an image lie in the order of its channels, and within them of its positions; a message reaches the core that
    holds the same place of the target's image, once for each part of the channels.
    """
    senders = np.arange(source.cores)
    chips = (source.first + senders) // per_chip
    reached = _cores_reached(target)
    tiles = target.cores // reached
    if tiles == 1:
        held = np.bincount((target.first + np.arange(target.cores)) // per_chip, minlength=int(chips.max()) + 1)
        return float((target.cores - held[chips]).mean())
    own = source.cores // ceil(source.shape[0] / source.block[0]) if source.demand.is_image else source.cores
    place = (senders % own * tiles + tiles // 2) // own
    others = [(target.first + part * tiles + place) // per_chip != chips for part in range(reached)]
    return float(sum(each.mean() for each in others))


class _Load:
    """What a block of one population takes of a core, compared with the core's limits."""

    def __init__(
        self, demand: Demand, targets: Sequence[_Target], source_shapes: Mapping[str, tuple[int, ...]], profile: Profile
    ) -> None:
        self.demand, self.targets, self.source_shapes, self.profile = demand, targets, source_shapes, profile
        limits = {name: profile.count(f"cores.{name}") for name in RESOURCES}
        limits["neurons"] = profile["cores.neurons"] // demand.slots
        self.limits = {name: limit for name, limit in limits.items() if limit is not None}
        self.known: dict[Block, dict[str, int]] = {}  # of `fullest`, as passes ask for the same block again
        # Where only non-zero weights are stored, blocks of the same size take different numbers of words.
        self.cores_differ = not demand.is_image and any(s.stored is not None for s in demand.synapses)
        # No splitting mends what the smallest block exceeds.
        self.obstacles: dict[str, int] = {}
        smallest = self.fullest((1,) * len(demand.shape))
        self.obstacles = {name: smallest[name] for name in RESOURCES if self._ratio(name, smallest) > 1}

    def of(self, block: Block, stored: Sequence[int | None] = ()) -> dict[str, int]:
        """Resource -> what a core takes of it that holds this block; `stored` are words of synapses that are known already."""
        neurons = prod(block)
        known = stored or (None,) * len(self.demand.synapses)
        loads = [self._synapse(s, block, words) for s, words in zip(self.demand.synapses, known, strict=True)]
        axons_in, words = (sum(column) for column in zip((0, 0), *loads, strict=True))
        axons_in, axons_out = max(axons_in, 1), self._axons_out(block) + neurons * self.demand.self_synapses
        return {
            "neurons": neurons,
            "groups": 1,
            "synapse_words": words,
            "axons_in": axons_in,
            "axons_out": axons_out,
            "input_entries": axons_in + words,
            "all_entries": axons_in + 1 + neurons * self.demand.slots + words + axons_out,
        }

    def parts(self, block: Block) -> list[tuple[int, dict[str, int]]]:
        """(number of cores, what each of them takes) of a population that is cut into such blocks."""
        if self.cores_differ:
            size, cores = self.demand.size, ceil(self.demand.size / block[0])
            unknown: list[int | None] = [None] * cores
            columns = [self._stored_words(s, block[0]) or unknown for s in self.demand.synapses]
            lengths = [min(block[0], size - start) for start in range(0, size, block[0])]
            kinds_of = Counter(zip(lengths, zip(*columns, strict=True), strict=True))
            return [(number, self.of((length,), words)) for (length, words), number in kinds_of.items()]
        kinds: list[tuple[int, Block]] = [(1, ())]  # how many cores hold a block of which shape
        for size, length in zip(self.demand.shape, block, strict=True):
            full, rest = divmod(size, length)
            pieces = [(full, length)] * (full > 0) + [(1, rest)] * (rest > 0)
            kinds = [(number * n, (*piece, p)) for number, piece in kinds for n, p in pieces]
        return [(number, self.of(piece)) for number, piece in kinds]

    def fullest(self, block: Block) -> dict[str, int]:
        """Resource -> the most that a core takes of it."""
        if block not in self.known:
            taken = [each for _, each in self.parts(block)] if self.cores_differ else [self.of(block)]
            self.known[block] = {name: max(each[name] for each in taken) for name in RESOURCES}
        return self.known[block]

    def exceeded(self, block: Block) -> dict[str, float]:
        """Resource -> how many times its limit a block takes, where it exceeds a limit that splitting can keep."""
        taken = self.fullest(block)
        ratios = {name: self._ratio(name, taken) for name in RESOURCES if name not in self.obstacles}
        return {name: ratio for name, ratio in ratios.items() if ratio > 1}

    def _ratio(self, name: str, taken: Mapping[str, int]) -> float:
        return taken[name] / self.limits[name] if name in self.limits else 0.0

    def _stored_words(self, s: SynapseDemand, neurons: int) -> list[int | None] | None:
        """Words on each core, of a synapse that stores non-zero weights only; None if it stores all."""
        if s.stored is None:
            return None
        bits, header = s.weight_bits + self.profile["cores.index_bits_dense"], self.profile["cores.list_bits_dense"]
        words = np.array([self._list_words(n, bits, header) for n in range(neurons + 1)])
        of_all = Fraction(s.inputs, s.stored.shape[1])  # where a part of the inputs stands for all of them
        if neurons == 1:
            return [ceil(int(n) * int(words[1]) * of_all) for n in np.count_nonzero(s.stored, axis=1)]
        at_once = max(_AT_ONCE // (s.inputs * neurons), 1) * neurons
        result: list[int | None] = []
        for first in range(0, len(s.stored), at_once):
            part = s.stored[first : first + at_once]
            counts = np.add.reduceat(part, range(0, len(part), neurons), axis=0, dtype=np.int32)
            result += [ceil(int(n) * of_all) for n in words[counts].sum(axis=1)]
        return result

    def _synapse(self, s: SynapseDemand, block: Block, stored: int | None) -> tuple[int, int]:
        """(axons, synapse words) of one synapse object."""
        if stored is not None:
            return s.inputs, stored
        if s.kind == "conv":
            return self._conv_axons(s, block), self._kernel_words(s, block[0])
        # Each weight has the index of its neuron.
        bits, header = s.weight_bits + self.profile["cores.index_bits_dense"], self.profile["cores.list_bits_dense"]
        if s.kind == "dense":
            lists_of, weights_of = s.inputs, prod(block)
        else:  # each neuron has sources of its own
            lists_of, weights_of = prod(block) * (s.inputs if s.kind == "sparse" else 1), 1
        return lists_of, lists_of * self._list_words(weights_of, bits, header)

    def _list_words(self, weights: int, bits: int, header: int) -> int:
        """Words of a list of weights; each list starts at a word of its own."""
        per_list = self.profile.count("cores.weights_per_list") or max(weights, 1)
        word = self.profile["cores.word_bits"]
        full, rest = divmod(weights, per_list)
        words = full * ceil((per_list * bits + header) / word)
        return words + (ceil((rest * bits + header) / word) if rest else 0)

    def _kernel_words(self, s: SynapseDemand, channels: int) -> int:
        """Each source channel and kernel position has a list with one weight per channel of the core."""
        per_group = ceil(self.demand.shape[0] / s.groups)
        lists = ceil(channels / per_group) * s.inputs * prod(s.kernel)
        bits, header = s.weight_bits, self.profile.count("cores.list_bits_conv")
        index = self.profile.count("cores.index_bits_conv")
        bits += self.profile["cores.index_bits_dense"] if index is None else index
        if header is None:
            return lists * self._list_words(min(channels, per_group), bits, self.profile["cores.list_bits_dense"])
        # Each weight has the bits that count the stride's columns.
        bits += (s.stride[1] - 1).bit_length()
        return lists * self._list_words(min(channels, per_group), bits, header)

    def _conv_axons(self, s: SynapseDemand, block: Block) -> int:
        per_stride = self.profile.count("cores.axons_in_per_x_stride")
        if per_stride is not None:
            return per_stride * s.stride[1]
        # Without shared axons: one for each position of the source that the block looks at.
        axes = zip(block[1:], s.stride, s.kernel, s.dilation, self.source_shapes[s.source][1:], strict=True)
        return prod(min((n - 1) * stride + (k - 1) * dilation + 1, size) for n, stride, k, dilation, size in axes)

    def _axons_out(self, block: Block) -> int:
        """One entry for each neuron and target, however many cores receive it; convolutions share those of a position."""
        neurons, per_position = prod(block), self.profile.count("cores.axons_out_per_position")
        images = sum(target.is_image and s.kind != "sparse" for target, s in self.targets)
        if per_position is None or not self.demand.is_image:
            return neurons * max(len(self.targets), 1)
        each = neurons * (len(self.targets) - images if self.targets else 1)
        if self.profile.count("cores.axons_out_times_x_stride"):
            per_position *= max((s.stride[1] for s in self.demand.synapses if s.kind == "conv"), default=1)
        return each + images * prod(block[1:]) * per_position


def _placed(load: _Load) -> LayerMapping:
    """One population on its cores; their number does not depend on other populations."""
    demand = load.demand
    if demand.is_image:
        block, passes = _split_image(load, tiles=load.profile.compiler == "newer")
    else:
        neurons, passes = _fewest_cores(load) if load.profile.compiler == "nxtf" else _split_flat(load)
        block = (neurons,)
    parts = load.parts(block)
    cores = sum(number for number, _ in parts)
    usage = {}
    for name in RESOURCES:
        mean = sum(number * taken[name] for number, taken in parts) / cores
        usage[name] = Usage(max(taken[name] for _, taken in parts), mean, load.limits.get(name))
    shown = tuple(map(min, block, demand.shape))
    return LayerMapping(demand, shown, cores, usage, load.obstacles, passes)


def _split_flat(load: _Load) -> tuple[int, int]:
    """(neurons on a core, passes): what a core may hold is divided by the whole ratio to the limit until all fits.

    It starts from a core's neurons, not from the layer's, so blocks are 4095, 2047, 1023 .. where the ratio is 2.
    """
    most, passes = load.limits["neurons"], 1
    while most > 1 and (exceeded := load.exceeded((min(most, load.demand.size),))):
        most, passes = max(most // ceil(max(exceeded.values())), 1), passes + 1
    return min(most, load.demand.size), passes


def _fewest_cores(load: _Load) -> tuple[int, int]:
    """(neurons on a core, passes): as many as fit."""
    fits, most = 1, min(load.limits["neurons"], load.demand.size)
    while fits < most:
        middle = (fits + most + 1) // 2
        if load.exceeded((middle,)):
            most = middle - 1
        else:
            fits = middle
    return fits, 1


def _split_image(load: _Load, *, tiles: bool) -> tuple[Block, int]:
    """(block, passes): each pass divides channels where the words do not fit, then columns and rows where the rest does not.

    Kernels are stored once per core, so only fewer channels need fewer words. Divisors are powers of two: the ratio to the limit,
    rounded down, and at least 2. Columns start at the next power of two. With `tiles`, columns and rows share a divisor of 2^e as
    2^ceil(e/2) and 2^floor(e/2); without, rows are divided when one column is left.
    """
    channels, rows, width = load.demand.shape
    columns, passes = 1 << (width - 1).bit_length(), 1
    of_words = ("synapse_words", "input_entries")
    while exceeded := load.exceeded((channels, rows, columns)):
        passes += 1
        words = max(exceeded.get(name, 0) for name in of_words)
        if words and channels > 1:
            channels = ceil(channels / 2 ** _halvings(words))
            exceeded = load.exceeded((channels, rows, columns))
            # Smaller images do not mend the words, nor the sum of all entries while the words are too many.
            if any([exceeded.pop(name, 0) for name in of_words]):
                exceeded.pop("all_entries", 0)
        rest = exceeded.values()
        if rest and rows == columns == 1:
            channels = ceil(channels / 2 ** _halvings(max(rest)))
        elif rest:
            halvings = _halvings(max(rest))
            across = min(ceil(halvings / 2) if tiles and rows > 1 else halvings, columns.bit_length() - 1)
            columns, rows = columns >> across, ceil(rows / 2 ** (halvings - across))
    return (channels, rows, columns), passes


def _halvings(ratio: float) -> int:
    """Largest power of two in a ratio above 1, but at least the first."""
    return max(int(ratio).bit_length() - 1, 1)
