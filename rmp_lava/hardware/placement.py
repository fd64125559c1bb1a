"""How one population is split over cores: the rules that lava-loihi's printed tables show, see docs/hardware.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod

from .demand import Demand, SynapseDemand
from .layer import RESOURCES, LayerMapping, Usage
from .profiles import Profile


@dataclass(frozen=True)
class _Counts:
    """One core's load."""

    neurons: int
    synapse_words: int
    axons_in: int
    axons_out: int
    groups: int = 1


def place(
    demand: Demand, targets: Sequence[Demand], source_shapes: Mapping[str, tuple[int, ...]], profile: Profile
) -> LayerMapping:
    """Split one population until each core holds its part.

    Parameters
    ----------
    targets : sequence of Demand
        Populations that it sends messages to.
    source_shapes : mapping
        Name -> shape of each population that it receives messages from.

    Returns
    -------
    LayerMapping
        If not even one neuron fits into a core, `fits` is False and the number of cores is that of the other limits.
    """
    splitter = _ImageSplitter if demand.is_image else _FlatSplitter
    return splitter(demand, targets, source_shapes, profile).split()


class _Splitter:
    """What flat populations and images have in common: the loads of a block, and the comparison with the limits."""

    def __init__(self, demand: Demand, targets, source_shapes, profile: Profile) -> None:
        self.demand, self.targets, self.source_shapes, self.profile = demand, targets, source_shapes, profile
        self.limits = {name: profile[f"cores.{name}"] for name in RESOURCES}
        self.limits["neurons"] //= demand.slots
        # What the smallest block exceeds, no splitting mends.
        smallest = self.counts(self.smallest())
        self.obstacles = {name: getattr(smallest, name) for name in RESOURCES if self._excess(smallest, name) > 1}

    def _excess(self, counts: _Counts, resource: str) -> float:
        limit = self.limits[resource]
        return 0.0 if limit is None else getattr(counts, resource) / limit

    def exceeded(self, block) -> dict[str, float]:
        """Resource -> how many times its limit a block takes, for those that splitting can mend."""
        counts = self.counts(block)
        ratios = {name: self._excess(counts, name) for name in RESOURCES if name not in self.obstacles}
        return {name: ratio for name, ratio in ratios.items() if ratio > 1}

    def result(self, block, shape_of_block: tuple[int, ...], parts: list[tuple[int, _Counts]]) -> LayerMapping:
        """A mapping from the kinds of cores, each with how many there are of it."""
        cores = sum(number for number, _ in parts)
        usage = {}
        for name in RESOURCES:
            mean = sum(number * getattr(counts, name) for number, counts in parts) / cores
            usage[name] = Usage(max(getattr(counts, name) for _, counts in parts), mean, self.limits[name])
        demand = self.demand
        return LayerMapping(
            demand.name,
            demand.role,
            demand.shape,
            shape_of_block,
            cores,
            usage,
            demand.macs,
            self.obstacles,
            demand.slots,
            demand.self_synapses,
            origin=demand.origin,
            pulse_operations=demand.pulse_operations,
            constant_operations=demand.constant_operations,
        )

    def list_words(self, weights: int, bits: int, header: int) -> int:
        """Words of a list of weights, which begins at a word of its own."""
        per_list, word = self.profile["cores.weights_per_list"] or weights, self.profile["cores.word_bits"]
        full, rest = divmod(weights, per_list)
        words = full * ceil((per_list * bits + header) / word)
        return words + (ceil((rest * bits + header) / word) if rest else 0)

    def indexed_words(self, weights: int, synapse: SynapseDemand) -> int:
        """Words of one axon's list in which each weight names its neuron."""
        bits = synapse.weight_bits + self.profile["cores.index_bits_dense"]
        return self.list_words(weights, bits, self.profile["cores.list_bits_dense"])

    def counts(self, block) -> _Counts:
        raise NotImplementedError

    def smallest(self):
        raise NotImplementedError

    def split(self) -> LayerMapping:
        raise NotImplementedError


class _FlatSplitter(_Splitter):
    """Neurons without rows and columns: the number of cores is multiplied by the whole ratio to the limit, until all fits.

    Then as many neurons as fit lie on each core but the last, as long as the number of cores stays.
    """

    def smallest(self) -> int:
        return 1

    def counts(self, block: int) -> _Counts:
        words = axons = 0
        for s in self.demand.synapses:
            one_to_one = s.kind == "one_to_one"
            lists = block if one_to_one else s.inputs
            axons += lists
            words += lists * self.indexed_words(1 if one_to_one else block, s)
        # One entry for each neuron, however many cores receive it.
        axons_out = block * (max(len(self.targets), 1) + self.demand.self_synapses)
        return _Counts(block, words, max(axons, 1), axons_out)

    def split(self) -> LayerMapping:
        size, cores = self.demand.size, 1
        block = size
        while block > 1 and (exceeded := self.exceeded(block)):
            cores = min(cores * ceil(max(exceeded.values())), size)
            block = ceil(size / cores)
        block = self._fullest(block)
        full, rest = divmod(size, block)
        parts = [(full, self.counts(block))] + ([(1, self.counts(rest))] if rest else [])
        return self.result(block, (block,), parts)

    def _fullest(self, block: int) -> int:
        """The largest block that fits and needs as many cores; 3 x 50 neurons are printed for a layer of 128."""
        size = self.demand.size
        cores = ceil(size / block)
        while block < size and ceil(size / (block + 1)) == cores and not self.exceeded(block + 1):
            block += 1
        return block


