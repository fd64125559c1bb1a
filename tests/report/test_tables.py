"""One table as text, HTML and on a terminal; and objects that show themselves as tables."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import rmp_lava
from rmp_lava.findings import Finding, findings_table
from rmp_lava.tables import table
from rmp_lava.training.data import load

NUMBERS = table("Numbers", ("name", "value"), [("a", 1), ("b", 20), ("all", 21)], total=True)


def on_terminal(shown: object, width: int = 80) -> str:
    target = io.StringIO()
    Console(file=target, width=width).print(shown)
    return target.getvalue()


def cells(html: str) -> list[str]:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: found.append("") if tag in ("th", "td") else None
    parser.handle_data = lambda data: found.__setitem__(-1, found[-1] + data)
    parser.feed(html[html.index("<thead>") if "<thead>" in html else 0 :])
    return found


def test_all_renderers_show_the_same_cells():
    expected = ["name", "value", "a", "1", "b", "20", "all", "21"]
    assert NUMBERS.to_text().split() == ["Numbers", *expected]
    assert cells(NUMBERS.to_html()) == expected
    lines = [line.replace("┃", "│") for line in on_terminal(NUMBERS).splitlines()]
    assert [cell.strip() for line in lines if "│" in line for cell in line.split("│")[1:-1]] == expected


def test_numbers_are_aligned_right_and_a_sum_is_set_off():
    assert NUMBERS.to_text().splitlines()[1:] == ["name  value", "a         1", "b        20", "all      21"]
    assert NUMBERS.to_html().count('class="text"') == 4 and '<tr class="total"><th scope="row"' in NUMBERS.to_html()
    rules = [line for line in on_terminal(NUMBERS).splitlines() if line.startswith("├")]
    assert len(rules) == 1


def test_comma_separated_cells_are_read_as_they_were_and_run_nothing():
    cells = ("a,b", '"', "line\nbreak", "−3 … 5", "-1.5", "-", "=1+1", "@SUM(1)", "+cmd|' /C calc'!A0", "-x")
    read = list(csv.reader(io.StringIO(table("", ("head", "b"), [(cell, 0) for cell in cells]).to_csv(), newline="")))
    assert read[0] == ["head", "b"] and [row[0] for row in read[1:7]] == list(cells[:6])
    assert [row[0] for row in read[7:]] == [f"'{cell}" for cell in cells[6:]]


def test_latex_has_a_row_per_row_and_shows_every_sign():
    lines = NUMBERS.to_latex().splitlines()
    assert lines[1:5] == [r"\begin{tabular}{lr}", r"\toprule", r"name & value \\", r"\midrule"]
    assert lines[5:] == [r"a & 1 \\", r"b & 20 \\", r"\midrule", r"all & 21 \\", r"\bottomrule", r"\end{tabular}"]
    evil = table("two\nlines", ("",), [(r"\input{x} $&#_%~^<>|" + "\n−µ",)]).to_latex()
    assert evil.splitlines()[0] == r"% two lines (needs \usepackage{booktabs})"
    shown = (
        r"\textbackslash{}input\{x\} \$\&\#\_\%\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
    )
    assert evil.splitlines()[3] == shown + r" $-$$\mu$ \\"


def test_cells_are_text_whatever_they_hold():
    evil = table("[b]<i>", ("",), [("<img src=x>\x00\ud800",), ("[bold]x[/]",)])
    html = evil.to_html()
    assert "<img" not in html and "&lt;img src=x&gt;\N{REPLACEMENT CHARACTER}?" in html and "<i>" not in html
    html.encode("utf-8")
    shown = on_terminal(table("[b]t", ("",), [("[bold]x[/]",)]))
    assert "[bold]x[/]" in shown and "[b]t" in shown


def test_marks_are_dots_in_the_first_cells():
    html = NUMBERS.to_html(("layer0", "", ""))
    assert html.count("<i style") == 1 and 'scope="row" class="text" style="text-align: left"><i' in html


def test_long_tables_are_shortened_in_the_middle():
    text = table("", ("n",), [(i,) for i in range(100)]).to_text(max_rows=5)
    assert text.split() == ["n", "0", "1", "...", "98", "99"]


def test_findings_keep_their_order_and_name_their_place():
    found = (Finding("caution", "a", "is slow", "wait"), Finding("ok", "b", "works"))
    shown = findings_table(found, "Parts", "part")
    assert shown.columns[1] == "part" and [row[:2] for row in shown.rows] == [("caution", "a"), ("ok", "b")]


@pytest.mark.parametrize(
    "pooling, words", [(nn.FractionalMaxPool2d(2, 3), "1 obstacle"), (nn.AvgPool2d(2), "the network converts")]
)
def test_a_check_shows_itself(pooling, words):
    report = rmp_lava.check(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), pooling), torch.rand(1, 1, 8, 8))
    for shown in (repr(report), report._repr_html_(), on_terminal(report, 120)):
        assert words in shown
        assert all(finding.where in shown for finding in report.findings)


def test_a_conversion_shows_its_layers_and_no_array():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 2))
    text = repr(rmp_lava.convert(model, np.random.default_rng(0).random((8, 1, 3, 3), dtype=np.float32), steps=4))
    assert text.startswith("Conversion of 'network' for T = 4: 6 neurons") and len(text.splitlines()) == 4
    assert "tensor" not in text and "array" not in text


def test_a_data_set_shows_its_parts_and_no_array():
    text = repr(load("digits"))
    assert "1,347" in text and "1x8x8" in text and "float32" in text and len(text.splitlines()) == 4
