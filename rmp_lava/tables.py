"""A table as data, and its renderers: text for `repr`, HTML for notebooks and the report, rich for terminals, CSV, LaTeX."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table as RichTable

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_MOST_TITLE_COLUMNS = 100
_LONGEST_NAME = 24
"""Characters of a word of text that a console should not break."""
ROWS_SHOWN = 16
"""Of a table as `repr`."""
_FORMULA = re.compile(r"[=+\-@\t\r]")
"""Beginnings of cells that spreadsheets run."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "µ": r"$\mu$",
    "α": r"$\alpha$",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "’": "'",
    "\N{REPLACEMENT CHARACTER}": "?",
} | {each: f"\\{each}" for each in "{}$&#_%"}
"""Character -> what LaTeX shows as it, with any engine and without a package."""


@dataclass(frozen=True, repr=False)
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
    text : tuple of bool
        For each column whether it is text, left-aligned, or numbers, right-aligned.
    total : bool
        The last row is a sum.
    spare : tuple of str
        Heads of columns that a console leaves out where it is too narrow for whole words, the first one first.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: tuple[bool, ...]
    total: bool = False
    spare: tuple[str, ...] = ()

    def to_text(self, max_rows: int | None = None) -> str:
        """Lines of aligned columns, without colours; rows in the middle beyond `max_rows` become one line of dots."""
        rows = self._shortened(max_rows)
        lines = [self.columns, *rows] if any(self.columns) else rows
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [
            "  ".join(
                cell.ljust(width) if text else cell.rjust(width)
                for cell, width, text in zip(line, widths, self.text, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *aligned] if self.title else aligned)

    def to_html(self, marks: Sequence[str] = ()) -> str:
        """A `<table>` with escaped content.

        `marks` are names of CSS variables: the colours of dots before the first cells of the first rows; empty for no dot.
        """

        def cell(tag: str, column: int, text: str, mark: str = "") -> str:
            side = "left" if self.text[column] else "right"
            aligned = 'class="text" ' * self.text[column] + f'style="text-align: {side}"'
            dot = f'<i style="background: var(--{mark})"></i>' if mark else ""
            return f"<{tag} {aligned}>{dot}{html.escape(printable(text))}</{tag.split()[0]}>"

        body = []
        for number, row in enumerate(self.rows):
            first = cell('th scope="row"', 0, row[0], marks[number] if number < len(marks) else "")
            rest = "".join(cell("td", i, text) for i, text in enumerate(row[1:], 1))
            total = ' class="total"' if self.total and number == len(self.rows) - 1 else ""
            body.append(f"<tr{total}>{first}{rest}</tr>")
        title = ""
        if self.title:
            line = html.escape(printable(self.title))
            title = f'<caption style="text-align: left; white-space: nowrap">{line}</caption>'
        heads = "".join(cell('th scope="col"', i, text) for i, text in enumerate(self.columns))
        head = f"<thead><tr>{heads}</tr></thead>" if any(self.columns) else ""
        words = ' class="words"' if all(self.text) else ""
        return f"<table{words}>{title}{head}<tbody>{''.join(body)}</tbody></table>"

    def __repr__(self) -> str:
        return self.to_text(ROWS_SHOWN)

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_csv(self) -> str:
        """Comma-separated values, as `csv_of` writes them."""
        return csv_of(self.columns, self.rows)

    def to_latex(self) -> str:
        """A `tabular` of the package booktabs, under the title as a comment; every cell is text, whatever it holds."""

        def line(cells: Iterable[str]) -> str:
            return " & ".join(map(latex, cells)) + r" \\"

        rows = [line(row) for row in self.rows]
        if self.total and rows:
            rows.insert(-1, r"\midrule")
        heads = [line(self.columns), r"\midrule"] if any(self.columns) else []
        columns = "".join("l" if text else "r" for text in self.text)
        comment = " ".join(f"{self.title} (needs \\usepackage{{booktabs}})".split())
        lines = [
            f"% {printable(comment)}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *heads,
            *rows,
            r"\bottomrule",
        ]
        return "\n".join([*lines, r"\end{tabular}"]) + "\n"

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"columns": list(self.columns), "rows": [list(row) for row in self.rows]}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RichTable]:
        """What rich's consoles print: without spare columns, and with broken words, only as far as the console is too narrow."""
        from rich.table import Table as RichTable
        from rich.text import Text

        # rich wraps a title at the table's width, so the table is made as wide as its title.
        result = RichTable(
            title=Text(self.title, "bold") if self.title else None,
            title_justify="left",
            header_style="bold",
            show_header=any(self.columns),
            min_width=min(len(self.title), _MOST_TITLE_COLUMNS),
        )
        widths = self._widths(options.max_width)
        for i, width in widths.items():
            justify: Literal["left", "right"] = "left" if self.text[i] else "right"
            result.add_column(self.columns[i], justify=justify, overflow="fold", width=width)
        for number, row in enumerate(self.rows, 2):
            result.add_row(*(Text(row[i]) for i in widths), end_section=self.total and number == len(self.rows))
        left_out = [head for i, head in enumerate(self.columns) if i not in widths]
        if left_out:
            result.caption, result.caption_justify = f"Left out at this width: {', '.join(left_out)}", "left"
        yield result

    def _widths(self, available: int) -> Mapping[int, int | None]:
        """Columns that so many characters hold -> their widths; None if words have to be broken, which rich does."""
        from rich.cells import cell_len

        cells = [[head, *(row[i] for row in self.rows)] for i, head in enumerate(self.columns)]

        def least(i: int, *, names: bool) -> int:
            """Where words of the head and of numbers stay whole, and with `names` numbers with units and words of text, too."""
            words = [word for cell in cells[i][1:] for word in cell.split()]
            if self.text[i]:
                words = [word for word in words if names and len(word) <= _LONGEST_NAME]
            elif names:
                words = cells[i][1:]
            return max(map(cell_len, (*self.columns[i].split(), *words)), default=0)

        def too_wide(columns: Mapping[int, int]) -> bool:
            return 1 + sum(width + 3 for width in columns.values()) > available

        smallest = {i: least(i, names=True) for i in range(len(self.columns))}
        for head in self.spare:
            if too_wide(smallest):
                del smallest[self.columns.index(head)]
        if too_wide(smallest):
            smallest = {i: least(i, names=False) for i in smallest}
        if too_wide(smallest):
            return dict.fromkeys(smallest)
        widths = {i: max(map(cell_len, cells[i])) for i in smallest}
        while too_wide(widths):
            widest = max((i for i in widths if widths[i] > smallest[i]), key=widths.__getitem__)
            widths[widest] -= 1
        return widths

    def _shortened(self, max_rows: int | None) -> list[tuple[str, ...]]:
        if max_rows is None or len(self.rows) <= max_rows:
            return list(self.rows)
        top = max_rows // 2
        return [*self.rows[:top], ("...",) * len(self.columns), *self.rows[len(self.rows) - (max_rows - 1 - top) :]]