class _ImageSplitter(_Splitter):
    """Images: columns are halved from the next power of two, then rows, then channels; kernels are stored once per core.

    Only fewer channels need fewer synapse words, so these are halved first where the words do not fit.
    """

    def smallest(self) -> tuple[int, int, int]:
        return (1, 1, 1)

    def split(self) -> LayerMapping:
        channels, rows, width = self.demand.shape
        block = (channels, rows, 1 << (width - 1).bit_length())
        while exceeded := self.exceeded(block):
            block = self._halved(block, "synapse_words" in exceeded)
        return self.result(block, (*block[:2], min(block[2], width)), self._parts(block))

    @staticmethod
    def _halved(block: tuple[int, int, int], channels_first: bool) -> tuple[int, int, int]:
        channels, rows, columns = block
        if channels > 1 and (channels_first or rows == columns == 1):
            return (ceil(channels / 2), rows, columns)
        if columns > 1:
            return (channels, rows, columns // 2)
        return (channels, ceil(rows / 2), columns)

    def _parts(self, block: tuple[int, int, int]) -> list[tuple[int, _Counts]]:
        """How many cores there are of each size: full ones, and what is left at the ends of the three axes."""
        kinds: list[tuple[int, tuple[int, ...]]] = [(1, ())]
        for size, length in zip(self.demand.shape, block, strict=True):
            full, rest = divmod(size, length)
            pieces = ([(full, length)] if full else []) + ([(1, rest)] if rest else [])
            kinds = [(number * n, (*piece, p)) for number, piece in kinds for n, p in pieces]
        return [(number, self.counts(piece)) for number, piece in kinds]

    def counts(self, block: tuple[int, int, int]) -> _Counts:
        channels, rows, columns = block
        neurons, positions = channels * rows * columns, rows * columns
        words = axons = 0
        for s in self.demand.synapses:
            if s.kind == "conv":
                words += self._kernel_words(s, channels)
                axons += self._conv_axons(s, rows, columns)
            else:
                lists = neurons if s.kind == "one_to_one" else s.inputs
                axons += lists
                words += lists * self.indexed_words(1 if s.kind == "one_to_one" else neurons, s)
        axons_out = self._axons_out(neurons, positions) + self.demand.self_synapses * neurons
        return _Counts(neurons, words, max(axons, 1), axons_out)

    def _kernel_words(self, s: SynapseDemand, channels: int) -> int:
        """Each source channel and kernel position has a list with one weight per channel of the core."""
        per_group = ceil(self.demand.shape[0] / s.groups)
        weights = min(channels, per_group)
        lists = ceil(channels / per_group) * s.inputs * prod(s.kernel)
        index, header = self.profile["cores.index_bits_conv"], self.profile["cores.list_bits_conv_per_x_stride"]
        bits = s.weight_bits + (self.profile["cores.index_bits_dense"] if index is None else index)
        return lists * self.list_words(
            weights, bits, self.profile["cores.list_bits_dense"] if header is None else header * s.stride[1]
        )

    def _conv_axons(self, s: SynapseDemand, rows: int, columns: int) -> int:
        per_stride = self.profile["cores.axons_in_per_x_stride"]
        if per_stride is not None:
            return per_stride * s.stride[1]
        # Without shared axons, one for each position of the source that the block looks at.
        seen = [
            (n - 1) * stride + (k - 1) * dilation + 1
            for n, stride, k, dilation in zip((rows, columns), s.stride, s.kernel, s.dilation, strict=True)
        ]
        size = self.source_shapes[s.source][1:]
        return min(seen[0], size[0]) * min(seen[1], size[1])

    def _axons_out(self, neurons: int, positions: int) -> int:
        """One entry for each neuron where a dense layer listens; convolutions share those of a position."""
        per_stride = self.profile["cores.axons_out_per_x_stride"]
        images = sum(target.is_image for target in self.targets)
        if per_stride is None:
            return neurons * max(len(self.targets), 1)
        stride = max((s.stride[1] for s in self.demand.synapses if s.kind == "conv"), default=1)
        each = neurons * (len(self.targets) - images if self.targets else 1)
        return each + images * positions * per_stride * stride
