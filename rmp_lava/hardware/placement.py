"""How populations are split over cores: the rules that lava-loihi's printed tables show, see docs/hardware.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

from .demand import Demand, Role, SynapseDemand
from .profiles import Profile

RESOURCES = {
    "neurons": "neurons",
    "groups": "neuron groups",
    "synapse_words": "synapse words",
    "axons_in": "input axons",
    "axons_out": "output axons",
}
"""What a core has a limited number of: key in a profile's section `cores` -> name in messages."""

Block = tuple[int, ...]
"""The part of a population's shape that one core holds."""


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
    receivers : int
        Cores that each of its messages goes to; for pulses the mean, rounded up.
    """

    demand: Demand
    block: Block
    cores: int
    usage: Mapping[str, Usage]
    obstacles: Mapping[str, int]
    receivers: int = 0

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
        """The resource of which its fullest core has the least left."""
        # A population is one group on each of its cores, however small, so groups never bind.
        names = [name for name in RESOURCES if name != "groups"]
        return max(names, key=lambda name: self.usage[name].utilisation or 0.0)

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
    return tuple(
        replace(layer, receivers=ceil(share[name] * sum(_cores_reached(placed[t.name]) for t in targets[name])))
        for name, layer in placed.items()
    )


def _targets(source: Demand, populations: Sequence[Demand]) -> list[Demand]:
    """One entry for each synapse that leaves the population for another one."""
    others = (other for other in populations if other.name != source.name)
    return [other for other in others for s in other.synapses if s.source == source.name]


def _cores_reached(layer: LayerMapping) -> int:
    """Cores that one message reaches: all of a flat population; of an image, those that hold its position."""
    return ceil(layer.shape[0] / layer.block[0]) if layer.demand.is_image else layer.cores


class _Load:
    """What a block of one population takes of a core, compared with the core's limits."""

    def __init__(
        self, demand: Demand, targets: Sequence[Demand], source_shapes: Mapping[str, tuple[int, ...]], profile: Profile
    ) -> None:
        self.demand, self.targets, self.source_shapes, self.profile = demand, targets, source_shapes, profile
        limits = {name: profile.count(f"cores.{name}") for name in RESOURCES}
        limits["neurons"] = profile["cores.neurons"] // demand.slots
        self.limits = {name: limit for name, limit in limits.items() if limit is not None}
        # No splitting mends what the smallest block exceeds.
        self.obstacles: dict[str, int] = {}
        smallest = (1,) * len(demand.shape)
        self.obstacles = {name: self.of(smallest)[name] for name in self.exceeded(smallest)}

    def of(self, block: Block) -> dict[str, int]:
        """Resource -> what a core takes of it that holds this block."""
        neurons = prod(block)
        loads = [self._synapse(synapse, block) for synapse in self.demand.synapses]  # (axons, words) each
        axons_in, words = (sum(column) for column in zip((0, 0), *loads, strict=True))
        axons_out = self._axons_out(block) + neurons * self.demand.self_synapses
        counts = {"neurons": neurons, "synapse_words": words, "axons_in": max(axons_in, 1), "axons_out": axons_out}
        return counts | {"groups": 1}

    def exceeded(self, block: Block) -> dict[str, float]:
        """Resource -> how many times its limit a block takes, where it exceeds a limit that splitting can keep."""
        taken = self.of(block)
        ratios = {name: taken[name] / limit for name, limit in self.limits.items() if name not in self.obstacles}
        return {name: ratio for name, ratio in ratios.items() if ratio > 1}

    def _synapse(self, s: SynapseDemand, block: Block) -> tuple[int, int]:
        """(axons, synapse words) of one synapse object."""
        if s.kind == "conv":
            return self._conv_axons(s, block), self._kernel_words(s, block[0])
        # Each weight has the index of its neuron.
        lists, weights = (prod(block), 1) if s.kind == "one_to_one" else (s.inputs, prod(block))
        bits = s.weight_bits + self.profile["cores.index_bits_dense"]
        return lists, lists * self._list_words(weights, bits, self.profile["cores.list_bits_dense"])

    def _list_words(self, weights: int, bits: int, header: int) -> int:
        """Words of a list of weights; each list starts at a word of its own."""
        per_list, word = self.profile.count("cores.weights_per_list") or weights, self.profile["cores.word_bits"]
        full, rest = divmod(weights, per_list)
        words = full * ceil((per_list * bits + header) / word)
        return words + (ceil((rest * bits + header) / word) if rest else 0)

    def _kernel_words(self, s: SynapseDemand, channels: int) -> int:
        """Each source channel and kernel position has a list with one weight per channel of the core."""
        per_group = ceil(self.demand.shape[0] / s.groups)
        lists = ceil(channels / per_group) * s.inputs * prod(s.kernel)
        index = self.profile.count("cores.index_bits_conv")
        header = self.profile.count("cores.list_bits_conv_per_x_stride")
        bits = s.weight_bits + (self.profile["cores.index_bits_dense"] if index is None else index)
        header = self.profile["cores.list_bits_dense"] if header is None else header * s.stride[1]
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
        neurons, per_stride = prod(block), self.profile.count("cores.axons_out_per_x_stride")
        images = sum(target.is_image for target in self.targets)
        if per_stride is None or not self.demand.is_image:
            return neurons * max(len(self.targets), 1)
        stride = max((s.stride[1] for s in self.demand.synapses if s.kind == "conv"), default=1)
        each = neurons * (len(self.targets) - images if self.targets else 1)
        return each + images * prod(block[1:]) * per_stride * stride


