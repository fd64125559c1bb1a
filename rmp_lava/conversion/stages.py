"""What each stage of a conversion reaches, all on the same images: how much the network loses, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..results import Run
from ..scores import Score
from ..tables import Table, table


class Cost(NamedTuple):
    """Of an image: messages of all layers and the input, synaptic operations, and time steps from the image to the prediction."""

    messages: float
    synaptic_operations: float
    latency: int


def cost_of(result: Run) -> Cost:
    """The cost of a run's mean image."""
    counts, operations = result.spike_counts, result.synaptic_operations
    total = sum(int(each.sum()) for each in operations.values())
    return Cost(sum(counts.values()) / result.samples, total / result.samples, result.schedule.latency)


@dataclass(frozen=True)
class Stage:
    """What one form of the network reaches; `images` is their number, `cost` of a simulated network that of an image."""

    name: str
    images: int
    score: Score
    note: str = ""
    cost: Cost | None = None

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: the figures of the score and the cost by name."""
        cost = {} if self.cost is None else self.cost._asdict()
        return {"name": self.name, "images": self.images, **self.score.summary(), "note": self.note, **cost}


class Stages(tuple[Stage, ...]):
    """Stages in the order of the conversion; prints as one line for each."""

    __slots__ = ()

    def table(self) -> Table:
        """A row for each stage."""
        rows = [(stage.name, str(stage.score), f"{stage.images:,}", stage.note) for stage in self]
        return table("", ("stage", "reached", "images", ""), rows, text_columns=(0, 3))

    def _repr_html_(self) -> str:
        return self.table().to_html()

    def __repr__(self) -> str:
        width = max((len(stage.name) for stage in self), default=0)
        figures = max((len(str(stage.score)) for stage in self), default=0)
        return "\n".join(
            f"{stage.name:{width}}  {stage.score!s:>{figures}} of {stage.images:,} images  {stage.note}".rstrip()
            for stage in self
        )
