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
    def origin(self) -> str:
        """Of a relay: the population whose spikes it repeats; else empty."""
        return self.demand.origin

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
    def channel_blocks(self) -> int:
        """Cores that hold channels of the same image positions."""
        return ceil(self.shape[0] / self.block[0])

    @property
    def utilisation(self) -> float:
        """Utilisation of the binding resource."""
        return self.usage[self.binding].utilisation or 0.0

    @property
    def fits(self) -> bool:
        """Whether a core can hold the smallest part of it."""
        return not self.obstacles


@dataclass(frozen=True)
class _Counts:
    """One core's load; fields are named after `RESOURCES`."""

    neurons: int
    synapse_words: int
    axons_in: int
    axons_out: int
    groups: int = 1


def place(
    populations: Sequence[Demand], input_shape: Mapping[str, tuple[int, ...]], profile: Profile
) -> tuple[LayerMapping, ...]:
    """Put each population on cores of its own.

    Parameters
    ----------
    populations : sequence of Demand
    input_shape : mapping
        Name of the input -> its shape.
    profile : Profile

    Returns
    -------
    tuple of LayerMapping
        If a core cannot hold even one neuron of a population, its `fits` is False and its number of cores follows from the
        other limits.
    """
    shapes = dict(input_shape) | {demand.name: demand.shape for demand in populations}
    targets = {demand.name: _targets(demand, populations) for demand in populations}
    # Each neuron sends to all targets of its population, except that each neuron that pulses sends to a part of its own.
    share = {d.name: 1 / d.size if d.role == "pulses" else 1 for d in populations}
    placed = {}
    for d in populations:
        reached = targets[d.name][: ceil(len(targets[d.name]) * share[d.name])]
        splitter = _ImageSplitter if d.is_image else _FlatSplitter
        placed[d.name] = splitter(d, reached, shapes, profile).split()
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
    return layer.channel_blocks if layer.demand.is_image else layer.cores


class _Splitter:
    """The load of a block and its comparison with the limits; how to split is up to the subclasses."""

    def __init__(
        self, demand: Demand, targets: Sequence[Demand], source_shapes: Mapping[str, tuple[int, ...]], profile: Profile
    ) -> None:
        self.demand, self.targets, self.source_shapes, self.profile = demand, targets, source_shapes, profile
        self.limits = {name: profile.count(f"cores.{name}") for name in RESOURCES}
        self.limits["neurons"] = profile["cores.neurons"] // demand.slots
        # No splitting mends what the smallest block exceeds.
        smallest = self.counts((1,) * len(demand.shape))
        self.obstacles = {name: getattr(smallest, name) for name in RESOURCES if self._excess(smallest, name) > 1}

    def counts(self, block: Block) -> _Counts:
        """The load of a core that holds this block."""
        raise NotImplementedError

    def split(self) -> LayerMapping:
        """Split the population until each core holds its part."""
        raise NotImplementedError

    def exceeded(self, block: Block) -> dict[str, float]:
        """Resource -> how many times its limit a block takes, where it exceeds a limit that splitting can keep."""
        counts = self.counts(block)
        ratios = {name: self._excess(counts, name) for name in RESOURCES if name not in self.obstacles}
        return {name: ratio for name, ratio in ratios.items() if ratio > 1}

    def _excess(self, counts: _Counts, resource: str) -> float:
        limit = self.limits[resource]
        return 0.0 if limit is None else getattr(counts, resource) / limit

    def result(self, block: Block, parts: list[tuple[int, _Counts]]) -> LayerMapping:
        """The mapping, from the kinds of cores and how many there are of each."""
        cores = sum(number for number, _ in parts)
        usage = {}
        for name in RESOURCES:
            mean = sum(number * getattr(counts, name) for number, counts in parts) / cores
            usage[name] = Usage(max(getattr(counts, name) for _, counts in parts), mean, self.limits[name])
        return LayerMapping(self.demand, block, cores, usage, self.obstacles)

    def list_words(self, weights: int, bits: int, header: int) -> int:
        """Words of a list of weights; each list starts at a word of its own."""
        per_list, word = self.profile.count("cores.weights_per_list") or weights, self.profile["cores.word_bits"]
        full, rest = divmod(weights, per_list)
        words = full * ceil((per_list * bits + header) / word)
        return words + (ceil((rest * bits + header) / word) if rest else 0)

    def indexed_words(self, weights: int, synapse: SynapseDemand) -> int:
        """Words of one axon's list in which each weight has the index of its neuron."""
        bits = synapse.weight_bits + self.profile["cores.index_bits_dense"]
        return self.list_words(weights, bits, self.profile["cores.list_bits_dense"])

    def indexed(self, synapse: SynapseDemand, neurons: int) -> tuple[int, int]:
        """(axons, synapse words) of a dense or one-to-one synapse to `neurons` neurons of a core."""
        one_to_one = synapse.kind == "one_to_one"
        lists = neurons if one_to_one else synapse.inputs
        return lists, lists * self.indexed_words(1 if one_to_one else neurons, synapse)


