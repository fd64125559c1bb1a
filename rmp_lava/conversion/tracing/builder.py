"""Make populations of expressions and collect findings: the state that the rules work on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ...findings import Finding, Severity
from ...network import INPUT, Layer, Neurons
from . import expressions
from .calls import Call, Calls, Ref
from .dead import compact
from .expressions import Expression
from .maps import Convolution, NotComposableError
from .operation_kinds import Operations, key
from .prepared import Prepared
from .remedies import ObstacleError, obstacle

APART = {
    "unfolded": "cannot be folded exactly",
    "enormous": "would make an enormous matrix of the next layer's weights",
}
"""For each kind of a pooling's note, why the pooling is not folded as requested."""


class SilentObstacleError(Exception):
    """An operation fails because of an obstacle upstream that is reported already."""


class NotAnImageError(ObstacleError):
    """An operation on images gets elements that are not in the order of an image."""


@dataclass
class Rectifier:
    """A ReLU of the network, which became a population of its own.

    module : Name of the module that rectifies.
    call : Number of its call.
    x : What it rectifies.
    clip : () or (channels,) ceiling of its activations, or None.
    ceiling_of : Population whose activations it clips, and does nothing else; or None.
    shift : Constant that was added to its input later; or None.
    """

    module: str
    call: int
    x: Expression
    clip: np.ndarray | None
    ceiling_of: str | None
    shift: float | None = None