class Tabular:
    """An object that shows itself as the table of its method `table`; as `repr` in at most `rows_shown` rows."""

    __slots__ = ()
    rows_shown: ClassVar[int] = ROWS_SHOWN

    def table(self) -> Table:
        """What the object shows of itself."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.table().to_text(self.rows_shown)

    def _repr_html_(self) -> str:
        return self.table().to_html()

    def __rich__(self) -> Table:
        return self.table()


def table(
    title: str,
    columns: Iterable[str],
    rows: Iterable[Sequence[object]],
    *,
    text_columns: int | Collection[int] = 1,
    total: bool = False,
    spare: Iterable[str] = (),
) -> Table:
    """A `Table` of any cells, as strings; `text_columns` are the columns of text, or how many of them are at the left."""
    heads = tuple(columns)
    of_text = range(text_columns) if isinstance(text_columns, int) else text_columns
    cells = tuple(tuple(str(cell) for cell in row) for row in rows)
    return Table(title, heads, cells, tuple(i in of_text for i in range(len(heads))), total, tuple(spare))


def csv_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Comma-separated values (RFC 4180) under a line of heads; text that a spreadsheet would run gets an apostrophe before it."""

    def safe(cell: object) -> object:
        if not isinstance(cell, str):
            return cell
        text = printable(cell)
        return f"'{text}" if len(text) > 1 and _FORMULA.match(text) and not _is_number(text) else text

    content = io.StringIO()
    writer = csv.writer(content)
    writer.writerows([safe(cell) for cell in row] for row in (columns, *rows))
    return content.getvalue()


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True


def latex(text: str) -> str:
    """Text as LaTeX shows it, in one line."""
    return "".join(_LATEX.get(each, each) for each in " ".join(printable(text).split()))


def printable(text: object) -> str:
    """Text without the control characters and lone surrogates that neither HTML nor UTF-8 can hold."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text)).encode("utf-8", "replace").decode("utf-8")
