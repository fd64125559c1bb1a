"""The tutorials run, and show what their text says. `make docs` takes the same executed notebooks."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("nbclient", reason="the documentation tools need Python 3.11")
pytest.importorskip("jupytext", reason="the documentation tools need Python 3.11")
import notebooks  # noqa: E402

SAYS = {
    "first_conversion": [
        r"soft reset: 29 spikes in 100 steps",
        r"hard reset: 25 spikes",
        r"9\d\.\d+% of 450 test images",
        r"True$",
    ],
    "frontier": [r"integer SNN +9\d\.", r"16 +16 +9\d\.", r"'energy'", r"dynamic energy"],
    "own_network": [r"Check: 1 obstacle", r"Check: the network converts", r"0\.9\d+$"],
    "events": [r"wait  0: [89]\d\.", r"wait 12: [89]\d\."],
    "lava_dl": [r"hard reset", r"'reset_interval': 16", r"dense1"],
    "board": [r"self-synapse", r"cells 0: steps 2, 6, 7", r"stock neurons, 16 of 122 cores", r"dense"],
}


def printed(notebook) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.data.get("text/plain", "") for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("source", notebooks.sources(), ids=lambda source: source.stem)
def test_tutorial_shows_what_its_text_says(source):
    notebook = notebooks.execute(source)
    text = printed(notebook)
    for pattern in SAYS[source.stem]:
        assert re.search(pattern, text, re.MULTILINE), pattern
    if source.stem == "board":
        assert "False" not in text
    errors = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") == "stderr"]
    assert errors == []
    page, pictures = notebooks.to_markdown(notebook, source.stem)
    assert page.startswith("# ") and page.count(".png)") == len(pictures) > 0


@pytest.mark.slow
def test_a_cell_that_fails_fails_the_build(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "EXECUTED", tmp_path / "executed")
    (tmp_path / "wrong.py").write_text("# %% [markdown]\n# # Wrong\n\n# %%\n1 / 0\n")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        notebooks.execute(tmp_path / "wrong.py")
    assert not (tmp_path / "executed").exists()