class Builder:
    """The network up to some call.

    Attributes
    ----------
    layers : list of Layer
    findings : list of Finding
    keep_pooling : bool
        Whether average pooling becomes layers of its own.
    logits : torch.Tensor or None
    number : int
        Of the call that a rule is applied to.
    substitutes : dict
        By the number of a call, the function that takes its place where the network is computed again for a comparison:
        without rounding, and without what is left out at the end.
    """

    def __init__(
        self, calls: Calls, pooling: str, ending: frozenset[int] = frozenset(), prepared: Prepared | None = None
    ) -> None:
        self.layers: list[Layer] = []
        self.findings: list[Finding] = []
        self.keep_pooling = pooling == "layer"
        self.logits: torch.Tensor | None = None
        self.number = 0
        self.substitutes: dict[int, Callable[..., Any]] = {}
        self._ending = ending
        self._decided: set[int] = set()
        """Calls that decide for the largest output, and those after them."""
        self._roundings: list[tuple[str, Expression, str, float | None]] = []
        self._calls = calls.calls
        self._tensors = calls.values
        self._batch = calls.values[0].shape[0]
        self._folded: dict[expressions.Note, list[str]] = {}
        self._unknown: set[str] = set()
        self._weights: dict[tuple, list[str]] = {}
        self._rectifiers: dict[str, Rectifier] = {}
        """By the name of their population."""
        self._merged: dict[str, str] = {}
        """Ceilings that became the clip of another population, and this one."""
        # Ids of the terms and of the bias of an expression -> the populations made to hold it, which several branches may
        # read. Views of one expression share both. They are kept, so that their ids stay unique.
        self._holders: dict[tuple[int, int], tuple[Expression, tuple[str, ...]]] = {}
        self._depths: dict[str, int] = {}
        view = tuple(calls.values[0].shape[1:])
        self.input_shape = _input_shape(calls)
        self._values: list[Any] = [
            _of_input(self.input_shape, view, prepared) if len(self.input_shape) in (1, 3) else self._opaque(view)
        ]

    # What the rules use

    def values(self, ref: Ref) -> Any:
        """The expression of a tensor, or the tuple of them."""
        return self._values[ref.number]

    def tensor(self, ref: Ref) -> torch.Tensor:
        """The tensor that PyTorch computed."""
        return self._tensors[ref.number]

    def take(self, call: Call, ref: Ref) -> Expression:
        """The expression of an operand; a pooling that is to be kept becomes a population here."""
        x = self.values(ref)
        if not isinstance(x, Expression):
            raise obstacle(call.op)
        if not x.hold:
            return x
        held, new = self._population_that_holds(x, x.hold, x.hold)
        if new:
            self.inform(x.hold, "is average pooling", "a layer of its own with spiking neurons, as requested")
        return held

    def straight(self, call: Call, ref: Ref) -> Expression:
        """The expression of an operand, with its elements in PyTorch's order."""
        x = self.take(call, ref)
        if x.order is None:
            return x
        note = expressions.Note(x.moved, "picks or moves elements")
        try:
            return replace(expressions.aligned(x), notes=(*x.notes, note))
        except NotComposableError:
            self.give_up_silently(*(self.values(part) for part in call.args if isinstance(part, Ref)))
        try:
            return replace(expressions.in_order(x), notes=(*x.notes, note))
        except NotComposableError:
            raise ObstacleError(
                f"calculates with pixels that {x.moved!r} has rearranged",
                "keep the order (N, channels, height, width), and flatten right before a linear layer",
            ) from None

    def image(self, call: Call) -> Expression:
        """The first argument, which must be an image (N, channels, height, width)."""
        x = self.take(call, call.argument(0, "input"))
        if x.order is not None:
            note = expressions.Note(x.moved, "picks or moves elements")
            try:
                x = replace(expressions.aligned(x), notes=(*x.notes, note))
            except NotComposableError:
                pass
        is_rows = len(x.view) == 2 and x.shape == (x.view[0], 1, x.view[1])
        if is_rows or len(x.view) == 4 and x.shape == (x.view[0] * x.view[1], *x.view[2:]):  # or volumes
            return replace(x, view=x.shape)
        if not x.is_image:
            self.give_up_silently(x)
            raise NotAnImageError(
                f"takes a tensor of shape (N, {', '.join(map(str, x.view))}) that has not been an image before",
                "keep images as (N, channels, height, width) up to the first linear layer",
            )
        return x

    def broadcast(self, call: Call, x: Expression) -> Expression:
        """An expression broadcast to the view of the call's result."""
        view = tuple(call.result.shape[1:])
        if x.view == view:
            return x
        try:
            index = np.broadcast_to(np.arange(math.prod(x.view)).reshape(x.view), view)
        except ValueError:
            return x
        if len(view) == 3 and x.view == x.shape == (view[0], 1, 1):
            kernel = (view[1], view[2])
            start = (view[1] - 1, view[2] - 1)
            spread = Convolution(np.ones((view[0], 1, *kernel)), x.shape, kernel, start=start, groups=view[0])
            return self.composed(call, x, lambda x: expressions.convolved(x, spread))
        try:
            return expressions.picked(x, index)
        except NotComposableError:
            raise ObstacleError(
                f"adds a tensor of shape (N, {', '.join(map(str, x.view))}) to every pixel of a larger one",
                "add tensors of equal shape",
            ) from None

    def of_one_image(self, call: Call, value: np.ndarray, x: Expression) -> np.ndarray:
        """A constant without its batch axis."""
        if value.ndim <= len(x.view):
            return value
        if value.ndim > 1 + len(x.view) or value.shape[0] not in (1, self._batch) or (value != value[:1]).any():
            raise ObstacleError("calculates with constants that differ from image to image", "use one for all images")
        return value[0]

    def give_up_silently(self, *parts: Any) -> None:
        """Stop without another finding if an operand is downstream of an obstacle."""
        for x in parts:
            if isinstance(x, Expression) and any(term.source in self._unknown for term in x.terms):
                raise SilentObstacleError

    def composed(
        self, call: Call, x: Expression, operation: Callable[[Expression], Expression], *, enormous: bool = False
    ) -> Expression:
        """`operation(x)`; if that is not exact, `operation` of the populations that hold x (see `held`).

        `enormous`: the composed map is much larger than its parts, so a pooling in x becomes populations instead.
        """
        pools = [note for note in x.notes if note.kind == "pooling"]
        if not (enormous and pools and expressions.is_nonnegative(x)):
            enormous = False
            try:
                return operation(x)
            except NotComposableError:
                pass
        if expressions.population_of(x) is not None:
            self.give_up_silently(x)
            raise _not_one_layer(call)
        if len(x.shape) == 3 and expressions.varies_by_pixel(x):
            self.give_up_silently(x)
            raise ObstacleError(
                "multiplies each pixel by another factor", "use one factor for each channel, or put a ReLU before it"
            )
        held = self.held(call, x)
        kind = "enormous" if enormous else "unfolded"
        apart = tuple(replace(note, kind=kind) for note in pools)
        for note in apart:
            self._folded.setdefault(note, [])
        try:
            return replace(operation(held), notes=apart)
        except NotComposableError:
            self.give_up_silently(x)
            raise _not_one_layer(call) from None

    def held(self, call: Call, x: Expression) -> Expression:
        """x as activations of populations of its own: one if x is never negative, else relu(x) - relu(-x).

        Reported where the populations are new, as another branch may hold x already.
        """
        if expressions.population_of(x) is not None:
            return x
        pools = [note for note in x.notes if note.kind == "pooling"]
        name = pools[-1].layer if pools else None
        plain = replace(x, notes=tuple(note for note in x.notes if note not in pools))
        if expressions.is_nonnegative(x):
            held, new = self._population_that_holds(plain, call.layer, name)
            if new and not pools:
                before = self.producer(call.args[0]) if call.args and isinstance(call.args[0], Ref) else None
                where = call.layer if before is None else before.layer
                text = f"held by {math.prod(x.shape):,} neurons, which lose nothing, as it is never negative"
                self.inform(where, "cannot be joined with what follows it", text)
            return held
        key = (id(x.terms), id(x.bias))
        new = key not in self._holders
        if new:
            self._append(call.layer, plain, name)
            positive = self.layers[-1].name
            negative = self.neurons(expressions.scaled(plain, np.array(-1.0)), self._module(positive))
            self._holders[key] = (x, (positive, expressions.sources(negative)[0]))
            found = "has no ReLU before what follows it, and the two are not one layer together"
            cost = f"{2 * math.prod(x.shape):,} neurons; a ReLU needs half as many"
            self.inform(self._module(positive), found, f"held by two populations, relu(x) and relu(-x): {cost}")
        positive, negative_name = self._holders[key][1]
        below = expressions.scaled(_seen_as(x, negative_name), np.array(-1.0))
        return expressions.added(_seen_as(x, positive), below)

    def neurons(self, x: Expression, name: str, *, clip: np.ndarray | None = None) -> Expression:
        """The activations of a new population that rectifies x, named after `name`; `clip` is () or (channels,)."""
        self._append(name, x, name, clip=clip)
        return _seen_as(x, self.layers[-1].name)

    def depth(self, x: Expression) -> int:
        """Synapses on the longest path from the input to the populations that x is made of."""
        return max((self._depths.get(name, 0) for name in expressions.sources(x)), default=0)

    def _module(self, name: str) -> str:
        """The name of the module that a population was made for."""
        return next((layer.record.get("module", name) for layer in self.layers if layer.name == name), name)

    def population(self, call: Call, x: Expression, *, clip: np.ndarray | None = None) -> Expression:
        """Make a population of neurons that rectify x, and clip it at () or (channels,) if asked to."""
        self._append(call.layer, x, None, clip=clip)
        made, source = self.layers[-1].name, expressions.population_of(x)
        is_ceiling = clip is not None and source not in (None, INPUT) and source not in self._unknown
        self._rectifiers[made] = Rectifier(call.layer, self.number, x, clip, source if is_ceiling else None)
        return _seen_as(x, made)

    def shift(self, name: str, change: float) -> bool:
        """Add a constant to the input of a population that nothing reads yet; False if that is not possible."""
        ceilings = self._ceilings()
        while name in ceilings:
            name = ceilings[name]
        readers = {layer.name for layer in self.layers for s in layer.synapses if s.source == name}
        rectifier = self._rectifiers.get(name)
        if rectifier is None or name in self._unknown or readers - ceilings.keys():
            return False
        if rectifier.shift is not None:
            return rectifier.shift == change
        number = next(i for i, layer in enumerate(self.layers) if layer.name == name)
        layer, made = self.layers[number], self._calls[rectifier.call - 1]
        bias = layer.neurons.bias_per_neuron(layer.shape)
        changed = np.full(layer.shape, change) if bias is None else bias + change
        self.layers[number] = layer.replace(neurons=layer.neurons.replace(bias=compact(changed)))
        self.substitutes[rectifier.call] = lambda x, *args, **kwargs: made.run(x + change, *args, **kwargs)
        rectifier.shift = change
        return True

    def rectified(self, call: Call, x: Expression) -> Expression:
        """A ReLU of x: a population of neurons, unless it has no effect."""
        if len(x.terms) == 1 and not any(rank == 2 for rank, _ in x.labels) and expressions.is_nonnegative(x):
            self.inform(call.layer, "rectifies values that are never negative", "left out: it has no effect")
            return x
        return self.population(call, x)

    @property
    def at_the_end(self) -> bool:
        """Whether the call is one of the last, whose results are returned."""
        return self.number in self._ending

    def reads(self, picks: tuple[tuple[str, object], ...]) -> bool:
        """Whether the next call is one of the given ones, each a name and a second argument."""
        following = self._calls[self.number] if self.number < len(self._calls) else None
        return following is not None and any(
            following.op == op and following.args[1:2] == (second,) for op, second in picks
        )

    def decide(self) -> None:
        """The call decides for the largest output; what only moves its result is left out as well."""
        self._decided.add(self.number)

    @cached_property
    def operations(self) -> Operations:
        """What the calls do, to tell activations and gates from other products; number 0 is the input."""
        reads = [tuple(x.number for x in tree_leaves(each.given) if isinstance(x, Ref)) for each in self._calls]
        return Operations(("", *(key(each.op) for each in self._calls)), ((), *reads))

    def producer(self, ref: Ref) -> Call | None:
        """The call whose result a reference is; None for the input."""
        return self._calls[ref.number - 1] if ref.number else None

    def substitute(self, function: Callable[..., Any]) -> None:
        """Put a function in the place of the call where the network is computed again for a comparison."""
        self.substitutes[self.number] = function

    def round(self, layer: str, x: Expression, start: str, levels: float | None = None) -> None:
        """Note a rounding that is left out of x; `start` is the initial potential at which firing rates round like it."""
        self._roundings.append((layer, x, start, levels))

    def merge_ceilings(self) -> None:
        """Make a ceiling on the activations of a population the clip of that population, where nothing else reads them."""
        for name, source in self._ceilings().items():
            source = self.final_name(source)
            layers = {layer.name: layer for layer in self.layers}
            readers = [layer.name for layer in self.layers for s in layer.synapses if s.source == source]
            if name not in layers or readers != [name]:
                continue
            held, ceiling = layers[source], layers[name]
            assert ceiling.clip is not None
            lowest = ceiling.clip if held.clip is None else np.minimum(ceiling.clip, held.clip)
            layers[source] = held.replace(clip=lowest, record={**ceiling.record, **held.record})
            del layers[name]
            self._merged[name] = source
            self.layers = [_reading(layer, name, source) for layer in layers.values()]

    def _ceilings(self) -> dict[str, str]:
        """Populations that only clip the activations of another one, and the other one."""
        return {name: each.ceiling_of for name, each in self._rectifiers.items() if each.ceiling_of is not None}

    def final_name(self, name: str) -> str:
        """The name of a population after `merge_ceilings`."""
        while name in self._merged:
            name = self._merged[name]
        return name

    def inform(self, layer: str, found: str, remedy: str) -> None:
        """Report a change."""
        self._add("information", layer, found, remedy)

    def count_weights(self, call: Call) -> None:
        """Record a layer with weights."""
        weight: Any = call.argument(1, "weight")
        if weight is None and isinstance(call.run, nn.Module):
            weight = call.run.weight
        key = (weight.data_ptr(), tuple(weight.shape))
        self._weights.setdefault(key, []).append(call.layer)

    def _opaque(self, view: tuple[int, ...]) -> Expression:
        """A placeholder for an expression that could not be followed, so that the search continues downstream."""
        name = f"unknown {len(self._unknown)}"
        self._unknown.add(name)
        shape = view if len(view) in (1, 3) else (math.prod(view),)
        return expressions.of_population(name, shape, view)

    def _population_that_holds(self, x: Expression, fallback: str, name: str | None) -> tuple[Expression, bool]:
        """The population that holds x, and whether it is new: another branch may read it already."""
        key = (id(x.terms), id(x.bias))
        new = key not in self._holders
        if new:
            self._append(fallback, x, name)
            self._holders[key] = (x, (self.layers[-1].name,))
        return _seen_as(x, self._holders[key][1][0]), new

    def _append(self, fallback: str, x: Expression, name: str | None, *, clip: np.ndarray | None = None) -> None:
        taken = {layer.name for layer in self.layers} | {INPUT}
        labels = [label for _, label in sorted(x.labels, key=lambda label: -label[0])] or [fallback]
        module = name or next((label for label in labels if _printable(label) not in taken), labels[0])
        name = _unique(_printable(module), taken)
        self._depths[name] = 1 + self.depth(x)
        if self._is_unknown(x):  # nothing will be converted, but the search continues
            self._unknown.add(name)
            self.layers.append(Layer(name, x.shape, (), Neurons(1.0)))
            return
        try:
            synapses = expressions.synapses(x)
        except NotComposableError:
            raise ObstacleError(
                "cannot be written exactly as one layer of synapses", "put a ReLU before it, or flatten after the ReLU"
            ) from None
        if not synapses:
            raise ObstacleError("does not depend on the input", "remove it")
        for note in x.notes:
            self._folded.setdefault(note, []).append(name)
        neurons, record = Neurons(1.0, bias=compact(x.bias)), {"module": module} | _folded_record(x)
        self.layers.append(Layer(name, x.shape, synapses, neurons, clip=clip, record=record))

    def _is_unknown(self, x: Expression) -> bool:
        return any(term.source in self._unknown for term in x.terms)

    def _add(self, severity: Severity, where: str, found: str, remedy: str) -> None:
        self.findings.append(Finding(severity, where or "model", found, remedy))