def _placed(load: _Load) -> LayerMapping:
    """One population on its cores; their number does not depend on other populations."""
    demand = load.demand
    block = _split_image(load) if demand.is_image else (_split_flat(load),)
    kinds: list[tuple[int, Block]] = [(1, ())]  # how many cores hold a block of which shape
    for size, length in zip(demand.shape, block, strict=True):
        full, rest = divmod(size, length)
        pieces = [(full, length)] * (full > 0) + [(1, rest)] * (rest > 0)
        kinds = [(number * n, (*piece, p)) for number, piece in kinds for n, p in pieces]
    parts = [(number, load.of(piece)) for number, piece in kinds]
    cores = sum(number for number, _ in parts)
    usage = {}
    for name in RESOURCES:
        mean = sum(number * taken[name] for number, taken in parts) / cores
        usage[name] = Usage(max(taken[name] for _, taken in parts), mean, load.limits.get(name))
    shown = tuple(map(min, block, demand.shape))
    return LayerMapping(demand, shown, cores, usage, load.obstacles)


def _split_flat(load: _Load) -> int:
    """Neurons on a core: the number of cores is multiplied by the whole ratio to the limit, until all fits.

    Then all cores but the last are filled as far as the number of cores stays the same; the tables print 3 x 50 neurons for a
    layer of 128.
    """
    size, cores = load.demand.size, 1
    neurons = size
    while neurons > 1 and (exceeded := load.exceeded((neurons,))):
        cores = min(cores * ceil(max(exceeded.values())), size)
        neurons = ceil(size / cores)
    cores = ceil(size / neurons)
    while neurons < size and ceil(size / (neurons + 1)) == cores and not load.exceeded((neurons + 1,)):
        neurons += 1
    return neurons


def _split_image(load: _Load) -> Block:
    """Columns are halved from the next power of two, then rows, then channels; kernels are stored once per core.

    Only fewer channels need fewer synapse words, so channels are halved first where the words do not fit.
    """
    channels, rows, width = load.demand.shape
    columns = 1 << (width - 1).bit_length()
    while exceeded := load.exceeded((channels, rows, columns)):
        if channels > 1 and ("synapse_words" in exceeded or rows == columns == 1):
            channels = ceil(channels / 2)
        elif columns > 1:
            columns //= 2
        else:
            rows = ceil(rows / 2)
    return channels, rows, columns
