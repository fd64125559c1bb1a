"""The neutral table and its plain renderers."""

from __future__ import annotations

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
