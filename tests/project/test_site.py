"""The documentation site: `make docs` builds it, with warnings as errors; here is what that build relies on."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("mkdocs", reason="the documentation tools need Python 3.11")
pytest.importorskip("jupytext", reason="the documentation tools need Python 3.11")


import site_hooks as hooks  # noqa: E402


def test_what_a_page_loads_from_elsewhere_is_found():
    page = (
        '<script defer src="https://a.example/x.js"></script><link rel=stylesheet href=//b.example/y.css><img alt="" src="c.png">'
        '<a href="https://d.example">a link</a><style>@import "https://e.example/z.css"; p {background: url(f.png)}</style>'
    )
    assert hooks.outside(page) == ["https://a.example/x.js", "//b.example/y.css", "https://e.example/z.css"]


def test_the_site_has_every_document_command_and_public_name():
    import rmp_lava
    from rmp_lava.cli import app

    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    documents = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [name for name in documents if f" {name}\n" not in navigation] == []
    assert hooks.commands().count("\n## ") == len(app.registered_commands)
    public = {name for name in rmp_lava.__all__ if not inspect.ismodule(getattr(rmp_lava, name))} - {"__version__"}
    assert set(re.findall("^::: rmp_lava\\.(\\w+)$", hooks.names("rmp_lava"), re.MULTILINE)) == public
