"""The page in a real browser: nothing refused or fetched, nothing too wide, no barrier. Pictures stay in build/screenshots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from browser import SCREENSHOTS
from torch import nn

import rmp_lava

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

IMAGES = np.random.default_rng(0).random((12, 1, 8, 8), dtype=np.float32)
MODES = {
    "light": {},
    "dark": {"dark": True},
    "phone": {"width": 390, "height": 844},
    "dark-phone": {"width": 390, "height": 844, "dark": True},
    "print": {"media": "print", "width": 794},
}


@pytest.fixture(scope="module")
def conversion() -> tuple[nn.Module, rmp_lava.Conversion]:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10)).eval()
    return model, rmp_lava.convert(model, IMAGES, steps=4)


@pytest.fixture(scope="module")
def page(conversion, tmp_path_factory) -> Path:
    """Every section, with the longest name that a file may give to the network."""
    model, converted = conversion
    network = converted.integer.replace(name="a_name_without_a_gap" * 6, class_names=tuple("abcdefghij"))
    made = rmp_lava.make_page(network, IMAGES, np.arange(12) % 10, steps=4, trained=model)
    return rmp_lava.write_page(made, tmp_path_factory.mktemp("page") / "page.html")[0]


@pytest.mark.parametrize("mode", MODES)
def test_a_page_opens_without_errors_requests_and_barriers(browser, page, mode):
    tab = browser.open(page, **MODES[mode])
    tab.screenshot(SCREENSHOTS / f"report-{mode}.png")
    assert not tab.errors and not tab.requests
    assert tab.evaluate("document.documentElement.scrollWidth") <= MODES[mode].get("width", 1200)
    cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert "phone" in mode or tab.evaluate(cut) == 0  # on a phone, wide tables are scrolled
    small = "[...document.querySelectorAll('svg text')].filter(e => e.getClientRects()[0]?.height < 7).length"
    assert tab.evaluate(small) == 0
    if mode in ("light", "dark-phone"):  # both sets of colours, both layouts
        assert not tab.violations()
    tab.close()


def test_data_are_downloaded_without_a_request(browser, page, tmp_path):
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True)
    tab = browser.open(page)
    tab.evaluate("document.querySelector('#accuracy .file').click()")
    for _ in range(100):
        if (tmp_path / "accuracy.csv").exists():
            break
        tab.evaluate("new Promise(done => setTimeout(done, 50))")
    assert (tmp_path / "accuracy.csv").read_text().startswith("T,accuracy,low,high\n1,")
    assert not tab.errors and not tab.requests


def test_the_pointer_shows_values(browser, page):
    tab = browser.open(page)
    place = "e => { const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] }"
    over = "([x, y]) => document.elementFromPoint(x, y)?.closest('g[id*=note]')?.querySelector('title').textContent"
    for section in ("network", "accuracy", "raster", "rates", "activity", "cores", "energy"):
        mark = f"document.querySelector('#{section} .wide g[id*=note] path')"
        tab.evaluate(f"{mark}.scrollIntoView({{block: 'center'}})")
        own = tab.evaluate(f"{mark}.closest('g[id*=note]').querySelector('title').textContent")
        assert own and tab.evaluate(f"({over})(({place})({mark}))"), section


def test_dark_pages_are_dark(browser, page):
    background = "getComputedStyle(document.body).backgroundColor"
    assert [browser.open(page, dark=dark).evaluate(background) for dark in (False, True)] == [
        "rgb(255, 255, 255)",
        "rgb(23, 24, 26)",
    ]


def test_what_is_wrong_with_a_page_is_found(browser, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(
        '<!doctype html><html><body><meta http-equiv="Content-Security-Policy" content="script-src \'none\'">'
        '<img src="http://example.invalid/x.png"><p style="width: 2000px; color: #eee">pale</p><script>1</script>'
    )
    tab = browser.open(broken, width=390)
    assert any("Content Security Policy" in error for error in tab.errors)
    assert tab.requests == ["http://example.invalid/x.png"]
    assert tab.evaluate("document.documentElement.scrollWidth") > 390
    rules = {violation.partition(":")[0] for violation in tab.violations()}
    assert {"color-contrast", "image-alt", "html-has-lang"} <= rules


def test_tables_of_a_notebook_are_tables(browser, conversion, tmp_path):
    """What `_repr_html_` gives, between what a notebook puts around it."""
    _, converted = conversion
    network = converted.integer
    result = rmp_lava.run(network, IMAGES, 4)
    mapping = rmp_lava.map_network(network, "oheo_gulch")
    shown = (network, result, converted, mapping, rmp_lava.estimate(network, result, "oheo_gulch"))
    content = "\n".join(f"<div>{each._repr_html_()}</div>" for each in shown)
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>n</title><main>{content}</main>')
    tab = browser.open(notebook)
    tab.screenshot(SCREENSHOTS / "notebook.png")
    assert tab.evaluate("document.querySelectorAll('table').length") == len(shown)
    assert "array(" not in tab.evaluate("document.body.innerText") and not tab.errors
    assert tab.evaluate("Math.max(...[...document.querySelectorAll('table')].map(e => e.clientHeight))") < 600
    assert not tab.violations()
