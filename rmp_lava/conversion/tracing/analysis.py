"""Walk the calls of a network: make populations of rectified expressions, and collect all findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from ...findings import Finding
from ...network import INPUT, Layer
from . import (  # noqa: F401 (all but two register their rules)
    activations,
    dense,
    endings,
    expressions,
    max_pooling,
    operations,
    padding,
    rounding,
    rows,
    shapes,
    volumes,
)
from .builder import APART, Builder, NotAnImageError, SilentObstacleError
from .calls import Call, Calls, Ref
from .dead import alive, reached
from .expressions import Expression
from .maps import Diagonal, NotComposableError
from .prepared import Prepared
from .remedies import ObstacleError, obstacle
from .rules import RULES

_FEW_LEVELS = 64
"""More levels than a network has time steps are no reason to choose another number of steps."""


@dataclass(frozen=True)
class Analysis:
    """Layers in order, the last one the read-out (empty if there is an obstacle), and all findings."""

    layers: tuple[Layer, ...]
    findings: tuple[Finding, ...]
    logits: torch.Tensor | None
    """Outputs for the images of the recording, without what is left out: rounding, and a softmax at the end."""
    input_shape: tuple[int, ...] = ()
    """Of the input's population."""


@torch.no_grad()
def analyse(calls: Calls, *, pooling: str = "fold", prepared: Prepared | None = None) -> Analysis:
    """Populations, synapses and findings of a recorded network.

    Parameters
    ----------
    calls : Calls
    pooling : {"fold", "layer"}
        As for `rmp_lava.conversion.trace.trace`.
    prepared : Prepared or None
        What the images went through before.
    """
    walk = _Walk(calls, pooling, endings.ending(calls), prepared)
    for i, call in enumerate(calls.calls):
        walk.follow(i + 1, call)
    walk.finish(calls)
    findings = walk.findings + walk.clip_findings() + walk.rounding_findings()
    findings += walk.copied_findings() + walk.folded_findings()
    found = tuple(dict.fromkeys(findings))
    blocked = any(f.severity == "obstacle" for f in found)
    return Analysis(() if blocked else tuple(walk.layers), found, walk.logits, walk.input_shape)


