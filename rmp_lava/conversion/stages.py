"""What each stage of a conversion reaches, all on the same images: how much the network loses, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..scores import Score
from ..tables import Table, table


@dataclass(frozen=True)
class Stage:
    """What one form of the network reaches; `images` is their number."""

    name: str
    images: int
    score: Score
    note: str = ""

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: the figures of the score by name."""
        return {"name": self.name, "images": self.images, **self.score.summary(), "note": self.note}


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
