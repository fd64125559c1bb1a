"""Tensors of a network as affine expressions: linear maps of rectified populations, plus a constant."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ...network import Synapse
from ...network.values import per_row
from . import maps
from .composition import then_convolution
from .maps import Convolution, Map, NotComposableError, Shape


@dataclass(frozen=True, eq=False)
class Term:
    """A map of one population; its output is added to the elements from `offset` on (in C order)."""

    source: str
    linear: Map
    offset: int = 0

    @property
    def span(self) -> slice:
        """The elements that its output is added to."""
        return slice(self.offset, self.offset + math.prod(self.linear.shape))


@dataclass(frozen=True)
class Note:
    """An operation that was folded, to be reported with the layers that it is folded into."""

    layer: str
    found: str
    kind: str = ""


@dataclass(frozen=True, eq=False)
class Expression:
    """One tensor of the network, for one image.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width) or (elements,): the shape of the terms' outputs.
    terms : tuple of Term
    view : tuple of int
        PyTorch's shape without the batch: the same elements in C order, or those given by `order`.
    bias : numpy.ndarray or None
        float64, (channels, 1, 1) or of shape `shape`.
    order : numpy.ndarray or None
        For each element of the view, in C order, its index in `shape`. None: the identity.
    labels : tuple of (int, str)
        Ranks and names for a population made of this expression; the highest rank comes first.
    notes : tuple of Note
    moved : str
        Name of the operation that caused `order`.
    hold : str
        Name of a pooling that becomes a layer of its own before anything but the read-out uses it.
    """

    shape: Shape
    terms: tuple[Term, ...]
    view: Shape
    bias: np.ndarray | None = None
    order: np.ndarray | None = None
    labels: tuple[tuple[int, str], ...] = ()
    notes: tuple[Note, ...] = ()
    moved: str = ""
    hold: str = ""

    @property
    def is_image(self) -> bool:
        """Whether the tensor is (channels, height, width) both in PyTorch and in the terms."""
        return len(self.shape) == 3 and self.view == self.shape and self.order is None


def of_population(source: str, shape: Shape, view: Shape) -> Expression:
    """The activations of a population."""
    return Expression(shape, (Term(source, maps.Diagonal(np.float64(1.0).reshape(()), shape)),), view)


def population_of(x: Expression) -> str | None:
    """The population whose activations x is, element by element; None if it is anything else."""
    return x.terms[0].source if gain_of(x) == 1 else None


def gain_of(x: Expression) -> float | None:
    """The factor by which x is a multiple of a population's activations; None if it is anything else."""
    if len(x.terms) != 1 or x.bias is not None or x.order is not None:
        return None
    (term,) = x.terms
    if not isinstance(term.linear, maps.Diagonal) or term.linear.shape != x.shape:
        return None
    least, most = float(term.linear.gain.min()), float(term.linear.gain.max())
    return most if least == most else None


def sources(x: Expression) -> tuple[str, ...]:
    """The populations that x is made of, each once."""
    return tuple(dict.fromkeys(term.source for term in x.terms))


def aligned(x: Expression) -> Expression:
    """The same tensor without `order`: selected channels become rows of the maps, every n-th pixel a stride.

    Raises
    ------
    NotComposableError
        If pixels are rearranged in any other way.
    """
    if x.order is None:
        return x
    pixels = math.prod(x.shape[1:])
    if not x.order.size or len(x.view) != 3 and x.order.size % pixels:
        raise NotComposableError
    places = x.order.reshape(x.view[0] if len(x.view) == 3 else -1, -1 if len(x.view) == 3 else pixels)
    channels, inner = places[:, 0] // pixels, places[0] % pixels
    whole = np.array_equal(inner, np.arange(pixels))
    if not np.array_equal(places, channels[:, None] * pixels + inner) or not whole and len(x.view) != 3:
        raise NotComposableError
    picked = x if np.array_equal(channels, np.arange(x.shape[0])) else chosen(x, channels)
    picked = replace(picked, order=None)
    if whole:
        return picked
    return replace(convolved(picked, _subsampling(picked.shape, inner.reshape(x.view[1:]))), view=x.view)


