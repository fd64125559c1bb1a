"""The neutral table and its plain renderers."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from rmp_lava.conversion.stages import Stage, Stages
from rmp_lava.findings import Finding, grouped
from rmp_lava.scores import Score
from rmp_lava.tables import table

TABLE = table("Title", ("name", "n"), [("a<b", 1), ("long name", 1000)])


def test_text_is_aligned_in_columns():
    assert TABLE.to_text() == "Title\nname          n\na<b           1\nlong name  1000"
    assert table("", ("", ""), [("a", 1)]).to_text() == "a  1"
    assert table("Empty", ("name",), []).to_text() == "Empty\nname"


def test_rows_in_the_middle_are_left_out():
    many = table("", ("n",), [(i,) for i in range(100)], text_columns=0)
    assert many.to_text(max_rows=4).split() == ["n", "0", "1", "...", "99"]
    assert len(many.to_text(max_rows=100).splitlines()) == 101


def test_html_is_escaped_and_aligned():
    page = TABLE.to_html()
    assert "a&lt;b" in page and "a<b" not in page
    assert ">1000</td>" in page and "text-align: left" in page
    assert page.count("<tr>") == 3 and "Title</caption>" in page


def test_tables_and_stages_show_themselves_in_notebooks():
    assert TABLE._repr_html_() == TABLE.to_html() and repr(TABLE) == TABLE.to_text()
    stages = Stages(
        (
            Stage("trained ANN", 1200, Score("classification", accuracy=0.5)),
            Stage("integer SNN", 1200, Score("classification", accuracy=0.25), "<b>"),
        )
    )
    page = stages._repr_html_()
    assert page.count("<tr>") == 3 and "1,200" in page and "25.00 %" in page and "&lt;b&gt;" in page
    assert repr(stages).startswith("trained ANN  50.00 % of 1,200 images")


def test_findings_that_differ_in_names_and_amounts_are_one_row():
    def pooled(where, neurons, steps):
        latency = f"{steps} more step{'' if steps == 1 else 's'} of latency"
        cost = f"written exactly: {neurons:,} neurons, {latency}, {steps + 3} times as many weights after it"
        return Finding("information", where, "is maximum pooling", cost)

    found = (
        pooled("a", 1200, 4), pooled("b", 300, 4), pooled("c", 24, 2), pooled("d", 7, 1),
        Finding("obstacle", "e", "(SiLU) is an activation", "retrain"),
        Finding("obstacle", "f", "(gelu) is an activation", "retrain"),
        Finding("information", "g", "is a ReLU clipped at 6", "kept in layer 'g': why"),
        Finding("information", "h", "is a ReLU clipped at 1.5", "kept in layer 'h': why"),
        Finding("information", "i", "converts for 8 steps", ""), Finding("information", "j", "converts for 9 steps", ""),
    )  # fmt: skip
    said = [(f.where, f.found, f.remedy) for f in grouped(found)]
    assert said == [
        (
            "3 layers, such as 'a'",
            "is maximum pooling",
            "written exactly: 1,524 neurons, 2 to 4 more steps of latency each, 5 to 7 times as many weights after it",
        ),
        (
            "d",
            "is maximum pooling",
            "written exactly: 7 neurons, 1 more step of latency, 4 times as many weights after it",
        ),
        ("2 layers, such as 'e'", "(SiLU, gelu) is an activation", "retrain"),
        ("2 layers, such as 'g'", "is a ReLU clipped at 1.5 to 6", "kept: why"),
        ("i", "converts for 8 steps", ""),
        ("j", "converts for 9 steps", ""),
    ]


def test_words_of_heads_and_numbers_are_whole_at_80_columns_and_no_line_is_wider():
    heads = ("layer", "correlation", "over images", "error", "silent", "always on", "weight error", "")
    rows = [
        ("a.layer.with.a.long.name", "0.9859", "0.9666", "14.4 %", "4.6 %", "5.4 %", "0.59 %", "lowest over images")
    ]
    for width in (80, 30):
        page = StringIO()
        Console(file=page, width=width).print(table("Rates", heads, rows))
        assert max(map(len, page.getvalue().splitlines())) <= width
        whole = all(word in page.getvalue() for word in (*" ".join(heads).split(), *rows[0][1:4]))
        assert whole == (width == 80)


def test_a_narrow_console_leaves_out_spare_columns_before_it_breaks_names():
    heads = ("layer", "shape", "on a core", "synapses", "energy")
    rows = [("block1.conv1", "32×32×32", "32×32×8", "conv 3×3 from block1.conv2", "40.9 µJ")] * 2
    shown = table("Cores", heads, rows, text_columns={0, 3}, spare=("on a core", "shape"))
    left = {120: (), 60: ("on a core",), 50: ("on a core", "shape")}
    for width, missing in left.items():
        page = StringIO()
        Console(file=page, width=width).print(shown)
        text = page.getvalue()
        assert max(map(len, text.splitlines())) <= width
        assert text.count("block1.conv1") == text.count("40.9 µJ") == 2 and text.count("block1.conv2") == 2
        assert {head for head in heads if head not in text.partition("Left out")[0]} == set(missing)
        assert ("Left out at this width: " in text) == bool(missing)
    assert "on a core" in shown.to_text() and "shape" in shown.to_csv()
