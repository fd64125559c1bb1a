"""A table as data, with plain renderers: text for `repr`, HTML for notebooks. `report.tables` renders it on terminals."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of strings under a title; made by `table`.

    Parameters
    ----------
    title : str
        One line; empty for none.
    columns : tuple of str
        Heads of the columns; empty strings for none.
    rows : tuple of tuple of str
        Each as long as `columns`.
    text_columns : int
        That many columns at the left are text, left-aligned; the others are numbers, right-aligned.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1

    def to_text(self, max_rows: int | None = None) -> str:
        """Lines of aligned columns, without colours; rows in the middle beyond `max_rows` become one line of dots."""
        rows = self._shortened(max_rows)
        lines = [self.columns, *rows] if any(self.columns) else rows
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [
            "  ".join(
                cell.ljust(width) if i < self.text_columns else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *aligned] if self.title else aligned)

    def to_html(self) -> str:
        """A `<table>` with escaped content."""

        def line(tag: str, cells: Sequence[str]) -> str:
            aligned = (
                f'<{tag} style="text-align:{"left" if i < self.text_columns else "right"}">{html.escape(cell)}</{tag}>'
                for i, cell in enumerate(cells)
            )
            return f"<tr>{''.join(aligned)}</tr>"

        title = f'<caption style="text-align:left">{html.escape(self.title)}</caption>' if self.title else ""
        head = f"<thead>{line('th', self.columns)}</thead>" if any(self.columns) else ""
        return f"<table>{title}{head}<tbody>{''.join(line('td', row) for row in self.rows)}</tbody></table>"

    def _shortened(self, max_rows: int | None) -> list[tuple[str, ...]]:
        if max_rows is None or len(self.rows) <= max_rows:
            return list(self.rows)
        top = max_rows // 2
        return [*self.rows[:top], ("...",) * len(self.columns), *self.rows[len(self.rows) - (max_rows - 1 - top) :]]


def table(title: str, columns: Iterable[str], rows: Iterable[Sequence[object]], *, text_columns: int = 1) -> Table:
    """A `Table` of any cells, as strings; the first `text_columns` columns are text, the others numbers."""
    return Table(title, tuple(columns), tuple(tuple(str(cell) for cell in row) for row in rows), text_columns)