class _FlatSplitter(_Splitter):
    """Neurons without rows and columns: the number of cores is multiplied by the whole ratio to the limit, until all fits.

    Then all cores but the last are filled as far as the number of cores stays the same.
    """

    def counts(self, block: Block) -> _Counts:
        (neurons,) = block
        loads = [self.indexed(synapse, neurons) for synapse in self.demand.synapses]
        axons, words = (sum(column) for column in zip(*loads, strict=True)) if loads else (0, 0)
        # One entry for each neuron, however many cores receive it.
        axons_out = neurons * (max(len(self.targets), 1) + self.demand.self_synapses)
        return _Counts(neurons, words, max(axons, 1), axons_out)

    def split(self) -> LayerMapping:
        size, cores = self.demand.size, 1
        neurons = size
        while neurons > 1 and (exceeded := self.exceeded((neurons,))):
            cores = min(cores * ceil(max(exceeded.values())), size)
            neurons = ceil(size / cores)
        neurons = self._fullest(neurons)
        full, rest = divmod(size, neurons)
        parts = [(full, self.counts((neurons,)))] + ([(1, self.counts((rest,)))] if rest else [])
        return self.result((neurons,), parts)

    def _fullest(self, neurons: int) -> int:
        """The largest block that fits and needs as many cores; the tables print 3 x 50 neurons for a layer of 128."""
        size = self.demand.size
        cores = ceil(size / neurons)
        while neurons < size and ceil(size / (neurons + 1)) == cores and not self.exceeded((neurons + 1,)):
            neurons += 1
        return neurons


class _ImageSplitter(_Splitter):
    """Images: columns are halved from the next power of two, then rows, then channels; kernels are stored once per core.

    Only fewer channels need fewer synapse words, so channels are halved first where the words do not fit.
    """

    def split(self) -> LayerMapping:
        channels, rows, width = self.demand.shape
        block: Block = (channels, rows, 1 << (width - 1).bit_length())
        while exceeded := self.exceeded(block):
            block = self._halved(block, "synapse_words" in exceeded)
        return self.result((*block[:2], min(block[2], width)), self._parts(block))

    @staticmethod
    def _halved(block: Block, channels_first: bool) -> Block:
        channels, rows, columns = block
        if channels > 1 and (channels_first or rows == columns == 1):
            return (ceil(channels / 2), rows, columns)
        if columns > 1:
            return (channels, rows, columns // 2)
        return (channels, ceil(rows / 2), columns)

    def _parts(self, block: Block) -> list[tuple[int, _Counts]]:
        """How many cores there are of each size: full ones, and the remainders at the ends of the three axes."""
        kinds: list[tuple[int, Block]] = [(1, ())]
        for size, length in zip(self.demand.shape, block, strict=True):
            full, rest = divmod(size, length)
            pieces = ([(full, length)] if full else []) + ([(1, rest)] if rest else [])
            kinds = [(number * n, (*piece, p)) for number, piece in kinds for n, p in pieces]
        return [(number, self.counts(piece)) for number, piece in kinds]

    def counts(self, block: Block) -> _Counts:
        channels, rows, columns = block
        neurons, positions = channels * rows * columns, rows * columns
        words = axons = 0
        for s in self.demand.synapses:
            if s.kind == "conv":
                more = (self._conv_axons(s, rows, columns), self._kernel_words(s, channels))
            else:
                more = self.indexed(s, neurons)
            axons, words = axons + more[0], words + more[1]
        axons_out = self._axons_out(neurons, positions) + self.demand.self_synapses * neurons
        return _Counts(neurons, words, max(axons, 1), axons_out)

    def _kernel_words(self, s: SynapseDemand, channels: int) -> int:
        """Each source channel and kernel position has a list with one weight per channel of the core."""
        per_group = ceil(self.demand.shape[0] / s.groups)
        weights = min(channels, per_group)
        lists = ceil(channels / per_group) * s.inputs * prod(s.kernel)
        index, header = (
            self.profile.count("cores.index_bits_conv"),
            self.profile.count("cores.list_bits_conv_per_x_stride"),
        )
        bits = s.weight_bits + (self.profile["cores.index_bits_dense"] if index is None else index)
        return lists * self.list_words(
            weights, bits, self.profile["cores.list_bits_dense"] if header is None else header * s.stride[1]
        )

    def _conv_axons(self, s: SynapseDemand, rows: int, columns: int) -> int:
        per_stride = self.profile.count("cores.axons_in_per_x_stride")
        if per_stride is not None:
            return per_stride * s.stride[1]
        # Without shared axons: one for each position of the source that the block looks at.
        seen = [
            (n - 1) * stride + (k - 1) * dilation + 1
            for n, stride, k, dilation in zip((rows, columns), s.stride, s.kernel, s.dilation, strict=True)
        ]
        size = self.source_shapes[s.source][1:]
        return min(seen[0], size[0]) * min(seen[1], size[1])

    def _axons_out(self, neurons: int, positions: int) -> int:
        """One entry for each neuron per dense target; convolutions share the entries of a position."""
        per_stride = self.profile.count("cores.axons_out_per_x_stride")
        images = sum(target.is_image for target in self.targets)
        if per_stride is None:
            return neurons * max(len(self.targets), 1)
        stride = max((s.stride[1] for s in self.demand.synapses if s.kind == "conv"), default=1)
        each = neurons * (len(self.targets) - images if self.targets else 1)
        return each + images * positions * per_stride * stride
