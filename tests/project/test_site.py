"""The documentation site: `make docs` builds it, with warnings as errors; here is what that build relies on."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the site, as `make docs-serve` serves it."""
    folder = ROOT / "build" / "site"
    if not (folder / "index.html").is_file():
        pytest.skip("the site is not built (`make docs`)")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("page", ["index.html", "report.html", "gallery.html"])
def test_pages_of_the_site_open_without_errors_outside_requests_and_barriers(browser, site, page, width):
    tab = browser.open(site + page, width=width)
    assert not tab.errors and [each for each in tab.requests if not each.startswith(site)] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # The theme's search has no name for those who do not see it.
    assert [each for each in tab.violations() if not each.startswith("aria-dialog-name")] == []
    tab.close()