def _input_shape(calls: Calls) -> tuple[int, ...]:
    """The shape of the input's population: rows (channels, length) are an image of height 1, images without channels have one.

    The planes of a volume are channels.

    Which of the two it is shows in the first call that reads the input: it adds the axis, or it does not.
    """
    images = calls.values[0]
    view = tuple(images.shape[1:])
    if len(view) != 2:
        return view if len(view) != 4 else (view[0] * view[1], *view[2:])
    first = next((call.result for call in calls.calls if any(part == Ref(0) for part in call.args)), None)
    if isinstance(first, torch.Tensor) and first.ndim == 4 and first.numel() == images.numel():
        shape = tuple(first.shape[1:])
        if torch.equal(first.reshape(-1).float(), calls.images.reshape(-1).float()):
            return shape
    return (view[0], 1, view[1])


def _of_input(shape: tuple[int, ...], view: tuple[int, ...], prepared: Prepared | None) -> Expression:
    """The image as the network takes it."""
    x = expressions.of_population(INPUT, shape, view)
    if prepared is None or prepared.scale is None or prepared.shift is None:
        return x
    x = expressions.scaled(x, expressions.structural(x, prepared.scale))
    x = expressions.shifted(x, expressions.structural(x, prepared.shift))
    return replace(x, notes=(expressions.Note(INPUT, "is normalised"),))


def _not_one_layer(call: Call) -> ObstacleError:
    found = f"({call.op}) is not one layer of synapses here"
    return ObstacleError(found, "use convolutions on images, or flatten to (N, features) before it")


def _reading(layer: Layer, old: str, new: str) -> Layer:
    """The layer with the source `new` instead of `old`."""
    return layer.replace(synapses=tuple(s.replace(source=new) if s.source == old else s for s in layer.synapses))


def _seen_as(x: Expression, name: str) -> Expression:
    """The activations of the layer of this name, which was made of x, in the view of x."""
    return replace(expressions.of_population(name, x.shape, x.view), order=x.order, moved=x.moved)


def _folded_record(x: Expression) -> dict:
    folded = [f"{note.layer} is folded into the weights" for note in x.notes if note.kind == "pooling"]
    folded += [f"{note.layer} {APART[note.kind]} and is a layer of its own" for note in x.notes if note.kind in APART]
    return {"pooling": "; ".join(folded)} if folded else {}


def _printable(name: str) -> str:
    name = "".join(c if c.isprintable() and c != "/" else "_" for c in name).strip() or "layer"
    return "module_input" if name == INPUT else name


def _unique(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}#{number}"
    return candidate