class _Walk(Builder):
    """A builder that follows the calls in order."""

    def follow(self, number: int, call: Call) -> None:
        """Apply one call."""
        assert number == len(self._values)
        self.number = number
        try:
            value = self._follow(call)
        except ObstacleError as error:
            self._add("obstacle", call.layer, error.found, error.remedy)
            value = self._opaque_result(call.result)
        except (SilentObstacleError, NotComposableError):
            value = self._opaque_result(call.result)
        self._values.append(value)
        if call.in_place and call.args and isinstance(call.args[0], Ref):
            self._overwrite(call, value)

    def _follow(self, call: Call) -> Any:
        first = call.args[0] if call.args else None
        if self.at_the_end and isinstance(first, Ref) and first.number in self._decided:
            return endings.after_decision(self, call, self.values(first))
        if call.op == "getitem" and isinstance(first, Ref) and isinstance(self.values(first), tuple):
            return self.values(first)[call.args[1]]
        if call.op == "getattr" and isinstance(first, Ref) and call.args[1] == "values":
            value = self.values(first)
            if isinstance(value, tuple):
                return value[0]
        if call.op not in RULES:
            raise obstacle(call.op)
        try:
            value = RULES[call.op](self, call)
        except NotAnImageError:
            if call.op not in dense.LINEAR:
                raise
            value = dense.as_matrix(self, call)
        if isinstance(value, Expression) and isinstance(call.result, (tuple, list)):
            value = (value,) + (None,) * (len(call.result) - 1)
        return value

    def _overwrite(self, call: Call, value: Any) -> None:
        """An in-place operation changes every tensor that shares its memory."""
        target = self.tensor(call.args[0])
        for i, other in enumerate(self._tensors[: len(self._values) - 1]):
            if not _shares_memory(target, other):
                continue
            if _same_elements(target, other) and isinstance(value, Expression):
                self._values[i] = replace(value, view=tuple(other.shape[1:]))
            else:
                text = "changes a part of a tensor in place"
                self._add("obstacle", call.layer, text, "make new tensors instead, with torch.cat or an addition")
                self._values[i] = self._opaque(tuple(other.shape[1:]))

    def _opaque_result(self, result: Any) -> Any:
        if isinstance(result, torch.Tensor):
            return self._opaque(tuple(result.shape[1:]))
        if isinstance(result, (tuple, list)):
            return tuple(self._opaque_result(part) for part in result)
        return None

    def finish(self, calls: Calls) -> None:
        """Make the read-out of the network's output, and drop layers that do not reach it."""
        output = calls.output
        refs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Ref)]
        if not isinstance(output, Ref):
            kind = "dict" if isinstance(output, dict) else "tuple or list"
            text = f"returns {len(refs)} tensors in a {kind}" if refs else "returns nothing that depends on the input"
            self._add("obstacle", "model", text, "return one tensor (N, classes), for example from a wrapper")
            return
        x = self.values(output)
        if not self._weights:
            self._add("obstacle", "model", "has no weights", "pass a network with convolutions or linear layers")
        if not isinstance(x, Expression):
            self._add("obstacle", "model", "returns no activation", "return one tensor (N, classes)")
            return
        if self._is_unknown(x) or any(f.severity == "obstacle" for f in self.findings):
            return
        self.logits = calls.again(self.substitutes) if self.substitutes else self.tensor(output)
        try:
            self._append("output", expressions.ordered(x), None)
        except (ObstacleError, NotComposableError):
            text = "returns elements in an order that no layer can produce"
            self._add("obstacle", "model", text, "return (N, classes)")
            return
        if x.hold:
            self.inform(x.hold, "is average pooling at the end", "part of the read-out")
        if not any(rank == 2 for rank, _ in x.labels):
            remedy = "read out by a layer that only integrates, with the weights of what follows the ReLU"
            self.inform("model", "ends after its last ReLU", remedy)
        self._keep(self.layers)
        self.merge_ceilings()
        self._leave_out_dead()

    def _leave_out_dead(self) -> None:
        """Leave out synapses and populations that carry nothing; a network whose outputs are constant is an obstacle."""
        found = alive(self.layers, self.input_shape)
        modules = {layer.name: layer.record.get("module", layer.name) for layer in self.layers}
        for name, source in found.zero_synapses:
            text = f"has only zero weights from {source!r}"
            self.inform(modules[name], text, "left out: these synapses carry nothing")
        for name in found.constant:
            text = "left out: its constant activation is folded into the biases of the layers that read it"
            self.inform(modules[name], "gives the same for every image", text)
        if not found.layers[-1].synapses:
            remedy = "train it, or load its trained weights before the conversion"
            self._add("obstacle", "model", "gives the same output for every image, by its weights", remedy)
            return
        self._keep(found.layers)

    def _keep(self, layers: Sequence[Layer]) -> None:
        """Continue with those of the layers that reach the output."""
        self.layers = list(reached(layers))
        kept = {layer.name for layer in self.layers}
        for layer in layers:
            if layer.name not in kept:
                self.inform(layer.record.get("module", layer.name), "does not reach the output", "left out")

    def clip_findings(self) -> list[Finding]:
        """One finding for each clipped ReLU, with the layer that clips."""
        reason = "a neuron fires at most once per step, so the clip becomes its threshold"
        kept = {layer.name for layer in self.layers}
        return [
            Finding(
                "information",
                each.module,
                f"is a ReLU clipped at {_limits(each.clip)}",
                f"kept in layer {self.final_name(name)!r}: {reason}",
            )
            for name, each in self._rectifiers.items()
            if each.clip is not None and self.final_name(name) in kept
        ]

    def rounding_findings(self) -> list[Finding]:
        """One finding for each rounding that is left out."""
        found = []
        for module, x, start, known in self._roundings:
            levels = self._levels(x) if known is None else known
            to = "to levels" if levels is None else f"to {levels:g} levels above zero"
            remedy = "left out: firing rates round more coarsely"
            if all(term.source == INPUT and isinstance(term.linear, Diagonal) for term in x.terms):
                remedy = "left out: pixels are encoded as they are"
            elif levels is None or levels <= _FEW_LEVELS:
                how = "as many steps as there are levels" if levels is None else f"{levels:g} steps, or a multiple"
                remedy = f"left out, as firing rates round: convert for {how}, with v_init {start!r}"
            found.append(Finding("information", module, f"rounds {to}", remedy))
        return found

    def _levels(self, x: Expression) -> float | None:
        """The largest value of x, whose values are rounded to integers; None if it is not limited."""
        layers = {layer.name: layer for layer in self.layers}
        clips = (each.clip for each in self._rectifiers.values() if each.clip is not None and each.x.terms is x.terms)
        clipped = next(clips, None)
        if clipped is not None:
            return float(clipped) if clipped.ndim == 0 else None
        if len(x.terms) != 1 or not isinstance(x.terms[0].linear, Diagonal) or x.terms[0].linear.gain.size != 1:
            return None
        source = self.final_name(x.terms[0].source)
        gain = float(x.terms[0].linear.gain.reshape(()))
        if source == INPUT:
            return round(gain, 6)
        clip = layers[source].clip if source in layers else None
        return None if clip is None or clip.size != 1 else round(gain * float(clip), 6)

    def copied_findings(self) -> list[Finding]:
        """One finding for each weight that is used more than once."""
        found = []
        for names in self._weights.values():
            if len(names) > 1:
                others = [repr(name) for name in dict.fromkeys(names[1:]) if name != names[0]]
                text = f"is called {len(names)} times" + (f" (also as {', '.join(others)})" if others else "")
                remedy = "copied: each call has synapses of its own with the same weights"
                found.append(Finding("information", names[0], text, remedy))
        return found

    def folded_findings(self) -> list[Finding]:
        """One finding for each folded operation, with the layers that it is folded into."""
        found, kept = [], {layer.name for layer in self.layers}
        for note, names in self._folded.items():
            if names and not kept & set(map(self.final_name, names)):
                continue  # what it is folded into is left out
            into = ", ".join(repr(name) for name in dict.fromkeys(map(self.final_name, names)) if name)
            if note.kind in APART:
                remedy = f"a layer of its own: it {APART[note.kind]}"
            else:
                remedy = f"folded into the weights of layer {into}"
            found.append(Finding("information", note.layer, note.found, remedy))
        return found


def _limits(clip: np.ndarray) -> str:
    return f"{clip:g}" if clip.ndim == 0 else f"{clip.min():g} to {clip.max():g}, depending on the channel"


def _same_elements(target: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors in the same memory have the same elements in the same order, in any shape."""
    if target.data_ptr() != other.data_ptr() or target.numel() != other.numel():
        return False
    alike = target.shape == other.shape and target.stride() == other.stride()
    return alike or target.is_contiguous() and other.is_contiguous()


def _shares_memory(target: Any, other: Any) -> bool:
    tensors = isinstance(target, torch.Tensor) and isinstance(other, torch.Tensor)
    return tensors and target.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