def chosen(x: Expression, channels: np.ndarray) -> Expression:
    """The given channels of x, in this order; x is not reordered, and the view stays."""
    pixels = math.prod(x.shape[1:])
    wanted = np.isin(np.arange(x.shape[0]), channels)
    terms = []
    for term in x.terms:
        if wanted[term.span.start // pixels : -(-term.span.stop // pixels)].any():
            terms.append(Term(term.source, maps.chosen(maps.embedded(term.linear, term.offset, x.shape), channels)))
    bias = None if x.bias is None else x.bias[channels]
    return replace(x, shape=(len(channels), *x.shape[1:]), terms=tuple(terms), bias=bias)


def _subsampling(shape: Shape, inner: np.ndarray) -> Convolution:
    """The depthwise convolution that picks these pixels of an image, if they are a regular grid."""
    rows, columns = inner[:, 0] // shape[2], inner[0] % shape[2]
    stride, size = (_step(rows), _step(columns)), (len(rows), len(columns))
    grid = [first + step * np.arange(n) for first, step, n in zip((rows[0], columns[0]), stride, size, strict=True)]
    if min(stride) < 1 or not np.array_equal(inner, grid[0][:, None] * shape[2] + grid[1][None, :]):
        raise NotComposableError
    start = (-int(rows[0]), -int(columns[0]))
    return Convolution(np.ones((shape[0], 1, 1, 1)), shape, size, stride, start, groups=shape[0])


def _step(places: np.ndarray) -> int:
    return int(places[1] - places[0]) if len(places) > 1 else 1


def scaled(x: Expression, factor: np.ndarray) -> Expression:
    """`factor * x`; factor () or as returned by `structural`."""
    terms = tuple(replace(term, linear=maps.scaled(term.linear, _part(factor, term, x.shape))) for term in x.terms)
    return replace(x, terms=terms, bias=None if x.bias is None else x.bias * factor)


def _part(factor: np.ndarray, term: Term, shape: Shape) -> np.ndarray:
    """The part of a factor that applies to a term, in the shape of the term's output."""
    if factor.ndim == 0 or term.linear.shape == shape:
        return factor
    if len(term.linear.shape) == 3 and len(shape) == 3 and math.prod(factor.shape[1:]) == 1:
        first = term.offset // math.prod(shape[1:])
        return factor[first : first + term.linear.shape[0]]
    return np.broadcast_to(factor, shape).reshape(-1)[term.span].reshape(term.linear.shape)


def shifted(x: Expression, constant: np.ndarray) -> Expression:
    """`x + constant`; constant () or as returned by `structural`."""
    if constant.ndim == 0:
        constant = np.full((x.shape[0],) + (1,) * (len(x.shape) - 1), float(constant))
    return replace(x, bias=constant if x.bias is None else x.bias + constant)


def structural(x: Expression, constant: np.ndarray) -> np.ndarray:
    """A constant that PyTorch broadcasts to the view, in the shape for `scaled` and `shifted`.

    Raises
    ------
    NotComposableError
        If broadcasting would enlarge the tensor.
    """
    if constant.size == 1:
        return constant.reshape(())
    if constant.ndim > len(x.view):
        raise NotComposableError
    shape: Shape = (1,) * (len(x.view) - constant.ndim) + constant.shape
    constant = constant.reshape(shape)
    if any(n not in (1, m) for n, m in zip(shape, x.view, strict=True)):
        raise NotComposableError
    if len(shape) == 4 and math.prod(constant.shape[2:]) == 1 and x.shape == (x.view[0] * x.view[1], *x.view[2:]):
        return np.broadcast_to(constant, (*x.view[:2], 1, 1)).reshape(-1, 1, 1)  # the planes of a volume
    if math.prod(constant.shape[1:]) == 1 and x.view[0] == x.shape[0]:
        return per_row(constant, len(x.shape))
    return np.broadcast_to(constant, x.view).reshape(x.shape)


def flattened(x: Expression) -> Expression:
    """The same tensor with flat terms."""
    if len(x.shape) == 1:
        return x
    bias = None if x.bias is None else np.broadcast_to(x.bias, x.shape).reshape(-1)
    return replace(x, shape=(math.prod(x.shape),), bias=bias)


def added(x: Expression, y: Expression) -> Expression:
    """`x + y`; the views are equal and neither is reordered."""
    if x.shape != y.shape:
        x, y = flattened(x), flattened(y)
    biases = [b for b in (x.bias, y.bias) if b is not None]
    return replace(
        x,
        terms=_merged_diagonals(x.terms + y.terms),
        bias=sum(biases[1:], biases[0]) if biases else None,
        labels=tuple(dict.fromkeys(x.labels + y.labels)),
        notes=tuple(dict.fromkeys(x.notes + y.notes)),
    )


def _merged_diagonals(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """The same sum with one term for all multiples of one population, so that `q + (x - q)` is x."""
    kept: dict[tuple, Term] = {}
    for term in terms:
        gain = term.linear.gain if isinstance(term.linear, maps.Diagonal) else None
        key = (id(term),) if gain is None else (term.source, term.offset, term.linear.shape)
        if key in kept and gain is not None:
            before = kept[key].linear
            assert isinstance(before, maps.Diagonal)
            kept[key] = replace(term, linear=replace(before, gain=before.gain + gain))
        else:
            kept[key] = term
    return tuple(
        term for term in kept.values() if not isinstance(term.linear, maps.Diagonal) or bool(np.any(term.linear.gain))
    )


def concatenated(parts: list[Expression], view: Shape) -> Expression:
    """Concatenate along the first axis of the view; no part is reordered."""
    if any(len(x.shape) != 3 or x.shape[1:] != parts[0].shape[1:] for x in parts):
        parts = [flattened(x) for x in parts]
    shape = (sum(x.shape[0] for x in parts), *parts[0].shape[1:])
    terms: list[Term] = []
    offset = 0
    for x in parts:
        terms += [replace(term, offset=term.offset + offset) for term in x.terms]
        offset += math.prod(x.shape)
    labels = tuple(dict.fromkeys(label for x in parts for label in x.labels))
    notes = tuple(dict.fromkeys(note for x in parts for note in x.notes))
    bias = None
    if any(x.bias is not None for x in parts):
        uniform = all(x.bias is None or math.prod(x.bias.shape[1:]) == 1 for x in parts)
        shapes = [(x.shape[0],) + (1,) * (len(shape) - 1) if uniform else x.shape for x in parts]
        biases = [np.broadcast_to(0.0 if x.bias is None else x.bias, s) for x, s in zip(parts, shapes, strict=True)]
        bias = np.concatenate(biases)
    return Expression(shape, tuple(terms), view, bias, None, labels, notes)


def joined(parts: list[Expression], axis: int) -> Expression:
    """Concatenate along any axis of the view; no part is reordered, and the views differ in that axis only."""
    sizes = [math.prod(x.view) for x in parts]
    starts = np.cumsum([0, *sizes])
    numbers = [start + np.arange(n).reshape(x.view) for start, n, x in zip(starts, sizes, parts, strict=False)]
    index = np.concatenate(numbers, axis)
    return rearranged(concatenated(parts, (sum(sizes),)), index.reshape(-1), index.shape)


def constant(value: np.ndarray) -> Expression:
    """A tensor that does not depend on the image; value float64 of its view."""
    view = value.shape
    shape = view if len(view) in (1, 3) else (view[0], 1, view[1]) if len(view) == 2 else (value.size,)
    return Expression(shape, (), view, value.reshape(shape))


def split(x: Expression) -> list[Expression]:
    """The parts that an image is a concatenation of, along its channels: no term reaches into two of them."""
    pixels = math.prod(x.shape[1:])
    starts = [0]
    reached = 0
    for term in sorted(x.terms, key=lambda term: term.offset):
        first = term.offset // pixels
        if first >= reached > starts[-1]:
            starts.append(reached)
        if first > reached:
            starts.append(first)
        reached = max(reached, -(-term.span.stop // pixels))
    ends = [*starts[1:], x.shape[0]]
    return [_channel_range(x, first, last) for first, last in zip(starts, ends, strict=True)]


def _channel_range(x: Expression, first: int, last: int) -> Expression:
    if (first, last) == (0, x.shape[0]):
        return x
    pixels, shape = math.prod(x.shape[1:]), (last - first, *x.shape[1:])
    terms = tuple(
        replace(term, offset=term.offset - first * pixels)
        for term in x.terms
        if first * pixels <= term.offset < last * pixels
    )
    bias = None if x.bias is None else x.bias[first:last]
    return replace(x, shape=shape, terms=terms, view=shape, bias=bias)


def convolved(x: Expression, conv: Convolution) -> Expression:
    """A convolution of an image; the caller sets labels and notes.

    Raises
    ------
    NotComposableError
        If a term and the convolution are not one convolution together.
    """
    terms = []
    inputs, outputs = conv.source_shape[0] // conv.groups, conv.weight.shape[0] // conv.groups
    for term in x.terms:
        if len(term.linear.shape) != 3:
            raise NotComposableError
        first, channels = term.offset // math.prod(x.shape[1:]), term.linear.shape[0]
        if conv.groups == 1:
            part = conv.weight[:, first : first + channels]
            second = replace(conv, weight=part, source_shape=term.linear.shape)
            terms.append(Term(term.source, then_convolution(term.linear, second)))
        elif first % inputs == channels % inputs == 0:  # groups of its own, as in a pooling of concatenated images
            groups = slice(first // inputs, (first + channels) // inputs)
            part = conv.weight[groups.start * outputs : groups.stop * outputs]
            second = replace(conv, weight=part, source_shape=term.linear.shape, groups=groups.stop - groups.start)
            offset = groups.start * outputs * math.prod(conv.size)
            terms.append(Term(term.source, then_convolution(term.linear, second), offset))
        else:
            whole = maps.embedded(term.linear, term.offset, x.shape)
            terms.append(Term(term.source, then_convolution(whole, conv)))
    bias = None if x.bias is None else _convolved_bias(x.bias, x.shape, conv)
    return replace(x, shape=conv.shape, terms=tuple(terms), view=conv.shape, bias=bias)


def _convolved_bias(bias: np.ndarray, shape: Shape, conv: Convolution) -> np.ndarray:
    """One value per channel if no window reads padding, else one per position."""
    image = maps.convolved_image(np.broadcast_to(bias, shape), conv)
    ends = [
        (n - 1) * s - p + (k - 1) * d
        for n, s, p, k, d in zip(conv.size, conv.stride, conv.start, conv.kernel, conv.dilation, strict=True)
    ]
    inside = all(p <= 0 for p in conv.start) and all(e < n for e, n in zip(ends, shape[1:], strict=True))
    return image[:, :1, :1] if inside and math.prod(bias.shape[1:]) == 1 else image


def multiplied(x: Expression, weight: np.ndarray) -> Expression:
    """`weight @ x` for a view of one axis; weight float64 (outputs, elements of the view)."""
    size = math.prod(x.shape)
    if x.order is not None:
        weight = _columns_in_place(weight, x.order, size)
    terms = tuple(Term(term.source, maps.then_matrix(weight[:, term.span], term.linear)) for term in x.terms)
    bias = None if x.bias is None else weight @ np.broadcast_to(x.bias, x.shape).reshape(-1)
    return replace(x, shape=(len(weight),), terms=terms, view=(len(weight),), bias=bias, order=None)


def in_order(x: Expression) -> Expression:
    """The same tensor without `order`, by matrices that move its elements; its terms are flat.

    Raises
    ------
    NotComposableError
        If the matrices would be too large.
    """
    if not _is_small_as_matrix(x):
        raise NotComposableError
    flat = flattened(replace(x, order=None))
    return flat if x.order is None else chosen(flat, x.order)


def ordered(x: Expression) -> Expression:
    """The same tensor without `order`: as `aligned` gives it, else `in_order`, whose errors it raises."""
    try:
        return aligned(x)
    except NotComposableError:
        return in_order(x)


def _is_small_as_matrix(x: Expression) -> bool:
    """Whether matrices that move the elements of x are of acceptable size."""
    sources = sum(math.prod(term.linear.source_shape) for term in x.terms)
    return math.prod(x.view) * sources <= maps.LARGEST_MATRIX // 2


def makes_enormous_matrix(x: Expression, weight: np.ndarray) -> bool:
    """Whether `multiplied` would need more weights than `weight` has, and more than `maps.LARGEST_MATRIX`."""
    elements = sum(len(weight) * math.prod(term.linear.source_shape) for term in x.terms)
    return elements > max(weight.size, maps.LARGEST_MATRIX)


def _columns_in_place(weight: np.ndarray, order: np.ndarray, size: int) -> np.ndarray:
    """Columns moved to the elements that they read; columns that read the same element are added."""
    result = np.zeros((size, len(weight)))
    by_place = np.argsort(order, kind="stable")
    places, starts, counts = np.unique(order[by_place], return_index=True, return_counts=True)
    for i in range(counts.max()):
        more = counts > i
        result[places[more]] += weight.T[by_place[starts[more] + i]]
    return result.T


def rearranged(x: Expression, index: np.ndarray, view: Shape) -> Expression:
    """The elements `index` of the view, in the shape `view`."""
    order = index if x.order is None else x.order[index]
    same = order.size == math.prod(x.shape) and np.array_equal(order, np.arange(order.size))
    return replace(x, view=view, order=None if same else order)


def picked(x: Expression, index: np.ndarray) -> Expression:
    """The elements `index` of the view, in its shape and without `order`; raises as `in_order` does."""
    return ordered(rearranged(x, index.reshape(-1), index.shape))


def varies_by_pixel(x: Expression) -> bool:
    """Whether activations are multiplied by factors that differ between the pixels of a channel."""
    gains = [term.linear.gain for term in x.terms if isinstance(term.linear, maps.Diagonal)]
    return any(gain.ndim > 0 and math.prod(gain.shape[1:]) != 1 for gain in gains)


def is_nonnegative(x: Expression) -> bool:
    """Whether no element can be negative: populations are rectified and the input is in [0, 1]."""
    return (x.bias is None or x.bias.min() >= 0) and all(maps.is_nonnegative(term.linear) for term in x.terms)


def synapses(x: Expression) -> tuple[Synapse, ...]:
    """The terms as synapses of one population of shape `x.shape`; terms of equal source and geometry are added.

    Raises
    ------
    NotComposableError
        If a term is neither a convolution nor a matrix of acceptable size.
    """
    by_source: dict[str, list[Map]] = {}
    for term in x.terms:
        by_source.setdefault(term.source, []).append(maps.embedded(term.linear, term.offset, x.shape))
    found = []
    for source, linears in by_source.items():
        forms: list[Map] = [maps.as_matrix(linear) for linear in linears] if len(x.shape) == 1 else linears
        found += [maps.synapse(source, linear) for linear in maps.merged(forms)]
    return tuple(found)
